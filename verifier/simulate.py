"""A simulated machine: a public seam for tests.

- ``SimRunner`` satisfies ``verifier.session.Runner``; it trains nothing and draws scores from a seeded
  generator, with noise, drift, contamination and faults as asked.
- The rule's error rates come from ``verifier.campaign``, which judges many proposals at once.

::

    runner = SimRunner(Machine(noise=0.01), gains={"better": 0.05}, seed=1)
    verdict = judge(runner, noise, {}, {"train.py": b"better"}, seed=b"…", settings=settings)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from armlx_chain.errors import VerifierFault
from verifier.model import Audit, AuditKind, Bpb, Ending, Role, RunRecord, bpb


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
