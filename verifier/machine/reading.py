"""One look at a machine: what was read, and that something could not be read.

``None`` always means *not available here*; it is never a guess, and it never disturbs a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol


class Power(StrEnum):
    MAINS = "mains"
    BATTERY = "battery"


class ProcessKey(NamedTuple):
    """A process that cannot be confused with a later one of the same number.

    Attributes:
        started: When it started, in the system's own unit; 0 where the system does not say.
    """

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One look.

    Attributes:
        at: Seconds on a clock that does not count sleep; only differences mean anything.
        slept: Seconds this machine has slept since it started.
        cores: Processors this process may use; 0 if unknown.
        heat: The system's own thermal level, 0 for nominal.
        throttled: Seconds each chip was slowed by heat since the machine started, by the counter's name.
        temperature: Degrees Celsius of the hottest part that is used for training.
        power: What the machine runs on.
        outside: Processor seconds of every process outside our own tree. A program that runs below us is not
            in it, so it cannot disturb its own run with this.
        ended: Processor seconds of these processes' ended children, where the system tells.
        gpu_others: Processes outside our tree that compute on the GPU.
        available_bytes: Memory that could be had without swapping.
        memory_bytes: All memory.
        swapped_in_bytes: Read back from swap since the machine started.
    """

    at: float
    slept: float = 0.0
    cores: int = 0
    heat: int | None = None
    throttled: Mapping[str, float] | None = None
    temperature: float | None = None
    power: Power | None = None
    outside: Mapping[ProcessKey, float] | None = field(default=None, repr=False)
    ended: Mapping[ProcessKey, float] = field(default_factory=dict, repr=False)
    gpu_others: tuple[str, ...] | None = None
    available_bytes: int | None = None
    memory_bytes: int | None = None
    swapped_in_bytes: int | None = None


class Sensors(Protocol):
    """Reads a machine's state."""

    def read(self) -> Reading:
        """Everything that can be read now. Never raises for what is not available."""
        ...

    def heat(self) -> int | None:
        """The thermal level alone: it is asked again and again during a run."""
        ...


def others_cores(before: Reading, after: Reading) -> float | None:
    """How many processors' worth of time others used between two readings; ``None`` if it is not known.

    Processes that started and ended in between count with their parent, where that waited for them. A parent
    inherits all that an ended child ever used, so what the ended ones had used before is taken off again.
    """
    elapsed = after.at - before.at
    if before.outside is None or after.outside is None or elapsed <= 0:
        return None
    gone = before.outside.keys() - after.outside.keys()
    earlier = sum(before.outside[key] + before.ended.get(key, 0.0) for key in gone)
    inherited = max(0.0, _grown(before.ended, after.ended) - earlier)
    return (_grown(before.outside, after.outside) + inherited) / elapsed


def _grown(before: Mapping[ProcessKey, float], after: Mapping[ProcessKey, float]) -> float:
    return sum(max(0.0, now - before.get(key, 0.0)) for key, now in after.items())


def throttled_seconds(before: Reading, after: Reading) -> float | None:
    """How long the chip that was slowed most was slowed by heat between two readings."""
    if before.throttled is None or after.throttled is None:
        return None
    known = before.throttled
    return max((now - known[name] for name, now in after.throttled.items() if name in known), default=0.0)


_LABELS = {
    "heat": "thermal level",
    "throttled": "time slowed by heat",
    "temperature": "temperature",
    "power": "power source",
    "outside": "load by others",
    "gpu_others": "others on the GPU",
    "available_bytes": "free memory",
    "swapped_in_bytes": "swap",
}
_PUBLIC = (_LABELS["heat"], _LABELS["power"])


def describe(reading: Reading) -> dict[str, str]:
    """The reading for a person, by name; what is not available is said to be so."""
    words = {
        "heat": None
        if reading.heat is None
        else ("nominal" if reading.heat == 0 else f"level {reading.heat}"),
        "throttled": None
        if reading.throttled is None
        else f"{max(reading.throttled.values(), default=0):.1f} s",
        "temperature": None if reading.temperature is None else f"{reading.temperature:.0f} °C",
        "power": reading.power,
        "outside": None if reading.outside is None else f"{len(reading.outside)} processes are watched",
        "gpu_others": None if reading.gpu_others is None else (", ".join(reading.gpu_others) or "none"),
        "available_bytes": _gib(reading.available_bytes),
        "swapped_in_bytes": _gib(reading.swapped_in_bytes),
    }
    return {_LABELS[name]: str(text) if text is not None else "unavailable" for name, text in words.items()}


def public_state(reading: Reading) -> dict[str, str]:
    """What of it may be published with a run: heat and power, and nothing of what else runs here."""
    return {name: text for name, text in describe(reading).items() if name in _PUBLIC}


def _gib(count: int | None) -> str | None:
    return None if count is None else f"{count / (1 << 30):.1f} GiB"
