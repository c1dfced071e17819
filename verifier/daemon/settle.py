"""Settling a verdict on the ledger: claim the review, then approve or reject, each exactly once.

- A lease cannot be handed back for 24 hours, so nothing is claimed before the verdict is published.
- An ``approve`` names the control root and C it was decided against; both are read again before every send,
  and if either moved nothing is sent and the verdict is superseded.
- A ``reject`` names the proposal's state only: evidence of fault does not depend on who is best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from armlx_chain.chain.contracts import ProjectRegistry, Proposal, ProposalLedger, Status
from armlx_chain.chain.sender import Intent, Receipt, TxSender
from armlx_chain.errors import PreconditionFailed
from armlx_chain.types import Address, ProjectId, ProposalId, Root, ScaledScore

LOCK_MARGIN_SECONDS = 600
"""Never settle in the last minutes of a lease: a late block would revert."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What an approval was decided against."""

    project_id: ProjectId
    control_digest: bytes
    best_score: ScaledScore

    def as_precondition(self, proposal_id: ProposalId) -> dict[str, Any]:
        return {
            "kind": "approve",
            "proposal": int(proposal_id),
            "project": int(self.project_id),
            "control": self.control_digest.hex(),
            "best": int(self.best_score),
        }


def basis_holds(registry: ProjectRegistry, precondition: dict[str, Any]) -> bool:
    """Whether control and best are still what an approval was decided against."""
    project = registry.find_project(int(precondition["project"]))
    if project is None:
        return False
    control = project.best_code_hash if project.has_accepted else project.repo_snapshot_hash
    return (control.hex(), int(project.best_score)) == (precondition["control"], precondition["best"])


class Settler:
    """Settles for one verifier account.

    Args:
        sender: Its ``check_precondition`` must be ``basis_holds`` over the same registry.
    """

    def __init__(self, *, sender: TxSender, ledger: ProposalLedger, registry: ProjectRegistry) -> None:
        self._sender = sender
        self._ledger = ledger
        self._registry = registry

    @property
    def account(self) -> Address:
        return self._sender.address

    def claim(self, proposal: Proposal, basis: Basis | None) -> None:
        """Take the review, unless it is ours already.

        Raises:
            PreconditionFailed: another verifier holds it, it is settled, or the basis moved.
            ContractRevert, TransactionPending, InsufficientFunds.
        """
        current = self._fresh(proposal)
        if current.status is Status.REVIEWING and current.reviewer == self.account:
            return
        if current.status is not Status.SUBMITTED:
            raise PreconditionFailed(
                f"Proposal {proposal.id} is {current.status.name.lower()} by now; somebody else has it.",
                meaning="Nothing was sent.",
            )
        self._sender.execute(
            Intent(
                key=self._claim_key(proposal),
                to=self._ledger.address,
                data=self._ledger.encode("claimReview", int(proposal.id)),
                what=f"claiming the review of proposal {proposal.id}",
                precondition=None if basis is None else basis.as_precondition(proposal.id),
            )
        )

    def _claim_key(self, proposal: Proposal) -> str:
        """A claim that was mined, on a proposal that is open again, has lapsed: the next is another deed."""
        number = 0
        while self._sender.done(f"claim/{self._ledger.address}/{proposal.id}/{number}") is not None:
            number += 1
        return f"claim/{self._ledger.address}/{proposal.id}/{number}"

    def approve(self, proposal: Proposal, verified: ScaledScore, metrics: Root, basis: Basis) -> Receipt:
        """Approve with the chained score.

        Raises:
            PreconditionFailed: control or best moved, or the lease is nearly over.
        """
        self._require_lease(proposal)
        return self._sender.execute(
            Intent(
                key=f"approve/{self._ledger.address}/{proposal.id}/{metrics}",
                to=self._ledger.address,
                data=self._ledger.encode("approve", int(proposal.id), int(verified), metrics.digest),
                what=f"approving proposal {proposal.id}",
                precondition=basis.as_precondition(proposal.id),
            )
        )

    def reject(self, proposal: Proposal, metrics: Root) -> Receipt:
        """Reject, which slashes the stake.

        Raises:
            PreconditionFailed: the lease is nearly over.
        """
        self._require_lease(proposal)
        return self._sender.execute(
            Intent(
                key=f"reject/{self._ledger.address}/{proposal.id}/{metrics}",
                to=self._ledger.address,
                data=self._ledger.encode("reject", int(proposal.id), metrics.digest),
                what=f"rejecting proposal {proposal.id}",
            )
        )

    def was_settled(self, proposal: Proposal, metrics: Root) -> bool:
        """Whether the ledger holds our verdict already."""
        current = self._fresh(proposal)
        done = current.status in (Status.APPROVED, Status.REJECTED)
        return done and current.reviewer == self.account and current.metrics_hash == metrics.digest

    def _fresh(self, proposal: Proposal) -> Proposal:
        current = self._ledger.find_proposal(proposal.id)
        if current is None:
            raise PreconditionFailed(f"Proposal {proposal.id} is not on the ledger any more.")
        return current

    def _require_lease(self, proposal: Proposal) -> None:
        current = self._fresh(proposal)
        now = self._ledger.rpc.block("latest").timestamp
        ours = current.status is Status.REVIEWING and current.reviewer == self.account
        if ours and now >= current.review_lock_until - LOCK_MARGIN_SECONDS:
            raise PreconditionFailed(
                f"The lease of proposal {proposal.id} ends too soon to settle safely.",
                next_step="Release it after its lock and run the validator again.",
            )
