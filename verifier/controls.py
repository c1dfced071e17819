"""Which code a candidate is measured against, also where the best one's bytes cannot be had.

1. The code of the project's ``currentBestCodeHash``; the unmodified snapshot if nothing was ever accepted.
2. If its bytes cannot be proved: the latest earlier best that can be, else the snapshot. The difference of
   the chained scores that the ledger records then counts against the candidate in every pair.

A place that does not answer is no proof that bytes are gone: then nothing is decided now.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from armlx_chain.chain.contracts import Project, Proposal, Status
from armlx_chain.errors import (
    ContentMismatch,
    ContentNotFound,
    ContentTooLarge,
    ContentUnproven,
    FormatError,
    SchemeUnsupported,
)
from armlx_chain.formats.bundle import CANDIDATE_LIMITS, read_candidate
from armlx_chain.storage.interface import Fetcher
from armlx_chain.types import SCORE_SCALE, Root, ScaledScore

__all__ = ["Control", "PastBest", "find_control", "past_bests"]

log = logging.getLogger(__name__)

_GONE = (ContentNotFound, ContentMismatch, ContentUnproven, ContentTooLarge, SchemeUnsupported, FormatError)
MAX_EARLIER = 16
"""Earlier bests that are looked for before the snapshot serves."""


@dataclass(frozen=True, slots=True)
class PastBest:
    """Code that was once the best, and the chained score it had."""

    code_hash: bytes
    score: ScaledScore


@dataclass(frozen=True, slots=True)
class Control:
    """The code to beat.

    Attributes:
        root: Of its bundle, or of the snapshot.
        files: Its replacement files; empty for the snapshot itself.
        disadvantage: Bits per byte by which the best on the ledger is better than this control.
        note: Why it is not the best, a sentence; ``None`` where it is.
    """

    root: Root
    files: Mapping[str, bytes]
    disadvantage: Decimal = Decimal(0)
    note: str | None = None


def past_bests(project: Project, proposals: Iterable[Proposal]) -> tuple[PastBest, ...]:
    """The approved proposals that a project's best replaced, the latest first."""
    earlier = (
        PastBest(p.code_hash, p.verified_score)
        for p in proposals
        if p.project_id == project.id
        and p.status is Status.APPROVED
        and project.baseline_score < p.verified_score < project.best_score
    )
    return tuple(sorted(earlier, key=lambda best: best.score, reverse=True))


def find_control(
    project: Project, storage: Fetcher, earlier_bests: Callable[[], Sequence[PastBest]] = tuple
) -> Control:
    """The code to beat, the snapshot included in what may serve.

    Args:
        earlier_bests: Asked only when the best's bytes cannot be had.

    Raises:
        StorageError: whether the bytes are gone cannot be known now.
    """
    snapshot = Root.zerog(project.repo_snapshot_hash)
    if not project.has_accepted:
        return Control(snapshot, {})
    best = PastBest(project.best_code_hash, project.best_score)
    files = _proven(best, storage)
    if files is not None:
        return Control(Root.zerog(best.code_hash), files)
    for code in earlier_bests()[:MAX_EARLIER]:
        files = _proven(code, storage)
        if files is not None:
            return _instead(project, Root.zerog(code.code_hash), files, code.score)
    return _instead(project, snapshot, {}, project.baseline_score)


def _proven(code: PastBest, storage: Fetcher) -> Mapping[str, bytes] | None:
    try:
        data = storage.fetch(Root.zerog(code.code_hash), max_bytes=CANDIDATE_LIMITS.archive_bytes).data
        return read_candidate(data)[1]
    except _GONE as error:
        log.warning("the code of chained score %s cannot be proved: %s", code.score, error.message)
        return None


def _instead(project: Project, root: Root, files: Mapping[str, bytes], score: ScaledScore) -> Control:
    disadvantage = Decimal(int(project.best_score) - int(score)) / SCORE_SCALE
    what = f"an earlier best, {root}," if files else "the unmodified snapshot"
    note = (
        f"The current best's code cannot be proved, so {what} served as control, and the recorded difference "
        f"of chained scores, {disadvantage} bits per byte, counted against the candidate in every pair."
    )
    return Control(root, files, disadvantage, note)
