#!/usr/bin/env python3
"""What a project's tokens cost: an example of the market functions, and a command of its own.

The same figures, with history and position, come from ``armlx-chain price`` and ``armlx-chain position``.
"""

from __future__ import annotations

import sys

import click

from armlx_chain.cli.context import App, network_options
from armlx_chain.cli.main import run
from armlx_chain.cli.market import PROJECT
from armlx_chain.cli.output import coin, emit, table
from armlx_chain.cli.wiring import open_project
from armlx_chain.market.quotes import quote_tokens
from armlx_chain.market.state import read_market


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@PROJECT
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="Tokens to quote.")
@network_options
def price(app: App, project_id: int, count: int) -> None:
    """Say what COUNT tokens of a project cost now, and what selling them again would bring.

    \b
    Examples:
      scripts/price.py --project 0 --count 10 --network devnet
      scripts/price.py --project 1 --json

    \b
    Exit codes: 0 done   1 error   2 usage   75 the chain is out of reach, try again later
    """
    # A project's record names its token; both are checked against the configured contracts.
    project, token = open_project(app, project_id)

    # Everything a quote needs, read at one block. From here on it is arithmetic in whole wei.
    market = read_market(token, project.id)
    quote = quote_tokens(market, count)

    # Tokens that were just bought bring their cost again, as long as the reserve can pay it.
    reserve_after = market.reserve + quote.cost
    back = market.curve.proceeds(count, market.supply + count)

    emit(
        {
            "token": market.token,
            "supply": market.supply,
            "spot_price_wei": market.spot_price,
            "count": count,
            "payment_wei": quote.payment,
            "spot_after_wei": quote.spot_after,
            "impact_ppm": quote.impact_ppm,
            "sell_again_wei": back,
            "shortfall_wei": market.shortfall,
        },
        table(
            [
                ("token", f"{market.name} ({market.symbol})"),
                ("price now", coin(market.spot_price)),
                (f"{count} tokens", f"{coin(quote.payment)}, {coin(quote.average_price)} each"),
                ("price after that", coin(quote.spot_after)),
                (
                    "selling them again",
                    coin(back) if back <= reserve_after else "more than the reserve holds",
                ),
                ("redemption shortfall", coin(market.shortfall)),
            ]
        ),
        as_json=app.as_json,
    )


if __name__ == "__main__":
    sys.exit(run(price, sys.argv[1:], name="scripts/price.py"))
