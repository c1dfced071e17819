"""The price curve against its recorded vectors and against exact integer arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import Any

import eth_abi
import pytest
from evm_contracts import Contract, Refused, creation_code, decode_refusal
from evm_world import BASE, MAX, SLOPE, World, refuses
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

OVERFLOW = ("Panic", (0x11,))


class Overflow(Exception):
    pass


def checked(value: int) -> int:
    if not 0 <= value <= MAX:
        raise Overflow
    return value


def price_at(b: int, s: int, supply: int) -> int:
    return checked(b + checked(s * supply))


def cost_between(b: int, s: int, f: int, t: int) -> int:
    n = t - f
    both = checked(f + t)
    return checked(checked(b * n) + checked(checked(s * n) * both) // 2)


def quote_buy(b: int, s: int, supply: int, payment: int) -> int:
    if payment == 0:
        return 0
    if s == 0:
        return payment // b if b else 0
    q = checked(checked(2 * b) + checked(checked(2 * s) * supply))
    r = isqrt(checked(checked(q * q) + checked(checked(8 * s) * payment)))
    return (r - q) // (2 * s) if r > q else 0


def expected(function: str, b: int, s: int, supply: int, *arguments: int) -> Any:
    """The exact answer, or the refusal's name and arguments."""
    try:
        if function == "quoteBuy":
            return quote_buy(b, s, supply, *arguments)
        if function == "priceAt":
            return price_at(b, s, *arguments)
        if function == "quoteSell":
            (n,) = arguments
            return cost_between(b, s, supply - n, supply) if n <= supply else ("OverSupply", ())
        f, t = arguments
        return cost_between(b, s, f, t) if t >= f else ("Error", ("BAD_RANGE",))
    except Overflow:
        return OVERFLOW


def answer(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Refused as refusal:
        return (refusal.name, refusal.arguments)


def token_with(world: World, b: int, s: int, supply: int = 0) -> Contract:
    """A token of any price and supply: its ledger is an ordinary account, which mints."""
    arguments = ("n", "s", b, s, MAX, world.cranker)
    token = Contract.deploy(world.engine, "ProjectToken", *arguments, sender=world.stranger)
    if supply:
        token.send("mintMinerReward", world.stranger, supply, sender=world.cranker)
    return token


@pytest.mark.parametrize(
    ("payment", "tokens"),
    [
        (10**15, 0),
        (1_000_500_000_000_000 - 1, 0),
        (1_000_500_000_000_000, 1),
        (2_002_000_000_000_000 - 1, 1),
        (2_002_000_000_000_000, 2),
        (10**18, 732),
        (10**22, 140_424),
        (2**200, 1_792_728_671_193_156_477_398_422),
        (2**255, OVERFLOW),
        (0, 0),
    ],
)
def test_quote_buy_at_supply_zero(world: World, payment: int, tokens: Any) -> None:
    assert answer(lambda: world.token.call("quoteBuy", payment)) == tokens


@pytest.mark.parametrize(
    ("f", "t", "cost"),
    [
        (0, 1, 1_000_500_000_000_000),
        (0, 2, 2_002_000_000_000_000),
        (1, 2, 1_001_500_000_000_000),
        (0, 12, 12_072_000_000_000_000),
        (12, 13, 1_012_500_000_000_000),
        (0, 0, 0),
        (5, 4, ("Error", ("BAD_RANGE",))),
        (MAX, 0, ("Error", ("BAD_RANGE",))),
        (0, MAX, OVERFLOW),
        (MAX, MAX, OVERFLOW),
    ],
)
def test_cost_between(world: World, f: int, t: int, cost: Any) -> None:
    assert answer(lambda: world.token.call("costBetween", f, t)) == cost


def test_price_at_is_marginal_and_panics_when_it_overflows(world: World) -> None:
    assert world.token.call("priceAt", 13) == 1_013_000_000_000_000
    assert world.token.call("priceAt", 0) == BASE
    with refuses(*OVERFLOW[:1], *OVERFLOW[1]):
        world.token.call("priceAt", MAX)


def test_an_odd_slope_needs_one_more_wei(world: World) -> None:
    token = token_with(world, BASE, SLOPE + 1)
    for n, cost in ((1, 1_000_500_000_000_000), (3, 3_004_500_000_000_004)):
        assert token.call("costBetween", 0, n) == cost
        assert [token.call("quoteBuy", cost), token.call("quoteBuy", cost + 1)] == [n - 1, n]


def test_flat_and_free_curves(world: World) -> None:
    flat = token_with(world, 7, 0)
    assert [flat.call("quoteBuy", e) for e in (6, 7, 20, 21, MAX)] == [0, 1, 2, 3, MAX // 7]
    free = token_with(world, 0, 0)
    assert free.call("quoteBuy", 10**18) == 0
    assert free.call("costBetween", 0, MAX) == 0
    with refuses("InsufficientPayment"):
        free.send("buy", sender=world.miner, value=1)


def test_half_a_wei_is_free(world: World) -> None:
    token = token_with(world, 0, 1)
    before = world.engine.balance(world.miner)
    token.send("buy", sender=world.miner, value=1)
    assert (world.balance_of(world.miner, token), world.engine.balance(world.miner)) == (1, before)


def test_quote_sell_ignores_the_reserve(world: World) -> None:
    token = token_with(world, BASE, SLOPE, 3000)
    assert world.engine.balance(token.address) == 0
    assert token.call("quoteSell", 2000) == cost_between(BASE, SLOPE, 1000, 3000)
    with refuses("OverSupply"):
        token.call("quoteSell", 3001)


any_bits = st.integers(0, 256).flatmap(lambda bits: st.integers(0, 2**bits - 1))
curve = st.one_of(
    st.tuples(any_bits, any_bits, any_bits),
    st.tuples(st.just(BASE), st.sampled_from([SLOPE, SLOPE + 1]), st.integers(0, 10**9)),
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 200)),
)


@st.composite
def questions(draw: st.DrawFn) -> tuple[int, int, int, list[tuple[Any, ...]]]:
    """A curve, a supply, and questions: wild arguments, and arguments around the formulas' edges."""
    b, s, supply = draw(curve)
    asked: list[tuple[Any, ...]] = []
    for _ in range(4):
        x, y, n = draw(any_bits), draw(any_bits), draw(st.integers(0, 10**6))
        asked += [("costBetween", x, y), ("quoteBuy", x), ("quoteSell", y), ("priceAt", x)]
        asked += [("costBetween", min(x, y), max(x, y)), ("costBetween", x, x), ("quoteSell", min(n, supply))]
        exact = b * n + (s * n * (2 * supply + n)) // 2
        asked += [("quoteBuy", e) for e in (exact - 1, exact, exact + 1) if 0 <= e <= MAX]
    asked += [("quoteSell", supply), ("quoteSell", min(supply + 1, MAX)), ("quoteBuy", MAX)]
    return b, s, supply, asked


def ask_all(world: World, b: int, s: int, supply: int, asked: list[tuple[Any, ...]]) -> list[Any]:
    """Put all questions to one fresh token, in a single call that changes nothing."""
    token = Contract(world.engine, "ProjectToken", world.probe.address)
    initcode = creation_code("ProjectToken", "n", "s", b, s, MAX, world.probe.address)
    calls = [token.data(*question) for question in asked]
    fine, answers = world.probe.call("ask", initcode, supply, calls)
    found: list[Any] = []
    for worked, data in zip(fine, answers, strict=True):
        if worked:
            found.append(eth_abi.decode(["uint256"], data)[0])
        else:
            refusal = decode_refusal(data)
            found.append((refusal.name, refusal.arguments))
    return found


# Each draw asks some fifty questions, on either engine; the long form is the campaign of the curve.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(questions())
def test_the_curve_agrees_with_exact_arithmetic(deployed: World, drawn: Any) -> None:
    b, s, supply, asked = drawn
    assert ask_all(deployed, b, s, supply, asked) == [expected(f, b, s, supply, *a) for f, *a in asked]


@pytest.mark.unit
@given(curve, any_bits)
def test_quote_buy_is_the_largest_amount_whose_unrounded_cost_is_covered(drawn: Any, payment: int) -> None:
    b, s, supply = drawn
    try:
        n = quote_buy(b, s, supply, payment)
    except Overflow:
        return
    if b == s == 0:
        assert n == 0
        return
    assert 2 * b * n + s * n * (2 * supply + n) <= 2 * payment
    assert 2 * b * (n + 1) + s * (n + 1) * (2 * supply + n + 1) > 2 * payment


def test_square_roots_are_exact_at_every_width(deployed: World) -> None:
    """With b = 0 and s = 1 the root of 8E is all there is, so E around squares tests its floor."""
    asked = [("quoteBuy", e) for bit in range(126) for m in (2**bit, 2**bit + 1) for e in _around(m)]
    assert ask_all(deployed, 0, 1, 0, asked[:400]) == [
        expected("quoteBuy", 0, 1, 0, e) for _, e in asked[:400]
    ]
    assert ask_all(deployed, 0, 1, 0, asked[400:]) == [
        expected("quoteBuy", 0, 1, 0, e) for _, e in asked[400:]
    ]


def _around(root: int) -> tuple[int, int, int]:
    half = root * root // 2
    return half - 1 if half else 0, half, half + 1
