"""``--allow-unverified``: what nobody could prove is refused unless a person insists, and marked for good."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from armlx_chain.cli.output import say
from armlx_chain.errors import ContentUnproven

if TYPE_CHECKING:
    from armlx_chain.storage.unverified import Mark, UnverifiedRegister

__all__ = [
    "candidate_paths",
    "marks_of",
    "register_of",
    "require_verified",
    "unverified_option",
    "warn_unverified",
    "write_run_marks",
]

F = TypeVar("F", bound=Callable[..., Any])


def unverified_option(command: F) -> F:
    """``--allow-unverified``."""
    return click.option(
        "--allow-unverified",
        is_flag=True,
        help="Accept a document that nobody could prove. It is marked, here and in everything made from it.",
    )(command)


def register_of(home: Path) -> UnverifiedRegister:
    """The register of a home folder."""
    from armlx_chain.storage.unverified import UnverifiedRegister

    return UnverifiedRegister(home / "unverified")


def warn_unverified(what: str, mark: Mark) -> None:
    """Say it so that it cannot be overlooked."""
    line = "!" * 72
    say(line)
    say(f"UNVERIFIED: {what} was {mark}")
    say("Whoever served these bytes may have written them. Nothing proves that they are what you asked for.")
    say(line)


def candidate_paths(path: Path, files: Mapping[str, bytes]) -> dict[Path, bytes]:
    """Where a candidate's files were read from: ``path`` itself, or under it."""
    return {path / name if path.is_dir() else path: data for name, data in files.items()}


def marks_of(home: Path, files: Mapping[Path, bytes]) -> dict[Path, Mark]:
    """The files among these that carry a mark."""
    register = register_of(home)
    found = {path: register.find(data, path) for path, data in files.items()}
    return {path: mark for path, mark in found.items() if mark is not None}


def require_verified(home: Path, files: Mapping[Path, bytes], *, allowed: bool) -> list[dict[str, str]]:
    """The marks of these files, as documents for the run's record; each is said aloud.

    Raises:
        ContentUnproven: there is one, and the person did not allow it.
    """
    marks = marks_of(home, files)
    for path, mark in marks.items():
        if not allowed:
            raise ContentUnproven(
                f"{path} is marked as unverified: it was {mark}",
                meaning="Nothing proves what it is; results made from it would prove nothing either.",
                next_step="Fetch it again with a proof or with --sha256; or pass --allow-unverified.",
                details={"file": str(path), **mark.document()},
            )
        warn_unverified(str(path), mark)
    return [{"file": str(path), **mark.document()} for path, mark in marks.items()]


def write_run_marks(folder: Path, marks: Sequence[Mapping[str, str]]) -> None:
    """Mark a run folder before anything is run; or take away what a run that was cut off left there.

    Raises:
        MachineError: the mark cannot be written.
    """
    from armlx_chain.storage.files import write_file
    from armlx_chain.storage.unverified import RUN_MARKS

    if not marks:
        (folder / RUN_MARKS).unlink(missing_ok=True)
    else:
        write_file(folder / RUN_MARKS, json.dumps(list(marks), indent=2).encode() + b"\n")
