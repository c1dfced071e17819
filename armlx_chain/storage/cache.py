"""A content-addressed cache on disk, proven again on every read.

- A file's name is its root; its content is proven before it is used, so a corrupt or forged entry is a miss,
  is removed, and is reported as a fault of ``cache``. What needs more than bytes and root for a proof (a
  signed item) keeps its evidence beside it.
- Entries appear by an atomic rename of a complete, synced file, are read through one open descriptor and
  disappear by unlink: several processes may share a folder, and an eviction harms no reader.
- Links and other things that are no regular file of this user are never followed, read or kept.
- The folder stays below its limit: the least recently used entries go, one process at a time decides which.
- Large files are linked into and out of it where the file system can, else copied, never held in memory. At
  most one file elsewhere shares its blocks with an entry: edited in place it is a corrupt entry here, no
  more, and never changes what was delivered under another name.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Unpack

from armlx_chain.errors import ContentMismatch, ContentTooLarge, MachineError, StorageError
from armlx_chain.storage.files import staged, write_file
from armlx_chain.storage.interface import (
    MAX_EVIDENCE_BYTES,
    DownloadOptions,
    Evidence,
    Fault,
    FaultKind,
    Prover,
    Storage,
    VerifiedBytes,
    VerifiedFile,
)
from armlx_chain.storage.provers import default_evidence, prover_for
from armlx_chain.storage.shelf import Entry, Shelf, open_unfollowed
from armlx_chain.types import Root

__all__ = ["DEFAULT_LIMIT", "CachedStorage", "ContentCache"]

log = logging.getLogger(__name__)

DEFAULT_LIMIT = 10 << 30
"""Bytes kept unless something else is configured."""
_COPIED_AT_ONCE = 1 << 20
_LINK_FROM = 1 << 20
"""Files from this size on share their blocks with the cache; smaller ones are copied."""
_MOST_NAMES = 2
"""The entry's, and that of one file elsewhere: two of those would change together when one is edited."""


class ContentCache:
    """Bytes by root, under ``directory`` (made on the first write).

    Args:
        limit: Most bytes kept; 0 keeps nothing.
        prover: Who proves a root's entries.
        clock: Seconds since the epoch, for the order of use.
    """

    def __init__(
        self,
        directory: Path,
        *,
        limit: int = DEFAULT_LIMIT,
        prover: Callable[[Root], Prover] = prover_for,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._limit = limit
        self._prover = prover
        self._clock = clock
        self.shelf = Shelf(directory, clock)

    def path_of(self, root: Root) -> Path:
        """Where the bytes of ``root`` are, if they are here."""
        return self.shelf.path_of(root)

    def size_of(self, root: Root) -> int | None:
        """The length of the entry of ``root``, unproven; ``None`` if there is none."""
        try:
            return self.path_of(root).lstat().st_size
        except OSError:
            return None

    # --- reading -------------------------------------------------------------------------------------

    def get(self, root: Root, *, max_bytes: int) -> bytes | None:
        """The proven bytes of ``root``, or ``None``; see :meth:`find`."""
        found = self.find(root, max_bytes=max_bytes)
        return None if found is None else found.data

    def find(self, root: Root, *, max_bytes: int, faults: list[Fault] | None = None) -> VerifiedBytes | None:
        """The proven content of ``root``, or ``None``. What was removed for being wrong goes to ``faults``.

        Raises:
            ContentTooLarge: if the entry is right but longer than ``max_bytes``.
        """
        with self._opened(root, faults) as opened:
            if opened is None:
                return None
            file, size, evidence = opened
            if size > max_bytes:
                self._require_wrong(root, file, size, evidence, max_bytes, faults)
                return None
            data = file.read(size)
            if not self._proven(root, io.BytesIO(data), size, evidence, faults):
                return None
            self._used(file)
            return VerifiedBytes(root, data, "cache", (), evidence.kind, _told(evidence))

    def deliver(
        self, root: Root, destination: Path, *, max_bytes: int, faults: list[Fault] | None = None
    ) -> VerifiedFile | None:
        """Put the content of ``root`` at ``destination``, or ``None`` if it is not here.

        What gets that name is proven in place: the very file, after it was linked or copied.

        Raises:
            ContentTooLarge: as for :meth:`find`.
            MachineError: the destination cannot be written.
        """
        with self._opened(root, faults) as opened:
            if opened is None:
                return None
            file, size, evidence = opened
            if size > max_bytes:
                self._require_wrong(root, file, size, evidence, max_bytes, faults)
                return None
            with staged(destination) as there:
                _link_or_copy(self.path_of(root), file, size, there.path)
                with there.path.open("rb") as copy:
                    if not self._proven(root, copy, size, evidence, faults):
                        return None
                there.keep()
            self._used(file)
            return VerifiedFile(root, destination, size, "cache", (), evidence.kind, _told(evidence))

    @contextlib.contextmanager
    def _opened(
        self, root: Root, faults: list[Fault] | None
    ) -> Iterator[tuple[BinaryIO, int, Evidence] | None]:
        """The entry's descriptor, length and evidence; ``None`` if there is no usable one."""
        path = self.path_of(root)
        try:
            descriptor = open_unfollowed(path)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        except OSError as error:
            if path.is_symlink():
                self._reject(root, None, "it is a link", faults)
            else:
                log.warning("the cache entry %s cannot be read: %s", path, error)
            yield None
            return
        try:
            status = os.fstat(descriptor)
            evidence = default_evidence(root) or self.shelf.evidence_of(root)
            problem = _problem(status, evidence)
            if problem is not None or evidence is None:
                self._reject(root, status, problem or "", faults)
                yield None
            else:
                with os.fdopen(descriptor, "rb", closefd=False) as file:
                    yield file, status.st_size, evidence
        finally:
            os.close(descriptor)

    def _require_wrong(
        self,
        root: Root,
        file: BinaryIO,
        size: int,
        evidence: Evidence,
        max_bytes: int,
        faults: list[Fault] | None,
    ) -> None:
        """A miss after all, if what is too large is wrong as well.

        Raises:
            ContentTooLarge: it is right.
        """
        if self._proven(root, file, size, evidence, faults):
            raise ContentTooLarge(f"{root} has {size} bytes; the limit is {max_bytes}.")

    def _proven(
        self, root: Root, file: BinaryIO, size: int, evidence: Evidence, faults: list[Fault] | None
    ) -> bool:
        """Whether the bytes belong to the root; the entry is removed if they do not."""
        try:
            self._prover(root).prove(root, file, size, evidence)
        except ContentMismatch:
            self._reject(root, None, "its bytes do not belong to its name", faults)
            return False
        return True

    def _reject(
        self, root: Root, status: os.stat_result | None, why: str, faults: list[Fault] | None
    ) -> None:
        if status is not None and stat.S_ISDIR(status.st_mode):
            why += "; it cannot be removed"
        else:
            self.shelf.remove(root)
            why += "; it was removed"
        log.info("the cache entry %s: %s", self.path_of(root), why)
        if faults is not None:
            faults.append(Fault("cache", FaultKind.WRONG_BYTES, f"the entry of {root}: {why}"))

    def _used(self, file: BinaryIO) -> None:
        """Note the use in the access time; the modification time may be somebody's linked file's."""
        modified = os.fstat(file.fileno()).st_mtime_ns
        with contextlib.suppress(OSError):  # a cache that may only be read
            os.utime(file.fileno(), ns=(int(self._clock() * 1e9), modified))

    # --- writing -------------------------------------------------------------------------------------

    def put(self, root: Root, data: bytes, evidence: Evidence | None = None) -> None:
        """Keep ``data``.

        Raises:
            ContentMismatch: if it is not proven to belong to ``root``; nothing is written then.
            StorageError: if the folder cannot be written, or the disk is full; nothing is lost then.
        """
        evidence = self._accepted(root, evidence)
        self._prover(root).prove(root, io.BytesIO(data), len(data), evidence)
        with self._writing(root, len(data), evidence) as path:
            if path is not None:
                write_file(path, data)

    def keep(self, found: VerifiedBytes) -> None:
        """Keep what was fetched, if possible; a failure is said and costs the next download, no more."""
        with _unkept():
            self.put(found.root, found.data, found.evidence)

    def put_file(self, root: Root, source: Path, evidence: Evidence | None = None) -> None:
        """Keep a file that was proven just now; it is proven again on every read.

        Raises:
            ContentMismatch: if a proof needs evidence and there is none.
            StorageError: as for :meth:`put`.
        """
        evidence = self._accepted(root, evidence)
        size = _size_of(source)
        with self._writing(root, size, evidence) as path:
            if path is not None:
                with staged(path) as there, source.open("rb") as file:
                    _link_or_copy(source, file, size, there.path)
                    there.keep()

    def _accepted(self, root: Root, evidence: Evidence | None) -> Evidence:
        found = default_evidence(root) or evidence
        if found is None or len(found.blob) > MAX_EVIDENCE_BYTES:
            raise ContentMismatch(f"There is no evidence to keep with the content of {root}; not cached.")
        return found

    @contextlib.contextmanager
    def _writing(self, root: Root, size: int, evidence: Evidence) -> Iterator[Path | None]:
        """Where to write an entry, with room made for it; ``None`` if it is larger than the whole cache."""
        if size + len(evidence.blob) > self._limit:
            log.info("%s is larger than the cache may be; not kept", root)
            yield None
            return
        try:
            path = self.shelf.prepare(root)
            if evidence.blob:
                self.shelf.write_evidence(root, evidence)
            yield path
            self.shelf.shrink(self._limit, keep=path)
        except (OSError, MachineError) as error:
            raise StorageError(
                f"The cache folder {self._directory} cannot be written: {error}",
                meaning="Nothing is lost; it is only not kept for the next time.",
                next_step="Free space, or choose another cache folder.",
            ) from error

    # --- keeping house -------------------------------------------------------------------------------

    def check(self, entry: Entry) -> bool:
        """Prove one entry now; a wrong one is removed."""
        faults: list[Fault] = []
        with self._opened(entry.root, faults) as opened:
            if opened is None:
                return False
            file, size, evidence = opened
            return self._proven(entry.root, file, size, evidence, faults)


@contextlib.contextmanager
def _unkept() -> Iterator[None]:
    """A failure to keep something is said, and costs no more than the next download."""
    try:
        yield
    except StorageError as error:
        log.warning("not kept in the cache: %s", " ".join(error.sentences()))


@contextlib.contextmanager
def _with_faults(faults: Sequence[Fault]) -> Iterator[None]:
    """An error says too what was wrong with the cache's own entry: offline, that is the reason for it."""
    try:
        yield
    except StorageError as error:
        if faults:
            said = [str(fault) for fault in faults]
            error.meaning = " ".join([*([error.meaning] if error.meaning else []), *said]) + "."
            error.details["faults"] = [*said, *error.details.get("faults", [])]
        raise


class CachedStorage:
    """A :class:`Storage` that looks into a cache first and keeps what it fetched.

    A cache that cannot be written costs nothing but the next download: what was fetched is returned all the
    same. Entries that were found wrong and removed are among the result's faults.
    """

    def __init__(self, inner: Storage, cache: ContentCache) -> None:
        self._inner = inner
        self._cache = cache

    def fetch(self, root: Root, *, max_bytes: int, expected_size: int | None = None) -> VerifiedBytes:
        """See :meth:`armlx_chain.storage.interface.Fetcher.fetch`; ``source`` is ``cache`` for a hit."""
        faults: list[Fault] = []
        kept = self._cache.find(root, max_bytes=max_bytes, faults=faults)
        if kept is not None and expected_size in (None, len(kept.data)):
            return replace(kept, faults=tuple(faults))
        with _with_faults(faults):
            found = self._inner.fetch(root, max_bytes=max_bytes, expected_size=expected_size)
        self._cache.keep(found)
        return replace(found, faults=(*faults, *found.faults))

    def download(self, root: Root, destination: Path, **options: Unpack[DownloadOptions]) -> VerifiedFile:
        """See :meth:`armlx_chain.storage.interface.Storage.download`; ``source`` is ``cache`` for a hit."""
        faults: list[Fault] = []
        expected_size, progress = options.get("expected_size"), options.get("progress")
        if expected_size is None or self._cache.size_of(root) == expected_size:
            limit = options["max_bytes"]
            kept = self._cache.deliver(root, destination, max_bytes=limit, faults=faults)
            if kept is not None:
                if progress is not None:
                    progress.start(kept.size)
                    progress.advance(kept.size)
                return replace(kept, faults=tuple(faults))
        with _with_faults(faults):
            found = self._inner.download(root, destination, **options)
        with _unkept():
            self._cache.put_file(root, found.path, found.evidence)
        return replace(found, faults=(*faults, *found.faults))


def _problem(status: os.stat_result, evidence: Evidence | None) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    if status.st_uid not in (os.geteuid(), 0):
        return "it belongs to another user"
    if evidence is None:
        return "the evidence beside it is missing or damaged"
    return None


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from error


def _told(evidence: Evidence) -> Evidence | None:
    return evidence if evidence.blob else None


def _link_or_copy(source: Path, file: BinaryIO, size: int, target: Path) -> None:
    """Make ``target`` hold what ``file`` (opened from ``source``) holds.

    Raises:
        OSError: it cannot be written, or the source is a link by now.
    """
    if size >= _LINK_FROM:
        with contextlib.suppress(OSError):  # another file system, or one without links: copied below
            os.link(source, target, follow_symlinks=False)
            status = target.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_nlink <= _MOST_NAMES:
                return
            target.unlink()
    with target.open("xb") as copy:
        while block := file.read(_COPIED_AT_ONCE):
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
