#!/usr/bin/env python3
"""Buy a project's tokens within bounds: an example of the market functions, and a command of its own.

``armlx-chain buy`` does the same with more options. An order that was interrupted is finished, and not begun
a second time, by either of them: given again with the same figures.
"""

from __future__ import annotations

import sys

import click

from armlx_chain.cli.amounts import AMOUNT
from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options, spending_options
from armlx_chain.cli.main import run
from armlx_chain.cli.market import PROJECT, warn_of_orientation
from armlx_chain.cli.output import coin, confirm, emit, say
from armlx_chain.cli.trading import open_desk
from armlx_chain.cli.wiring import open_project
from armlx_chain.market.orders import DEFAULT_ROUNDS, BuyOrder, carry_out_purchase
from armlx_chain.market.quotes import plan_purchase
from armlx_chain.market.state import PENDING, read_market
from armlx_chain.types import Tokens, Wei


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@PROJECT
@click.option("--count", type=click.IntRange(min=1), required=True, help="Tokens to buy.")
@click.option("--max-spend", type=AMOUNT, required=True, help="Never send more than this, as 250 or 0.02og.")
@signer_options
@spending_options
@network_options
def buy(
    app: App, key: SignerChoice, project_id: int, count: int, max_spend: Wei, yes: bool, dry_run: bool
) -> None:
    """Buy COUNT tokens of a project for at most MAX_SPEND.

    \b
    Examples:
      scripts/buy.py --project 0 --count 10 --max-spend 0.02og --account me --dry-run
      scripts/buy.py --project 0 --count 10 --max-spend 0.02og --account me --network devnet --yes

    \b
    Exit codes: 0 done   1 outside the bound, or another error   2 usage   4 key or passphrase
      6 the contract refused   75 sent and not mined yet, or the chain is out of reach   130 interrupted
    """
    # A project's record names its token; both are checked against the configured contracts.
    project, token = open_project(app, project_id)
    warn_of_orientation(app, project_id)

    # The key, the journal, and the orders that were begun: an interrupted one is never begun a second time.
    desk = open_desk(app, key, "buy", token)
    asked = {"project": project_id, "count": count, "max_spend": max_spend, "tolerate": 0,
             "rounds": DEFAULT_ROUNDS}  # fmt: skip
    earlier = desk.earlier(asked)

    # The pending block already holds the trades that wait in front of ours.
    market = read_market(token, project.id, block=PENDING)
    plan = None if earlier else plan_purchase(market, count, max_spend=max_spend)
    agreed = confirm(
        [
            ("buyer", desk.sender.address),
            ("buy", f"{count} {market.symbol}"),
            ("cost now", "carries on what was interrupted" if plan is None else coin(plan.cost)),
            ("sent at most", f"{coin(max_spend)} plus gas"),
            ("chain", app.settings.network.chain_id),
        ],
        yes=yes,
        dry_run=dry_run,
    )
    if not agreed:
        payment = max_spend if plan is None else plan.payment
        emit({"dry_run": True, "payment_wei": payment}, [], as_json=app.as_json)
        return

    # Journalled, simulated, bounded: quoted again before each transaction, at most three of them. All tokens
    # or none: the minimum is the count.
    order = BuyOrder(count=Tokens(count), max_spend=max_spend, min_tokens=Tokens(count))
    with desk.working(asked, {"max_spend": max_spend, "min_tokens": count}, earlier) as begun:
        filled = carry_out_purchase(desk.sender, token, project.id, order, order_id=begun.id, progress=say)
        emit(
            {
                "tokens": filled.tokens,
                "spent_wei": filled.wei,
                "fee_wei": filled.fees,
                "tx_hashes": [receipt.tx_hash for receipt in filled.receipts],
            },
            [f"Bought {filled.tokens} {market.symbol} for {coin(filled.wei)}."],
            as_json=app.as_json,
        )


if __name__ == "__main__":
    sys.exit(run(buy, sys.argv[1:], name="scripts/buy.py"))
