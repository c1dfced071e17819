"""The rule on many tests at once, in floating point: for simulations, never for a verdict.

- ``decide_many`` follows ``verifier.verdict.rule`` decision by decision; that both agree is tested.
- ``Variant`` leaves parts of the rule out, so that one sees what each of them is for.

::

    ends = decide_many(gains, s=1.0, m=2.0)          # one row per test, up to 24 pairs
    share = (ends.first(8).codes == ACCEPT).mean()   # what was accepted within eight
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from verifier.verdict.constants import (
    ACCEPT_AT,
    CLEARLY_WORSE,
    CLIP_SIGMAS,
    EARLY_SPREAD_CONFIDENCE,
    LOOKS,
    MINIMUM_PAIRS,
    REJECT_AT,
    SPREAD_CONFIDENCE,
)
from verifier.verdict.rule import Decision
from verifier.verdict.statistics import spread_factor

Floats = NDArray[np.float64]

CODES: Final = tuple(Decision)
"""A decision's code is its position here."""

CONTINUE, ACCEPT, REJECT, CLEARLY, NOISY, EXHAUSTED = range(len(CODES))

_ROWS: Final = 16_384
"""Rows that are looked at together, so that the running sums stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The rule, or the rule without some of its parts.

    Attributes:
        clip: Whether each difference is clipped to ±4 sigma.
        minimum_pairs: No acceptance before so many.
        spread_check: Whether a spread beyond what s explains is looked at.
        go_on: Whether an acceptance that spreads too far goes on (version 2) or ends undecided (version 1).
        early_confidence: Quantile that the spread must keep for an acceptance between the looks.
    """

    clip: bool = True
    minimum_pairs: int = MINIMUM_PAIRS
    spread_check: bool = True
    go_on: bool = True
    early_confidence: float = EARLY_SPREAD_CONFIDENCE


@dataclass(frozen=True, slots=True)
class Ends:
    """How each test ended: its decision's code, and the pairs it took."""

    codes: NDArray[np.int8]
    used: NDArray[np.int64]

    def first(self, pairs: int) -> Ends:
        """The same tests, stopped after so many pairs."""
        late = self.used > pairs
        return Ends(np.where(late, EXHAUSTED, self.codes).astype(np.int8), np.where(late, pairs, self.used))


def decide_many(gains: Floats, *, s: float | Floats, m: float | Floats, variant: Variant = Variant()) -> Ends:
    """``rule.assess`` on every row, with the row's length as limit.

    Args:
        gains: Differences, one test a row, bits per byte or any other unit.
        s, m: In the same unit; one figure for all rows or one for each.
    """
    rows, limit = gains.shape
    ends = Ends(np.full(rows, EXHAUSTED, dtype=np.int8), np.full(rows, limit, dtype=np.int64))
    every_s, every_m = (np.broadcast_to(np.asarray(value, dtype=np.float64), (rows,)) for value in (s, m))
    for start in range(0, rows, _ROWS):
        part = slice(start, start + _ROWS)
        scaled = gains[part] / every_s[part, None]
        _decide(scaled, every_m[part] / every_s[part], variant, Ends(ends.codes[part], ends.used[part]))
    return ends


def _decide(gains: Floats, m: Floats, variant: Variant, ends: Ends) -> None:
    """Fill ``ends`` for differences in units of s, pair by pair, over the tests that are still open."""
    alive = np.arange(len(gains))
    llr, total, squares = (np.zeros(len(gains)) for _ in range(3))
    for pair in range(1, gains.shape[1] + 1):
        gain, sigma = gains[alive, pair - 1], m[alive] / 2
        counted = np.clip(gain, -CLIP_SIGMAS * sigma, CLIP_SIGMAS * sigma) if variant.clip else gain
        llr += (counted - sigma) / sigma
        total += gain
        squares += gain * gain
        spread = np.sqrt(np.maximum(squares - total * total / pair, 0.0) / max(1, pair - 1))
        codes = _codes(pair, gain, llr, spread, variant)
        over = codes != CONTINUE
        ends.codes[alive[over]] = codes[over]
        ends.used[alive[over]] = pair
        alive, llr, total, squares = alive[~over], llr[~over], total[~over], squares[~over]


def _codes(pair: int, gain: Floats, llr: Floats, spread: Floats, variant: Variant) -> NDArray[np.int8]:
    """The decisions after one pair, as ``rule._decide`` makes them; the last one written has precedence."""
    look = pair in LOOKS
    rejected = llr <= float(REJECT_AT)
    accepted = (llr >= float(ACCEPT_AT)) & (pair >= variant.minimum_pairs)
    wide = early = np.zeros(len(gain), dtype=bool)
    if variant.spread_check and pair >= 2:
        wide = spread > spread_factor(pair, SPREAD_CONFIDENCE)
        early = wide if look else spread > spread_factor(pair, variant.early_confidence)
    codes = np.full(len(gain), CONTINUE, dtype=np.int8)
    codes[accepted & ~(early if variant.go_on else wide)] = ACCEPT
    codes[rejected] = REJECT
    ends = rejected | (look if variant.go_on else accepted | look)
    codes[ends & wide] = NOISY
    if pair == 1:
        codes[gain < -CLEARLY_WORSE] = CLEARLY
    return codes
