"""The bonding curve as integers: the specification's vectors and its laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.errors import MarketError
from armlx_chain.market.curve import Curve
from armlx_chain.types import Wei

pytestmark = pytest.mark.unit

EVEN = Curve(Wei(10**15), Wei(10**12))
ODD = Curve(Wei(10**15), Wei(10**12 + 1))


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


@pytest.mark.parametrize(
    ("start", "end", "cost"),
    [(0, 1, 1000500000000000), (0, 2, 2002000000000000), (1, 2, 1001500000000000),
     (0, 12, 12072000000000000), (12, 13, 1012500000000000)],
)  # fmt: skip
def test_costs_match_the_contract(start: int, end: int, cost: int) -> None:
    assert EVEN.cost_between(start, end) == cost


def test_an_odd_slope_needs_one_more_wei() -> None:
    cost = ODD.cost_between(0, 3)
    assert (cost, ODD.tokens_for(cost, 0), ODD.tokens_for(cost + 1, 0)) == (3004500000000004, 2, 3)
    assert ODD.payment_for(3, 0) == cost + 1


def test_a_flat_curve() -> None:
    flat = Curve(Wei(7), Wei(0))
    assert [flat.tokens_for(payment, 0) for payment in (6, 7, 20, 21)] == [0, 1, 2, 3]
    assert Curve(Wei(0), Wei(0)).tokens_for(10**18, 0) == 0


def test_selling_more_than_exists_is_refused() -> None:
    with pytest.raises(MarketError):
        EVEN.proceeds(11, 10)


def test_the_reserve_bounds_what_can_be_sold() -> None:
    # The worked example of the specification: 13 tokens, a reserve of 12 tokens' cost.
    assert EVEN.sellable(13, 13, 12072000000000000) == 11


@given(
    base=st.integers(0, 10**20), slope=st.integers(0, 10**15), supply=st.integers(0, 10**9),
    count=st.integers(1, 10**6),
)  # fmt: skip
def test_paying_the_quoted_payment_buys_at_least_the_count(
    base: int, slope: int, supply: int, count: int
) -> None:
    curve = Curve(Wei(base), Wei(slope))
    payment = curve.payment_for(count, supply)
    if payment > 1:
        assert curve.tokens_for(payment, supply) >= count
        assert payment - curve.cost_between(supply, supply + count) in (0, 1)


@given(supply=st.integers(1, 10**6), reserve=st.integers(0, 10**22), held=st.integers(0, 10**6))
def test_sellable_is_the_largest_payable_amount(supply: int, reserve: int, held: int) -> None:
    best = EVEN.sellable(held, supply, reserve)
    assert best <= min(held, supply)
    assert EVEN.proceeds(best, supply) <= reserve
    if best < min(held, supply):
        assert EVEN.proceeds(best + 1, supply) > reserve
