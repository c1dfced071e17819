"""Where cheats are tried: the small benchmark, prepared once, and the real ``precheck`` and ``judge`` on it.

Two things differ from a validator's session, both to save time:

- the profile is small (``PROFILE``), and the noise is a calibration's shortcut of six control and two seed
  runs, all really run here;
- the control does not run again beside each candidate. ``SharedControls`` hands out the records of those six
  control runs in turn: same machine, same seed, same rows. Candidates always really run. A machine that
  became faster since then flatters a candidate, so a project minimum of ``WORTH`` is asked for, and an
  approval counts only once it has been confirmed with controls that run beside the candidate.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from statistics import mean
from typing import Final

from armlx_chain.devnet.benchmark.data import make_data
from armlx_chain.devnet.benchmark.project import protocol_document, snapshot_files
from armlx_chain.formats.manifest import ManifestEntry, ManifestRole
from armlx_chain.protocol.parse import parse_protocol
from armlx_chain.storage.zerog.merkle import root_of
from tests.attacks.load import Variant, validation_table
from tests.benchmark.bare import BareRun, Profile, bare_run, with_profile
from verifier.calibration import FIRST_SEED, LEAST_RUNS, Plan, noise_from
from verifier.gate import check_sources
from verifier.hardware import Machine, environment
from verifier.harness.inside import Interpreter
from verifier.harness.logfacts import ProtocolLog
from verifier.model import Noise, Outcome, Role, RunRecord, Verdict
from verifier.rerun import Benchmark, HarnessRunner, RunSettings
from verifier.reseed import with_seed
from verifier.sandbox.interface import Limits
from verifier.sandbox.select import default_sandbox
from verifier.session import Files, Runner, Settings, judge, precheck
from verifier.verdict.case import Rules
from verifier.verdict.deadline import deadline_from
from verifier.workspace import Surface, check_candidate

PROFILE: Final = Profile(1.0, 4096)
"""One second of training, 64 rows to score: a run takes two or three seconds."""
PROBES: Final = 128
SEED: Final = b"drawn after the candidate was fixed"
WORTH: Final = 0.10
"""By how much a cheat must beat honest code in a bare run to count as one that works, in bits per byte."""
SEED_RUNS: Final = 2
MARGIN: Final = 0.4
"""Of the budget, added to the deadline. The rule's own at most 0.1 is a tenth of a second here: less than
what a busy machine adds to the CPU time of a program's start. Cheats on the budget take two or three times
the budget."""
PAIRS: Final = 5
"""Pairs of a trial at most, fewer than the rule allows: what is undecided by then is not approved either."""


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

    snapshot: Mapping[str, bytes]
    data_folder: Path
    runner: HarnessRunner
    controls: tuple[RunRecord, ...]
    noise: Noise
    honest_score: float

    @property
    def deadline_seconds(self) -> float:
        """The rule's reference, with a margin of our own."""
        found = deadline_from(self.noise.reference_seconds, PROFILE.budget_seconds)
        return found.reference + MARGIN * PROFILE.budget_seconds

    def bare(self, source: bytes, folder: Path, **options: object) -> BareRun:
        """A naive re-run: no sandbox, no harness."""
        return bare_run(source, self.data_folder, folder, profile=PROFILE, **options)  # type: ignore[arg-type]

    def precheck(self, files: Mapping[str, bytes]) -> Verdict | None:
        """The mutable surface and the source gate, by the small benchmark's own protocol."""
        surface = Surface.of(PROTOCOL)
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
    ) -> Verdict:
        """Judge replacement files against the snapshot.

        Args:
            shared: Hand out the known controls first; an approval is confirmed without them.
        """
        refused = self.precheck(files)
        if refused is not None:
            return refused
        real = runner or self.runner
        rules = Rules(pairs=pairs, project_minimum=Decimal(str(WORTH)))
        if shared:
            known = SharedControls(real, self.controls, SEED)
            settings = Settings(folder / "shared", deadline_seconds=self.deadline_seconds, rules=rules)
            verdict = judge(known, self.noise, {}, files, seed=SEED, settings=settings)
            if verdict.outcome is not Outcome.REPRODUCED:
                return verdict
        # The calibrated band would void pairs on a machine that has become faster or slower since.
        rules = replace(rules, control_is_baseline=False)
        settings = Settings(folder / "beside", deadline_seconds=self.deadline_seconds, rules=rules)
        return judge(real, self.noise, {}, files, seed=SEED, settings=settings)

    def try_source(self, source: bytes, folder: Path, **options: object) -> Verdict:
        """Judge a ``train.py``."""
        return self.try_files({"train.py": source}, folder, **options)  # type: ignore[arg-type]

    def parameters(self, variant: Variant, **values: str) -> dict[str, str]:
        """The variant's parameters: those given, and the tables made from the validation text."""
        made = {
            "TABLE": lambda: validation_table(self.data_folder),
            "WHOLE_TABLE": lambda: validation_table(self.data_folder, whole=True),
        }
        return {name: values[name] if name in values else made[name]() for name in variant.parameters}


PROTOCOL: Final = parse_protocol(protocol_document(baseline_notes="none", created_at="2026-01-01T00:00:00Z"))


def convene(folder: Path, *, bare_controls: int = 2, memory_bytes: int = 3 << 30) -> Court:
    """Make the data, prepare the benchmark, measure control runs and noise, run the snapshot bare.

    Raises:
        SandboxUnavailable: nothing untrusted is judged without one.
    """
    data_folder, snapshot = folder / "data", dict(snapshot_files())
    snapshot["prepare.py"] = with_profile(snapshot["prepare.py"], PROFILE)
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
        settings=RunSettings(hard_wall_seconds=90, probes=PROBES, limits=Limits(memory_bytes=memory_bytes)),
        read_log=ProtocolLog(PROTOCOL),
    )
    controls, noise = _calibrate(runner, snapshot["train.py"], folder / "calibration")
    bare = [
        bare_run(snapshot["train.py"], data_folder, folder / "bare", profile=PROFILE)
        for _ in range(bare_controls)
    ]
    scores = [run.score for run in bare if run.score is not None]
    return Court(snapshot, data_folder, runner, controls, noise, min(scores))


def _calibrate(runner: HarnessRunner, train: bytes, folder: Path) -> tuple[tuple[RunRecord, ...], Noise]:
    plan = Plan(
        run_folder=folder,
        hardware_class=Machine.here().hardware_class,
        environment=environment(lock=b"", settings={}).digest,
        runs=LEAST_RUNS,
        seed_runs=SEED_RUNS,
        shortcut=True,
    )
    plan.check()

    def run(label: str, files: Mapping[str, bytes]) -> RunRecord:
        return runner.run(Role.CONTROL, files, run_folder=folder / label, deadline_seconds=None, seed=SEED)

    run("warm-up", {})
    seeded = [
        run(f"seed-{number}", {"train.py": with_seed(train, FIRST_SEED + number)})
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
