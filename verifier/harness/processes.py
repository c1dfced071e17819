"""Processes of the verifier's own that turn evaluators' answers into figures, slice by slice.

- Threads of one process wait for the interpreter: a block is a dozen short calls, and beyond a few threads
  more of them make nothing faster. A process has an interpreter of its own.
- A batch is cut into several slices a process, and whoever is done gets the next: evaluators compute on the
  same processors meanwhile, and the slowest share should be a small one.
- The figures are those of :class:`Workers` to the last bit: the same blocks, the same code for each.
- The logits that probes will be compared with are kept in one piece of memory, whose places are used again:
  memory fresh from the kernel would be emptied by it first, gigabytes in an evaluation.
- A process that dies, or gives no answer in time, is a fault of ours, never of the model. All of them are
  gone when the ``with`` block ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

import numpy as np

from armlx_chain.errors import LogitsNotFinite, ModelUnsupported, VerifierFault
from verifier.hardware import usable_cores
from verifier.harness.evaluator import Answer
from verifier.harness.scorer import LOGIT_BYTES, Message, Problem, receive, send
from verifier.harness.scoring import Doubles, Tokens, block_positions, blocks
from verifier.harness.slate import anonymous_memory
from verifier.harness.workers import MAX_THREADS, Workers

Original = TypeVar("Original")
ANSWER_SECONDS: Final = 120.0
"""For a slice that takes some hundredths of a second; the first also waits for the process to start."""
LEAST_LOGITS: Final = 1 << 31
"""Of a whole evaluation: fewer are some ten seconds of one processor, and threads need no start."""
_LEAST_CORES: Final = 3
_SLICES: Final = 4
"""Slices of a batch for each process."""
_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from verifier.harness.scorer import main; main(int(sys.argv[2]))"
)


class Scoring(Protocol[Original]):
    """What turns answers into figures; ``Original`` is how it keeps logits between two batches."""

    def score(
        self, answer: Answer, targets: Tokens, keep: Sequence[tuple[int, int]]
    ) -> tuple[Doubles, list[Original]]:
        """As ``Workers.score``."""

    def compare(self, answer: Answer, length: int, originals: Sequence[Original]) -> list[float]:
        """As ``Workers.compare``. Each original is compared once."""

    def copy(self, answer: Answer, positions: int) -> None:
        """As ``Workers.copy``."""

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far outside this process."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def scoring_for(logits: int, cores: int | None = None) -> Callable[[], Scoring[Any]]:
    """What suits an evaluation of so many logits on this machine.

    Args:
        cores: Processors for it; by default those this process may use.
    """
    count = min(usable_cores() if cores is None else cores, MAX_THREADS)
    if count < _LEAST_CORES or logits < LEAST_LOGITS:
        return Workers
    return lambda: Processes(count)


@dataclass(frozen=True, slots=True)
class Stored:
    """Logits of a row's first positions: from which byte of our memory on."""

    place: int
    positions: int


class Processes:
    """Some processes, all started at once.

    Args:
        count: How many.
        patience: Seconds to wait for an answer.

    Raises:
        VerifierFault: one cannot be started.
    """

    def __init__(self, count: int, *, patience: float = ANSWER_SECONDS) -> None:
        self._peers: list[_Peer] = []
        self._patience = patience
        self._shelf = _Shelf()
        self._selector = selectors.DefaultSelector()
        try:
            for _ in range(count):
                self._peers.append(_Peer(patience))
                self._selector.register(self._peers[-1], selectors.EVENT_READ, self._peers[-1])
        except OSError as problem:
            self.close()
            raise VerifierFault(f"A process that scores cannot be started: {problem.strerror}.") from problem

    @property
    def processes(self) -> list[int]:
        """Their ids."""
        return [peer.pid for peer in self._peers]

    @property
    def cpu_seconds(self) -> float:
        return sum(peer.cpu_seconds for peer in self._peers)

    def score(
        self, answer: Answer, targets: Tokens, keep: Sequence[tuple[int, int]]
    ) -> tuple[Doubles, list[Stored]]:
        """As ``Workers.score``; the logits kept stay in our memory until they are compared.

        Raises:
            LogitsNotFinite, ModelUnsupported: as there.
            VerifierFault: a process died or did not answer. None of them answers any more.
        """
        rows, length = targets.shape
        size = LOGIT_BYTES * length * answer.outputs
        kept = [Stored(self._shelf.take(size), position) for _, position in keep]
        wanted = [
            (row * length, row * length + position, own.place)
            for (row, position), own in zip(keep, kept, strict=True)
        ]
        flat = np.ascontiguousarray(targets.reshape(-1), dtype=np.int32)
        requests = []
        for first, end in self._slices(flat.size, answer.outputs):
            parts = [part for part in wanted if part[0] < end and first < part[1]]
            header = {"kind": "score", "first": first, "keep": parts}
            requests.append((header, flat[first:end].tobytes(), end - first))
        losses = self._ask(answer, requests)
        return losses.reshape(rows, length), kept

    def compare(self, answer: Answer, length: int, originals: Sequence[Stored]) -> list[float]:
        """As ``Workers.compare``; the originals' places are free afterwards.

        Raises:
            LogitsNotFinite, ModelUnsupported, VerifierFault: as in ``score``.
        """
        step = LOGIT_BYTES * answer.outputs
        parts = [
            (row, (start, stop, original.place + step * (start - row * length)))
            for row, original in enumerate(originals)
            for start, stop in blocks(row * length, row * length + original.positions, answer.outputs)
        ]
        requests = [
            ({"kind": "compare"}, np.array([part for _, part in parts[low:high]], "i8").tobytes(), high - low)
            for low, high in _shares(len(parts), self._pieces)
        ]
        largest = [0.0] * len(originals)
        for (row, _), moved in zip(parts, self._ask(answer, requests).tolist(), strict=True):
            largest[row] = max(largest[row], moved)
        for original in originals:
            self._shelf.give(original.place)
        return largest

    def copy(self, answer: Answer, positions: int) -> None:
        """As ``Workers.copy``."""
        slices = self._slices(positions, answer.outputs)
        self._ask(answer, [({"kind": "copy", "first": first, "end": end}, b"", 0) for first, end in slices])

    @property
    def _pieces(self) -> int:
        return _SLICES * len(self._peers)

    def _slices(self, positions: int, outputs: int) -> Iterator[tuple[int, int]]:
        """Slices of whole blocks, all but the last."""
        step = block_positions(outputs)
        for low, high in _shares(-(-positions // step), self._pieces):
            yield low * step, min(high * step, positions)

    def _ask(self, answer: Answer, requests: Sequence[tuple[dict[str, Any], bytes, int]]) -> Doubles:
        """Header, payload and due number of figures for each slice: the figures, one after the other."""
        if not self._peers:
            raise VerifierFault("The processes that score have ended.")
        place = {"outputs": answer.outputs, "offset": answer.offset}
        descriptors = (answer.fileno(), self._shelf.fileno())
        asked = [Message({**header, **place}, payload, descriptors) for header, payload, _ in requests]
        try:
            told = self._exchange(asked)
            figures = [np.frombuffer(message.payload, dtype=np.float64) for message in told]
        except (OSError, EOFError, ValueError) as problem:
            self.close()
            raise VerifierFault(
                f"A process that scores gave no answer: {problem}.",
                next_step="Check that this machine has memory and processors left, then repeat.",
            ) from problem
        for message in told:
            _raise(message.header["problem"])
        if [part.size for part in figures] != [count for *_, count in requests]:
            self.close()
            raise VerifierFault("A process that scores answered with fewer figures than it was asked for.")
        return np.concatenate([np.empty(0), *figures])

    def _exchange(self, requests: Sequence[Message]) -> list[Message]:
        """Each request to a process that is free; the answers in the order of the requests."""
        answers: dict[int, Message] = {}
        waiting = iter(enumerate(requests))
        busy: dict[_Peer, int] = {}
        for peer, (index, request) in zip(self._peers, waiting, strict=False):
            peer.send(request)
            busy[peer] = index
        while busy:
            ready = self._selector.select(self._patience)
            if not ready:
                raise TimeoutError(f"nothing came for {self._patience:g} s")
            for key, _ in ready:
                peer = key.data
                told = peer.receive()  # of a process that was asked nothing only its end can be read
                answers[busy.pop(peer)] = told
                following = next(waiting, None)
                if following is not None:
                    busy[peer], request = following
                    peer.send(request)
        return [answers[index] for index in range(len(requests))]

    def close(self) -> None:
        """End them; there is nothing that they would have to finish."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._shelf.close)
            stack.callback(self._selector.close)
            for peer in self._peers:
                stack.callback(peer.close)
            self._peers = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _shares(count: int, among: int) -> list[tuple[int, int]]:
    """Even parts of so many things, none of them empty."""
    among = min(count, among)
    return [(count * index // among, count * (index + 1) // among) for index in range(among)]


def _raise(problem: Sequence[str] | None) -> None:
    if problem is None:
        return
    kind, text = problem
    if kind == Problem.NOT_FINITE:
        raise LogitsNotFinite(text)
    if kind == Problem.GONE:
        raise ModelUnsupported(Answer.gone(text))
    raise VerifierFault(f"A process that scores failed: {text}.")


class _Peer:
    """One process and our end of its connection."""

    def __init__(self, patience: float) -> None:
        self.cpu_seconds = 0.0
        self._connection, theirs = socket.socketpair()
        self._connection.settimeout(patience)
        paths = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 (may lie inside an archive)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-c", _START, json.dumps(paths), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    process_group=0,  # an interrupt from the keyboard is ours to handle
                    # Ours otherwise, so that the same arithmetic is chosen; each one computes on one core.
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                )
        except OSError:
            self._connection.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self._connection.fileno()

    def send(self, message: Message) -> None:
        send(self._connection, message)

    def receive(self) -> Message:
        message = receive(self._connection)
        self.cpu_seconds = float(message.header["cpu_seconds"])
        return message

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()


class _Shelf:
    """Memory of ours in places of equal size, handed out again once given back."""

    def __init__(self) -> None:
        self._descriptor = anonymous_memory()
        self._free: list[int] = []
        self._size = self._end = 0

    def fileno(self) -> int:
        return self._descriptor

    def take(self, size: int) -> int:
        """The first byte of a place for ``size`` bytes."""
        self._size = self._size or size
        if size > self._size:
            raise RuntimeError(f"places of {self._size} bytes are kept here, not of {size}")
        if self._free:
            return self._free.pop()
        self._end += self._size
        return self._end - self._size

    def give(self, place: int) -> None:
        self._free.append(place)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
