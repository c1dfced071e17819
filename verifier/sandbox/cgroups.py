"""Control groups, where we may write them (Linux, versions 1 and 2): bounds and counts for a whole tree.

Invariants:

- everything here is optional: what cannot be had is ``None``, and the caller polls ``/proc`` instead;
- a group is made below the verifier's own group (version 1: in each hierarchy), so every bound that already
  holds for the verifier holds for the child too;
- a group is removed once it is empty; groups of verifiers that died (by SIGKILL, say) are thawed, emptied and
  removed by the next one. Their names say whose they are: pid namespace, number and start of the verifier.

Version 2 hands out the memory controller to a child group only if no process sits in the parent, so an
ordinary user's login session usually gives CPU time and ``cgroup.procs`` but no memory bound.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from verifier.sandbox.procfs import pid_namespace, start_ticks
from verifier.sandbox.stopping import FREEZE_SECONDS, never_stopped, signal_all

_PREFIX: Final = "armlx-"
_STALE_SECONDS: Final = 600.0
_REMOVE_SECONDS: Final = 2.0
_USED_V1: Final = frozenset({"memory", "cpuacct", "pids", "freezer"})


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Our own group in one mounted hierarchy.

    Attributes:
        controllers: Names of version 1; empty for version 2.
    """

    folder: Path
    controllers: frozenset[str]
    version: int


def find_hierarchies(mountinfo: str, cgroup: str) -> list[Hierarchy]:
    """Where the process that these two texts of ``/proc/self`` describe sits in each hierarchy."""
    own: dict[frozenset[str], str] = {}
    for row in cgroup.splitlines():
        _, names, path = row.split(":", 2)
        own[frozenset(names.split(",")) - {""}] = path
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        root, point = left.split(" ")[3:5]
        given = frozenset(options.split(" ")[-1].split(",")) if kind == "cgroup" else frozenset[str]()
        for controllers, path in own.items():
            if controllers <= given and bool(controllers) == (kind == "cgroup"):
                folder = Path(point) / _below(root, path)
                found.append(Hierarchy(folder, controllers, 1 if controllers else 2))
    return found


def _below(root: str, path: str) -> str:
    """``path`` relative to the hierarchy's mounted root (a container mounts only its own part)."""
    pure = PurePosixPath(path)
    return str(pure.relative_to(root)) if pure.is_relative_to(root) else str(pure.relative_to("/"))


@dataclass(slots=True)
class ControlGroup:
    """The groups of one run.

    Attributes:
        folders: One folder per hierarchy that could be used.
        cpu, memory: The folders whose counters count, ``None`` where that cannot be had.
        freezer: The folder that can stop everything in the group, likewise.
    """

    version: int
    folders: list[Path]
    cpu: Path | None = None
    memory: Path | None = None
    freezer: Path | None = None
    _files: dict[Path, int] = field(default_factory=dict)

    def add(self, pid: int) -> None:
        """Move a process here; whatever it forks is born here.

        A hierarchy that does not take it (an ordinary user may make a group and yet not move into it) is
        given up, and its counters and bounds with it.
        """
        for folder in list(self.folders):
            if not _write(folder / "cgroup.procs", pid):
                self._give_up(folder)

    def _give_up(self, folder: Path) -> None:
        self.folders.remove(folder)
        self.cpu = None if self.cpu == folder else self.cpu
        self.memory = None if self.memory == folder else self.memory
        self.freezer = None if self.freezer == folder else self.freezer
        _remove(folder)

    def kill(self) -> None:
        """Let a frozen group feel its signals; version 2 kills what is in it by itself."""
        if self.version == 2:
            for folder in self.folders:
                _write(folder / "cgroup.kill", 1)  # Linux 5.14
        elif self.freezer is not None:
            # Version 1 hands a frozen process no signal, SIGKILL included.
            _write(self.freezer / "freezer.state", "THAWED")

    def freeze(self) -> None:
        """Stop everything in the group and wait until it stands still.

        Raises:
            VerifierFault: if it does not in time; everything goes on then.
            RuntimeError: without a freezer.
        """
        if self.freezer is None:
            raise RuntimeError("this group has no freezer")
        self._set_frozen(frozen=True)
        deadline = time.monotonic() + FREEZE_SECONDS
        while not self._is_frozen(self.freezer):
            if time.monotonic() > deadline:
                self.thaw()
                raise never_stopped()
            time.sleep(0.002)

    def thaw(self) -> None:
        self._set_frozen(frozen=False)

    def _set_frozen(self, *, frozen: bool) -> None:
        if self.freezer is None:
            return
        if self.version == 2:
            _write(self.freezer / "cgroup.freeze", int(frozen))
        else:
            _write(self.freezer / "freezer.state", "FROZEN" if frozen else "THAWED")

    def _is_frozen(self, freezer: Path) -> bool:
        if self.version == 2:
            return _keyed(self._read(freezer / "cgroup.events")).get("frozen", 0) == 1
        return self._read(freezer / "freezer.state").strip() == "FROZEN"

    def cpu_seconds(self) -> float | None:
        if self.cpu is None:
            return None
        if self.version == 1:
            return int(self._read(self.cpu / "cpuacct.usage")) / 1e9
        return _keyed(self._read(self.cpu / "cpu.stat")).get("usage_usec", 0) / 1e6

    def memory_peak(self) -> int | None:
        """Largest use so far in bytes, page cache and temporary folders included."""
        if self.memory is None:
            return None
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        if not (self.memory / name).exists():
            name = "memory.current"
        return int(self._read(self.memory / name))

    def out_of_memory(self) -> bool:
        """Whether the kernel has already killed something here for memory."""
        if self.memory is None:
            return False
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        return _keyed(self._read(self.memory / name)).get("oom_kill", 0) > 0

    def close(self) -> bool:
        """Remove the groups; ``False`` if one of them could not be removed (something is still in it)."""
        self.close_files()
        removed = [_remove(folder) for folder in self.folders]
        return all(removed)

    def close_files(self) -> None:
        """Let go of the counters that are kept open."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _read(self, path: Path) -> str:
        # Kept open: the outside clock reads this file often.
        descriptor = self._files.get(path)
        if descriptor is None:
            descriptor = self._files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(descriptor, 4096, 0).decode("ascii")


def create_group(*, memory_bytes: int, processes: int, hierarchies: list[Hierarchy]) -> ControlGroup | None:
    """A bounded group, or ``None`` where no hierarchy can be written.

    Args:
        memory_bytes: Bound for the whole tree, temporary folders included; no swap on top.
        processes: Bound for processes and threads together.
        hierarchies: As :func:`find_hierarchies` gives them.
    """
    name = f"{own_prefix()}{secrets.token_hex(6)}"
    first = [row for row in hierarchies if row.version == 1 and row.controllers & _USED_V1]
    group = _create_v1(first, name, memory_bytes, processes) if first else None
    if group is not None:
        return group
    second = [row for row in hierarchies if row.version == 2]
    return _create_v2(second[0], name, memory_bytes, processes) if second else None


def _create_v1(rows: list[Hierarchy], name: str, memory_bytes: int, processes: int) -> ControlGroup | None:
    group = ControlGroup(1, [])
    for row in rows:
        folder = row.folder / name
        if not _make(folder):
            continue
        group.folders.append(folder)
        if "cpuacct" in row.controllers:
            group.cpu = folder
        if "memory" in row.controllers and _write(folder / "memory.limit_in_bytes", memory_bytes):
            _write(folder / "memory.memsw.limit_in_bytes", memory_bytes)  # absent without swap accounting
            group.memory = folder
        if "freezer" in row.controllers and os.access(folder / "freezer.state", os.W_OK):
            group.freezer = folder
        if "pids" in row.controllers:
            _write(folder / "pids.max", processes)
    return group if group.folders else None


def _create_v2(row: Hierarchy, name: str, memory_bytes: int, processes: int) -> ControlGroup | None:
    for controller in ("+memory", "+pids"):
        # Refused where a process sits in the parent, and where the parent itself was not given it.
        _write(row.folder / "cgroup.subtree_control", controller)
    folder = row.folder / name
    if not _make(folder):
        return None
    group = ControlGroup(2, [folder], cpu=folder if (folder / "cpu.stat").exists() else None)
    if _write(folder / "memory.max", memory_bytes):
        _write(folder / "memory.swap.max", 0)
        _write(folder / "memory.oom.group", 1)
        group.memory = folder
    if os.access(folder / "cgroup.freeze", os.W_OK):
        group.freezer = folder
    _write(folder / "pids.max", processes)
    return group


def own_prefix() -> str:
    """How the names of this process's groups begin."""
    return f"{_PREFIX}{pid_namespace(os.getpid()) or 0}-{os.getpid()}-{start_ticks(os.getpid()) or 0}-"


def remove_stale(hierarchies: list[Hierarchy], *, now: float) -> int:
    """Remove the groups of verifiers that are gone, with what still lives in them; returns how many.

    A group made in another pid namespace (a container that shares the hierarchy) tells nothing about its
    maker: it is removed only when it is old, and only if nothing is in it.

    Args:
        now: Seconds since the epoch.
    """
    found = list(_leftovers(hierarchies))
    dead = [folder for folder in found if _made_here(folder.name) and not _maker_lives(folder.name)]
    for folder in dead:
        # All before any is removed: what is frozen in one hierarchy keeps its place in the others.
        _empty(folder)
    removed = sum(_remove(folder, seconds=_REMOVE_SECONDS) for folder in dead)
    for folder in found:
        if not _made_here(folder.name) and _older(folder, now - _STALE_SECONDS):
            removed += _remove(folder, seconds=0.0)
    return removed


def _leftovers(hierarchies: list[Hierarchy]) -> Iterator[Path]:
    for row in hierarchies:
        yield from row.folder.glob(f"{_PREFIX}[0-9]*-[0-9]*-[0-9]*-*")


def _made_here(name: str) -> bool:
    return name.removeprefix(_PREFIX).split("-")[0] == str(pid_namespace(os.getpid()))


def _maker_lives(name: str) -> bool:
    pid, started = name.removeprefix(_PREFIX).split("-")[1:3]
    return not pid.isdecimal() or str(start_ticks(int(pid))) == started


def _empty(folder: Path) -> None:
    """End what a dead verifier left in a group: frozen ones would wait for it for ever."""
    if _write(folder / "cgroup.kill", 1):
        return
    try:
        listed = (folder / "cgroup.procs").read_text(encoding="ascii").split()
    except OSError:
        return
    signal_all((int(pid) for pid in listed), signal.SIGKILL, lambda pid: _lies_in(pid, folder))
    _write(folder / "cgroup.freeze", 0)
    _write(folder / "freezer.state", "THAWED")


def _lies_in(pid: int, folder: Path) -> bool:
    try:
        rows = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return False
    return any(row.endswith(f"/{folder.name}") for row in rows)


def _older(folder: Path, moment: float) -> bool:
    try:
        return folder.stat().st_mtime < moment
    except OSError:
        return False


def _make(folder: Path) -> bool:
    try:
        folder.mkdir()
    except OSError:
        return False
    # A mounted hierarchy accepts processes; an ordinary folder in its place would not.
    if os.access(folder / "cgroup.procs", os.W_OK):
        return True
    _remove(folder)
    return False


def _remove(folder: Path, *, seconds: float = _REMOVE_SECONDS) -> bool:
    # The kernel lets go of an empty group a moment after its last process was reaped.
    deadline = time.monotonic() + seconds
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        else:
            return True


def _write(path: Path, value: int | str) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # never creates: the file is the kernel's
    except OSError:
        return False
    try:
        os.write(descriptor, str(value).encode("ascii"))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _keyed(text: str) -> dict[str, int]:
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2}
