"""What a transaction was decided on, and whether it still stands.

A signed transaction may wait in the journal for days; before it is broadcast (again) the recorded facts are
compared with the ledger's present state:

- *basis*: the project's control and best, which a claim or an approval was measured against;
- *review*: where a proposal must stand for a review step to make sense.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from armlx_chain.chain.contracts import Project, ProjectRegistry, Proposal, ProposalLedger, Status
from armlx_chain.chain.rpc import Rpc
from armlx_chain.errors import RpcUnavailable
from armlx_chain.types import Address, ProjectId, ProposalId, ScaledScore

LEASE_MARGIN_SECONDS = 600
"""Never settle in the last minutes of a lease: a late block would revert."""


@dataclass(frozen=True, slots=True)
class Basis:
    """The code to beat and its score.

    Attributes:
        control_digest: Root of the current best's bundle, or of the snapshot where nothing was accepted.
        best_score: C.
    """

    project_id: ProjectId
    control_digest: bytes
    best_score: ScaledScore

    @classmethod
    def of(cls, project: Project) -> Basis:
        """The basis as it is now."""
        control = project.best_code_hash if project.has_accepted else project.repo_snapshot_hash
        return cls(project.id, control, project.best_score)

    def facts(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "project": int(self.project_id),
            "control": self.control_digest.hex(),
            "best": int(self.best_score),
        }


class Standing(StrEnum):
    """Where a proposal's review stands, for one account."""

    FREE = "free"
    OURS = "ours"
    ENDING = "ending"
    """Ours, but the lease ends too soon to settle safely."""
    LAPSED = "lapsed"
    """Ours, and the lease is over: it can be handed back."""
    HELD = "held"
    """Another verifier's."""
    CLOSED = "closed"


def standing(proposal: Proposal, account: Address, now: int) -> Standing:
    """Where the review stands.

    Args:
        now: Timestamp of the latest block.
    """
    if proposal.status is Status.SUBMITTED:
        return Standing.FREE
    if proposal.status is not Status.REVIEWING:
        return Standing.CLOSED
    if proposal.reviewer != account:
        return Standing.HELD
    if now >= proposal.review_lock_until:
        return Standing.LAPSED
    return Standing.ENDING if now >= proposal.review_lock_until - LEASE_MARGIN_SECONDS else Standing.OURS


def review_facts(proposal_id: ProposalId, account: Address, expected: Standing) -> dict[str, Any]:
    """For the journal: where the review must stand for this step."""
    return {"proposal": int(proposal_id), "account": account, "standing": expected.value}


def facts_hold(
    registry: ProjectRegistry, ledger: ProposalLedger, facts: dict[str, Any], *, confirmations: int = 0
) -> bool:
    """Whether everything that was recorded for a transaction still stands.

    Asked of the newest block and of the one with ``confirmations`` on top of it, each with two witnesses
    where two endpoints are configured: a nonce is cancelled only for what is settled on the chain.

    Raises:
        RpcUnavailable: the two blocks tell different stories (a reorganisation may decide), or the chain
            cannot be read. Ask again later.
    """
    rpc = ledger.rpc
    newest = _hold_on(rpc.at_depth(0), registry, ledger, facts)
    if confirmations == 0 or _hold_on(rpc.at_depth(confirmations), registry, ledger, facts) == newest:
        return newest
    raise RpcUnavailable(
        f"What a transaction is based on changed in the last {confirmations} blocks and is not settled yet.",
        meaning="Nothing was sent.",
        next_step="Wait a moment and run this again.",
    )


def _hold_on(view: Rpc, registry: ProjectRegistry, ledger: ProposalLedger, facts: dict[str, Any]) -> bool:
    if "project" in facts:
        project = registry.on(view).find_project(int(facts["project"]))
        if project is None or Basis.of(project).facts().items() - facts.items():
            return False
    if "proposal" in facts:
        proposal = ledger.on(view).find_proposal(int(facts["proposal"]))
        now = view.block("latest").timestamp
        if proposal is None or standing(proposal, Address(facts["account"]), now) != facts["standing"]:
            return False
    return True
