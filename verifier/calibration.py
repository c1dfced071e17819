"""How noisy a project is on this machine: measured, kept, and thrown away when the environment changes.

- Control runs are runs of the *unmodified snapshot*, all with one session seed, so that they differ by
  nothing but the machine. s is the upper 80 percent bound of their standard deviation, never the point
  estimate, and the larger of that of validation and of fresh scores.
- Seed runs differ from them by the one number ``verifier.reseed`` replaces.
- The rule demands 20 control runs and 8 seed runs. Fewer are a shortcut: it must be asked for by name, it is
  written into the result, and every report shows it.
- A stored calibration is found by project, hardware class and environment digest, and by nothing less.

::

    plan = Plan(run_folder=folder, hardware_class=machine.hardware_class, environment=facts.digest)
    noise = measure_noise(runner, snapshot["train.py"], plan=plan, seed=seed)
    save(folder, project, noise)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from armlx_chain.errors import UsageError, VerifierFault
from verifier.model import AuditKind, Bpb, Ending, Noise, Role, RunRecord, bpb
from verifier.reseed import with_seed
from verifier.session import Progress, ProgressCallback, Runner
from verifier.verdict.case import passes
from verifier.verdict.constants import CALIBRATION_RUNS, REFERENCE_RUNS, SEED_RUNS
from verifier.verdict.statistics import mean, standard_deviation, upper_bound

LEAST_RUNS: Final = 6
"""Fewer control runs bound nothing: from six, the upper bound is already 1.46 times the estimate."""
FIRST_SEED: Final = 1_000
"""Seed runs take this seed and the following ones; programs tend to use small ones themselves."""
DISCARDS: Final = 3
"""Disturbed runs that are measured again before the calibration gives up."""
_VERSION: Final = 1
_MAX_FILE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """How a calibration is measured.

    Attributes:
        run_folder: Each run gets a folder of its own below it.
        hardware_class, environment: What the result will hold for.
        runs, seed_runs: How many; fewer than the rule's need ``shortcut``.
        warm_up: Runs before the first that counts, so that caches are warm.
        shortcut: Accept fewer runs than the rule demands, and say so in the result.
        train_path: The snapshot's program that holds the seed.
    """

    run_folder: Path
    hardware_class: str
    environment: str
    runs: int = CALIBRATION_RUNS
    seed_runs: int = SEED_RUNS
    warm_up: int = 1
    shortcut: bool = False
    train_path: str = "train.py"

    def check(self) -> None:
        """Refuse a plan weaker than the rule, unless it says so.

        Raises:
            UsageError: for too few runs.
        """
        if self.runs < LEAST_RUNS or self.seed_runs < 2 or self.warm_up < 0:
            raise UsageError(f"A calibration needs at least {LEAST_RUNS} control runs and 2 seed runs.")
        if not self.shortcut and (self.runs < CALIBRATION_RUNS or self.seed_runs < SEED_RUNS):
            raise UsageError(
                f"The rule demands {CALIBRATION_RUNS} control runs and {SEED_RUNS} seed runs, not "
                f"{self.runs} and {self.seed_runs}.",
                next_step="Measure them all, or ask for the shortcut by name; every report will show it.",
            )

    @property
    def weakness(self) -> str | None:
        """The sentence reports show for a shortcut; ``None`` if the rule is met."""
        if self.runs >= CALIBRATION_RUNS and self.seed_runs >= SEED_RUNS:
            return None
        return (
            f"A demonstration's shortcut: the noise was measured from {self.runs} control runs and "
            f"{self.seed_runs} seed runs; the rule demands at least {CALIBRATION_RUNS} and {SEED_RUNS}."
        )


def _silent(_: Progress) -> None:
    return None


def measure_noise(
    runner: Runner, train: bytes, *, plan: Plan, seed: bytes, progress: ProgressCallback = _silent
) -> Noise:
    """Measure a project's noise on this machine.

    Args:
        train: The snapshot's ``plan.train_path``, in which the seed is replaced for the seed runs.
        seed: Fixes probes and fresh rows, the same for every run.

    Raises:
        UsageError: if the plan is weaker than the rule and does not say so.
        VerifierFault: if the snapshot does not run here, or the machine is too disturbed.
    """
    plan.check()
    lab = _Lab(runner, plan, seed, progress)
    for number in range(plan.warm_up):
        lab.run(f"warm-up-{number + 1:02d}", {})
    controls = [lab.run(f"control-{number + 1:02d}", {}) for number in range(plan.runs)]
    seeded = [
        lab.run(f"seed-{number + 1:02d}", {plan.train_path: with_seed(train, FIRST_SEED + number)})
        for number in range(plan.seed_runs)
    ]
    return noise_from(controls, seeded, plan=plan)


def noise_from(controls: Sequence[RunRecord], seeded: Sequence[RunRecord], *, plan: Plan) -> Noise:
    """The noise that these records show. Pure.

    Raises:
        VerifierFault: if a record has no scores or no time.
    """
    validation, fresh = _scores(controls)
    seed_validation, seed_fresh = _scores(seeded)
    times = [record.seconds_to_graph for record in controls]
    known = tuple(seconds for seconds in times if seconds is not None)
    if len(known) < max(len(controls), REFERENCE_RUNS):
        raise VerifierFault("A control run has no time from start to model, so no deadline can be set.")
    steps = tuple(record.steps for record in controls if record.steps is not None)
    return Noise(
        s=max(upper_bound(validation), upper_bound(fresh)),
        seed_spread=bpb(max(standard_deviation(seed_validation), standard_deviation(seed_fresh))),
        runs=len(controls),
        reference_seconds=known,
        shortcut=plan.weakness,
        point=bpb(max(standard_deviation(validation), standard_deviation(fresh))),
        scores=tuple(validation),
        seed_scores=tuple(seed_validation),
        control_mean=mean(validation),
        steps=steps if len(steps) == len(controls) else (),
        calibrated_audits=tuple(
            kind for kind in AuditKind if all(passes(record, kind) for record in controls)
        ),
        hardware_class=plan.hardware_class,
        environment=plan.environment,
    )


def _scores(records: Sequence[RunRecord]) -> tuple[list[Bpb], list[Bpb]]:
    validation = [record.validation for record in records if record.validation is not None]
    fresh = [record.fresh for record in records if record.fresh is not None]
    if not len(validation) == len(fresh) == len(records):
        raise VerifierFault("A calibration run has no score on validation or on fresh rows.")
    return validation, fresh


class _Lab:
    """Runs the snapshot, and again where the machine was disturbed."""

    def __init__(self, runner: Runner, plan: Plan, seed: bytes, progress: ProgressCallback) -> None:
        self._runner = runner
        self._plan = plan
        self._seed = seed
        self._progress = progress
        self._discarded = 0
        self._number = 0

    def run(self, label: str, files: Mapping[str, bytes]) -> RunRecord:
        """One undisturbed run that ended with a model.

        Raises:
            VerifierFault: if the snapshot ends without one, or after too many disturbed runs.
        """
        while True:
            self._number += 1
            folder = self._plan.run_folder / f"{label}-{self._number:03d}"
            self._progress(Progress(f"{label} starts.", self._number, Role.BASELINE))
            record = self._runner.run(
                Role.BASELINE, files, run_folder=folder, deadline_seconds=None, seed=self._seed
            )
            if record.ending is not Ending.GRAPH:
                raise VerifierFault(
                    f"The unmodified snapshot ended without a model ({record.ending}): {record.detail}",
                    next_step="Repair the environment; no candidate can be judged here.",
                )
            if not record.disturbances:
                score = f"{label} ended, {record.validation} bits per byte."
                self._progress(Progress(score, self._number, Role.BASELINE, record))
                return record
            self._discard(label, record)

    def _discard(self, label: str, record: RunRecord) -> None:
        self._discarded += 1
        causes = "; ".join(record.disturbances)
        self._progress(Progress(f"{label} is discarded: {causes}.", self._number, Role.BASELINE, record))
        if self._discarded > DISCARDS:
            raise VerifierFault(
                f"This machine is too disturbed to be calibrated; the last run: {causes}.",
                next_step="Let it cool down, stop other work, and calibrate again.",
            )


def calibration_path(folder: Path, project: str, hardware_class: str, environment: str) -> Path:
    """Where a calibration lies: one file per project, class and environment."""
    key = json.dumps([_VERSION, project, hardware_class, environment])
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def save(folder: Path, project: str, noise: Noise) -> Path:
    """Store a calibration, replacing an older one of the same key as a whole.

    Args:
        project: What names the project and its snapshot, such as the snapshot's root.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = calibration_path(folder, project, noise.hardware_class, noise.environment)
    text = json.dumps(
        {"version": _VERSION, "project": project} | encode_noise(noise), sort_keys=True, indent=1
    )
    draft = path.with_suffix(f".{os.getpid()}.new")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return path


def load(folder: Path, project: str, *, hardware_class: str, environment: str) -> Noise:
    """The stored calibration for exactly this project, class and environment.

    Raises:
        VerifierFault: if there is none, it belongs to another environment by now, or it is damaged.
    """
    path = calibration_path(folder, project, hardware_class, environment)
    try:
        data = path.read_bytes()
    except FileNotFoundError as problem:
        raise VerifierFault(
            "This machine has no calibration for the project in its present environment.",
            meaning="It was never measured, or system, MLX, Python or lock file changed since.",
            next_step="Calibrate the machine for the project.",
        ) from problem
    except OSError as problem:
        raise VerifierFault(f"The calibration {path.name} cannot be read: {problem.strerror}.") from problem
    noise = decode_noise(data, name=path.name, project=project)
    if (noise.hardware_class, noise.environment) != (hardware_class, environment):
        raise VerifierFault(
            f"The calibration {path.name} is for another class or environment than its name says."
        )
    return noise


def encode_noise(noise: Noise) -> dict[str, Any]:
    """A noise as a tree without floats: figures are text."""
    return {
        "s": str(noise.s),
        "seed_spread": str(noise.seed_spread),
        "runs": noise.runs,
        "reference_seconds": [repr(seconds) for seconds in noise.reference_seconds],
        "shortcut": noise.shortcut,
        "point": None if noise.point is None else str(noise.point),
        "scores": [str(score) for score in noise.scores],
        "seed_scores": [str(score) for score in noise.seed_scores],
        "control_mean": None if noise.control_mean is None else str(noise.control_mean),
        "steps": list(noise.steps),
        "calibrated_audits": [kind.value for kind in noise.calibrated_audits],
        "hardware_class": noise.hardware_class,
        "environment": noise.environment,
    }


def decode_noise(data: bytes, *, name: str = "calibration", project: str | None = None) -> Noise:
    """Read what ``save`` wrote.

    Raises:
        VerifierFault: if it is not that, or is for another project.
    """
    try:
        return _noise(_checked(data, project))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as problem:
        raise VerifierFault(
            f"The calibration {name} is damaged ({problem}).", next_step="Calibrate the machine again."
        ) from problem


def _checked(data: bytes, project: str | None) -> dict[str, Any]:
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError("it is too large")
    tree: dict[str, Any] = json.loads(data)
    if tree["version"] != _VERSION:
        raise ValueError("it has another version")
    if project is not None and tree["project"] != project:
        raise ValueError("it is for another project")
    return tree


def _noise(tree: dict[str, Any]) -> Noise:
    noise = Noise(
        s=bpb(tree["s"]),
        seed_spread=bpb(tree["seed_spread"]),
        runs=int(tree["runs"]),
        reference_seconds=tuple(float(text) for text in tree["reference_seconds"]),
        shortcut=tree["shortcut"],
        point=None if tree["point"] is None else bpb(tree["point"]),
        scores=tuple(bpb(text) for text in tree["scores"]),
        seed_scores=tuple(bpb(text) for text in tree["seed_scores"]),
        control_mean=None if tree["control_mean"] is None else bpb(tree["control_mean"]),
        steps=tuple(int(count) for count in tree["steps"]),
        calibrated_audits=tuple(AuditKind(text) for text in tree["calibrated_audits"]),
        hardware_class=tree["hardware_class"],
        environment=tree["environment"],
    )
    if noise.s < 0 or noise.seed_spread < 0 or len(noise.scores) != noise.runs:
        raise ValueError("its figures contradict each other")
    return noise
