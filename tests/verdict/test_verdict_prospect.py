"""The chances of a fresh session: by simulation of the truth, by direction, and without changing anything."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_helpers import BETTER, gains_of, noise, quiet
from verdict_helpers import settings as session_settings

from armlx_chain.cli.foresight import how_sure
from armlx_chain.formats.canonical import canonical_json
from verifier.model import Noise, Outcome, Reason, bpb
from verifier.report import to_text, to_tree
from verifier.session import judge
from verifier.verdict.constants import FIRST_LIMIT, LAST_LIMIT
from verifier.verdict.many import ACCEPT, decide_many
from verifier.verdict.prospect import Prospect, gain_interval, of_verdict, prospect
from verifier.verdict.rule import Decision, Test, assess

pytestmark = pytest.mark.unit

KNOWN = replace(noise(), point=bpb("0.01"), runs=2_000)
"""A calibration from so many runs that the noise is as good as known."""


def view(*gains: str, known: Noise = KNOWN, **more: int) -> Prospect:
    found = prospect(Test.of(known), gains_of(*gains), known, **more)
    assert found is not None
    return found


def test_without_a_pair_nothing_is_said():
    assert prospect(Test.of(KNOWN), [], KNOWN) is None
    assert (
        of_verdict(judge(quiet(fault_at=0), noise(), {}, BETTER, seed=b"s", settings=session_settings()))
        is None
    )


def test_the_interval_by_hand():
    # 0.03 ± 1.959963985·0.01·√(2/4)
    found = gain_interval(gains_of(*["0.03"] * 4), Decimal("0.01"))
    assert (found.low, found.high) == (bpb("0.016140962"), bpb("0.043859038"))
    assert str(found.confidence) == "0.95"


def test_the_interval_holds_the_true_gain_about_as_often_as_it_says():
    """After the test has stopped by itself; s is exactly the noise here, in use it is an upper bound."""
    draw = np.random.default_rng(8)
    for gain in (0.0, 1.0, 2.0, 3.0):
        figures = draw.normal(gain, np.sqrt(2.0), (20_000, FIRST_LIMIT))
        used = decide_many(figures, s=1.0, m=2.0).used
        counted = np.arange(FIRST_LIMIT) < used[:, None]
        means = (figures * counted).sum(axis=1) / used
        covered = np.abs(means - gain) <= 1.96 * np.sqrt(2.0 / used)
        assert np.mean(covered) >= 0.905


def test_the_chances_are_those_of_the_posterior_predictive_distribution():
    """A second way to the same figure: draw truths that agree with four observed pairs, and judge afresh."""
    observed = np.array([0.02, 0.035, 0.025, 0.02])
    draw = np.random.default_rng(5)
    truth = draw.normal(observed.mean(), 0.01 * np.sqrt(2 / 4), 100_000)
    fresh = truth[:, None] + draw.normal(0.0, 0.01 * np.sqrt(2), (100_000, FIRST_LIMIT))
    expected = np.mean(decide_many(fresh, s=0.01, m=0.02).codes == ACCEPT)
    found = view("0.02", "0.035", "0.025", "0.02")
    assert float(found.fresh.reproduced) == pytest.approx(expected, abs=0.012)


def test_chances_are_kind_or_true_on_average_but_never_far_off():
    """Over candidates whose gains are spread evenly, the stated chance is the share that is then approved."""
    draw = np.random.default_rng(12)
    stated, happened = [], []
    for gain in draw.uniform(-0.02, 0.06, 250):
        first = [bpb(float(value)) for value in draw.normal(gain, 0.01 * np.sqrt(2), FIRST_LIMIT)]
        used = assess(Test.of(KNOWN), first, limit=FIRST_LIMIT).used
        found = prospect(Test.of(KNOWN), first[:used], KNOWN, sessions=1_000)
        assert found is not None
        stated.append(float(found.fresh.reproduced))
        again = draw.normal(gain, 0.01 * np.sqrt(2), (200, FIRST_LIMIT))
        happened.append(np.mean(decide_many(again, s=0.01, m=0.02).codes == ACCEPT))
    assert np.mean(stated) == pytest.approx(np.mean(happened), abs=0.03)


def test_better_pairs_never_lower_the_chance():
    chances = [view(*[gain] * 4).fresh.reproduced for gain in ("0", "0.01", "0.02", "0.03", "0.05")]
    assert chances == sorted(chances)
    assert chances[0] < Decimal("0.05")
    assert chances[-1] > Decimal("0.95")


def test_a_noise_from_few_runs_leaves_more_room_for_no_improvement():
    few = replace(KNOWN, runs=6)
    assert view(*["0.03"] * 4, known=few).fresh.unimproved > view(*["0.03"] * 4).fresh.unimproved


def test_a_calibration_without_its_plain_estimate_is_read_by_its_bound():
    assert view("0.03", "0.02", known=replace(KNOWN, point=None)) == view("0.03", "0.02")


def test_a_decided_test_needs_no_more_pairs_and_an_open_one_does():
    assert view(*["0.03"] * 4).more_pairs == 0
    assert view(*["0"] * 3).more_pairs == 0
    open_test = view("0.015", "0.015")
    assert 1 <= open_test.more_pairs <= LAST_LIMIT - 2
    assert assess(Test.of(KNOWN), gains_of("0.015", "0.015"), limit=LAST_LIMIT).decision is Decision.CONTINUE
    assert view(*["0.0125"] * 23).more_pairs == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-80, 80), min_size=1, max_size=24), st.integers(2, 40))
def test_chances_are_shares_and_sum_to_one(thousandths, runs):
    gains = [str(Decimal(value).scaleb(-3)) for value in thousandths]
    found = view(*gains, known=replace(KNOWN, runs=runs), sessions=200)
    for chances in (found.fresh, found.continued):
        shares = (chances.reproduced, chances.unimproved, chances.undecided)
        assert all(0 <= share <= 1 for share in shares)
        assert sum(shares) == 1
        assert 1 <= chances.pairs <= LAST_LIMIT
    assert found.gain.low < found.gain.high
    assert found.pairs == len(gains)


def test_the_same_pairs_give_the_same_chances():
    assert view("0.03", "0.01") == view("0.03", "0.01")


def test_the_report_tells_a_miner_whether_how_surely_and_how_long():
    verdict = judge(quiet(0.03), noise(), {}, BETTER, seed=b"s", settings=session_settings())
    assert verdict.outcome is Outcome.REPRODUCED
    text, tree = to_text(verdict), to_tree(verdict)
    found = of_verdict(verdict)
    assert found is not None
    assert "Accepted on this machine: yes." in text
    assert f"about {round(100 * found.fresh.reproduced)} percent" in text
    assert f"in {found.fresh.pairs} pairs on average" in text
    assert "95% interval, D̄ ± 1.96·s·√(2/n)" in text
    assert tree["accepted_here"] is True
    assert tree["prospect"]["fresh_session"]["reproduced"] == str(found.fresh.reproduced)
    assert tree["prospect"]["gain_interval"]["low"] == str(found.gain.low)
    canonical_json(tree)  # takes no floats


def test_runs_that_contradict_the_calibrated_noise_are_given_no_interval_from_it():
    calm = judge(quiet(0.03), noise(), {}, BETTER, seed=b"s", settings=session_settings())
    noisy = replace(calm, outcome=Outcome.UNDECIDED, reason=Reason.TOO_NOISY)
    assert of_verdict(calm) is not None
    assert of_verdict(noisy) is None
    assert "The true gain lies" not in to_text(noisy)
    assert "Accepted on this machine: no." in to_text(noisy)
    assert to_tree(noisy)["prospect"] is None
    assert how_sure(noisy)[0].startswith("How sure: nobody can say")


def test_an_undecided_report_says_how_many_more_pairs_to_expect():
    verdict = judge(quiet(0.015), noise(), {}, BETTER, seed=b"s", settings=session_settings())
    found = of_verdict(verdict)
    assert found is not None
    assert f"is expected to take {found.more_pairs} more" in to_text(verdict)
    assert "Accepted on this machine: no." in to_text(verdict)
