"""Quotes, purchases and sales, each with a bound on what it may cost.

The contract has no minimum-out (contracts specification, section 11, W6), so the bound is in what we send:
a purchase sends the exact cost, plus at most the tolerated upward move of the supply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from armlx_chain.chain.contracts import ProjectToken
from armlx_chain.chain.sender import Intent, Receipt, TxSender
from armlx_chain.errors import MarketError
from armlx_chain.market.curve import Curve
from armlx_chain.types import Address, ProjectId, Tokens, Wei


@dataclass(frozen=True, slots=True)
class MarketState:
    """A token at one block."""

    project_id: ProjectId
    token: Address
    name: str
    symbol: str
    curve: Curve
    supply: Tokens
    reserve: Wei
    pool_cap: Tokens
    pool_minted: Tokens

    @property
    def spot_price(self) -> Wei:
        """Marginal price, as the project's page shows it."""
        return self.curve.price_at(self.supply)

    @property
    def next_token_cost(self) -> Wei:
        return self.curve.payment_for(1, self.supply)

    @property
    def shortfall(self) -> Wei:
        """What redeeming every token would lack; negative means a surplus that nobody can withdraw."""
        return Wei(self.curve.cost_between(0, self.supply) - self.reserve)


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


def read_market(token: ProjectToken, project_id: ProjectId) -> MarketState:
    """Everything a quote needs."""
    return MarketState(
        project_id=project_id,
        token=token.address,
        name=token.name(),
        symbol=token.symbol(),
        curve=Curve(token.base_price(), token.slope()),
        supply=token.total_supply(),
        reserve=token.reserve(),
        pool_cap=token.pool_cap(),
        pool_minted=token.pool_minted(),
    )


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
    if count <= 0:
        raise MarketError(f"{count} tokens cannot be bought; give a whole number above zero.")
    cost = market.curve.payment_for(count, market.supply)
    payment = max(cost, market.curve.payment_for(count, market.supply + tolerate_tokens))
    if max_spend is not None and payment > max_spend:
        raise MarketError(
            f"{count} {market.symbol} cost {payment} wei now, more than the bound of {max_spend} wei.",
            meaning="This purchase was not sent.",
            next_step="Raise --max-spend or buy fewer tokens.",
            details={"payment": payment, "max_spend": max_spend},
        )
    return Purchase(Tokens(count), Wei(cost), Wei(payment))


def plan_sale(market: MarketState, count: int, *, min_proceeds: Wei | None = None) -> Wei:
    """What selling ``count`` tokens pays now.

    Raises:
        MarketError: the reserve cannot pay it, or it is below the bound.
    """
    if count <= 0:
        raise MarketError(f"{count} tokens cannot be sold; give a whole number above zero.")
    proceeds = market.curve.proceeds(count, market.supply)
    if proceeds > market.reserve:
        most = market.curve.sellable(count, market.supply, market.reserve)
        raise MarketError(
            f"The token's reserve of {market.reserve} wei cannot pay {proceeds} wei for {count} tokens.",
            meaning="Rewards were minted without adding to the reserve.",
            next_step=f"Sell at most {most} tokens.",
        )
    if min_proceeds is not None and proceeds < min_proceeds:
        raise MarketError(
            f"{count} tokens bring {proceeds} wei now, less than the bound of {min_proceeds} wei."
        )
    return proceeds


def buy(
    sender: TxSender,
    token: ProjectToken,
    purchase: Purchase,
    *,
    key: str,
    facts: dict[str, Any] | None = None,
) -> tuple[Receipt, Tokens, Wei]:
    """Carry out a purchase.

    Args:
        facts: What the purchase is made for; once it no longer holds, nothing is sent.

    Returns:
        The receipt, and tokens received and wei spent as the event says.
    """
    receipt = sender.execute(
        Intent(
            key=key,
            to=token.address,
            data=token.encode("buy"),
            value=purchase.payment,
            what=f"buying {purchase.count} tokens",
            precondition=facts,
        )
    )
    bought = token.event(receipt, "Bought")
    return receipt, Tokens(bought["tokensOut"]), Wei(bought["ethSpent"])


def sell(sender: TxSender, token: ProjectToken, count: Tokens, *, key: str) -> tuple[Receipt, Wei]:
    """Carry out a sale; returns the receipt and the wei received, read from the event."""
    receipt = sender.execute(
        Intent(key=key, to=token.address, data=token.encode("sell", count), what=f"selling {count} tokens")
    )
    return receipt, Wei(token.event(receipt, "Sold")["ethOut"])
