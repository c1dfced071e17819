"""What an account holds, what it cost, and what it would bring now.

The cost basis is the moving average: a sale takes its share of what the tokens held so far have cost. Rewards
and tokens received from others cost nothing; a stake keeps its cost while it is locked; what a slash took is
shown as lost with its cost. Everything is in wei and whole tokens; shares are floored, and the last token
takes the rest, so that costs always add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from armlx_chain.errors import CurveOverflow
from armlx_chain.market.history import TokenEvent, is_burn, is_mint, transfers_of
from armlx_chain.market.state import MarketState
from armlx_chain.types import Address, Tokens, TxHash, Wei


@dataclass(slots=True)
class Bucket:
    """Tokens, and what they cost in all."""

    tokens: int = 0
    cost: int = 0

    def put(self, tokens: int, cost: int) -> None:
        self.tokens += tokens
        self.cost += cost

    def take(self, tokens: int) -> int:
        """Take tokens out; returns their share of the cost. More than there are come at no cost."""
        share = self.cost if tokens >= self.tokens else self.cost * tokens // self.tokens
        self.tokens = max(0, self.tokens - tokens)
        self.cost -= share
        return share


@dataclass(slots=True)
class CostBasis:
    """An account's past with a token.

    Attributes:
        held: What is in the account now.
        staked: What is locked on the ledger.
        lost: What slashes took.
        given: What was sent to others.
        spent: All that purchases cost, in wei.
        received: All that sales brought, in wei.
        cost_of_sales: What the tokens sold had cost.
        rewarded: Tokens that came without a price: rewards, credits, gifts.
    """

    held: Bucket = field(default_factory=Bucket)
    staked: Bucket = field(default_factory=Bucket)
    lost: Bucket = field(default_factory=Bucket)
    given: Bucket = field(default_factory=Bucket)
    spent: int = 0
    received: int = 0
    cost_of_sales: int = 0
    rewarded: int = 0

    @property
    def realised_gain(self) -> int:
        """What sales brought beyond what the tokens had cost; negative for a loss."""
        return self.received - self.cost_of_sales


@dataclass(frozen=True, slots=True)
class Position:
    """An account's tokens of one project.

    Attributes:
        balance: Tokens in the account.
        staked: Tokens locked in its open proposals.
        claimable: Credits that ``claimReward`` would pay out.
        nominal: What the curve says the balance is worth, in wei, whatever the reserve holds.
        sellable: How many of them the reserve can pay for now.
        proceeds: What selling those brings now, in wei.
        basis: None where the events do not lead to the balance.
    """

    account: Address
    balance: Tokens
    staked: Tokens
    claimable: Tokens
    nominal: Wei | None
    sellable: Tokens
    proceeds: Wei
    basis: CostBasis | None


def cost_basis(
    events: Sequence[TokenEvent], account: Address, ledger: Address, *, open_stakes: int
) -> CostBasis:
    """Follow an account through a token's events. A pure rule.

    Args:
        events: All of the token's events since its creation, in order.
        open_stakes: Tokens in the account's open proposals now; what was staked beyond them is lost.
    """
    trades = _trades(events, account)
    basis = CostBasis()
    for transfer in transfers_of(events, account):
        tokens = transfer.amounts[0]
        giver, taker = transfer.accounts
        if giver == taker:
            continue
        if taker == account:
            _come_in(basis, transfer, tokens, trades, from_ledger=giver == ledger)
        elif is_burn(transfer):
            basis.cost_of_sales += basis.held.take(tokens)
            basis.received += _take_trade(trades, transfer.tx_hash, "Sold", tokens) or 0
        else:
            bucket = basis.staked if taker == ledger else basis.given
            bucket.put(tokens, basis.held.take(tokens))
    gone = basis.staked.tokens - open_stakes
    if gone > 0:
        basis.lost.put(gone, basis.staked.take(gone))
    return basis


def position_of(
    market: MarketState,
    account: Address,
    *,
    balance: Tokens,
    staked: Tokens,
    claimable: Tokens,
    basis: CostBasis | None,
) -> Position:
    """What an account has, at one state of the market. A pure rule."""
    sellable = market.curve.sellable(balance, market.supply, market.reserve)
    try:
        nominal = market.curve.proceeds(balance, market.supply)
    except CurveOverflow:
        nominal = None
    fits = basis is not None and basis.held.tokens == balance
    return Position(
        account=account,
        balance=balance,
        staked=staked,
        claimable=claimable,
        nominal=nominal,
        sellable=sellable,
        proceeds=market.curve.proceeds(sellable, market.supply),
        basis=basis if fits else None,
    )


_Trades = dict[tuple[TxHash, str], list[tuple[int, int]]]
"""By transaction and event: tokens and wei, in order."""


def _trades(events: Sequence[TokenEvent], account: Address) -> _Trades:
    found: _Trades = {}
    for event in events:
        if event.name in ("Bought", "Sold") and event.accounts[0] == account:
            tokens, wei = event.amounts if event.name == "Sold" else reversed(event.amounts)
            found.setdefault((event.tx_hash, event.name), []).append((tokens, wei))
    return found


def _take_trade(trades: _Trades, tx_hash: TxHash, name: str, tokens: int) -> int | None:
    """The wei of the next trade of this transaction, if it moved just these tokens."""
    waiting = trades.get((tx_hash, name), [])
    if not waiting or waiting[0][0] != tokens:
        return None
    return waiting.pop(0)[1]


def _come_in(
    basis: CostBasis, transfer: TokenEvent, tokens: int, trades: _Trades, *, from_ledger: bool
) -> None:
    paid = _take_trade(trades, transfer.tx_hash, "Bought", tokens) if is_mint(transfer) else None
    if paid is not None:
        basis.spent += paid
        basis.held.put(tokens, paid)
        return
    back = min(tokens, basis.staked.tokens) if from_ledger else 0
    basis.held.put(tokens, basis.staked.take(back) if back else 0)
    basis.rewarded += tokens - back
