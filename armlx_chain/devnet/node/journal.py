"""What the embedded chain needs to come back after a restart: its inputs, in order.

One JSON object a line, appended and flushed to the disk before the block it describes is shown to anyone:

- ``{"genesis": {"chain_id", "timestamp", "rules", "hash"}}`` once, on the first line;
- ``{"block": {"t", "txs", "offset", "hash"}}`` for each block: replayed, it must give the same hash;
- ``{"clock": seconds}`` when the clock's offset was moved without a block;
- ``{"rewind": number}`` when blocks above a number were dropped.

A last line without its newline was cut by a crash; nobody has seen that block, and it is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from io import BufferedRandom
from pathlib import Path
from typing import Any

from armlx_chain.errors import DevnetError

RULES = "cancun/1"
"""Names execution rules and header layout; another value cannot be replayed by this build."""


class Journal:
    """An append-only file of chain inputs. One process at a time; the caller holds the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = _read_entries(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BufferedRandom | None = path.open("a+b")

    def take_entries(self) -> Iterator[dict[str, Any]]:
        """The entries that were in the file when it was opened, once, in order."""
        entries, self._entries = self._entries, []
        yield from entries

    @property
    def is_empty(self) -> bool:
        """Whether the file held nothing to replay when it was opened, or it was all taken."""
        return not self._entries

    def append(self, entry: dict[str, Any]) -> None:
        """Write one entry and wait until the disk has it.

        Raises:
            DevnetError: if the journal was closed.
        """
        if self._file is None:
            raise DevnetError(f"The chain's journal {self.path} is closed.")
        self._file.write(json.dumps(entry, separators=(",", ":"), sort_keys=True).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _read_entries(path: Path) -> list[dict[str, Any]]:
    """Parse the whole lines of a journal, cutting a torn last one off the file.

    Raises:
        DevnetError: if a whole line is not a journal entry.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    entries = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or len(entry) != 1:
            raise damaged(path, f"line {number} is not an entry")
        entries.append(entry)
    return entries


def damaged(path: Path, why: str) -> DevnetError:
    """The error for a journal that cannot be replayed."""
    return DevnetError(
        f"The chain's journal {path} cannot be replayed: {why}.",
        meaning="The devnet's former state cannot be restored from it.",
        next_step="Move the devnet's directory away and start a new one.",
    )
