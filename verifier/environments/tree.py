"""A folder that a stranger's set-up wrote: made harmless, read-only, and recognised again.

Invariants:

- no link of such a folder is ever followed; one that leaves it is refused, but for the environment's own
  interpreter;
- ``stamp`` is quick (names, kinds, sizes, times); ``content`` reads every byte. Equal stamps mean that none
  was changed since, by anybody who does not set clocks back.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from armlx_chain.errors import SetupRefused, VerifierFault

MOST_FILES: Final = 200_000
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """One entry, by its path below the folder.

    Attributes:
        link: The text of a symbolic link, else ``None``.
    """

    path: str
    facts: os.stat_result
    link: str | None


def entries(folder: Path) -> Iterator[Found]:
    """Everything below a folder, sorted by path within each folder, links not followed.

    Raises:
        VerifierFault: there is more, or it lies deeper, than anybody needs.
    """
    waiting = [""]
    count = 0
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(folder / here) as listing:
                found = sorted(listing, key=lambda entry: entry.name)
        except OSError as problem:  # nested so deep that its path is too long
            raise VerifierFault(f"{folder} cannot be looked through: {problem.strerror}.") from problem
        for entry in found:
            count += 1
            if count > MOST_FILES:
                raise VerifierFault(f"{folder} holds more than {MOST_FILES} files.")
            path = f"{here}/{entry.name}" if here else entry.name
            facts = entry.stat(follow_symlinks=False)
            link = str(Path(entry.path).readlink()) if stat.S_ISLNK(facts.st_mode) else None
            yield Found(path, facts, link)
            if stat.S_ISDIR(facts.st_mode):
                waiting.append(path)


def stamp(folder: Path) -> str:
    """SHA-256 over names, kinds, sizes, times of last change and link texts, in hex."""
    digest = hashlib.sha256()
    for found in entries(folder):
        facts = found.facts
        kind = stat.S_IFMT(facts.st_mode)
        size, time = (0, 0) if stat.S_ISDIR(facts.st_mode) else (facts.st_size, facts.st_mtime_ns)
        line = f"{found.path}\0{kind}\0{size}\0{time}\0{found.link or ''}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def content(folder: Path) -> str:
    """SHA-256 over names, kinds, every byte of the files and link texts, in hex."""
    digest = hashlib.sha256()
    for found in entries(folder):
        inside = _file_digest(folder / found.path) if stat.S_ISREG(found.facts.st_mode) else ""
        kind = stat.S_IFMT(found.facts.st_mode)
        line = f"{found.path}\0{kind}\0{inside}\0{found.link or ''}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def seal(folder: Path, final: Path, interpreter: Path) -> tuple[int, int]:
    """Make what was written harmless and read-only.

    Args:
        folder: Where it lies now.
        final: Where it will lie; absolute links may point below it.
        interpreter: The base interpreter, to which ``bin/python`` may lead.

    Returns:
        Number of files and their bytes.

    Raises:
        SetupRefused: for a device, socket or pipe, and for a link that leaves the folder.
    """
    files = size = 0
    for found in list(entries(folder)):
        place, mode = folder / found.path, found.facts.st_mode
        if found.link is not None:
            _check_link(found, place, final, interpreter)
        elif stat.S_ISDIR(mode):
            place.chmod(0o555)
        elif stat.S_ISREG(mode):
            place.chmod(0o555 if mode & stat.S_IXUSR else 0o444)
            files, size = files + 1, size + found.facts.st_size
        else:
            raise SetupRefused(
                f"The set-up left {found.path[:80]!a}, which is neither file, folder nor link."
            )
    folder.chmod(0o555)
    return files, size


def require_interpreter(folder: Path, interpreter: Path) -> None:
    """The environment's Python must be the base one: this machine's own tools look into that program.

    Raises:
        SetupRefused: a package put something else in its place, or what leads to it cannot be read.
    """
    real = Path(os.path.realpath(folder / "bin" / "python"))
    if real.parent != interpreter.parent:
        raise SetupRefused(
            "The set-up left bin/python, which is no interpreter but a package's own file or link.",
            next_step="Ask the project for a lock without a package that replaces the interpreter.",
        )
    try:
        (folder / "pyvenv.cfg").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise SetupRefused("The set-up left a pyvenv.cfg that cannot be read.") from problem


def remove(folder: Path) -> None:
    """Remove a folder, read-only ones inside it included, however much or deep a stranger left there.

    Folders further down are moved up before they are emptied, so that no path grows too long.
    """
    if not folder.is_dir() or folder.is_symlink():
        return
    folder.chmod(0o700)
    while found := _listed(folder):
        for entry in found:
            if not entry.is_dir(follow_symlinks=False):
                Path(entry.path).unlink()
                continue
            Path(entry.path).chmod(0o700)
            for below in _listed(Path(entry.path)):
                if below.is_dir(follow_symlinks=False):
                    Path(below.path).chmod(0o700)  # to move a folder is to write in it
                    Path(below.path).rename(folder / secrets.token_hex(16))
                else:
                    Path(below.path).unlink()
            Path(entry.path).rmdir()
    folder.rmdir()


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as listing:
        return list(listing)


def _check_link(found: Found, place: Path, final: Path, interpreter: Path) -> None:
    """By its text, and by where it leads: other links on the way make the two differ."""
    text = found.link or ""
    written = Path(os.path.normpath(final / Path(found.path).parent / text))
    leads = Path(os.path.realpath(place))
    for target, inside in ((written, final), (leads, Path(os.path.realpath(final)))):
        if not target.is_relative_to(inside) and target.parent != interpreter.parent:
            raise SetupRefused(
                f"The set-up left the link {found.path[:80]!a}, which leads out of its folder."
            )


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
