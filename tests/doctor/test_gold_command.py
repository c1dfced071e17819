"""``armlx-validator doctor --gold``: a baseline reproduced before going live, with a simulated machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import armlx_chain.cli.reproduce
from armlx_chain.cli.context import App
from armlx_chain.errors import EXIT_FINDING, EXIT_OK
from tests.faults import simulated
from tests.faults.fixtures import world
from tests.faults.tinyworld import TinyWorld, call
from verifier.daemon.goldcli import modes_of
from verifier.daemon.mode import Mode

__all__ = ["world"]


@pytest.fixture
def home(world: TinyWorld, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    return world.home()


def gold(world: TinyWorld, home: Path, *words: str) -> tuple[int, list[dict[str, Any]], list[dict[str, Any]]]:
    """The exit code, what the gold run found, and all faults; the machine's own checks are another file's."""
    given = ["doctor", "--gold", "--project", str(world.project.project_id), "--quick", "--json", *words]
    # With a runner's socket nothing of this machine is examined; the runs are simulated all the same.
    ended = call(world.unsigned([*given, "--account", "validator"], home), validator=True)
    groups = json.loads(ended.out)["groups"]
    faults = [one for group in groups.values() for one in group if one["state"] == "fault"]
    return ended.code, groups.get("Gold run", []), faults


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandbox, MLX and the project's own files are looked at by other tests, for real."""
    from armlx_chain.cli.doctoring import machine as looked_at
    from armlx_chain.cli.doctoring import project

    monkeypatch.setattr(looked_at, "machine_checks", lambda *_, **__: [])
    monkeypatch.setattr(project, "project_checks", lambda *_, **__: [])


@pytest.mark.integration
def test_a_baseline_that_comes_out_takes_the_validator_live_where_that_was_said(
    world: TinyWorld, home: Path
) -> None:
    app = App("devnet", home, None, None, True)
    modes = modes_of(app, world.address("validator"))
    modes.gold(False, "It did not come out.", "key")
    assert modes.current() is Mode.DRY
    code, found, faults = gold(world, home)
    assert (code, faults) == (EXIT_OK, [])
    assert found[0]["name"] == "gold run"
    assert modes.current() is Mode.DRY
    code, found, _ = gold(world, home, "--go-live")
    assert code == EXIT_OK
    assert [one["name"] for one in found] == ["gold run", "mode"]
    assert modes.current() is Mode.LIVE


@pytest.mark.integration
def test_a_baseline_that_does_not_is_a_fault_and_nothing_goes_live(
    world: TinyWorld, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = simulated.prepare

    def slower(*given: Any) -> Any:
        monkeypatch.setattr(simulated, "BASELINE", "9.500000")
        return real(*given)

    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", slower)
    code, found, faults = gold(world, home, "--go-live")
    assert code == EXIT_FINDING
    assert [one["name"] for one in found] == ["gold run"]
    assert faults[0]["next"]
    assert modes_of(App("devnet", home, None, None, True), world.address("validator")).current() is Mode.DRY


@pytest.mark.integration
def test_no_gold_run_is_made_while_something_is_to_be_mended(world: TinyWorld, home: Path) -> None:
    home.chmod(0o777)
    (home / "keystores" / "validator.json").chmod(0o644)
    code, found, faults = gold(world, home, "--go-live")
    assert (code, found) == (EXIT_FINDING, [])
    assert faults
