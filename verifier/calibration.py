"""How noisy a project is on this machine: measured, kept, and thrown away when the environment changes.

- Control runs are runs of the *unmodified snapshot*, all with one session seed, so that they differ by
  nothing but the machine. s is the upper 80 percent bound of their standard deviation, never the point
  estimate, and the larger of that of validation and of fresh scores.
- Seed runs differ from them by the one number ``verifier.reseed`` replaces.
- The rule demands 20 control runs and 8 seed runs. Fewer are a shortcut: it must be asked for by name, it is
  written into the result, and every report shows it.
- Runs are compared in their order. A *drift* (a slope that its standard error does not explain) is said
  plainly; it cannot hide, because s is the spread about the mean and never about a line: whatever moved the
  scores during the calibration makes s larger, and with it the gain that a candidate must show.
- The first run finds cold caches. It counts for nothing but the figure that says so; deadlines and noise come
  from warm runs alone.

::

    plan = Plan(run_folder=folder, hardware_class=machine.hardware_class, environment=facts.digest)
    measured = measure(runner, snapshot["train.py"], plan=plan, seed=seed, kept=KeptRuns.open(...))
    save(folder, project, measured.noise, cold_seconds=measured.cold_seconds)
"""

from __future__ import annotations

import math
import shutil
import statistics as basic
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final, Protocol

from armlx_chain.errors import UsageError, VerifierFault
from verifier.model import AuditKind, Bpb, Ending, Noise, Role, RunRecord, bpb
from verifier.reseed import with_seed
from verifier.session import Progress, ProgressCallback, Runner
from verifier.verdict.case import passes
from verifier.verdict.constants import CALIBRATION_RUNS, DRIFT_CONFIDENCE, REFERENCE_RUNS, SEED_RUNS
from verifier.verdict.statistics import mean, standard_deviation, upper_bound

LEAST_RUNS: Final = 6
"""Fewer control runs bound nothing: from six, the upper bound is already 1.46 times the estimate."""
FIRST_SEED: Final = 1_000
"""Seed runs take this seed and the following ones; programs tend to use small ones themselves."""
DISCARDS: Final = 3
"""Disturbed runs that are measured again before the calibration gives up."""
_MODEL: Final = "model.mlxfn"
_LEAST_FOR_DRIFT: Final = 4
_MINUTES_FROM: Final = 100.0


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


class Kept(Protocol):
    """Finished runs of a calibration, so that one that was cut off goes on where it stopped."""

    def find(self, label: str) -> RunRecord | None:
        """The run of this label, if it was finished earlier under the same conditions."""
        ...

    def keep(self, label: str, record: RunRecord) -> None:
        """A run was finished, undisturbed and with a model."""
        ...


@dataclass(frozen=True, slots=True)
class Measured:
    """What a calibration found.

    Attributes:
        cold_seconds: Start to model of the first run, before any cache was warm.
    """

    noise: Noise
    cold_seconds: tuple[float, ...]


def measure_noise(
    runner: Runner, train: bytes, *, plan: Plan, seed: bytes, progress: ProgressCallback = _silent
) -> Noise:
    """``measure`` without what a cold start took, and without keeping runs."""
    return measure(runner, train, plan=plan, seed=seed, progress=progress).noise


def measure(
    runner: Runner,
    train: bytes,
    *,
    plan: Plan,
    seed: bytes,
    progress: ProgressCallback = _silent,
    kept: Kept | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Measured:
    """Measure a project's noise on this machine.

    Args:
        train: The snapshot's ``plan.train_path``, in which the seed is replaced for the seed runs.
        seed: Fixes probes and fresh rows, the same for every run.
        kept: Finished runs of this very calibration that need not be measured again.

    Raises:
        UsageError: if the plan is weaker than the rule and does not say so.
        VerifierFault: if the snapshot does not run here, or the machine is too disturbed.
    """
    plan.check()
    lab = _Lab(runner, plan, seed, progress, kept, clock)
    warm_ups = [f"warm-up-{number + 1:02d}" for number in range(plan.warm_up)]
    controls = [f"control-{number + 1:02d}" for number in range(plan.runs)]
    seeds = [f"seed-{number + 1:02d}" for number in range(plan.seed_runs)]
    lab.expect([*controls, *seeds], beforehand=len(warm_ups))
    known = [kept.find(label) for label in warm_ups] if kept is not None else []
    cold = [lab.warm_up(label) for label in warm_ups] if lab.waits_for([*controls, *seeds]) else []
    records = [lab.run(label, {}) for label in controls]
    seeded = [
        lab.run(label, {plan.train_path: with_seed(train, FIRST_SEED + number)})
        for number, label in enumerate(seeds)
    ]
    first = [record for record in known if record is not None] or cold
    seconds = tuple(record.seconds_to_graph for record in first if record.seconds_to_graph is not None)
    return Measured(noise_from(records, seeded, plan=plan), seconds)


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


@dataclass(frozen=True, slots=True)
class Drift:
    """How the scores moved along the order of the runs.

    Attributes:
        slope: Bits per byte from one run to the next, by least squares.
        error: Its standard error.
        significant: Whether the slope is larger than its error explains (``DRIFT_CONFIDENCE``, two-sided).
    """

    slope: float
    error: float
    significant: bool


def drift_of(scores: Sequence[Decimal]) -> Drift | None:
    """The drift of these scores in their order; ``None`` for fewer than four."""
    count = len(scores)
    if count < _LEAST_FOR_DRIFT:
        return None
    values, centre = [float(score) for score in scores], (count - 1) / 2
    middle, width = basic.fmean(values), sum((index - centre) ** 2 for index in range(count))
    slope = sum((index - centre) * (value - middle) for index, value in enumerate(values)) / width
    rest = sum((value - middle - slope * (index - centre)) ** 2 for index, value in enumerate(values))
    error = math.sqrt(rest / (count - 2) / width)
    return Drift(slope, error, abs(slope) > t_quantile(DRIFT_CONFIDENCE, count - 2) * error)


def t_quantile(confidence: float, degrees: int) -> float:
    """Two-sided quantile of Student's t by its expansion in the normal one (Abramowitz and Stegun, 26.7.5).

    Within two percent from four degrees of freedom on; for two and three it is too small, never too large.
    """
    z = basic.NormalDist().inv_cdf((1 + confidence) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / math.pow(degrees, power) for power, term in enumerate(terms, start=1))


class _Lab:
    """Runs the snapshot, and again where the machine was disturbed."""

    def __init__(
        self,
        runner: Runner,
        plan: Plan,
        seed: bytes,
        progress: ProgressCallback,
        kept: Kept | None,
        clock: Callable[[], float],
    ) -> None:
        self._runner = runner
        self._plan = plan
        self._seed = seed
        self._progress = progress
        self._kept = kept
        self._clock = clock
        self._discarded = 0
        self._number = 0
        self._found: dict[str, RunRecord] = {}
        self._left = 0
        self._took: list[float] = []

    def expect(self, labels: Sequence[str], *, beforehand: int) -> None:
        """What is going to be asked for; says what need not be measured again."""
        if self._kept is not None:
            found = {label: self._kept.find(label) for label in labels}
            self._found = {label: record for label, record in found.items() if record is not None}
        self._left = len(labels) - len(self._found)
        self._left += beforehand if self._left else 0
        if self._found:
            missing = len(labels) - len(self._found)
            text = f"{len(self._found)} of {len(labels)} runs were finished before; {missing} are left."
            self._progress(Progress(text, 0))

    def waits_for(self, labels: Sequence[str]) -> bool:
        """Whether any of these runs is not known yet."""
        return any(label not in self._found for label in labels)

    def warm_up(self, label: str) -> RunRecord:
        """A run for warm caches: made anew by every process that measures, kept only the first time."""
        if self._kept is None:
            return self._measure(label, {})
        if self._kept.find(label) is not None:
            return self._measure(f"{label}-again", {})  # in a folder of its own: the first one's log stays
        record = self._measure(label, {})
        self._kept.keep(label, record)
        return record

    def run(self, label: str, files: Mapping[str, bytes]) -> RunRecord:
        """One undisturbed run that ended with a model.

        Raises:
            VerifierFault: if the snapshot ends without one, or after too many disturbed runs.
        """
        known = self._found.get(label)
        if known is not None:
            return known
        record = self._measure(label, files)
        if self._kept is not None:
            self._kept.keep(label, record)
        return record

    def _measure(self, label: str, files: Mapping[str, bytes]) -> RunRecord:
        while True:
            self._number += 1
            began = self._clock()
            record = self._once(label, files)
            if not record.disturbances:
                self._took.append(self._clock() - began)
                self._left -= 1
                score = f"{label} ended, {record.validation} bits per byte; {self._time_left()}."
                self._progress(Progress(score, self._number, Role.BASELINE, record))
                return record
            self._discard(label, record)

    def _once(self, label: str, files: Mapping[str, bytes]) -> RunRecord:
        folder = self._plan.run_folder / f"{label}-{self._number:03d}"
        if self._kept is not None:
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off
        self._progress(Progress(f"{label} starts.", self._number, Role.BASELINE))
        record = self._runner.run(
            Role.BASELINE, files, run_folder=folder, deadline_seconds=None, seed=self._seed
        )
        (folder / _MODEL).unlink(missing_ok=True)  # nobody asks a calibration for its models
        if record.ending is not Ending.GRAPH:
            raise VerifierFault(
                f"The unmodified snapshot ended without a model ({record.ending}): {record.detail}",
                next_step="Repair the environment; no candidate can be judged here.",
            )
        return record

    def _time_left(self) -> str:
        if not self._left:
            return "the last"
        seconds = self._left * basic.median(self._took)
        shown = f"{seconds:.0f} s" if seconds < _MINUTES_FROM else f"{seconds / 60:.0f} min"
        return f"{self._left} left, about {shown}"

    def _discard(self, label: str, record: RunRecord) -> None:
        self._discarded += 1
        causes = "; ".join(record.disturbances)
        self._progress(Progress(f"{label} is discarded: {causes}.", self._number, Role.BASELINE, record))
        if self._discarded > DISCARDS:
            raise VerifierFault(
                f"This machine is too disturbed to be calibrated; the last run: {causes}.",
                next_step="Let it cool down, stop other work, and calibrate again.",
            )
