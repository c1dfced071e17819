"""A key that moves to another machine takes its record along; one that comes without it is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import armlx_chain.cli.reproduce
from armlx_chain.errors import EXIT_FINDING, EXIT_KEY
from armlx_chain.signing.guard import SingleSignGuard
from tests.daemon.test_pass import close_all, step_of
from tests.faults import simulated
from tests.faults.tinyworld import Ran, TinyWorld, call


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, world: TinyWorld) -> Iterator[None]:
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    yield
    close_all(world)


def once(world: TinyWorld, home: Path) -> Ran:
    """A pass as a person starts it, without a word about lost verdicts."""
    return call(world.signed(["once", "--json"], home, "validator"), validator=True)


def guard(home: Path, *arguments: object) -> Ran:
    return call(["guard", *map(str, arguments), "--json", "--home", str(home)], validator=True)


@pytest.mark.e2e
def test_settled_verdicts_that_the_guard_does_not_know_stop_the_pass_until_they_are_merged(
    world: TinyWorld, tmp_path: Path
) -> None:
    first, here, there = world.submitted(), world.home(), world.home()
    assert step_of(once(world, here), first)["step"] == "approved"
    second = world.submitted()
    nonce = world.nonce("validator")
    stopped = once(world, there)
    assert (stopped.code, stopped.error["code"]) == (EXIT_KEY, "GuardRefused")
    assert f"proposals {first.id}" in stopped.error["message"]
    assert "guard import" in stopped.error["next"]
    assert (world.nonce("validator"), world.proposal(second.id).is_open) == (nonce, True)
    file = tmp_path / "guard.jsonl"
    assert guard(here, "export", file).document["entries"] == 1
    assert guard(here, "export", file).code == 2, "no file is overwritten"
    assert guard(there, "import", file).document["added"] == 1
    assert guard(there, "import", file).document["known"] == 1
    waits = step_of(once(world, there), second)
    assert (waits["step"], world.proposal(second.id).is_open) == ("left", True)
    assert "dry mode" in waits["sentence"], "a guard that lost entries asks for a gold run first"
    baseline = ["gold", "--project", world.project.project_id, "--account", "validator", "--json"]
    assert call(world.unsigned(list(map(str, baseline)), there), validator=True).code == 0
    live = call(world.signed(["once", "--go-live", "--json"], there, "validator"), validator=True)
    assert step_of(live, second)["step"] == "approved", live.err
    shown = guard(there, "show").document
    assert [entry["proposal"] for entry in shown["entries"]] == [int(first.id), int(second.id)]
    assert shown["refusals"] == 0


@pytest.mark.e2e
def test_a_file_with_another_verdict_under_a_key_is_a_finding_and_changes_nothing(
    world: TinyWorld, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    from tests.signing.guard_campaign import BASE

    for home, word in ((here, b"approve"), (there, b"reject")):
        SingleSignGuard(home / "guard.sqlite").check_and_insert(BASE, word)
    assert guard(here, "export", tmp_path / "file").code == 0
    found = guard(there, "import", tmp_path / "file")
    assert (found.code, found.document["added"], len(found.document["conflicts"])) == (EXIT_FINDING, 0, 1)
    assert "another verdict stands here" in found.err
    assert SingleSignGuard(there / "guard.sqlite").recorded(BASE) == b"reject"
    (tmp_path / "file").write_bytes(b"no document")
    assert guard(there, "import", tmp_path / "file").error["code"] == "FormatError"
