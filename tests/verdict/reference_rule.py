"""The rule a second time, written from its description and from nothing else, in whole numbers.

Figures are integers of a billionth of a bit per byte. With sigma = m/2 one pair adds (D - sigma)/sigma, so
that the ratio reaches 6.9 where ten times the sum of (2D - m) reaches 69 m. Quantiles of chi-square come
from the closed forms for even and for odd degrees of freedom, not from the incomplete gamma function.
"""

from __future__ import annotations

import math
from functools import cache

FINAL_QUANTILE, EARLY_QUANTILE = 0.99, 0.98


def judge(differences: list[int], *, s: int, m: int, stop: int) -> tuple[str, int]:
    """(decision, pairs it rests on) for differences in order."""
    for n in range(1, min(len(differences), stop) + 1):
        seen = differences[:n]
        if n == 1 and seen[0] < -2 * s:
            return "clearly-worse", 1
        evidence = sum(2 * max(-2 * m, min(2 * m, gain)) - m for gain in seen)
        refuse, approve = evidence <= -3 * m, n >= 3 and 10 * evidence >= 69 * m
        must_look = n in (8, 24)
        if (refuse or must_look) and spread_beyond(seen, s, FINAL_QUANTILE):
            return "too-noisy", n
        if refuse:
            return "reject", n
        if approve and (must_look or not spread_beyond(seen, s, EARLY_QUANTILE)):
            return "accept", n
    stopped = len(differences) >= stop
    return ("exhausted", stop) if stopped else ("continue", len(differences))


def spread_beyond(seen: list[int], s: int, quantile: float) -> bool:
    """Whether the sample standard deviation exceeds what noise s explains; a difference has variance 2s²."""
    n = len(seen)
    if n < 2:
        return False
    allowed = round(s * math.sqrt(2 * chi_square(quantile, n - 1) / (n - 1)))
    centred = [n * gain - sum(seen) for gain in seen]
    return sum(value * value for value in centred) > allowed * allowed * n * n * (n - 1)


@cache
def chi_square(probability: float, degrees: int) -> float:
    """The quantile, by halving an interval."""
    low, high = 0.0, 200.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def below(x: float, degrees: int) -> float:
    """P(chi-square < x): a finite sum for even degrees, error function and a finite sum for odd ones."""
    half = x / 2
    if degrees % 2 == 0:
        return 1 - math.exp(-half) * sum(half**k / math.factorial(k) for k in range(degrees // 2))
    steps = range((degrees - 1) // 2)
    rest = sum(half ** (k + 0.5) / math.gamma(k + 1.5) for k in steps)
    return math.erf(math.sqrt(half)) - math.exp(-half) * rest
