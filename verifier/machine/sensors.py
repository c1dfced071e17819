"""The sensors of this machine: what each system offers without special rights.

::

    print(describe(sensors_here("cpu").read()))
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from verifier.hardware import Backend, Command, ask, usable_cores
from verifier.machine import texts
from verifier.machine.reading import ProcessKey, Reading, Sensors
from verifier.machine.watch import slept_seconds

_GPU = "--format=csv,noheader,nounits"
_COUNTER: Final = "clocks_event_reasons_counters"
_COUNTERS: Final = f"index,{_COUNTER}.sw_thermal_slowdown,{_COUNTER}.hw_thermal_slowdown"
_MASKS: Final = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""The same column under its newer and its older name."""


def sensors_here(backend: Backend, *, system: str = sys.platform) -> Sensors:
    """The sensors for what trains on this backend."""
    base: Sensors = MacSensors() if system == "darwin" else LinuxSensors()
    return NvidiaSensors(base) if backend == "cuda" else base


@dataclass(frozen=True)
class LinuxSensors:
    """``/proc`` and ``/sys``.

    Args:
        root: Where those are; another folder in tests.
        own: The process whose whole tree is our own.
    """

    root: Path = Path("/")
    own: int | None = None
    clock: Callable[[], float] = time.monotonic
    slept: Callable[[], float] = slept_seconds

    def read(self) -> Reading:
        memory = texts.meminfo(self._text("proc/meminfo"))
        pages = texts.swapped_in_pages(self._text("proc/vmstat"))
        used = self._outside()
        return Reading(
            at=self.clock(),
            slept=self.slept(),
            cores=usable_cores(),
            heat=self.heat(),
            throttled=self._throttled(),
            temperature=self._temperature(),
            power=texts.linux_power(self._supplies()),
            outside=None if used is None else {key: own for key, (own, _) in used.items()},
            ended={key: ended for key, (_, ended) in (used or {}).items()},
            available_bytes=memory.get("MemAvailable"),
            memory_bytes=memory.get("MemTotal"),
            swapped_in_bytes=None if pages is None else pages * os.sysconf("SC_PAGE_SIZE"),
        )

    def heat(self) -> int | None:
        """Linux counts the time slowed by heat instead of naming a level."""
        return None

    def _text(self, path: str | Path) -> str:
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _throttled(self) -> dict[str, float] | None:
        """``…_throttle_total_time_ms`` of each processor; machines without the counters have none."""
        found: dict[str, float] = {}
        for file in sorted(
            self.root.glob("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_total_time_ms")
        ):
            text = self._text(file).strip()
            if text.isdecimal():
                found[f"{file.parent.parent.name} {file.name.partition('_')[0]}"] = int(text) / 1000
        return found or None

    def _temperature(self) -> float | None:
        """The hottest zone that is a processor's, where the zones say so."""
        known = []
        for zone in self.root.glob("sys/class/thermal/thermal_zone*"):
            kind, text = self._text(zone / "type").strip().lower(), self._text(zone / "temp").strip()
            if ("cpu" in kind or "pkg" in kind or "soc" in kind) and text.isdecimal():
                known.append(int(text) / 1000)
        return max(known, default=None)

    def _supplies(self) -> list[dict[str, str]]:
        folders = sorted(self.root.glob("sys/class/power_supply/*"))
        names = ("type", "online", "status", "scope")
        return [{name: self._text(folder / name).strip() for name in names} for folder in folders]

    def _outside(self) -> dict[ProcessKey, tuple[float, float]] | None:
        """Own seconds and those of ended children of everything that is not below us."""
        ticks = os.sysconf("SC_CLK_TCK")
        found = [
            line
            for file in self.root.glob("proc/[0-9]*/stat")
            if (line := texts.stat_line(self._text(file), ticks)) is not None
        ]
        ours = texts.tree_of(self.own or os.getpid(), {key.pid: parent for key, parent, _, _ in found})
        outside = {key: (own, ended) for key, _, own, ended in found if key.pid not in ours}
        return outside if found else None


@dataclass(frozen=True)
class MacSensors:
    """The tools that every macOS has; none of them needs an administrator."""

    command: Command = ask
    own: int | None = None
    clock: Callable[[], float] = time.monotonic
    slept: Callable[[], float] = slept_seconds

    def read(self) -> Reading:
        pages = texts.vm_stat(self.command(["/usr/bin/vm_stat"]))
        memory = self.command(["/usr/sbin/sysctl", "-n", "hw.memsize"]).strip()
        return Reading(
            at=self.clock(),
            slept=self.slept(),
            cores=usable_cores(),
            heat=self.heat(),
            power=texts.mac_power(self.command(["/usr/bin/pmset", "-g", "batt"])),
            outside=self._outside(),
            available_bytes=texts.mac_available(pages),
            memory_bytes=int(memory) if memory.isdecimal() else None,
            swapped_in_bytes=pages.get("Swapins"),
        )

    def heat(self) -> int | None:
        """The system's pressure level, or what power management recorded, whichever is worse."""
        pressure = texts.thermal_pressure(
            self.command(["/usr/bin/notifyutil", "-g", "com.apple.system.thermalpressurelevel"])
        )
        limits = texts.thermal_limits(self.command(["/usr/bin/pmset", "-g", "therm"]))
        return max((level for level in (pressure, limits) if level is not None), default=None)

    def _outside(self) -> dict[ProcessKey, float] | None:
        """Without the times of ended children, which ``ps`` does not show: a lower bound."""
        found = texts.process_times(self.command(["/bin/ps", "-axo", "pid=,ppid=,time="]))
        ours = texts.tree_of(self.own or os.getpid(), {pid: parent for pid, (parent, _) in found.items()})
        outside = {ProcessKey(pid, 0): seconds for pid, (_, seconds) in found.items() if pid not in ours}
        return outside if found else None


@dataclass(frozen=True)
class NvidiaSensors:
    """What ``nvidia-smi`` adds to a machine's own sensors."""

    base: Sensors
    command: Command = ask
    parents: Callable[[], Mapping[int, int]] | None = None
    own: int | None = None

    def read(self) -> Reading:
        found = self.base.read()
        slowed = self._slowed()
        return replace(
            found,
            heat=self.heat() if slowed is None else None,
            throttled={**(found.throttled or {}), **(slowed or {})} or None,
            temperature=texts.gpu_temperature(self._query("index,temperature.gpu")),
            gpu_others=self._others(),
        )

    def heat(self) -> int | None:
        """Whether a GPU is slowed by heat now, in drivers that do not count the time."""
        for column in _MASKS:
            level = texts.gpu_heat(self._query(f"index,{column}"))
            if level is not None:
                return level
        return None

    def _slowed(self) -> dict[str, float] | None:
        return texts.gpu_slowed(self._query(_COUNTERS))

    def _query(self, columns: str) -> list[list[str]]:
        answer = self.command(["nvidia-smi", f"--query-gpu={columns}", _GPU])
        return texts.csv_rows(answer, columns.count(",") + 1)

    def _others(self) -> tuple[str, ...] | None:
        """Processes on the GPU that are not below us; inside a container the driver may hide all of them."""
        answer = self.command(["nvidia-smi", "--query-compute-apps=pid,process_name", _GPU])
        alive = self.command(["nvidia-smi", "--query-gpu=index", _GPU])
        if not alive:
            return None
        running = texts.gpu_processes(texts.csv_rows(answer, 2))
        ours = texts.tree_of(self.own or os.getpid(), self._parents())
        return tuple(f"{pid} ({name})" for pid, name in sorted(running.items()) if pid not in ours)

    def _parents(self) -> Mapping[int, int]:
        if self.parents is not None:
            return self.parents()
        listed = self.command(["ps", "-axo", "pid=,ppid=,time="])
        return {pid: parent for pid, (parent, _) in texts.process_times(listed).items()}
