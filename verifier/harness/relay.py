"""Several evaluators in the place of one: batches go round, answers come back in order.

Where handing logits over takes longer than scoring them (CUDA: some 5 GB/s a process), two processes side by
side are faster than one. Each has the same graph and sees nothing of the others; what a batch scores does not
depend on which of them answers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from armlx_chain.errors import ModelUnsupported
from verifier.harness.evaluator import PARTS, Answer, Evaluator
from verifier.harness.primitives import ALLOWED
from verifier.harness.scoring import Tokens

Reading = tuple[tuple[str, ...], int]
"""Names of a graph's primitives, and its number of outputs."""


class Relay:
    """Evaluators that take turns.

    Args:
        evaluators: One or more, all started already, so that they start at the same time.
    """

    def __init__(self, evaluators: Sequence[Evaluator]) -> None:
        if not evaluators:
            raise RuntimeError("a relay has at least one evaluator")
        self._all = tuple(evaluators)
        self._submitted = self._answered = self._released = 0

    @property
    def room(self) -> int:
        """Batches that can be under way at once."""
        return PARTS * len(self._all)

    def load(self, graph: bytes | bytearray, allowed: frozenset[str] = ALLOWED) -> Reading:
        """Hand the graph to all of them.

        Raises:
            ModelUnsupported: as one evaluator does, or if two of them read the graph differently.
            VerifierFault: one of them did not start.
        """
        readings = {(evaluator.load(graph, allowed), evaluator.outputs) for evaluator in self._all}
        if len(readings) > 1:
            raise ModelUnsupported("Two evaluators read the same graph differently.")
        return readings.pop()

    def submit(self, tokens: Tokens) -> None:
        """Send one batch to the next in turn."""
        self._turn(self._submitted).submit(tokens)
        self._submitted += 1

    def answer(self) -> Answer:
        """The logits of the oldest batch not yet fetched.

        Raises:
            ModelUnsupported: as ``Evaluator.answer``.
        """
        found = self._turn(self._answered).answer()
        self._answered += 1
        return found

    def release(self) -> None:
        """The oldest answer has been read."""
        self._turn(self._released).release()
        self._released += 1

    @property
    def cpu_seconds(self) -> float:
        return sum(evaluator.usage().cpu_seconds for evaluator in self._all)

    @property
    def peak_memory_bytes(self) -> int:
        """The largest peak of any of them."""
        return max(evaluator.usage().peak_memory_bytes for evaluator in self._all)

    def _turn(self, count: int) -> Evaluator:
        return self._all[count % len(self._all)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.ExitStack() as stack:
            for evaluator in self._all:
                stack.callback(evaluator.close)
