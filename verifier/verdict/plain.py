"""Verdicts that need no run: what stopped the judgement before anything was measured, and proven copying.

- Everything here but a proven copy is ``undecided``: nothing is sent, nothing is slashed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from armlx_chain.types import Address, ProposalId, Root
from verifier.model import Noise, Outcome, Reason, Verdict
from verifier.verdict.constants import RULE_ID

WITHOUT_RUNS: Final = frozenset(
    {
        Reason.GATE,
        Reason.EVIDENCE,
        Reason.UNSUPPORTED,
        Reason.CONTROL_UNAVAILABLE,
        Reason.SEED_UNAVAILABLE,
        Reason.VERIFIER_FAULT,
    }
)
"""Reasons for which a judgement may end without a single run. None of them says anything about fault."""


def without_runs(
    reason: Reason, explanation: str, *, noise: Noise | None = None, evidence: Mapping[str, str] | None = None
) -> Verdict:
    """An undecided verdict for a reason that was known before anything ran.

    Raises:
        ValueError: if the reason is one that only measurements can give (a programming error).
    """
    if reason not in WITHOUT_RUNS:
        raise ValueError(f"{reason} cannot be found without a run.")
    return Verdict(
        outcome=Outcome.UNDECIDED,
        reason=reason,
        explanation=explanation,
        rule=RULE_ID,
        noise=noise,
        evidence=dict(evidence or {}),
    )


@dataclass(frozen=True, slots=True)
class CopyEvidence:
    """What the ledger and the bundles themselves say about a possible copy.

    Attributes:
        proposal, proposer, candidate_root: The proposal under judgement, who made it, its candidate.
        author: Whom the candidate's own authorship record names.
        original, original_proposer, original_root: The other proposal.
        confirmed: A second, independent fetch and comparison gave the same.
    """

    proposal: ProposalId
    proposer: Address
    candidate_root: Root
    author: Address
    original: ProposalId
    original_proposer: Address
    original_root: Root
    confirmed: bool


def judge_copy(found: CopyEvidence) -> Verdict:
    """Refuted only if this is byte for byte an *earlier* proposal's bundle, naming that proposal's miner.

    Equal files in bundles of one's own are not a copy: two people may find the same change. A later proposal
    with the same bundle proves nothing either, for the first may have been taken from the second's
    transaction before it was mined.
    """
    facts = {
        "proposal": str(found.proposal),
        "proposer": found.proposer,
        "author": found.author,
        "original": str(found.original),
        "original-proposer": found.original_proposer,
        "root": str(found.candidate_root),
    }
    same = found.candidate_root == found.original_root
    others = found.author != found.proposer and found.author == found.original_proposer
    proven = same and others and found.original < found.proposal
    if proven and found.confirmed:
        return Verdict(
            outcome=Outcome.REFUTED,
            reason=Reason.COPIED,
            explanation=(
                f"The candidate is byte for byte the bundle of the earlier proposal {found.original} and "
                "names that proposal's miner as its author, not this one's."
            ),
            rule=RULE_ID,
            noise=None,
            evidence=facts,
        )
    text = "The candidate's authorship record names another miner; that alone is no proof of copying."
    if proven:
        return Verdict(
            outcome=Outcome.UNDECIDED,
            reason=Reason.UNREPEATED,
            explanation="The candidate looks like a copy, but a second, independent comparison is missing.",
            rule=RULE_ID,
            noise=None,
            evidence=facts,
        )
    return without_runs(Reason.EVIDENCE, text, evidence=facts)
