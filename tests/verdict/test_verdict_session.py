"""Whole sessions on a simulated machine: order, stopping, repeating, faults."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_helpers import BETTER, audits, noise, quiet
from verdict_helpers import settings as session_settings

from armlx_chain.errors import CandidateError, UsageError
from verifier.model import Ending, Outcome, Reason, Role, RunRecord, Verdict
from verifier.session import Progress, is_final, judge, may_start_over, precheck
from verifier.simulate import Machine, SimRunner
from verifier.verdict.case import Rules
from verifier.verdict.earlier import Earlier, Subject

pytestmark = pytest.mark.unit

SEED = b"\7" * 32
SUBJECT = Subject.of(noise(), Rules(), {}, BETTER)
A, B = Role.CONTROL, Role.CANDIDATE


def session(runner: SimRunner, **more: object) -> Verdict:
    rules = more.pop("rules", {})
    options: dict[str, object] = {"seed": SEED, "settings": session_settings(**rules)}  # type: ignore[arg-type]
    return judge(runner, more.pop("noise", noise()), {}, BETTER, **(options | more))  # type: ignore[arg-type]


def roles(runner: SimRunner) -> list[Role]:
    return [role for role, _, _ in runner.calls]


def failing(how: Ending, *, from_run: int = 0):
    """A twist: the program's runs end so from its ``from_run``-th run on."""

    def twist(record: RunRecord, before: int) -> RunRecord:
        if before < from_run:
            return record
        return replace(record, ending=how, validation=None, fresh=None, audits=(), graph_sha256=None)

    return twist


def cheating(*, runs: int, **results: bool):
    """A twist: the program's first ``runs`` runs fail these audits."""

    def twist(record: RunRecord, before: int) -> RunRecord:
        return replace(record, audits=audits(**results)) if before < runs else record

    return twist


def test_pairs_are_interleaved_control_candidate_candidate_control():
    runner = quiet(0.015)
    verdict = session(runner)
    assert verdict.reason is Reason.MORE_PAIRS_NEEDED
    assert roles(runner) == [A, B, B, A] * 4
    assert [name for _, name, _ in runner.calls][:4] == [
        "pair-01-control",
        "pair-01-candidate",
        "pair-02-candidate",
        "pair-02-control",
    ]


def test_every_run_of_a_session_is_asked_about_the_same_rows():
    runner = quiet(0.05)
    session(runner)
    assert {seed for _, _, seed in runner.calls} == {SEED}


def test_interleaving_cancels_a_steady_drift_of_the_machine():
    drifting = SimRunner(Machine(noise=0.0, drift=0.005), gains={"better": 0.0})
    verdict = session(drifting)
    assert verdict.outcome is Outcome.UNIMPROVED
    assert [str(gain) for gain in verdict.gains[:2]] == ["-0.005000000", "0.005000000"]


def test_a_clear_gain_takes_three_pairs_and_no_gain_three():
    for gain, outcome in ((0.05, Outcome.REPRODUCED), (0.0, Outcome.UNIMPROVED)):
        runner = quiet(gain)
        assert session(runner).outcome is outcome
        assert len(runner.calls) == 6


def test_a_hopeless_candidate_costs_one_pair():
    runner = quiet(-0.5)
    assert session(runner).reason is Reason.CLEARLY_WORSE
    assert len(runner.calls) == 2


def test_the_same_seed_gives_the_same_verdict():
    def once() -> Verdict:
        return session(SimRunner(Machine(noise=0.01), gains={"better": 0.03}, seed=5))

    assert once() == once()


def test_an_undecided_test_continues_on_the_same_machine_to_twenty_four_pairs():
    first = session(quiet(0.015))
    assert not is_final(first)
    runner = quiet(0.015)
    second = session(runner, earlier=Earlier(SUBJECT, first.pairs), rules={"pairs": 24})
    assert second.outcome is Outcome.REPRODUCED
    assert len(second.pairs) == 14
    assert roles(runner)[:4] == [A, B, B, A]
    assert runner.calls[0][1] == "pair-09-control"


@pytest.mark.parametrize("pairs", [0, 25, -1])
def test_more_pairs_than_the_rule_allows_are_refused(pairs):
    with pytest.raises(UsageError):
        session(quiet(), rules={"pairs": pairs})


@pytest.mark.parametrize(
    "how", [Ending.CRASH, Ending.DEADLINE, Ending.MEMORY, Ending.NO_GRAPH, Ending.BAD_FRAME]
)
def test_a_crash_in_a_later_pair_ends_the_matter(how):
    runner = quiet(0.05, twists={"better": failing(how, from_run=1)})
    verdict = session(runner)
    assert (verdict.outcome, verdict.reason) == (Outcome.UNIMPROVED, Reason.RUN_WITHOUT_MODEL)
    assert len(runner.calls) == 4


def test_a_control_that_always_fails_is_no_fault_of_the_candidates():
    runner = quiet(0.05, twists={"": failing(Ending.DEADLINE)})
    verdict = session(runner)
    assert (verdict.outcome, verdict.reason) == (Outcome.UNDECIDED, Reason.CONTROL_FAILED)
    assert len(runner.calls) == 4


def test_a_failed_audit_is_repeated_once_with_the_control_last():
    runner = quiet(0.5, twists={"better": cheating(runs=99, causality=False)})
    verdict = session(runner)
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUTED, Reason.CAUSALITY_VIOLATED)
    assert roles(runner) == [A, B, B, A]
    assert [name for _, name, _ in runner.calls][2:] == ["repeat-01-candidate", "repeat-01-control"]
    assert [record.role for record in verdict.repeats] == [B, A]


def test_an_audit_that_fails_once_only_is_undecided_and_never_approved():
    runner = quiet(0.5, twists={"better": cheating(runs=1, causality=False)})
    verdict = session(runner)
    assert (verdict.outcome, verdict.reason) == (Outcome.UNDECIDED, Reason.UNREPEATED)


def test_an_audit_that_fails_in_the_third_pair_only_stops_an_approval():
    def late(record: RunRecord, before: int) -> RunRecord:
        return replace(record, audits=audits(fresh_gap=False)) if before >= 2 else record

    verdict = session(quiet(0.5, twists={"better": late}))
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUTED, Reason.VALIDATION_GAP)
    assert len(verdict.pairs) == 3


@pytest.mark.parametrize("number", range(6))
def test_a_fault_of_the_verifier_at_any_run_is_undecided_and_keeps_the_finished_pairs(number):
    runner = quiet(0.05, fault_at=number)
    verdict = session(runner)
    assert (verdict.outcome, verdict.reason) == (Outcome.UNDECIDED, Reason.VERIFIER_FAULT)
    assert "sandbox broke" in verdict.explanation
    assert len(verdict.pairs) == number // 2
    assert len(runner.calls) == number + 1


@pytest.mark.parametrize("number", [2, 3])
def test_a_fault_while_a_cheat_is_repeated_is_undecided(number):
    runner = quiet(0.5, twists={"better": cheating(runs=99, causality=False)}, fault_at=number)
    assert session(runner).reason is Reason.VERIFIER_FAULT


class Unplaceable:
    """A runner that cannot put one program into the snapshot."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.inner = quiet(0.05)

    def run(
        self, role: Role, files, *, run_folder: Path, deadline_seconds: float | None, seed: bytes
    ) -> RunRecord:
        if role is self.role:
            raise CandidateError("The path is a folder of the snapshot.")
        return self.inner.run(
            role, files, run_folder=run_folder, deadline_seconds=deadline_seconds, seed=seed
        )


def test_a_test_whose_pairs_decided_nothing_is_never_begun_anew():
    undecided = session(quiet(0.015))
    assert (undecided.outcome, undecided.reason) == (Outcome.UNDECIDED, Reason.MORE_PAIRS_NEEDED)
    assert not may_start_over(undecided)
    faulty = replace(undecided, reason=Reason.VERIFIER_FAULT, gains=())
    assert not may_start_over(faulty)
    assert may_start_over(replace(faulty, pairs=()))
    assert may_start_over(replace(faulty, pairs=faulty.pairs[:2], voided=(0, 1)))
    assert not may_start_over(replace(faulty, pairs=(), reason=Reason.UNSUPPORTED))


@pytest.mark.parametrize(("role", "reason"), [(B, Reason.GATE), (A, Reason.CONTROL_UNAVAILABLE)])
def test_files_that_cannot_be_placed_are_undecided(role, reason):
    verdict = session(Unplaceable(role))  # type: ignore[arg-type]
    assert (verdict.outcome, verdict.reason) == (Outcome.UNDECIDED, reason)


def test_a_check_before_the_run_that_fails_means_that_nothing_runs():
    def refuse() -> None:
        raise CandidateError("train.py line 3: too long.", next_step="Shorten it.")

    verdict = precheck(lambda: None, refuse)
    assert verdict is not None
    assert (verdict.outcome, verdict.reason, verdict.pairs) == (Outcome.UNDECIDED, Reason.GATE, ())
    assert "Shorten it." in verdict.explanation
    assert is_final(verdict)
    assert precheck(lambda: None) is None


def test_progress_tells_every_run_and_the_verdict():
    told: list[Progress] = []
    session(quiet(0.05), progress=told.append)
    assert [one.record is not None for one in told] == [False, True] * 6 + [False]
    assert told[-1].message == "Verdict: reproduced (improvement-confirmed)."
    assert all(one.message for one in told)


def test_the_deadline_reaches_every_run():
    seen = []

    class Watching(SimRunner):
        def run(self, role, files, *, run_folder, deadline_seconds, seed):
            seen.append(deadline_seconds)
            return super().run(
                role, files, run_folder=run_folder, deadline_seconds=deadline_seconds, seed=seed
            )

    session(Watching(Machine(noise=0.0), gains={"better": 0.05}))
    assert seen == [12.0] * 6


def test_a_spoiled_run_is_voided_and_the_rest_decides():
    def hot(record: RunRecord, before: int) -> RunRecord:
        return replace(record, disturbances=("the machine grew hot",)) if before == 1 else record

    verdict = session(quiet(0.05, twists={"better": hot}))
    assert verdict.outcome is Outcome.REPRODUCED
    assert verdict.voided == (1,)
    assert len(verdict.pairs) == 4


twists = st.sampled_from(
    [
        None,
        *(failing(how, from_run=after) for how in Ending for after in (0, 1, 2) if how is not Ending.GRAPH),
        cheating(runs=1, causality=False),
        cheating(runs=1, fresh_gap=False),
        cheating(runs=99, causality=False),
    ]
)


@settings(max_examples=300, deadline=None)
@given(twists, twists, st.sampled_from([None, 0, 1, 2, 3, 5]), st.floats(-0.1, 0.1), st.integers(0, 99))
def test_a_faulty_control_or_verifier_never_gets_a_candidate_refuted(own, other, fault, gain, seed):
    runner = SimRunner(
        Machine(noise=0.01, contamination=0.05),
        gains={"better": gain},
        twists={name: twist for name, twist in (("better", own), ("", other)) if twist is not None},
        seed=seed,
        fault_at=fault,
    )
    verdict = session(runner)
    if verdict.outcome is Outcome.REFUTED:
        # Only one of the programs above deserves it, and only beside a control that is in order.
        assert own is not None
        checks = [audit for pair in verdict.pairs for audit in pair.control.audits]
        assert all(audit.passed for audit in checks)
        assert verdict.reason is Reason.CAUSALITY_VIOLATED
    if verdict.outcome is Outcome.REPRODUCED:
        assert all(record.ending is Ending.GRAPH for pair in verdict.pairs for record in (pair.candidate,))
