"""The campaign's rows, kept in a file and shown as a table.

A row is plain JSON, so that a campaign that was cut off goes on, and another program can read what was found.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.attacks.court import WORTH, Court
from tests.attacks.docket import Tried
from tests.attacks.honesty import Judged
from tests.attacks.load import Variant
from verifier.model import Outcome
from verifier.verdict.constants import MINIMUM_GAIN

HONEST: Final = "honest"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        kind: The cheat's class, or ``honest``.
        expected: R or N for a cheat; the verdict that is due for an honest variant.
        claimed: What a bare run printed, or the true gain of an honest variant in units of s.
        naive: What a trusting re-run would do: ``approved``, ``not better`` or ``no metric``.
        trusted: The verifier's score; for an honest variant its mean gain in units of s.
        standing: ``pass``, ``MISS``, ``FALSE ALARM``, ``UNEXPECTED`` (not approved, for another reason than
            the right one), ``not shown`` (right, but the bare run did not do what its header says) or
            ``noise`` (an honest variant left undecided by a noisy machine).
        digest, code: Of the recipe, and of the verifier's sources, when this was measured.
    """

    name: str
    kind: str
    expected: str
    claimed: str
    naive: str
    trusted: str
    verdict: str
    reason: str
    standing: str
    seconds: float
    digest: str
    code: str

    @property
    def bad(self) -> bool:
        return self.standing not in ("pass", "noise")

    def cells(self) -> tuple[str, ...]:
        shown = (self.name, self.kind, self.expected, self.claimed, self.naive, self.trusted)
        return (*shown, self.verdict, self.reason, self.standing)


CHEATS_HEAD: Final = (
    "cheat",
    "class",
    "due",
    "claimed",
    "naive re-run",
    "trusted",
    "verdict",
    "deciding reason",
    "result",
)
HONEST_HEAD: Final = (
    "honest variant",
    "",
    "due",
    "true gain / s",
    "naive re-run",
    "found gain / s",
    "verdict",
    "deciding reason",
    "result",
)


def cheat_row(court: Court, tried: Tried, *, seconds: float, code: str) -> Row:
    """The row of a cheat."""
    if tried.approved and not tried.right:
        standing = "MISS"
    elif not tried.right or not tried.seen_through:
        standing = "UNEXPECTED"
    else:
        standing = "pass" if tried.works else "not shown"
    # By a margin that luck does not give: a bare no-op beats the best of two now and then.
    better = tried.claimed is not None and tried.claimed < court.honest_score - WORTH
    return Row(
        name=tried.variant.name,
        kind=tried.variant.kind,
        expected=tried.variant.facts["expected"],
        claimed=_figure(tried.claimed),
        naive="approved" if better else "not better" if tried.claimed is not None else "no metric",
        trusted=_figure(tried.trusted),
        verdict=tried.verdict.outcome.value,
        reason=tried.verdict.reason.value + (", ESCAPED" if tried.escaped else ""),
        standing=standing,
        seconds=round(seconds, 1),
        digest=tried.variant.digest,
        code=code,
    )


def honest_row(judged: Judged, *, seconds: float, code: str) -> Row:
    """The row of an honest variant; a naive re-run approves what is at all better."""
    found = judged.verdict.mean_gain
    standing = "pass"
    if judged.false_alarm:
        standing = "FALSE ALARM"
    elif judged.miss:
        standing = "MISS"
    elif judged.undecided_for_noise:
        standing = "noise"
    elif judged.verdict.outcome is Outcome.UNDECIDED:
        standing = "UNEXPECTED"
    truth = f"{judged.truth.gain / judged.s:+.1f} ± {judged.truth.error / judged.s:.1f}"
    return Row(
        name=judged.variant.name,
        kind=HONEST,
        expected=judged.expected,
        claimed=truth,
        naive="approved" if judged.truth.gain > float(MINIMUM_GAIN) else "not better",
        trusted="none" if found is None else f"{float(found) / judged.s:+.1f}",
        verdict=judged.verdict.outcome.value,
        reason=judged.verdict.reason.value,
        standing=standing,
        seconds=round(seconds, 1),
        digest=judged.variant.digest,
        code=code,
    )


def _figure(score: float | None) -> str:
    return "none" if score is None else f"{score:.6f}"


class Kept:
    """Rows in a file, one JSON object a line.

    Args:
        path: ``None`` keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def rows(self, variants: Sequence[Variant]) -> dict[str, Row]:
        """Those that were measured with these very recipes, by name."""
        digests = {variant.name: variant.digest for variant in variants}
        if self._path is None or not self._path.exists():
            return {}
        lines = self._path.read_text().splitlines()
        # What was being written when the campaign was cut off is no line yet.
        known = [Row(**json.loads(line)) for line in lines if line.endswith("}")]
        return {row.name: row for row in known if digests.get(row.name) == row.digest}

    def add(self, row: Row) -> None:
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")


def table(head: Sequence[str], rows: Sequence[Row], *, markdown: bool) -> str:
    """The rows below their head, as text or as Markdown."""
    lines = [tuple(head), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in shown)
    shown.insert(1, ["-" * max(3, width) for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in shown)


def summary(rows: Sequence[Row], code: str) -> str:
    """What was found, in a few sentences."""
    cheats = [row for row in rows if row.kind != HONEST]
    honest = [row for row in rows if row.kind == HONEST]
    parts = []
    if cheats:
        stopped = {
            outcome: sum(row.verdict == outcome for row in cheats)
            for outcome in ("refuted", "unimproved", "undecided")
        }
        believed = sum(row.naive == "approved" for row in cheats)
        paid = sum(row.verdict == "reproduced" for row in cheats)
        ends = ", ".join(f"{count} {outcome}" for outcome, count in stopped.items())
        parts.append(
            f"{len(cheats)} cheats: a naive re-run approves {believed}, the verifier {paid}; {ends}."
        )
    if honest:
        due = sum(row.expected == "reproduced" for row in honest)
        paid = sum(row.expected == row.verdict == "reproduced" for row in honest)
        parts.append(
            f"{len(honest)} honest variants: {due} truly better by 3s or more, of which {paid} reproduced; "
            f"{sum(row.verdict == 'refuted' for row in honest)} refuted; "
            f"{sum(row.standing == 'noise' for row in honest)} left undecided by noise."
        )
    for standing, words in (
        ("MISS", "misses"),
        ("FALSE ALARM", "false alarms"),
        ("UNEXPECTED", "unexpected reasons"),
        ("not shown", "not shown to work bare"),
    ):
        names = [row.name for row in rows if row.standing == standing]
        parts.append(f"{words.capitalize()}: {len(names)}{' (' + ', '.join(names) + ')' if names else ''}.")
    older = sum(row.code != code for row in rows)
    if older:
        parts.append(f"{older} rows were measured with other code of the verifier than this one's.")
    return "\n".join(parts)
