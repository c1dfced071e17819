"""How long a candidate may take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.errors import VerifierFault
from verifier.verdict.deadline import deadline_from, margin_seconds

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("budget", "spread", "margin"),
    [
        (300.0, 0.0, 5.0),  # 2 percent would be 6 s
        (300.0, 9.0, 5.0),
        (200.0, 0.0, 4.0),
        (200.0, 1.4, 4.2),
        (200.0, 9.0, 5.0),
        (600.0, 0.0, 10.0),  # the cap of 5 s is at 300 s
        (3.0, 0.0, 0.06),
        (3.0, 0.05, 0.15),
        (3.0, 5.0, 0.3),
    ],
)
def test_the_margin_by_hand(budget, spread, margin):
    assert margin_seconds(budget, spread) == pytest.approx(margin)


def test_the_deadline_is_the_median_of_the_snapshots_own_times_plus_the_margin():
    found = deadline_from([10.0, 10.2, 14.0], budget=9.0)
    assert found.reference == 10.2
    assert found.spread == pytest.approx(2.2539, abs=1e-4)
    assert found.seconds == pytest.approx(10.2 + 0.9)


@pytest.mark.parametrize("times", [[], [10.0], [10.0, 10.0], [10.0, 10.0, float("nan")], [10.0, 0.0, 10.0]])
def test_too_few_or_senseless_times_are_the_verifiers_own_fault(times):
    with pytest.raises(VerifierFault):
        deadline_from(times, budget=9.0)


@pytest.mark.parametrize("budget", [0.0, -1.0, float("inf"), float("nan")])
def test_a_senseless_budget_is_the_verifiers_own_fault(budget):
    with pytest.raises(VerifierFault):
        deadline_from([10.0, 10.0, 10.0], budget=budget)


@given(st.floats(0.5, 7200.0), st.floats(0.0, 1000.0))
def test_the_margin_is_never_above_a_tenth_nor_below_nothing(budget, spread):
    margin = margin_seconds(budget, spread)
    assert 0.0 < margin <= 0.1 * budget
    if budget <= 300.0:
        assert margin <= 5.0
