"""Being told to stop: once lets what was begun end, twice stops at once.

- The first SIGTERM or SIGINT: no new proposal is looked at and no further pair starts. A pair whose candidate
  runs may end within the drain time; then the run is ended too. A transaction that was begun is always
  finished: it is journalled before it is sent, so even a kill cannot halve it.
- The second ends this process on the spot, as a power cut would: every boundary is on disk.

Signals wake a thread of their own, so that they count also while the main thread waits for a lane.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

from armlx_chain.cli.output import json_error
from armlx_chain.errors import EXIT_INTERRUPTED, Interrupted

__all__ = ["Drain"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Drain:
    """Whether the daemon was told to stop.

    Args:
        stop: Lets running sessions end after what was begun.
        kill: Ends their runs.
        seconds: How long what was begun may take.
        say: Tells a person.
        as_json: Whether stdout is owed one JSON object, also by a process that stops at once.
    """

    def __init__(
        self,
        *,
        stop: Callable[[], None],
        kill: Callable[[], None],
        seconds: float,
        say: Callable[[str], None],
        as_json: bool = False,
    ) -> None:
        self._stop = stop
        self._kill = kill
        self._seconds = seconds
        self._say = say
        self._as_json = as_json
        self._asked = threading.Event()
        self._ended = threading.Event()
        self._turn = threading.Lock()

    @property
    def is_asked(self) -> bool:
        """Whether it was told to stop."""
        return self._asked.is_set()

    def rest(self, seconds: float) -> bool:
        """Wait, but not longer than until it is told to stop; whether it was."""
        return self._asked.wait(seconds)

    def ask(self) -> None:
        """Stop: what was begun may end."""
        with self._turn:
            if self._asked.is_set():
                return
            self._asked.set()
        self._stop()
        threading.Thread(target=self._enforce, name="drain", daemon=True).start()
        self._tell(f"stopping: what was begun may take {self._seconds:g} s more; once more stops at once")

    def _enforce(self) -> None:
        if not self._ended.wait(self._seconds):
            self._tell("the drain time is over; running programs are ended")
            self._kill()

    def _tell(self, sentence: str) -> None:
        """A terminal that is gone must not keep anything from being stopped."""
        with suppress(OSError):
            self._say(sentence)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT mean this within the block. Outside the main thread nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
        woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, _nothing)
        listener = threading.Thread(target=self._listen, args=(reading,), name="signals", daemon=True)
        listener.start()
        try:
            yield
        finally:
            self._ended.set()
            signal.set_wakeup_fd(woken)
            for number, present in before.items():
                signal.signal(number, present)
            os.close(writing)
            listener.join()
            os.close(reading)

    def _listen(self, reading: int) -> None:
        while True:
            select.select([reading], [], [])
            told = os.read(reading, 64)
            if not told:
                return
            for _ in (number for number in told if number in _SIGNALS):
                if self.is_asked:
                    self._stop_at_once()
                self.ask()

    def _stop_at_once(self) -> None:
        """Whatever this process was writing, locks of its streams are not waited for."""
        error = Interrupted("Stopped at once.", meaning="What was finished is kept; the next start goes on.")
        with suppress(OSError):
            os.write(2, b"Stopped at once.\n")
            if self._as_json:
                os.write(1, json_error(error, EXIT_INTERRUPTED).encode() + b"\n")
        os._exit(EXIT_INTERRUPTED)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """The listener does the work."""
