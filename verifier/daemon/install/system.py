"""The machine, as an installation needs to see and change it. One small interface, so that plans can be tried
on a simulated machine (``tests/install``) and in another root folder.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from armlx_chain.errors import MachineError

__all__ = ["FileFacts", "Ran", "RealSystem", "System"]

_COMMAND_SECONDS: Final = 120.0
_FILE_BYTES: Final = 1 << 20
"""No file of an installation is larger."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a plain file."""

    sha256: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class Ran:
    """A program that ended: its code, and what it said on both streams unless it talked to a person."""

    code: int
    output: str


class System(Protocol):
    """A machine. Looking changes nothing."""

    def file(self, path: PurePosixPath) -> FileFacts | None:
        """A plain file; ``None`` where there is none.

        Raises:
            MachineError: something else lies there, or it cannot be read.
        """
        ...

    def exists(self, path: PurePosixPath) -> bool:
        """Whether anything lies there; ``False`` also where this account may not look."""
        ...

    def folder(self, path: PurePosixPath) -> tuple[str, str, int] | None:
        """Owner, group and mode of a folder, by names; ``None`` where there is none."""
        ...

    def account(self, name: str) -> bool:
        """Whether there is such an account."""
        ...

    def members(self, group: str) -> tuple[str, ...] | None:
        """The accounts a group lists; ``None`` without such a group."""
        ...

    def run(self, argv: Sequence[str], *, asks: bool = False) -> Ran:
        """Run a program of the system's; one that is missing ends with 127."""
        ...

    def write(
        self, path: PurePosixPath, data: bytes, mode: int, owner: str | None, group: str | None
    ) -> None:
        """Put a file in its place as a whole, its folders made.

        Raises:
            MachineError: it cannot be written.
        """
        ...

    def remove(self, path: PurePosixPath) -> None:
        """Remove a plain file; one that is gone is fine.

        Raises:
            MachineError: it cannot be removed.
        """
        ...


class RealSystem:
    """This machine; files below ``root``, where that is another folder than ``/`` (for trying)."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def file(self, path: PurePosixPath) -> FileFacts | None:
        place = self._at(path)
        try:
            found = place.lstat()
            if not stat.S_ISREG(found.st_mode):
                raise MachineError(f"{place} is no plain file.", next_step="Look at it, and move it away.")
            with place.open("rb") as stream:
                data = stream.read(_FILE_BYTES + 1)
        except FileNotFoundError:
            return None
        except PermissionError:
            # It is there, and only root can say whether it is as it should be: the plan will say "write".
            return FileFacts(b"", -1)
        except OSError as error:
            raise MachineError(f"{place} cannot be read ({error.strerror}).") from error
        return FileFacts(hashlib.sha256(data).digest(), stat.S_IMODE(found.st_mode))

    def exists(self, path: PurePosixPath) -> bool:
        try:
            return os.path.lexists(self._at(path))
        except OSError:
            return False

    def folder(self, path: PurePosixPath) -> tuple[str, str, int] | None:
        try:
            found = self._at(path).lstat()
        except OSError:
            return None
        if not stat.S_ISDIR(found.st_mode):
            return None
        with contextlib.suppress(KeyError):
            owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name
            return owner, group, stat.S_IMODE(found.st_mode)
        return str(found.st_uid), str(found.st_gid), stat.S_IMODE(found.st_mode)

    def account(self, name: str) -> bool:
        try:
            pwd.getpwnam(name)
        except KeyError:
            return False
        return True

    def members(self, group: str) -> tuple[str, ...] | None:
        try:
            return tuple(grp.getgrnam(group).gr_mem)
        except KeyError:
            return None

    def run(self, argv: Sequence[str], *, asks: bool = False) -> Ran:
        try:
            if asks:
                talked = subprocess.run(list(argv), check=False)
                return Ran(talked.returncode, "")
            done = subprocess.run(
                list(argv),
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_COMMAND_SECONDS,
            )
        except FileNotFoundError:
            return Ran(127, f"there is no {argv[0]} here")
        except subprocess.TimeoutExpired:
            return Ran(124, f"it did not end within {_COMMAND_SECONDS:.0f} s")
        except OSError as error:
            return Ran(126, str(error))
        return Ran(done.returncode, done.stdout.decode("utf-8", "replace"))

    def write(
        self, path: PurePosixPath, data: bytes, mode: int, owner: str | None, group: str | None
    ) -> None:
        part = f".{path.name}.part"
        try:
            with self._folder_of(path, make=True) as folder:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=folder)
                how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                with os.fdopen(os.open(part, how, 0o600, dir_fd=folder), "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    if owner is not None or group is not None:
                        os.fchown(stream.fileno(), _uid(owner), _gid(group))
                    os.fchmod(stream.fileno(), mode)
                    os.fsync(stream.fileno())
                os.replace(part, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except (OSError, KeyError) as error:
            raise MachineError(f"{self._at(path)} cannot be written ({error}).") from error

    def remove(self, path: PurePosixPath) -> None:
        try:
            with self._folder_of(path, make=False) as folder:
                os.unlink(path.name, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise MachineError(f"{self._at(path)} cannot be removed ({error.strerror}).") from error

    @contextlib.contextmanager
    def _folder_of(self, path: PurePosixPath, *, make: bool) -> Iterator[int]:
        """A file's folder, opened; a link on the way counts only where nobody but root could put it there."""
        here = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in path.parent.parts[1:]:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=here)
                links = 0 if _is_ours_alone(os.fstat(here)) else os.O_NOFOLLOW
                here, above = os.open(name, os.O_RDONLY | os.O_DIRECTORY | links, dir_fd=here), here
                os.close(above)
            yield here
        finally:
            os.close(here)

    def _at(self, path: PurePosixPath) -> Path:
        return self._root / str(path).lstrip("/")


def _is_ours_alone(folder: os.stat_result) -> bool:
    return folder.st_uid in (0, os.geteuid()) and not folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _uid(owner: str | None) -> int:
    return -1 if owner is None else pwd.getpwnam(owner).pw_uid


def _gid(group: str | None) -> int:
    return -1 if group is None else grp.getgrnam(group).gr_gid
