"""Does a gain on the public validation rows carry over to fresh rows? Pure.

The figure is the *gap*: bits per byte on fresh rows minus bits per byte on validation rows, less the same of
the control where one was scored on the same rows. Memorised validation data shows as a gap far outside its
standard error; honest models have gaps near the control's.

The standard error is that of a ratio estimate: with u_i = (bits_i − R·bytes_i) / mean bytes, R being the
ratio of the sums, it is the standard deviation of u over √rows. Against a control the bits of a row are the
difference candidate − control, so what makes a row hard for everyone cancels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from verifier.harness.scoring import Doubles, RowScores
from verifier.model import Audit, AuditKind

GAP_LIMIT: Final = 0.1
"""Bits per byte (trusted evaluation, section 3)."""
Z_LIMIT: Final = 8.0
MINIMUM_SHARED_ROWS: Final = 16
"""Fewer rows in common with the control say nothing about the difference."""


@dataclass(frozen=True, slots=True)
class GapScores:
    """Row scores of one graph, each set with the rows' numbers in the benchmark."""

    validation: RowScores
    fresh: RowScores
    fresh_rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bits per byte over a set of rows, with its standard error."""

    mean: float
    error: float
    rows: int


def estimate(bits: Doubles, scores: RowScores) -> Estimate:
    """The ratio Σ bits / Σ bytes and its standard error."""
    count = int(bits.size)
    total = float(scores.sizes.sum())
    if count == 0 or total == 0:
        return Estimate(0.0, math.inf, count)
    ratio = math.fsum(bits.tolist()) / total
    residuals = (bits - ratio * scores.sizes) / (total / count)
    error = float(np.std(residuals, ddof=1)) / math.sqrt(count) if count > 1 else math.inf
    return Estimate(ratio, error, count)


def fresh_gap_audit(own: GapScores, control: GapScores | None, *, both_ways: bool = False) -> Audit:
    """Audit a graph, against the control's scores on the same rows where there are enough of them.

    Args:
        both_ways: Fail as well where the fresh rows are far *easier* than the validation rows. So it is asked
            of controls: on such rows an honest gain cannot carry over, and nobody may be refuted for that.
    """
    validation = estimate(own.validation.bits, own.validation)
    fresh = estimate(own.fresh.bits, own.fresh)
    gap, error = fresh.mean - validation.mean, math.hypot(validation.error, fresh.error)
    figures = {
        "validation-bpb": f"{validation.mean:.9f}",
        "fresh-bpb": f"{fresh.mean:.9f}",
        "validation-rows": str(validation.rows),
        "fresh-rows": str(fresh.rows),
        "own-gap-bpb": f"{gap:.9f}",
        "own-gap-standard-error": f"{error:.9f}",
    }
    shared = _shared(own, control)
    if shared is not None:
        on_validation, on_fresh = shared
        gap, error = on_fresh.mean - on_validation.mean, math.hypot(on_validation.error, on_fresh.error)
        figures |= {
            "validation-difference-bpb": f"{on_validation.mean:.9f}",
            "validation-difference-standard-error": f"{on_validation.error:.9f}",
            "fresh-difference-bpb": f"{on_fresh.mean:.9f}",
            "fresh-difference-standard-error": f"{on_fresh.error:.9f}",
            "shared-fresh-rows": str(on_fresh.rows),
        }
    z = _z(gap, error)
    figures |= {
        "against": "none" if shared is None else "control",
        "gap-bpb": f"{gap:.9f}",
        "gap-standard-error": f"{error:.9f}",
        "z": f"{z:.3f}",
        "limits": f"gap above {GAP_LIMIT:g} with z above {Z_LIMIT:g}" + (", either way" if both_ways else ""),
    }
    failed = gap > GAP_LIMIT and z > Z_LIMIT
    if both_ways:
        failed = abs(gap) > GAP_LIMIT and abs(z) > Z_LIMIT
    return Audit(AuditKind.FRESH_GAP, not failed, figures)


def _z(gap: float, error: float) -> float:
    if error == 0.0:
        return 0.0 if gap == 0.0 else math.copysign(math.inf, gap)
    return gap / error


def _shared(own: GapScores, control: GapScores | None) -> tuple[Estimate, Estimate] | None:
    """Candidate − control on the validation rows and on the fresh rows both were scored on."""
    if control is None or control.validation.bits.shape != own.validation.bits.shape:
        return None
    place = {row: index for index, row in enumerate(control.fresh_rows)}
    mine = [index for index, row in enumerate(own.fresh_rows) if row in place]
    if len(mine) < MINIMUM_SHARED_ROWS:
        return None
    theirs = [place[own.fresh_rows[index]] for index in mine]
    on_validation = estimate(own.validation.bits - control.validation.bits, own.validation)
    fresh = RowScores(own.fresh.nats[mine], own.fresh.sizes[mine])
    return on_validation, estimate(fresh.bits - control.fresh.bits[theirs], fresh)
