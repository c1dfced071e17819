"""Every cheat, shown to work bare and then judged by the real verifier; a third of the honest set.

A cheat runs as far as its deciding audit: one pair where a score decides. A third of the cheats is run bare
as well, and a third of the honest variants is run, by the day (see ``rotation``). The long form, with
everything, is ``scripts/attacks``.

The docket works in the background from the first test on; those that wait for it stand last.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

import pytest

from armlx_chain.devnet.benchmark import candidates
from armlx_chain.errors import VerifierFault
from tests.attacks.court import WORTH, Court
from tests.attacks.docket import Docket
from tests.attacks.load import CLASSES, cheats, honest
from tests.attacks.rotation import THIRD, turns_up
from tests.attacks.trial import CANARY, decided_by_a_score
from verifier.harness.benchmark import Benchmark
from verifier.harness.inside import Interpreter
from verifier.model import AuditKind, Ending, Outcome, Reason, Role, RunRecord
from verifier.sandbox.select import default_sandbox
from verifier.session import Files

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("docket"), pytest.mark.timeout(1200)]

CHEATS = cheats()
HONEST = honest()
DUE: Final = [name for name in HONEST if turns_up(name)]


def test_every_class_has_cheats_that_a_score_does_not_decide_and_a_naive_run_believes() -> None:
    believed = {one.kind for one in CHEATS.values() if one.facts["shows"] == "score"}
    assert believed >= set(CLASSES) - {"claim"}
    assert sum(not decided_by_a_score(one) for one in CHEATS.values()) > 40


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
    verdict = court.try_files(CHEATS["lookahead_mask"].files(), tmp_path, runner=runner)
    assert runner.repeated == 1
    assert any(not audit.passed for audit in verdict.pairs[0].candidate.audits)
    assert (verdict.outcome, verdict.reason) == (Outcome.UNDECIDED, Reason.UNREPEATED)


def test_an_honest_comment_is_no_improvement(court: Court, tmp_path: Path) -> None:
    verdict = court.try_source(candidates.source("noop"), tmp_path, pairs=1)
    assert verdict.outcome in {Outcome.UNIMPROVED, Outcome.UNDECIDED}, verdict.explanation
    assert verdict.reason in {Reason.NO_IMPROVEMENT, Reason.CLEARLY_WORSE, Reason.MORE_PAIRS_NEEDED}


def test_an_honest_better_recipe_gains(court: Court, tmp_path: Path) -> None:
    verdict = court.try_source(candidates.better_train(), tmp_path, shared=False, pairs=2)
    assert verdict.outcome is not Outcome.REFUTED
    assert verdict.mean_gain is not None, verdict.explanation
    assert verdict.mean_gain > WORTH


@pytest.mark.parametrize("name", DUE, ids=lambda name: f"third-{THIRD}-{name}")
def test_an_honest_variant_is_never_refuted_and_is_supported(name: str, court: Court, tmp_path: Path) -> None:
    verdict = court.try_files(HONEST[name].files(), tmp_path, pairs=1)
    assert verdict.outcome is not Outcome.REFUTED, verdict.explanation
    assert verdict.reason not in {Reason.GATE, Reason.UNSUPPORTED}, verdict.explanation
    candidate = verdict.pairs[0].candidate
    assert candidate.ending is Ending.GRAPH, candidate.detail
    assert all(audit.passed for audit in candidate.audits)
    assert len(re.findall(rb"(?m)^val_bpb:", candidate.log_path.read_bytes())) == 1
    assert not candidate.anomalies


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


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_works_where_nothing_stops_it_and_fails_under_the_verifier(
    cheat: str, docket: Docket
) -> None:
    tried = docket.of(CHEATS[cheat])
    verdict = tried.verdict
    assert tried.works is not False, f"third {THIRD}: bare it printed {tried.claimed}"
    # What is only neutralised may end at its true score, and some ideas are good ones.
    assert tried.right or not tried.approved
    assert not tried.escaped, tried.printed[-2000:]
    assert tried.right, (
        f"{verdict.outcome} ({verdict.reason}): {verdict.explanation}\n{tried.printed[-2000:]}"
    )
    assert tried.seen_through, f"claimed {tried.claimed}, trusted {tried.trusted}"
    if verdict.outcome is Outcome.REFUTED:
        assert verdict.evidence["audit"] in {AuditKind.CAUSALITY, AuditKind.FRESH_GAP, AuditKind.CHANNEL}
        assert len(verdict.repeats) == 2
    if "gate" in CHEATS[cheat].facts:
        assert not verdict.pairs  # nothing was run


def test_a_program_that_rewrites_its_source_writes_nothing_in_the_sandbox(docket: Docket) -> None:
    tried = docket.of(CHEATS["hostile_workspace"])
    assert "written:" not in tried.printed
    assert tried.printed.count("Read-only file system") >= 3


def test_the_escapes_printed_what_they_found_and_it_was_not_the_secret(docket: Docket) -> None:
    for name in ("hostile_key_file", "hostile_environment", "hostile_other_processes"):
        printed = docket.of(CHEATS[name]).printed
        assert CANARY not in printed
        assert "val_bpb:" in printed


@pytest.mark.parametrize("cheat", ["hostile_channel_forged", "hostile_channel_huge"])
def test_bytes_that_are_no_message_end_the_run_without_a_model(cheat: str, docket: Docket) -> None:
    assert docket.of(CHEATS[cheat]).verdict.pairs[0].candidate.ending is Ending.BAD_FRAME
