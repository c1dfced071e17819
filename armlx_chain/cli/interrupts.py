"""Ctrl-C and its kin during long work: once ends it in order, twice at once.

- The first SIGINT, SIGTERM or SIGHUP raises ``KeyboardInterrupt`` in the main thread: every sandboxed program
  is ended on the way out, and whoever holds a folder says in it how far they got.
- The second ends this process on the spot. The kernel then ends the sandboxes (parent-death signal); what was
  on disk stays, as after a power cut.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from armlx_chain.errors import EXIT_INTERRUPTED

__all__ = ["interruptible"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block the first signal interrupts and the second ends. In other threads nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    handler = _Handler()
    for number, present in before.items():
        # Who was started with nohup wants to outlive the terminal.
        if present is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, present in before.items():
            signal.signal(number, present)


class _Handler:
    def __init__(self) -> None:
        self._interrupted = False

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self._interrupted:
            os.write(2, b"\nStopped at once.\n")
            os._exit(EXIT_INTERRUPTED)
        self._interrupted = True
        os.write(2, b"\nStopping: the running program is ended. Once more stops at once.\n")
        raise KeyboardInterrupt(signal.Signals(number).name)
