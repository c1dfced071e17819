"""Steps of a plan: what each makes, whether it is there already, how it is made.

- A step that is done does nothing when it is done again.
- Files are written whole: beside their place, synced, renamed. A cut-off installation leaves old or new.
- What only a person can do (a passphrase, a key, a login) is a step too: it is shown with the command for it
  and never carried out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Protocol

from armlx_chain.errors import MachineError
from verifier.daemon.install.system import System

__all__ = ["Command", "Folder", "Person", "Remove", "Step", "WriteFile"]

Test = Callable[[System], bool]


class Step(Protocol):
    """One thing that a plan wants."""

    @property
    def title(self) -> str:
        """What it makes, in a few words."""
        ...

    @property
    def why(self) -> str:
        """What for."""
        ...

    def is_done(self, system: System) -> bool:
        """Whether there is nothing left to do. Changes nothing."""
        ...

    def shows(self) -> list[str]:
        """What exactly would be done, line by line."""
        ...

    def do(self, system: System) -> None:
        """Do it.

        Raises:
            MachineError: the system refuses.
        """
        ...


@dataclass(frozen=True, slots=True)
class WriteFile:
    """A file of root's.

    Attributes:
        keep: Leave a file alone that is there, whatever it holds: an operator's own.
        owner, group: By name; ``None`` for root's own.
    """

    path: PurePosixPath
    data: bytes
    why: str
    mode: int = 0o644
    keep: bool = False
    owner: str | None = None
    group: str | None = None

    @property
    def title(self) -> str:
        return f"write {self.path}"

    def is_done(self, system: System) -> bool:
        found = system.file(self.path)
        if found is None:
            return False
        return self.keep or (found.sha256 == hashlib.sha256(self.data).digest() and found.mode == self.mode)

    def shows(self) -> list[str]:
        return [f"{self.path} ({len(self.data)} bytes, mode {self.mode:04o})"]

    def do(self, system: System) -> None:
        system.write(self.path, self.data, self.mode, self.owner, self.group)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with its owner and mode; made together with the folders above it, which are root's."""

    path: PurePosixPath
    owner: str
    group: str
    mode: int
    why: str

    @property
    def title(self) -> str:
        return f"make {self.path}"

    def is_done(self, system: System) -> bool:
        return system.folder(self.path) == (self.owner, self.group, self.mode)

    def shows(self) -> list[str]:
        return [" ".join(self._argv())]

    def _argv(self) -> tuple[str, ...]:
        given = ("-o", self.owner, "-g", self.group, "-m", f"{self.mode:04o}")
        return ("install", "-d", *given, str(self.path))

    def do(self, system: System) -> None:
        must(system, self._argv())


@dataclass(frozen=True, slots=True)
class Command:
    """A program of the system's.

    Attributes:
        unless: Whether what it brings about is there.
        asks: It talks with the person at the terminal.
    """

    title: str
    argv: tuple[str, ...]
    why: str
    unless: Test
    asks: bool = False

    def is_done(self, system: System) -> bool:
        return self.unless(system)

    def shows(self) -> list[str]:
        return [" ".join(self.argv)]

    def do(self, system: System) -> None:
        must(system, self.argv, asks=self.asks)


@dataclass(frozen=True, slots=True)
class Remove:
    """A file that an installation wrote; nothing else is ever removed."""

    path: PurePosixPath
    why: str

    @property
    def title(self) -> str:
        return f"remove {self.path}"

    def is_done(self, system: System) -> bool:
        return system.file(self.path) is None

    def shows(self) -> list[str]:
        return [f"rm {self.path}"]

    def do(self, system: System) -> None:
        system.remove(self.path)


_NEVER: Final = "This step is yours."


@dataclass(frozen=True, slots=True)
class Person:
    """What only a person can do.

    Attributes:
        unless: Whether it was done.
        commands: What to type.
    """

    title: str
    commands: tuple[str, ...]
    why: str
    unless: Test

    def is_done(self, system: System) -> bool:
        return self.unless(system)

    def shows(self) -> list[str]:
        return list(self.commands)

    def do(self, system: System) -> None:
        raise RuntimeError(_NEVER)


def must(system: System, argv: Sequence[str], *, asks: bool = False) -> str:
    """Run a program that has to succeed; what it said.

    Raises:
        MachineError: it failed, with the last of what it said.
    """
    ran = system.run(argv, asks=asks)
    if ran.code != 0:
        said = ran.output.strip().splitlines()
        raise MachineError(
            f"{' '.join(argv)} failed ({ran.code}){': ' + said[-1] if said else ''}.",
            meaning="What was done before it is kept.",
            next_step="Mend what it says, then run the same command again: it goes on from here.",
        )
    return ran.output
