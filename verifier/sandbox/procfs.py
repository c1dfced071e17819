"""What ``/proc`` says about processes, their namespaces and what they use (Linux).

Every function takes the answer "that process is gone" calmly: processes end while one looks at them.
"""

from __future__ import annotations

import os
import time
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
        return [pid for pid in all_pids() if self._holds(pid) and not is_zombie(pid)]

    def _holds(self, pid: int) -> bool:
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


def parent_pid(pid: int) -> int | None:
    value = status_fields(pid).get("PPid")
    return int(value) if value else None


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and of the children it has waited for; 0 if it is gone.

    The process's own part comes from its CPU clock (nanoseconds), the children's from ``cutime`` and
    ``cstime`` (clock ticks). Children that were never waited for because their parent ignores SIGCHLD are
    counted by a control group only.
    """
    try:
        own = time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3) of another process
    except OSError:
        own = 0.0
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return own
    # The name in parentheses may hold anything; the figures follow the last one.
    fields = text.rpartition(")")[2].split()
    return own + (int(fields[13]) + int(fields[14])) / _TICKS


def resident_bytes(pid: int) -> int:
    try:
        text = (PROC / str(pid) / "statm").read_text(encoding="ascii")
    except OSError:
        return 0
    fields = text.split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0
