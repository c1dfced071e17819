"""Which files a candidate may replace, and what the repository looks like then.

- A candidate is the snapshot with files of the mutable surface replaced or added; nothing else may change.
- A path is judged as every file system a candidate may run on would read it: without regard to case, to
  Unicode's different spellings of a letter, and to characters nobody sees.
- Everything refused here ends in ``CandidateError``: nothing is run, sent or slashed. It proves no fault.
- Candidates have regular files only; links are refused where bytes are read (bundle reader, ``read_files``).

::

    surface = Surface.of(protocol)
    check_candidate(surface, snapshot.keys(), files)
    tree = merge(snapshot, files)
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armlx_chain.errors import CandidateError
from armlx_chain.protocol.globs import Glob
from armlx_chain.protocol.text import check_relative_path

if TYPE_CHECKING:
    from armlx_chain.protocol.model import Protocol

MAX_FILES: Final = 64
"""Files of one candidate. Real candidates have one."""
MAX_FILE_BYTES: Final = 256 << 10
MAX_TOTAL_BYTES: Final = 1 << 20
"""Far beyond what the source gate lets through; it bounds what is looked at before the gate."""
MAX_DEPTH: Final = 16
MAX_SEGMENT_BYTES: Final = 200

_CONFIG_SUFFIXES: Final = frozenset({".toml", ".yaml", ".yml", ".json", ".ini", ".cfg", ".conf", ".lock"})
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_RESERVED: Final = frozenset({".git", "authorship.json"})
"""The repository's own book-keeping, and the bundle's; never part of a candidate's files."""


DEPENDENCY_FILES: Final = tuple(
    Glob.parse(f"**/{name}")
    for name in (
        "pyproject.toml",
        "uv.lock",
        "uv.toml",
        "requirements*.txt",
        "requirements*.in",
        "constraints*.txt",
        "setup.py",
        "setup.cfg",
        ".python-version",
        "pylock*.toml",
    )
)
"""Files by which tools decide what to install."""


@dataclass(frozen=True)
class Surface:
    """What a protocol lets a candidate change.

    Attributes:
        allowed: Globs of paths that may be replaced or added.
        forbidden: Globs that win over ``allowed``; naming a folder forbids what is in it.
        immutable: The harness; the same reading.
        dependencies: Files that say what is installed, where the protocol allows no new ones. (They have
            no effect in any case: the environment is made from the snapshot.)
        kinds: ``code_edit``, ``config_edit`` or both.
    """

    allowed: tuple[Glob, ...]
    forbidden: tuple[Glob, ...] = ()
    immutable: tuple[Glob, ...] = ()
    dependencies: tuple[Glob, ...] = ()
    kinds: frozenset[str] = frozenset({"code_edit", "config_edit"})

    @classmethod
    def of(cls, protocol: Protocol) -> Surface:
        """The surface a protocol describes."""
        surface = protocol.mutable_surface
        return cls(
            allowed=tuple(Glob.parse(text) for text in surface.allowed_globs),
            forbidden=tuple(Glob.parse(text) for text in surface.forbidden_globs),
            immutable=tuple(Glob.parse(text) for text in protocol.immutable_harness.paths),
            dependencies=DEPENDENCY_FILES if protocol.environment.constraints.no_new_dependencies else (),
            kinds=frozenset(surface.allowed_kinds),
        )


def check_candidate(surface: Surface, snapshot_paths: Collection[str], files: Mapping[str, bytes]) -> None:
    """Check that a candidate changes the mutable surface and nothing else.

    Args:
        snapshot_paths: Relative paths of the published repository.
        files: The candidate's files by relative path.

    Raises:
        CandidateError: naming the first path that breaks a rule, and the rule.
    """
    _check_amount(files)
    for path, data in files.items():
        _check_path(path)
        _check_surface(surface, path)
        if len(data) > MAX_FILE_BYTES:
            raise CandidateError(
                f"{shown(path)} has {len(data)} bytes; one file of a candidate may have {MAX_FILE_BYTES}.",
                next_step="Make the file smaller.",
            )
    _check_collisions(snapshot_paths, files)


def merge(snapshot: Mapping[str, bytes], files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The repository with the candidate in place, by sorted path. Both must have been checked."""
    return dict(sorted({**snapshot, **files}.items()))


def shown(path: str) -> str:
    """A stranger's path in ASCII and of bounded length, for messages."""
    return ascii(path if len(path) <= 100 else path[:97] + "...")


def _check_amount(files: Mapping[str, bytes]) -> None:
    if not files:
        raise CandidateError(
            "The candidate has no files.", next_step="Add the changed file, usually train.py."
        )
    if len(files) > MAX_FILES:
        raise CandidateError(f"The candidate has {len(files)} files; at most {MAX_FILES} are allowed.")
    total = sum(len(data) for data in files.values())
    if total > MAX_TOTAL_BYTES:
        raise CandidateError(f"The candidate has {total} bytes; at most {MAX_TOTAL_BYTES} are allowed.")


def _check_path(path: str) -> None:
    try:
        check_relative_path(path)
    except ValueError as problem:
        raise CandidateError(f"The path {shown(path)} is refused: {problem}.") from problem
    if path == ".":
        raise CandidateError("'.' is a folder, not a file of a candidate.")
    segments = path.split("/")
    if len(segments) > MAX_DEPTH:
        raise CandidateError(f"The path {shown(path)} lies more than {MAX_DEPTH} folders deep.")
    for segment in segments:
        _check_segment(path, segment)


def _check_segment(path: str, segment: str) -> None:
    hidden = next((char for char in segment if unicodedata.category(char) in _INVISIBLE), None)
    if hidden is not None:
        raise CandidateError(f"The path {shown(path)} holds the invisible character U+{ord(hidden):04X}.")
    if len(segment.encode("utf-8")) > MAX_SEGMENT_BYTES:
        raise CandidateError(f"A name in the path {shown(path)} is longer than {MAX_SEGMENT_BYTES} bytes.")
    if segment != segment.strip() or segment.endswith("."):
        # Some file systems drop these, so the name would become another one.
        raise CandidateError(
            f"A name in the path {shown(path)} begins or ends with a blank, or ends with a dot."
        )
    if fold(segment) in _RESERVED:
        raise CandidateError(f"The path {shown(path)} holds a reserved name.")


def fold(path: str) -> str:
    """The path as the most forgiving file system reads it: no case, one spelling per letter."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def _check_surface(surface: Surface, path: str) -> None:
    for name, globs in (
        ("immutable harness", surface.immutable),
        ("forbidden paths", surface.forbidden),
        ("dependencies, of which it allows no new ones", surface.dependencies),
    ):
        hit = next((glob for glob in globs if glob.covers(path) or glob.covers(fold(path))), None)
        if hit is not None:
            raise CandidateError(
                f"{shown(path)} belongs to the protocol's {name} ({hit.text!a}).",
                meaning="Changing it would make the result incomparable.",
                next_step="Leave this file out of the candidate.",
            )
    if not any(glob.matches(path) for glob in surface.allowed):
        allowed = ", ".join(ascii(glob.text) for glob in surface.allowed[:10])
        raise CandidateError(
            f"{shown(path)} is not on the protocol's mutable surface.",
            next_step=f"A candidate may change: {allowed}.",
        )
    kind = "config_edit" if Path(path).suffix.lower() in _CONFIG_SUFFIXES else "code_edit"
    if kind not in surface.kinds:
        raise CandidateError(f"{shown(path)} would be a {kind}, which the protocol does not allow.")


def _check_collisions(snapshot_paths: Collection[str], files: Mapping[str, bytes]) -> None:
    """No two paths, and no folder and file, that some file system takes for one."""
    spelling: dict[str, str] = {}
    is_file: dict[str, bool] = {}
    for path in (*sorted(snapshot_paths), *sorted(files)):
        for name, whole in _names(path):
            key = fold(name)
            known = spelling.setdefault(key, name)
            if path in files and known != name:
                raise CandidateError(
                    f"{shown(path)} and {shown(known)} are one path on some file systems.",
                    next_step="Spell the path exactly as the repository does.",
                )
            if path in files and is_file.setdefault(key, whole) is not whole:
                raise CandidateError(f"{shown(name)} would be a file and a folder at once.")
            is_file.setdefault(key, whole)


def _names(path: str) -> Iterable[tuple[str, bool]]:
    """Every folder of a path and the path itself, with whether it is the file."""
    parts = path.split("/")
    return ((("/".join(parts[:count])), count == len(parts)) for count in range(1, len(parts) + 1))


def read_files(folder: Path, paths: Collection[str]) -> dict[str, bytes]:
    """Read a candidate's files from a folder of one's own, following no link on the way.

    Args:
        folder: Where the repository lies.
        paths: Relative paths of the changed files.

    Raises:
        CandidateError: if a path is refused, missing, no regular file, reached through a link or too large.
    """
    if len(paths) > MAX_FILES:
        raise CandidateError(f"{len(paths)} files were named; at most {MAX_FILES} are allowed.")
    for path in paths:
        _check_path(path)
    return {path: _read_one(folder, path) for path in paths}


def _read_one(folder: Path, path: str) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    parts = path.split("/")
    try:
        here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts[:-1]:
                inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here = inner
            descriptor = os.open(parts[-1], flags, dir_fd=here)
        finally:
            os.close(here)
    except OSError as problem:
        what = (
            "is or lies behind a link" if problem.errno in (errno.ELOOP, errno.ENOTDIR) else "cannot be read"
        )
        raise CandidateError(f"{shown(path)} {what} ({problem.strerror}).") from problem
    try:
        # Checked on what was opened: the name may be another file by now.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CandidateError(f"{shown(path)} is not a regular file.")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE_BYTES:
        raise CandidateError(f"{shown(path)} is larger than {MAX_FILE_BYTES} bytes.")
    return data
