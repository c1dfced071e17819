"""One proposal, record or disk that is out of order keeps nobody else from being judged or settled."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import click
import pytest

import armlx_chain.cli.reproduce
import verifier.daemon.once
from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.errors import VerifierFault
from tests.daemon.servicing import daemon, machine, once, queue_of, step_of, tidy
from tests.faults import simulated
from tests.faults.tinyworld import SEED_BLOCKS, Ran, TinyWorld, call
from verifier.daemon.cyclelog import CycleLog
from verifier.daemon.timing import Pace
from verifier.judging import Prepared
from verifier.model import Noise
from verifier.simulate import SimRunner

pytestmark = pytest.mark.e2e

__all__ = ["machine", "tidy"]

SLOW = "0.015000"
"""A gain that eight pairs do not decide."""


@pytest.fixture(scope="module")
def other(world: TinyWorld) -> int:
    """A second project."""
    return int(world.publish(symbol="OTHER").project_id)


def submitted(world: TinyWorld, project: int, gain: str = "0.050000") -> Proposal:
    number = world.ledger.proposal_count()
    ran = world.submit(world.write_run(gain=gain, project_id=project), world.home())
    assert ran.code == 0, ran.err
    world.devnet.mine(SEED_BLOCKS)
    return world.proposal(number)


def test_a_report_that_cannot_be_written_stops_no_other_proposal_and_no_later_cycle(
    world: TinyWorld, other: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = submitted(world, int(world.project.project_id)), submitted(world, other)
    home = world.home()
    folder = home / "reports" / world.ledger.address / str(first.id)

    def broken(prepared: Prepared, **options: object) -> Noise:
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.write_bytes(b"")  # as unusable as on a full disk, also for root
            raise VerifierFault("There is no calibration.")
        return simulated.noise(prepared, **options)

    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", broken)
    ran = once(world, home)
    assert step_of(ran, first)["step"] == "waiting"
    assert step_of(ran, second)["step"] == "approved"
    folder.unlink()
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    assert step_of(once(world, home), first)["step"] == "approved"


def test_a_pair_that_cannot_be_read_again_stops_no_other_proposal(world: TinyWorld, other: int) -> None:
    first, home = submitted(world, int(world.project.project_id), SLOW), world.home()
    assert step_of(once(world, home), first)["reason"] == "more-pairs-needed"
    with closing(sqlite3.connect(home / "findings.sqlite")) as database, database:
        database.execute("UPDATE pair SET record = '{}' WHERE number = 3")
    second = submitted(world, other)
    ran = once(world, home)
    assert step_of(ran, second)["step"] == "approved"
    left = step_of(ran, first)
    assert (left["step"], left["reason"]) == ("left", "verifier-fault")
    assert daemon(world, home, "--cycles", "1", "--expire-others").code == 0


def test_a_file_that_failed_once_does_not_take_the_machines_from_the_next_cycle(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = submitted(world, int(world.project.project_id)), world.home()
    original, failed = CycleLog.note, list[bool]()

    def note(self: CycleLog, *what: Any) -> None:
        if not failed:
            failed.append(True)
            raise OSError("no space is left")
        original(self, *what)

    def broken(prepared: Prepared, **options: object) -> Noise:
        if not failed:
            raise VerifierFault("There is no calibration.")
        return simulated.noise(prepared, **options)

    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", broken)
    monkeypatch.setattr(CycleLog, "note", note)
    monkeypatch.setattr(Pace, "rest", lambda self, **_: 0.0)
    ran = daemon(world, home, "--cycles", "3")
    assert ran.code == 0, ran.err
    assert world.proposal(proposal.id).status is Status.APPROVED


@pytest.mark.parametrize("command", [daemon, once])
def test_a_daemon_at_a_terminal_waits_for_nobodys_answer_and_a_single_pass_asks(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Ran]
) -> None:
    proposal, home = world.submitted(looks_ahead=True), world.home()
    asked: list[object] = []

    def confirm(*what: object, **_: object) -> bool:
        asked.append(what)
        return False

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(click, "confirm", confirm)
    assert command(world, home, *(("--cycles", "1") if command is daemon else ())).code == 0
    assert len(asked) == (command is once)
    assert "confirm it with" in queue_of(home)[int(proposal.id)][1].lower()
    assert world.proposal(proposal.id).status is Status.SUBMITTED


def test_a_long_pass_settles_what_was_decided_before_its_end(
    world: TinyWorld, other: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.submitted(looks_ahead=True)
    second, home = submitted(world, other), world.home()
    original, seen = SimRunner.run, list[Status]()

    def run(self: Any, *what: Any, **options: Any) -> Any:
        """While the second is judged, a person consents to the first; the pass does not end for long."""
        if len(simulated.runs) == 2:
            call(world.unsigned(["confirm", first.id, "--yes"], home), validator=True)
        if len(simulated.runs) == 3:
            seen.append(world.proposal(first.id).status)
        return original(self, *what, **options)

    third = submitted(world, int(world.publish(symbol="THIRD").project_id))
    monkeypatch.setattr(SimRunner, "run", run)
    monkeypatch.setattr(verifier.daemon.once, "AGAIN_SECONDS", 0.0)
    ran = once(world, home)
    assert [step_of(ran, p)["step"] for p in (first, second, third)] == ["rejected", "approved", "approved"]
    assert set(seen) == {Status.REJECTED}
