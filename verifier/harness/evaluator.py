"""Client of one evaluator process: a graph and token rows in, logits out.

Tokens go over the channel; logits come through a :class:`Slate` in two parts, so that one batch can be
computed and written while another is read.

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
from verifier.harness.inside import HARNESS, LOGITS_VARIABLE, Interpreter, Kernels, start_python
from verifier.harness.primitives import ALLOWED, check_graph_bytes, check_primitives
from verifier.harness.runlog import RunLog, harmless
from verifier.harness.scoring import Floats, Tokens
from verifier.harness.slate import Slate
from verifier.sandbox.interface import Limits, Sandbox, Usage

GRAPH_ROWS: Final = 8
"""Rows of the fixed batch every model is exported for."""
READY_SECONDS: Final = 120.0
PARTS: Final = 2
"""Batches that may be under way at a time."""
_MAX_OUTPUTS_FACTOR: Final = 4
"""A model may pad its vocabulary, not more than to this multiple."""
_SCRATCH_SLACK: Final = 16 << 20


class Answer:
    """The logits of one batch, where the evaluator put them: to be copied once and looked at then.

    Positions run through the rows of the batch one after the other.
    """

    def __init__(self, slate: Slate, offset: int, outputs: int) -> None:
        self._slate, self.offset, self.outputs = slate, offset, outputs

    def fileno(self) -> int:
        """The descriptor of the memory; the answer begins at its byte ``offset``."""
        return self._slate.fileno()

    @staticmethod
    def gone(why: str) -> str:
        """What is said where the logits are not there."""
        return f"The evaluator's answer is gone: {why}."

    def read(self, position: int, into: Floats) -> None:
        """Copy the logits from ``position`` on into an array of shape (positions, outputs).

        Raises:
            ModelUnsupported: they are not there.
        """
        try:
            self._slate.read(self.offset + 4 * position * self.outputs, into)
        except ChannelError as problem:
            raise ModelUnsupported(self.gone(problem.message)) from problem


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
        kernels: What it does with the interpreter's kernel cache, which must be the evaluators' own.
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
        kernels: Kernels = Kernels.NONE,
    ) -> None:
        self._length, self._vocabulary, self._end_at = length, vocabulary, end_at
        self.outputs = 0
        self._submitted = self._answered = self._released = 0
        self._ready = False
        self._log = RunLog(None)
        caps = {Kind.READY: 0, Kind.PRIMITIVES: TEXT_LIMIT, Kind.LOGITS: 4, Kind.FAILED: TEXT_LIMIT}
        self._slate = Slate()
        self._channel, theirs = Channel.open(caps)
        try:
            self._process = start_python(
                sandbox,
                interpreter,
                [str(HARNESS / "evaluator.py"), str(GRAPH_ROWS), str(length), str(limits.graph_bytes)],
                child_end=theirs,
                log=self._log,
                cwd=PurePosixPath("/tmp"),  # noqa: S108 (inside)
                environment={LOGITS_VARIABLE: str(self._slate.fileno())},
                kernels=kernels,
                further_fds=[self._slate.fileno()],
                limits=Limits(
                    memory_bytes=limits.memory_bytes,
                    file_bytes=limits.graph_bytes + _SCRATCH_SLACK,
                    scratch_bytes=limits.graph_bytes + _SCRATCH_SLACK,
                    log_bytes=1 << 20,
                ),
            )
        except VerifierFault:
            self._channel.close()
            self._slate.close()
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
        names, self.outputs = listing_of(self._next(Kind.PRIMITIVES))
        check_primitives((harmless(name, 60) for name in names), allowed)
        if not self._vocabulary <= self.outputs <= _MAX_OUTPUTS_FACTOR * self._vocabulary:
            raise ModelUnsupported(
                f"The model gives {self.outputs} outputs per token, the tokenizer has {self._vocabulary} "
                f"tokens; the limit is {_MAX_OUTPUTS_FACTOR} times that."
            )
        self._slate.resize(PARTS * self._part_bytes)
        return names

    @property
    def _part_bytes(self) -> int:
        return 4 * GRAPH_ROWS * self._length * self.outputs

    def submit(self, tokens: Tokens) -> None:
        """Send one batch of exactly ``GRAPH_ROWS`` rows; its answer is fetched with ``answer``."""
        if tokens.shape != (GRAPH_ROWS, self._length):
            raise RuntimeError(f"a batch has {GRAPH_ROWS} rows of {self._length} tokens, not {tokens.shape}")
        if self._submitted - self._released >= PARTS:
            raise RuntimeError(f"{PARTS} batches are under way")
        self._send(Kind.TOKENS, np.ascontiguousarray(tokens, dtype="<i4").tobytes())
        self._submitted += 1

    def answer(self) -> Answer:
        """The logits of the oldest batch not yet fetched. They stay where they are until ``release``.

        Raises:
            ModelUnsupported: a crash, no answer, too late.
        """
        payload = self._next(Kind.LOGITS)
        if int.from_bytes(payload, "little") != self.outputs:
            raise ModelUnsupported("The model's number of outputs is not what its graph says.")
        part = self._answered % PARTS
        self._answered += 1
        return Answer(self._slate, part * self._part_bytes, self.outputs)

    def release(self) -> None:
        """The oldest answer has been read: its part may be written again."""
        self._released += 1

    def usage(self) -> Usage:
        return self._process.usage()

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
        try:
            self._process.kill_tree()
        finally:
            self._slate.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def listing_of(payload: bytearray) -> tuple[tuple[str, ...], int]:
    """Names of the primitives and number of outputs, as the evaluator tells them.

    Raises:
        ModelUnsupported: it says no such thing.
    """
    try:
        told = json.loads(bytes(payload))
    except (ValueError, RecursionError) as problem:
        raise ModelUnsupported("The evaluator's list of primitives cannot be read.") from problem
    names, outputs = (told.get("names"), told.get("outputs")) if isinstance(told, dict) else (None, None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelUnsupported("The evaluator's list of primitives is not a list of names.")
    if not isinstance(outputs, int) or isinstance(outputs, bool):
        raise ModelUnsupported("The evaluator does not say how many outputs the model has.")
    return tuple(names), outputs
