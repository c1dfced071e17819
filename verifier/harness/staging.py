"""Lays out what a sandbox is shown: workspaces and the benchmark's cache folder.

Invariants:

- only bytes that were checked against the manifest's roots are shown, from a private copy;
- the validation shard of a training run is a decoy: the bytes of a training shard under its name; the fresh
  shard is not there at all;
- links, devices and paths that leave their folder are refused.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from armlx_chain.errors import CandidateError, VerifierFault
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root

PREPARE: Final = "prepare.py"
TRAIN: Final = "train.py"
_SHIM: Final = b"""

# ----- from here on added by the verifier -----
import sys as _harness_sys

_harness_sys.path.insert(0, "/armlx/harness")
import harness_shim as _harness_shim

_harness_sys.path.remove("/armlx/harness")
_harness_shim.install(globals())
"""


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


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A private copy of a benchmark file whose root was right when it was made.

    Attributes:
        stamp: Size, time of last change and inode of the copy then.
    """

    path: str
    role: str
    root: Root
    copy: Path
    stamp: tuple[int, int, int]

    def check(self) -> None:
        """See that the copy is still what was checked; hashed again only if size, time or inode moved.

        Raises:
            VerifierFault: if it is not.
        """
        try:
            if _stamp(self.copy) != self.stamp and root_of(self.copy.read_bytes()) != self.root:
                raise _changed(self.path, "has changed since it was checked")
        except OSError as problem:
            raise _changed(self.path, f"cannot be read any more ({problem.strerror})") from problem


def _stamp(path: Path) -> tuple[int, int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


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
    """Copy every file of the manifest into ``target``, checking size and root of what was read.

    Raises:
        VerifierFault: if a file is missing, a link, or not the published one.
    """
    checked = []
    for entry in entries:
        data = _read_plain(folder, contained(entry.path), entry.size)
        if len(data) != entry.size or root_of(data) != entry.root:
            raise _changed(entry.path, "is not the published file")
        copy = target / entry.path
        write_file(copy, data)
        checked.append(CheckedFile(entry.path, str(entry.role), entry.root, copy, _stamp(copy)))
    return checked


def _read_plain(folder: Path, path: PurePosixPath, size: int) -> bytes:
    """The bytes of a regular file; no component below ``folder`` may be a link."""
    place = folder
    for part in path.parts:
        place = place / part
        if place.is_symlink():
            raise _changed(str(path), "is a link or lies behind one")
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as problem:
        raise _changed(str(path), f"cannot be read ({problem.strerror})") from problem
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _changed(str(path), "is not a regular file")
        return stream.read(size + 1)


def _changed(path: str, what: str) -> VerifierFault:
    return VerifierFault(
        f"The benchmark file {path} {what}.",
        meaning="Without the published data nothing can be measured here.",
        next_step="Fetch the benchmark again.",
    )


def write_file(path: Path, data: bytes) -> None:
    """Write a file that the sandbox's user can read, in folders it can enter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o644)


def open_folders(folder: Path) -> None:
    """Let the sandbox's user list and enter a folder of ours and all below it, whatever our umask is."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        place.chmod(0o755)


def lay_out_cache(target: Path, files: Sequence[CheckedFile], in_place_of_validation: Path) -> Path:
    """A cache folder as ``prepare.py`` expects it, with some bytes in place of the validation shard.

    Files are linked, not copied again: all of them are private copies that nobody writes.
    """
    shutil.rmtree(target, ignore_errors=True)
    for file in files:
        if file.role == "fresh":
            continue
        source = in_place_of_validation if file.role == "validation" else file.copy
        place = target / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, place)
    open_folders(target)
    return target


def lay_out_workspace(target: Path, snapshot: Mapping[str, bytes], files: Mapping[str, bytes]) -> Path:
    """The snapshot with replacement files in place and the stand-in for ``evaluate_bpb`` appended.

    Raises:
        CandidateError: if a replacement touches ``prepare.py`` or leaves the folder.
    """
    if PREPARE in files:
        raise CandidateError("A candidate cannot replace prepare.py: it is the fixed side of the benchmark.")
    for path in files:
        if path not in snapshot:
            _refuse_odd(path)
    merged = {**snapshot, **files, PREPARE: snapshot[PREPARE] + _SHIM}
    try:
        return lay_out_plain(target, merged)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as problem:
        raise CandidateError(
            f"A path of the candidate is a file and a folder at once: {problem}."
        ) from problem


def _refuse_odd(path: str) -> None:
    try:
        contained(path)
    except VerifierFault as problem:
        raise CandidateError(problem.message) from problem


def lay_out_plain(target: Path, files: Mapping[str, bytes]) -> Path:
    """A folder with these files, replacing what was there."""
    shutil.rmtree(target, ignore_errors=True)
    for path, data in files.items():
        write_file(target / contained(path), data)
    open_folders(target)
    return target


@contextmanager
def own_disk(folder: Path) -> Iterator[None]:
    """What our own disk refuses (it is full, a stranger's path is too long for it) is a fault of ours."""
    try:
        yield
    except OSError as problem:
        raise VerifierFault(
            f"{folder} cannot be used: {problem.strerror or type(problem).__name__}.",
            next_step="Free some space, or choose another folder with a shorter path.",
        ) from problem
