"""How the verifier's own figures scale with threads and with processes, on made logits in shared memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from verifier.hardware import usable_cores
from verifier.harness.evaluator import Answer
from verifier.harness.processes import Processes, Scoring
from verifier.harness.slate import Slate, write_at
from verifier.harness.workers import MAX_THREADS, Workers

LOGIT_BYTES = 4


@dataclass(frozen=True)
class Host:
    """Median wall and processor seconds of a batch, and of comparing it with what was kept of it."""

    what: str
    seconds: float
    cpu_seconds: float


def host_lines(rows: int, length: int, outputs: int, turns: int, cores: int | None) -> list[Host]:
    """For 1, 2, 4 ... threads and as many processes, up to ``cores`` or the processors there are.

    With it half of every second row is kept and compared: what a batch costs where half as many probes as
    rows are drawn, as at full size with fresh rows.
    """
    most = min(cores or usable_cores(), MAX_THREADS)
    counts = sorted({1, most, *(1 << power for power in range(most.bit_length()))})
    slate = Slate()
    try:
        slate.resize(LOGIT_BYTES * rows * length * outputs)
        generator = np.random.default_rng(5)
        for row in range(rows * length):
            logits = generator.standard_normal(outputs, dtype=np.float32)
            write_at(slate.fileno(), LOGIT_BYTES * row * outputs, logits)
        answer = Answer(slate, 0, outputs)
        targets = generator.integers(0, outputs, (rows, length)).astype(np.int32)
        lines, seen = [], []
        for name, make in (("threads", Workers), ("processes", Processes)):
            for count in counts:
                with make(count) as scoring:
                    line, losses = one(f"{name}: {count}", scoring, answer, targets, turns)
                lines.append(line)
                seen.append(losses)
    finally:
        slate.close()
    if not all(np.array_equal(losses, seen[0]) for losses in seen):
        raise SystemExit("threads and processes give different figures")
    return lines


def one(
    name: str, scoring: Scoring[Any], answer: Answer, targets: np.ndarray, turns: int
) -> tuple[Host, np.ndarray]:
    rows, length = targets.shape
    keep = [(row, length // 2) for row in range(max(1, rows // 2))]
    found = []
    for _ in range(1 + turns):  # in the first one everything is started
        wall, cpu = time.perf_counter(), time.process_time() + scoring.cpu_seconds
        losses, kept = scoring.score(answer, targets, keep)
        moved = scoring.compare(answer, length, kept)
        found.append((time.perf_counter() - wall, time.process_time() + scoring.cpu_seconds - cpu))
        if any(moved):
            raise SystemExit("a batch differs from itself")
    seconds, used = np.median(np.array(found[1:]), axis=0)
    return Host(name, float(seconds), float(used)), losses
