"""The bonding curve, in exact integers and equal to the contract (contracts specification, section 5.1).

- Amounts are wei and whole tokens; nothing is ever rounded in our favour.
- Every intermediate is checked as the contract checks it: where it would panic, ``CurveOverflow`` is raised.
- The contract's own answers are ``price_at``, ``cost_between``, ``tokens_for`` (quoteBuy) and ``proceeds``
  (quoteSell); ``payment_for`` and ``sellable`` are what a trader needs on top.

>>> Curve(base_price=Wei(10**15), slope=Wei(10**12)).cost_between(0, 12)
12072000000000000
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from armlx_chain.errors import CurveOverflow, MarketError
from armlx_chain.types import Tokens, Wei

_WORD = 1 << 256


@dataclass(frozen=True, slots=True)
class Curve:
    """A token's price curve: the marginal price is ``base_price + slope · supply`` wei."""

    base_price: Wei
    slope: Wei

    def price_at(self, supply: int) -> Wei:
        """Marginal price at a supply. The next token costs half a slope more.

        Raises:
            CurveOverflow: where the contract panics.
        """
        return Wei(_checked(self.base_price + _checked(self.slope * supply)))

    def cost_between(self, start: int, end: int) -> Wei:
        """What ``end − start`` tokens cost from supply ``start``: ``b·n + (s·n·(start+end)) // 2``.

        Raises:
            MarketError: the range is reversed (the contract says BAD_RANGE).
            CurveOverflow: where the contract panics.
        """
        if end < start:
            raise MarketError(f"A supply cannot run backwards, from {start} to {end}.")
        count = end - start
        both = _checked(start + end)
        rising = _checked(_checked(self.slope * count) * both) // 2
        return Wei(_checked(_checked(self.base_price * count) + rising))

    def tokens_for(self, payment: int, supply: int) -> Tokens:
        """How many tokens a payment buys at a supply; the contract's ``quoteBuy``.

        It is the largest n whose *unrounded* cost is covered: ``2·b·n + s·n·(2·supply + n) ≤ 2·payment``.

        Raises:
            CurveOverflow: where the contract panics.
        """
        if payment <= 0:
            return Tokens(0)
        if self.slope == 0:
            return Tokens(payment // self.base_price if self.base_price else 0)
        q = _checked(_checked(2 * self.base_price) + _checked(_checked(2 * self.slope) * supply))
        root = isqrt(_checked(_checked(q * q) + _checked(_checked(8 * self.slope) * payment)))
        return Tokens((root - q) // (2 * self.slope) if root > q else 0)

    def payment_for(self, count: int, supply: int) -> Wei:
        """The least payment that buys ``count`` tokens; with an odd slope the floored cost may not do.

        Raises:
            MarketError: no payment buys them (a curve without any price).
            CurveOverflow: where the contract panics.
        """
        cost = self.cost_between(supply, supply + count)
        if self.tokens_for(cost, supply) >= count:
            return cost
        payment = Wei(_checked(cost + 1))
        if self.tokens_for(payment, supply) < count:
            raise MarketError(
                f"No payment buys {count} tokens of a curve whose price is zero.",
                meaning="The project was published without a price; nobody can buy its token.",
            )
        return payment

    def proceeds(self, count: int, supply: int) -> Wei:
        """What selling ``count`` tokens pays, if the reserve holds it; the contract's ``quoteSell``.

        Raises:
            MarketError: there are not so many (the contract says OverSupply).
            CurveOverflow: where the contract panics.
        """
        if count > supply:
            raise MarketError(f"{count} tokens cannot be sold: only {supply} exist.")
        return self.cost_between(supply - count, supply)

    def sellable(self, held: int, supply: int, reserve: int) -> Tokens:
        """The most tokens of ``held`` whose proceeds the reserve can pay (binary search)."""
        low, high = 0, min(held, supply)
        while low < high:
            middle = (low + high + 1) // 2
            if self._payable(middle, supply, reserve):
                low = middle
            else:
                high = middle - 1
        return Tokens(low)

    def _payable(self, count: int, supply: int, reserve: int) -> bool:
        try:
            return self.proceeds(count, supply) <= reserve
        except CurveOverflow:
            return False


def _checked(value: int) -> int:
    if not 0 <= value < _WORD:
        raise CurveOverflow("The curve's arithmetic overflows there: the contract would refuse (Panic 0x11).")
    return value
