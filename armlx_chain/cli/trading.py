"""``buy`` and ``sell``: orders with bounds, a plan first, and every transaction through the journal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from armlx_chain.cli.amounts import AMOUNT
from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options, spending_options
from armlx_chain.cli.keys import hot_warning
from armlx_chain.cli.market import PROJECT, open_market, percent, warn_of_orientation
from armlx_chain.cli.output import coin, confirm, emit, say
from armlx_chain.errors import ContractRevert, InsufficientFunds, JournalError, MarketError, UsageError
from armlx_chain.types import Tokens, Wei

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import ProjectToken
    from armlx_chain.chain.sender import TxSender
    from armlx_chain.market.orderbook import OpenOrder, OrderBook
    from armlx_chain.market.orders import BuyOrder, Filled, SellOrder
    from armlx_chain.market.state import MarketState

MAX_PARTS = 50
MAX_ROUNDS = 10
TRADE_GAS = 95_000
"""More than a trade takes with the margin that a limit needs (contracts specification, section 9)."""

_ABANDON = click.option(
    "--abandon", is_flag=True, help="Give up the rest of an order that was begun and interrupted."
)


@dataclass(frozen=True)
class Desk:
    """Where an order is worked on: the account's sender, the token, and the orders begun."""

    app: App
    kind: Literal["buy", "sell"]
    sender: TxSender
    token: ProjectToken
    book: OrderBook

    def earlier(self, asked: dict[str, Any]) -> OpenOrder | None:
        """The order that the same request began and that was interrupted.

        Raises:
            UsageError: another order was begun and interrupted.
        """
        return self.book.carry_on(self.kind, self.sender.address, self.token.address, asked)

    @contextmanager
    def working(
        self, asked: dict[str, Any], bounds: dict[str, Any], earlier: OpenOrder | None
    ) -> Iterator[OpenOrder]:
        """Hold the account while an order is carried out.

        Its file goes when the order has ended and that was said, well or with a refusal. It stays when the
        outcome is open (a transaction on its way, no endpoint, this process killed): the same command then
        carries on. Put the report inside: nobody who never saw it may trade a second time by asking again.

        Args:
            earlier: The interrupted order that the plan spoke of, if any.

        Raises:
            JournalError: another process works with this account, or began this order since.
        """
        with self.sender.exclusive():
            found = self.earlier(asked)
            if (found and found.id) != (earlier and earlier.id):
                raise JournalError(
                    "Another process worked on this order while the plan was shown.",
                    next_step="Run this again to see how it stands.",
                )
            order = self.book.open(self.kind, self.sender.address, self.token.address, asked, bounds)
            if order.resumed:
                self.sender.resume()
            try:
                yield order
            except (MarketError, ContractRevert, InsufficientFunds):
                order.close()
                raise
            order.close()

    def abandon(self) -> None:
        """Give up the rest of an order; what was sent is brought to its end first."""
        with self.sender.exclusive():
            earlier = self.book.find(self.kind, self.sender.address, self.token.address)
            if earlier is not None:
                self.sender.resume()
                earlier.close()
        said = "The rest of it was given up." if earlier else "There was no such order."
        emit({"abandoned": earlier is not None}, [said], as_json=self.app.as_json)


@click.command()
@PROJECT
@click.option("--count", type=click.IntRange(min=1), help="Tokens to buy.")
@click.option("--budget", type=AMOUNT, help="Buy as many as this amount pays for, as 0.02og, instead.")
@click.option(
    "--max-spend", type=AMOUNT, help="Never send more than this in all. [default: the plan's figure]"
)
@click.option(
    "--min-tokens",
    type=click.IntRange(min=1),
    help="Send nothing unless so many are in reach. [default: all]",
)
@click.option(
    "--tolerate",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Tokens that others may buy first without this purchase coming up short.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, MAX_ROUNDS),
    default=3,
    show_default=True,
    help="Most transactions: what came up short is bought again at the new price.",
)
@_ABANDON
@signer_options
@spending_options
@network_options
def buy(app: App, key: SignerChoice, project_id: int, yes: bool, dry_run: bool, **given: Any) -> None:
    """Buy tokens: never for more than the bound, and only while the minimum is in reach.

    The price is looked up again at the pending block before each transaction. The contract keeps what the
    tokens cost and sends the rest back in the same transaction. Interrupted, the same command carries on and
    buys nothing twice.

    \b
    Examples:
      armlx-chain buy --project 0 --count 10 --account me --dry-run
      armlx-chain buy --project 0 --count 10 --max-spend 0.02og --tolerate 5 --account me
      armlx-chain buy --project 0 --budget 0.05og --min-tokens 40 --account me --yes
    """
    from armlx_chain.market.orders import carry_out_purchase
    from armlx_chain.market.state import PENDING

    token, market = open_market(app, project_id, PENDING)
    desk = open_desk(app, key, "buy", token)
    if given.pop("abandon"):
        desk.abandon()
        return
    asked = _asked(project_id, given)
    earlier = desk.earlier(asked)
    order = buy_order(market, **given) if earlier is None else _agreed_purchase(earlier, **given)
    warn_of_orientation(app, project_id)
    plan = buy_plan(market, order) if earlier is None else _resumed_plan(earlier)
    if not confirm([*plan, *_parties(desk, "buyer")], yes=yes, dry_run=dry_run):
        emit({"dry_run": True, "payment_wei": order.max_spend, "count": order.count,
              "min_tokens": order.min_tokens}, [], as_json=app.as_json)  # fmt: skip
        return
    bounds = {"max_spend": order.max_spend, "min_tokens": order.min_tokens}
    with desk.working(asked, bounds, earlier) as begun:
        filled = carry_out_purchase(
            desk.sender, token, market.project_id, order, order_id=begun.id, progress=say
        )
        _report(app, "Bought", "spent", market, filled, order.count, resumed=begun.resumed)


@click.command()
@PROJECT
@click.option("--count", type=click.IntRange(min=1), help="Tokens to sell.")
@click.option("--all", "everything", is_flag=True, help="Sell the whole balance.")
@click.option(
    "--min-proceeds", type=AMOUNT, help="Stop where less than this comes of it. [default: the plan's]"
)
@click.option(
    "--parts", type=click.IntRange(1, MAX_PARTS), default=1, show_default=True, help="Sell in so many parts."
)
@click.option(
    "--up-to", is_flag=True, help="Sell only what the reserve can pay, where it cannot pay for all."
)
@_ABANDON
@signer_options
@spending_options
@network_options
def sell(app: App, key: SignerChoice, project_id: int, yes: bool, dry_run: bool, **given: Any) -> None:
    """Sell tokens back to the curve, as far as its reserve can pay.

    The contract has no minimum of its own. Each part is simulated at the pending block before it is sent, and
    the sale stops once the minimum is out of reach; a trade mined in between can still lower one part.

    \b
    Examples:
      armlx-chain sell --project 0 --count 5 --account me --dry-run
      armlx-chain sell --project 0 --all --up-to --parts 4 --min-proceeds 0.01og --account me
    """
    from armlx_chain.market.orders import carry_out_sale
    from armlx_chain.market.state import PENDING

    token, market = open_market(app, project_id, PENDING)
    desk = open_desk(app, key, "sell", token)
    if given.pop("abandon"):
        desk.abandon()
        return
    asked = _asked(project_id, given)
    earlier = desk.earlier(asked)
    if earlier is None:
        order = sell_order(market, token.balance_of(desk.sender.address, block=PENDING), **given)
    else:
        order = _agreed_sale(earlier, parts=given["parts"], up_to=given["up_to"])
    plan = sell_plan(market, order) if earlier is None else _resumed_plan(earlier)
    if not confirm([*plan, *_parties(desk, "seller")], yes=yes, dry_run=dry_run):
        emit({"dry_run": True, "count": order.count, "proceeds_wei": order.min_proceeds}, [],
             as_json=app.as_json)  # fmt: skip
        return
    bounds = {"count": order.count, "min_proceeds": order.min_proceeds}
    with desk.working(asked, bounds, earlier) as begun:
        filled = carry_out_sale(desk.sender, token, market.project_id, order, order_id=begun.id, progress=say)
        _report(app, "Sold", "received", market, filled, order.count, resumed=begun.resumed)


def buy_order(
    market: MarketState,
    *,
    count: int | None,
    budget: Wei | None,
    max_spend: Wei | None,
    min_tokens: int | None,
    tolerate: int,
    rounds: int,
) -> BuyOrder:
    """The order that options mean at this state of the market.

    Raises:
        UsageError: options that contradict each other.
        MarketError: it costs more than the bound, or brings less than the minimum.
    """
    from armlx_chain.market.orders import BuyOrder, Filled, next_purchase
    from armlx_chain.market.quotes import plan_purchase, quote_budget

    if (count is None) == (budget is None):
        raise UsageError("Give --count, or --budget for as many as an amount pays for.")
    if count is None and budget is not None:
        if max_spend is not None:
            raise UsageError("--budget is the bound already; leave --max-spend out.")
        least = quote_budget(market, budget).count if min_tokens is None else min_tokens
        order = BuyOrder(None, budget, Tokens(least), rounds=rounds)
    else:
        wanted = Tokens(count or 0)
        if min_tokens is not None and min_tokens > wanted:
            raise UsageError("--min-tokens cannot be more than --count.")
        if min_tokens is None:
            plan_purchase(market, wanted, max_spend=max_spend)
        bound = (
            plan_purchase(market, wanted, tolerate_tokens=tolerate).payment
            if max_spend is None
            else max_spend
        )
        order = BuyOrder(wanted, bound, Tokens(min_tokens or wanted), tolerate, rounds)
    next_purchase(market, order, Filled())
    return order


def buy_plan(market: MarketState, order: BuyOrder) -> list[tuple[str, object]]:
    """What a person agrees to."""
    from armlx_chain.market.orders import Filled, next_purchase
    from armlx_chain.market.quotes import quote_tokens

    first = next_purchase(market, order, Filled())
    quote = quote_tokens(market, order.min_tokens if first is None else first.count)
    impact = "" if quote.impact_ppm is None else f"; the price moves {percent(quote.impact_ppm)}"
    return [
        ("buy", f"{quote.count} {market.symbol}, at least {order.min_tokens}"),
        ("cost now", coin(quote.payment) + impact),
        ("sent at most", coin(order.max_spend) + f" plus gas, in at most {order.rounds} transactions"),
        ("note", "the contract has no minimum-out: a trade mined first can get you fewer tokens for it"),
    ]


def sell_plan(market: MarketState, order: SellOrder) -> list[tuple[str, object]]:
    """What a person agrees to."""
    count = market.curve.sellable(order.count, market.supply, market.reserve) if order.up_to else order.count
    return [
        ("sell", f"{count} {market.symbol} in {order.parts} part{'s' if order.parts > 1 else ''}"),
        ("brings now", coin(market.curve.proceeds(count, market.supply))),
        ("stops below", f"{coin(order.min_proceeds)} in all"),
        ("note", "the contract has no minimum: a trade mined first can lower this"),
    ]


def _resumed_plan(earlier: OpenOrder) -> list[tuple[str, object]]:
    agreed = ", ".join(f"{name} {value}" for name, value in sorted(earlier.terms.items()))
    return [("carries on", f"the order {earlier.id} that was interrupted"), ("agreed to", agreed)]


def _parties(desk: Desk, role: str) -> list[tuple[str, object]]:
    from armlx_chain.cli.claiming import present_fees

    gas = TRADE_GAS * present_fees(desk.app).max_fee
    return [
        ("gas", f"at most about {coin(gas)} for each transaction"),
        (role, desk.sender.address),
        ("chain", desk.app.settings.network.chain_id),
    ]


def _asked(project_id: int, given: dict[str, Any]) -> dict[str, Any]:
    """The request itself, by which an interrupted order is known again."""
    return {"project": project_id} | {name: value for name, value in given.items() if value is not None}


def open_desk(app: App, key: SignerChoice, kind: Literal["buy", "sell"], token: ProjectToken) -> Desk:
    """Open the key and everything that an order needs; the contracts are checked first."""
    from armlx_chain.cli.wiring import chain_key, check_wiring
    from armlx_chain.market.orderbook import OrderBook

    check_wiring(app)
    signer = key.load(app)
    warning = hot_warning(app.settings, signer.address, app.rpc.balance(signer.address))
    if warning:
        say(f"warning: {warning}.")
    book = OrderBook(app.home / "orders", chain=chain_key(app.settings, app.rpc))
    return Desk(app, kind, app.sender(signer), token, book)


def _agreed_purchase(
    earlier: OpenOrder, *, count: int | None, tolerate: int, rounds: int, **_options: Any
) -> BuyOrder:
    """The order with the bounds that were agreed to when it was begun."""
    from armlx_chain.market.orders import BuyOrder

    return BuyOrder(
        None if count is None else Tokens(count),
        Wei(earlier.bound("max_spend")),
        Tokens(earlier.bound("min_tokens")),
        tolerate,
        rounds,
    )


def _agreed_sale(earlier: OpenOrder, *, parts: int, up_to: bool) -> SellOrder:
    """The order with the bounds that were agreed to when it was begun."""
    from armlx_chain.market.orders import SellOrder

    count, least = Tokens(earlier.bound("count")), Wei(earlier.bound("min_proceeds"))
    return SellOrder(count, least, parts=parts, up_to=up_to)


def sell_order(
    market: MarketState,
    held: Tokens,
    *,
    count: int | None,
    everything: bool,
    min_proceeds: Wei | None,
    parts: int,
    up_to: bool,
) -> SellOrder:
    """The order that options mean at this state of the market.

    Args:
        held: The account's balance.

    Raises:
        UsageError: options that contradict each other.
        MarketError: the reserve cannot pay, or it brings less than the minimum.
        InsufficientFunds: the account holds fewer tokens.
    """
    from armlx_chain.market.orders import SellOrder
    from armlx_chain.market.quotes import plan_sale

    if (count is None) != everything:
        raise UsageError("Give --count, or --all for the whole balance.")
    wanted = held if count is None else count
    if wanted > held or wanted == 0:
        raise InsufficientFunds(
            f"The account holds {held} {market.symbol}; {wanted} cannot be sold.",
            meaning="Nothing was sent.",
            details={"have": held, "need": wanted},
        )
    payable = market.curve.sellable(wanted, market.supply, market.reserve) if up_to else wanted
    proceeds = plan_sale(market, max(payable, 1), min_proceeds=min_proceeds)
    least = proceeds if min_proceeds is None else min_proceeds
    return SellOrder(Tokens(wanted), Wei(least), parts=parts, up_to=up_to)


def _report(
    app: App,
    did: str,
    flow: str,
    market: MarketState,
    filled: Filled,
    wanted: int | None,
    *,
    resumed: bool,
) -> None:
    hashes = [receipt.tx_hash for receipt in filled.receipts]
    short = 0 if wanted is None else max(0, wanted - filled.tokens)
    data = {
        "tx_hash": hashes[-1] if hashes else None, "tx_hashes": hashes, "tokens": filled.tokens,
        f"{flow}_wei": filled.wei, "fee_wei": filled.fees, "short": short, "resumed": resumed,
    }  # fmt: skip
    lines = [f"{did} {filled.tokens} {market.symbol} for {coin(filled.wei)} ({', '.join(hashes)})."]
    if short:
        lines.append(f"{short} of {wanted} are left; the bounds allowed no more.")
    emit(data, lines, as_json=app.as_json)
