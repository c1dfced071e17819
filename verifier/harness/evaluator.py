"""Client of one evaluator process: a graph and token rows in, logits out.

Until the evaluator has said READY every failure is ours (``VerifierFault``). After that it has been given
a stranger's graph, and whatever goes wrong is the graph's (``ModelUnsupported``): a crash, an answer of the
wrong form, too much time or memory.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import TracebackType
from typing import Final, Self

import numpy as np

from armlx_chain.errors import ChannelError, ModelUnsupported, VerifierFault
from verifier.harness.channel import TEXT_LIMIT, Channel, Kind
from verifier.harness.inside import HARNESS, Interpreter, start_python
from verifier.harness.primitives import ALLOWED, check_graph_bytes, check_primitives
from verifier.harness.runlog import RunLog, harmless
from verifier.harness.scoring import Floats, Tokens
from verifier.sandbox.interface import Limits, Sandbox, Usage

GRAPH_ROWS: Final = 8
"""Rows of the fixed batch every model is exported for."""
READY_SECONDS: Final = 120.0
_MAX_OUTPUTS_FACTOR: Final = 4
"""A model may pad its vocabulary, not more than to this multiple."""
_SCRATCH_SLACK: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class EvaluatorLimits:
    """What one graph may cost.

    Attributes:
        seconds: Wall time for the whole evaluation.
        memory_bytes: Of each evaluator process.
        graph_bytes: Size of the graph file.
    """

    seconds: float = 900.0
    memory_bytes: int = 8 << 30
    graph_bytes: int = 256 << 20


class Evaluator:
    """One evaluator in its own sandbox, without source, targets, data or network.

    Args:
        length: Tokens of a row.
        vocabulary: Size of the byte table; logits must have at least as many outputs.
        end_at: ``time.monotonic()`` at which patience ends.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        interpreter: Interpreter,
        *,
        length: int,
        vocabulary: int,
        limits: EvaluatorLimits,
        end_at: float,
    ) -> None:
        self._length, self._vocabulary, self._end_at = length, vocabulary, end_at
        self._outputs: int | None = None
        self._ready = False
        self._log = RunLog(None)
        row_bytes = 4 + 4 * length * vocabulary * _MAX_OUTPUTS_FACTOR
        caps = {Kind.READY: 0, Kind.PRIMITIVES: TEXT_LIMIT, Kind.LOGITS: row_bytes, Kind.FAILED: TEXT_LIMIT}
        self._channel, theirs = Channel.open(caps)
        try:
            self._process = start_python(
                sandbox,
                interpreter,
                [str(HARNESS / "evaluator.py"), str(GRAPH_ROWS), str(length), str(limits.graph_bytes)],
                child_end=theirs,
                log=self._log,
                cwd=PurePosixPath("/tmp"),  # noqa: S108 (inside)
                limits=Limits(
                    memory_bytes=limits.memory_bytes,
                    file_bytes=limits.graph_bytes + _SCRATCH_SLACK,
                    scratch_bytes=limits.graph_bytes + _SCRATCH_SLACK,
                    log_bytes=1 << 20,
                ),
            )
        except VerifierFault:
            self._channel.close()
            raise

    def load(self, graph: bytes | bytearray, allowed: frozenset[str] = ALLOWED) -> tuple[str, ...]:
        """Hand the graph over; the names of its primitives, all of them allowed.

        Raises:
            ModelUnsupported: the graph cannot be loaded or uses other primitives.
            VerifierFault: the evaluator did not start.
        """
        check_graph_bytes(graph)
        self._next(Kind.READY, READY_SECONDS)
        self._ready = True
        self._send(Kind.LOAD, graph)
        listing = self._next(Kind.PRIMITIVES)
        try:
            names = json.loads(bytes(listing))
        except (ValueError, RecursionError) as problem:
            raise ModelUnsupported("The evaluator's list of primitives cannot be read.") from problem
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ModelUnsupported("The evaluator's list of primitives is not a list of names.")
        check_primitives((harmless(name, 60) for name in names), allowed)
        return tuple(names)

    def submit(self, tokens: Tokens) -> None:
        """Send one batch of exactly ``GRAPH_ROWS`` rows; the answer is fetched with ``logits``."""
        if tokens.shape != (GRAPH_ROWS, self._length):
            raise RuntimeError(f"a batch has {GRAPH_ROWS} rows of {self._length} tokens, not {tokens.shape}")
        self._send(Kind.TOKENS, np.ascontiguousarray(tokens, dtype="<i4").tobytes())

    def logits(self) -> list[Floats]:
        """The logits of the oldest batch not yet fetched, one array (length, outputs) per row.

        Raises:
            ModelUnsupported: wrong shape or type, a crash, too late.
        """
        return [self._row(self._next(Kind.LOGITS)) for _ in range(GRAPH_ROWS)]

    def usage(self) -> Usage:
        return self._process.usage()

    def _row(self, payload: bytearray) -> Floats:
        outputs = int.from_bytes(payload[:4], "little")
        if len(payload) != 4 + 4 * self._length * outputs or outputs < self._vocabulary:
            raise ModelUnsupported(
                f"The model gives {outputs} outputs per token, the tokenizer has {self._vocabulary} tokens."
            )
        if self._outputs not in (None, outputs):
            raise ModelUnsupported("The model's number of outputs differs from row to row.")
        self._outputs = outputs
        return np.frombuffer(payload, dtype="<f4", offset=4).reshape(self._length, outputs)

    def _send(self, kind: Kind, payload: bytes | bytearray) -> None:
        if not self._channel.send(kind, payload, max(0.0, self._end_at - time.monotonic())):
            raise self._problem()

    def _next(self, kind: Kind, seconds: float | None = None) -> bytearray:
        patience = self._end_at - time.monotonic() if seconds is None else seconds
        try:
            frame = self._channel.read(max(0.0, patience))
        except ChannelError as problem:
            raise self._blame(f"The evaluator answered with no message: {problem.message}.") from problem
        if frame is None:
            raise self._problem()
        if frame.kind is Kind.FAILED:
            text = harmless(bytes(frame.payload).decode("utf-8", "replace"))
            raise self._blame(f"The evaluator cannot use the model's graph: {text}.")
        if frame.kind is not kind:
            raise self._blame(f"The evaluator answered {frame.kind.name} where {kind.name} was due.")
        return frame.payload

    def _problem(self) -> ModelUnsupported | VerifierFault:
        ended = self._process.wait(1.0) if self._channel.closed else self._process.poll()
        if ended is None:
            return self._blame("The evaluation of the model took longer than its limit.")
        how = f"was killed for {ended.killed_for}" if ended.killed_for else f"ended with status {ended.code}"
        return self._blame(f"The evaluator {how}. {self._log.last_line()}".strip())

    def _blame(self, text: str) -> ModelUnsupported | VerifierFault:
        if self._ready:
            return ModelUnsupported(text)
        return VerifierFault(
            f"The trusted evaluator does not start. {text}",
            next_step="Check that the interpreter has MLX and that the sandbox self-check passes.",
        )

    def close(self) -> None:
        self._channel.close()
        self._process.kill_tree()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
