"""A first look at a candidate before the long runs: does its model come out, and can it be judged at all?

The candidate runs once under the harness with a hundredth of the training budget and a few rows. What comes
out is no score. It says whether the program starts, calls ``evaluate_bpb``, and hands over a graph that can
be exported, imported and evaluated. A program may behave otherwise in a full run, so a good answer promises
nothing; a bad one saves a person hours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from verifier.harness.benchmark import Benchmark
from verifier.harness.evaluator import GRAPH_ROWS
from verifier.harness.staging import PREPARE
from verifier.model import Ending, Reason, Role, RunRecord, Verdict
from verifier.rerun import HarnessRunner, RunSettings
from verifier.sandbox.interface import Sandbox
from verifier.verdict.plain import without_runs

__all__ = ["CHECK_FOLDER", "ExportCheck", "check_export", "shortened"]

CHECK_FOLDER: Final = "export-check"
BUDGET_SHARE: Final = 0.01
"""Of the training budget: enough for the steps that a program makes before it looks at the clock."""
_PROBES: Final = 8
_LEAST_WALL_SECONDS: Final = 180.0
_SEED: Final = b"export check"


@dataclass(frozen=True, slots=True)
class ExportCheck:
    """What the first look found.

    Attributes:
        passed: ``True``: a model came out and was evaluated. ``False``: a full run would end the same way.
            ``None``: the first look does not tell.
        sentence: For a person.
    """

    passed: bool | None
    sentence: str
    record: RunRecord

    def verdict(self) -> Verdict | None:
        """The verdict, where no run of it could ever be judged under this rule."""
        if self.record.ending is not Ending.UNSUPPORTED:
            return None
        return without_runs(Reason.UNSUPPORTED, self.sentence)

    def tree(self) -> dict[str, object]:
        return {"passed": self.passed, "ending": self.record.ending.value, "sentence": self.sentence}


def shortened(benchmark: Benchmark) -> Benchmark:
    """The benchmark with a hundredth of the budget and one batch of rows of each kind."""
    budget = benchmark.constants.budget_seconds * BUDGET_SHARE
    prepare = benchmark.snapshot[PREPARE].rstrip(b"\n") + f"\n\nTIME_BUDGET = {budget!r}\n".encode()
    rows = list(range(min(GRAPH_ROWS, len(benchmark.validation), len(benchmark.fresh_pool))))
    return replace(
        benchmark,
        snapshot={**benchmark.snapshot, PREPARE: prepare},
        constants=replace(benchmark.constants, budget_seconds=budget),
        validation=benchmark.validation.take(rows),
        fresh_pool=benchmark.fresh_pool.take(rows),
    )


def check_export(
    benchmark: Benchmark,
    sandbox: Sandbox,
    files: Mapping[str, bytes],
    *,
    folder: Path,
    on_log: Callable[[bytes], None] | None = None,
) -> ExportCheck:
    """Run the candidate shortly and look at what comes out.

    Raises:
        VerifierFault: for anything that is not the program's doing.
        CandidateError: its files cannot be put in place.
    """
    wall = max(_LEAST_WALL_SECONDS, benchmark.constants.budget_seconds)
    settings = RunSettings(hard_wall_seconds=wall, probes=_PROBES, recheck=False)
    runner = HarnessRunner(shortened(benchmark), sandbox, settings=settings, on_log=on_log)
    record = runner.run(
        Role.CANDIDATE, files, run_folder=folder / CHECK_FOLDER, deadline_seconds=None, seed=_SEED
    )
    return judged(record)


def judged(record: RunRecord) -> ExportCheck:
    """What the ending of the first look means. Pure."""
    match record.ending:
        case Ending.GRAPH:
            text = "The model can be exported and evaluated."
            return ExportCheck(True, text, record)
        case Ending.DEADLINE:
            text = "The program had handed over no model when its time was up; this may be its own schedule."
            return ExportCheck(None, text, record)
        case Ending.UNSUPPORTED:
            return ExportCheck(False, f"Unsupported: {record.detail}", record)
    return ExportCheck(None, f"A short run ended without a model ({record.ending}): {record.detail}", record)
