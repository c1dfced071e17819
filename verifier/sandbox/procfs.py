"""What ``/proc`` says about processes, their namespaces and what they use (Linux).

Every function takes the answer "that process is gone" calmly: processes end while one looks at them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass(frozen=True, slots=True)
class PidNamespace:
    """One pid namespace, and the user id that only its processes have (``None``: it is shared)."""

    inode: int
    uid: int | None

    def members(self) -> list[int]:
        """Host pids of everything that lives in it. A zombie does not: it only waits for its parent."""
        return [pid for pid in all_pids() if self.holds(pid) and not is_zombie(pid)]

    def holds(self, pid: int) -> bool:
        """Whether a process, ended or not, is one of it."""
        try:
            return (PROC / str(pid) / "ns" / "pid").stat().st_ino == self.inode
        except PermissionError:
            # Root without CAP_SYS_PTRACE cannot look; the dedicated user id tells as well.
            return self.uid is not None and status_ids(pid) == self.uid
        except OSError:
            return False


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdecimal()]  # noqa: PTH208 (names are all we need)


def pid_namespace(pid: int) -> int | None:
    """The inode of a process's pid namespace; ``None`` if it is gone or may not be looked at."""
    try:
        return (PROC / str(pid) / "ns" / "pid").stat().st_ino
    except OSError:
        return None


def status_fields(pid: int | str) -> dict[str, str]:
    """``/proc/<pid>/status`` as a mapping; empty if the process is gone."""
    try:
        text = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, colon, value in pairs if colon}


def status_ids(pid: int) -> int | None:
    """The real user id of a process, as this namespace sees it."""
    values = status_fields(pid).get("Uid", "").split()
    return int(values[0]) if values else None


def is_zombie(pid: int) -> bool:
    return status_fields(pid).get("State", "Z")[:1] in ("Z", "X")


_STOPPED: Final = ("T", "t", "Z", "X")


def is_stopped(pid: int) -> bool:
    """Whether no thread of a process can run: stopped, ended or gone."""
    try:
        threads = os.listdir(PROC / str(pid) / "task")  # noqa: PTH208 (names are all we need)
    except OSError:
        return True
    return all(status_fields(f"{pid}/task/{name}").get("State", "X")[:1] in _STOPPED for name in threads)


def start_ticks(pid: int) -> int | None:
    """Clock ticks from boot to a process's start: with the number it names the process for good."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def parent_pid(pid: int) -> int | None:
    value = status_fields(pid).get("PPid")
    return int(value) if value else None


@dataclass(frozen=True, slots=True)
class CpuTime:
    """CPU seconds of one process.

    Attributes:
        started: Ticks since boot at its start; with the pid it names the process for good.
        own: From its CPU clock (nanoseconds).
        waited: Of the children it has waited for (clock ticks). Children that were never waited for, because
            their parent ignores SIGCHLD, are not in it.
    """

    started: int
    own: float
    waited: float


def cpu_time(pid: int) -> CpuTime | None:
    """What a process used; ``None`` if it is gone."""
    try:
        own = time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3) of another process
        text = (PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything; the figures follow the last one.
    fields = text.rpartition(")")[2].split()
    return CpuTime(int(fields[19]), own, (int(fields[13]) + int(fields[14])) / _TICKS)


class CpuMeter:
    """CPU seconds of a set of processes, from looks at those alive.

    Two counts, and the larger holds: what the living used with the children they waited for, and what every
    process ever seen had used when it was last seen. The second knows children that a parent has disowned.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], float] = {}

    def read(self, pids: Iterable[int]) -> float:
        """Look once at the processes alive now."""
        living = 0.0
        for pid in pids:
            time_used = cpu_time(pid)
            if time_used is not None:
                living += time_used.own + time_used.waited
                self._seen[pid, time_used.started] = time_used.own
        return max(living, sum(self._seen.values()))


def resident_bytes(pid: int) -> int:
    try:
        text = (PROC / str(pid) / "statm").read_text(encoding="ascii")
    except OSError:
        return 0
    fields = text.split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0
