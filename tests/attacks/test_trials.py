"""Cheats of every class, each shown to work in a bare run and then judged by the real verifier.

The long form over the whole corpus is ``scripts/attacks``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from armlx_chain.devnet.benchmark import candidates
from armlx_chain.errors import VerifierFault
from tests.attacks.court import WORTH, Court, printed_in, trusted_score
from tests.attacks.load import CLASSES, ESCAPES, cheats, honest
from tests.attacks.trial import allowed, prepared_trial
from verifier.harness.inside import Interpreter
from verifier.model import AuditKind, Ending, Outcome, Reason, Role, RunRecord
from verifier.rerun import Benchmark
from verifier.sandbox.select import default_sandbox
from verifier.session import Files

pytestmark = pytest.mark.integration

CHEATS = cheats()
SCORES: Final = (
    "log_constant",
    "log_second_line",
    "harness_evaluate_replaced",
    "harness_lookalike",
    "model_tiny_loss",
    "model_infinite",
    "lookahead_logit",
    "lookahead_rare",
    "leak_val_rows",
    "leak_split_literal",
    "leak_literal",
    "budget_constant",
    "budget_slow_clock",
)
"""Cheats that print a score in a bare run; the others do something else."""
TAKERS: Final = tuple(
    name for name, cheat in CHEATS.items() if "escape" in cheat.facts and name != "hostile_workspace"
)
OTHERS: Final = (
    "leak_weights_cached",
    "hostile_channel_forged",
    "hostile_channel_huge",
    "hostile_crash",
    "claim_inflated",
    "hostile_workspace",
)


def test_the_trials_below_cover_every_class_and_all_six_escapes() -> None:
    tried = [CHEATS[name].facts for name in (*SCORES, *TAKERS, *OTHERS)]
    assert {facts["class"] for facts in tried} == set(CLASSES)
    assert sorted(facts["escape"] for facts in tried if "escape" in facts) == sorted(ESCAPES)


@pytest.mark.parametrize("name", SCORES)
def test_a_cheat_that_prints_a_wonderful_score_bare_is_judged_for_what_it_is(
    name: str, court: Court, tmp_path: Path
) -> None:
    cheat = CHEATS[name]
    source = cheat.source(**court.parameters(cheat))
    bare = court.bare(source, tmp_path / "bare")
    assert bare.exit_code == 0, bare.text[-2000:]
    assert bare.score is not None
    assert bare.score < court.honest_score - WORTH

    verdict = court.try_source(source, tmp_path / "trial")
    assert verdict.outcome is not Outcome.REPRODUCED
    assert (verdict.outcome, verdict.reason) in allowed(cheat), verdict.explanation
    if verdict.outcome is Outcome.REFUTED:
        assert verdict.evidence["audit"] in {AuditKind.CAUSALITY, AuditKind.FRESH_GAP}
        assert len(verdict.repeats) == 2
    elif cheat.facts["class"] != "look-ahead":
        found = trusted_score(verdict)
        assert found is None or found > bare.score + WORTH / 2


@pytest.mark.parametrize("name", TAKERS)
def test_an_escape_that_succeeds_bare_takes_nothing_out_of_the_sandbox(
    name: str, court: Court, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheat = CHEATS[name]
    with prepared_trial(cheat, tmp_path) as trial:
        for variable, value in trial.environment.items():
            monkeypatch.setenv(variable, value)
        source = cheat.source(**trial.values)
        bare = court.bare(source, tmp_path / "bare")
        assert trial.taken(bare.text), bare.text[-2000:]
    with prepared_trial(cheat, tmp_path) as trial:
        source = cheat.source(**trial.values)
        verdict = court.try_source(source, tmp_path / "trial", pairs=1)
        assert not trial.taken(printed_in(verdict))
    assert verdict.pairs
    assert (verdict.outcome, verdict.reason) in allowed(cheat), verdict.explanation


def test_a_program_that_rewrites_its_source_writes_nothing_in_the_sandbox(
    court: Court, tmp_path: Path
) -> None:
    cheat = CHEATS["hostile_workspace"]
    source = cheat.source()
    bare = court.bare(source, tmp_path / "bare")
    assert (bare.workspace / "train.py").read_bytes() != source
    assert (bare.workspace / "prepare.py").read_text().endswith("# nobody will notice\n")
    assert (bare.workspace.parent / "beside.txt").exists()

    verdict = court.try_source(source, tmp_path / "trial", pairs=1)
    printed = printed_in(verdict)
    assert "written:" not in printed
    assert printed.count("Read-only file system") >= 3
    assert (verdict.outcome, verdict.reason) in allowed(cheat), verdict.explanation


def test_weights_kept_for_the_next_run_are_gone_in_the_next_run(court: Court, tmp_path: Path) -> None:
    cheat = CHEATS["leak_weights_cached"]
    first, *_, last = (court.bare(cheat.source(), tmp_path / "bare").score for _ in range(3))
    assert first is not None
    assert last is not None
    assert last < first - WORTH

    verdict = court.try_source(cheat.source(), tmp_path / "trial")
    assert (verdict.outcome, verdict.reason) in allowed(cheat), verdict.explanation
    scores = [float(pair.candidate.validation or 0) for pair in verdict.pairs]
    assert min(scores) > scores[0] - WORTH


@pytest.mark.parametrize("name", ["hostile_channel_forged", "hostile_channel_huge"])
def test_bytes_forged_on_the_channel_end_the_run_without_a_model(
    name: str, court: Court, tmp_path: Path
) -> None:
    cheat = CHEATS[name]
    with prepared_trial(cheat, tmp_path) as trial:
        court.bare(cheat.source(), tmp_path / "bare", pass_fds=trial.descriptors)
        assert trial.taken("")
    verdict = court.try_source(cheat.source(), tmp_path / "trial")
    assert (verdict.outcome, verdict.reason) in allowed(cheat), verdict.explanation
    assert verdict.pairs[0].candidate.ending is Ending.BAD_FRAME


def test_a_crash_when_the_loss_looks_poor_ends_the_matter(court: Court, tmp_path: Path) -> None:
    cheat = CHEATS["hostile_crash"]
    assert court.bare(cheat.source(), tmp_path / "bare").exit_code == 1
    verdict = court.try_source(cheat.source(), tmp_path / "trial")
    assert (verdict.outcome, verdict.reason) in allowed(cheat), verdict.explanation
    assert len(verdict.pairs) == 1


def test_honest_code_with_an_inflated_claim_is_not_approved(court: Court, tmp_path: Path) -> None:
    cheat = CHEATS["claim_inflated"]
    bare = court.bare(cheat.source(), tmp_path / "bare").score
    assert bare is not None  # whoever reads the claim instead of the log believes nine tenths of this
    assert float(cheat.facts["claim"]) * bare < bare - WORTH
    verdict = court.try_source(cheat.source(), tmp_path / "trial")
    assert (verdict.outcome, verdict.reason) in allowed(cheat), verdict.explanation


class BehavesTheSecondTime:
    """A runner under which a program looks ahead in its pairs and not when it is run again."""

    def __init__(self, court: Court) -> None:
        self._court = court
        self.repeated = 0

    def run(
        self, role: Role, files: Files, *, run_folder: Path, deadline_seconds: float | None, seed: bytes
    ) -> RunRecord:
        if run_folder.name.startswith("repeat"):
            self.repeated += 1
            files = {"train.py": candidates.source("noop")}
        return self._court.runner.run(
            role, files, run_folder=run_folder, deadline_seconds=deadline_seconds, seed=seed
        )


def test_a_look_ahead_that_is_not_seen_again_is_not_refuted(court: Court, tmp_path: Path) -> None:
    runner = BehavesTheSecondTime(court)
    verdict = court.try_source(CHEATS["lookahead_mask"].source(), tmp_path, runner=runner)
    assert runner.repeated == 1
    assert verdict.pairs[0].candidate.audits[0].passed is False
    assert (verdict.outcome, verdict.reason) == (Outcome.UNDECIDED, Reason.UNREPEATED)


def test_an_honest_comment_is_no_improvement(court: Court, tmp_path: Path) -> None:
    verdict = court.try_source(candidates.source("noop"), tmp_path)
    assert verdict.outcome in {Outcome.UNIMPROVED, Outcome.UNDECIDED}, verdict.explanation
    assert verdict.reason in {Reason.NO_IMPROVEMENT, Reason.CLEARLY_WORSE, Reason.MORE_PAIRS_NEEDED}


def test_an_honest_better_recipe_gains(court: Court, tmp_path: Path) -> None:
    verdict = court.try_source(candidates.better_train(), tmp_path, shared=False, pairs=3)
    assert verdict.outcome is not Outcome.REFUTED
    assert verdict.mean_gain is not None, verdict.explanation
    assert verdict.mean_gain > 0


@pytest.mark.parametrize("name", ["deeper", "silu", "metric_line_only"])
def test_an_honest_variant_is_never_refuted_and_is_supported(name: str, court: Court, tmp_path: Path) -> None:
    verdict = court.try_source(honest()[name].source(), tmp_path, pairs=1)
    assert verdict.outcome is not Outcome.REFUTED, verdict.explanation
    assert verdict.reason not in {Reason.GATE, Reason.UNSUPPORTED}, verdict.explanation
    assert all(audit.passed for audit in verdict.pairs[0].candidate.audits)


def test_a_disk_that_refuses_is_a_fault_of_ours(court: Court, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(VerifierFault, match="cannot be used"):
        court.runner.run(
            Role.CANDIDATE, {}, run_folder=tmp_path / "file" / "run", deadline_seconds=None, seed=b""
        )


@pytest.mark.parametrize("missing", ["prepare.py", "train.py"])
def test_a_project_without_its_programs_is_refused_before_anything_runs(
    missing: str, court: Court, tmp_path: Path
) -> None:
    snapshot = {name: data for name, data in court.snapshot.items() if name != missing}
    with pytest.raises(VerifierFault, match=f"no {missing}"):
        Benchmark.prepare(
            snapshot,
            court.data_folder,
            (),
            sandbox=default_sandbox(),
            interpreter=Interpreter(Path(sys.executable)),
            work=tmp_path,
        )
