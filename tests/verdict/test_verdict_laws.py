"""The laws of the rule: an independent second version of it, order, monotonicity, scale."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal

import numpy as np
import pytest
import reference_rule
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_helpers import gains_of

from verifier.model import Bpb, bpb
from verifier.verdict.constants import FIRST_LIMIT, LAST_LIMIT, MINIMUM_PAIRS
from verifier.verdict.many import CODES, Variant, decide_many
from verifier.verdict.rule import Decision, Test, assess
from verifier.verdict.statistics import chi_square_quantile

pytestmark = pytest.mark.unit

S = 10_000_000
"""0.01 bits per byte, in billionths."""

ACCEPTED = Decision.ACCEPT
REFUSED = (Decision.REJECT, Decision.CLEARLY_WORSE)


def exact(value: int) -> Bpb:
    return bpb(Decimal(value).scaleb(-9))


def test_of(s: int, m: int) -> Test:
    return Test(s=exact(s), m=exact(m))


test_of.__test__ = False  # type: ignore[attr-defined]


def random_case(draw: random.Random) -> tuple[list[int], int, int]:
    """Differences about a random gain with random noise, now and then an outlier or a round figure."""
    m = S * draw.choice((2, 2, 2, 3, 5))
    gain, noise = draw.choice((-1, 0, 0.5, 1, 1.5, 2, 3)) * m / 2, draw.choice((0.3, 1, 1.4, 1.4, 2, 4)) * S
    figures = [round(draw.gauss(gain, noise)) for _ in range(draw.choice((3, 4, 5, 6, 8, 9, 12)))]
    if draw.random() < 0.1:
        figures[draw.randrange(len(figures))] += draw.choice((-10, 10)) * S
    if draw.random() < 0.2:
        figures = [value // 1_000_000 * 1_000_000 for value in figures]
    return figures, m, draw.choice((3, FIRST_LIMIT, FIRST_LIMIT, LAST_LIMIT))


def test_a_second_implementation_agrees_on_a_hundred_thousand_cases():
    draw = random.Random(20)
    seen: Counter[str] = Counter()
    tests = {m: test_of(S, m) for m in (2 * S, 3 * S, 5 * S)}
    for _ in range(100_000):
        figures, m, stop = random_case(draw)
        expected = reference_rule.judge(figures, s=S, m=m, stop=stop)
        state = assess(tests[m], [Bpb(Decimal(value).scaleb(-9)) for value in figures], limit=stop)
        assert (state.decision.value, state.used) == expected, figures
        seen[expected[0]] += 1
    assert set(seen) == {decision.value for decision in Decision}
    assert min(seen.values()) > 500


def test_the_vectorised_rule_agrees_with_the_second_implementation_up_to_24_pairs():
    draw = np.random.default_rng(4)
    centre = draw.choice([0.0, 10.0, 15.0, 20.0, 30.0], size=(20_000, 1)) * 1e6
    figures = np.round(draw.normal(centre, 1.4 * S, (20_000, LAST_LIMIT))).astype(np.int64)
    ends = decide_many(figures / S, s=1.0, m=2.0)
    for row, code, used in zip(figures, ends.codes, ends.used, strict=True):
        expected = reference_rule.judge(row.tolist(), s=S, m=2 * S, stop=LAST_LIMIT)
        assert (CODES[code].value, used) == expected


@pytest.mark.parametrize("degrees", range(1, 24))
def test_both_ways_to_the_quantiles_agree(degrees):
    for probability in (0.2, 0.98, 0.99):
        other = reference_rule.chi_square(probability, degrees)
        assert chi_square_quantile(probability, degrees) == pytest.approx(other, rel=1e-10)


near = st.integers(-60_000_000, 80_000_000)
figures = st.lists(near, min_size=1, max_size=LAST_LIMIT)
shifts = st.integers(0, 60_000_000)
limits = st.integers(1, LAST_LIMIT)


def decide(differences: list[int], limit: int = LAST_LIMIT, *, s: int = S, m: int = 2 * S) -> Decision:
    return assess(test_of(s, m), [exact(value) for value in differences], limit=limit).decision


@settings(max_examples=150, deadline=None)
@given(figures, limits)
def test_how_long_a_session_may_run_changes_no_decision(differences, limit):
    whole = assess(test_of(S, 2 * S), [exact(value) for value in differences], limit=LAST_LIMIT)
    short = assess(test_of(S, 2 * S), [exact(value) for value in differences], limit=limit)
    if whole.used <= limit and whole.decision is not Decision.EXHAUSTED:
        # A test that is still open at its session's last pair stops there.
        stopped = whole.decision is Decision.CONTINUE and whole.used == limit
        assert short.decision is (Decision.EXHAUSTED if stopped else whole.decision)
        assert short.used == whole.used
    else:
        assert (short.decision, short.used) == (Decision.EXHAUSTED, limit)


@settings(max_examples=250, deadline=None)
@given(figures, shifts)
def test_the_same_improvement_in_every_pair_never_loses_an_acceptance(differences, shift):
    if decide(differences) is ACCEPTED:
        assert decide([value + shift for value in differences]) is ACCEPTED


@settings(max_examples=250, deadline=None)
@given(st.lists(st.tuples(near, shifts), min_size=1, max_size=LAST_LIMIT))
def test_a_candidate_better_in_every_pair_is_never_refused_where_it_was_accepted(pairs):
    if decide([value for value, _ in pairs]) is ACCEPTED:
        assert decide([value + more for value, more in pairs]) not in REFUSED


@settings(max_examples=150, deadline=None)
@given(figures, shifts)
def test_a_worse_candidate_never_gains_an_acceptance_by_being_worse_in_every_pair_alike(differences, shift):
    if decide(differences) in REFUSED:
        assert decide([value - shift for value in differences]) is not ACCEPTED


def test_the_earlier_version_punished_a_better_candidate():
    """Why version 2 goes on: a gain that brought the acceptance one pair earlier made version 1 undecided."""
    plain_gains = np.array([[0.2, 6.6, 4.3, 1.7, 4.9, 2.8, 2.4, 5.6]])
    old = Variant(go_on=False)
    outcomes = {
        (version, name): CODES[decide_many(gains, s=1.0, m=2.0, variant=variant).codes[0]]
        for version, variant in ((1, old), (2, Variant()))
        for name, gains in (("plain", plain_gains), ("better", plain_gains + 0.5))
    }
    assert outcomes[2, "plain"] is outcomes[2, "better"] is ACCEPTED
    assert outcomes[1, "plain"] is ACCEPTED
    assert outcomes[1, "better"] is Decision.TOO_NOISY


@settings(max_examples=150, deadline=None)
@given(st.lists(near, min_size=1, max_size=12), st.sampled_from([2, 3, 7, 10, 100]))
def test_another_unit_of_noise_and_gain_is_the_same_test(differences, factor):
    plain = assess(test_of(S, 2 * S), [exact(value) for value in differences], limit=FIRST_LIMIT)
    scaled = assess(
        test_of(factor * S, 2 * factor * S), [exact(factor * v) for v in differences], limit=FIRST_LIMIT
    )
    assert (scaled.decision, scaled.used, scaled.llr) == (plain.decision, plain.used, plain.llr)


@settings(max_examples=120, deadline=None)
@given(st.lists(near, min_size=2, max_size=7), st.randoms(use_true_random=False))
def test_the_order_of_undecided_pairs_changes_neither_ratio_nor_spread(differences, draw):
    shuffled = list(differences)
    draw.shuffle(shuffled)
    first, second = (
        assess(test_of(S, 2 * S), [exact(value) for value in values], limit=FIRST_LIMIT)
        for values in (differences, shuffled)
    )
    if first.decision is second.decision is Decision.CONTINUE:
        assert (first.llr, first.spread, first.mean_gain) == (second.llr, second.spread, second.mean_gain)


@settings(max_examples=120, deadline=None)
@given(st.lists(near, min_size=1, max_size=MINIMUM_PAIRS - 1))
def test_nothing_is_accepted_before_three_pairs(differences):
    assert decide(differences, MINIMUM_PAIRS - 1) is not ACCEPTED
    assert decide([10 * S * abs(value) for value in differences]) is not ACCEPTED


@settings(max_examples=120, deadline=None)
@given(figures, st.integers(20_000_001, 10**12))
def test_a_hopeless_first_pair_ends_the_test_whatever_follows(differences, loss):
    state = assess(test_of(S, 2 * S), [exact(-loss), *map(exact, differences)], limit=LAST_LIMIT)
    assert (state.decision, state.used) == (Decision.CLEARLY_WORSE, 1)


def test_noise_below_half_the_smallest_gain_does_not_sharpen_the_test():
    """Sigma is m/2 and never smaller: a machine whose noise is tiny needs the same evidence."""
    quiet, usual = test_of(1, 2 * S), test_of(S, 2 * S)
    for gain in ("0.03", "0.015", "0.05"):
        assert quiet.increment(Decimal(gain)) == usual.increment(Decimal(gain))
    assert assess(quiet, gains_of("0.03", "0.03", "0.03"), limit=8).decision is Decision.CONTINUE
