"""``kill -9`` at every instant of a submission: the plain command again brings it to its one end."""

from __future__ import annotations

import pytest

from tests.faults.processes import Launcher
from tests.faults.submitting import BROADCASTS, EVENTS, Submitting
from tests.faults.tinyworld import STAKE, TinyWorld

pytestmark = pytest.mark.e2e


@pytest.fixture
def submitting(world: TinyWorld) -> Submitting:
    return Submitting.begin(world)


def test_an_undisturbed_submission_is_the_eight_transactions_these_tests_kill(
    submitting: Submitting, world: TinyWorld
) -> None:
    ran = world.submit(submitting.run_log, submitting.home, "--json")
    assert ran.code == 0
    assert ran.document["proposal"] == submitting.count
    keys = [attempt.key for attempt in world.journal("miner", submitting.home)._all()]
    assert len(keys) == len(BROADCASTS)
    assert [key.split("/")[2] for key in keys[:3]] == ["buy", "approve", "submit"]
    assert {key.split("/")[0] for key in keys[3:]} == {"flow"}
    submitting.require_done_once()
    submitting.require_refused_again()


@pytest.mark.parametrize("event", EVENTS)
def test_killed_at_every_broadcast_in_turn_it_ends_once(
    submitting: Submitting, launcher: Launcher, event: str
) -> None:
    evidence = None
    for number, name in enumerate(BROADCASTS, start=1):
        (ended,) = launcher.run(submitting.job_until(event=event, number=1))
        assert ended.was_killed, (name, ended.text)
        sent = number - 1 if event == "signed" else number
        assert submitting.world.nonce() == submitting.nonce + sent, name
        recorded = submitting.recorded_evidence()
        assert recorded is not None, "the record is on disk before anything is sent"
        assert evidence in (None, recorded), name
        evidence = recorded
    (ended,) = launcher.run(submitting.job)
    assert ended.code == 0, ended.text
    submitting.require_done_once(evidence)
    submitting.require_refused_again()


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("buy", "signed"),
        ("approve", "mined"),
        ("submit", "signed"),
        ("submit", "broadcast"),
        ("candidate", "signed"),
        ("evidence", "broadcast"),
    ],
)
def test_killed_once_then_run_again(
    submitting: Submitting, launcher: Launcher, name: str, event: str
) -> None:
    number = BROADCASTS.index(name) + 1
    (killed,) = launcher.run(submitting.job_until(event=event, number=number))
    assert killed.was_killed, killed.text
    evidence = submitting.recorded_evidence()
    (again,) = launcher.run(submitting.job)
    assert again.code == 0, again.text
    submitting.require_done_once(evidence)


@pytest.mark.parametrize(
    ("call", "when"),
    [
        ("armlx_chain.claims.submission:SubmissionStore.create", "before"),
        ("armlx_chain.claims.submission:SubmissionStore.create", "after"),
        ("armlx_chain.storage.zerog.upload:ZeroGPublisher._send", "before"),
        ("armlx_chain.claims.submission:SubmissionStore.finish", "before"),
    ],
    ids=["before-the-record", "after-the-record", "before-the-first-segment", "before-the-final-note"],
)
def test_killed_between_the_transactions_then_run_again(
    submitting: Submitting, launcher: Launcher, call: str, when: str
) -> None:
    (killed,) = launcher.run(submitting.job_until(call=call, when=when, number=1))
    assert killed.was_killed, killed.text
    (again,) = launcher.run(submitting.job)
    assert again.code == 0, again.text
    submitting.require_done_once()
    submitting.require_refused_again()


def test_a_dry_run_after_a_kill_sends_nothing(submitting: Submitting, launcher: Launcher) -> None:
    launcher.run(submitting.job_until(event="signed", number=1))
    world = submitting.world
    dry = world.submit(submitting.run_log, submitting.home, "--dry-run", "--json")
    assert dry.code == 0
    assert dry.document["dry_run"] is True
    assert world.nonce() == submitting.nonce
    assert len(world.journal("miner", submitting.home).unfinished()) == 1
    assert launcher.run(submitting.job)[0].code == 0
    submitting.require_done_once()


def test_a_dry_run_of_what_only_lacks_its_uploads_uploads_nothing(
    submitting: Submitting, launcher: Launcher
) -> None:
    launcher.run(submitting.job_until(event="mined", number=3))
    world = submitting.world
    dry = world.submit(submitting.run_log, submitting.home, "--dry-run", "--json")
    assert (dry.code, dry.document["dry_run"]) == (0, True)
    assert world.nonce() == submitting.nonce + 3
    assert launcher.run(submitting.job)[0].code == 0
    submitting.require_done_once()


def test_begun_with_one_stake_it_is_not_carried_on_with_another(
    submitting: Submitting, launcher: Launcher
) -> None:
    launcher.run(submitting.job_until(event="signed", number=1))
    world = submitting.world
    other = world.submit(submitting.run_log, submitting.home, "--json", stake=STAKE + 1)
    assert other.code == 3
    assert f"a stake of {STAKE}" in other.error["message"]
    assert f"--stake {STAKE} " in other.error["next"]
    assert world.nonce() == submitting.nonce
    assert launcher.run(submitting.job)[0].code == 0
    submitting.require_done_once()


def test_a_lost_record_of_a_mined_submission_is_said_and_nothing_is_sent(
    submitting: Submitting, launcher: Launcher
) -> None:
    launcher.run(submitting.job_until(event="mined", number=3))
    (record,) = (submitting.home / "submissions").glob("*.json")
    kept = record.read_bytes()
    record.unlink()
    world = submitting.world
    lost = world.submit(submitting.run_log, submitting.home, "--json")
    assert lost.code == 1
    assert "its record is gone" in lost.error["message"]
    assert world.nonce() == submitting.nonce + 3
    record.write_bytes(kept)
    assert launcher.run(submitting.job)[0].code == 0
    submitting.require_done_once()
