"""A token's events: only what has their shape is taken; supplies and costs follow from them exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.chain.logs import LogEntry, LogQuery, LogReader
from armlx_chain.chain.rpc import Rpc
from armlx_chain.errors import ChainError, RpcUnavailable
from armlx_chain.market.curve import Curve
from armlx_chain.market.history import TokenEvent, movements, read_events
from armlx_chain.market.holding import Bucket, CostBasis, cost_basis, position_of
from armlx_chain.types import Address, Tokens, TxHash, Wei
from tests.market.test_order_rules import MARKET

pytestmark = pytest.mark.unit

ZERO = Address("0x" + "00" * 20)
ME, OTHER, LEDGER = (Address("0x" + digit * 40) for digit in "123")
CURVE = Curve(Wei(10**15), Wei(10**12))


class FixedReader(LogReader):
    """A reader whose endpoint always answers the same."""

    def __init__(self, entries: Sequence[LogEntry]) -> None:
        super().__init__()
        self.entries = list(entries)

    def read(self, rpc: Rpc, queries: Sequence[LogQuery], first: int, last: int) -> list[LogEntry]:
        return self.entries


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


BOUGHT = LogEntry(
    address=OTHER,
    topics=(keccak(text="Bought(address,uint256,uint256)"), word(int(ME, 16))),
    data=word(10**16) + word(9),
    block_number=7,
    block_hash=b"\x01" * 32,
    tx_hash=b"\x02" * 32,
    index=3,
)


def read(*entries: LogEntry) -> list[TokenEvent]:
    token: Any = SimpleNamespace(address=OTHER, rpc=None)
    return read_events(token, first=0, last=9, reader=FixedReader(entries))


def test_an_event_is_read_with_its_accounts_and_amounts() -> None:
    assert read(BOUGHT) == [TokenEvent(7, 3, TxHash("0x" + "02" * 32), "Bought", (ME,), (10**16, 9))]


@pytest.mark.parametrize(
    "entry",
    [
        replace(BOUGHT, data=BOUGHT.data[:32]),
        replace(BOUGHT, data=BOUGHT.data + b"\x00"),
        replace(BOUGHT, data=b""),
        replace(BOUGHT, topics=BOUGHT.topics[:1]),
        replace(BOUGHT, topics=(*BOUGHT.topics, word(1))),
        replace(BOUGHT, topics=(BOUGHT.topics[0], b"\x01" * 32)),
        replace(BOUGHT, topics=(BOUGHT.topics[0], BOUGHT.topics[1][:20])),
    ],
)
def test_an_event_of_another_shape_is_refused(entry: LogEntry) -> None:
    with pytest.raises(RpcUnavailable, match="another shape"):
        read(entry)


def test_two_events_in_one_place_are_refused() -> None:
    with pytest.raises(RpcUnavailable, match="one place"):
        read(BOUGHT, replace(BOUGHT, tx_hash=b"\x03" * 32))


class Story:
    """Events as the contract emits them, step by step, with the truth kept beside them."""

    def __init__(self) -> None:
        self.events: list[TokenEvent] = []
        self.supply = 0
        self.balances = {ME: 0, OTHER: 0, LEDGER: 0}

    def emit(self, name: str, accounts: tuple[Address, ...], *amounts: int) -> None:
        number = len(self.events)
        self.events.append(TokenEvent(self.block, number, self.tx, name, accounts, amounts))

    def begin(self, number: int) -> None:
        self.block, self.tx = number, TxHash(f"0x{number:064x}")

    def move(self, giver: Address, taker: Address, count: int) -> None:
        self.emit("Transfer", (giver, taker), count)
        if giver == ZERO:
            self.supply += count
        else:
            self.balances[giver] -= count
        if taker == ZERO:
            self.supply -= count
        else:
            self.balances[taker] += count

    def play(self, number: int, deed: str, who: Address, count: int) -> None:
        self.begin(number)
        have = self.balances[who]
        if deed == "buy":
            cost = CURVE.cost_between(self.supply, self.supply + count)
            self.move(ZERO, who, count)
            self.emit("Bought", (who,), cost, count)
        elif deed == "reward":
            self.move(ZERO, who, count)
            self.emit("MinerRewardMinted", (who,), count)
        elif deed == "burn" and self.balances[LEDGER]:
            count = min(count, self.balances[LEDGER])
            self.move(LEDGER, ZERO, count)
            self.emit("LedgerBurned", (), count)
        elif have and deed == "sell":
            count = min(count, have)
            paid = CURVE.proceeds(count, self.supply)
            self.move(who, ZERO, count)
            self.emit("Sold", (who,), count, paid)
        elif have and deed == "stake":
            self.move(who, LEDGER, min(count, have))
        elif have and deed == "give":
            self.move(who, OTHER if who == ME else ME, min(count, have))


deeds = st.tuples(
    st.sampled_from(["buy", "sell", "reward", "burn", "stake", "give"]), st.sampled_from([ME, OTHER]),
    st.integers(1, 40),
)  # fmt: skip


@given(st.lists(deeds, max_size=30), st.integers(0, 30))
def test_supplies_reckoned_backwards_are_those_that_were(
    story: list[tuple[str, Address, int]], hidden: int
) -> None:
    told = Story()
    supplies = []
    for number, (deed, who, count) in enumerate(story):
        before = len(told.events)
        told.play(number, deed, who, count)
        if any(event.name != "Transfer" for event in told.events[before:]):
            supplies.append(told.supply)
    # The beginning may be unknown: only the end's supply is.
    seen = told.events[min(hidden, len(told.events)) :]
    found = movements(seen, CURVE, told.supply)
    assert [move.supply_after for move in found] == supplies[len(supplies) - len(found) :]
    assert all(move.price_after == CURVE.price_at(move.supply_after) for move in found)


def test_events_that_do_not_lead_to_the_supply_are_refused() -> None:
    told = Story()
    told.play(0, "buy", ME, 5)
    with pytest.raises(ChainError, match="do not fit"):
        movements(told.events, CURVE, 4)


@given(st.lists(deeds, max_size=40), st.integers(0, 60))
def test_every_wei_spent_is_somewhere_and_every_token_too(
    story: list[tuple[str, Address, int]], open_stakes: int
) -> None:
    told = Story()
    for number, (deed, who, count) in enumerate(story):
        told.play(number, deed, who, count)
    basis = cost_basis(told.events, ME, LEDGER, open_stakes=open_stakes)
    assert basis.held.tokens == told.balances[ME]
    places = (basis.held, basis.staked, basis.lost, basis.given)
    assert basis.spent == sum(bucket.cost for bucket in places) + basis.cost_of_sales
    assert basis.staked.tokens <= open_stakes or basis.lost.tokens == 0
    spent = [e.amounts[0] for e in told.events if e.name == "Bought" and e.accounts == (ME,)]
    received = [e.amounts[1] for e in told.events if e.name == "Sold" and e.accounts == (ME,)]
    assert (basis.spent, basis.received) == (sum(spent), sum(received))


def test_a_stake_keeps_its_cost_until_it_returns_or_is_lost() -> None:
    told = Story()
    told.play(0, "buy", ME, 10)
    told.play(1, "stake", ME, 4)
    paid = CURVE.cost_between(0, 10)
    locked = cost_basis(told.events, ME, LEDGER, open_stakes=4)
    assert (locked.staked, locked.held) == (Bucket(4, paid * 4 // 10), Bucket(6, paid - paid * 4 // 10))
    slashed = cost_basis(told.events, ME, LEDGER, open_stakes=0)
    assert (slashed.lost, slashed.staked) == (Bucket(4, paid * 4 // 10), Bucket(0, 0))
    told.begin(2)
    told.move(LEDGER, ME, 4)
    back = cost_basis(told.events, ME, LEDGER, open_stakes=0)
    assert (back.held, back.rewarded) == (Bucket(10, paid), 0)


def test_a_purchase_and_a_reward_in_one_transaction_are_told_apart() -> None:
    told = Story()
    told.begin(0)
    told.move(ZERO, ME, 3)
    told.move(ZERO, ME, 5)
    told.emit("Bought", (ME,), 77, 5)
    basis = cost_basis(told.events, ME, LEDGER, open_stakes=0)
    assert (basis.spent, basis.rewarded, basis.held) == (77, 3, Bucket(8, 77))


@given(st.integers(0, 10**6), st.integers(0, 10**9), st.integers(0, 10**6))
def test_shares_of_a_bucket_add_up_to_its_cost(tokens: int, cost: int, taken: int) -> None:
    bucket = Bucket(tokens, cost)
    shares = [bucket.take(taken), bucket.take(taken), bucket.take(tokens)]
    assert sum(shares) == cost
    assert (bucket.cost, bucket.tokens) == (0, 0)
    assert min(shares) >= 0


def test_a_basis_that_does_not_lead_to_the_balance_is_left_out() -> None:
    market = replace(MARKET, supply=Tokens(20), reserve=Wei(10**15))
    wrong = CostBasis(held=Bucket(3, 1))
    found = position_of(
        market, ME, balance=Tokens(4), staked=Tokens(0), claimable=Tokens(0), basis=cast(CostBasis, wrong)
    )
    assert found.basis is None
    assert (found.sellable, found.proceeds) == (0, 0)
    assert found.nominal == CURVE.proceeds(4, 20)
