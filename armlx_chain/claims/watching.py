"""What changed between two looks at the ledger: pure rules, no clock and no socket.

Times are Unix seconds of block timestamps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.types import ProjectId, ProposalId, ScaledScore

__all__ = ["Change", "ChangeKind", "View", "changes"]


class ChangeKind(StrEnum):
    WATCHING = "watching"
    """The first look at a proposal."""
    SUBMITTED = "submitted"
    CLAIMED = "claimed"
    RELEASED = "released"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    OVERTAKEN = "overtaken"
    """The project's best reached the claim while it waits: approval is no longer possible at it."""
    EXPIRABLE = "expirable"
    """From this block on anybody may expire it."""
    BEST = "best"
    """The project's best moved."""


_SETTLED = {
    Status.APPROVED: ChangeKind.APPROVED,
    Status.REJECTED: ChangeKind.REJECTED,
    Status.EXPIRED: ChangeKind.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class View:
    """What one look saw.

    Attributes:
        now: Timestamp of the block it was taken at.
        window: Seconds after which a proposal may be expired.
        proposals: The ones watched, by id.
        best: The best score of their projects.
    """

    now: int
    window: int
    proposals: Mapping[ProposalId, Proposal]
    best: Mapping[ProjectId, ScaledScore]

    @property
    def settled(self) -> bool:
        """Whether nothing that is watched is open."""
        return not any(proposal.is_open for proposal in self.proposals.values())

    def expirable(self, proposal: Proposal) -> bool:
        return proposal.is_open and self.now >= proposal.submitted_at + self.window

    def overtaken(self, proposal: Proposal) -> bool:
        return proposal.is_open and self.best[proposal.project_id] >= proposal.claimed_score


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened, in one sentence."""

    kind: ChangeKind
    now: int
    project: ProjectId
    proposal: ProposalId | None
    sentence: str

    def to_json(self) -> dict[str, object]:
        return {
            "event": self.kind.value,
            "time": self.now,
            "project": int(self.project),
            "proposal": None if self.proposal is None else int(self.proposal),
            "sentence": self.sentence,
        }


def changes(before: View | None, after: View) -> list[Change]:
    """What is new in ``after``, in order of projects and ids; everything, if there was no look before."""
    found = [] if before is None else _bests(before, after)
    for identifier in sorted(after.proposals):
        proposal = after.proposals[identifier]
        former = None if before is None else before.proposals.get(identifier)
        kinds = _first(before, proposal) if former is None else _moved(former, proposal)
        was_overtaken = before is not None and former is not None and before.overtaken(former)
        if after.overtaken(proposal) and not was_overtaken:
            kinds.append(ChangeKind.OVERTAKEN)
        was_expirable = before is not None and former is not None and before.expirable(former)
        if after.expirable(proposal) and not was_expirable:
            kinds.append(ChangeKind.EXPIRABLE)
        found += [
            Change(kind, after.now, proposal.project_id, identifier, _sentence(kind, proposal, after))
            for kind in kinds
        ]
    return found


def _first(before: View | None, proposal: Proposal) -> list[ChangeKind]:
    if before is None:
        return [ChangeKind.WATCHING]
    settled = _SETTLED.get(proposal.status)
    return [ChangeKind.SUBMITTED] + ([] if settled is None else [settled])


def _moved(former: Proposal, proposal: Proposal) -> list[ChangeKind]:
    if proposal.status is former.status:
        again = proposal.status is Status.REVIEWING and (
            proposal.reviewer != former.reviewer or proposal.review_lock_until != former.review_lock_until
        )
        return [ChangeKind.RELEASED, ChangeKind.CLAIMED] if again else []
    if proposal.status is Status.REVIEWING:
        return [ChangeKind.CLAIMED]
    return [_SETTLED.get(proposal.status, ChangeKind.RELEASED)]


def _bests(before: View, after: View) -> list[Change]:
    return [
        Change(
            ChangeKind.BEST,
            after.now,
            project,
            None,
            f"the best of project {project} moved from {before.best[project]} to {best}",
        )
        for project, best in sorted(after.best.items())
        if before.best.get(project, best) != best
    ]


def _sentence(kind: ChangeKind, proposal: Proposal, view: View) -> str:
    name = f"proposal {proposal.id}"
    due = proposal.submitted_at + view.window
    best = view.best[proposal.project_id]
    sentences = {
        ChangeKind.WATCHING: f"{name} is {proposal.status.name.lower()}, stake {proposal.stake}, claims"
        f" {proposal.claimed_score} (best {best})",
        ChangeKind.SUBMITTED: f"{name} was submitted by {proposal.miner}: stake {proposal.stake}, claims"
        f" {proposal.claimed_score} (best {best})",
        ChangeKind.CLAIMED: f"{name} is under review by {proposal.reviewer}",
        ChangeKind.RELEASED: f"{name} was handed back and waits again",
        ChangeKind.APPROVED: f"{name} is approved at {proposal.verified_score}: the stake of {proposal.stake}"
        f" is back, and as much was minted to {proposal.reward_recipient}",
        ChangeKind.REJECTED: f"{name} is rejected by {proposal.reviewer}: its stake of {proposal.stake} is"
        " lost",
        ChangeKind.EXPIRED: f"{name} has expired; see claim-reward",
        ChangeKind.OVERTAKEN: f"{name} is overtaken: the best is {best}, it claims {proposal.claimed_score};"
        f" expire it from second {due} on, before others do",
        ChangeKind.EXPIRABLE: f"{name} can be expired now: armlx-chain expire {proposal.id}",
    }
    return sentences[kind]
