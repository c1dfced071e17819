"""The rule's error rates, and that the fast simulation is the same rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from verdict_helpers import BETTER, noise, settings

from armlx_chain.errors import VerifierFault
from verifier.model import Outcome, Role, bpb
from verifier.session import judge
from verifier.simulate import (
    CELLS,
    Cell,
    Machine,
    SimRunner,
    decide_many,
    draw_gains,
    operating_characteristics,
)
from verifier.verdict.constants import FIRST_LIMIT
from verifier.verdict.rule import Test, assess

pytestmark = pytest.mark.unit

PROPOSALS = 20_000
BY_NAME = {cell.name: cell for cell in CELLS}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_the_vectorised_simulation_decides_as_the_rule_does(cell):
    gains = np.round(draw_gains(cell, 250, np.random.default_rng(3)), 9)
    decisions, used = decide_many(gains, s=1.0, m=cell.m)
    test = Test.of(noise("1"))
    for row, decision, pairs in zip(gains, decisions, used, strict=True):
        state = assess(test, [bpb(float(gain)) for gain in row], limit=FIRST_LIMIT)
        assert (state.decision.value, state.used) == (decision, pairs)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("no-op", 0.001),
        ("no-op, 5 % of runs worse by 10s", 0.001),
        ("no-op, drift of 4s", 0.001),
        ("no-op, true noise 1.2s", 0.004),
        ("no-op, candidate's noise tripled", 0.045),
        ("one s worse", 0.0002),
    ],
)
def test_a_candidate_without_improvement_is_hardly_ever_paid(name, most):
    assert operating_characteristics(BY_NAME[name], PROPOSALS, seed=1).accepted <= most


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("gain 3s", 0.97),
        ("gain 3s, drift of 4s", 0.965),
        ("gain 3s, true noise 1.2s", 0.90),
        ("gain 3s, 5 % of runs worse by 10s", 0.60),
        ("gain of 3 true sigmas, s 1.25 times too large", 0.90),
        ("gain 2s", 0.58),
        ("gain 5s", 0.98),
    ],
)
def test_a_real_improvement_is_found(name, least):
    assert operating_characteristics(BY_NAME[name], PROPOSALS, seed=2).accepted >= least


def test_the_number_of_pairs_is_what_the_rule_was_adopted_for():
    pairs = {
        name: operating_characteristics(BY_NAME[name], PROPOSALS, seed=4).pairs
        for name in ("no-op", "gain 3s", "gain 2s")
    }
    assert pairs == {
        "no-op": pytest.approx(3.85, abs=0.1),
        "gain 3s": pytest.approx(4.5, abs=0.1),
        "gain 2s": pytest.approx(6.6, abs=0.1),
    }


def test_running_all_controls_first_would_pay_no_ops_under_drift():
    """Why pairs are interleaved: the same rule on runs in another order fails at a drift of four s."""
    draw = np.random.default_rng(5)
    steps = 4.0 * np.arange(16) / 15
    control = draw.normal(0.0, 1.0, (PROPOSALS, 8)) + steps[8:]
    candidate = draw.normal(0.0, 1.0, (PROPOSALS, 8)) + steps[:8]
    decisions, _ = decide_many(control - candidate, s=1.0, m=2.0)
    assert np.mean(decisions == "accept") > 0.2


def test_whole_sessions_agree_with_the_campaign():
    """Three hundred sessions through the session code: a gain of three s passes, no gain never."""
    outcomes = {0.03: [], 0.0: []}
    for seed in range(150):
        for gain, found in outcomes.items():
            runner = SimRunner(Machine(noise=0.01), gains={"better": gain}, seed=seed)
            found.append(judge(runner, noise(), {}, BETTER, seed=b"s", settings=settings()).outcome)
    assert outcomes[0.03].count(Outcome.REPRODUCED) >= 140
    assert outcomes[0.0].count(Outcome.REPRODUCED) == 0


def test_a_simulated_fault_is_the_verifiers():
    runner = SimRunner(fault_at=0)
    with pytest.raises(VerifierFault):
        runner.run(Role.CONTROL, {}, run_folder=Path("x"), deadline_seconds=None, seed=b"s")


def test_fresh_rows_shift_both_runs_of_a_pair_alike():
    runner = SimRunner(Machine(noise=0.0, fresh_noise=0.1))
    runs = [
        runner.run(role, {}, run_folder=Path("x"), deadline_seconds=None, seed=b"s")
        for role in (Role.CONTROL, Role.CANDIDATE)
    ]
    assert runs[0].fresh == runs[1].fresh != runs[0].validation


def test_contamination_makes_runs_worse_only():
    clean = draw_gains(Cell("clean"), 1000, np.random.default_rng(1))
    spoiled = draw_gains(Cell("spoiled", contamination=0.5), 1000, np.random.default_rng(1))
    assert not np.array_equal(clean, spoiled)
    assert set(np.round(np.unique(np.round(spoiled - clean, 6)))) == {-10.0, 0.0, 10.0}
