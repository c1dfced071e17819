"""Honest variants: how good they truly are, and what the verifier says of them.

"Truly better" is measured, not assumed: control and variant run in turn, a few times, beside and apart from
the session that judges. What must follow from it:

- better by three s and by one and a half of m, with two standard errors to spare: ``reproduced``;
- not better, with two standard errors to spare: not ``reproduced``;
- in between: either.

Never ``refuted``, never stopped by the gate, never unsupported, never without a model. ``undecided`` for
noise is no false alarm, and no success either: it is shown as what it is.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Final

from tests.attacks.court import SEED, Court
from tests.attacks.load import Variant
from verifier.model import Outcome, Reason, Role, RunRecord, Verdict
from verifier.verdict.rule import Test

TRUTH_RUNS: Final = 3
"""Pairs from which the true gain of a variant is measured, apart from its session's."""
BETTER: Final = 3.0
"""Multiples of s from which a gain must be found (the simulation's power is stated for three)."""
ROOM: Final = 1.5
"""Multiples of m: where seeds spread more than s, m is more than two s, and so is what must be found."""
SPARE: Final = 2.0
"""Standard errors to spare."""

_NOISE: Final = frozenset({Reason.TOO_NOISY, Reason.MORE_PAIRS_NEEDED, Reason.CONTROL_FAILED})
_ALARMS: Final = frozenset({Reason.GATE, Reason.UNSUPPORTED, Reason.RUN_WITHOUT_MODEL, Reason.UNREPEATED})


@dataclass(frozen=True)
class Truth:
    """The true gain of a variant, in bits per byte, and its standard error."""

    gain: float
    error: float


@dataclass(frozen=True)
class Judged:
    """An honest variant, its true gain and its verdict."""

    variant: Variant
    truth: Truth
    s: float
    m: float
    verdict: Verdict

    @property
    def expected(self) -> str:
        sure = SPARE * self.truth.error
        if self.truth.gain - sure >= max(BETTER * self.s, ROOM * self.m):
            return "reproduced"
        if self.truth.gain + sure <= 0.25 * self.m:
            return "unimproved"
        return "either"

    @property
    def undecided_for_noise(self) -> bool:
        return self.verdict.outcome is Outcome.UNDECIDED and self.verdict.reason in _NOISE

    @property
    def false_alarm(self) -> bool:
        """An honest miner is harmed: called a cheat, refused, or not paid for what is truly better."""
        if self.verdict.outcome is Outcome.REFUTED or self.verdict.reason in _ALARMS:
            return True
        return self.expected == "reproduced" and self.verdict.outcome is Outcome.UNIMPROVED

    @property
    def miss(self) -> bool:
        """Paid for nothing."""
        return self.expected == "unimproved" and self.verdict.outcome is Outcome.REPRODUCED


def judge_honest(court: Court, variant: Variant, folder: Path, *, truth_runs: int = TRUTH_RUNS) -> Judged:
    """Measure a variant's true gain, then judge it as a validator does."""
    files = variant.files()
    truth = measure(court, files, folder / "truth", truth_runs)
    verdict = court.try_honest(files, folder / "session")
    m = float(Test.of(court.noise).m)
    return Judged(variant, truth, float(court.noise.s), m, verdict)


def measure(court: Court, files: dict[str, bytes], folder: Path, pairs: int) -> Truth:
    """The mean paired gain: the smaller one of validation and fresh rows, without any rule."""
    runner = copy.copy(court.runner)

    def run(number: int, files: dict[str, bytes], name: str) -> RunRecord:
        place = folder / f"{name}-{number}"
        return runner.run(Role.BASELINE, files, run_folder=place, deadline_seconds=None, seed=SEED)

    gains = []
    for number in range(pairs):
        control, candidate = run(number, {}, "control"), run(number, files, "variant")
        if control.validation is None or candidate.validation is None:
            return Truth(-math.inf, 0.0)
        gains.append(
            (
                float(control.validation - candidate.validation),
                float((control.fresh or 0) - (candidate.fresh or 0)),
            )
        )
    gain = min(mean(column) for column in zip(*gains, strict=True))
    # The calibrated noise, not the spread of three figures.
    spread = float(court.noise.point or court.noise.s)
    return Truth(gain, spread * math.sqrt(2 / pairs))
