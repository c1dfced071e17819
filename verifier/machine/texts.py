"""What systems say about themselves, read from the texts of their own tools and files. Pure.

Every function returns ``None`` for a text that does not hold the fact: a tool that is missing, another
version, or nonsense. None of the texts comes from a candidate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from verifier.machine.reading import Power, ProcessKey

_TICKS_DEFAULT: Final = 100
_PAGE_LINE: Final = re.compile(r"page size of (\d+) bytes")
_NOT_KNOWN: Final = ("", "n/a", "[n/a]", "[not supported]", "not active", "[unknown error]")


# --- macOS -----------------------------------------------------------------------------------------------


def thermal_pressure(text: str) -> int | None:
    """``notifyutil -g com.apple.system.thermalpressurelevel``: 0 nominal, 1 moderate, 2 heavy, 3 trapping,
    4 sleeping."""
    found = re.search(r"(?m)^com\.apple\.system\.thermalpressurelevel (\d+)\s*$", text)
    return int(found.group(1)) if found else None


def thermal_limits(text: str) -> int | None:
    """``pmset -g therm``: 0 while nothing is limited, 1 once a warning is out or the processor is slowed.

    Apple silicon prints three notes that nothing has been recorded; Intel prints limits in percent.
    """
    limits = re.findall(r"(?m)^\s*CPU_(?:Scheduler|Speed)_Limit\s*=\s*(\d+)\s*$", text)
    warnings = re.findall(r"(?im)^\s*(?:thermal|performance) warning level(?: set to|\s*=)\s*(\d+)\s*$", text)
    if limits or warnings:
        return int(any(int(limit) < 100 for limit in limits) or any(int(level) > 0 for level in warnings))
    return 0 if re.search(r"(?i)no thermal warning level has been recorded", text) else None


def mac_power(text: str) -> Power | None:
    """``pmset -g batt``."""
    found = re.search(r"Now drawing from '([^']+)'", text)
    return {"AC Power": Power.MAINS, "Battery Power": Power.BATTERY}.get(found.group(1)) if found else None


def vm_stat(text: str) -> dict[str, int]:
    """``vm_stat``: bytes by the names it prints, as ``Pages free`` and ``Swapins``; empty if unreadable."""
    page = _PAGE_LINE.search(text)
    if page is None:
        return {}
    lines = re.findall(r'(?m)^"?([A-Za-z][^":]*)"?:\s+(\d+)\.?\s*$', text)
    return {name: int(count) * int(page.group(1)) for name, count in lines}


def mac_available(pages: Mapping[str, int]) -> int | None:
    """Free, inactive and speculative pages: what can be had without swapping."""
    names = ("Pages free", "Pages inactive", "Pages speculative")
    return sum(pages.get(name, 0) for name in names) if "Pages free" in pages else None


def process_times(text: str) -> dict[int, tuple[int, float]]:
    """``ps -axo pid=,ppid=,time=``: parent and processor seconds of each process.

    Times are ``[[dd-]hh:]mm:ss[.cc]``, as both BSD and procps print them; BSD's point is the locale's.
    """
    found: dict[int, tuple[int, float]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) != 3 or not (words[0].isdecimal() and words[1].isdecimal()):
            continue
        seconds = _clock_seconds(words[2])
        if seconds is not None:
            found[int(words[0])] = (int(words[1]), seconds)
    return found


def _clock_seconds(text: str) -> float | None:
    found = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+(?:\.\d+)?)", text.replace(",", "."))
    if found is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


# --- Linux -----------------------------------------------------------------------------------------------


def stat_line(text: str, ticks: int = _TICKS_DEFAULT) -> tuple[ProcessKey, int, float, float] | None:
    """``/proc/PID/stat``: the process, its parent, its own processor seconds, those of its ended children.

    The name in brackets is the process's own and may hold brackets and blanks.
    """
    head, _, tail = text.rpartition(")")
    pid, fields = head.partition(" ")[0], tail.split()
    if not pid.isdecimal() or len(fields) < 20:
        return None
    try:
        times = [int(field) for field in fields[11:15]]
        key = ProcessKey(int(pid), int(fields[19]))
        return key, int(fields[1]), sum(times[:2]) / ticks, sum(times[2:]) / ticks
    except ValueError:
        return None


def meminfo(text: str) -> dict[str, int]:
    """``/proc/meminfo``: bytes by name."""
    lines = re.findall(r"(?m)^([A-Za-z_()0-9]+):\s+(\d+) kB\s*$", text)
    return {name: int(count) * 1024 for name, count in lines}


def swapped_in_pages(text: str) -> int | None:
    """``/proc/vmstat``: pages read back from swap."""
    found = re.search(r"(?m)^pswpin (\d+)$", text)
    return int(found.group(1)) if found else None


def linux_power(supplies: Iterable[Mapping[str, str]]) -> Power | None:
    """The ``type``, ``online`` and ``status`` files of each folder in ``/sys/class/power_supply``.

    A battery of a device (mouse, headset) has the scope ``Device`` and says nothing about this machine.
    """
    mains = batteries = 0
    for supply in supplies:
        if supply.get("scope") == "Device":
            continue
        kind = supply.get("type")
        if kind in ("Mains", "USB") and supply.get("online") == "1":
            return Power.MAINS
        mains += kind == "Mains"
        batteries += kind == "Battery" and supply.get("status") == "Discharging"
    return Power.BATTERY if batteries or mains else None


# --- NVIDIA ----------------------------------------------------------------------------------------------


def csv_rows(text: str, columns: int) -> list[list[str]]:
    """Rows of ``nvidia-smi --format=csv,noheader,nounits``; lines of another width are left out."""
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [row for row in rows if len(row) == columns]


def number(text: str) -> float | None:
    """A cell's number; ``None`` for ``[N/A]`` and the like."""
    if text.lower() in _NOT_KNOWN or not re.fullmatch(r"\d+(\.\d+)?", text):
        return None
    return float(text)


def gpu_temperature(rows: Sequence[Sequence[str]]) -> float | None:
    """The hottest GPU of rows ``index, temperature``."""
    known = [degrees for row in rows if (degrees := number(row[1])) is not None]
    return max(known, default=None)


def gpu_slowed(rows: Sequence[Sequence[str]]) -> dict[str, float] | None:
    """Seconds each GPU was slowed by heat, of rows ``index, µs by software, µs by hardware``."""
    slowed: dict[str, float] = {}
    for row in rows:
        known = [value for cell in row[1:] if (value := number(cell)) is not None]
        if known:
            slowed[f"GPU {row[0]}"] = sum(known) / 1e6
    return slowed or None


_THERMAL_REASONS: Final = 0x20 | 0x40
"""Software and hardware thermal slowdown in the mask of NVIDIA's clock event reasons (NVML's header)."""


def gpu_heat(rows: Sequence[Sequence[str]]) -> int | None:
    """1 if a GPU of rows ``index, mask`` is slowed by heat now, else 0."""
    masks = [row[1] for row in rows if re.fullmatch(r"0x[0-9a-fA-F]{1,16}", row[1])]
    return int(any(int(mask, 16) & _THERMAL_REASONS for mask in masks)) if masks else None


def gpu_processes(rows: Sequence[Sequence[str]]) -> dict[int, str]:
    """Programs by process number, of rows ``pid, process_name``."""
    return {int(row[0]): _plain(row[1]) for row in rows if row[0].isdecimal()}


def _plain(name: str) -> str:
    """A program's name as it may be shown: another user chose it."""
    base = name.rsplit("/", 1)[-1]
    return "".join(char for char in base if char.isascii() and char.isprintable())[:40] or "unnamed"


def tree_of(root: int, parents: Mapping[int, int]) -> frozenset[int]:
    """``root`` and everything below it."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found, waiting = {root}, [root]
    while waiting:
        below = [pid for pid in children.get(waiting.pop(), ()) if pid not in found]
        found.update(below)
        waiting += below
    return frozenset(found)
