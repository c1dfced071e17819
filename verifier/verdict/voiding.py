"""Which pairs do not count, seen from outside and from the control alone.

- The candidate's score is never looked at here: a pair is voided, or counts, before anyone knows what it
  would have meant.
- A control that ends without a model, or whose score or steps lie outside their band, voids its pair; so does
  anything that the machine's own sensors report about either run.
- The band is the calibrated one where the control is the unmodified snapshot. For any other control nobody
  has calibrated a score, so the first counted control of the session is the centre; and its steps are not
  looked at, because the author of an accepted candidate prints them.
"""

from __future__ import annotations

import statistics as basic
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from verifier.model import Ending, Noise, Pair, RunRecord
from verifier.verdict.constants import SCORE_BAND, STEP_BAND, STEP_BAND_SPREADS
from verifier.verdict.rule import Test


@dataclass(frozen=True, slots=True)
class Band:
    """Where the control's own figures must lie.

    Attributes:
        centre: Validation bits per byte, ``None`` while no control has a score.
        width: Allowed distance from the centre, bits per byte.
        steps, step_width: The same for the steps its log reports; ``None`` if they are not looked at.
    """

    centre: Decimal | None
    width: Decimal
    steps: float | None = None
    step_width: float = 0.0

    @classmethod
    def of(cls, noise: Noise, test: Test, pairs: Sequence[Pair], *, control_is_baseline: bool) -> Band:
        """The band for a session."""
        width = SCORE_BAND * test.m
        if not (control_is_baseline and noise.control_mean is not None):
            return cls(centre=_first_score(pairs), width=width)
        if len(noise.steps) < 2:
            return cls(centre=noise.control_mean, width=width)
        steps = basic.mean(noise.steps)
        step_width = max(STEP_BAND * steps, STEP_BAND_SPREADS * basic.stdev(noise.steps))
        return cls(centre=noise.control_mean, width=width, steps=steps, step_width=step_width)


def _first_score(pairs: Sequence[Pair]) -> Decimal | None:
    for pair in pairs:
        if (
            not (pair.control.disturbances or pair.candidate.disturbances)
            and pair.control.validation is not None
        ):
            return pair.control.validation
    return None


def void_reason(pair: Pair, band: Band) -> str | None:
    """Why this pair does not count, as a sentence; ``None`` if it does."""
    for name, record in (("control", pair.control), ("candidate", pair.candidate)):
        if record.disturbances:
            return f"The {name} run was disturbed: {'; '.join(record.disturbances)}."
    if pair.control.ending is not Ending.GRAPH:
        return f"The control run ended without a model ({pair.control.ending}): {pair.control.detail}"
    return _outside(pair.control, band)


def _outside(control: RunRecord, band: Band) -> str | None:
    score, steps = control.validation, control.steps
    if score is not None and band.centre is not None and abs(score - band.centre) > band.width:
        return (
            f"The control scored {score} bits per byte, outside {band.centre} ± {band.width}: this machine "
            "is not in the state in which it was calibrated."
        )
    if steps is not None and band.steps is not None and abs(steps - band.steps) > band.step_width:
        return (
            f"The control made {steps} steps, outside {band.steps:.0f} ± {band.step_width:.0f}: this machine "
            "is not in the state in which it was calibrated."
        )
    return None


def control_failures(pairs: Sequence[Pair]) -> int:
    """How many controls of the session ended without a model, voided pairs included."""
    return sum(pair.control.ending is not Ending.GRAPH for pair in pairs)
