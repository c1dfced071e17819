"""A progress bar on a terminal; on anything else only what is worth a line."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from armlx_chain.cli.output import say
from armlx_chain.cli.sizes import show_size

__all__ = ["Bar", "transfer_bar"]

_BETWEEN_DRAWINGS = 0.1
_WIDTH = 24


class Bar:
    """A :class:`armlx_chain.storage.interface.Progress` that draws one line on a terminal.

    Args:
        what: The word in front.
        stream: Where to draw; nothing is drawn if it is no terminal.
        clock: Seconds, for the rate and for drawing not too often.
    """

    def __init__(
        self, what: str, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._stream = stream or sys.stderr
        self._draws = self._stream.isatty()
        self._clock = clock
        self._lock = threading.Lock()
        self._total: int | None = None
        self._done = 0
        self._started = clock()
        self._drawn_at: float | None = None

    def start(self, total: int | None) -> None:
        """See :meth:`armlx_chain.storage.interface.Progress.start`."""
        with self._lock:
            self._total = total
            self._draw(force=True)

    def advance(self, count: int) -> None:
        """See :meth:`armlx_chain.storage.interface.Progress.advance`."""
        with self._lock:
            self._done += count
            self._draw(force=self._done == self._total)

    def note(self, text: str) -> None:
        """See :meth:`armlx_chain.storage.interface.Progress.note`."""
        with self._lock:
            self._clear()
            say(text)

    def finish(self) -> None:
        """Take the bar away."""
        with self._lock:
            self._clear()

    def _draw(self, *, force: bool) -> None:
        now = self._clock()
        if not self._draws or (
            not force and self._drawn_at is not None and now - self._drawn_at < _BETWEEN_DRAWINGS
        ):
            return
        self._drawn_at = now
        self._stream.write("\r\x1b[K" + self._line(now))
        self._stream.flush()

    def _line(self, now: float) -> str:
        elapsed = now - self._started
        rate = f" {show_size(int(self._done / elapsed))}/s" if elapsed > 0 and self._done else ""
        if not self._total:
            return f"{self._what} {show_size(self._done)}{rate}"
        filled = min(self._done, self._total) * _WIDTH // self._total
        percent = min(self._done, self._total) * 100 // self._total
        bar = "#" * filled + "." * (_WIDTH - filled)
        return f"{self._what} [{bar}] {percent:3d}% of {show_size(self._total)}{rate}"

    def _clear(self) -> None:
        if self._draws and self._drawn_at is not None:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn_at = None


@contextmanager
def transfer_bar(what: str) -> Iterator[Bar]:
    """A bar on stderr, gone at the end."""
    bar = Bar(what)
    try:
        yield bar
    finally:
        bar.finish()
