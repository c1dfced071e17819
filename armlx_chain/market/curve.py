"""The linear price curve as integer arithmetic, identical to the token contract's.

``b`` is the base price in wei, ``s`` the slope in wei per token, ``S`` the supply in whole tokens
(contracts specification, section 5.1).

>>> Curve(base_price=Wei(10**15), slope=Wei(10**12)).cost_between(0, 12)
12072000000000000
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from armlx_chain.errors import MarketError
from armlx_chain.types import Tokens, Wei


@dataclass(frozen=True, slots=True)
class Curve:
    """A token's price curve."""

    base_price: Wei
    slope: Wei

    def price_at(self, supply: int) -> Wei:
        """Marginal price at a supply. The next token costs half a slope more."""
        return Wei(self.base_price + self.slope * supply)

    def cost_between(self, start: int, end: int) -> Wei:
        """What ``end − start`` tokens cost from supply ``start``: ``b·n + (s·n·(start+end)) // 2``."""
        if end < start:
            raise MarketError(f"A supply cannot run backwards, from {start} to {end}.")
        count = end - start
        return Wei(self.base_price * count + self.slope * count * (start + end) // 2)

    def tokens_for(self, payment: int, supply: int) -> Tokens:
        """How many tokens a payment buys at a supply; the contract's ``quoteBuy``."""
        if payment <= 0:
            return Tokens(0)
        if self.slope == 0:
            return Tokens(payment // self.base_price if self.base_price else 0)
        q = 2 * self.base_price + 2 * self.slope * supply
        root = isqrt(q * q + 8 * self.slope * payment)
        return Tokens((root - q) // (2 * self.slope) if root > q else 0)

    def payment_for(self, count: int, supply: int) -> Wei:
        """The least payment that buys ``count`` tokens; with an odd slope the floored cost may not do."""
        cost = self.cost_between(supply, supply + count)
        return Wei(cost if self.tokens_for(cost, supply) >= count else cost + 1)

    def proceeds(self, count: int, supply: int) -> Wei:
        """What selling ``count`` tokens pays, if the reserve holds it; the contract's ``quoteSell``."""
        if count > supply:
            raise MarketError(f"{count} tokens cannot be sold: only {supply} exist.")
        return self.cost_between(supply - count, supply)

    def sellable(self, held: int, supply: int, reserve: int) -> Tokens:
        """The most tokens of ``held`` whose proceeds the reserve can pay (binary search)."""
        low, high = 0, min(held, supply)
        while low < high:
            middle = (low + high + 1) // 2
            if self.proceeds(middle, supply) <= reserve:
                low = middle
            else:
                high = middle - 1
        return Tokens(low)
