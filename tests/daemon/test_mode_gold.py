"""Gold runs: the published baseline on a simulated machine, judged like a stranger's candidate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from armlx_chain.errors import VerifierFault
from verifier.daemon.gold import GOLD_RUNS, GoldRun, gold_key, run_gold
from verifier.judgement import Trial
from verifier.model import Audit, AuditKind, Ending, Noise, Reason, RunRecord, Verdict, bpb
from verifier.session import Settings, judge
from verifier.simulate import Machine, SimRunner, Twist
from verifier.verdict.case import Rules
from verifier.verdict.earlier import Subject
from verifier.verdict.plain import without_runs

pytestmark = pytest.mark.unit

TRAIN = b"the snapshot"
BEST = b"the current best"
NOISE = Noise(
    s=bpb("0.01"),
    seed_spread=bpb("0.001"),
    runs=20,
    reference_seconds=(3.0, 3.1, 2.9),
    point=bpb("0.008"),
    control_mean=bpb("2.0"),
    calibrated_audits=tuple(AuditKind),
    hardware_class="cpu",
    environment="e" * 64,
)


class SimBench:
    """A bench whose session is the real one, over a simulated machine."""

    hardware_class, environment_digest, machine_id = "cpu", "e" * 64, "0123456789abcdef"

    def __init__(self, runner: SimRunner, *, best: bool = False, refused: Verdict | None = None) -> None:
        self.runner = runner
        self.sessions = 0
        self._refused = refused
        self._control = {"train.py": BEST} if best else {}
        self.materials: Any = SimpleNamespace(
            snapshot={"train.py": TRAIN}, control_is_baseline=not best, baseline_metric=bpb("1.9")
        )

    def precheck(self, files: Any) -> Verdict | None:
        return self._refused

    def noise(self) -> Noise:
        return NOISE

    def session_seconds(self, pairs: int) -> float | None:
        return None

    def subject(self, files: Any, noise: Noise) -> Subject:
        return Subject.of(noise, Rules(), self._control, files)

    def judge(self, trial: Trial) -> Verdict:
        self.sessions += 1
        rules = Rules(pairs=trial.pairs, control_is_baseline=self.materials.control_is_baseline)
        return judge(
            self.runner,
            trial.noise,
            self._control,
            trial.files,
            seed=trial.seed,
            settings=Settings(run_folder=trial.run_folder, rules=rules),
            progress=trial.progress,
        )


def gold(bench: SimBench) -> GoldRun:
    return run_gold(bench, seed=b"\1" * 32, run_folder=Path("gold"), progress=lambda _: None)


def sim(level: float = 2.0, noise: float = 0.008, **options: Any) -> SimRunner:
    return SimRunner(Machine(level=level, noise=noise), **options)


def test_a_machine_as_it_was_calibrated_passes_and_the_published_figure_decides_nothing() -> None:
    found = gold(SimBench(sim()))
    assert found.passed, found.sentence
    assert len(found.scores) >= GOLD_RUNS
    assert "Published, on its publisher's machine: 1.9" in found.sentence
    assert found.key == gold_key(SimBench(sim()))
    assert found.to_json()["calibrated"] == str(bpb("2.0"))


def test_honest_machines_pass_and_machines_that_moved_by_more_than_they_can_tell_fail() -> None:
    passed = [gold(SimBench(sim(seed=seed))).passed for seed in range(30)]
    assert sum(passed) >= 29
    moved = [gold(SimBench(sim(level=2.06, seed=seed))) for seed in range(10)]
    assert not any(found.passed for found in moved)
    assert all("Calibrate" in found.sentence or "outside" in found.sentence for found in moved)


def test_with_a_much_better_best_as_control_sessions_go_on_until_the_baseline_ran_often_enough() -> None:
    bench = SimBench(sim(gains={BEST.decode(): 0.3}), best=True)
    found = gold(bench)
    assert (found.passed, bench.sessions, len(found.scores)) == (True, GOLD_RUNS, GOLD_RUNS)


def fails(kind: AuditKind) -> Twist:
    def twist(made: RunRecord, _before: int) -> RunRecord:
        audits = tuple(
            Audit(kind, False, audit.figures) if audit.kind is kind else audit for audit in made.audits
        )
        return replace(made, audits=audits)

    return twist


def changed(**stated: Any) -> Twist:
    return lambda made, _before: replace(made, **stated)


@pytest.mark.parametrize(
    ("twist", "words"),
    [
        (fails(AuditKind.CAUSALITY), "refuted: In two independent runs"),
        (fails(AuditKind.FRESH_GAP), "refuted: In two independent runs"),
        (changed(ending=Ending.DEADLINE, validation=None, fresh=None, audits=()), "(deadline)"),
        (changed(disturbances=("the machine slept",)), "disturb"),
        (changed(audits=()), "causality audit"),
    ],
    ids=["causality", "gap", "deadline", "disturbed", "unaudited"],
)
@pytest.mark.parametrize("best", [False, True], ids=["baseline", "best"])
def test_a_baseline_that_this_machine_faults_never_passes(twist: Twist, words: str, best: bool) -> None:
    found = gold(SimBench(sim(twists={TRAIN.decode(): twist}, gains={BEST.decode(): 0.3}), best=best))
    assert not found.passed
    assert words in found.sentence, found.sentence


def test_a_broken_sandbox_and_a_closed_gate_are_no_pass() -> None:
    broken = gold(SimBench(sim(fault_at=0)))
    assert (broken.passed, "sandbox broke" in broken.sentence) == (False, True)
    refused = SimBench(sim(), refused=without_runs(Reason.GATE, "It has a PEP 723 header."))
    assert "PEP 723" in gold(refused).sentence
    assert refused.sessions == 0
    empty = SimBench(sim())
    empty.materials.snapshot = {}
    with pytest.raises(VerifierFault):
        gold(empty)


def test_a_rule_that_calls_a_program_better_than_itself_fails_the_machine() -> None:
    """Something favours whatever runs as the candidate: no score may be believed here."""
    runner = sim(noise=0.0, twists={TRAIN.decode(): changed(validation=bpb("1.96"), fresh=bpb("1.96"))})
    found = gold(SimBench(runner))
    assert not found.passed
    assert "better than itself" in found.sentence
