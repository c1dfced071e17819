"""JSON lines over a stream, read strictly: what the daemon and a keyless process say to each other.

- One message is one line: a JSON object with a ``kind``, no fractions, at most ``LINE_BYTES`` long.
- The reader takes nothing for granted: a longer line, another form, a member of another type ends the
  conversation with an error of the reader's own side.
- Errors travel by name, from a short list. None of them can make anybody reject a proposal.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from armlx_chain.errors import (
    AcceleratorBusy,
    ArmlxError,
    CandidateError,
    ContentMismatch,
    ContentNotFound,
    FormatError,
    SandboxUnavailable,
    SetupRefused,
    StorageError,
    StorageUnavailable,
    VerifierFault,
)
from armlx_chain.protocol.strict_json import TreeLimits, read_json
from verifier.report import plain

__all__ = [
    "ANSWER_SECONDS",
    "BEAT_SECONDS",
    "LINE_BYTES",
    "RUN_SECONDS",
    "SILENCE_SECONDS",
    "Line",
    "error_tree",
    "number",
    "parse",
    "read_error",
    "text",
    "to_line",
]

LINE_BYTES: Final = 8 << 20
"""Room for a candidate's files (4 MiB) in base64."""
BEAT_SECONDS: Final = 20.0
"""How often a process says that it is still at work for somebody."""
SILENCE_SECONDS: Final = 300.0
"""One that says nothing for so long hangs, or was stopped."""
ANSWER_SECONDS: Final = 24 * 3600.0
"""No preparation and no calibration takes so long, whatever signs of life there are meanwhile."""
RUN_SECONDS: Final = 4 * 3600.0
"""Nor does what comes on top of a run's deadline: its start and its evaluation."""
_CHUNK: Final = 1 << 16
_LIMITS: Final = TreeLimits(string_bytes=LINE_BYTES, list_items=4096, object_members=4096, depth=12)
_SENTENCE: Final = 2000
_ERRORS: Final = {
    known.__name__: known
    for known in (
        AcceleratorBusy,
        CandidateError,
        ContentMismatch,
        ContentNotFound,
        SandboxUnavailable,
        SetupRefused,
        StorageError,
        StorageUnavailable,
        VerifierFault,
    )
}
"""What may cross; anything else arrives as its nearest ancestor in this list, or as ``VerifierFault``."""


def to_line(kind: str, **members: object) -> bytes:
    """A message as one line.

    Raises:
        FormatError: it is longer than a reader takes.
    """
    line = json.dumps({"kind": kind, **members}, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
    if len(line) > LINE_BYTES:
        raise FormatError(f"A message of {len(line)} bytes is longer than the other side reads.")
    return line


def parse(line: bytes) -> dict[str, Any]:
    """Read one line.

    Raises:
        FormatError: it is no message.
    """
    tree = read_json(
        line, error=FormatError, what="The message", max_bytes=LINE_BYTES, limits=_LIMITS, floats=False
    )
    if not isinstance(tree, dict) or not isinstance(tree.get("kind"), str):
        raise FormatError("The message is no object with a kind.")
    return tree


def text(message: Mapping[str, Any], name: str) -> str:
    """A member that must be a string.

    Raises:
        FormatError: it is not.
    """
    value = message.get(name)
    if not isinstance(value, str):
        raise FormatError(f"The message's {name} is no text.")
    return value


def number(message: Mapping[str, Any], name: str) -> int:
    """A member that must be an integer.

    Raises:
        FormatError: it is not.
    """
    value = message.get(name)
    if type(value) is not int:
        raise FormatError(f"The message's {name} is no whole number.")
    return value


def error_tree(error: ArmlxError) -> dict[str, str]:
    """An error that is to be raised on the other side."""
    name = next((cls.__name__ for cls in type(error).__mro__ if cls.__name__ in _ERRORS), "VerifierFault")
    found = {"name": name, "message": error.message, "meaning": error.meaning, "next": error.next_step}
    return {what: said[:_SENTENCE] for what, said in found.items() if said is not None}


def read_error(tree: object) -> ArmlxError:
    """The error that the other side met; of an unknown one only its sentence is believed."""
    known = tree if isinstance(tree, Mapping) else {}
    said = {name: value for name, value in known.items() if isinstance(value, str)}
    kind = _ERRORS.get(said.get("name", ""), VerifierFault)
    return kind(
        plain(said.get("message", "The other side failed without a word."), _SENTENCE),
        meaning=plain(said["meaning"], _SENTENCE) if "meaning" in said else None,
        next_step=plain(said["next"], _SENTENCE) if "next" in said else None,
    )


class Line:
    """One conversation. Sending is safe from several threads, receiving from one."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()
        self._rest = bytearray()

    def bound(self, seconds: float) -> None:
        """Wait no longer than this for the other side to say or to take something; 0 for ever.

        Raises:
            VerifierFault: the other side is gone.
        """
        span = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
        try:
            for which in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self._socket.setsockopt(socket.SOL_SOCKET, which, span)
        except OSError as gone:
            raise _gone() from gone

    def send(self, kind: str, **members: object) -> None:
        """Send a message.

        Raises:
            VerifierFault: the other side is gone.
            FormatError: the message is too long.
        """
        self.send_line(to_line(kind, **members))

    def send_line(self, line: bytes) -> None:
        """Send a message that ``to_line`` made; see ``send``."""
        try:
            with self._lock:
                self._socket.sendall(line)
        except OSError as gone:
            raise _gone() from gone

    def receive(self, until: float | None = None) -> dict[str, Any]:
        """The next message, whenever it comes within what ``bound`` allows.

        Args:
            until: When this side has waited long enough, by ``time.monotonic``; a message that arrives bit by
                bit is no more waited for than silence. ``None`` for never.

        Raises:
            VerifierFault: the other side is gone, or silent for too long, or it is too late.
            FormatError: what came is no message.
        """
        seen = 0
        _be_in_time(until)
        while (end := self._rest.find(b"\n", seen)) < 0:
            _be_in_time(until)
            seen = len(self._rest)
            if len(self._rest) > LINE_BYTES:
                raise FormatError("The other side sent a line that is too long.")
            try:
                more = self._socket.recv(_CHUNK)
            except BlockingIOError as silent:
                raise _silent() from silent
            except OSError as gone:
                raise _gone() from gone
            if not more:
                raise _gone()
            self._rest += more
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return parse(line)

    def hang_up(self) -> None:
        """End the conversation from any thread; whoever waits for a message learns of it."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended

    def close(self) -> None:
        """Give the connection back."""
        self.hang_up()
        self._socket.close()


def _be_in_time(until: float | None) -> None:
    if until is not None and time.monotonic() > until:
        raise VerifierFault(
            "The process that makes the runs talks and does not answer.",
            meaning="It hangs, or was changed. A pair whose candidate was under way counts as interrupted.",
            next_step="Look at what it does; end armlx-validator worker and start it again.",
        )


def _silent() -> VerifierFault:
    return VerifierFault(
        "The process that makes the runs says nothing any more.",
        meaning="It hangs, or was stopped. A pair whose candidate was under way counts as interrupted.",
        next_step="Look at what it does; end armlx-validator worker and start it again.",
    )


def _gone() -> VerifierFault:
    return VerifierFault(
        "The process that makes the runs is gone.",
        meaning="A pair whose candidate was under way counts as interrupted.",
        next_step="See whether armlx-validator worker still runs, and what it said.",
    )
