"""``kill -9`` at every instant of a submission: the plain command again brings it to its one end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.chain.journal import State
from armlx_chain.formats.bundle import read_candidate
from armlx_chain.signing.eip712 import check_evidence_signature
from armlx_chain.types import Root
from tests.faults.processes import Job, Launcher
from tests.faults.tinyworld import STAKE, TinyWorld

pytestmark = pytest.mark.e2e

BROADCASTS = ("buy", "approve", "submit", "candidate", "run log", "control log", "environment", "evidence")
EVENTS = ("signed", "broadcast", "mined")


@dataclass
class Submitting:
    """One run, one home, and the chain as it was before."""

    world: TinyWorld
    run_log: Path
    home: Path
    nonce: int
    supply: int
    staked: int
    balance: int
    count: int

    @classmethod
    def begin(cls, world: TinyWorld) -> Submitting:
        run_log, home, token = world.write_run(), world.home(), world.token()
        return cls(
            world,
            run_log,
            home,
            nonce=world.nonce(),
            supply=token.total_supply(),
            staked=token.balance_of(world.ledger.address),
            balance=token.balance_of(world.address("miner")),
            count=world.ledger.proposal_count(),
        )

    @property
    def job(self) -> Job:
        return Job(self.world.submit_arguments(self.run_log, self.home))

    def job_until(self, **stop: object) -> Job:
        return Job(self.job.arguments, stop=stop)

    def recorded_evidence(self) -> bytes | None:
        """What the submission record holds."""
        found = [path for path in (self.home / "submissions").glob("*.json") if path.is_file()]
        if not found:
            return None
        (record,) = found
        return str(json.loads(record.read_bytes())["evidence"]).encode()

    def require_done_once(self, evidence_before: bytes | None = None) -> Proposal:
        """Everything a submission does has happened, and exactly once."""
        world, token = self.world, self.world.token()
        assert world.ledger.proposal_count() == self.count + 1
        proposal = world.proposal(self.count)
        assert (proposal.miner, proposal.stake, proposal.status) == (
            world.address("miner"), STAKE, Status.SUBMITTED,
        )  # fmt: skip
        assert token.total_supply() == self.supply + STAKE, "tokens bought once"
        assert token.balance_of(world.ledger.address) == self.staked + STAKE, "stake locked once"
        assert token.balance_of(world.address("miner")) == self.balance
        assert token.allowance(world.address("miner"), world.ledger.address) == 0
        attempts = world.journal("miner", self.home)._all()
        assert [attempt.nonce for attempt in attempts] == list(range(self.nonce, world.nonce()))
        assert len(attempts) == len(BROADCASTS)
        assert {attempt.state for attempt in attempts} == {State.MINED}
        self.require_artifacts(proposal, evidence_before)
        return proposal

    def require_artifacts(self, proposal: Proposal, evidence_before: bytes | None) -> None:
        """Whatever the proposal names can be fetched and proven by a stranger, and belongs together."""
        storage, folder = self.world.storage(), self.run_log.parent
        raw = storage.fetch(Root.zerog(proposal.evidence_hash), max_bytes=1 << 20).data
        assert raw == self.recorded_evidence()
        assert evidence_before in (None, raw), "the evidence never changes once it is recorded"
        evidence = self.world.evidence(proposal)
        check_evidence_signature(evidence)
        bundle = storage.fetch(Root.zerog(proposal.code_hash), max_bytes=1 << 20).data
        author, files = read_candidate(bundle)
        assert author.miner == proposal.miner
        assert files == {"train.py": (folder / "candidate" / "train.py").read_bytes()}
        for root, name in (
            (evidence.run_log_root, "run.log"),
            (evidence.control_log_root, "control.log"),
            (evidence.environment_root, "environment.json"),
        ):
            assert storage.fetch(root, max_bytes=1 << 20).data == (folder / name).read_bytes()

    def require_refused_again(self) -> None:
        """A further submission of the same run is a finding that names the proposal, and sends nothing."""
        nonce = self.world.nonce()
        again = self.world.submit(self.run_log, self.home, "--json")
        assert again.code == 3
        assert again.error["details"] == {"proposal": self.count}
        assert self.world.nonce() == nonce


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
