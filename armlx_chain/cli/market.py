"""``price``, ``buy``, ``sell``: the bonding curve for a person."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options, spending_options
from armlx_chain.cli.output import coin, confirm, emit, say, table
from armlx_chain.types import Wei

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import ProjectToken
    from armlx_chain.market.trade import MarketState

_PROJECT = click.option(
    "--project", "project_id", type=click.IntRange(min=0), required=True, help="Project id on the registry."
)


def open_market(app: App, project_id: int) -> tuple[ProjectToken, MarketState]:
    """The token of a project and its present state."""
    from armlx_chain.cli.wiring import open_project
    from armlx_chain.market.trade import read_market

    project, token = open_project(app, project_id)
    return token, read_market(token, project.id)


@click.command()
@_PROJECT
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="Tokens to quote.")
@network_options
def price(app: App, project_id: int, count: int) -> None:
    """What tokens cost and bring now.

    \b
    Example:
      armlx-chain price --project 1 --count 10
    """
    from armlx_chain.cli.wiring import orientation_warning

    _, market = open_market(app, project_id)
    cost = market.curve.payment_for(count, market.supply)
    proceeds = market.curve.proceeds(min(count, market.supply), market.supply)
    warning = orientation_warning(app, project_id)
    if warning:
        say(f"warning: {warning}")
    rows: list[tuple[str, object]] = [
        ("token", f"{market.name} ({market.symbol}) {market.token}"),
        ("supply", f"{market.supply} {market.symbol}"),
        ("price", coin(market.spot_price)),
        (f"buying {count}", coin(cost)),
        (
            f"selling {min(count, market.supply)}",
            coin(proceeds) + ("" if proceeds <= market.reserve else " — more than the reserve holds"),
        ),
        ("reserve", coin(market.reserve)),
        ("redemption shortfall", coin(market.shortfall)),
        ("miner pool", f"{market.pool_minted} of {market.pool_cap} minted"),
    ]
    data = {
        "project": market.project_id, "token": market.token, "symbol": market.symbol,
        "supply": market.supply, "spot_price_wei": market.spot_price, "count": count,
        "buy_cost_wei": cost, "sell_proceeds_wei": proceeds, "reserve_wei": market.reserve,
        "shortfall_wei": market.shortfall, "pool_minted": market.pool_minted,
        "pool_cap": market.pool_cap, "warning": warning,
    }  # fmt: skip
    emit(data, table(rows), as_json=app.as_json)


@click.command()
@_PROJECT
@click.option("--count", type=click.IntRange(min=1), required=True, help="Tokens to buy.")
@click.option("--max-spend", type=click.IntRange(min=1), help="Never send more than this many wei.")
@click.option(
    "--tolerate",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Tokens that others may buy first without this purchase coming up short.",
)
@signer_options
@spending_options
@network_options
def buy(
    app: App,
    key: SignerChoice,
    project_id: int,
    count: int,
    max_spend: int | None,
    tolerate: int,
    yes: bool,
    dry_run: bool,
) -> None:
    """Buy tokens with a bound on what is spent.

    \b
    Example:
      armlx-chain buy --project 0 --count 10 --max-spend 20000000000000000 --account me
    """
    from armlx_chain.cli.wiring import orientation_warning
    from armlx_chain.market import trade

    token, market = open_market(app, project_id)
    bound = None if max_spend is None else Wei(max_spend)
    plan = trade.plan_purchase(market, count, max_spend=bound, tolerate_tokens=tolerate)
    warning = orientation_warning(app, project_id)
    if warning:
        say(f"warning: {warning}")
    signer = key.load(app)
    go = confirm(
        [("buyer", signer.address), ("buy", f"{count} {market.symbol}"), ("cost now", coin(plan.cost)),
         ("sent at most", coin(plan.payment) + " plus gas"), ("chain", app.settings.network.chain_id)],
        yes=yes, dry_run=dry_run,
    )  # fmt: skip
    if not go:
        emit({"dry_run": True, "payment_wei": plan.payment}, [], as_json=app.as_json)
        return
    receipt, bought, spent = trade.buy(app.sender(signer), token, plan, key=f"buy/{secrets.token_hex(8)}")
    emit(
        {"tx_hash": receipt.tx_hash, "tokens": bought, "spent_wei": spent, "fee_wei": receipt.fee_paid},
        [f"Bought {bought} {market.symbol} for {coin(spent)} ({receipt.tx_hash})."],
        as_json=app.as_json,
    )


@click.command()
@_PROJECT
@click.option("--count", type=click.IntRange(min=1), required=True, help="Tokens to sell.")
@click.option("--min-proceeds", type=click.IntRange(min=0), help="Do not sell for fewer wei than this.")
@signer_options
@spending_options
@network_options
def sell(
    app: App,
    key: SignerChoice,
    project_id: int,
    count: int,
    min_proceeds: int | None,
    yes: bool,
    dry_run: bool,
) -> None:
    """Sell tokens back to the curve.

    \b
    Example:
      armlx-chain sell --project 0 --count 5 --account me
    """
    from armlx_chain.market import trade
    from armlx_chain.types import Tokens

    token, market = open_market(app, project_id)
    bound = None if min_proceeds is None else Wei(min_proceeds)
    proceeds = trade.plan_sale(market, count, min_proceeds=bound)
    signer = key.load(app)
    go = confirm(
        [("seller", signer.address), ("sell", f"{count} {market.symbol}"), ("brings now", coin(proceeds)),
         ("note", "the contract has no minimum: a trade mined first can lower this"),
         ("chain", app.settings.network.chain_id)],
        yes=yes, dry_run=dry_run,
    )  # fmt: skip
    if not go:
        emit({"dry_run": True, "proceeds_wei": proceeds}, [], as_json=app.as_json)
        return
    receipt, received = trade.sell(
        app.sender(signer), token, Tokens(count), key=f"sell/{secrets.token_hex(8)}"
    )
    emit(
        {"tx_hash": receipt.tx_hash, "received_wei": received, "fee_wei": receipt.fee_paid},
        [f"Sold {count} {market.symbol} for {coin(received)} ({receipt.tx_hash})."],
        as_json=app.as_json,
    )
