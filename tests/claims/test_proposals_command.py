"""``proposals``: the queue, and whether papers and author belong together."""

from __future__ import annotations

from typing import Any

import pytest

from armlx_chain.types import Root
from tests.faults.processes import Job, Launcher
from tests.faults.tinyworld import TinyWorld, call

pytestmark = pytest.mark.e2e


def shown(world: TinyWorld, *given: object, code: int = 0) -> dict[str, Any]:
    ran = call(world.unsigned(["proposals", *given, "--json"], world.home()))
    assert ran.code == code, ran.err
    return ran.document


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {finding["what"]: finding["verdict"] for finding in document["findings"]}


def test_open_ones_or_all_of_one_project_only(world: TinyWorld) -> None:
    project = world.publish_raw(baseline=-9_000_000)
    sender = world.sender("rival")
    ids = [
        int(world.stake(sender, project, bytes([n]) * 32, b"\x01" * 32, -n, sender.address).id)
        for n in (5, 4)
    ]
    world.send("judge", "claimReview", ids[0])
    world.send("judge", "reject", ids[0], b"\x01" * 32)
    assert [entry["proposal"] for entry in shown(world, "--project", project)["proposals"]] == ids[1:]
    everything = shown(world, "--project", project, "--all")["proposals"]
    assert [(entry["proposal"], entry["status"]) for entry in everything] == [
        (ids[0], "rejected"), (ids[1], "submitted"),
    ]  # fmt: skip
    lines = call(world.unsigned(["proposals", "--project", project, "--all"], world.home())).out.splitlines()
    assert len(lines) == 3
    assert lines[0].split()[:4] == ["id", "status", "stake", "claimed"]


def test_an_authors_own_papers_hold_and_a_copy_of_them_does_not(world: TinyWorld) -> None:
    project = world.publish_raw(baseline=-9_000_000)
    number = world.ledger.proposal_count()
    assert world.submit(world.write_run(project_id=project), world.home()).code == 0
    own = world.proposal(number)
    assert verdicts(shown(world, "--verify", number)) == {"author": "holds", "papers": "holds"}
    rival = world.sender("rival")
    copy = world.stake(
        rival, project, own.code_hash, own.evidence_hash, int(own.claimed_score), rival.address
    )
    copied = shown(world, "--verify", int(copy.id), code=3)
    assert verdicts(copied) == {"author": "contradicts", "papers": "contradicts"}
    (author,) = [finding for finding in copied["findings"] if finding["what"] == "author"]
    assert f"packed by {own.miner}, but submitted by {copy.miner}" in author["sentence"]
    assert f"the author's own is proposal {number}" in author["sentence"]
    (author,) = [f for f in shown(world, "--verify", number)["findings"] if f["what"] == "author"]
    assert f"copied by proposal {copy.id}" in author["sentence"], "the original says who copied it"


def test_what_is_not_published_yet_is_not_a_fault(world: TinyWorld, launcher: Launcher) -> None:
    number, home = world.ledger.proposal_count(), world.home()
    arguments = world.submit_arguments(world.write_run(), home)
    (killed,) = launcher.run(Job(arguments, stop={"event": "mined", "number": 3}))
    assert killed.was_killed, killed.text
    assert verdicts(shown(world, "--verify", number, code=75)) == {
        "author": "not there yet", "papers": "not there yet",
    }  # fmt: skip
    assert launcher.run(Job(arguments))[0].code == 0
    assert shown(world, "--verify", number)["holds"] is True


def test_code_packed_for_another_project_does_not_hold(world: TinyWorld) -> None:
    number = world.ledger.proposal_count()
    assert world.submit(world.write_run(), world.home()).code == 0
    own = world.proposal(number)
    project = world.publish_raw(baseline=-9_000_000)
    miner = world.sender("miner")
    moved = world.stake(miner, project, own.code_hash, own.evidence_hash, -1, miner.address)
    found = shown(world, "--verify", int(moved.id), code=3)
    assert f"packed for project {own.project_id}" in found["findings"][0]["sentence"]
    assert found["candidate_root"] == str(Root.zerog(own.code_hash))
