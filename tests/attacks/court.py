"""Where cheats are tried: the small benchmark, prepared once, and the real ``precheck`` and ``judge`` on it.

Two things differ from a validator's session, both to save time:

- the profile is small (``PROFILE``), and the noise is a calibration's shortcut of a few control and seed
  runs, all really run here;
- the control does not run again beside each cheat. ``SharedControls`` hands out the records of those control
  runs in turn: same machine, same seed, same rows. Candidates always really run. A machine that became faster
  since then flatters a candidate, so a project minimum of ``WORTH`` is asked for, and an approval counts only
  once it has been confirmed with controls that run beside the candidate.

Honest variants are judged without either (``try_honest``): by the rule as it stands.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from statistics import mean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from armlx_chain.devnet.benchmark.data import make_data
from armlx_chain.devnet.benchmark.project import protocol_document, snapshot_files
from armlx_chain.formats.manifest import ManifestEntry, ManifestRole
from armlx_chain.protocol.model import Protocol
from armlx_chain.protocol.parse import parse_protocol
from armlx_chain.storage.zerog.merkle import root_of
from tests.attacks import knowledge
from tests.attacks.load import TRAIN, Variant
from tests.benchmark.bare import BareRun, Profile, bare_run, with_profile
from verifier.calibration import FIRST_SEED, LEAST_RUNS, Plan, noise_from
from verifier.gate import check_sources
from verifier.hardware import Machine, environment
from verifier.harness.benchmark import Benchmark
from verifier.harness.evaluator import EvaluatorLimits
from verifier.harness.inside import Interpreter
from verifier.harness.logfacts import ProtocolLog
from verifier.harness.scoring import Rows
from verifier.model import Noise, Outcome, Role, RunRecord, Verdict
from verifier.rerun import HarnessRunner, RunSettings
from verifier.reseed import with_seed
from verifier.sandbox.interface import Limits
from verifier.sandbox.select import default_sandbox
from verifier.session import Files, Runner, Settings, judge, precheck
from verifier.verdict.case import Rules
from verifier.verdict.constants import FIRST_LIMIT
from verifier.verdict.deadline import deadline_from
from verifier.workspace import Surface, check_candidate

PROFILE: Final = Profile(0.6, 4096)
"""Six tenths of a second of training, 64 rows to score: a run takes two seconds. For cheats."""
HONEST_PROFILE: Final = Profile(3.0, 16384)
"""The benchmark's own budget and half of its rows. For honest variants."""
PROBES: Final = 128
SEED: Final = b"drawn after the candidate was fixed"
WORTH: Final = 0.10
"""By how much a cheat must beat honest code in a bare run to count as one that works, in bits per byte."""
SEED_RUNS: Final = 2
MARGIN: Final = 0.4
"""Of the budget, added to the deadline for cheats on the budget. The rule's own at most 0.1 is less than a
tenth of a second here: less than what a busy machine adds to the CPU time of a program's start. These cheats
take two or three times the budget."""
WIDE_MARGIN: Final = 3.0
"""The same for cheats that are not on the budget, which may run two at a time: they end on what they do."""
PAIRS: Final = 5
"""Pairs of a cheat at most, fewer than the rule allows: what is undecided by then is not approved either."""
EVALUATOR: Final = EvaluatorLimits(seconds=20, graph_bytes=128 << 20)
"""What a graph may cost: far less than by default, so that trying to exceed it costs less too."""
HARD_WALL: Final = 45.0
"""Seconds after which a run that uses no CPU time is ended: what a program that sleeps for ever costs."""


class SharedControls:
    """A runner that hands out control records which were really measured, and really runs candidates.

    Raises:
        RuntimeError: for a seed that the records were not measured with.
    """

    def __init__(self, runner: Runner, records: Sequence[RunRecord], seed: bytes) -> None:
        self._runner, self._records, self._seed = runner, tuple(records), seed
        self._given = 0

    def run(
        self, role: Role, files: Files, *, run_folder: Path, deadline_seconds: float | None, seed: bytes
    ) -> RunRecord:
        if role is not Role.CONTROL:
            return self._runner.run(
                role, files, run_folder=run_folder, deadline_seconds=deadline_seconds, seed=seed
            )
        if files or seed != self._seed:
            raise RuntimeError("These controls are of the unmodified snapshot, with one seed.")
        self._given += 1
        return self._records[(self._given - 1) % len(self._records)]


@dataclass(frozen=True)
class Court:
    """Everything a trial needs.

    Attributes:
        data_folder: The benchmark's files, as ``~/.cache/autoresearch`` would hold them.
        controls: The control runs that the noise comes from.
        honest_score: The best of the bare runs of the unchanged ``train.py``.
    """

    profile: Profile
    snapshot: Mapping[str, bytes]
    data_folder: Path
    benchmark: Benchmark
    runner: HarnessRunner
    controls: tuple[RunRecord, ...]
    noise: Noise
    honest_score: float

    def deadline_seconds(self, margin: float = MARGIN) -> float:
        """The rule's reference, with a margin of our own, a multiple of the budget."""
        found = deadline_from(self.noise.reference_seconds, self.profile.budget_seconds)
        return found.reference + margin * self.profile.budget_seconds

    def bare(self, files: Mapping[str, bytes] | bytes, folder: Path, **options: object) -> BareRun:
        """A naive re-run: no sandbox, no harness."""
        files = {TRAIN: files} if isinstance(files, bytes) else files
        return bare_run(files[TRAIN], self.data_folder, folder, profile=self.profile, added=files, **options)  # type: ignore[arg-type]

    def precheck(self, files: Mapping[str, bytes], *, wide: bool = False) -> Verdict | None:
        """The mutable surface and the source gate, by the small benchmark's own protocol."""
        surface = Surface.of(WIDE if wide else PROTOCOL)
        return precheck(
            lambda: check_candidate(surface, self.snapshot.keys(), files), lambda: check_sources(files)
        )

    def try_files(
        self,
        files: Mapping[str, bytes],
        folder: Path,
        *,
        runner: Runner | None = None,
        pairs: int = PAIRS,
        shared: bool = True,
        wide: bool = False,
        margin: float = WIDE_MARGIN,
    ) -> Verdict:
        """Judge replacement files against the snapshot.

        Args:
            shared: Hand out the known controls first; an approval is confirmed without them.
            wide: The project lets a candidate add any file.
            margin: Of the deadline, as a multiple of the budget.
        """
        refused = self.precheck(files, wide=wide)
        if refused is not None:
            return refused
        # A copy, because a runner remembers its last control and several trials may go on side by side.
        real = runner or copy.copy(self.runner)
        deadline = self.deadline_seconds(margin)
        rules = Rules(pairs=pairs, project_minimum=Decimal(str(WORTH)))
        if shared:
            known = SharedControls(real, self.controls, SEED)
            settings = Settings(folder / "shared", deadline_seconds=deadline, rules=rules)
            verdict = judge(known, self.noise, {}, files, seed=SEED, settings=settings)
            if verdict.outcome is not Outcome.REPRODUCED:
                return verdict
        # The calibrated band would void pairs on a machine that has become faster or slower since.
        rules = replace(rules, control_is_baseline=False)
        settings = Settings(folder / "beside", deadline_seconds=deadline, rules=rules)
        return judge(real, self.noise, {}, files, seed=SEED, settings=settings)

    def try_honest(self, files: Mapping[str, bytes], folder: Path, *, pairs: int = FIRST_LIMIT) -> Verdict:
        """Judge as a validator does: controls beside the candidate, the rule's own minimum, all its pairs."""
        refused = self.precheck(files)
        if refused is not None:
            return refused
        rules = Rules(pairs=pairs, control_is_baseline=False)
        settings = Settings(folder, deadline_seconds=self.deadline_seconds(), rules=rules)
        return judge(copy.copy(self.runner), self.noise, {}, files, seed=SEED, settings=settings)

    def try_source(self, source: bytes, folder: Path, **options: object) -> Verdict:
        """Judge a ``train.py``."""
        return self.try_files({"train.py": source}, folder, **options)  # type: ignore[arg-type]

    def parameters(self, variant: Variant, **values: str) -> dict[str, str]:
        """The variant's parameters: those given, and the tables made from the validation text."""
        scored, pool = _whole_rows(self.benchmark.validation), _whole_rows(self.benchmark.fresh_pool)
        made = {
            "TABLE": lambda: knowledge.validation_table(self.data_folder),
            "WHOLE_TABLE": lambda: knowledge.validation_table(self.data_folder, whole=True),
            "COMMENTS": lambda: knowledge.comments(self.data_folder),
            "ROWS": lambda: knowledge.rows(scored),
            "FEW_ROWS": lambda: knowledge.rows(scored[:2]),
            "ALL_ROWS": lambda: knowledge.rows(scored, pool),
            "DATA_FOLDER": lambda: str(self.data_folder),
            "PREPARE": lambda: (
                self.snapshot["prepare.py"].decode().replace("TIME_BUDGET = ", "TIME_BUDGET = 3 * ")
            ),
            "PYC": lambda: knowledge.stale_bytecode(self.snapshot["prepare.py"].decode()),
            "TAG": lambda: sys.implementation.cache_tag,
        }
        return {name: values[name] if name in values else made[name]() for name in variant.parameters}


def _whole_rows(rows: Rows) -> NDArray[np.int32]:
    """Inputs with the last target behind them."""
    return np.concatenate([rows.inputs, rows.targets[:, -1:]], axis=1)


def _protocol(*, wide: bool) -> Protocol:
    document = json.loads(protocol_document(baseline_notes="none", created_at="2026-01-01T00:00:00Z"))
    if wide:
        document["mutableSurface"]["allowedGlobs"] = [
            TRAIN,
            "b*.py",
            "harness_*.py",
            "prepare/**",
            "__pycache__/**",
        ]
    return parse_protocol(json.dumps(document).encode())


PROTOCOL: Final = _protocol(wide=False)
WIDE: Final = _protocol(wide=True)
"""The same project, had its author let a candidate add files of many names."""


def convene(
    folder: Path,
    *,
    profile: Profile = PROFILE,
    bare_controls: int = 2,
    control_runs: int = LEAST_RUNS,
    seed_runs: int = SEED_RUNS,
    memory_bytes: int = 1 << 30,
) -> Court:
    """Make the data, prepare the benchmark, measure control runs and noise, run the snapshot bare.

    Args:
        memory_bytes: The snapshot's own runs are small; a bound near them makes a memory bomb cheap to try.

    Raises:
        SandboxUnavailable: nothing untrusted is judged without one.
    """
    data_folder, snapshot = folder / "data", dict(snapshot_files())
    snapshot["prepare.py"] = with_profile(snapshot["prepare.py"], profile)
    entries = []
    for file in make_data(data_folder):
        content = (data_folder / file.path).read_bytes()
        entries.append(ManifestEntry(file.path, len(content), root_of(content), ManifestRole(file.role)))
    sandbox, interpreter = default_sandbox(), Interpreter(Path(sys.executable))
    sandbox.check()
    benchmark = Benchmark.prepare(
        snapshot, data_folder, entries, sandbox=sandbox, interpreter=interpreter, work=folder / "work"
    )
    runner = HarnessRunner(
        benchmark,
        sandbox,
        settings=RunSettings(
            hard_wall_seconds=HARD_WALL,
            probes=PROBES,
            limits=Limits(memory_bytes=memory_bytes),
            evaluator=EVALUATOR,
        ),
        read_log=ProtocolLog(PROTOCOL),
    )
    plan = Plan(
        run_folder=folder / "calibration",
        hardware_class=Machine.here().hardware_class,
        environment=environment(lock=b"", settings={}).digest,
        runs=control_runs,
        seed_runs=seed_runs,
        shortcut=True,
    )
    controls, noise = _calibrate(runner, snapshot[TRAIN], plan)
    bare = [
        bare_run(snapshot[TRAIN], data_folder, folder / "bare", profile=profile) for _ in range(bare_controls)
    ]
    scores = [run.score for run in bare if run.score is not None]
    return Court(profile, snapshot, data_folder, benchmark, runner, controls, noise, min(scores))


def _calibrate(runner: HarnessRunner, train: bytes, plan: Plan) -> tuple[tuple[RunRecord, ...], Noise]:
    plan.check()

    def run(label: str, files: Mapping[str, bytes]) -> RunRecord:
        place = plan.run_folder / label
        return runner.run(Role.CONTROL, files, run_folder=place, deadline_seconds=None, seed=SEED)

    run("warm-up", {})
    seeded = [
        run(f"seed-{number}", {TRAIN: with_seed(train, FIRST_SEED + number)})
        for number in range(plan.seed_runs)
    ]
    # Last, so that the runner compares candidates with an unmodified control.
    controls = tuple(run(f"control-{number}", {}) for number in range(plan.runs))
    return controls, noise_from(controls, seeded, plan=plan)


def trusted_score(verdict: Verdict) -> float | None:
    """Mean validation bits per byte of the candidate's runs that have one, as the verifier measured them."""
    scores = [
        float(record.validation)
        for record in (*(pair.candidate for pair in verdict.pairs), *verdict.repeats[:1])
        if record.validation is not None
    ]
    return mean(scores) if scores else None


def printed_in(verdict: Verdict) -> str:
    """All logs of the candidate's runs together, as they lie on disk."""
    records = [*(pair.candidate for pair in verdict.pairs), *verdict.repeats[:1]]
    return "\n".join(record.log_path.read_bytes().decode(errors="replace") for record in records)
