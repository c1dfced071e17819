"""The reference model: in which state every proposal must end, from what is true of it and from the ledger's
own story. It shares no code with the validator.

A proposal is *due* for one end:

- a real gain is approved, what looks ahead or copies another's bundle is rejected, everything else expires;
- unless it was *overtaken*: while it was open, another's approval raised the best to its claim or beyond, or
  to a level which it does not beat clearly. Then nothing may be sent for it any more and it expires, or it
  was settled before;
- unless every validator lost two pairs of it to faults (the rule allows one), or somebody else settled it.

Besides, at every single settlement: the verdict was true at that moment, and the score lies between the best
and what the candidate really gains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from tests.daemon.soak.ledger import APPROVED, EXPIRED, REJECTED, Row
from tests.daemon.soak.miners import Kind, Truth

CLEAR = Decimal("0.030000")
"""What beats a best by so much is always found to (bits per byte)."""
TOLERANCE = 5_000
"""Of a verified score: half the least gain that is paid, in millionths."""
DEED = {Kind.GAIN: APPROVED, Kind.LATE: APPROVED, Kind.CHEAT: REJECTED, Kind.COPY: REJECTED}
NAMES = {APPROVED: "approved", REJECTED: "rejected", EXPIRED: "expired", 0: "submitted", 1: "reviewing"}


@dataclass(frozen=True, slots=True)
class Settled:
    """One transaction that ended a proposal, in the ledger's order."""

    proposal: int
    status: int
    who: str
    score: int | None
    time: int


@dataclass(frozen=True, slots=True)
class Standard:
    """A project's best from some moment on."""

    since: int
    score: int
    level: Decimal


@dataclass
class Story:
    """What the ledger shows.

    Attributes:
        rows: Every proposal's last record.
        settled: In order.
    """

    rows: Mapping[int, Row]
    settled: Sequence[Settled]


@dataclass
class Judgement:
    """What the model says of a story."""

    ends: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


class Model:
    """Compares a story with what should have been.

    Args:
        truths: What is true of a proposal, by the digest of its evidence.
        ours: Addresses of the validators under test, lower case.
        standards: Every project's best at the start.
        lost: How many pairs of a proposal (by number) each validator lost to faults or kills.
        ended: Proposals whose week is over by now; the others may still be open.
    """

    def __init__(
        self,
        *,
        truths: Mapping[bytes, Truth],
        ours: Collection[str],
        standards: Mapping[int, Standard],
        lost: Mapping[tuple[str, int], int],
        ended: int,
    ) -> None:
        self._truths = truths
        self._ours = {account.lower() for account in ours}
        self._standards = {project: [first] for project, first in standards.items()}
        self._lost = lost
        self._ended = ended

    def judge(self, story: Story) -> Judgement:
        """Every settlement in order, then every end."""
        found = Judgement()
        seen: set[int] = set()
        for event in story.settled:
            row = story.rows[event.proposal]
            if event.proposal in seen:
                found.findings.append(f"proposal {event.proposal} was settled twice")
            seen.add(event.proposal)
            self._settle(event, row, found)
        for number, row in sorted(story.rows.items()):
            self._end(number, row, story, found)
        return found

    def _settle(self, event: Settled, row: Row, found: Judgement) -> None:
        truth = self._truths[row.evidence]
        best = self._standards[row.project][-1]
        if event.who.lower() in self._ours and event.status != EXPIRED:
            for complaint in _complaints(event, truth, best):
                found.findings.append(f"proposal {event.proposal} ({truth.kind.value}): {complaint}")
        if event.status == APPROVED:
            assert event.score is not None
            self._standards[row.project].append(Standard(event.time, event.score, truth.level))

    def _end(self, number: int, row: Row, story: Story, found: Judgement) -> None:
        truth = self._truths[row.evidence]
        due = DEED.get(truth.kind, EXPIRED)
        is_over = row.submitted_at <= self._ended
        if row.status < APPROVED:
            if is_over:
                found.findings.append(f"proposal {number} ({truth.kind.value}) never ended")
            return
        found.ends[f"{truth.kind.value}: {NAMES[row.status]}"] += 1
        if row.status == due:
            return
        excuse = self._excuse(number, row, truth, due, story)
        if excuse is None:
            found.findings.append(
                f"proposal {number} ({truth.kind.value}) is {NAMES[row.status]}, due was {NAMES[due]}"
            )
        else:
            found.excused[excuse] += 1

    def _excuse(self, number: int, row: Row, truth: Truth, due: int, story: Story) -> str | None:
        last = next((event for event in story.settled if event.proposal == number), None)
        if last is not None and row.status != EXPIRED:
            return "settled by a stranger" if last.who.lower() not in self._ours else None
        if due == EXPIRED:
            return None
        until = self._ended + 10**9 if last is None else last.time
        during = [best for best in self._standards[row.project] if self._overlaps(best, row, until)]
        if any(best.score >= row.claimed for best in during):
            return "overtaken: its claim no longer beat the best"
        if due == APPROVED and any(best.level - truth.level < CLEAR for best in during):
            return "overtaken: it no longer beat the best clearly"
        if all(self._lost.get((account, number), 0) > 1 for account in self._ours):
            return "every validator lost two of its pairs"
        return None

    def _overlaps(self, best: Standard, row: Row, until: int) -> bool:
        """Whether this was the best at some moment while a proposal was open."""
        line = self._standards[row.project]
        later = next((other.since for other in line if other.since > best.since), None)
        return best.since <= until and (later is None or later > row.submitted_at)


def _complaints(event: Settled, truth: Truth, best: Standard) -> list[str]:
    """What is wrong with one of our own settlements, at the moment when it happened."""
    if DEED.get(truth.kind) != event.status:
        return [f"was {NAMES[event.status]}"]
    if event.status == REJECTED:
        return []
    gain = int((best.level - truth.level) * 10**6)
    score = event.score or 0
    complaints = []
    if gain < TOLERANCE:
        complaints.append(f"was approved with a gain of {gain} millionths")
    # Chained scores add up lower bounds, so through an earlier control more than the bare gain may be right;
    # but nobody's score is ever better than what the candidate really scores.
    if not best.score < score <= -int(truth.level * 10**6) + TOLERANCE:
        complaints.append(f"was given the score {score} on {best.score} for a gain of {gain}")
    return complaints
