"""Documents that nobody could prove, and the mark they carry from then on.

- A mark is kept twice: in a register by the SHA-256 of the bytes, so that a copy under another name is known
  too, and beside the file as ``<file>.unverified``, so that it stays marked when it is edited.
- The mark is written before the bytes, and taken away after proven ones are in place: a process that is
  killed leaves a mark too many, never one too few.
- A mark goes when the same bytes are proven to belong to the same root.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlx_chain.errors import MachineError, RootFormatError
from armlx_chain.storage.files import write_file
from armlx_chain.storage.interface import UnverifiedBytes
from armlx_chain.storage.shelf import open_unfollowed
from armlx_chain.types import Root

__all__ = ["RUN_MARKS", "Mark", "UnverifiedRegister", "sidecar_of"]

RUN_MARKS = "unverified.json"
"""In a run folder: the marks of what was run."""
FORMAT = "armlx-unverified/1"
_MAX_MARK_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Mark:
    """Where unproven bytes came from.

    Attributes:
        root: The content address they were served for; ``None`` if the mark itself is damaged.
        sha256: Digest of the bytes as served, hex.
        source: Who served them.
        reason: Why there is no proof.
    """

    root: Root | None
    sha256: str
    source: str
    reason: str

    @classmethod
    def of(cls, found: UnverifiedBytes) -> Mark:
        return cls(found.root, hashlib.sha256(found.data).hexdigest(), found.source, found.reason)

    def document(self) -> dict[str, str]:
        """As JSON members."""
        root = "" if self.root is None else str(self.root)
        return {"root": root, "sha256": self.sha256, "source": self.source, "reason": self.reason}

    def __str__(self) -> str:
        return f"served for {self.root or 'an unknown root'} by {self.source}: {self.reason}"


_DAMAGED = Mark(None, "", "unknown", "the mark beside the file is damaged")


def sidecar_of(path: Path) -> Path:
    """Where the mark of a file is."""
    return path.with_name(path.name + ".unverified")


class UnverifiedRegister:
    """The marks of this home folder, under ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, found: UnverifiedBytes, path: Path) -> Mark:
        """Write unproven bytes to ``path``, marked.

        Raises:
            MachineError: they or the mark cannot be written.
        """
        mark = self.note(found)
        write_file(sidecar_of(path), _text(mark))
        write_file(path, found.data)
        return mark

    def note(self, found: UnverifiedBytes) -> Mark:
        """Enter unproven bytes that are shown, not written.

        Raises:
            MachineError: the register cannot be written.
        """
        mark = Mark.of(found)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(f"{self._folder} cannot be made: {error.strerror}.") from error
        write_file(self._entry(mark.sha256), _text(mark))
        return mark

    def find(self, data: bytes, path: Path | None = None) -> Mark | None:
        """The mark of these bytes, or of the file they were read from; ``None`` if they carry none."""
        beside = None if path is None else _read(sidecar_of(path))
        return beside or _read(self._entry(hashlib.sha256(data).hexdigest()))

    def proven(self, root: Root, sha256: str, path: Path | None = None) -> None:
        """Take the marks away: bytes of this digest belong to ``root``, and ``path`` holds them now."""
        entry = self._entry(sha256)
        mark = _read(entry)
        if mark is not None and mark.root == root:
            entry.unlink(missing_ok=True)
        if path is not None:
            sidecar_of(path).unlink(missing_ok=True)

    def is_empty(self) -> bool:
        """Whether nothing was ever marked, which saves hashing large files."""
        return not self._folder.is_dir()

    def _entry(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.json"


def _text(mark: Mark) -> bytes:
    return json.dumps({"format": FORMAT, **mark.document()}, indent=2).encode() + b"\n"


def _read(path: Path) -> Mark | None:
    """The mark in a file; a damaged one is still a mark."""
    try:
        with os.fdopen(open_unfollowed(path), "rb") as file:  # it may lie in a stranger's folder
            data = file.read(_MAX_MARK_BYTES)
    except FileNotFoundError:
        return None
    except OSError:
        return _DAMAGED
    try:
        document: dict[str, Any] = json.loads(data)
        fields = [document[name] for name in ("root", "sha256", "source", "reason")]
        root, sha256, source, reason = (str(field) for field in fields)
        return Mark(Root.parse(root) if root else None, sha256, source, reason)
    except (ValueError, KeyError, TypeError, RecursionError, RootFormatError):
        return _DAMAGED
