"""Orders: purchases and sales of several transactions, each bounded, resumed after an interruption.

- What a transaction may cost or must bring is decided anew before each, from the pending block.
- A purchase never sends more than its bound in all; a sale stops as soon as its minimum is out of reach.
- An order begun and interrupted is finished by the same order given again; every transaction carries a key
  of the order, so that the journal sends none of them twice.
- The number of transactions is bounded.

The contract itself knows no minimum: what a trade mined in between takes away shows only in the event. Then
the order ends in ``MarketError`` with what was traded, and nothing further is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from armlx_chain.chain.contracts import ProjectToken
from armlx_chain.chain.sender import Receipt, TxSender
from armlx_chain.errors import ContractRevert, MarketError
from armlx_chain.market import trade
from armlx_chain.market.quotes import Purchase, plan_sale, quote_tokens
from armlx_chain.market.state import PENDING, MarketState, read_market
from armlx_chain.types import ProjectId, Tokens, Wei

DEFAULT_ROUNDS = 3
"""A purchase that keeps coming up short is in somebody's way; trying longer only feeds them."""

_OVERTAKEN = "InsufficientPayment"


@dataclass(frozen=True, slots=True)
class BuyOrder:
    """Tokens wanted, and the bounds.

    Attributes:
        count: Tokens wanted; None buys as many as ``max_spend`` pays for.
        max_spend: The most that all transactions together may cost, in wei, without gas.
        min_tokens: With fewer in sight nothing (further) is sent.
        tolerate: Tokens that others may buy first without a transaction coming up short.
        rounds: Most transactions.
    """

    count: Tokens | None
    max_spend: Wei
    min_tokens: Tokens
    tolerate: int = 0
    rounds: int = DEFAULT_ROUNDS


@dataclass(frozen=True, slots=True)
class SellOrder:
    """Tokens to be sold, and the bound.

    Attributes:
        min_proceeds: What all parts together must bring, in wei.
        parts: Transactions to split it into.
        up_to: Sell what the reserve can pay, where it cannot pay for all.
    """

    count: Tokens
    min_proceeds: Wei
    parts: int = 1
    up_to: bool = False


@dataclass(slots=True)
class Filled:
    """What came of an order.

    Attributes:
        tokens: Bought or sold, from the events.
        wei: Spent or received, from the events.
    """

    tokens: int = 0
    wei: int = 0
    receipts: list[Receipt] = field(default_factory=list)

    @property
    def fees(self) -> Wei:
        return Wei(sum(receipt.fee_paid for receipt in self.receipts))

    def add(self, receipt: Receipt, tokens: int, wei: int) -> None:
        self.tokens += tokens
        self.wei += wei
        self.receipts.append(receipt)


def silent(_message: str) -> None:
    """The default progress: says nothing."""


def next_purchase(market: MarketState, order: BuyOrder, done: Filled) -> Purchase | None:
    """The next transaction of a purchase, or None where nothing is left to buy. A pure rule.

    Raises:
        MarketError: the minimum is out of reach within the bound.
    """
    left = order.max_spend - done.wei
    affordable = market.curve.tokens_for(left, market.supply)
    wanted = affordable if order.count is None else min(order.count - done.tokens, affordable)
    reach = done.tokens + wanted
    if reach < order.min_tokens:
        raise MarketError(
            f"{left} wei buy {affordable} {market.symbol} now, which makes {reach}: fewer than the minimum of"
            f" {order.min_tokens}.",
            meaning=f"{done.tokens} tokens were bought for {done.wei} wei; nothing further was sent.",
            next_step="Raise --max-spend, lower --min-tokens, or wait.",
            details={"bought": done.tokens, "spent": done.wei, "min_tokens": order.min_tokens},
        )
    if wanted <= 0:
        return None
    cost = quote_tokens(market, wanted).payment
    if order.count is None:
        return Purchase(Tokens(wanted), cost, Wei(left))
    tolerant = market.curve.payment_for(wanted, market.supply + order.tolerate)
    return Purchase(Tokens(wanted), cost, Wei(min(left, max(cost, tolerant))))


def carry_out_purchase(
    sender: TxSender,
    token: ProjectToken,
    project_id: ProjectId,
    order: BuyOrder,
    *,
    order_id: str,
    progress: Callable[[str], None] = silent,
) -> Filled:
    """Buy until the order is filled or its rounds are used up.

    Args:
        order_id: The same after an interruption, so that nothing is bought twice.

    Raises:
        MarketError: the minimum is or came out of reach; the message says what was bought.
        ChainError: as ``TxSender.execute``; the same order may be given again.
    """
    done = Filled()
    for number in range(order.rounds):
        key = f"buy/{order_id}/{number}"
        receipt = sender.done(key)
        if receipt is None:
            purchase = next_purchase(read_market(token, project_id, block=PENDING), order, done)
            if purchase is None:
                break
            try:
                receipt, _, _ = trade.buy(sender, token, purchase, key=key)
            except ContractRevert as error:
                if error.details.get("error") != _OVERTAKEN:
                    raise
                progress("others bought first and the price rose; looking again")
                continue
        tokens, wei = trade.read_bought(token, receipt)
        done.add(receipt, tokens, wei)
        progress(f"bought {tokens} tokens for {wei} wei ({receipt.tx_hash})")
    if done.tokens < order.min_tokens:
        raise MarketError(
            f"Only {done.tokens} tokens came of {len(done.receipts)} transactions, fewer than the minimum of"
            f" {order.min_tokens}.",
            meaning=f"They cost {done.wei} wei; the rest of the bound was not spent.",
            next_step="Look at the price and buy the remainder if it still suits you.",
            details={"bought": done.tokens, "spent": done.wei},
        )
    return done


def next_sale(market: MarketState, order: SellOrder, done: Filled, part: int) -> Tokens | None:
    """How many tokens the next transaction of a sale gives, or None where nothing is left. A pure rule.

    Args:
        part: Number of the transaction, from 0.

    Raises:
        MarketError: the reserve cannot pay, or the minimum is out of reach.
    """
    left = order.count - done.tokens
    if left <= 0:
        return None
    if order.up_to:
        left = min(left, market.curve.sellable(left, market.supply, market.reserve))
    if left <= 0 and done.tokens > 0 and done.wei >= order.min_proceeds:
        return None
    still_needed = Wei(max(0, order.min_proceeds - done.wei))
    try:
        plan_sale(market, max(left, 1), min_proceeds=still_needed)
    except MarketError as error:
        so_far = f"{done.tokens} tokens were sold for {done.wei} wei; nothing further was sent."
        error.meaning = f"{error.meaning} {so_far}" if error.meaning else so_far
        raise
    return Tokens(-(-left // (order.parts - part)))


def carry_out_sale(
    sender: TxSender,
    token: ProjectToken,
    project_id: ProjectId,
    order: SellOrder,
    *,
    order_id: str,
    progress: Callable[[str], None] = silent,
) -> Filled:
    """Sell part by part; each is simulated at the pending block before it is sent.

    Raises:
        MarketError: the minimum is or came out of reach, or the reserve cannot pay.
        ChainError: as ``TxSender.execute``; the same order may be given again.
    """
    done = Filled()
    for part in range(order.parts):
        key = f"sell/{order_id}/{part}"
        receipt = sender.done(key)
        if receipt is None:
            market = read_market(token, project_id, block=PENDING)
            count = next_sale(market, order, done, part)
            if count is None:
                break
            _require_simulated(token, sender, market, count)
            receipt, _ = trade.sell(sender, token, count, key=key)
        tokens, wei = trade.read_sold(token, receipt)
        done.add(receipt, tokens, wei)
        progress(f"sold {tokens} tokens for {wei} wei ({receipt.tx_hash})")
    if done.wei < order.min_proceeds:
        raise MarketError(
            f"{done.tokens} tokens brought {done.wei} wei, less than the minimum of"
            f" {order.min_proceeds} wei.",
            meaning="A trade mined first lowered the price; the contract has no minimum of its own.",
            details={"sold": done.tokens, "received": done.wei},
        )
    return done


def _require_simulated(token: ProjectToken, sender: TxSender, market: MarketState, count: Tokens) -> None:
    """The contract itself must promise what the curve says, a moment before the sale is signed."""
    promised = trade.simulate_sale(token, sender.address, count)
    expected = market.curve.proceeds(count, market.supply)
    if promised < expected:
        raise MarketError(
            f"The price moved between two looks: {count} tokens would bring {promised} wei, not {expected}.",
            meaning="This sale was not sent.",
            next_step="Run the same command again.",
            details={"promised": promised, "expected": expected},
        )
