"""How many entries a database had, kept in a small file beside it: a rollback shows.

- The mark only rises. It is written whole, synced and renamed, under a lock, after the entries are on disk.
- It finds a database that was deleted, replaced by an older copy or restored without its mark. Both restored
  together from one backup agree with each other: what only the ledger can tell is looked up there
  (``verifier.daemon.losses``), and nothing tells of a verdict that was signed and never settled.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from armlx_chain.errors import GuardRefused

__all__ = ["HighWater"]

_MAX_BYTES = 1 << 10


class HighWater:
    """The mark at a path."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> int:
        """The most entries there ever were; zero where no mark was made yet.

        Raises:
            GuardRefused: the mark is damaged.
            OSError: it cannot be read.
        """
        try:
            with self._path.open("rb") as stream:
                found = json.loads(stream.read(_MAX_BYTES))
            count = found["entries"]
        except FileNotFoundError:
            return 0
        except (ValueError, KeyError, TypeError) as error:
            raise GuardRefused(f"The mark {self._path} is damaged.", meaning="Nothing was signed.") from error
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise GuardRefused(f"The mark {self._path} is damaged.", meaning="Nothing was signed.")
        return count

    def require(self, entries: int) -> None:
        """Refuse a database with fewer entries than it once had.

        Raises:
            GuardRefused: it was rolled back or replaced.
            OSError: the mark cannot be read.
        """
        once = self.read()
        if entries < once:
            raise GuardRefused(
                f"The single-sign guard has {entries} entries and once had {once}: it was rolled back,"
                " replaced or deleted.",
                meaning="What is missing could be signed a second time, so nothing was signed.",
                next_step="Bring back its newest copy, or merge an export of it with: armlx-validator guard"
                " import FILE",
            )

    def rise_to(self, entries: int) -> None:
        """Raise the mark; a lower number than it holds changes nothing.

        Raises:
            OSError: it cannot be written.
        """
        with self._path.with_name(f"{self._path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if entries <= self.read():
                return
            part = self._path.with_name(f"{self._path.name}.part")
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(descriptor, json.dumps({"entries": entries}).encode() + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            part.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
