"""Why a call was refused, with the figures: which time, which scores, how much room.

The errors of the ledger carry no arguments. What they are about is in the calldata and in the records, so
those are read once more, only for the sentence. Where they cannot be read the plain sentence stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from armlx_chain.chain.contracts import (
    ProjectRegistry,
    ProjectToken,
    Proposal,
    ProposalLedger,
    Status,
)
from armlx_chain.chain.reverts import revert_error
from armlx_chain.chain.rpc import Explain, Rpc
from armlx_chain.errors import ChainError, ContractRevert
from armlx_chain.protocol.score import score_text
from armlx_chain.types import Address, ProjectId, ScaledScore, Tokens

log = logging.getLogger(__name__)
_WORD = 32
_STATUS = {
    Status.SUBMITTED: "waiting for a review",
    Status.REVIEWING: "under review",
    Status.APPROVED: "approved already",
    Status.REJECTED: "rejected already",
    Status.EXPIRED: "expired already",
}


@dataclass(frozen=True, slots=True)
class _Case:
    """A refused call of the ledger: its function, the proposal it names and its second argument."""

    function: str
    proposal: Proposal
    second_word: bytes


class LedgerExplainer:
    """Says more about refusals of the ledger.

    Args:
        rpc: Where the records are read.
    """

    def __init__(self, rpc: Rpc, *, ledger: Address, registry: Address) -> None:
        self._ledger = ProposalLedger(rpc, ledger)
        self._registry = ProjectRegistry(rpc, registry)
        self._functions = {
            self._ledger.encode(name, *blank)[:4]: name
            for name, blank in (
                ("claimReview", (0,)), ("releaseReview", (0,)), ("expire", (0,)),
                ("approve", (0, 0, bytes(32))), ("reject", (0, bytes(32))),
            )
        }  # fmt: skip

    def __call__(self, transaction: Mapping[str, Any], error: ContractRevert) -> ContractRevert:
        """The same refusal, with figures where they can be had; never raises."""
        try:
            sentence = self._sentence(transaction, str(error.details.get("error")))
        except (ChainError, ValueError, OverflowError) as trouble:
            log.debug("no figures for a refusal: %s", trouble)
            sentence = None
        if sentence is None:
            return error
        data = bytes.fromhex(str(error.details["data"])[2:])
        return revert_error(str(error.details["what"]), data, sentence)

    def _sentence(self, transaction: Mapping[str, Any], name: str) -> str | None:
        data = _calldata(transaction)
        function = self._functions.get(data[:4])
        if function is None or str(transaction.get("to")).lower() != self._ledger.address.lower():
            return None
        number = int.from_bytes(data[4 : 4 + _WORD], "big")
        if name == "UnknownProposal":
            count = self._ledger.proposal_count()
            known = f"ids run from 0 to {count - 1}" if count else "there is none yet"
            return f"there is no proposal {number}: {known}"
        proposal = self._ledger.find_proposal(number)
        if proposal is None:
            return None
        case = _Case(function, proposal, data[4 + _WORD : 4 + 2 * _WORD])
        rules: dict[str, Callable[[_Case], str | None]] = {
            "LockActive": _lock_active, "LockExpired": _lock_expired, "WrongReviewer": _wrong_reviewer,
            "WrongStatus": _wrong_status, "ExpiryNotReached": self._too_early,
            "ScoreNotImproved": self._not_improved, "PoolCapExceeded": self._no_room,
        }  # fmt: skip
        rule = rules.get(name)
        return None if rule is None else rule(case)

    def _too_early(self, case: _Case) -> str:
        first = case.proposal.submitted_at + self._ledger.expiry_window_seconds()
        return f"proposal {case.proposal.id} cannot be expired before {time_text(first)}"

    def _not_improved(self, case: _Case) -> str | None:
        best = self._best_of(case.proposal.project_id)
        score = ScaledScore(int.from_bytes(case.second_word, "big", signed=True))
        if best is None:
            return None
        return (
            f"the verified score {score_text(score)} ({score}) is not greater than the current best of"
            f" project {case.proposal.project_id}, {score_text(best)} ({best})"
        )

    def _no_room(self, case: _Case) -> str | None:
        project = self._registry.find_project(int(case.proposal.project_id))
        if project is None:
            return None
        token = ProjectToken(self._ledger.rpc, project.token)
        room = Tokens(token.pool_cap() - token.pool_minted())
        return (
            f"a reward of {case.proposal.stake} tokens does not fit into the miner pool of project"
            f" {project.id}, which has room for {room}"
        )

    def _best_of(self, project_id: ProjectId) -> ScaledScore | None:
        project = self._registry.find_project(int(project_id))
        return None if project is None else project.best_score


def explainer(rpc: Rpc, *, ledger: Address, registry: Address) -> Explain:
    """A function for ``Rpc.explain``; its contracts are made when the first refusal comes."""
    made: list[LedgerExplainer] = []

    def explain(transaction: Mapping[str, Any], error: ContractRevert) -> ContractRevert:
        if not made:
            made.append(LedgerExplainer(rpc, ledger=ledger, registry=registry))
        return made[0](transaction, error)

    return explain


def time_text(seconds: int) -> str:
    """A block's time for people; as a bare number where the calendar ends.

    >>> time_text(1_700_000_000)
    '2023-11-14 22:13:20 UTC'
    """
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"time {seconds}"


def _lock_active(case: _Case) -> str:
    until = time_text(case.proposal.review_lock_until)
    return f"the review of proposal {case.proposal.id} cannot be handed back before {until}"


def _lock_expired(case: _Case) -> str:
    ended = time_text(case.proposal.review_lock_until)
    return (
        f"the review lock of proposal {case.proposal.id} ran out at {ended};"
        " release the review and claim it again"
    )


def _wrong_reviewer(case: _Case) -> str:
    until = time_text(case.proposal.review_lock_until)
    return f"proposal {case.proposal.id} is under review by {case.proposal.reviewer} until {until}"


def _wrong_status(case: _Case) -> str:
    return f"proposal {case.proposal.id} is {_STATUS[case.proposal.status]}"


def _calldata(transaction: Mapping[str, Any]) -> bytes:
    data = transaction.get("data", b"")
    return bytes.fromhex(data.removeprefix("0x")) if isinstance(data, str) else bytes(data)
