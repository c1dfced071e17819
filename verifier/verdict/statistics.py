"""The little statistics the verdict needs, exact to more digits than any figure shows.

- Nothing here opens a file, reads a clock or draws a random number.
- The chi-square quantile is solved from the regularised incomplete gamma function (its series and its
  continued fraction, the two classical expansions), so no table and no scientific library is trusted.

>>> round(chi_square_quantile(0.20, 19), 3)
13.716
>>> round(upper_factor(20), 3)
1.177
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache

from verifier.model import Bpb, bpb
from verifier.verdict.constants import S_CONFIDENCE, SPREAD_CONFIDENCE

PRECISION = 50
"""Decimal digits of every intermediate result; far beyond the nine that are kept."""

_EXACT_DIGITS = 400
"""More digits than a double's range and the nine after the point take."""

_TINY = 1e-300
_EPSILON = 1e-16
_MOST_TERMS = 10_000


def gamma_p(shape: float, x: float) -> float:
    """The regularised lower incomplete gamma function P(shape, x).

    Raises:
        ValueError: if ``shape`` is not positive or ``x`` is negative (a programming error).
    """
    if shape <= 0 or x < 0 or not math.isfinite(x):
        raise ValueError(f"P({shape}, {x}) is not defined.")
    if x == 0:
        return 0.0
    scale = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1:
        return scale * _series(shape, x)
    return 1.0 - scale * _continued_fraction(shape, x)


def _series(shape: float, x: float) -> float:
    """Σ x^k / (shape (shape+1) … (shape+k)); converges quickly left of the mode."""
    term = total = 1.0 / shape
    for k in range(1, _MOST_TERMS):
        term *= x / (shape + k)
        total += term
        if term < total * _EPSILON:
            break
    return total


def _continued_fraction(shape: float, x: float) -> float:
    """The upper function's continued fraction by Lentz's method; converges quickly right of the mode."""
    b = x + 1.0 - shape
    c = 1.0 / _TINY
    d = 1.0 / b
    value = d
    for k in range(1, _MOST_TERMS):
        a = -k * (k - shape)
        b += 2.0
        d = a * d + b
        d = 1.0 / (d if abs(d) > _TINY else _TINY)
        c = b + a / c
        c = c if abs(c) > _TINY else _TINY
        step = c * d
        value *= step
        if abs(step - 1.0) < _EPSILON:
            break
    return value


@lru_cache(maxsize=256)
def chi_square_quantile(probability: float, degrees: int) -> float:
    """The value a chi-square variable of so many degrees of freedom stays below with this probability.

    Raises:
        ValueError: for a probability outside (0, 1) or fewer than one degree of freedom.
    """
    if not 0.0 < probability < 1.0 or degrees < 1:
        raise ValueError(f"There is no chi-square quantile {probability} with {degrees} degrees of freedom.")
    low, high = 0.0, float(degrees) + 10.0
    while gamma_p(degrees / 2, high / 2) < probability:
        high *= 2
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        if gamma_p(degrees / 2, middle / 2) < probability:
            low = middle
        else:
            high = middle


def mean(values: Sequence[Decimal]) -> Bpb:
    """Arithmetic mean, to nine digits."""
    if not values:
        raise ValueError("No values, no mean.")
    whole, unit = _integers(values)
    return bpb(_decimal(Fraction(sum(whole), len(whole)) * unit))


def standard_deviation(values: Sequence[Decimal]) -> Decimal:
    """Sample standard deviation (n - 1 in the denominator), to ``PRECISION`` digits.

    Raises:
        ValueError: for fewer than two values.
    """
    if len(values) < 2:
        raise ValueError("A standard deviation needs two values.")
    whole, unit = _integers(values)
    n = len(whole)
    # In integers Σ(x - mean)² = (n Σx² - (Σx)²) / n loses nothing.
    squares = n * sum(value * value for value in whole) - sum(whole) ** 2
    variance = Fraction(squares, n * (n - 1)) * unit * unit
    with localcontext() as context:
        context.prec = PRECISION
        return _decimal(variance).sqrt()


def _integers(values: Sequence[Decimal]) -> tuple[list[int], Fraction]:
    """The values as integers, exactly, and the power of ten that they count.

    Raises:
        ValueError: if one of them is not a finite number.
    """
    exponents = [value.as_tuple().exponent for value in values]
    if not all(isinstance(exponent, int) for exponent in exponents):
        raise ValueError("Statistics need finite numbers.")
    lowest = min(int(exponent) for exponent in exponents)
    with localcontext() as context:
        context.prec = _EXACT_DIGITS
        return [int(value.scaleb(-lowest)) for value in values], Fraction(10) ** lowest


def upper_factor(runs: int) -> float:
    """By how much the upper 80 percent bound of a standard deviation exceeds the estimate from ``runs`` runs.

    (n - 1) s²/σ² is chi-square with n - 1 degrees of freedom, so σ < s·√((n - 1)/χ²(0.20)) with 80 percent.
    """
    degrees = runs - 1
    return math.sqrt(degrees / chi_square_quantile(round(1.0 - S_CONFIDENCE, 12), degrees))


def upper_bound(values: Sequence[Decimal]) -> Bpb:
    """The upper 80 percent bound of the standard deviation behind these values: the rule's s."""
    with localcontext() as context:
        context.prec = PRECISION
        return bpb(standard_deviation(values) * Decimal(upper_factor(len(values))))


def spread_bound(s: Decimal, pairs: int, confidence: float = SPREAD_CONFIDENCE) -> Bpb:
    """The largest standard deviation of so many paired differences that s explains with this confidence.

    A difference of two runs has variance 2s².
    """
    factor = spread_factor(pairs, confidence)
    with localcontext() as context:
        context.prec = PRECISION
        return bpb(s * Decimal(factor))


def spread_factor(pairs: int, confidence: float = SPREAD_CONFIDENCE) -> float:
    """``spread_bound`` in units of s: √(2 χ²(confidence) / (n − 1))."""
    degrees = pairs - 1
    return math.sqrt(2.0 * chi_square_quantile(confidence, degrees) / degrees)


def z_score(gap: Decimal, standard_error: Decimal) -> Decimal:
    """How many standard errors a gap is away from zero, to six digits.

    A standard error of zero makes any gap infinitely many, and no gap none.
    """
    if standard_error < 0:
        raise ValueError("A standard error is not negative.")
    if standard_error == 0:
        return Decimal(0) if gap == 0 else Decimal("Infinity").copy_sign(gap)
    with localcontext() as context:
        context.prec = PRECISION
        return (gap / standard_error).quantize(Decimal("1e-6"), rounding=ROUND_HALF_EVEN)


def _decimal(value: Fraction) -> Decimal:
    with localcontext() as context:
        context.prec = PRECISION
        return Decimal(value.numerator) / Decimal(value.denominator)
