"""Folders of runs on the host, and what is left of runs whose verifier died (macOS: nothing dies with it).

Invariants:

- a run's folder names the verifier that made it; once that process is gone, the next verifier ends what the
  folder's record names and removes the folder;
- the record lies where the run could not write, and is believed only in a folder that is ours;
- a process is ended only if its number *and* its start time are the recorded ones, or by a user id that only
  that run had.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from verifier.sandbox.proctable import Row, read_table

_PREFIX: Final = "armlx-run-"
_NAME: Final = re.compile(rf"{_PREFIX}([0-9]{{1,10}})-[A-Za-z0-9_]+")
_RECORD: Final = "leader"
_MAX_RECORD: Final = 4096
_ROUNDING_SECONDS: Final = 2.0
"""No number comes round to another process within so short a time."""


@dataclass(frozen=True, slots=True)
class Leader:
    """The first process of a run.

    Attributes:
        started: The text of its start time, as the process table gives it; empty if it was already gone.
        uid: A user id that only this run has, or ``None``.
    """

    pid: int
    started: str
    uid: int | None


def make(base: Path | None = None) -> Path:
    """A fresh folder of this process's, by its real path: Seatbelt judges paths after links."""
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base)).resolve()


def note_leader(
    root: Path, pid: int, uid: int | None, *, table: Callable[[], list[Row]] = read_table
) -> None:
    """Write down whom to end if this verifier should die before it can."""
    started = next((row.started for row in table() if row.pid == pid), "")
    record = root / _RECORD
    record.write_text(json.dumps({"pid": pid, "started": started, "uid": uid}), encoding="utf-8")
    record.chmod(0o600)


def remove_stale(base: Path, *, table: Callable[[], list[Row]] = read_table) -> int:
    """End and remove the runs of verifiers that are gone; returns how many folders were removed."""
    folders = [folder for folder in _ours(base) if not _lives(folder)]
    if not folders:
        return 0
    rows = table()
    for folder in folders:
        leader = _leader(folder)
        if leader is not None:
            _end(leader, rows)
        shutil.rmtree(folder, ignore_errors=True)
    return sum(not folder.exists() for folder in folders)


def _ours(base: Path) -> list[Path]:
    found = []
    for entry in base.iterdir() if base.is_dir() else ():
        with contextlib.suppress(OSError):
            seen = entry.lstat()
            if _NAME.fullmatch(entry.name) and stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid():
                found.append(entry)
    return found


def _lives(folder: Path) -> bool:
    match = _NAME.fullmatch(folder.name)
    if match is None or int(match[1]) == os.getpid():
        return True
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _leader(folder: Path) -> Leader | None:
    try:
        record = json.loads(_read(folder / _RECORD))
        uid = record["uid"]
        return Leader(int(record["pid"]), str(record["started"]), None if uid is None else int(uid))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _MAX_RECORD)
    finally:
        os.close(descriptor)


def _same_time(one: str, other: str) -> bool:
    """Whether two start times are one: some systems reckon them anew at each look, and round."""
    try:
        first, second = (time.mktime(time.strptime(text, "%a %b %d %H:%M:%S %Y")) for text in (one, other))
    except ValueError:
        return False
    return abs(first - second) <= _ROUNDING_SECONDS


def _end(leader: Leader, rows: list[Row]) -> None:
    for row in rows:
        same = row.pid == leader.pid and _same_time(row.started, leader.started)
        if same or (leader.uid is not None and leader.uid != 0 and row.uid == leader.uid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(row.pid, signal.SIGKILL)
