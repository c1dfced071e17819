"""One purchase or one sale: a journalled transaction, and what its event says came of it."""

from __future__ import annotations

from typing import Any

from armlx_chain.chain.contracts import ProjectToken
from armlx_chain.chain.sender import Intent, Receipt, TxSender
from armlx_chain.market.quotes import (
    Purchase,
    Quote,
    plan_purchase,
    plan_sale,
    quote_budget,
    quote_tokens,
)
from armlx_chain.market.state import PENDING, MarketState, read_market
from armlx_chain.types import Address, Tokens, Wei

__all__ = [
    "PENDING", "MarketState", "Purchase", "Quote", "buy", "plan_purchase", "plan_sale", "quote_budget",
    "quote_tokens", "read_bought", "read_market", "read_sold", "sell", "simulate_sale",
]  # fmt: skip


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
            data=token.buy_data(),
            value=purchase.payment,
            what=f"buying {purchase.count} tokens",
            precondition=facts,
        )
    )
    return (receipt, *read_bought(token, receipt))


def read_bought(token: ProjectToken, receipt: Receipt) -> tuple[Tokens, Wei]:
    """Tokens received and wei spent (net of the refund), from a purchase's event."""
    bought = token.event(receipt, "Bought")
    return Tokens(bought["tokensOut"]), Wei(bought["ethSpent"])


def simulate_sale(token: ProjectToken, seller: Address, count: int) -> Wei:
    """What the contract itself would pay now, at the pending block.

    Raises:
        ContractRevert: it would refuse (too few tokens, or a reserve that cannot pay).
    """
    call = {"from": seller, "to": token.address, "data": "0x" + token.sell_data(count).hex()}
    return Wei(int.from_bytes(token.rpc.call(call, f"selling {count} tokens", PENDING), "big"))


def sell(sender: TxSender, token: ProjectToken, count: Tokens, *, key: str) -> tuple[Receipt, Wei]:
    """Carry out a sale; returns the receipt and the wei received, read from the event."""
    receipt = sender.execute(
        Intent(key=key, to=token.address, data=token.sell_data(count), what=f"selling {count} tokens")
    )
    return receipt, read_sold(token, receipt)[1]


def read_sold(token: ProjectToken, receipt: Receipt) -> tuple[Tokens, Wei]:
    """Tokens given and wei received, from a sale's event."""
    sold = token.event(receipt, "Sold")
    return Tokens(sold["tokensIn"]), Wei(sold["ethOut"])
