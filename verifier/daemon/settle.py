"""Settling a verdict on the ledger: claim the review, then approve or reject, each exactly once.

- A lease cannot be handed back for 24 hours, so nothing is claimed before the verdict is published.
- An ``approve`` names the control root and C it was decided against, and every step where the review must
  stand; both are read again before every send, and if either moved nothing is sent.
- A ``reject`` names the proposal's state only: evidence of fault does not depend on who is best.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from armlx_chain.chain.basis import Basis, Standing, review_facts, standing
from armlx_chain.chain.contracts import Proposal, ProposalLedger, Status
from armlx_chain.chain.sender import Intent, Receipt, TxSender
from armlx_chain.errors import PreconditionFailed
from armlx_chain.types import Address, Root, ScaledScore


class Settler:
    """Settles for one verifier account.

    Args:
        sender: Its ``check_precondition`` must be ``facts_hold`` over the same ledger.
    """

    def __init__(self, *, sender: TxSender, ledger: ProposalLedger) -> None:
        self._sender = sender
        self._ledger = ledger

    @property
    def account(self) -> Address:
        return self._sender.address

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold the account's lock: one validator at a time.

        Raises:
            AccountBusy: another process holds it.
        """
        return self._sender.exclusive()

    def resume(self) -> None:
        """Finish what an earlier process signed; what no longer stands is cancelled.

        Raises:
            ChainError: it cannot be finished now.
        """
        self._sender.resume()

    def standing(self, proposal: Proposal) -> Standing:
        """Where the review stands now.

        Raises:
            PreconditionFailed: the proposal is not on the ledger any more.
        """
        return standing(self._fresh(proposal), self.account, self._ledger.rpc.block("latest").timestamp)

    def was_closed(self, proposal: Proposal, depth: int) -> bool:
        """Whether it was at its end in the block with so many on top of it, read with two witnesses.

        Raises:
            EndpointsDisagree, RpcUnavailable: it cannot be read so.
        """
        found = self._ledger.on(self._ledger.rpc.at_depth(depth)).find_proposal(proposal.id)
        return found is not None and not found.is_open

    def claim(self, proposal: Proposal, basis: Basis | None) -> None:
        """Take the review, unless it is ours already; a lease of ours that ran out is handed back first.

        Raises:
            PreconditionFailed: another verifier holds it, it is settled, or the basis moved.
            ContractRevert, TransactionPending, InsufficientFunds.
        """
        current = self._fresh(proposal)
        now = self.standing(proposal)
        if now is Standing.OURS:
            return
        if now is Standing.LAPSED:
            self.release(current)
        elif now is not Standing.FREE:
            raise PreconditionFailed(
                f"Proposal {proposal.id} is {current.status.name.lower()} by now ({now.value}).",
                meaning="Nothing was sent.",
            )
        self._sender.execute(
            Intent(
                key=self._claim_key(proposal),
                to=self._ledger.address,
                data=self._ledger.encode("claimReview", int(proposal.id)),
                what=f"claiming the review of proposal {proposal.id}",
                precondition=self._facts(proposal, Standing.FREE, basis),
            )
        )

    def release(self, proposal: Proposal) -> None:
        """Hand back a review of ours whose lease ran out.

        Raises:
            PreconditionFailed, ContractRevert: it is not ours any more.
        """
        self._sender.execute(
            Intent(
                key=f"release/{self._ledger.address}/{proposal.id}/{proposal.review_lock_until}",
                to=self._ledger.address,
                data=self._ledger.encode("releaseReview", int(proposal.id)),
                what=f"releasing the review of proposal {proposal.id}, whose lease ran out",
                precondition=self._facts(proposal, Standing.LAPSED, None),
            )
        )

    def has_lapsed(self, proposal: Proposal) -> bool:
        """Whether a lease of ours on it ran out before we settled it."""
        now = self.standing(proposal)
        first = f"claim/{self._ledger.address}/{proposal.id}/0"
        return now is Standing.LAPSED or (now is Standing.FREE and self._sender.done(first) is not None)

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
        return self._sender.execute(
            Intent(
                key=f"approve/{self._ledger.address}/{proposal.id}/{metrics}",
                to=self._ledger.address,
                data=self._ledger.encode("approve", int(proposal.id), int(verified), metrics.digest),
                what=f"approving proposal {proposal.id}",
                precondition=self._facts(proposal, Standing.OURS, basis),
            )
        )

    def reject(self, proposal: Proposal, metrics: Root) -> Receipt:
        """Reject, which slashes the stake.

        Raises:
            PreconditionFailed: the lease is nearly over.
        """
        return self._sender.execute(
            Intent(
                key=f"reject/{self._ledger.address}/{proposal.id}/{metrics}",
                to=self._ledger.address,
                data=self._ledger.encode("reject", int(proposal.id), metrics.digest),
                what=f"rejecting proposal {proposal.id}",
                precondition=self._facts(proposal, Standing.OURS, None),
            )
        )

    def was_settled(self, proposal: Proposal, metrics: Root) -> bool:
        """Whether the ledger holds our verdict already."""
        current = self._fresh(proposal)
        done = current.status in (Status.APPROVED, Status.REJECTED)
        return done and current.reviewer == self.account and current.metrics_hash == metrics.digest

    def _facts(self, proposal: Proposal, expected: Standing, basis: Basis | None) -> dict[str, Any]:
        review = review_facts(proposal.id, self.account, expected)
        return review if basis is None else {**review, **basis.facts()}

    def _fresh(self, proposal: Proposal) -> Proposal:
        current = self._ledger.find_proposal(proposal.id)
        if current is None:
            raise PreconditionFailed(f"Proposal {proposal.id} is not on the ledger any more.")
        return current
