"""The bonding curve as integers: the specification's vectors and its laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.errors import CurveOverflow, MarketError
from armlx_chain.market.curve import Curve
from armlx_chain.types import Wei
from tests.market.curve_campaign import LARGEST, Oracle, compare, open_engine

EVEN = Curve(Wei(10**15), Wei(10**12))
ODD = Curve(Wei(10**15), Wei(10**12 + 1))


@pytest.mark.unit
@pytest.mark.parametrize(
    ("payment", "tokens"),
    [
        (10**15, 0),
        (1000500000000000 - 1, 0),
        (1000500000000000, 1),
        (2002000000000000 - 1, 1),
        (2002000000000000, 2),
        (10**18, 732),
        (10**22, 140424),
        (2**200, 1792728671193156477398422),
    ],
)
def test_tokens_for_a_payment_match_the_contract(payment: int, tokens: int) -> None:
    assert EVEN.tokens_for(payment, 0) == tokens


@pytest.mark.unit
@pytest.mark.parametrize(
    ("start", "end", "cost"),
    [(0, 1, 1000500000000000), (0, 2, 2002000000000000), (1, 2, 1001500000000000),
     (0, 12, 12072000000000000), (12, 13, 1012500000000000)],
)  # fmt: skip
def test_costs_match_the_contract(start: int, end: int, cost: int) -> None:
    assert EVEN.cost_between(start, end) == cost


@pytest.mark.unit
def test_an_odd_slope_needs_one_more_wei() -> None:
    cost = ODD.cost_between(0, 3)
    assert (cost, ODD.tokens_for(cost, 0), ODD.tokens_for(cost + 1, 0)) == (3004500000000004, 2, 3)
    assert ODD.payment_for(3, 0) == cost + 1


@pytest.mark.unit
def test_a_flat_curve() -> None:
    flat = Curve(Wei(7), Wei(0))
    assert [flat.tokens_for(payment, 0) for payment in (6, 7, 20, 21)] == [0, 1, 2, 3]
    assert Curve(Wei(0), Wei(0)).tokens_for(10**18, 0) == 0


@pytest.mark.unit
def test_selling_more_than_exists_is_refused() -> None:
    with pytest.raises(MarketError):
        EVEN.proceeds(11, 10)


@pytest.mark.unit
def test_the_reserve_bounds_what_can_be_sold() -> None:
    # The worked example of the specification: 13 tokens, a reserve of 12 tokens' cost.
    assert EVEN.sellable(13, 13, 12072000000000000) == 11


prices = st.tuples(st.integers(0, 10**20), st.integers(0, 10**15)).filter(any)
"""Base price and slope; not both zero."""
supplies = st.integers(0, 10**9)
counts = st.integers(1, 10**6)


def curve_of(price: tuple[int, int]) -> Curve:
    return Curve(Wei(price[0]), Wei(price[1]))


@pytest.mark.unit
@given(prices, supplies, counts)
def test_the_quoted_payment_is_the_least_that_buys_the_count(
    price: tuple[int, int], supply: int, count: int
) -> None:
    curve = curve_of(price)
    payment = curve.payment_for(count, supply)
    assert curve.tokens_for(payment, supply) >= count
    assert payment - curve.cost_between(supply, supply + count) in (0, 1)
    if payment > 1:
        assert curve.tokens_for(payment - 1, supply) < count


@pytest.mark.unit
@given(prices, supplies, st.integers(0, 10**24))
def test_buying_is_the_inverse_of_the_cost(price: tuple[int, int], supply: int, payment: int) -> None:
    curve = curve_of(price)
    count = curve.tokens_for(payment, supply)
    assert curve.cost_between(supply, supply + count) <= payment
    base, slope = price
    assert 2 * base * (count + 1) + slope * (count + 1) * (2 * supply + count + 1) > 2 * payment


@pytest.mark.unit
@given(prices, supplies, counts, counts)
def test_costs_add_up_but_for_half_a_wei_of_an_odd_slope(
    price: tuple[int, int], supply: int, first: int, second: int
) -> None:
    curve = curve_of(price)
    whole = curve.cost_between(supply, supply + first + second)
    middle = supply + first
    parts = curve.cost_between(supply, middle) + curve.cost_between(middle, middle + second)
    assert whole - parts in ((0,) if price[1] % 2 == 0 else (0, 1))


@pytest.mark.unit
@given(prices, supplies, counts, st.integers(0, 10**6))
def test_tokens_get_dearer_with_the_supply_and_selling_pays_what_buying_cost(
    price: tuple[int, int], supply: int, count: int, later: int
) -> None:
    curve = curve_of(price)
    now, then = curve.payment_for(count, supply), curve.payment_for(count, supply + later)
    assert then >= now
    assert curve.tokens_for(now, supply + later) <= curve.tokens_for(now, supply)
    assert curve.proceeds(count, supply + count) == curve.cost_between(supply, supply + count)


@pytest.mark.unit
def test_a_curve_without_a_price_sells_nothing() -> None:
    with pytest.raises(MarketError, match="price is zero"):
        Curve(Wei(0), Wei(0)).payment_for(1, 0)


@pytest.mark.unit
@pytest.mark.parametrize(
    "ask",
    [
        lambda: EVEN.price_at(LARGEST),
        lambda: EVEN.cost_between(0, LARGEST),
        lambda: EVEN.cost_between(LARGEST, LARGEST),
        lambda: EVEN.tokens_for(2**255, 0),
        lambda: EVEN.proceeds(LARGEST, LARGEST),
    ],
)
def test_where_the_contract_panics_we_raise(ask: object) -> None:
    with pytest.raises(CurveOverflow):
        ask()  # type: ignore[operator]


@pytest.mark.integration
def test_the_curve_equals_the_contracts_bytecode_on_random_points() -> None:
    """The short form of scripts/campaigns/curve."""
    engine = open_engine("embedded")
    try:
        found = compare(Oracle(engine), 2_000, seed=1)
    finally:
        engine.close()
    assert found.different == []
    assert (found.points, found.odd > 200) == (2_000, True)
    kinds = {"quoteBuy", "quoteSell", "costBetween", "priceAt", "Panic 17", "OverSupply", "Error BAD_RANGE"}
    assert kinds <= set(found.kinds)


@pytest.mark.unit
@given(supply=st.integers(1, 10**6), reserve=st.integers(0, 10**22), held=st.integers(0, 10**6))
def test_sellable_is_the_largest_payable_amount(supply: int, reserve: int, held: int) -> None:
    best = EVEN.sellable(held, supply, reserve)
    assert best <= min(held, supply)
    assert EVEN.proceeds(best, supply) <= reserve
    if best < min(held, supply):
        assert EVEN.proceeds(best + 1, supply) > reserve
