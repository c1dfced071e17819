"""The cache's folder: names, order of use, eviction. Knows nothing of proofs.

::

    <directory>/
      .lock                      held while entries are evicted
      <scheme>/<2 digits>/<64 digits>         content
      <scheme>/<2 digits>/<64 digits>.proof   evidence, where the scheme needs it
      …/.*.part                  being written
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from armlx_chain.errors import StorageError
from armlx_chain.storage.files import write_file
from armlx_chain.storage.interface import MAX_EVIDENCE_BYTES, Evidence, ProofKind
from armlx_chain.types import Root, Scheme

__all__ = ["EVIDENCE_SUFFIX", "Entry", "Shelf", "open_unfollowed"]

log = logging.getLogger(__name__)

EVIDENCE_SUFFIX = ".proof"
_NAME = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"\..*\.part")
_ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which a file still being written is left over from a killed process."""
_LOCK_PATIENCE = 10.0
_SPARE = 20
"""When entries must go, one part in this many of the limit is freed beyond need: not every write evicts."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One kept content.

    Attributes:
        size: Bytes, the evidence's included.
        used: When it was used last, in nanoseconds since the epoch.
    """

    root: Root
    path: Path
    size: int
    used: int


class Shelf:
    """The files under ``directory``."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self.directory = directory
        self._clock = clock

    def path_of(self, root: Root) -> Path:
        name = root.digest.hex()
        return self.directory / root.scheme / name[:2] / name

    def prepare(self, root: Root) -> Path:
        """The entry's path, its folders made, for this user only.

        Raises:
            OSError: they cannot be made.
            StorageError: one of them is a link.
        """
        path = self.path_of(root)
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(exist_ok=True, mode=0o700)
            if not stat.S_ISDIR(folder.lstat().st_mode):
                raise NotADirectoryError(f"{folder} is no folder of its own")
        return path

    def evidence_of(self, root: Root) -> Evidence | None:
        """The evidence beside an entry, or ``None`` if it is missing or makes no sense."""
        path = _beside(self.path_of(root))
        try:
            descriptor = open_unfollowed(path)
        except OSError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            kind, _, blob = os.read(descriptor, MAX_EVIDENCE_BYTES + 100).partition(b"\n")
        finally:
            os.close(descriptor)
        with contextlib.suppress(ValueError):  # a kind nobody knows
            if len(blob) <= MAX_EVIDENCE_BYTES:
                return Evidence(ProofKind(kind.decode("ascii", "replace")), blob)
        return None

    def write_evidence(self, root: Root, evidence: Evidence) -> None:
        """Keep ``evidence`` beside the entry; before it, so that no entry is without.

        Raises:
            MachineError: it cannot be written.
        """
        write_file(_beside(self.path_of(root)), evidence.kind.value.encode() + b"\n" + evidence.blob)

    def remove(self, root: Root) -> None:
        """Forget an entry, whatever stands at its place but a folder."""
        path = self.path_of(root)
        for name in (path, _beside(path)):
            with contextlib.suppress(OSError):  # gone already, or not ours to remove
                name.unlink()

    def entries(self) -> list[Entry]:
        """Everything kept, least recently used first."""
        return sorted(self._walk(), key=lambda entry: entry.used)

    def _walk(self) -> Iterator[Entry]:
        for scheme in get_args(Scheme):
            for folder in _folders(self.directory / scheme):
                for item in _listed(folder):
                    entry = _entry(scheme, item)
                    if entry is not None:
                        yield entry

    def shrink(self, limit: int, *, keep: Path | None = None) -> list[Entry]:
        """Evict the least recently used entries until ``limit`` holds; what was evicted.

        Args:
            keep: An entry that stays whatever its age: the one written just now.
        """
        with self._alone() as alone:
            if not alone:
                log.warning("another process holds the cache's lock; nothing was evicted this time")
                return []
            self._sweep()
            entries = self.entries()
            excess = sum(entry.size for entry in entries) - limit
            if excess <= 0:
                return []
            excess += limit // _SPARE
            gone = []
            for entry in entries:
                if excess <= 0:
                    break
                if entry.path != keep:
                    self.remove(entry.root)
                    excess -= entry.size
                    gone.append(entry)
            return gone

    def _sweep(self) -> None:
        """Remove what killed processes left half written, and evidence without an entry."""
        before = self._clock() - _ABANDONED_AFTER
        for scheme in get_args(Scheme):
            for folder in _folders(self.directory / scheme):
                for item in _listed(folder):
                    if not (_PART.fullmatch(item.name) or _is_orphan(item.path)):
                        continue
                    with contextlib.suppress(OSError):  # gone meanwhile
                        if item.stat(follow_symlinks=False).st_mtime < before:
                            Path(item.path).unlink()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Hold the folder's lock; ``False`` if another process does not let go of it in time."""
        if not self.directory.is_dir():
            yield True
            return
        try:
            descriptor = os.open(
                self.directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise StorageError(f"The cache folder {self.directory} cannot be locked: {error}.") from error
        try:
            yield _locked(descriptor)
        finally:
            os.close(descriptor)


def _locked(descriptor: int) -> bool:
    end = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.01)
        else:
            return True


def open_unfollowed(path: Path) -> int:
    """A descriptor for reading that neither follows a link at the end of ``path`` nor waits for a pipe.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + EVIDENCE_SUFFIX)


def _is_orphan(path: str) -> bool:
    return path.endswith(EVIDENCE_SUFFIX) and not os.path.lexists(path.removesuffix(EVIDENCE_SUFFIX))


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # not there, gone meanwhile, or no folder
        return []


def _folders(folder: Path) -> list[Path]:
    """Real folders in a real folder; links are left alone."""
    if folder.is_symlink():
        return []
    return [Path(item.path) for item in _listed(folder) if item.is_dir(follow_symlinks=False)]


def _entry(scheme: Scheme, item: os.DirEntry[str]) -> Entry | None:
    if not _NAME.fullmatch(item.name):
        return None
    try:
        status = item.stat(follow_symlinks=False)
    except OSError:  # gone meanwhile
        return None
    size = status.st_size
    if scheme == "irys":
        with contextlib.suppress(OSError):  # without evidence; found out when it is read
            size += Path(item.path + EVIDENCE_SUFFIX).lstat().st_size
    return Entry(Root(scheme, bytes.fromhex(item.name)), Path(item.path), size, status.st_atime_ns)
