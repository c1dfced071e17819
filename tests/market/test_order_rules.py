"""The rules of orders and quotes, without a chain: whatever the market does, the bounds hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.errors import MachineError, MarketError, UsageError
from armlx_chain.market.curve import Curve
from armlx_chain.market.orderbook import OrderBook
from armlx_chain.market.orders import BuyOrder, Filled, SellOrder, next_purchase, next_sale
from armlx_chain.market.quotes import plan_sale, quote_budget, quote_tokens
from armlx_chain.market.state import MarketState
from armlx_chain.types import Address, ProjectId, Tokens, Wei

pytestmark = pytest.mark.unit

WHO, TOKEN = Address("0x" + "11" * 20), Address("0x" + "22" * 20)
MARKET = MarketState(
    ProjectId(0), TOKEN, "Bare", "BARE", Curve(Wei(10**15), Wei(10**12)), Tokens(0), Wei(0), Tokens(0),
    Tokens(0),
)  # fmt: skip

prices = st.tuples(st.integers(0, 10**18), st.integers(0, 10**13)).filter(any)
supplies = st.integers(0, 10**6)
amounts = st.integers(0, 10**21)


def market_of(price: tuple[int, int], supply: int, reserve: int = 0) -> MarketState:
    curve = Curve(Wei(price[0]), Wei(price[1]))
    return replace(MARKET, curve=curve, supply=Tokens(supply), reserve=Wei(reserve))


@given(prices, supplies, st.integers(1, 10**5), amounts, st.integers(0, 10**5), st.integers(0, 1000),
       st.integers(0, 10**5), amounts)  # fmt: skip
def test_a_purchase_never_sends_more_than_is_left_of_its_bound(
    price: tuple[int, int], supply: int, count: int, bound: int, least: int, tolerate: int,
    got: int, spent: int,
) -> None:  # fmt: skip
    order = BuyOrder(Tokens(count), Wei(bound), Tokens(min(least, count)), tolerate)
    done = Filled(tokens=min(got, count), wei=min(spent, bound))
    market = market_of(price, supply)
    try:
        purchase = next_purchase(market, order, done)
    except MarketError:
        return
    if purchase is None:
        assert done.tokens >= order.min_tokens
        return
    assert purchase.payment <= bound - done.wei
    assert market.curve.tokens_for(purchase.payment, supply) >= purchase.count
    assert order.min_tokens <= done.tokens + purchase.count <= count


def test_a_sale_that_gave_all_its_tokens_in_fewer_parts_has_nothing_left_to_send() -> None:
    market = market_of((10**15, 10**12), 100, reserve=10**18)
    order = SellOrder(Tokens(2), Wei(10**15), parts=5)
    assert next_sale(market, order, Filled(tokens=2, wei=10**15 - 1), part=2) is None


@given(prices, supplies, st.integers(1, 10**5), st.integers(0, 100), st.integers(0, 100))
def test_a_tolerated_move_still_buys_the_count(
    price: tuple[int, int], supply: int, count: int, tolerate: int, moved: int
) -> None:
    market = market_of(price, supply)
    purchase = next_purchase(market, BuyOrder(Tokens(count), Wei(2**200), Tokens(count), tolerate), Filled())
    assert purchase is not None
    if moved <= tolerate:
        assert market.curve.tokens_for(purchase.payment, supply + moved) >= count


@given(prices, supplies, amounts)
def test_a_budget_is_quoted_as_the_contract_would_fill_it(
    price: tuple[int, int], supply: int, budget: int
) -> None:
    market = market_of(price, supply)
    try:
        quote = quote_budget(market, Wei(budget))
    except MarketError:
        assert market.curve.tokens_for(budget, supply) == 0
        return
    assert quote.payment <= budget
    assert quote.count == market.curve.tokens_for(budget, supply)
    assert quote.average_price * quote.count >= quote.cost
    assert quote.spot_after >= quote.spot_before


def test_impact_is_exact_and_absent_from_a_price_of_zero() -> None:
    quote = quote_tokens(replace(MARKET, supply=Tokens(12)), 10)
    assert (quote.spot_before, quote.spot_after, quote.impact_ppm) == (1012 * 10**12, 1022 * 10**12, 9881)
    assert quote_tokens(market_of((0, 1), 0), 5).impact_ppm is None


def test_a_sale_of_which_nothing_can_be_paid_is_refused_even_without_a_minimum() -> None:
    market = market_of((0, 1674817), 96598, reserve=0)
    with pytest.raises(MarketError):
        next_sale(market, SellOrder(Tokens(985), Wei(0), 3, up_to=True), Filled(), 0)


@given(
    prices, st.integers(1, 10**5), st.integers(1, 10**5), amounts, amounts, st.integers(1, 9), st.booleans()
)
def test_a_part_of_a_sale_can_be_paid_and_the_minimum_stays_in_reach(
    price: tuple[int, int], supply: int, count: int, reserve: int, minimum: int, parts: int, up_to: bool
) -> None:
    market = market_of(price, supply, reserve)
    order = SellOrder(Tokens(min(count, supply)), Wei(minimum), parts, up_to)
    try:
        part = next_sale(market, order, Filled(), 0)
    except MarketError:
        return
    assert part is not None
    curve = market.curve
    assert 1 <= part <= order.count
    assert curve.proceeds(part, supply) <= reserve
    most = curve.sellable(order.count, supply, reserve) if up_to else order.count
    assert curve.proceeds(most, supply) >= minimum


@given(prices, st.integers(1, 2000), st.integers(1, 9))
def test_parts_sell_everything_in_as_many_transactions(
    price: tuple[int, int], count: int, parts: int
) -> None:
    market = market_of(price, count)
    market = replace(market, reserve=market.curve.cost_between(0, count))
    order, done, sizes = SellOrder(Tokens(count), Wei(0), parts), Filled(), []
    for number in range(parts):
        part = next_sale(market, order, done, number)
        if part is None:
            break
        wei = market.curve.proceeds(part, market.supply)
        market = replace(market, supply=Tokens(market.supply - part), reserve=Wei(market.reserve - wei))
        done.tokens += part
        sizes.append(part)
    assert (sum(sizes), done.tokens) == (count, count)
    assert max(sizes) - min(sizes) <= 1


def test_what_the_reserve_cannot_pay_names_the_most_that_it_can() -> None:
    market = replace(MARKET, supply=Tokens(13), reserve=Wei(12072000000000000))
    with pytest.raises(MarketError, match="reserve") as caught:
        plan_sale(market, 13)
    assert caught.value.details["sellable"] == 11
    with pytest.raises(MarketError, match="less than the bound"):
        plan_sale(market, 5, min_proceeds=Wei(10**18))


class TestOrdersOnDisk:
    """What survives a restart."""

    @staticmethod
    def book(folder: Path, chain: str = "31337:aa") -> OrderBook:
        return OrderBook(folder, chain=chain)

    def test_the_same_request_takes_up_the_order_with_its_first_bounds(self, tmp_path: Path) -> None:
        first = self.book(tmp_path).open("buy", WHO, TOKEN, {"count": 5}, {"max_spend": 10**30})
        again = self.book(tmp_path).open("buy", WHO, TOKEN, {"count": 5}, {"max_spend": 7})
        assert (again.id, again.resumed, again.bound("max_spend")) == (first.id, True, 10**30)
        assert first.path.stat().st_mode & 0o777 == 0o600

    def test_another_request_is_refused_until_the_first_has_ended(self, tmp_path: Path) -> None:
        book = self.book(tmp_path)
        first = book.open("buy", WHO, TOKEN, {"count": 5}, {})
        with pytest.raises(UsageError, match="begun and not finished"):
            book.open("buy", WHO, TOKEN, {"count": 6}, {})
        first.close()
        assert book.open("buy", WHO, TOKEN, {"count": 6}, {}).id != first.id

    def test_orders_of_other_kinds_accounts_tokens_and_chains_do_not_meet(self, tmp_path: Path) -> None:
        book = self.book(tmp_path)
        ids = {
            book.open("buy", WHO, TOKEN, {}, {}).id, book.open("sell", WHO, TOKEN, {}, {}).id,
            book.open("buy", TOKEN, TOKEN, {}, {}).id, book.open("buy", WHO, WHO, {}, {}).id,
            self.book(tmp_path, "31337:bb").open("buy", WHO, TOKEN, {}, {}).id,
        }  # fmt: skip
        assert len(ids) == 5

    @pytest.mark.parametrize(
        "content",
        [b"", b"{}", b"[]", b'{"version":1}', b'{"version":1,"id":"../x","terms":{}}',
         b'{"version":2,"id":"a","terms":{}}'],
    )  # fmt: skip
    def test_a_damaged_file_is_an_error_and_never_no_order(self, tmp_path: Path, content: bytes) -> None:
        order = self.book(tmp_path).open("buy", WHO, TOKEN, {}, {})
        order.path.write_bytes(content)
        with pytest.raises(MachineError):
            self.book(tmp_path).open("buy", WHO, TOKEN, {}, {})

    def test_a_bound_that_is_missing_is_an_error(self, tmp_path: Path) -> None:
        order = self.book(tmp_path).open("buy", WHO, TOKEN, {}, {"max_spend": 1})
        with pytest.raises(MachineError):
            order.bound("min_tokens")
