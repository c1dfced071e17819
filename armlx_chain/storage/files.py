"""Files that appear under their name only when they are complete.

- Written beside the destination, synced, renamed: a reader sees the old file or the whole new one.
- A full disk or a folder that cannot be written is a :class:`MachineError` and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

from armlx_chain.errors import MachineError
from armlx_chain.storage.interface import DownloadOptions, Fetcher, VerifiedBytes, VerifiedFile
from armlx_chain.types import Root

__all__ = ["Staged", "WholeFiles", "cannot_write", "require_replaceable", "staged", "write_file"]


def cannot_write(path: Path, error: OSError) -> MachineError:
    """The error for a file that cannot be written."""
    return MachineError(
        f"{path} cannot be written: {error.strerror or error}.",
        meaning="Nothing was left under that name that was not there before.",
        next_step="Free space there, or choose another place.",
    )


def require_replaceable(path: Path) -> None:
    """Refuse to put a file in the place of a device, pipe or socket: the administrator could do so, and would
    lose, say, ``/dev/null``. (A folder is refused by the rename; of a link, only the link is replaced.)

    Raises:
        MachineError: something of that kind has this name.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:  # nothing there; or found out when it is written
        return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):
        raise MachineError(
            f"{path} cannot be written: it is a device, a pipe or a socket, and would be replaced by a file.",
            next_step="Name a file; or take the bytes from stdout, where the command has --raw.",
        )


class Staged:
    """A name beside the destination, and whether what stands there shall get the destination's name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept = False

    def keep(self) -> None:
        """What stands at ``path`` is complete."""
        self.kept = True


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Staged]:
    """A free name beside ``path``; renamed to it at the end of the block if it was kept, else removed.

    Raises:
        MachineError: it cannot be written, or is a device, a pipe or a socket.
    """
    require_replaceable(path)
    there = Staged(path.with_name(f".{path.name[:100]}.{os.getpid()}.{os.urandom(4).hex()}.part"))
    try:
        try:
            yield there
            if there.kept:
                there.path.replace(path)
        finally:
            there.path.unlink(missing_ok=True)  # also two names of one file, which replace leaves as they are
    except OSError as error:
        raise cannot_write(path, error) from error


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, all or nothing.

    Raises:
        MachineError: it cannot be written.
    """
    with staged(path) as there:
        with there.path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        there.keep()


class WholeFiles:
    """Downloads of a storage that only knows content small enough for memory, such as signed documents."""

    def __init__(self, inner: Fetcher) -> None:
        self._inner = inner

    def fetch(self, root: Root, *, max_bytes: int, expected_size: int | None = None) -> VerifiedBytes:
        """See :meth:`armlx_chain.storage.interface.Fetcher.fetch`."""
        return self._inner.fetch(root, max_bytes=max_bytes, expected_size=expected_size)

    def download(self, root: Root, destination: Path, **options: Unpack[DownloadOptions]) -> VerifiedFile:
        """See :meth:`armlx_chain.storage.interface.Storage.download`; nothing is resumed here."""
        expected_size, progress = options.get("expected_size"), options.get("progress")
        found = self.fetch(root, max_bytes=options["max_bytes"], expected_size=expected_size)
        if progress is not None:
            progress.start(len(found.data))
            progress.advance(len(found.data))
        write_file(destination, found.data)
        return VerifiedFile(
            root, destination, len(found.data), found.source, found.faults, found.proof, found.evidence
        )
