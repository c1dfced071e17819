"""Copies and no-ops: recognised, shown, and decided only where nothing is left to interpretation. Pure.

- Likeness *flags*. Equal files, equal syntax, equality but for names: each is a sentence in the report (whose
  root the attestation signs) and nothing else, for two people may find the same change.
- A *copy* is proven only by bytes: the bundle of an earlier proposal, whose authorship names that proposal's
  miner, handed in by somebody else (``verifier.verdict.plain.judge_copy``), and seen so in two independent
  fetches.
- A *no-op* is run like any other candidate: no verdict is given without the pairs that the rule asks for. But
  if the test accepts code that is the control byte for byte, that measures the machine and not the code: such
  an acceptance becomes ``undecided``, and nothing is paid. Equality of syntax never does that.
- Pairs of two proposals are never pooled: their rows come from different seeds, even where their bytes are
  equal. Only the pairs of one test of one candidate continue each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from armlx_chain.claims.likeness import Fingerprint, Likeness, fingerprint
from armlx_chain.formats.bundle import Authorship
from armlx_chain.types import Address, ProposalId, Root
from verifier.model import Outcome, Reason, Verdict
from verifier.verdict.plain import CopyEvidence

MAX_FLAGS = 8
"""A report names at most so many others; a crowd of copies is said by the first of them."""

_NO_OP = {
    Likeness.BYTES: "A no-op: its files are the control's, byte for byte.",
    Likeness.SYNTAX: "A no-op: it differs from the control in comments, layout or docstrings alone.",
    Likeness.SHAPE: "It differs from the control in names alone.",
}
_ALIKE = {
    Likeness.BYTES: "the same files as",
    Likeness.SYNTAX: "the same code, but for comments and layout, as",
    Likeness.SHAPE: "the same code, but for names, as",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A proposal's candidate, as it was once fetched and proven.

    Attributes:
        author: Whom the bundle's own authorship record names.
        root: Of the bundle.
    """

    proposal: ProposalId
    miner: Address
    author: Address
    root: Root
    prints: Fingerprint


def control_likeness(
    files: Mapping[str, bytes], control: Mapping[str, bytes], snapshot: Mapping[str, bytes]
) -> Likeness | None:
    """In what a candidate equals the control, with the snapshot's files wherever one of them has none."""
    paths = files.keys() | control.keys()
    return _tree(paths, files, snapshot).likeness(_tree(paths, control, snapshot))


def _tree(paths: Iterable[str], files: Mapping[str, bytes], snapshot: Mapping[str, bytes]) -> Fingerprint:
    found = {path: files.get(path, snapshot.get(path)) for path in paths}
    return fingerprint({path: data for path, data in found.items() if data is not None})


def with_no_op(verdict: Verdict, found: Likeness | None) -> Verdict:
    """The verdict with what a no-op means for it."""
    if found is None:
        return verdict
    flagged = replace(verdict, flags=(*verdict.flags, _NO_OP[found]))
    if found is not Likeness.BYTES or verdict.outcome is not Outcome.REPRODUCED:
        return flagged
    return replace(
        flagged,
        outcome=Outcome.UNDECIDED,
        reason=Reason.TOO_NOISY,
        explanation=(
            "The candidate is the control byte for byte, and still the test found it better: this machine's "
            "noise is larger than it was calibrated. Nothing is paid for that. " + verdict.explanation
        ),
    )


def flags(mine: Seen, others: Sequence[Seen]) -> tuple[str, ...]:
    """A sentence for each other proposal whose candidate is alike, the earliest first."""
    found = []
    for other in sorted(others, key=lambda seen: seen.proposal):
        if other.proposal == mine.proposal:
            continue
        if other.root == mine.root:
            found.append(_sentence("the same bundle as", mine, other))
            continue
        likeness = mine.prints.likeness(other.prints)
        if likeness is not None:
            found.append(_sentence(_ALIKE[likeness], mine, other))
    return tuple(found[:MAX_FLAGS])


def _sentence(alike: str, mine: Seen, other: Seen) -> str:
    when = "the earlier" if other.proposal < mine.proposal else "the later"
    whose = "the same miner's" if other.miner == mine.miner else f"{other.miner}'s"
    author = "" if other.author == other.miner else f", which names {other.author} as its author"
    return f"It is {alike} {when} proposal {other.proposal}, {whose}{author}."


def copy_evidence(
    proposal: ProposalId,
    proposer: Address,
    root: Root,
    authorship: Authorship,
    earlier: Sequence[tuple[ProposalId, Address, Root]],
    *,
    confirmed: bool,
) -> CopyEvidence | None:
    """What speaks for a copy: the earliest proposal with this bundle by the miner whom it names.

    Args:
        earlier: (id, miner, code root) of the project's other proposals.
    """
    same = [(number, miner, code) for number, miner, code in earlier if code == root and number < proposal]
    owners = sorted(entry for entry in same if entry[1] == authorship.miner)
    if not owners or authorship.miner == proposer:
        return None
    original, original_proposer, original_root = owners[0]
    return CopyEvidence(
        proposal=proposal,
        proposer=proposer,
        candidate_root=root,
        author=authorship.miner,
        original=original,
        original_proposer=original_proposer,
        original_root=original_root,
        confirmed=confirmed,
    )
