"""One process of the verifier's own: slices of evaluators' answers in, figures out.

It is trusted and runs our code alone; what it reads is not. As in :mod:`verifier.harness.workers` a block of
logits is copied once into memory of its own, and only the copy is looked at. Every request brings its
descriptors with it (the evaluator's memory, then our own for originals), so nothing is held between requests.
The process ends when its connection does.

A message is a length of text, a length of bytes, a JSON object, the bytes.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from armlx_chain.errors import ArmlxError, ChannelError, LogitsNotFinite
from verifier.harness.probes import block_movement
from verifier.harness.scoring import Floats, blocks, token_losses
from verifier.harness.slate import read_at, write_at

LOGIT_BYTES: Final = 4
_HEAD: Final = struct.Struct("<IQ")
_DESCRIPTORS: Final = 2


class Problem(StrEnum):
    """Why there are no figures."""

    NOT_FINITE = "not-finite"
    GONE = "gone"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Message:
    header: Mapping[str, Any]
    payload: bytes | bytearray = b""
    descriptors: Sequence[int] = ()


def send(connection: socket.socket, message: Message) -> None:
    """Send all of it.

    Raises:
        OSError: the other side is gone, or takes nothing for as long as the socket waits.
    """
    text = json.dumps(message.header).encode()
    data = _HEAD.pack(len(text), len(message.payload)) + text + message.payload
    sent = socket.send_fds(connection, [data], message.descriptors) if message.descriptors else 0
    connection.sendall(memoryview(data)[sent:])


def receive(connection: socket.socket, descriptors: int = 0) -> Message:
    """The next message, with at most so many descriptors.

    Raises:
        EOFError: the other side is gone, perhaps in the middle of a message.
        OSError: as in ``send``.
    """
    start, found, _, _ = socket.recv_fds(connection, _HEAD.size, descriptors)
    if not start:
        raise EOFError("no more messages")
    text, payload = _HEAD.unpack(start + _exactly(connection, _HEAD.size - len(start)))
    header = json.loads(_exactly(connection, text))
    return Message(header, _exactly(connection, payload), found)


def _exactly(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        got = connection.recv_into(view)
        if got == 0:
            raise EOFError("a message was cut short")
        view = view[got:]
    return data


def main(descriptor: int) -> None:
    """Answer requests on an inherited socket until it is closed."""
    with socket.socket(fileno=descriptor) as connection:
        scorer = _Scorer()
        while True:
            try:
                request = receive(connection, _DESCRIPTORS)
            except (EOFError, ConnectionError):
                return
            try:
                answer = scorer.answer(request)
            finally:
                for given in request.descriptors:
                    os.close(given)
            try:
                send(connection, answer)
            except ConnectionError:
                return


class _Scorer:
    """Figures of slices, with one block of memory."""

    def __init__(self) -> None:
        self._memory: Floats = np.empty(0, dtype=np.float32)
        self._kinds = {"score": self._score, "compare": self._compare, "copy": self._copy}

    def answer(self, request: Message) -> Message:
        problem, figures = None, b""
        try:
            figures = self._kinds[request.header["kind"]](request)
        except LogitsNotFinite as found:
            problem = Problem.NOT_FINITE, found.message
        except ChannelError as found:
            problem = Problem.GONE, found.message
        except (ArmlxError, OSError, MemoryError) as found:
            problem = Problem.FAULT, f"{type(found).__name__}: {found}"
        return Message({"problem": problem, "cpu_seconds": time.process_time()}, figures)

    def _score(self, request: Message) -> bytes:
        """Losses of the targets in the payload; the parts of originals go to where they are kept."""
        header, targets = request.header, np.frombuffer(request.payload, dtype=np.int32)
        first, outputs = header["first"], header["outputs"]
        losses = np.empty(targets.size, dtype=np.float64)
        for start, stop in blocks(first, first + targets.size, outputs):
            logits = self._block(request, start, stop)
            losses[start - first : stop - first] = token_losses(logits, targets[start - first : stop - first])
            for begin, end, place in header["keep"]:
                low, high = max(start, begin), min(stop, end)
                if low < high:
                    at = place + LOGIT_BYTES * outputs * (low - begin)
                    write_at(request.descriptors[1], at, logits[low - start : high - start])
        return losses.tobytes()

    def _compare(self, request: Message) -> bytes:
        """The largest move within each block: the payload has its start, its end and its original's place."""
        parts = np.frombuffer(request.payload, dtype=np.int64).reshape(-1, 3).tolist()
        moved = np.empty(len(parts), dtype=np.float64)
        for index, (start, stop, place) in enumerate(parts):
            before = np.empty((stop - start, request.header["outputs"]), dtype=np.float32)
            read_at(request.descriptors[1], place, before)
            moved[index] = block_movement(before, self._block(request, start, stop))
        return moved.tobytes()

    def _copy(self, request: Message) -> bytes:
        header = request.header
        for start, stop in blocks(header["first"], header["end"], header["outputs"]):
            self._block(request, start, stop)
        return b""

    def _block(self, request: Message, start: int, stop: int) -> Floats:
        """A copy of our own, overwritten by the next."""
        outputs, offset = request.header["outputs"], request.header["offset"]
        size = (stop - start) * outputs
        if self._memory.size < size:
            self._memory = np.empty(size, dtype=np.float32)
        block: Floats = self._memory[:size].reshape(stop - start, outputs)
        read_at(request.descriptors[0], offset + LOGIT_BYTES * start * outputs, block)
        return block
