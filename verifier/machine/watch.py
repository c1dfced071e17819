"""What watches the machine while a run goes on, as the runner sees it.

- A watch looks at the machine and never at the candidate: nothing a program prints, returns or scores enters.
- What it says voids the pair, whatever the run scored; so it must be quiet about honest runs.
- ``end`` never raises for a reading that could not be had: a sensor that is missing disturbs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

SLEEP_SECONDS: Final = 0.5
"""Sleep shorter than this is the two clocks being read one after the other, not sleep."""


class RunWatch(Protocol):
    """Looks at the machine before, at the start and at the end of each run, in this order."""

    def settle(self) -> None:
        """Wait until temperature, free memory and idle load are back at the session's start values.

        Raises:
            VerifierFault: the machine did not come to rest within the watch's patience.
        """
        ...

    def begin(self) -> None:
        """A run starts now."""
        ...

    def end(self) -> tuple[str, ...]:
        """The run that began last has ended.

        Returns:
            What disturbed it, one sentence each without capital and full stop; empty for an undisturbed run.
        """
        ...


def slept_seconds() -> float:
    """Seconds this machine has slept since it started: its continuous clock against its waking one."""
    for continuous, waking in (
        ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"),
        ("CLOCK_MONOTONIC_RAW", "CLOCK_UPTIME_RAW"),
    ):
        if hasattr(time, continuous) and hasattr(time, waking):
            return time.clock_gettime(getattr(time, continuous)) - time.clock_gettime(getattr(time, waking))
    return 0.0


class SleepWatch:
    """Notices sleep and nothing else; the least any runner has.

    Args:
        slept: Seconds this machine has slept since it started; only differences are used.
    """

    def __init__(self, slept: Callable[[], float] = slept_seconds) -> None:
        self._slept = slept
        self._before = 0.0

    def settle(self) -> None:
        """Sleep leaves nothing to wait for."""

    def begin(self) -> None:
        self._before = self._slept()

    def end(self) -> tuple[str, ...]:
        asleep = self._slept() - self._before
        return (f"the machine slept for {asleep:.0f} s of it",) if asleep > SLEEP_SECONDS else ()
