"""``price`` and ``position``: looking at a project's token. Nothing here needs a key or sends anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from armlx_chain.cli.amounts import AMOUNT
from armlx_chain.cli.context import App, network_options
from armlx_chain.cli.output import coin, emit, say, table
from armlx_chain.errors import MarketError, UsageError
from armlx_chain.types import Address, Wei

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import ProjectToken
    from armlx_chain.chain.rpc import BlockId
    from armlx_chain.market.history import Movement
    from armlx_chain.market.holding import Position
    from armlx_chain.market.quotes import Quote
    from armlx_chain.market.state import MarketState

PROJECT = click.option(
    "--project", "project_id", type=click.IntRange(min=0), required=True, help="Project id on the registry."
)
DEFAULT_BLOCKS = 50_000
_BAR = 24


def open_market(app: App, project_id: int, block: BlockId = "latest") -> tuple[ProjectToken, MarketState]:
    """The token of a project and its state at a block."""
    from armlx_chain.cli.wiring import open_project
    from armlx_chain.market.state import read_market

    project, token = open_project(app, project_id)
    return token, read_market(token, project.id, block=block)


def warn_of_orientation(app: App, project_id: int) -> str | None:
    """Say what a person should know about a project published the wrong way round; what was said."""
    from armlx_chain.cli.wiring import orientation_warning

    warning = orientation_warning(app, project_id)
    if warning:
        say(f"warning: {warning}")
    return warning


@click.command()
@PROJECT
@click.option("--count", type=click.IntRange(min=1), help="Tokens to quote. [default: 1]")
@click.option("--budget", type=AMOUNT, help="Quote as many tokens as this amount buys, as 250 or 0.02og.")
@click.option("--history", is_flag=True, help="Show trades, rewards and burns from the token's events.")
@click.option(
    "--blocks",
    type=click.IntRange(min=1),
    default=DEFAULT_BLOCKS,
    show_default=True,
    help="How many blocks back the history goes.",
)
@click.option("--since-creation", is_flag=True, help="Let the history begin with the project.")
@network_options
def price(
    app: App,
    project_id: int,
    count: int | None,
    budget: Wei | None,
    history: bool,
    blocks: int,
    since_creation: bool,
) -> None:
    """What tokens cost and bring now, what the reserve can redeem, and how the price came about.

    \b
    Examples:
      armlx-chain price --project 1 --count 10
      armlx-chain price --project 1 --budget 0.05og --json
      armlx-chain price --project 1 --history --blocks 200000
    """
    from armlx_chain.market.quotes import quote_budget, quote_tokens

    if count is not None and budget is not None:
        raise UsageError("Give --count or --budget, not both.")
    token, market = open_market(app, project_id)
    quote = None
    if _next_token(market) is not None:
        quote = quote_tokens(market, count or 1) if budget is None else quote_budget(market, budget)
    data = market_data(market) | quote_data(market, quote)
    data["warning"] = warn_of_orientation(app, project_id)
    lines = table(market_rows(market) + quote_rows(market, quote))
    if history or since_creation:
        moves = _movements(app, token, project_id, None if since_creation else blocks)
        data["history"] = [_movement_data(move) for move in moves]
        lines += ["", *_chart(market, moves)]
    emit(data, lines, as_json=app.as_json)


@click.command()
@PROJECT
@click.option(
    "--account",
    envvar="ETH_KEYSTORE_ACCOUNT",
    help="Name of a keystore that states its address, or an address.",
)
@click.option("--no-history", is_flag=True, help="Leave out what it cost; reads no events.")
@network_options
def position(app: App, project_id: int, account: str | None, no_history: bool) -> None:
    """What an account holds of a project: balance, cost, value if sold now, credits and locked stakes.

    \b
    Examples:
      armlx-chain position --project 0 --account me
      armlx-chain position --project 0 --account 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC --json
    """
    owner = _owner(app, account)
    # One block for everything: a trade in between must not make events and balance differ.
    block = app.rpc.block("latest").number
    token, market = open_market(app, project_id, block)
    found = _read_position(app, token, market, owner, block, with_basis=not no_history)
    if found.basis is None and not no_history:
        say("warning: the events do not lead to the balance, so what it cost is left out.")
    emit(_position_data(market, found), table(_position_rows(market, found)), as_json=app.as_json)


def market_data(market: MarketState) -> dict[str, Any]:
    """A market for ``--json``."""
    return {
        "project": market.project_id, "token": market.token, "symbol": market.symbol,
        "supply": market.supply, "spot_price_wei": market.spot_price,
        "next_token_wei": _next_token(market), "reserve_wei": market.reserve,
        "shortfall_wei": market.shortfall, "redeemable": market.redeemable,
        "pool_minted": market.pool_minted, "pool_cap": market.pool_cap,
    }  # fmt: skip


def quote_data(market: MarketState, quote: Quote | None) -> dict[str, Any]:
    """A quote for ``--json``, with what selling as many would bring; of a token that nobody can buy, none."""
    if quote is None:
        return {"count": None, "buy_cost_wei": None}
    selling = min(quote.count, market.supply)
    proceeds = market.curve.proceeds(selling, market.supply)
    return {
        "count": quote.count, "buy_cost_wei": quote.payment, "average_price_wei": quote.average_price,
        "spot_after_wei": quote.spot_after, "impact_ppm": quote.impact_ppm,
        "sell_count": selling, "sell_proceeds_wei": proceeds, "sell_covered": proceeds <= market.reserve,
    }  # fmt: skip


def market_rows(market: MarketState) -> list[tuple[str, object]]:
    """A market for a person."""
    following = _next_token(market)
    surplus = market.shortfall < 0
    return [
        ("token", f"{market.name} ({market.symbol}) {market.token}"),
        ("supply", f"{market.supply} {market.symbol}"),
        ("price", f"{coin(market.spot_price)} (marginal)"),
        ("next token", "nobody can buy one: the price is zero" if following is None else coin(following)),
        ("reserve", f"{coin(market.reserve)}, enough to redeem {market.redeemable} tokens"),
        (
            "redemption surplus" if surplus else "redemption shortfall",
            coin(abs(market.shortfall)) + (" (stuck)" if surplus else ""),
        ),
        ("miner pool", f"{market.pool_minted} of {market.pool_cap} minted"),
    ]


def quote_rows(market: MarketState, quote: Quote | None) -> list[tuple[str, object]]:
    """A quote for a person."""
    if quote is None:
        return []
    data = quote_data(market, quote)
    short = "" if data["sell_covered"] else " — more than the reserve holds"
    impact = "" if quote.impact_ppm is None else f" ({percent(quote.impact_ppm)})"
    return [
        (f"buying {quote.count}", f"{coin(quote.payment)}, {coin(quote.average_price)} each"),
        ("price after that", f"{coin(quote.spot_after)}{impact}"),
        (f"selling {data['sell_count']}", coin(data["sell_proceeds_wei"]) + short),
    ]


def percent(ppm: int) -> str:
    """Parts per million as a signed percentage, exactly."""
    sign = "-" if ppm < 0 else "+"
    return f"{sign}{abs(ppm) // 10_000}.{abs(ppm) % 10_000:04d} %"


def _next_token(market: MarketState) -> Wei | None:
    try:
        return market.next_token_cost
    except MarketError:
        return None


def _creation_block(app: App, project_id: int, last: int) -> int:
    from armlx_chain.chain.logs import first_block_from
    from armlx_chain.cli.wiring import registry_of

    project = registry_of(app).find_project(project_id)
    return 0 if project is None else first_block_from(app.rpc, project.created_at, last=last)


def _movements(app: App, token: ProjectToken, project_id: int, blocks: int | None) -> Sequence[Movement]:
    from armlx_chain.market.curve import Curve
    from armlx_chain.market.history import movements, read_events

    last = app.rpc.block("latest").number
    first = _creation_block(app, project_id, last) if blocks is None else max(0, last - blocks + 1)
    events = read_events(token, first=first, last=last)
    curve = Curve(token.base_price(), token.slope())
    return movements(events, curve, token.total_supply(block=last))


def _movement_data(move: Movement) -> dict[str, Any]:
    return {
        "block": move.block, "tx_hash": move.tx_hash, "kind": move.kind, "account": move.account,
        "tokens": move.tokens, "wei": move.wei, "supply_after": move.supply_after,
        "price_after_wei": move.price_after,
    }  # fmt: skip


def _chart(market: MarketState, moves: Sequence[Movement]) -> list[str]:
    """One line per movement, with a bar as long as the price is high."""
    if not moves:
        return ["No trade, reward or burn in these blocks."]
    highest = max(move.price_after or 0 for move in moves) or 1
    lines = [f"{'block':>9}  {'what':<7} {'tokens':>9} {'supply':>9}  price after"]
    for move in moves:
        now = move.price_after or 0
        bar = "█" * max(1, _BAR * now // highest)
        what = f"{move.block:>9}  {move.kind:<7} {move.tokens:>9} {move.supply_after:>9}"
        lines.append(f"{what}  {bar:<{_BAR}} {coin(now)}")
    return lines


def _owner(app: App, account: str | None) -> Address:
    """The address that was given, or the one that a keystore states.

    Raises:
        UsageError: neither was given, or the keystore states none.
    """
    from eth_utils import is_address, to_checksum_address

    from armlx_chain.cli.keys import find

    if account is None:
        raise UsageError("Whose position? Give --account with a keystore's name or an address.")
    if is_address(account):
        return Address(to_checksum_address(account))
    stated = find(app.home / "keystores", account).address
    if stated is None:
        raise UsageError(
            f"The keystore of {account} does not state its address.",
            next_step="Look it up with: armlx-chain wallet address, and give the address.",
        )
    return stated


def _read_position(
    app: App, token: ProjectToken, market: MarketState, owner: Address, block: int, *, with_basis: bool
) -> Position:
    from armlx_chain.cli.wiring import ledger_of, open_proposals
    from armlx_chain.market.history import read_events
    from armlx_chain.market.holding import cost_basis, position_of
    from armlx_chain.types import Tokens

    ledger = ledger_of(app)
    mine = [proposal for proposal in open_proposals(app, market.project_id) if proposal.miner == owner]
    staked = Tokens(sum(proposal.stake for proposal in mine))
    basis = None
    if with_basis:
        first = _creation_block(app, market.project_id, block)
        events = read_events(token, first=first, last=block)
        basis = cost_basis(events, owner, ledger.address, open_stakes=staked)
    return position_of(
        market,
        owner,
        balance=token.balance_of(owner, block=block),
        staked=staked,
        claimable=ledger.claimable(market.project_id, owner, block=block),
        basis=basis,
    )


def _position_data(market: MarketState, found: Position) -> dict[str, Any]:
    basis = found.basis
    data: dict[str, Any] = {
        "project": market.project_id, "token": market.token, "symbol": market.symbol,
        "account": found.account, "balance": found.balance, "staked": found.staked,
        "claimable": found.claimable, "nominal_wei": found.nominal, "sellable": found.sellable,
        "proceeds_wei": found.proceeds, "basis": None,
    }  # fmt: skip
    if basis is not None:
        data["basis"] = {
            "cost_wei": basis.held.cost, "staked_cost_wei": basis.staked.cost, "spent_wei": basis.spent,
            "received_wei": basis.received, "realised_gain_wei": basis.realised_gain,
            "rewarded": basis.rewarded, "lost": basis.lost.tokens, "lost_cost_wei": basis.lost.cost,
            "given": basis.given.tokens, "unrealised_gain_wei": found.proceeds - basis.held.cost,
        }  # fmt: skip
    return data


def _position_rows(market: MarketState, found: Position) -> list[tuple[str, object]]:
    part = "" if found.sellable == found.balance else f" for {found.sellable}: the reserve pays for no more"
    rows: list[tuple[str, object]] = [
        ("account", found.account),
        ("balance", f"{found.balance} {market.symbol}"),
        ("staked in open proposals", f"{found.staked} {market.symbol}"),
        ("credits to claim", f"{found.claimable} {market.symbol}"),
        ("sold now", coin(found.proceeds) + part),
    ]
    basis = found.basis
    if basis is not None:
        rows += [
            ("cost of the balance", coin(basis.held.cost)),
            ("gain if sold now", coin(found.proceeds - basis.held.cost)),
            ("spent, received", f"{coin(basis.spent)}, {coin(basis.received)}"),
            ("realised gain", coin(basis.realised_gain)),
            ("came without a price", f"{basis.rewarded} {market.symbol}"),
            ("lost with stakes", f"{basis.lost.tokens} {market.symbol}, {coin(basis.lost.cost)}"),
        ]
    return rows
