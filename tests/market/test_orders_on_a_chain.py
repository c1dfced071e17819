"""Orders against the real contract: bounds kept, remainders bought, interruptions finished, nothing twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from armlx_chain.chain.contracts import ProjectToken
from armlx_chain.chain.journal import Attempt
from armlx_chain.errors import ContractRevert, MarketError
from armlx_chain.market import trade
from armlx_chain.market.orders import (
    BuyOrder,
    Filled,
    SellOrder,
    carry_out_purchase,
    carry_out_sale,
)
from armlx_chain.types import Tokens, Wei
from tests.market.marketworld import MarketWorld, Stopped

pytestmark = pytest.mark.integration


@pytest.fixture
def token(world: MarketWorld) -> ProjectToken:
    return world.project()


def once(event: str, act: Callable[[], None]) -> Callable[[str, Attempt], None]:
    """A hook that acts the first time a transaction comes to an event."""
    waiting = [act]

    def hook(name: str, _attempt: Attempt) -> None:
        if name == event and waiting:
            waiting.pop()()

    return hook


def purchase(
    world: MarketWorld,
    token: ProjectToken,
    order: BuyOrder,
    hook: Callable[[str, Attempt], None] | None = None,
    order_id: str = "o",
) -> Filled:
    order_id += token.address
    return carry_out_purchase(
        world.sender("buyer", hook), token, world.number_of(token), order, order_id=order_id
    )


def test_a_purchase_costs_what_the_event_says(world: MarketWorld, token: ProjectToken) -> None:
    filled = purchase(world, token, BuyOrder(Tokens(10), Wei(10**18), Tokens(10)))
    assert (filled.tokens, filled.wei, len(filled.receipts)) == (10, 10050000000000000, 1)
    assert token.balance_of(world.address("buyer")) == 10
    assert token.reserve() == 10050000000000000


def test_a_budget_buys_what_it_pays_for_and_the_rest_comes_back(
    world: MarketWorld, token: ProjectToken
) -> None:
    filled = purchase(world, token, BuyOrder(None, Wei(10**16), Tokens(9)))
    assert (filled.tokens, filled.wei) == (9, 9040500000000000)


def test_what_others_bought_first_is_bought_again_at_the_new_price(
    world: MarketWorld, token: ProjectToken
) -> None:
    rush = once("signed", lambda: world.buy("rival", token, 50))
    filled = purchase(world, token, BuyOrder(Tokens(100), Wei(10**18), Tokens(100)), rush)
    assert (filled.tokens, len(filled.receipts)) == (100, 2)
    market = trade.read_market(token, world.number_of(token))
    assert filled.wei == market.curve.cost_between(50, 150)


def test_a_tolerated_move_needs_no_second_transaction(world: MarketWorld, token: ProjectToken) -> None:
    rush = once("signed", lambda: world.buy("rival", token, 5))
    filled = purchase(world, token, BuyOrder(Tokens(100), Wei(10**18), Tokens(100), tolerate=5), rush)
    assert (filled.tokens, len(filled.receipts)) == (100, 1)


def test_a_purchase_that_covers_no_token_any_more_looks_again(
    world: MarketWorld, token: ProjectToken
) -> None:
    rush = once("signed", lambda: world.buy("rival", token, 3))
    said: list[str] = []
    filled = carry_out_purchase(
        world.sender("buyer", rush), token, world.number_of(token),
        BuyOrder(Tokens(1), Wei(10**18), Tokens(1)), order_id=token.address, progress=said.append,
    )  # fmt: skip
    assert (filled.tokens, len(filled.receipts)) == (1, 1)
    assert "others bought first" in said[0]


def test_the_bound_holds_over_all_transactions(world: MarketWorld, token: ProjectToken) -> None:
    before = world.rpc.balance(world.address("buyer"))
    bound = Wei(trade.read_market(token, world.number_of(token)).curve.payment_for(100, 0))
    rush = once("signed", lambda: world.buy("rival", token, 50))
    with pytest.raises(MarketError, match="fewer than the minimum") as caught:
        purchase(world, token, BuyOrder(Tokens(100), bound, Tokens(100)), rush)
    got = token.balance_of(world.address("buyer"))
    assert 90 < got < 100
    assert caught.value.details["bought"] == got
    assert caught.value.details["spent"] <= bound
    assert before - world.rpc.balance(world.address("buyer")) <= bound + 10**16


def test_a_minimum_out_of_reach_sends_nothing(world: MarketWorld, token: ProjectToken) -> None:
    before = world.rpc.nonce(world.address("buyer"), pending=True)
    with pytest.raises(MarketError, match="fewer than the minimum"):
        purchase(world, token, BuyOrder(Tokens(10), Wei(5 * 10**15), Tokens(6)))
    assert world.rpc.nonce(world.address("buyer"), pending=True) == before
    filled = purchase(world, token, BuyOrder(Tokens(10), Wei(5 * 10**15), Tokens(4)))
    assert filled.tokens == 4


@pytest.mark.parametrize("event", ["signed", "broadcast", "mined"])
def test_a_purchase_killed_anywhere_is_finished_and_never_made_twice(
    world: MarketWorld, token: ProjectToken, event: str
) -> None:
    def stop() -> None:
        raise Stopped

    order = BuyOrder(Tokens(7), Wei(10**18), Tokens(7))
    with pytest.raises(Stopped):
        purchase(world, token, order, once(event, stop))
    world.sender("buyer").resume()
    filled = purchase(world, token, order)
    assert filled.tokens == 7
    assert token.balance_of(world.address("buyer")) == 7
    again = purchase(world, token, order)
    assert [r.tx_hash for r in again.receipts] == [r.tx_hash for r in filled.receipts]
    assert token.total_supply() == 7


def test_a_purchase_killed_between_two_rounds_buys_only_the_remainder(
    world: MarketWorld, token: ProjectToken
) -> None:
    events: list[str] = []

    def hook(name: str, _attempt: Attempt) -> None:
        events.append(name)
        if events == ["signed"]:
            world.buy("rival", token, 50)
        elif events.count("signed") == 2:
            raise Stopped

    order = BuyOrder(Tokens(100), Wei(10**18), Tokens(100))
    with pytest.raises(Stopped):
        purchase(world, token, order, hook)
    world.sender("buyer").resume()
    filled = purchase(world, token, order)
    assert (filled.tokens, token.balance_of(world.address("buyer"))) == (100, 100)


def sale(
    world: MarketWorld,
    token: ProjectToken,
    order: SellOrder,
    hook: Callable[[str, Attempt], None] | None = None,
) -> Filled:
    return carry_out_sale(
        world.sender("seller", hook), token, world.number_of(token), order, order_id=token.address
    )


def test_a_sale_in_parts_brings_what_the_curve_says(world: MarketWorld, token: ProjectToken) -> None:
    world.buy("seller", token, 10)
    filled = sale(world, token, SellOrder(Tokens(10), Wei(10050000000000000), parts=4))
    assert (filled.tokens, filled.wei, len(filled.receipts)) == (10, 10050000000000000, 4)
    assert (token.reserve(), token.total_supply()) == (0, 0)


def test_a_sale_stops_when_its_minimum_is_out_of_reach(world: MarketWorld, token: ProjectToken) -> None:
    world.buy("rival", token, 50)
    world.buy("seller", token, 50)
    market = trade.read_market(token, world.number_of(token))
    minimum = Wei(market.curve.proceeds(50, 100))
    dump = once("mined", lambda: world.act("rival", token.address, token.encode("sell", 50)))
    with pytest.raises(MarketError, match="less than the bound") as caught:
        sale(world, token, SellOrder(Tokens(50), minimum, parts=5), dump)
    assert "10 tokens were sold" in (caught.value.meaning or "")
    assert token.balance_of(world.address("seller")) == 40


def test_the_reserve_bounds_a_sale(world: MarketWorld, token: ProjectToken) -> None:
    """Weakness W2 of the contracts: rewards are sellable but bring no reserve."""
    world.buy("seller", token, 20)
    world.settle(world.stake("seller", token, 20, 5), 5)
    assert (token.balance_of(world.address("seller")), token.total_supply()) == (40, 40)
    with pytest.raises(MarketError, match="reserve of") as caught:
        sale(world, token, SellOrder(Tokens(40), Wei(0)))
    most = caught.value.details["sellable"]
    with pytest.raises(ContractRevert, match="reserve cannot pay"):
        trade.simulate_sale(token, world.address("seller"), most + 1)
    filled = sale(world, token, SellOrder(Tokens(40), Wei(0), parts=2, up_to=True))
    assert filled.tokens == most
    left = trade.read_market(token, world.number_of(token))
    assert left.reserve < left.curve.proceeds(1, left.supply)


def test_an_odd_slope_buys_the_whole_count(world: MarketWorld) -> None:
    odd = world.project(slope=10**12 + 1)
    filled = purchase(world, odd, BuyOrder(Tokens(3), Wei(10**18), Tokens(3)))
    assert (filled.tokens, filled.wei) == (3, 3004500000000004)
