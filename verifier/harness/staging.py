"""Lays out what a sandbox is shown: workspaces and the benchmark's cache folder.

Invariants:

- only private copies of files with the manifest's roots are shown (``verifier.harness.published``);
- the validation shard of a training run is a decoy: the bytes of a training shard under its name; the fresh
  shard is not there at all;
- paths that leave their folder are refused.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from armlx_chain.errors import CandidateError, VerifierFault
from verifier.harness.published import CheckedFile, contained

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

    Files are linked, not copied again: all of them are private copies that nobody writes. A folder that holds
    just these links stays as it is: a run of another process may be looking at it.
    """
    wanted = {
        file.path: in_place_of_validation if file.role == "validation" else file.copy
        for file in files
        if file.role != "fresh"
    }
    if _holds(target, wanted):
        return target
    shutil.rmtree(target, ignore_errors=True)
    for path, source in wanted.items():
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, place)
    open_folders(target)
    return target


def _holds(folder: Path, wanted: Mapping[str, Path]) -> bool:
    found = {place.relative_to(folder).as_posix(): place for place in folder.rglob("*") if not place.is_dir()}
    return found.keys() == wanted.keys() and all(
        os.path.samestat(place.lstat(), wanted[path].lstat()) for path, place in found.items()
    )


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
