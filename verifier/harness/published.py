"""Private copies of a benchmark's published files, whatever their size.

Invariants:

- a file is copied first and the copy is hashed, so that what is checked is what is shown; neither is ever
  held in memory, nor is the copy a link to something that somebody else could change;
- links, devices and paths that leave their folder are refused;
- a copy that is there already, from an earlier session with the same folder of ours, is taken again without
  hashing as long as size, time of last change and inode are what they were when it was hashed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from armlx_chain.errors import StorageError, VerifierFault
from armlx_chain.storage.zerog.filehash import root_of_file
from armlx_chain.types import Root

_PIECE: Final = 8 << 20
_MAX_THREADS: Final = 8
_MAX_NOTE: Final = 4096
_CANNOT_CLONE: Final = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF)


class Entry(Protocol):
    """One file of the benchmark, as its manifest states it."""

    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def root(self) -> Root: ...
    @property
    def role(self) -> str: ...


Stamp = tuple[int, int, int]
"""Size, time of last change in nanoseconds, inode."""


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A private copy of a benchmark file whose root was right when it was made.

    Attributes:
        stamp: Of the copy, when it was hashed.
    """

    path: str
    role: str
    root: Root
    copy: Path
    stamp: Stamp

    def check(self) -> None:
        """See that the copy is still what was checked; hashed again only if size, time or inode moved.

        Raises:
            VerifierFault: if it is not.
        """
        with _readable(self.path):
            if _stamp(self.copy) != self.stamp and _root(self.copy) != self.root:
                raise _changed(self.path, "has changed since it was checked")


def contained(path: str) -> PurePosixPath:
    """A relative path that stays in its folder.

    Raises:
        VerifierFault: for anything else; such a path never comes from a checked document.
    """
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\x00" in path or str(pure) != path:
        raise VerifierFault(f"{path!r} is not a plain relative path.")
    return pure


def copy_checked(folder: Path, entries: Iterable[Entry], target: Path) -> list[CheckedFile]:
    """Copy every file of the manifest into ``target``, a folder of ours, and check size and root of the copy.

    Raises:
        VerifierFault: if a file is missing, a link, or not the published one.
    """
    return [_copied(folder, entry, target / contained(entry.path), _notes(target)) for entry in entries]


def _copied(folder: Path, entry: Entry, copy: Path, notes: Path) -> CheckedFile:
    note = notes / f"{hashlib.sha256(entry.path.encode()).hexdigest()}.json"
    with _plain(folder, contained(entry.path)) as source:
        # The published file must be there and of its size, though its copy may serve again.
        if os.fstat(source).st_size != entry.size:
            raise _changed(entry.path, "is not the published file")
        if not _noted(note, copy, entry.root):
            copy.parent.mkdir(parents=True, exist_ok=True)
            note.unlink(missing_ok=True)
            copy.unlink(missing_ok=True)
            _copy(source, copy, entry.size)
            stamp = _stamp(copy)
            with _readable(entry.path):
                if stamp[0] != entry.size or _root(copy) != entry.root or _stamp(copy) != stamp:
                    raise _changed(entry.path, "is not the published file")
            _note(note, entry.root, stamp)
    return CheckedFile(entry.path, str(entry.role), entry.root, copy, _stamp(copy))


def _copy(source: int, target: Path, size: int) -> None:
    """At most ``size`` bytes and one more, so that a file that grows does not fill the disk.

    Where the file system can, it shares the bytes between the two files until one of them is changed.
    """
    left, clone = size + 1, hasattr(os, "copy_file_range")
    with target.open("wb") as stream:
        target.chmod(0o644)
        while left:
            try:
                moved = _move(source, stream.fileno(), min(left, _PIECE), clone=clone)
            except OSError as problem:
                if not clone or problem.errno not in _CANNOT_CLONE:
                    raise
                clone = False
                continue
            if moved == 0:
                return
            left -= moved


def _move(source: int, target: int, count: int, *, clone: bool) -> int:
    if clone:
        return os.copy_file_range(source, target, count)
    piece = memoryview(os.read(source, count))
    written = 0
    while written < len(piece):
        written += os.write(target, piece[written:])
    return written


def _root(path: Path) -> Root | None:
    """The root of a file of ours; none if it is empty or changes meanwhile."""
    try:
        return root_of_file(path, threads=min(os.cpu_count() or 1, _MAX_THREADS))[0]
    except StorageError:
        return None


def _stamp(path: Path) -> Stamp:
    facts = path.lstat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


# ----- notes of what was hashed, beside the copies


def _notes(target: Path) -> Path:
    notes = target.with_name(f"{target.name}.checked")
    notes.mkdir(parents=True, exist_ok=True)
    return notes


def _note(note: Path, root: Root, stamp: Stamp) -> None:
    note.write_text(json.dumps({"root": str(root), "stamp": stamp}))


def _noted(note: Path, copy: Path, root: Root) -> bool:
    """Whether this copy was hashed to that root, and is as it was then."""
    try:
        with note.open("rb") as stream:
            found = json.loads(stream.read(_MAX_NOTE))
        return bool(found == {"root": str(root), "stamp": list(_stamp(copy))})
    except (OSError, ValueError):
        return False


# ----- reading what others could have put there


@contextmanager
def _plain(folder: Path, path: PurePosixPath) -> Iterator[int]:
    """The descriptor of a regular file; no component below ``folder`` may be a link."""
    place = folder
    for part in path.parts:
        place = place / part
        if place.is_symlink():
            raise _changed(str(path), "is a link or lies behind one")
    with _readable(str(path)):
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _changed(str(path), "is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise _changed(path, f"cannot be read ({problem.strerror})") from problem


def _changed(path: str, what: str) -> VerifierFault:
    return VerifierFault(
        f"The benchmark file {path} {what}.",
        meaning="Without the published data nothing can be measured here.",
        next_step="Fetch the benchmark again.",
    )
