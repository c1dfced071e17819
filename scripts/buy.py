#!/usr/bin/env python3
"""Buy a project's tokens within bounds: an example of the market functions, and a command of its own.

``armlx-chain buy`` does the same with more options, and finishes an order that was interrupted.
"""

from __future__ import annotations

import secrets
import sys

import click

from armlx_chain.cli.amounts import AMOUNT
from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options, spending_options
from armlx_chain.cli.main import run
from armlx_chain.cli.market import PROJECT, warn_of_orientation
from armlx_chain.cli.output import coin, confirm, emit, say
from armlx_chain.cli.wiring import check_wiring, open_project
from armlx_chain.market.orders import BuyOrder, carry_out_purchase
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
    # The contracts must be the ones that are configured, and point at each other.
    check_wiring(app)
    project, token = open_project(app, project_id)
    warn_of_orientation(app, project_id)

    # The pending block already holds the trades that wait in front of ours.
    market = read_market(token, project.id, block=PENDING)
    plan = plan_purchase(market, count, max_spend=max_spend)

    # The key is opened only now: everything above may refuse without asking for a passphrase.
    sender = app.sender(key.load(app))
    agreed = confirm(
        [
            ("buyer", sender.address),
            ("buy", f"{count} {market.symbol}"),
            ("cost now", coin(plan.cost)),
            ("sent at most", f"{coin(max_spend)} plus gas"),
            ("chain", app.settings.network.chain_id),
        ],
        yes=yes,
        dry_run=dry_run,
    )
    if not agreed:
        emit({"dry_run": True, "payment_wei": plan.payment}, [], as_json=app.as_json)
        return

    # Journalled, simulated, bounded: quoted again before each transaction, at most three of them. All tokens
    # or none: the minimum is the count.
    order = BuyOrder(count=Tokens(count), max_spend=max_spend, min_tokens=Tokens(count))
    filled = carry_out_purchase(sender, token, project.id, order, order_id=secrets.token_hex(8), progress=say)
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
