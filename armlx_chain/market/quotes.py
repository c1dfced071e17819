"""What a trade costs or brings at a known state of the market. Pure rules: no chain, no clock.

The contract has no minimum-out (contracts specification, section 11, W6), so a purchase is bounded by what is
sent: the exact cost, plus at most the cost of a tolerated upward move of the supply (section 12).
"""

from __future__ import annotations

from dataclasses import dataclass

from armlx_chain.errors import MarketError
from armlx_chain.market.state import MarketState
from armlx_chain.types import Tokens, Wei

PARTS_PER_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Quote:
    """Buying ``count`` tokens at once, at one state of the market.

    Attributes:
        cost: What the contract keeps.
        payment: The least that must be sent for it: the cost, and one wei more where half a wei was floored.
        spot_before: Marginal price before.
        spot_after: Marginal price after.
    """

    count: Tokens
    cost: Wei
    payment: Wei
    spot_before: Wei
    spot_after: Wei

    @property
    def average_price(self) -> Wei:
        """Wei per token, rounded up."""
        return Wei(-(-self.cost // self.count) if self.count else 0)

    @property
    def impact_ppm(self) -> int | None:
        """How far this purchase moves the marginal price, in parts per million; None from a price of zero."""
        if self.spot_before == 0:
            return None
        return (self.spot_after - self.spot_before) * PARTS_PER_MILLION // self.spot_before


@dataclass(frozen=True, slots=True)
class Purchase:
    """A planned purchase.

    Attributes:
        count: Tokens wanted.
        cost: Their cost at the present supply.
        payment: What is sent; the difference to the real cost comes back in the same transaction.
    """

    count: Tokens
    cost: Wei
    payment: Wei


def quote_tokens(market: MarketState, count: int) -> Quote:
    """What ``count`` tokens cost now.

    Raises:
        MarketError: the count is not positive, or no payment buys it.
    """
    _require_positive(count, "bought")
    return Quote(
        count=Tokens(count),
        cost=market.curve.cost_between(market.supply, market.supply + count),
        payment=market.curve.payment_for(count, market.supply),
        spot_before=market.spot_price,
        spot_after=market.curve.price_at(market.supply + count),
    )


def quote_budget(market: MarketState, budget: Wei) -> Quote:
    """The most tokens that ``budget`` buys now.

    Raises:
        MarketError: it does not buy a single one.
    """
    count = market.curve.tokens_for(budget, market.supply)
    if count == 0:
        raise MarketError(
            f"{budget} wei do not buy a single {market.symbol}: the next one costs"
            f" {market.next_token_cost} wei.",
            details={"next_token_cost": market.next_token_cost},
        )
    return quote_tokens(market, count)


def plan_purchase(
    market: MarketState, count: int, *, max_spend: Wei | None = None, tolerate_tokens: int = 0
) -> Purchase:
    """Plan to buy ``count`` tokens.

    Args:
        max_spend: Upper bound of the payment, in wei.
        tolerate_tokens: How many tokens others may buy first without our purchase coming up short.

    Raises:
        MarketError: the count is not positive, or the payment exceeds the bound.
    """
    quote = quote_tokens(market, count)
    payment = max(quote.payment, market.curve.payment_for(count, market.supply + tolerate_tokens))
    if max_spend is not None and payment > max_spend:
        raise MarketError(
            f"{count} {market.symbol} cost {payment} wei now, more than the bound of {max_spend} wei.",
            meaning="This purchase was not sent.",
            next_step="Raise --max-spend or buy fewer tokens.",
            details={"payment": payment, "max_spend": max_spend},
        )
    return Purchase(Tokens(count), quote.payment, Wei(payment))


def plan_sale(market: MarketState, count: int, *, min_proceeds: Wei | None = None) -> Wei:
    """What selling ``count`` tokens pays now.

    Raises:
        MarketError: the reserve cannot pay it, or it is below the bound.
    """
    _require_positive(count, "sold")
    proceeds = market.curve.proceeds(count, market.supply)
    if proceeds > market.reserve:
        most = market.curve.sellable(count, market.supply, market.reserve)
        raise MarketError(
            f"The token's reserve of {market.reserve} wei cannot pay {proceeds} wei for {count} tokens.",
            meaning="Rewards were minted without adding to the reserve.",
            next_step=f"Sell at most {most} tokens.",
            details={"sellable": most, "reserve": market.reserve},
        )
    if min_proceeds is not None and proceeds < min_proceeds:
        raise MarketError(
            f"{count} tokens bring {proceeds} wei now, less than the bound of {min_proceeds} wei.",
            details={"proceeds": proceeds, "min_proceeds": min_proceeds},
        )
    return proceeds


def _require_positive(count: int, done: str) -> None:
    if count <= 0:
        raise MarketError(f"{count} tokens cannot be {done}; give a whole number above zero.")
