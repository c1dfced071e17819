"""A simulated machine: a public seam for tests, and the campaign that states the rule's error rates.

- ``SimRunner`` satisfies ``verifier.session.Runner``; it trains nothing and draws scores from a seeded
  generator, with noise, drift, contamination and faults as asked.
- ``operating_characteristics`` runs the same rule on many proposals at once with numpy. That it agrees with
  ``verifier.verdict.rule`` on the same samples is a test, not a hope.

::

    runner = SimRunner(Machine(noise=0.01), gains={"better": 0.05}, seed=1)
    verdict = judge(runner, noise, {}, {"train.py": b"better"}, seed=b"…", settings=settings)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from armlx_chain.errors import VerifierFault
from verifier.model import Audit, AuditKind, Bpb, Ending, Role, RunRecord, bpb
from verifier.verdict.constants import (
    ACCEPT_AT,
    CLEARLY_WORSE,
    CLIP_SIGMAS,
    FIRST_LIMIT,
    MINIMUM_PAIRS,
    REJECT_AT,
)
from verifier.verdict.rule import Decision
from verifier.verdict.statistics import spread_bound

Floats = NDArray[np.float64]

CONTAMINATED_BY: Final = 10.0
"""A contaminated run is worse by this many s (the specification's simulations)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """How a simulated machine behaves. All figures in bits per byte, per run.

    Attributes:
        level: What the control scores without noise.
        noise: Standard deviation of one run.
        candidate_noise: The candidate's own, where its author made it larger; ``None`` for the same.
        fresh_noise: Extra noise of the score on fresh rows, alike for both runs of a pair.
        drift: By how much each run is worse than the one before.
        contamination: Probability that something else on the machine spoils a run.
        contaminated_by: How much worse a spoiled run is.
    """

    level: float = 2.0
    noise: float = 0.01
    candidate_noise: float | None = None
    fresh_noise: float = 0.0
    drift: float = 0.0
    contamination: float = 0.0
    contaminated_by: float = 0.1


def clean_audits() -> tuple[Audit, ...]:
    """What an honest run's audits look like."""
    return (
        Audit(AuditKind.CAUSALITY, True, {"probes": "64", "violations": "0"}),
        Audit(AuditKind.FRESH_GAP, True, {"gap": "0.002", "z": "0.4"}),
    )


def record(
    role: Role,
    *,
    ending: Ending = Ending.GRAPH,
    validation: Bpb | None = None,
    fresh: Bpb | None = None,
    audits: tuple[Audit, ...] | None = None,
    run_folder: Path = Path("simulated"),
    disturbances: tuple[str, ...] = (),
    steps: int | None = None,
    seconds: float = 3.0,
) -> RunRecord:
    """A run record as a harness would write it, for simulations and tests."""
    scored = ending is Ending.GRAPH
    return RunRecord(
        role=role,
        ending=ending,
        detail="A model was handed over." if scored else f"The run ended: {ending}.",
        log_path=run_folder / "run.log",
        log_sha256="0" * 64,
        wall_seconds=seconds + 1,
        cpu_seconds=seconds + 1,
        peak_memory_bytes=1 << 28,
        clock="cpu",
        seconds_to_graph=seconds if scored else None,
        validation=validation if scored else None,
        fresh=fresh if scored else None,
        audits=(clean_audits() if scored else ()) if audits is None else audits,
        steps=steps,
        graph_sha256="1" * 64 if scored else None,
        disturbances=disturbances,
    )


Twist = Callable[[RunRecord, int], RunRecord]
"""Changes what a run yields; gets the record and how many runs of its program came before."""


@dataclass
class SimRunner:
    """A runner that draws scores instead of training.

    Attributes:
        machine: Its behaviour.
        gains: By how much a program is better than the control, by the text of its ``train.py``.
        twists: Applied to the records of a program, by the text of its ``train.py``.
        seed: Of the generator.
        fault_at: Number of the run (from 0) that fails on the verifier's own side.
        calls: (role, run folder's name, seed) of every run, in order.
    """

    machine: Machine = field(default_factory=Machine)
    gains: Mapping[str, float] = field(default_factory=dict)
    twists: Mapping[str, Twist] = field(default_factory=dict)
    seed: int = 0
    fault_at: int | None = None
    calls: list[tuple[Role, str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._draw = np.random.default_rng(self.seed)
        self._runs: dict[str, int] = {}

    def run(
        self,
        role: Role,
        files: Mapping[str, bytes],
        *,
        run_folder: Path,
        deadline_seconds: float | None,
        seed: bytes,
    ) -> RunRecord:
        """One simulated run.

        Raises:
            VerifierFault: at the run named by ``fault_at``.
        """
        number = len(self.calls)
        self.calls.append((role, run_folder.name, seed))
        if number == self.fault_at:
            raise VerifierFault("The simulated sandbox broke.")
        program = files.get("train.py", b"").decode()
        validation = self._score(role, program, number)
        shift = np.random.default_rng(list(seed)).normal(0.0, 1.0) * self.machine.fresh_noise
        result = record(
            role, validation=bpb(validation), fresh=bpb(validation + shift), run_folder=run_folder
        )
        before = self._runs.get(program, 0)
        self._runs[program] = before + 1
        twist = self.twists.get(program)
        return result if twist is None else twist(result, before)

    def _score(self, role: Role, program: str, number: int) -> float:
        machine = self.machine
        noise = machine.noise
        if role is Role.CANDIDATE and machine.candidate_noise is not None:
            noise = machine.candidate_noise
        score = machine.level - self.gains.get(program, 0.0) + self._draw.normal(0.0, noise)
        score += machine.drift * number
        if self._draw.random() < machine.contamination:
            score += machine.contaminated_by
        return float(score)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the campaign, in units of s.

    Attributes:
        gain: True improvement.
        noise: True noise of one run.
        candidate_noise: Factor on the candidate's noise, made by its author.
        drift: Change of the machine's level over the sixteen runs of eight pairs.
        contamination: Probability that a run is worse by ten s.
        m: The test's smallest gain.
    """

    name: str
    gain: float = 0.0
    noise: float = 1.0
    candidate_noise: float = 1.0
    drift: float = 0.0
    contamination: float = 0.0
    m: float = 2.0


@dataclass(frozen=True, slots=True)
class Characteristics:
    """Shares of simulated proposals, and the mean number of pairs."""

    accepted: float
    unimproved: float
    undecided: float
    pairs: float


def draw_gains(cell: Cell, proposals: int, draw: np.random.Generator, *, pairs: int = FIRST_LIMIT) -> Floats:
    """Paired differences of many proposals, one row each, in units of s, runs in ABBA order."""
    shape = (proposals, pairs)
    control = draw.normal(0.0, cell.noise, shape)
    candidate = draw.normal(-cell.gain, cell.noise * cell.candidate_noise, shape)
    for runs in (control, candidate):
        runs += CONTAMINATED_BY * (draw.random(shape) < cell.contamination)
    steps = cell.drift * np.arange(2 * pairs) / (2 * pairs - 1)
    index = np.arange(pairs)
    control += steps[2 * index + index % 2]
    candidate += steps[2 * index + 1 - index % 2]
    return np.asarray(control - candidate, dtype=np.float64)


def decide_many(gains: Floats, *, s: float, m: float) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """``rule.assess`` on every row at once, in floating point.

    Returns:
        The decision of each row (a value of ``Decision``) and the number of pairs it used.
    """
    rows, limit = gains.shape
    decisions = np.full(rows, Decision.EXHAUSTED.value, dtype="U16")
    used = np.full(rows, limit)
    open_rows = np.ones(rows, dtype=bool)
    sigma = m / 2
    clipped = np.clip(gains, -CLIP_SIGMAS * sigma, CLIP_SIGMAS * sigma)
    llr = np.cumsum(m * (clipped - sigma) / (2 * sigma * sigma), axis=1)
    for n in range(1, limit + 1):
        here = llr[:, n - 1]
        rejected = here <= float(REJECT_AT)
        accepted = (here >= float(ACCEPT_AT)) & (n >= MINIMUM_PAIRS)
        ends = rejected | accepted | (n == limit)
        worse = gains[:, 0] < -CLEARLY_WORSE * s if n == 1 else np.zeros(rows, dtype=bool)
        wide = np.zeros(rows, dtype=bool)
        if n >= 2:
            wide = gains[:, :n].std(axis=1, ddof=1) > float(spread_bound(bpb(s), n))
        for decision, mask in (
            (Decision.CLEARLY_WORSE, worse),
            (Decision.TOO_NOISY, ends & wide),
            (Decision.ACCEPT, accepted),
            (Decision.REJECT, rejected),
        ):
            hit = open_rows & mask
            decisions[hit] = decision.value
            used[hit] = n
            open_rows &= ~hit
    return decisions, used


def operating_characteristics(cell: Cell, proposals: int, *, seed: int) -> Characteristics:
    """How often the rule accepts, rejects and leaves open under the conditions of a cell."""
    gains = draw_gains(cell, proposals, np.random.default_rng(seed))
    decisions, used = decide_many(gains, s=1.0, m=cell.m)
    accepted = float(np.mean(decisions == Decision.ACCEPT.value))
    refused = (Decision.REJECT.value, Decision.CLEARLY_WORSE.value)
    unimproved = float(np.mean(np.isin(decisions, refused)))
    return Characteristics(accepted, unimproved, 1.0 - accepted - unimproved, float(np.mean(used)))


CELLS: Final = (
    Cell("no-op"),
    Cell("no-op, 5 % of runs worse by 10s", contamination=0.05),
    Cell("no-op, drift of 4s", drift=4.0),
    Cell("no-op, true noise 1.2s", noise=1.2),
    Cell("no-op, candidate's noise tripled", candidate_noise=3.0),
    Cell("gain 2s", gain=2.0),
    Cell("gain 3s", gain=3.0),
    Cell("gain 3s, drift of 4s", gain=3.0, drift=4.0),
    Cell("gain 3s, true noise 1.2s", gain=3.0, noise=1.2),
    Cell("gain 3s, 5 % of runs worse by 10s", gain=3.0, contamination=0.05),
    Cell("gain of 3 true sigmas, s 1.25 times too large", gain=2.4, noise=0.8),
    Cell("gain 5s", gain=5.0),
    Cell("one s worse", gain=-1.0),
)
"""The conditions the rule was adopted under, and some more."""
