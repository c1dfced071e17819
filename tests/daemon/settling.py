"""A verdict under test: what the chain held before it was settled, and everything that must hold after."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from armlx_chain.chain.contracts import Project, Proposal, Status
from armlx_chain.chain.journal import State
from armlx_chain.formats.attestation import SignedAttestation
from armlx_chain.signing.eip712 import check_attestation_signature
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root
from tests.faults.processes import Ended, Job, Launcher
from tests.faults.tinyworld import STAKE, TinyWorld

BROADCASTS = ("bundle", "report", "attestation", "claim", "settlement")
EVENTS = ("signed", "broadcast", "mined")


@dataclass
class Settling:
    """A proposal that a validator with a home of its own will settle, and the chain as it was before."""

    world: TinyWorld
    proposal: Proposal
    home: Path
    nonce: int
    before: Project
    supply: int
    minted: int
    credit: int

    @classmethod
    def begin(cls, world: TinyWorld, *, looks_ahead: bool) -> Settling:
        proposal = world.submitted(looks_ahead=looks_ahead)
        before = world.registry.find_project(proposal.project_id)
        assert before is not None
        token = world.token()
        return cls(
            world,
            proposal,
            world.home(),
            nonce=world.nonce("validator"),
            before=before,
            supply=token.total_supply(),
            minted=token.pool_minted(),
            credit=world.ledger.claimable(proposal.project_id, world.address("validator")),
        )

    def run(self, launcher: Launcher, *extra: str, **stop: object) -> Ended:
        arguments = self.world.validate_arguments(self.home, "--json", "--collect-from", "0", *extra)
        return launcher.run(Job(arguments, validator=True, simulate=True, stop=stop or None))[0]

    def rows(self, database: str, table: str) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self.home / database)
        try:
            return connection.execute(f"SELECT * FROM {table}").fetchall()
        finally:
            connection.close()

    def require_settled_once(self) -> SignedAttestation:
        """The verdict is on the ledger once, and anybody can fetch and check what it rests on."""
        attempts = self.world.journal("validator", self.home)._all()
        assert {attempt.state for attempt in attempts} == {State.MINED}
        assert [a.nonce for a in attempts] == list(range(self.nonce, self.nonce + len(BROADCASTS)))
        assert self.world.nonce("validator") == self.nonce + len(BROADCASTS)
        assert len(self.rows("guard.sqlite", "verdicts")) == 1
        proposal = self.world.proposal(self.proposal.id)
        storage = self.world.storage()
        data = storage.fetch(Root.zerog(proposal.metrics_hash), max_bytes=1 << 20).data
        signed = SignedAttestation.parse(data)
        check_attestation_signature(signed)
        stated = signed.attestation
        assert (stated.proposal_id, stated.validator) == (proposal.id, self.world.address("validator"))
        assert root_of(data) == Root.zerog(proposal.metrics_hash)
        report = storage.fetch(stated.report_root, max_bytes=1 << 20).data
        assert json.loads(report)["outcome"] == stated.outcome
        self._require_effect(proposal, signed)
        return signed

    def _require_effect(self, proposal: Proposal, signed: SignedAttestation) -> None:
        token, project = self.world.token(), self.world.registry.find_project(proposal.project_id)
        assert project is not None
        credit = self.world.ledger.claimable(proposal.project_id, self.world.address("validator"))
        if signed.attestation.outcome == "reproduced":
            assert proposal.status is Status.APPROVED
            assert proposal.verified_score == signed.attestation.verified_score == project.best_score
            assert project.best_score > self.before.best_score
            assert token.total_supply() == self.supply + STAKE, "the reward is minted once"
            assert token.pool_minted() == self.minted + STAKE
            assert credit == self.credit
        else:
            assert proposal.status is Status.REJECTED
            assert project == self.before
            assert token.total_supply() == self.supply - (STAKE - STAKE // 2), "the stake is slashed once"
            assert credit == self.credit + STAKE // 2
