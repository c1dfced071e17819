"""Where a run's log goes: bounded memory, the whole digested, optionally a file on disk.

::

    with FileLog(folder / "run.log") as log:
        ...
    log.size, log.sha256()
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_KEPT: Final = 1 << 16


class MemoryLog:
    """Keeps the first and the last 64 KiB, counts and digests everything."""

    def __init__(self, kept_bytes: int = _KEPT) -> None:
        self._kept = kept_bytes
        self._size = 0
        self._digest = hashlib.sha256()
        self._head = b""
        self._tail = b""

    def write(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._digest.update(chunk)
        room = self._kept - len(self._head)
        self._head += chunk[:room]
        self._tail = (self._tail + chunk[room:])[-self._kept :] if len(chunk) > room else self._tail

    @property
    def size(self) -> int:
        return self._size

    def sha256(self) -> str:
        """Digest of every byte written so far, in hex."""
        return self._digest.hexdigest()

    @property
    def head(self) -> bytes:
        return self._head

    @property
    def tail(self) -> bytes:
        """What came after the head, or its last part."""
        return self._tail

    def shown(self) -> str:
        """The same as :meth:`text`, for a terminal."""
        return without_controls(self.text())

    def text(self) -> str:
        """Head and tail as text, with a line in between where bytes were left out.

        As the program wrote it: use :meth:`shown` where a person will see it.
        """
        missing = self._size - len(self._head) - len(self._tail)
        middle = f"\n… {missing} bytes left out …\n".encode() if missing else b""
        return (self._head + middle + self._tail).decode("utf-8", "replace")


def without_controls(text: str) -> str:
    """A stranger's text for a person's eyes: nothing in it moves a cursor, rings, or turns the writing."""
    return "".join(one if one in "\n\t" or one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


class FileLog(MemoryLog):
    """The same, and every byte into a new file.

    Raises:
        FileExistsError: if the file is already there.
    """

    def __init__(self, path: Path, kept_bytes: int = _KEPT) -> None:
        super().__init__(kept_bytes)
        self.path = path
        self._file = path.open("xb")

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        super().write(chunk)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
