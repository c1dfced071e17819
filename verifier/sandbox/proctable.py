"""Following a process tree where the kernel keeps none together (macOS: no pid namespace, no groups).

Invariants:

- a process belongs to the tree if it was started by a member (seen while its parent lived), is in the first
  process's group, or has the user id that only this run has;
- a process is known by its number *and* its start time, so a number that passed to another is never killed;
- killing repeats until two looks in a row find nobody.

What leaves its group and its session and loses its parent between two looks escapes unless the run has a user
id of its own. Hence the macOS back-end denies forks, unless it is told otherwise.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from armlx_chain.errors import VerifierFault
from verifier.sandbox.process import Sample
from verifier.sandbox.stopping import signal_all, stop_all

_COLUMNS: Final = ("pid", "ppid", "pgid", "uid", "rss", "time", "stat", "lstart")
_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Row:
    """One process. ``started`` is the text of its start time."""

    pid: int
    parent: int
    group: int
    uid: int
    resident_bytes: int
    cpu_seconds: float
    started: str
    zombie: bool
    stopped: bool = False

    @property
    def key(self) -> tuple[int, str]:
        return self.pid, self.started


def read_table() -> list[Row]:
    """All processes, from ``ps``.

    Raises:
        VerifierFault: if it gives nothing usable.
    """
    command = ["/bin/ps", "-axo", ",".join(f"{name}=" for name in _COLUMNS)]
    # One language, else the start time has other words and another number of them.
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=20, env={"LC_ALL": "C", "PATH": "/bin"}
    )
    rows = parse_table(done.stdout)
    if not rows:
        raise VerifierFault(f"The process table could not be read: {done.stderr.strip()[:200]}")
    return rows


def parse_table(text: str) -> list[Row]:
    rows = []
    for line in text.splitlines():
        fields = line.split(None, len(_COLUMNS) - 1)
        if len(fields) < len(_COLUMNS):
            continue
        pid, parent, group, uid, resident = (int(value) for value in fields[:5])
        used, state, started = fields[5:]
        rows.append(
            Row(
                pid,
                parent,
                group,
                uid,
                resident << 10,
                parse_time(used),
                started.strip(),
                zombie=state.startswith("Z"),
                stopped=state.startswith("T"),
            )
        )
    return rows


def parse_time(text: str) -> float:
    """Seconds of ``[[days-]hours:]minutes:seconds[.hundredths]``."""
    days, _, clock = text.rpartition("-")
    total = 0.0
    for part in clock.split(":"):
        total = total * 60 + float(part)
    return total + 86_400 * int(days or 0)


class FollowedTree:
    """See :class:`verifier.sandbox.process.Tree`.

    Args:
        leader: The first process, leader of its own group.
        uid: A user id that only this run has, or ``None``.
        memory_bytes: Bound of the resident memory of all together.
        figures: CPU seconds and bytes of one process, finer than ``ps``; ``None`` where it cannot say.
        on_close: Called once at the end.
    """

    def __init__(
        self,
        leader: int,
        *,
        uid: int | None,
        memory_bytes: int,
        table: Callable[[], list[Row]] = read_table,
        figures: Callable[[int], tuple[float, int] | None] = lambda pid: None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._leader = leader
        self._uid = uid
        self._memory_bytes = memory_bytes
        self._table = table
        self._figures = figures
        self._on_close = on_close
        self._seen: list[Row] = []
        self._known: dict[tuple[int, str], float] = {}
        self._peak = 0
        self._resident = 0
        self._lock = threading.RLock()

    def kill(self) -> None:
        with self._lock:
            for row in self._look():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(row.pid, signal.SIGKILL)

    def freeze(self) -> None:
        with self._lock:
            stop_all(lambda: [row.pid for row in self._look()], self._stopped)

    def thaw(self) -> None:
        with self._lock:
            signal_all([row.pid for row in self._look()], signal.SIGCONT)

    def _stopped(self, pid: int) -> bool:
        return all(row.stopped for row in self._seen if row.pid == pid)

    def wait_gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        quiet = 0
        while quiet < 2:
            if self._look():
                quiet = 0
                self.kill()
            else:
                quiet += 1
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def sample(self) -> Sample:
        with self._lock:
            self._look()
            return Sample(sum(self._known.values()), self._peak)

    def pids(self) -> list[int]:
        with self._lock:
            return [row.pid for row in self._look()]

    def over_memory(self) -> bool:
        return self._peak > self._memory_bytes

    def never_ran(self) -> bool:
        return False

    def close(self) -> None:
        self._on_close()

    def _look(self) -> list[Row]:
        """Living members now; remembers them and what they used."""
        with self._lock:
            members = [row for row in self._members(self._table()) if not row.zombie]
            self._seen = members
            resident = 0
            for row in members:
                finer = self._figures(row.pid)
                used, held = finer if finer is not None else (row.cpu_seconds, row.resident_bytes)
                self._known[row.key] = max(used, self._known.get(row.key, 0.0))
                resident += held
            self._resident = resident
            self._peak = max(self._peak, resident)
            return members

    def _members(self, rows: Iterable[Row]) -> list[Row]:
        table = list(rows)
        found = {row.pid: row for row in table if self._is_root(row)}
        grown = True
        while grown:
            more = {row.pid: row for row in table if row.parent in found and row.pid not in found}
            grown = bool(more)
            found |= more
        return list(found.values())

    def _is_root(self, row: Row) -> bool:
        if self._uid is not None and row.uid == self._uid:
            return True
        return row.pid == self._leader or row.group == self._leader or row.key in self._known
