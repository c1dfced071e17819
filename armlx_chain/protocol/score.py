"""The score codec: between a metric's exact decimal value and the ledger's signed integer.

- greater is better: a minimised metric is negated;
- digits beyond the scale round towards the *worse* score, the same way for everybody;
- nothing here is a float.

Source: the contracts specification, section 10 (encoding, orientation); the specification of the trusted
evaluation, section 3 (chained score).

>>> encode_score(Decimal("2.213268"), "minimize")
-2213268
>>> chained_score(ScaledScore(-2213268), Decimal("0.0123459"))
-2200923
"""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction
from math import ceil, floor

from armlx_chain.errors import MetricError
from armlx_chain.protocol.model import Direction
from armlx_chain.types import SCORE_SCALE, ScaledScore

__all__ = ["chained_score", "claimed_score", "decode_score", "encode_score", "score_text"]

_INT256 = 1 << 255
_MAX_EXPONENT = 80
_MAX_DIGITS = 200
"""Beyond these a decimal cannot be a score, and exact arithmetic on it would cost memory."""


def encode_score(value: Decimal, direction: Direction, *, scale: int = SCORE_SCALE) -> ScaledScore:
    """The ledger's integer for a metric value.

    Args:
        value: The metric, exact.
        direction: Which way is better.
        scale: Raw units per unit of the metric.

    Raises:
        MetricError: if the value is not finite or does not fit the ledger's 256 bits.
    """
    exact = _exact(value) * scale
    return _fitting(floor(exact) if direction == "maximize" else -ceil(exact))


def decode_score(score: int, direction: Direction, *, scale: int = SCORE_SCALE) -> Decimal:
    """The metric value that a score stands for, exact for any scale that is a power of ten."""
    signed = score if direction == "maximize" else -score
    return Context(prec=_MAX_DIGITS).divide(Decimal(signed), Decimal(scale))


def chained_score(best: ScaledScore, lower_bound: Decimal) -> ScaledScore:
    """The score that an approval records: C + max(1, ⌊10⁶·L⌋).

    Args:
        best: C, the current best at settlement.
        lower_bound: L, the lower bound of the mean paired gain, positive is better.

    Raises:
        MetricError: if the bound is not finite or the sum does not fit the ledger's 256 bits.
    """
    return _fitting(best + max(1, floor(_exact(lower_bound) * SCORE_SCALE)))


def claimed_score(best: ScaledScore, gain: Decimal) -> ScaledScore:
    """The score that a miner claims: C + ⌊10⁶·gain⌋. It beats C only if the gain is a millionth or more.

    Raises:
        MetricError: if the gain is not finite or the sum does not fit the ledger's 256 bits.
    """
    return _fitting(best + floor(_exact(gain) * SCORE_SCALE))


def score_text(score: int, *, scale: int = SCORE_SCALE) -> str:
    """A raw score divided by the scale, with its sign and all its digits: ``4.138928``."""
    digits = len(str(scale)) - 1
    sign = "-" if score < 0 else ""
    whole, part = divmod(abs(score), scale)
    return f"{sign}{whole}.{part:0{digits}d}" if digits else f"{sign}{whole}"


def _exact(value: Decimal) -> Fraction:
    if not value.is_finite():
        raise MetricError(f"{value} is not a number that can be scored.")
    if value and (abs(value.adjusted()) > _MAX_EXPONENT or len(value.as_tuple().digits) > _MAX_DIGITS):
        raise MetricError("The value has more digits than a score can hold.")
    return Fraction(value) if value else Fraction(0)


def _fitting(score: int) -> ScaledScore:
    if not -_INT256 <= score < _INT256:
        raise MetricError("The score does not fit the ledger's signed 256-bit integer.")
    return ScaledScore(score)
