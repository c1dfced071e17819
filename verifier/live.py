"""The live line of a run: a reader of the growing log, pure, and a small painter.

The log is a stranger's. Invariants:

- of any log, however its bytes come, at most ``LINE_BYTES`` are held; longer lines are dropped whole;
- nothing of the log but numbers reaches the terminal: each is ASCII, of bounded length and in a plausible
  range, else it is not there;
- what is shown decides nothing: budget, memory and time left come from the outside clock, and where only the
  log knows a figure (step, loss, tokens per second) it is the log's word;
- a line on a terminal never wraps, and is redrawn at most ten times a second.

::

    reader = LogReader()
    reader.feed(chunk)              # as it comes
    reader.reading.step             # 41
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol, TextIO

from armlx_chain.protocol.metric import MetricRule, line_value
from verifier.model import Role

__all__ = ["LineSplitter", "LivePainter", "LogReader", "Outside", "Reading", "RunFrame", "frame_text", "span"]

LINE_BYTES: Final = 1024
"""Longer lines hold no progress: what they say is dropped."""
MOST_STEPS: Final = 10**9
MOST_TOKENS_PER_SECOND: Final = 10**10
MOST_LOSS: Final = 10**6
BETWEEN_DRAWINGS: Final = 0.1
BETWEEN_LINES: Final = 30.0
"""Seconds between plain lines where stderr is no terminal."""
LEAST_WIDTH: Final = 20

_STEP: Final = re.compile(rb"\bstep[ \t:=]{0,4}([0-9]{1,10})(?![0-9.])", re.IGNORECASE)
_LOSS: Final = re.compile(
    rb"\b(?:train_)?loss[ \t:=]{0,4}([0-9]{1,7}(?:\.[0-9]{1,12})?)(?![0-9.eE])", re.IGNORECASE
)
_PERCENT: Final = re.compile(rb"\(([0-9]{1,3}(?:\.[0-9]{1,3})?)%\)")
_TOKENS: Final = re.compile(
    rb"\btok(?:ens)?(?:/|_per_)s(?:ec(?:ond)?)?[ \t:=]{0,4}([0-9][0-9,]{0,14})(?![0-9.])", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a log says about itself; ``None`` where it does not, or not plausibly.

    Attributes:
        percent: Part of the training budget that the program says it has used.
        metric: The protocol's primary metric, as text, once a line states it.
    """

    step: int | None = None
    loss: float | None = None
    percent: float | None = None
    tokens_per_second: int | None = None
    metric: str | None = None


class LineSplitter:
    """Bytes in, whole lines out; at newline, carriage return, or both together."""

    def __init__(self, limit: int = LINE_BYTES) -> None:
        self._limit = limit
        self._rest = b""
        self._too_long = False
        self._after_return = False

    @property
    def held(self) -> int:
        """Bytes kept of the line that is not finished."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that end in this chunk; empty ones and those beyond the limit are left out."""
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_return = chunk.endswith(b"\r")
        # Three passes in C: a log of nothing but line breaks costs as little as any other.
        first, *others = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._keep(first)
        if not others:
            return []
        lines = [b"" if self._too_long else self._rest, *others]
        self._too_long, self._rest = False, b""
        self._keep(lines.pop())
        return [line for line in lines if line and len(line) <= self._limit]

    def _keep(self, piece: bytes) -> None:
        if self._too_long or len(self._rest) + len(piece) > self._limit:
            self._too_long, self._rest = True, b""
        else:
            self._rest += piece


class LogReader:
    """Follows a log; ``feed`` may be called from another thread than ``reading`` is read in.

    Args:
        metric: The protocol's rule for its primary metric; ``None`` looks for none.
    """

    def __init__(self, metric: MetricRule | None = None) -> None:
        self._metric = metric
        self._lines = LineSplitter()
        self._reading = Reading()

    @property
    def reading(self) -> Reading:
        return self._reading

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the log."""
        for line in self._lines.feed(chunk):
            self._reading = read_line(line, self._reading, self._metric)


def read_line(line: bytes, before: Reading, metric: MetricRule | None = None) -> Reading:
    """What is known after one more line. Pure."""
    stated = None if metric is None else line_value(line, metric)
    if stated is not None:
        before = replace(before, metric=stated.text)
    step = _number(_STEP, line, MOST_STEPS)
    if step is None:
        return before
    tokens = _number(_TOKENS, line, MOST_TOKENS_PER_SECOND)
    return replace(
        before,
        step=int(step),
        loss=_number(_LOSS, line, MOST_LOSS),
        percent=_number(_PERCENT, line, 100),
        tokens_per_second=None if tokens is None else int(tokens),
    )


def _number(pattern: re.Pattern[bytes], line: bytes, most: float) -> float | None:
    found = pattern.search(line)
    if found is None:
        return None
    value = float(found.group(1).replace(b",", b""))
    return value if value <= most else None


@dataclass(frozen=True, slots=True)
class Outside:
    """What the verifier measures itself of a running program.

    Attributes:
        used_seconds: On the session's clock, since the start.
        memory_bytes: Peak of the whole process tree.
    """

    used_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class RunFrame:
    """Everything a live line can show.

    Attributes:
        number: This run, from 1.
        expected: Runs that are likely in all; ``None`` where nobody knows.
        reference_seconds: What a run needs from start to model on the session's clock; ``None``: unknown.
        wall_seconds: Since this run's start.
        left_seconds: Wall time until the last expected run ends; ``None``: unknown.
    """

    number: int
    role: Role
    reading: Reading
    outside: Outside | None = None
    expected: int | None = None
    reference_seconds: float | None = None
    clock: str = "wall"
    wall_seconds: float = 0.0
    left_seconds: float | None = None
    phase: str = ""


def frame_text(frame: RunFrame) -> str:
    """One line: run, role, step, loss, budget, tokens per second, memory, time left. Pure."""
    reading, outside = frame.reading, frame.outside
    parts = [f"run {frame.number}" + (f" of ~{frame.expected}" if frame.expected else ""), frame.role.value]
    if frame.phase:
        parts.append(frame.phase)
    if reading.step is not None:
        parts.append(f"step {reading.step}")
    if reading.loss is not None:
        parts.append(f"loss {reading.loss:.4f}")
    parts += _budget(frame)
    if reading.tokens_per_second is not None:
        parts.append(f"{reading.tokens_per_second:,} tok/s")
    if outside is not None and outside.memory_bytes:
        parts.append(f"{outside.memory_bytes / 2**30:.2f} GiB")
    if frame.left_seconds is not None:
        parts.append(f"{span(frame.left_seconds)} left")
    return " | ".join(parts)


def _budget(frame: RunFrame) -> list[str]:
    """Of the outside clock what is used of what the reference needs; the program's own word beside it."""
    if frame.outside is None:
        return []
    used = f"{frame.outside.used_seconds:.0f}"
    if frame.reference_seconds is not None:
        used += f"/{frame.reference_seconds:.0f}"
    stated = "" if frame.reading.percent is None else f" ({frame.reading.percent:.0f}%)"
    return [f"{used} {'CPU ' if frame.clock == 'cpu' else ''}s{stated}"]


def span(seconds: float) -> str:
    """A time for people: ``42 s``, ``3:05 min``, ``2:10 h``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


class Painter(Protocol):
    """Shows frames somewhere."""

    def paint(self, text: str, *, force: bool = False) -> None: ...

    def say(self, text: str) -> None: ...

    def clear(self) -> None: ...


class LivePainter:
    """Redraws one line on a terminal; elsewhere writes a plain line every so often. Thread-safe.

    Args:
        stream: Usually stderr.
        quiet: Write no frame at all. What is said is still said.
        clock: Seconds.
        width: Of the terminal, asked for each drawing.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        width: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
    ) -> None:
        self._stream, self._quiet, self._clock, self._width = stream, quiet, clock, width
        self._terminal = stream.isatty()
        self._lock = threading.Lock()
        self._painted_at: float | None = None
        self._on_screen = False

    def paint(self, text: str, *, force: bool = False) -> None:
        """Show a frame, unless the last one is too fresh."""
        with self._lock:
            now = self._clock()
            pause = BETWEEN_DRAWINGS if self._terminal else BETWEEN_LINES
            fresh = self._painted_at is not None and now - self._painted_at < pause
            if self._quiet or (fresh and not force):
                return
            self._painted_at = now
            if self._terminal:
                # One column stays free: a full last column makes some terminals wrap.
                self._stream.write("\r\x1b[K" + text[: max(LEAST_WIDTH, self._width()) - 1])
                self._on_screen = True
            else:
                self._stream.write(text + "\n")
            self._stream.flush()

    def say(self, text: str) -> None:
        """A line that stays."""
        with self._lock:
            self._wipe()
            self._stream.write(text + "\n")
            self._stream.flush()

    def clear(self) -> None:
        """Take the frame away, and let the next one come at once."""
        with self._lock:
            self._wipe()
            self._stream.flush()
            self._painted_at = None

    def _wipe(self) -> None:
        if self._on_screen:
            self._stream.write("\r\x1b[K")
            self._on_screen = False
