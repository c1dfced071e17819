"""A project prepared on this machine, and the one way to judge a candidate of it.

A miner's ``reproduce`` and a validator's re-run are this same code; they differ in where the seed comes from
and in what follows the verdict.

::

    prepared = prepare(materials, sandbox=sandbox, interpreter=Interpreter(python), folders=folders)
    noise = prepared.stored_noise()
    verdict = prepared.judge(Trial(files, noise, seed, folder, progress))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from armlx_chain.errors import VerifierFault
from armlx_chain.types import Root
from verifier import calibration, calibrationfile
from verifier.calibrationruns import KeptRuns
from verifier.capacity import (
    installed_in,
    interpreter_here,
    kernel_folder,
    memory_bytes,
    settings_here,
    with_kernels,
)
from verifier.environments.fields import Place, Terms, terms_of
from verifier.exportcheck import ExportCheck, check_export
from verifier.hardware import EnvironmentFacts, Machine, default_backend, environment
from verifier.harness.constants import read_constants
from verifier.harness.inside import Interpreter
from verifier.harness.logfacts import ProtocolLog
from verifier.harness.staging import PREPARE, TRAIN
from verifier.judgement import Contest, Trial, check_materials
from verifier.machine.exclusive import exclusive
from verifier.machine.monitor import MachineWatch
from verifier.machine.sensors import sensors_here
from verifier.machine.turn import Turn
from verifier.materials import Materials
from verifier.model import Noise, Verdict
from verifier.rerun import Benchmark, HarnessRunner, RunSettings
from verifier.sandbox.interface import Sandbox
from verifier.session import ProgressCallback, Runner
from verifier.verdict.deadline import Deadline
from verifier.verdict.earlier import Subject

__all__ = [
    "LOCK_FILE",
    "Folders",
    "Prepared",
    "check_materials",
    "interpreter_here",
    "prepare",
    "project_key",
]

LOCK_FILE = "uv.lock"


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a machine keeps what it measured; none of it is ever shared with a sandbox.

    Attributes:
        work: Scratch of prepared benchmarks.
        calibrations: Measured noise, by project, class and environment.
    """

    work: Path
    calibrations: Path


def project_key(snapshot_root: Root, benchmark_root: Root) -> str:
    """What a calibration belongs to: the snapshot and the data it was measured with."""
    return f"{snapshot_root}+{benchmark_root}"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A project, ready to be judged here."""

    materials: Materials
    benchmark: Benchmark
    runner: Runner
    machine: Machine
    environment: EnvironmentFacts
    folders: Folders
    sandbox: Sandbox | None = None
    notices: tuple[str, ...] = ()
    """What a person should know of the project's protocol on this machine."""
    turn: Turn = field(default_factory=lambda: Turn("cpu", "cpu"))
    """How sessions of this machine take turns."""

    @property
    def project_key(self) -> str:
        return project_key(self.materials.snapshot_root, self.materials.benchmark_root)

    def with_runner(self, runner: Runner) -> Prepared:
        """The same project, whose runs another runner makes."""
        return replace(self, runner=runner)

    def stored_noise(self) -> Noise:
        """The calibration of this project, class and environment.

        Raises:
            VerifierFault: there is none that still holds.
        """
        return calibrationfile.load(
            self.folders.calibrations,
            self.project_key,
            hardware_class=self.machine.hardware_class,
            environment=self.environment.digest,
        )

    def measure_noise(
        self,
        *,
        runs: int,
        seed_runs: int,
        shortcut: bool,
        progress: ProgressCallback,
        again: bool = False,
    ) -> Noise:
        """Run the unmodified snapshot until its noise is known, and keep the result.

        Runs that an earlier, cut-off calibration finished under the same conditions are not made again.

        Args:
            again: Begin anew in any case.

        Raises:
            UsageError: fewer runs than the rule demands, without ``shortcut``.
            VerifierFault: the snapshot does not run here.
        """
        train = self.materials.snapshot.get(TRAIN)
        if train is None:
            raise VerifierFault(f"The project's snapshot has no {TRAIN}, so its noise is not known.")
        runs_folder = self.folders.calibrations.parent / "calibration-runs"
        once = exclusive(
            "calibration", doing="calibrating", wait=self.turn.wait, say=self.turn.say, folder=runs_folder
        )
        with once, self.turn("calibrating"):
            return self._measure(runs_folder, train, (runs, seed_runs, shortcut), progress, again=again)

    def _measure(
        self,
        folder: Path,
        train: bytes,
        amount: tuple[int, int, bool],
        progress: ProgressCallback,
        *,
        again: bool,
    ) -> Noise:
        kept = KeptRuns.open(
            folder,
            project=self.project_key,
            hardware_class=self.machine.hardware_class,
            environment=self.environment.digest,
            program=train,
            again=again,
        )
        plan = calibration.Plan(
            run_folder=kept.runs,
            hardware_class=self.machine.hardware_class,
            environment=self.environment.digest,
            runs=amount[0],
            seed_runs=amount[1],
            shortcut=amount[2],
        )
        found = calibration.measure(
            self.runner, train, plan=plan, seed=kept.seed, progress=progress, kept=kept
        )
        calibrationfile.save(
            self.folders.calibrations, self.project_key, found.noise, cold_seconds=found.cold_seconds
        )
        kept.finish()
        return found.noise

    @property
    def contest(self) -> Contest:
        """How candidates are judged against this project's control here."""
        return Contest(
            materials=self.materials,
            hardware_class=self.machine.hardware_class,
            environment=self.environment.digest,
            budget_seconds=self.benchmark.constants.budget_seconds,
        )

    def deadline(self, noise: Noise) -> Deadline:
        """See ``Contest.deadline``."""
        return self.contest.deadline(noise)

    def precheck(self, files: Mapping[str, bytes]) -> Verdict | None:
        """See ``check_materials``."""
        return check_materials(self.materials, files)

    def check_export(self, files: Mapping[str, bytes], *, folder: Path) -> ExportCheck | None:
        """A short run of the candidate; ``None`` where there is no sandbox to run it in (a simulation)."""
        if self.sandbox is None:
            return None
        with self.turn("looking at a candidate"):
            return check_export(self.benchmark, self.sandbox, files, folder=folder)

    def subject(self, files: Mapping[str, bytes], noise: Noise) -> Subject:
        """What must be equal for pairs to belong to one test; store it with them."""
        return self.contest.subject(files, noise)

    def judge(self, trial: Trial) -> Verdict:
        """Judge a candidate against the control; see ``Contest.judge``."""
        return self.contest.judge(self.runner, trial, turn=lambda: self.turn("judging a candidate"))


def prepare(
    materials: Materials,
    *,
    sandbox: Sandbox,
    interpreter: Interpreter,
    folders: Folders,
    settings: RunSettings | None = None,
    setup: Mapping[str, str] | None = None,
    on_log: Callable[[bytes], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
    wait: bool = True,
) -> Prepared:
    """Prove the data and read the benchmark's rows with the project's own code, in the sandbox.

    Args:
        settings: Of the runs; what the protocol says of them is added.
        setup: Further facts of the environment: how the interpreter was made.
        on_log: Is handed the bytes of every run's growing log, from another thread.
        say: Gets a sentence when a run has to wait for the machine, or a session for another one.
        wait: Wait for another session on this machine's accelerator, or refuse.

    Raises:
        SandboxUnavailable: nothing is ever run bare.
        SetupRefused: the protocol has a field that this build cannot follow.
        VerifierFault: the benchmark does not work here.
    """
    sandbox.check()
    terms = _terms(materials)
    installed = installed_in(interpreter.executable)
    facts = environment(
        lock=materials.snapshot.get(LOCK_FILE, b""),
        installed=installed,
        settings={**interpreter.environment, **(setup or {})},
    )
    work = folders.work / materials.benchmark_root.hex
    benchmark = Benchmark.prepare(
        materials.snapshot,
        materials.data_folder,
        materials.manifest.entries,
        sandbox=sandbox,
        interpreter=with_kernels(interpreter, kernel_folder(work, materials.snapshot_root, facts.digest)),
        work=work,
    )
    backend, clock = default_backend(installed=installed), benchmark.constants.clock
    runner = HarnessRunner(
        benchmark,
        sandbox,
        settings=_with_terms(settings or settings_here(interpreter), terms),
        read_log=ProtocolLog(materials.protocol),
        on_log=on_log,
        watch=MachineWatch(sensors_here(backend), clock=clock, say=say),
    )
    return Prepared(
        materials=materials,
        benchmark=benchmark,
        runner=runner,
        machine=Machine.here(backend=backend),
        environment=facts,
        folders=folders,
        sandbox=sandbox,
        notices=terms.notices,
        turn=Turn(backend, clock, wait=wait, say=say),
    )


def _terms(materials: Materials) -> Terms:
    """What the protocol says of runs, before anything is run."""
    if PREPARE not in materials.snapshot:
        raise VerifierFault(f"The project's snapshot has no {PREPARE}.")
    return terms_of(
        materials.protocol,
        materials.snapshot,
        read_constants(materials.snapshot[PREPARE]),
        place=Place.here(memory_bytes()),
        project_id=int(materials.project.id),
    )


def _with_terms(settings: RunSettings, terms: Terms) -> RunSettings:
    return replace(
        settings,
        limits=terms.limits(settings.limits),
        arguments=terms.program.arguments,
        protocol_wall_seconds=terms.hard_wall_seconds,
    )
