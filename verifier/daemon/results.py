"""What a pass did with each proposal, for a person and for ``--json``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from armlx_chain.types import ProposalId
from verifier.daemon.store import Finding


class Step(StrEnum):
    """What a pass did with a proposal."""

    APPROVED = "approved"
    REJECTED = "rejected"
    LEFT = "left"
    """Judged; nothing is sent."""
    WAITING = "waiting"
    """Not judgeable yet, or a rejection waits for consent."""
    SUPERSEDED = "superseded"
    KNOWN = "known"
    """Was finished in an earlier pass."""


@dataclass(frozen=True, slots=True)
class Result:
    """One proposal's part of a pass, for a person and for ``--json``."""

    proposal_id: ProposalId
    step: Step
    sentence: str
    outcome: str | None = None
    reason: str | None = None
    report_folder: Path | None = None


def result_of(finding: Finding, step: Step, sentence: str, report_folder: Path) -> Result:
    """The part of a pass that a recorded finding stands for."""
    return Result(
        ProposalId(finding.proposal_id),
        step,
        sentence,
        outcome=str(finding.report["outcome"]),
        reason=str(finding.report["reason"]),
        report_folder=report_folder,
    )
