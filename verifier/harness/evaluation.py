"""The trusted evaluation of one graph.

1. Two evaluators start, sharing nothing: one sees real rows, the other only altered ones.
2. Both load the graph and list its primitives; what is not on the list is refused before anything runs.
3. Validation and fresh rows, in one drawn order, go through the first, eight at a time.
4. The probes of these rows go through the second, mixed anew, and are compared with what the first said of
   the originals. At most some three dozen parts of rows are kept (64 MiB a row at full size).
5. Softmax, byte table, sums and comparisons are computed by the verifier itself, on as many processors as
   there are: by processes of its own, or by threads where there is little to do.

The caller owes: rows and byte table from the pinned benchmark, the seed of the session, the limits.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from armlx_chain.errors import ModelUnsupported
from verifier.harness.accelerator import KernelCache
from verifier.harness.draw import Draw
from verifier.harness.evaluator import GRAPH_ROWS, Answer, Evaluator, EvaluatorLimits
from verifier.harness.gap import GapScores
from verifier.harness.inside import Interpreter, Kernels
from verifier.harness.primitives import ALLOWED
from verifier.harness.probes import Probe, ProbeTally, draw_probes
from verifier.harness.processes import Scoring, scoring_for
from verifier.harness.relay import Relay
from verifier.harness.scoring import Rows, RowScores, Tokens, counted_nats
from verifier.model import Audit, AuditKind
from verifier.sandbox.interface import Sandbox

log = logging.getLogger(__name__)

Item = TypeVar("Item")
DEFAULT_PROBES: Final = 768
"""At this number the expected undetected gain is below 0.002 bpb (trusted evaluation, section 2)."""
_POOL: Final = 2 * GRAPH_ROWS
"""Probes that must wait before a batch of them is drawn; with them wait the originals' logits."""


@dataclass(frozen=True, slots=True)
class Task:
    """What every graph of a session is asked.

    Attributes:
        validation: The benchmark's own rows.
        fresh: Rows outside the benchmark, drawn from a pool; ``fresh_rows`` are their numbers in it.
        table: Bytes that each token stands for.
    """

    validation: Rows
    fresh: Rows
    fresh_rows: tuple[int, ...]
    table: NDArray[np.int32]
    seed: bytes
    probes: int = DEFAULT_PROBES


@dataclass(frozen=True, slots=True)
class Cost:
    """What an evaluation took.

    Attributes:
        seconds: Wall time of all of it but the end of the two processes.
        memory_bytes: The larger peak of the two processes.
        graph_bytes: Size of the graph.
        start_seconds: Of the time, until both processes had the graph.
        waiting_seconds: Of the time, how long the verifier waited for answers.
        cpu_seconds: Processor time of the two processes after that start.
        scoring_cpu_seconds: Processor time of the verifier's own further processes, their start included.
    """

    seconds: float
    memory_bytes: int
    graph_bytes: int
    start_seconds: float = 0.0
    waiting_seconds: float = 0.0
    cpu_seconds: float = 0.0
    scoring_cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the verifier found out about one graph."""

    scores: GapScores
    causality: Audit
    primitives: tuple[str, ...]
    cost: Cost


@dataclass(frozen=True, slots=True)
class Crew:
    """How many processes answer side by side, for real rows and for probes. No score depends on it."""

    rows: int = 1
    probes: int = 1


@dataclass(frozen=True, slots=True)
class Evaluators:
    """Where and how evaluator processes run.

    Attributes:
        kernels: What is done with the evaluators' own kernel cache; ``FILL`` for the unmodified snapshot's
            graph alone.
    """

    sandbox: Sandbox
    interpreter: Interpreter
    limits: EvaluatorLimits = field(default_factory=EvaluatorLimits)
    allowed: frozenset[str] = ALLOWED
    crew: Crew = field(default_factory=Crew)
    kernels: Kernels = Kernels.NONE

    @property
    def cache(self) -> KernelCache | None:
        """The evaluators' own, where kernels are compiled at run time."""
        programs = self.interpreter.kernels
        return None if programs is None else programs.of_evaluators


def evaluate(
    graph: bytes | bytearray,
    task: Task,
    place: Evaluators,
    *,
    scoring: Callable[[], Scoring[Any]] | None = None,
) -> Evaluation:
    """Score and probe a graph.

    Args:
        scoring: Makes what computes; only measurements ask for something other than what suits the task.

    Raises:
        ModelUnsupported: the graph cannot be judged; ``LogitsNotFinite`` if it has no score.
        VerifierFault: an evaluator or a process of our own does not start, or one of ours dies.
    """
    started = time.monotonic()
    crew = place.crew
    # One evaluator fills; the others compile for themselves meanwhile.
    others = Kernels.READ if place.kernels is Kernels.FILL else place.kernels
    with (
        _keeping(place),
        (scoring or scoring_for(_logits(task)))() as scorer,  # first: it starts while the evaluators do
        _start(task, place, started, [place.kernels, *[others] * (crew.rows - 1)]) as first,
        _start(task, place, started, [others] * crew.probes) as second,
    ):
        names, outputs = first.load(graph, place.allowed)
        if (names, outputs) != second.load(graph, place.allowed):
            raise ModelUnsupported("Two evaluators read the same graph differently.")
        loaded, used = time.monotonic(), first.cpu_seconds + second.cpu_seconds
        passage = _Passage(task, first, second, scorer)
        passage.run()
        peak = max(first.peak_memory_bytes, second.peak_memory_bytes)
        now, used = time.monotonic(), first.cpu_seconds + second.cpu_seconds - used
        own = scorer.cpu_seconds
    cost = Cost(now - started, peak, len(graph), loaded - started, passage.waited, used, own)
    log.info(
        "a model of %d bytes was evaluated in %.1f s: loaded after %.1f s, %.1f s of waiting for answers,"
        " %.1f and %.1f processor seconds of evaluators and scoring",
        *(cost.graph_bytes, cost.seconds, cost.start_seconds, cost.waiting_seconds),
        *(cost.cpu_seconds, cost.scoring_cpu_seconds),
    )
    return Evaluation(passage.scores(), passage.audit(), names, cost)


def _logits(task: Task) -> int:
    """How many there are to look at, at least."""
    rows = len(task.validation) + len(task.fresh) + task.probes
    return rows * int(task.validation.inputs.shape[1]) * int(task.table.size)


@contextlib.contextmanager
def _keeping(place: Evaluators) -> Iterator[None]:
    """What was compiled for the unmodified snapshot's graph is kept once that graph was scored."""
    cache = place.cache
    if cache is None or place.kernels is not Kernels.FILL:
        yield
        return
    try:
        yield
    except BaseException:
        cache.drop()
        raise
    cache.keep()


def _start(task: Task, place: Evaluators, started: float, kernels: Sequence[Kernels]) -> Relay:
    interpreter = replace(place.interpreter, kernels=place.cache)
    with contextlib.ExitStack() as stack:
        evaluators = [
            stack.enter_context(
                Evaluator(
                    place.sandbox,
                    interpreter,
                    length=int(task.validation.inputs.shape[1]),
                    vocabulary=int(task.table.size),
                    limits=place.limits,
                    end_at=started + place.limits.seconds,
                    kernels=use,
                )
            )
            for use in kernels
        ]
        stack.pop_all()
        return Relay(evaluators)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A probe and what the first evaluator said about its original, before the probe's position."""

    probe: Probe
    original: Any  # as the scoring keeps it


class _Passage:
    """One pass of all rows and probes through the two evaluators, both at work at the same time."""

    def __init__(self, task: Task, first: Relay, second: Relay, scoring: Scoring[Any]) -> None:
        self._task, self._first, self._second, self._scoring = task, first, second, scoring
        self._inputs: Tokens = np.concatenate([task.validation.inputs, task.fresh.inputs])
        self._targets: Tokens = np.concatenate([task.validation.targets, task.fresh.targets])
        self._nats = np.zeros(len(self._inputs), dtype=np.float64)
        self._sizes = np.zeros(len(self._inputs), dtype=np.int64)
        self._probes: dict[int, list[Probe]] = {}
        self._tally = ProbeTally()
        self._mixing = Draw(task.seed, "probe-batches")
        self._pool: list[_Pending] = []
        self._under_way: deque[list[_Pending]] = deque()
        self.waited = 0.0

    def run(self) -> None:
        batches = list(_batches(Draw(self._task.seed, "row-order").permutation(len(self._inputs))))
        for probe in draw_probes(self._inputs, self._task.probes, Draw(self._task.seed, "probes")):
            self._probes.setdefault(probe.row, []).append(probe)
        for batch in batches[: self._first.room]:
            self._first.submit(self._inputs[_padded(batch)])
        for index, batch in enumerate(batches):
            self._score(batch, self._wait(self._first))
            self._first.release()
            following = index + self._first.room
            if following < len(batches):
                self._first.submit(self._inputs[_padded(batches[following])])
            self._probe(_POOL)
            while len(self._pool) >= _POOL + GRAPH_ROWS:
                self._probe(_POOL)  # many probes a row: what waits is kept, so it may not pile up
        while self._pool or self._under_way:
            self._probe(1)

    def _wait(self, evaluator: Relay) -> Answer:
        started = time.monotonic()
        answer = evaluator.answer()
        self.waited += time.monotonic() - started
        return answer

    def _score(self, batch: Sequence[int], answer: Answer) -> None:
        targets = self._targets[list(batch)]
        kept = [(place, probe) for place, row in enumerate(batch) for probe in self._probes.get(row, [])]
        losses, originals = self._scoring.score(answer, targets, [(place, p.position) for place, p in kept])
        for row, own, nats in zip(batch, targets, losses, strict=True):
            sizes = self._task.table[own]
            self._nats[row], self._sizes[row] = counted_nats(nats, sizes), int(sizes.sum(dtype=np.int64))
        self._pool += [_Pending(probe, own) for (_, probe), own in zip(kept, originals, strict=True)]

    def _probe(self, least: int) -> None:
        """Send off waiting probes if there are at least ``least``; compare the oldest of those under way."""
        while len(self._pool) >= least and len(self._under_way) < self._second.room:
            # A drawn mixture of at least two batches' rows: the neighbours are others than the original's.
            mixed = [self._pool[index] for index in self._mixing.permutation(len(self._pool))]
            chosen, self._pool = mixed[:GRAPH_ROWS], mixed[GRAPH_ROWS:]
            self._second.submit(np.stack(_padded([pending.probe.tokens for pending in chosen])))
            self._under_way.append(chosen)
        if not self._under_way:
            return
        answer, chosen = self._wait(self._second), self._under_way.popleft()
        moved = self._scoring.compare(answer, len(self._inputs[0]), [pending.original for pending in chosen])
        self._second.release()
        for pending, largest in zip(chosen, moved, strict=True):
            self._tally.add(pending.probe, largest)

    def scores(self) -> GapScores:
        count = len(self._task.validation)
        return GapScores(
            RowScores(self._nats[:count], self._sizes[:count]),
            RowScores(self._nats[count:], self._sizes[count:]),
            self._task.fresh_rows,
        )

    def audit(self) -> Audit:
        return Audit(AuditKind.CAUSALITY, self._tally.violations == 0, self._tally.figures())


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), GRAPH_ROWS):
        yield items[start : start + GRAPH_ROWS]


def _padded(batch: Sequence[Item]) -> list[Item]:
    """A full batch: a short one is filled with its own items again."""
    return [batch[index % len(batch)] for index in range(GRAPH_ROWS)]
