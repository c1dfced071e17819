"""The run log: every byte that was printed, to a file and a digest, with bounded memory."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

TAIL_BYTES: Final = 2048
_log = logging.getLogger(__name__)


class RunLog:
    """Receives stdout and stderr of a run. ``write`` may be called from another thread.

    Args:
        path: Where the bytes go; ``None`` keeps only digest, size and the last bytes.
        listener: Is handed every piece after it was stored, in the writing thread, so it must be quick. It
            can do the log no harm: whatever it raises is logged once, and it hears nothing any more.
    """

    def __init__(self, path: Path | None, listener: Callable[[bytes], None] | None = None) -> None:
        self._listener = listener
        self._file = path.open("wb") if path is not None else None
        self._digest = hashlib.sha256()
        self._lock = threading.Lock()
        self._size = 0
        self._tail = b""

    def write(self, chunk: bytes) -> None:
        with self._lock:
            if self._file is not None and self._file.closed:
                return
            self._digest.update(chunk)
            self._size += len(chunk)
            self._tail = (self._tail + chunk)[-TAIL_BYTES:]
            if self._file is not None:
                self._file.write(chunk)
        self._tell(chunk)

    def _tell(self, chunk: bytes) -> None:
        if self._listener is None:
            return
        try:
            self._listener(chunk)
        except BaseException as problem:  # noqa: BLE001 (a display may not disturb what it shows)
            self._listener = None
            _log.warning("The listener to a run log failed and hears no more: %r", problem)

    @property
    def size(self) -> int:
        return self._size

    @property
    def sha256(self) -> str:
        """Hex digest of everything written."""
        with self._lock:
            return self._digest.hexdigest()

    def last_line(self) -> str:
        """The last line that is not blank, made harmless for a terminal."""
        text = self._tail.decode("utf-8", "replace").replace("\r", "\n")
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        return harmless(lines[-1]) if lines else ""

    def close(self) -> None:
        with self._lock:
            if self._file is not None and not self._file.closed:
                self._file.close()


def harmless(text: str, limit: int = 300) -> str:
    """A stranger's text without control characters, cut to ``limit`` characters."""
    shown = "".join(char if char.isprintable() else " " for char in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
