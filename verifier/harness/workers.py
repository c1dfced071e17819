"""The threads that turn an evaluator's answers into figures, block by block.

- A block of logits is copied into memory of the thread's own, and whatever is computed is computed from that
  copy: an evaluator that changes its answer while it is read changes nothing that was read.
- A figure depends neither on the number of threads nor on which of them computed it.
- A thread holds one block; beside it only the logits that probes will be compared with are kept.

NumPy gives the interpreter free while it computes, but a block is a dozen short calls: beyond a few threads
they wait for the interpreter more than they compute. Larger problems go to :mod:`verifier.harness.processes`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Protocol, Self

import numpy as np

from verifier.harness.probes import block_movement
from verifier.harness.scoring import Doubles, Floats, Tokens, blocks, token_losses

MAX_THREADS: Final = 16


class Source(Protocol):
    """Logits of a batch, in the evaluator's own memory."""

    @property
    def outputs(self) -> int: ...

    def read(self, position: int, into: Floats) -> None: ...


class Workers:
    """A pool of threads with a block of memory each.

    Args:
        threads: How many; by default as many as there are processors for this process.
    """

    def __init__(self, threads: int | None = None) -> None:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self._pool = ThreadPoolExecutor(max(1, min(threads or available or 1, MAX_THREADS)))
        self._own = threading.local()

    def score(
        self, answer: Source, targets: Tokens, keep: Sequence[tuple[int, int]]
    ) -> tuple[Doubles, list[Floats]]:
        """Nats of every target, and the logits before some positions.

        Args:
            targets: Shape (rows, length).
            keep: Row and position for each of the logits to be kept.

        Returns:
            Losses of shape (rows, length); for each of ``keep`` the logits, shape (position, outputs).

        Raises:
            LogitsNotFinite: if a logit is infinite or not a number.
            ModelUnsupported: the answer is gone.
        """
        rows, length = targets.shape
        losses = np.empty(rows * length, dtype=np.float64)
        kept: list[Floats] = [np.empty((position, answer.outputs), dtype=np.float32) for _, position in keep]
        wanted = [
            (row * length, row * length + position, own)
            for (row, position), own in zip(keep, kept, strict=True)
        ]
        flat = targets.reshape(-1)

        def work(start: int, stop: int) -> None:
            logits = self._block(answer, start, stop)
            losses[start:stop] = token_losses(logits, flat[start:stop])
            for first, end, own in wanted:
                low, high = max(start, first), min(stop, end)
                if low < high:
                    own[low - first : high - first] = logits[low - start : high - start]

        self._each(work, blocks(0, rows * length, answer.outputs))
        return losses.reshape(rows, length), kept

    def compare(self, answer: Source, length: int, originals: Sequence[Floats]) -> list[float]:
        """How far the log-probabilities of each row's first positions lie from the original's, in nats.

        Args:
            originals: One array of shape (positions, outputs) for each of the batch's first rows.

        Raises:
            LogitsNotFinite, ModelUnsupported: as in ``score``.
        """
        largest = [0.0] * len(originals)
        lock = threading.Lock()

        def work(start: int, stop: int) -> None:
            row, first = divmod(start, length)
            moved = block_movement(
                originals[row][first : first + stop - start], self._block(answer, start, stop)
            )
            with lock:
                largest[row] = max(largest[row], moved)

        self._each(
            work,
            (
                block
                for row, original in enumerate(originals)
                for block in blocks(row * length, row * length + len(original), answer.outputs)
            ),
        )
        return largest

    def copy(self, answer: Source, positions: int) -> None:
        """Copy the logits of the first positions and look at none: what the hand-over alone costs."""

        def work(start: int, stop: int) -> None:
            self._block(answer, start, stop)

        self._each(work, blocks(0, positions, answer.outputs))

    @property
    def cpu_seconds(self) -> float:
        """Processor time outside this process: none."""
        return 0.0

    def _block(self, answer: Source, start: int, stop: int) -> Floats:
        """A copy of the thread's own, overwritten by its next."""
        size = (stop - start) * answer.outputs
        memory: Floats | None = getattr(self._own, "memory", None)
        if memory is None or memory.size < size:
            memory = self._own.memory = np.empty(size, dtype=np.float32)
        block: Floats = memory[:size].reshape(stop - start, answer.outputs)
        answer.read(start, block)
        return block

    def _each(self, work: Callable[[int, int], None], parts: Iterable[tuple[int, int]]) -> None:
        """All of them, and only then the first failure in their order."""
        futures = [self._pool.submit(work, start, stop) for start, stop in parts]
        problems = [future.exception() for future in futures]
        for problem in problems:
            if problem is not None:
                raise problem

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown()
