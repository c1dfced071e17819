"""Framed messages between the verifier and one program inside a sandbox, trusted side.

Invariants:

- nothing that arrives is believed before it is measured: kind and length of a frame are checked when its
  header is complete, before one byte of it is kept;
- no call blocks longer than it was told to;
- a broken frame ends the channel; nothing that comes after it is read;
- a whole frame with the right checksum, of a kind that this child never sends, is handed on as a
  :class:`Frame` of that kind and ends the channel: nobody sends such a thing by accident. Random bytes, two
  processes writing at once, a library that prints into a wrong descriptor give wrong magic or checksum.

::

    channel, descriptor = Channel.open({Kind.GRAPH: 256 << 20})
    ...                                       # start the child with ``descriptor``, then close it here
    frame = channel.read(timeout_seconds=0.05)
"""

from __future__ import annotations

import select
import socket
import struct
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Final, Self

from armlx_chain.errors import ChannelError, ModelUnsupported

MAGIC: Final = b"AXH2"
HEADER: Final = struct.Struct("<4sBQI")
"""Magic, kind, length of the payload, checksum."""
_CHECKED: Final = struct.Struct("<4sBQ")
TEXT_LIMIT: Final = 64 << 10
FOREIGN_LIMIT: Final = 1 << 20
"""Of a kind that has no place here, so many bytes are read to see whether it is a whole message."""
_PIECE: Final = 1 << 20


class Kind(IntEnum):
    """Kinds of frames. The same numbers stand in the child's ``harness_wire``."""

    GRAPH = 0x01
    UNSUPPORTED = 0x02
    MONITOR = 0x11
    VALUE = 0x12
    READY = 0x21
    PRIMITIVES = 0x22
    LOGITS = 0x23
    FAILED = 0x24
    INPUTS = 0x25
    TARGETS = 0x26
    FURTHER_INPUTS = 0x27
    FURTHER_TARGETS = 0x28
    BYTE_TABLE = 0x29
    CHECK = 0x2A
    LOAD = 0x31
    TOKENS = 0x32


def checksum(kind: int, payload: bytes | bytearray | memoryview) -> int:
    """CRC-32 of the header's other fields and the payload."""
    return zlib.crc32(payload, zlib.crc32(_CHECKED.pack(MAGIC, kind, len(payload))))


@dataclass(frozen=True, slots=True)
class Frame:
    kind: Kind
    payload: bytearray


class Channel:
    """The verifier's end.

    Args:
        end: Our end of a socket pair.
        limits: Which kinds may come, and the most bytes of each.

    Attributes:
        frames: How many whole frames came so far.
    """

    def __init__(self, end: socket.socket, limits: Mapping[Kind, int]) -> None:
        end.setblocking(False)
        self._end = end
        self._limits = limits
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)
        self._header = bytearray()
        self._kind: Kind | None = None
        self._checksum = 0
        self._payload = bytearray()
        self._have = 0
        self.closed = False
        self.frames = 0

    @classmethod
    def open(cls, limits: Mapping[Kind, int]) -> tuple[Channel, socket.socket]:
        """A channel and the child's end of it, which the caller closes once the child runs."""
        ours, theirs = socket.socketpair()
        theirs.set_inheritable(True)
        return cls(ours, limits), theirs

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return self._kind is not None or bool(self._header)

    def expects(self, kind: Kind) -> bool:
        """Whether this child ever sends such frames."""
        return kind in self._limits

    def read(self, timeout_seconds: float) -> Frame | None:
        """The next whole frame, or ``None`` if none is complete in time or the other end is closed.

        Raises:
            ChannelError: what came is no message.
            ModelUnsupported: a graph beyond its limit is announced.
        """
        end = time.monotonic() + timeout_seconds
        while not self.closed:
            if self._poll.poll(max(0.0, end - time.monotonic()) * 1000):
                frame = self._take()
                if frame is not None:
                    return frame
            if time.monotonic() >= end:
                return None
        return None

    def drain(self, timeout_seconds: float) -> list[Frame]:
        """What still lies in the socket, after the program ended."""
        end = time.monotonic() + timeout_seconds
        frames = []
        while not self.closed and time.monotonic() < end:
            if not self._poll.poll(0):
                break
            frame = self._take()
            if frame is not None:
                frames.append(frame)
        return frames

    def _take(self) -> Frame | None:
        """Receive a header, a piece of a payload, or one after the other; a frame if that completed one."""
        try:
            if self._kind is None:
                piece = self._end.recv(HEADER.size - len(self._header))
                self._header += piece
                self.closed = not piece
                if len(self._header) < HEADER.size:
                    return None
                self._open_frame()
            if self._have < len(self._payload):
                view = memoryview(self._payload)[self._have : self._have + _PIECE]
                got = self._end.recv_into(view)
                self._have += got
                self.closed = got == 0
        except BlockingIOError:
            return None
        except OSError:
            self.closed = True
            return None
        return self._close_frame()

    def _open_frame(self) -> None:
        magic, number, length, self._checksum = HEADER.unpack(self._header)
        if magic != MAGIC:
            self.closed = True
            raise ChannelError("bytes came that are no message")
        kind = Kind(number) if number in Kind.__members__.values() else None
        if kind is None:
            self.closed = True
            raise ChannelError(f"a message of kind {number:#04x} came, which does not exist")
        limit = self._limits.get(kind, FOREIGN_LIMIT)
        if length > limit:
            self.closed = True
            text = f"a message of {length} bytes was announced, the limit is {limit}"
            graph = kind is Kind.GRAPH and kind in self._limits
            raise ModelUnsupported(text) if graph else ChannelError(text)
        self._kind, self._payload, self._have = kind, bytearray(length), 0

    def _close_frame(self) -> Frame | None:
        if self._kind is None or self._have < len(self._payload):
            return None
        frame = Frame(self._kind, self._payload)
        if checksum(frame.kind, frame.payload) != self._checksum:
            self.closed = True
            raise ChannelError("a message came whose checksum is wrong")
        self.frames += 1
        self.closed = self.closed or frame.kind not in self._limits
        self._header, self._kind, self._payload, self._have = bytearray(), None, bytearray(), 0
        return frame

    def send(self, kind: Kind, payload: bytes | bytearray | memoryview, timeout_seconds: float) -> bool:
        """Send one frame; ``False`` if the other end does not take it in time."""
        end = time.monotonic() + timeout_seconds
        header = HEADER.pack(MAGIC, kind, len(payload), checksum(kind, payload))
        for part in (header, payload):
            view = memoryview(part)
            while view:
                _, writable, _ = select.select([], [self._end], [], max(0.0, end - time.monotonic()))
                if not writable:
                    return False
                try:
                    view = view[self._end.send(view[:_PIECE]) :]
                except BlockingIOError:
                    continue
                except OSError:
                    return False
        return True

    def close(self) -> None:
        self.closed = True
        self._end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
