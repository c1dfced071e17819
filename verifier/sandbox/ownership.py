"""Whose the files of a writable mount are: the child's while it lives, the verifier's again afterwards.

Invariants:

- no link is followed, neither of a file nor of a folder: what lies there is a stranger's choice;
- nothing outside the folder changes, not even through a bind mount or another file system below it;
- afterwards no set-id bit is left, and everything can be read by others (a later child has another user id).

The child must not be alive: between a look and a change a living one could put a link in place.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from armlx_chain.errors import VerifierFault

_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH: Final = 128
"""Folders within folders; a descriptor is held for each. No build needs as many."""

_Change = Callable[[str, int, os.stat_result], None]
"""What to do to one name in an open folder."""


def give(folder: Path, uid: int) -> None:
    """Everything below and the folder itself to one user (and the group of the same number).

    Raises:
        VerifierFault: if it is no real folder, or lies too deep, or cannot be changed.
    """

    def change(name: str, parent: int, found: os.stat_result) -> None:
        if (found.st_uid, found.st_gid) != (uid, uid):
            os.chown(name, uid, uid, dir_fd=parent, follow_symlinks=False)

    _walk(folder, change)


def take_back(folder: Path) -> None:
    """Everything to this process's user again, readable for others, no set-id bits.

    Raises:
        VerifierFault: likewise.
    """
    uid, gid = os.geteuid(), os.getegid()

    def change(name: str, parent: int, found: os.stat_result) -> None:
        # An ordinary verifier's child is the same user: there is nothing to take back but the modes.
        if uid == 0 and (found.st_uid, found.st_gid) != (uid, gid):
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        wanted = _opened(found.st_mode)
        # Only what was just seen to be no link: chmod would go through one.
        if wanted is not None and wanted != stat.S_IMODE(found.st_mode):
            os.chmod(name, wanted, dir_fd=parent)

    # A folder may have been closed to us (mode 0), so it is opened up before we go in.
    _walk(folder, change)


def _opened(mode: int) -> int | None:
    if stat.S_ISDIR(mode):
        return stat.S_IMODE(mode) & 0o777 | 0o755
    if stat.S_ISREG(mode):
        plain = stat.S_IMODE(mode) & 0o777 | 0o644
        return plain | 0o111 if plain & 0o111 else plain
    return None


def _walk(folder: Path, change: _Change) -> None:
    try:
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _fault(folder, error) from error
    try:
        found = os.stat(folder.name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            raise VerifierFault(f"{folder} is to be writable inside and is no folder (or a link to one).")
        change(folder.name, parent, found)
        _below(folder.name, parent, found.st_dev, change, depth=0)
    except OSError as error:
        raise _fault(folder, error) from error
    finally:
        os.close(parent)


def _below(name: str, parent: int, device: int, change: _Change, *, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise OSError(f"more than {_MAX_DEPTH} folders within each other")
    descriptor = os.open(name, _OPEN_FOLDER, dir_fd=parent)
    try:
        for entry, found in _entries(descriptor):
            if found.st_dev != device:
                continue
            change(entry, descriptor, found)
            if stat.S_ISDIR(found.st_mode):
                _below(entry, descriptor, device, change, depth=depth + 1)
    finally:
        os.close(descriptor)


def _entries(descriptor: int) -> Iterator[tuple[str, os.stat_result]]:
    for name in os.listdir(descriptor):
        with suppress(FileNotFoundError):
            yield name, os.stat(name, dir_fd=descriptor, follow_symlinks=False)


def _fault(folder: Path, error: OSError) -> VerifierFault:
    return VerifierFault(
        f"The owner of {folder} could not be changed: {error.strerror or error}.",
        next_step="Use a fresh folder of your own on a local disk.",
    )
