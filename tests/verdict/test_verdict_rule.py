"""The rule, by hand calculation. With s = 0.01 and nothing larger: m = 0.02, sigma = 0.01, and a pair adds
0.02 (D - 0.01) / 0.0002 = 100 D - 1 to the likelihood ratio, D clipped to ±0.04."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verdict_helpers import gains_of, noise

from armlx_chain.types import ScaledScore
from verifier.model import bpb
from verifier.verdict.constants import ACCEPT_AT, FIRST_LIMIT, LAST_LIMIT, MINIMUM_PAIRS, REJECT_AT
from verifier.verdict.rule import Decision, Test, assess, chained_score, lower_bound, pair_gain, scaled_gain

pytestmark = pytest.mark.unit

TEST = Test.of(noise())


def decide(*gains: str, limit: int = FIRST_LIMIT) -> tuple[Decision, int, Decimal]:
    state = assess(TEST, gains_of(*gains), limit=limit)
    return state.decision, state.used, state.llr


@pytest.mark.parametrize(
    ("s", "seed_spread", "project", "m"),
    [
        ("0.01", "0.001", "0.01", "0.02"),
        ("0.004", "0.001", "0.01", "0.01"),
        ("0.004", "0.005", "0.01", "0.015"),
        ("0.004", "0.001", "0.03", "0.03"),
        ("0", "0", "0", "0.01"),
    ],
)
def test_m_is_the_largest_of_noise_seed_spread_project_and_floor(s, seed_spread, project, m):
    test = Test.of(noise(s, seed_spread=seed_spread), project_minimum=Decimal(project))
    assert (test.m, test.sigma) == (Decimal(m), Decimal(m) / 2)


def test_a_noise_below_zero_is_a_mistake():
    with pytest.raises(ValueError, match="not negative"):
        Test.of(noise("-0.01"))


@pytest.mark.parametrize(
    ("gain", "adds"),
    [
        ("0.03", "2"),
        ("0.02", "1"),
        ("0.01", "0"),
        ("0", "-1"),
        ("0.04", "3"),
        ("0.05", "3"),
        ("9", "3"),
        ("-9", "-5"),
    ],
)
def test_what_one_pair_adds(gain, adds):
    assert TEST.increment(Decimal(gain)) == Decimal(adds)


def test_a_gain_of_three_s_is_accepted_with_the_fourth_pair():
    assert decide("0.03", "0.03", "0.03") == (Decision.CONTINUE, 3, Decimal(6))
    assert decide("0.03", "0.03", "0.03", "0.03") == (Decision.ACCEPT, 4, Decimal(8))


def test_two_pairs_never_suffice_however_large_the_gain():
    assert decide("5", "5") == (Decision.CONTINUE, 2, Decimal(6))
    assert decide("0.05", "0.05", "0.05") == (Decision.ACCEPT, 3, Decimal(9))


def test_no_gain_is_refused_with_the_third_pair():
    assert decide("0", "0") == (Decision.CONTINUE, 2, Decimal(-2))
    assert decide("0", "0", "0") == (Decision.REJECT, 3, Decimal(-3))


def test_a_first_pair_worse_than_two_s_ends_the_test():
    assert decide("-0.020000001")[:2] == (Decision.CLEARLY_WORSE, 1)
    assert decide("-0.02") == (Decision.REJECT, 1, Decimal(-3))
    assert decide("-0.019")[0] is Decision.CONTINUE


def test_a_first_pair_worse_than_two_s_ends_it_also_where_m_is_much_larger():
    wide = Test.of(noise("0.001", seed_spread="0.01"))
    assert wide.m == Decimal("0.03")
    assert assess(wide, gains_of("-0.0021"), limit=8).decision is Decision.CLEARLY_WORSE
    assert assess(wide, gains_of("-0.0019"), limit=8).decision is Decision.CONTINUE


def test_one_later_bad_pair_does_not_end_a_good_test():
    later = ["0.03", "0.03", "-0.021", "0.03", "0.03"]
    assert decide(*later) == (Decision.CONTINUE, 5, Decimal("4.9"))
    assert decide(*later, "0.029999999")[0] is Decision.CONTINUE
    assert decide(*later, "0.03") == (Decision.ACCEPT, 6, ACCEPT_AT)


def test_eight_pairs_in_between_are_undecided_and_more_may_follow():
    eight = ["0.015"] * 8
    assert decide(*eight) == (Decision.EXHAUSTED, 8, Decimal(4))
    assert decide(*eight, limit=LAST_LIMIT)[0] is Decision.CONTINUE
    assert decide(*["0.015"] * 24, limit=LAST_LIMIT) == (Decision.ACCEPT, 14, Decimal(7))


def test_twenty_four_pairs_are_the_end():
    assert decide(*["0.0125"] * 30, limit=LAST_LIMIT) == (Decision.EXHAUSTED, 24, Decimal(6))


WIDE = ("0.04", "0.122", "0.022", "0.06")
"""Their ratio would accept at the third pair; they spread by 0.0436, where s explains 0.0275."""


def test_an_acceptance_that_spreads_more_than_the_noise_explains_waits_for_more_pairs():
    assert decide(*WIDE[:3])[0] is Decision.CONTINUE
    assert decide(*WIDE)[0] is Decision.CONTINUE


def test_differences_that_still_spread_too_far_after_eight_pairs_decide_nothing():
    state = assess(TEST, gains_of(*WIDE, *WIDE), limit=8)
    assert (state.decision, state.used) == (Decision.TOO_NOISY, 8)
    assert state.spread is not None
    assert state.spread_bound is not None
    assert state.spread > state.spread_bound
    assert assess(TEST, gains_of(*WIDE, *WIDE), limit=24) == state


def test_an_acceptance_that_waited_comes_once_the_spread_is_explained():
    # 0.08, 0.02, 0.04: standard deviation 0.0306 where three pairs allow 0.0280 between the looks.
    assert decide("0.08", "0.02", "0.04", "0.04")[:2] == (Decision.ACCEPT, 4)


def test_a_wide_spread_makes_no_refusal_either():
    assert decide("0.06", "-0.06", "-0.06")[0] is Decision.TOO_NOISY


def test_the_lower_bound_by_hand():
    # 0.03 - 0.01·√(2/4)
    assert lower_bound(gains_of(*["0.03"] * 4), Decimal("0.01")) == bpb("0.022928932")


def test_the_score_on_the_ledger_is_the_chain_of_verified_gains():
    assert chained_score(ScaledScore(-2_213_268), bpb("0.022928932")) == -2_190_340
    assert chained_score(ScaledScore(5), bpb("0.0000019")) == 6
    assert chained_score(ScaledScore(5), bpb("0.0000021")) == 7


@pytest.mark.parametrize("gain", ["0", "-0.5", "0.0000001"])
def test_an_accepted_gain_adds_at_least_one(gain):
    assert chained_score(ScaledScore(7), bpb(gain)) == 8


def test_scaling_rounds_towards_the_worse():
    assert scaled_gain(bpb("0.123456999")) == 123_456
    assert scaled_gain(bpb("-0.000000001")) == -1


def test_the_gain_that_counts_is_the_smaller_one():
    assert pair_gain((bpb(2), bpb(2)), (bpb("1.5"), bpb("1.9"))) == bpb("0.1")
    assert pair_gain((bpb(2), bpb(2)), (bpb("1.9"), bpb("1.5"))) == bpb("0.1")
    assert pair_gain((bpb(2), bpb(2)), (bpb("1.9"), bpb("2.5"))) == bpb("-0.5")


def test_an_earlier_control_costs_the_recorded_difference():
    assert pair_gain((bpb(2), bpb(2)), (bpb("1.9"), bpb("1.9")), disadvantage=Decimal("0.03")) == bpb("0.07")


figures = st.decimals(Decimal("-0.2"), Decimal("0.2"), places=6)


@given(st.lists(figures, max_size=12), st.integers(1, LAST_LIMIT))
def test_the_first_decision_stands_whatever_comes_later(gains, limit):
    whole = assess(TEST, gains, limit=limit)
    for used in range(len(gains)):
        state = assess(TEST, gains[:used], limit=limit)
        if state.decision is not Decision.CONTINUE:
            assert state == whole
            break


@given(st.lists(figures, min_size=1, max_size=12))
def test_an_acceptance_has_three_pairs_the_ratio_and_a_plausible_spread(gains):
    state = assess(TEST, gains, limit=FIRST_LIMIT)
    assert state.used <= FIRST_LIMIT
    if state.decision is Decision.ACCEPT:
        assert state.used >= MINIMUM_PAIRS
        assert state.llr >= ACCEPT_AT
        assert state.spread is not None
        assert state.spread_bound is not None
        assert state.spread <= state.spread_bound
        assert state.mean_gain is not None
        assert state.mean_gain > TEST.sigma
    if state.decision is Decision.REJECT:
        assert state.llr <= REJECT_AT


@given(st.lists(figures, min_size=1, max_size=12), figures)
def test_a_better_last_pair_never_turns_an_acceptance_into_a_refusal(gains, more):
    better = [*gains[:-1], gains[-1] + abs(more)]
    if assess(TEST, gains, limit=8).decision is Decision.ACCEPT:
        refusals = (Decision.REJECT, Decision.CLEARLY_WORSE)
        assert assess(TEST, better, limit=8).decision not in refusals
