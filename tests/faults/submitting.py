"""A submission under test: what the chain held before it, and everything that must hold after it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.chain.journal import State
from armlx_chain.formats.bundle import read_candidate
from armlx_chain.signing.eip712 import check_evidence_signature
from armlx_chain.types import Root
from tests.faults.processes import Job
from tests.faults.tinyworld import STAKE, TinyWorld

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
