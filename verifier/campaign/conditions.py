"""How machines and candidates may behave: the conditions of the campaign, and runs drawn from them.

- Everything is in units of s, the calibrated upper bound of one run's noise. Where s is measured anew for
  every proposal, the unit is the true noise.
- A score is bits per byte: less is better, so a disturbed run lies higher.
- One set of runs serves all gains: a true gain only moves the candidate's scores.
- Voiding (the control's band, heat, sleep) is not simulated: every disturbance reaches the test.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from verifier.verdict.constants import CALIBRATION_RUNS, FIRST_LIMIT, LAST_LIMIT
from verifier.verdict.many import Floats
from verifier.verdict.statistics import upper_factor

CONTAMINATED_BY: Final = 10.0
"""A contaminated run is worse by this many s (the specification's simulations)."""

GAINS: Final = (-1.0, 0.0, 1.0, 2.0, 3.0, 5.0)
"""True improvements of the table."""

CURVE: Final = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)
"""True improvements of the plot's curves."""

LUCKY_RUNS: Final = 10
"""A lucky claim is the best of so many runs of the miner's own."""

_CHUNK: Final = 20_000


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition.

    Attributes:
        name: For people; unique.
        noise: True standard deviation of one run.
        candidate_noise: Factor on the candidate's noise, made by its author.
        drift: How much better the machine's level gets, steadily, over the sixteen runs of eight pairs; the
            same slope goes on beyond. That direction flatters whoever runs second.
        wander: Standard deviation of a random walk of the level, per run.
        heavy_tails: Runs are distributed as Student's t with three degrees of freedom, scaled to ``noise``.
        contamination: Probability that a run is worse by ten s.
        measured: s is not known: each proposal's machine estimates it from 20 control runs of its own.
        gains: True improvements that are simulated.
    """

    name: str
    noise: float = 1.0
    candidate_noise: float = 1.0
    drift: float = 0.0
    wander: float = 0.0
    heavy_tails: bool = False
    contamination: float = 0.0
    measured: bool = False
    gains: tuple[float, ...] = GAINS


NOMINAL: Final = Condition("nominal", gains=CURVE)
COMBINED: Final = Condition(
    "drift 4s, heavy tails, 5 % contaminated", drift=4.0, heavy_tails=True, contamination=0.05, gains=CURVE
)
THREE_TRUE_SIGMAS: Final = 2.4
"""Three sigmas of the true noise where s is 1.25 times too large."""

CONDITIONS: Final = (
    NOMINAL,
    Condition("drift of 1s", drift=1.0),
    Condition("drift of 2s", drift=2.0),
    Condition("drift of 4s", drift=4.0),
    Condition("level wanders by 1s a run", wander=1.0),
    Condition("heavy tails (t3)", heavy_tails=True),
    Condition("heavy tails (t3), noise 1.2s", heavy_tails=True, noise=1.2),
    Condition("5 % of runs worse by 10s", contamination=0.05),
    Condition("true noise 1.2s", noise=1.2),
    Condition("s 1.25 times too large", noise=0.8, gains=(*GAINS[:4], THREE_TRUE_SIGMAS, *GAINS[4:])),
    Condition("s measured from 20 runs", measured=True),
    Condition("s measured from 20 heavy-tailed runs", measured=True, heavy_tails=True),
    Condition("candidate's noise tripled", candidate_noise=3.0),
    COMBINED,
    Condition("the same, noise 1.2s", drift=4.0, heavy_tails=True, contamination=0.05, noise=1.2),
)


@dataclass(frozen=True, slots=True)
class Runs:
    """Scores of many proposals without their gains, one row each.

    Attributes:
        control, candidate: In the order ABBA, one column a pair.
        control_first, candidate_after: The same noises where all controls of eight pairs run first.
        record: The one run that the ledger's record is.
        claims: The miner's own runs of the candidate, on a machine like this one.
        s: What the rule takes for s.
        point: What it would take if it took the plain estimate from 20 control runs.
    """

    control: Floats
    candidate: Floats
    control_first: Floats
    candidate_after: Floats
    record: Floats
    claims: Floats
    s: Floats
    point: Floats

    def gains(self, gain: float) -> Floats:
        """Paired differences for a true gain."""
        return self.control - self.candidate + gain

    def gains_controls_first(self, gain: float) -> Floats:
        """Differences of the design that runs all controls before the first candidate."""
        return self.control_first - self.candidate_after + gain


def draw(condition: Condition, proposals: int, *, seed: int) -> Iterator[Runs]:
    """Runs of so many proposals, in chunks; the same seed gives the same runs."""
    generator = np.random.default_rng(seed)
    for start in range(0, proposals, _CHUNK):
        yield _draw(condition, min(_CHUNK, proposals - start), generator)


def _draw(condition: Condition, rows: int, generator: np.random.Generator) -> Runs:
    shape = (rows, LAST_LIMIT)
    control = _noise(condition, shape, generator)
    candidate = _noise(condition, shape, generator) * condition.candidate_noise
    control += _contamination(condition, shape, generator)
    candidate += _contamination(condition, shape, generator)
    level = _level(condition, rows, generator)
    pair = np.arange(LAST_LIMIT)
    early = np.arange(FIRST_LIMIT)
    calibration = _noise(condition, (rows, CALIBRATION_RUNS), generator)
    point = np.asarray(calibration.std(axis=1, ddof=1))
    return Runs(
        control=control + level[:, 2 * pair + pair % 2],
        candidate=candidate + level[:, 2 * pair + 1 - pair % 2],
        control_first=control[:, :FIRST_LIMIT] + level[:, early],
        candidate_after=candidate[:, :FIRST_LIMIT] + level[:, FIRST_LIMIT + early],
        record=_noise(condition, (rows,), generator),
        claims=_noise(condition, (rows, LUCKY_RUNS), generator) * condition.candidate_noise,
        s=point * upper_factor(CALIBRATION_RUNS) if condition.measured else np.ones(rows),
        point=point,
    )


def _noise(condition: Condition, shape: tuple[int, ...], generator: np.random.Generator) -> Floats:
    if condition.heavy_tails:
        # Student's t with three degrees of freedom has variance three.
        return generator.standard_t(3, shape) * (condition.noise / math.sqrt(3.0))
    return generator.standard_normal(shape) * condition.noise


def _contamination(
    condition: Condition, shape: tuple[int, ...], generator: np.random.Generator
) -> Floats | float:
    if not condition.contamination:
        return 0.0
    return np.where(generator.random(shape) < condition.contamination, CONTAMINATED_BY, 0.0)


def _level(condition: Condition, rows: int, generator: np.random.Generator) -> Floats:
    """The machine's level at each run of a session of 24 pairs."""
    slope = condition.drift / (2 * FIRST_LIMIT - 1)
    level = np.broadcast_to(-slope * np.arange(2.0 * LAST_LIMIT), (rows, 2 * LAST_LIMIT))
    if condition.wander:
        steps = generator.standard_normal((rows, 2 * LAST_LIMIT)) * condition.wander
        level = level + np.cumsum(steps, axis=1)
    return np.asarray(level)
