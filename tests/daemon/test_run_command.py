"""``armlx-validator run``: woken by events, ended by signals, and what stands between."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.chain.contracts import Status
from tests.daemon.servicing import (
    DAY,
    at_run,
    daemon,
    daemon_arguments,
    judged,
    lines_of,
    machine,
    once,
    queue_of,
    rows,
    step_of,
    tidy,
)
from tests.daemon.settling import Settling
from tests.faults.processes import Job, Launcher
from tests.faults.tinyworld import TinyWorld
from verifier.daemon.cyclelog import CycleLog
from verifier.daemon.drain import Drain
from verifier.daemon.events import Events
from verifier.daemon.store import FindingStore
from verifier.executors.stopping import Brake

pytestmark = pytest.mark.e2e

__all__ = ["machine", "tidy"]

LONG = 60.0


def test_a_submission_wakes_the_daemon_and_is_settled_with_one_review(
    world: TinyWorld, launcher: Launcher
) -> None:
    home = world.home()
    paused_at = {"call": "verifier.daemon.events:Events.moved", "when": "before", "number": 2, "pause": True}
    arguments = daemon_arguments(world, home, "--cycles", "2", "--poll", "3600", "--look", "0.05")
    (paused,) = launcher.run(Job(arguments, validator=True, simulate=True, stop=paused_at))
    assert paused.paused, paused.text
    proposal = world.submitted()
    ended = launcher.resume(paused)
    assert ended.code == 0, ended.text
    assert world.proposal(proposal.id).status is Status.APPROVED
    assert [row[0] for row in rows(home, "SELECT why FROM cycle ORDER BY id")] == ["start", "events"]
    assert queue_of(home)[int(proposal.id)][0] == "ended"


def cycles_of(world: TinyWorld, folder: Path) -> CycleLog:
    store = FindingStore(folder / "f.sqlite", chain="c", ledger=world.ledger.address, account="0x0")
    return store.cycles


def test_events_wake_once_and_the_cursor_outlives_the_process(world: TinyWorld, tmp_path: Path) -> None:
    def opened() -> Events:
        return Events(
            world.rpc,
            ledger=world.ledger.address,
            registry=world.registry.address,
            cycles=cycles_of(world, tmp_path),
            depth=2,
        )

    world.devnet.mine(3)  # what other tests did is confirmed
    events = opened()
    assert events.moved(), "the first look knows nothing"
    assert not events.moved()
    world.devnet.mine(3)
    assert not events.moved(), "blocks without events wake nobody"
    before = cycles_of(world, tmp_path).cursor()
    proposal = world.submitted()  # and mines what is needed to confirm it
    assert events.moved()
    assert not events.moved()
    assert not opened().moved(), "another process goes on where this one stood"
    after = cycles_of(world, tmp_path).cursor()
    assert before is not None
    assert after is not None
    assert after.block > before.block
    world.send("judge", "claimReview", int(proposal.id))
    assert not opened().moved(), "what is not confirmed yet wakes nobody"
    world.devnet.mine(2)
    assert opened().moved()


# --- told to stop -------------------------------------------------------------------------------------


def signal_and_wait(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Any:
    """Send this process SIGTERM and wait until that led to a call."""
    reached, original = threading.Event(), getattr(owner, name)

    def wrapped(*arguments: Any) -> None:
        original(*arguments)
        reached.set()

    monkeypatch.setattr(owner, name, wrapped)

    def send() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert reached.wait(LONG)

    return send


def test_sigterm_in_a_session_lets_the_pair_end_and_the_next_start_goes_on_after_it(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = world.submitted(), world.home()
    at_run(monkeypatch, 4, signal_and_wait(monkeypatch, Drain, "ask"))
    ran = daemon(world, home)
    assert (ran.code, ran.document["drained"]) == (0, True), ran.err
    assert [cycle["outcome"] for cycle in ran.document["cycles"]] == ["drained"]
    assert judged() == 4, "the second pair was finished, no third one begun"
    assert rows(home, "SELECT interrupted, started FROM test") == [(0, 2)]
    assert rows(home, "SELECT count(*) FROM pair") == [(2,)]
    assert rows(home, "SELECT count(*) FROM finding") == [(0,)]
    assert queue_of(home)[int(proposal.id)][0] == "judging"
    result = step_of(once(world, home), proposal)
    assert (result["step"], result["reason"]) == ("approved", "improvement-confirmed")
    numbers = [row[0] for row in rows(home, "SELECT number FROM pair ORDER BY number")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert judged() == 2 * len(numbers), "no pair was measured twice"


def test_what_does_not_end_in_the_drain_time_is_ended_and_counts_as_interrupted(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = world.submitted(), world.home()
    at_run(monkeypatch, 4, signal_and_wait(monkeypatch, Brake, "kill"))
    ran = daemon(world, home, "--drain-seconds", "0")
    assert (ran.code, ran.document["drained"]) == (0, True), ran.err
    assert rows(home, "SELECT count(*) FROM pair") == [(1,)]
    assert rows(home, "SELECT started FROM test") == [(2,)], "the second pair is open, and so interrupted"
    result = step_of(once(world, home), proposal)
    assert result["step"] == "approved"
    assert rows(home, "SELECT interrupted FROM test") == [(1,)]


def test_sigterm_amid_a_settlement_ends_after_it_and_nothing_is_half_sent(
    world: TinyWorld, launcher: Launcher
) -> None:
    settling = Settling.begin(world, looks_ahead=False)
    arguments = daemon_arguments(world, settling.home)
    stop = {"event": "signed", "number": 2, "pause": True}
    (paused,) = launcher.run(Job(arguments, validator=True, simulate=True, stop=stop))
    assert paused.paused, paused.text
    os.kill(paused.pid, signal.SIGTERM)
    ended = launcher.resume(paused)
    assert ended.code == 0, ended.text
    settling.require_settled_once()
    assert rows(settling.home, "SELECT outcome FROM cycle") == [("drained",)]


# --- rules of service through the command ---------------------------------------------------------------


def test_in_dry_mode_the_verdict_is_kept_and_live_settles_it_without_a_run(world: TinyWorld) -> None:
    proposal, home = world.submitted(), world.home()
    nonce = world.nonce("validator")
    ran = daemon(world, home, "--dry", "--claim-first", "--cycles", "1")
    assert ran.code == 0, ran.err
    assert world.nonce("validator") == nonce, "nothing was sent, and nothing claimed first"
    phase, sentence = queue_of(home)[int(proposal.id)]
    assert phase == "decided"
    assert "dry mode" in sentence
    assert not (home / "guard.sqlite").exists() or rows(home, "SELECT count(*) FROM finding") == [(1,)]
    made = judged()
    assert step_of(once(world, home), proposal)["step"] == "approved"
    assert judged() == made


def test_three_refuted_in_a_row_make_a_running_daemon_dry_and_ring(world: TinyWorld) -> None:
    refuted = [world.submitted(looks_ahead=True) for _ in range(3)]
    home, nonce = world.home(), world.nonce("validator")
    ran = daemon(world, home, "--cycles", "1")
    assert ran.code == 0, ran.err
    alarms = [line["fields"]["alarm"] for line in lines_of(ran.err) if "alarm" in line["fields"]]
    assert sorted(alarms) == ["dry-mode", *["rejection-waits"] * 2], "the third one is not even asked about"
    assert rows(home, "SELECT mode FROM mode") == [("dry",)]
    assert world.nonce("validator") == nonce
    later = daemon(world, home, "--cycles", "1", "--auto-reject")
    assert later.code == 0, later.err
    assert [world.proposal(proposal.id).status for proposal in refuted] == [Status.SUBMITTED] * 3


def test_a_daemon_hands_its_own_lapsed_lease_back(world: TinyWorld, launcher: Launcher) -> None:
    settling = Settling.begin(world, looks_ahead=False)
    killed = settling.run(launcher, event="mined", number=4)  # the claim
    assert killed.was_killed, killed.text
    assert world.proposal(settling.proposal.id).status is Status.REVIEWING
    world.move_best()
    assert daemon(world, settling.home, "--cycles", "1").code == 0
    assert world.proposal(settling.proposal.id).status is Status.REVIEWING, "not before its lease is over"
    world.devnet.advance_time(DAY)
    ran = daemon(world, settling.home, "--cycles", "1")
    assert ran.code == 0, ran.err
    assert world.proposal(settling.proposal.id).status is Status.SUBMITTED
    said = [line["message"] for line in lines_of(ran.err)]
    assert any(f"released the review of proposal {settling.proposal.id}" in text for text in said)


def test_without_a_key_it_judges_and_leaves_its_verdict_unsigned(world: TinyWorld) -> None:
    proposal, home = world.submitted(), world.home()
    address, nonce = world.address("validator"), world.nonce("validator")
    from tests.faults.tinyworld import call

    given = ["once", "--unsigned", address, "--despite-lost-verdicts", "--json"]
    ran = call(world.unsigned(given, home), validator=True)
    result = step_of(ran, proposal)
    assert (result["step"], result["outcome"]) == ("left", "reproduced")
    assert "--unsigned" in result["sentence"]
    assert world.nonce("validator") == nonce
    assert step_of(once(world, home), proposal)["step"] == "approved", "whoever has the key signs it"
