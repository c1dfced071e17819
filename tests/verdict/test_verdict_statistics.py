"""The statistics, against printed tables and by their own laws."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verdict_helpers import gains_of

from verifier.model import bpb
from verifier.verdict.statistics import (
    chi_square_quantile,
    gamma_p,
    mean,
    spread_bound,
    standard_deviation,
    upper_bound,
    upper_factor,
    z_score,
)

pytestmark = pytest.mark.unit

TABLE = [
    (0.01, 1, 0.000157),
    (0.01, 30, 14.953),
    (0.05, 10, 3.940),
    (0.20, 5, 2.343),
    (0.20, 19, 13.716),
    (0.50, 1, 0.455),
    (0.50, 10, 9.342),
    (0.95, 1, 3.841),
    (0.95, 10, 18.307),
    (0.95, 100, 124.342),
    (0.99, 1, 6.635),
    (0.99, 2, 9.210),
    (0.99, 3, 11.345),
    (0.99, 7, 18.475),
    (0.99, 23, 41.638),
    (0.999, 5, 20.515),
]


@pytest.mark.parametrize(("probability", "degrees", "printed"), TABLE)
def test_chi_square_quantiles_equal_the_printed_tables(probability, degrees, printed):
    assert chi_square_quantile(probability, degrees) == pytest.approx(printed, abs=6e-4)


@given(st.floats(0.001, 0.999), st.integers(1, 200))
def test_the_quantile_inverts_the_distribution(probability, degrees):
    quantile = chi_square_quantile(probability, degrees)
    assert gamma_p(degrees / 2, quantile / 2) == pytest.approx(probability, abs=1e-10)


@given(st.floats(0.0, 60.0))
def test_two_degrees_of_freedom_are_the_exponential_distribution(x):
    assert gamma_p(1.0, x) == pytest.approx(1.0 - math.exp(-x), abs=1e-12)


@pytest.mark.parametrize(("probability", "degrees"), [(0.0, 3), (1.0, 3), (0.5, 0), (-1.0, 2)])
def test_a_quantile_that_does_not_exist_is_refused(probability, degrees):
    with pytest.raises(ValueError, match="no chi-square quantile"):
        chi_square_quantile(probability, degrees)


def test_the_upper_bound_from_twenty_runs_is_eighteen_percent_above_the_estimate():
    assert upper_factor(20) == pytest.approx(math.sqrt(19 / 13.716), abs=1e-4)
    assert upper_factor(6) == pytest.approx(math.sqrt(5 / 2.3425), abs=1e-4)


def test_the_upper_bound_holds_the_true_noise_in_four_of_five_measurements():
    import numpy as np

    draw = np.random.default_rng(7)
    estimates = draw.normal(0.0, 1.0, (20_000, 20)).std(axis=1, ddof=1)
    assert np.mean(estimates * upper_factor(20) > 1.0) == pytest.approx(0.80, abs=0.01)


def test_a_standard_deviation_by_hand():
    # Mean 2, squares 1 + 0 + 1 over 2.
    assert standard_deviation(gains_of("1", "2", "3")) == 1
    assert upper_bound(gains_of("1", "2", "3")) == bpb(upper_factor(3))


def test_fewer_than_two_values_have_no_spread():
    with pytest.raises(ValueError, match="two values"):
        standard_deviation(gains_of("1"))
    with pytest.raises(ValueError, match="No values"):
        mean([])


def test_the_spread_bound_of_two_pairs_by_hand():
    # One degree of freedom: sqrt(2 * 6.6349) = 3.6428 times s.
    assert float(spread_bound(Decimal("0.01"), 2)) == pytest.approx(0.036428, abs=1e-6)


def test_the_spread_bound_is_exceeded_by_one_percent_of_honest_sessions():
    import numpy as np

    draw = np.random.default_rng(11)
    differences = draw.normal(0.0, 1.0, (50_000, 5)) - draw.normal(0.0, 1.0, (50_000, 5))
    over = differences.std(axis=1, ddof=1) > float(spread_bound(Decimal(1), 5))
    assert np.mean(over) == pytest.approx(0.01, abs=0.002)


def test_the_surrounding_decimal_context_changes_nothing():
    values = gains_of("2.123456789", "2.000000001", "1.987654321")
    expected = (mean(values), standard_deviation(values), upper_bound(values))
    with localcontext() as context:
        context.prec = 3
        assert (mean(values), standard_deviation(values), upper_bound(values)) == expected
    assert getcontext().prec > 3


def test_z_of_an_error_of_zero_is_infinite_unless_the_gap_is_zero():
    assert z_score(Decimal("0.2"), Decimal("0.02")) == 10
    assert z_score(Decimal("0.2"), Decimal(0)) == Decimal("Infinity")
    assert z_score(Decimal("-0.2"), Decimal(0)) == Decimal("-Infinity")
    assert z_score(Decimal(0), Decimal(0)) == 0


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_figure_that_is_not_finite_is_no_figure(value):
    with pytest.raises(ValueError, match="no figure"):
        bpb(float(value))


def test_the_worst_figure_a_double_holds_is_still_a_figure():
    assert bpb(1.7e308) > bpb(3.4e38) > 0
