"""A run's machine, watched: at rest before it starts, and the same at its end.

- The session's start is the first look; everything that may differ between machines is compared with it.
- What others compute, sleep, the power source and a foreign program on the GPU are seen from outside our own
  process tree: a program that runs below us cannot bring them about.
- Heat and swap it can; so a candidate gains nothing from a pair that such a disturbance of its own run voided
  (``verifier.session.may_start_over``).
- What is not available disturbs nothing, and ``describe`` says that it is not.

::

    watch = MachineWatch(sensors_here("cuda"), clock="wall", say=say)
    watch.settle(); watch.begin(); …; sentences = watch.end()
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from armlx_chain.errors import VerifierFault
from verifier.machine import limits
from verifier.machine.reading import Reading, Sensors, others_cores, throttled_seconds
from verifier.machine.watch import SLEEP_SECONDS


@dataclass(frozen=True, slots=True)
class Pace:
    """How waiting is done; other figures serve tests."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    patience: float = limits.PATIENCE_SECONDS
    look: float = limits.LOOK_SECONDS
    sample: float = limits.SAMPLE_SECONDS


_USUAL: Final = Pace()


def _silent(_: str) -> None:
    return None


class MachineWatch:
    """A ``RunWatch`` over this machine's sensors.

    Args:
        clock: What the benchmark's budget counts, ``wall`` or ``cpu``: on the CPU clock nobody is billed for
            what others do.
        say: Gets a sentence when a run has to wait.
    """

    def __init__(
        self, sensors: Sensors, *, clock: str, say: Callable[[str], None] = _silent, pace: Pace = _USUAL
    ) -> None:
        self._sensors, self._wall, self._say, self._pace = sensors, clock == "wall", say, pace
        self._start: Reading | None = None
        self._start_load = 0.0
        self._begin: Reading | None = None
        self._sampler: _Sampler | None = None

    def settle(self) -> None:
        """See ``RunWatch.settle``."""
        self._end_sampling()
        if self._start is None:
            self._start = self._first_look()
            return
        started, told = self._pace.clock(), ""
        anchor = previous = self._sensors.read()
        now = self._later() if self._wall and previous.outside is not None else previous
        while (reason := self._unrest(now, previous, anchor)) is not None:
            if self._pace.clock() - started > self._pace.patience:
                raise VerifierFault(
                    f"This machine does not come to rest: {reason}.",
                    meaning=f"Waited for {self._pace.patience / 60:.0f} minutes; no run was started.",
                    next_step="Close other work, let the machine cool down, then start again.",
                )
            if reason != told:
                self._say(f"waiting: {reason}")
                told = reason
            anchor = now if now.at - anchor.at >= limits.COOLING_SECONDS else anchor
            self._pace.sleep(self._pace.look)
            previous, now = now, self._sensors.read()

    def _later(self) -> Reading:
        """A second look, after the least time in which load shows."""
        self._pace.sleep(limits.LOAD_LEAST_SECONDS)
        return self._sensors.read()

    def _first_look(self) -> Reading:
        """The session's start; on the wall clock with the load that is usual here."""
        first = self._sensors.read()
        if not self._wall or first.outside is None:
            return first
        second = self._later()
        self._start_load = others_cores(first, second) or 0.0
        return second

    def _unrest(self, now: Reading, previous: Reading, anchor: Reading) -> str | None:
        """Why no run can start now, compared with the session's start; the text holds no changing figure.

        Args:
            previous: The look before this one, for the load in between.
            anchor: An older look, for what still cools.
        """
        start = self._start or now
        if now.heat is not None and now.heat > max(limits.NOMINAL, start.heat or 0):
            return "the system reports heat"
        if self._too_warm(start, now, anchor):
            return "it is warmer than when the session began"
        free, before = now.available_bytes, start.available_bytes
        if free is not None and before is not None and free < limits.MEMORY_SHARE * before:
            return "less than half the memory is free that was free when the session began"
        if now.gpu_others and not set(now.gpu_others) <= set(start.gpu_others or ()):
            return f"another program computes on the GPU: {', '.join(now.gpu_others)}"
        if self._busy(previous, now) is not None:
            return "other programs keep the processor busy"
        return None

    def _too_warm(self, start: Reading, now: Reading, anchor: Reading) -> bool:
        if now.temperature is None or start.temperature is None or anchor.temperature is None:
            return False
        if now.temperature <= start.temperature + limits.TEMPERATURE_RISE:
            return False
        still_cooling = anchor.temperature - now.temperature >= limits.COOLED
        return now.at - anchor.at < limits.COOLING_SECONDS or still_cooling

    def _busy(self, before: Reading, after: Reading) -> float | None:
        """Cores that others used, if that is too much on this clock."""
        used = others_cores(before, after)
        if not self._wall or used is None or after.at - before.at < limits.LOAD_LEAST_SECONDS / 2:
            return None
        allowed = self._start_load + limits.OTHERS_SHARE * max(1, after.cores)
        return used if used > allowed else None

    def begin(self) -> None:
        """See ``RunWatch.begin``."""
        self._end_sampling()
        self._begin = self._sensors.read()
        if self._begin.heat is not None:
            self._sampler = _Sampler(self._sensors, self._pace.sample)

    def end(self) -> tuple[str, ...]:
        """See ``RunWatch.end``."""
        worst = self._end_sampling()
        if self._begin is None:
            return ()
        before, after, self._begin = self._begin, self._sensors.read(), None
        return tuple(self._disturbances(before, self._without_leaving(after), worst))

    def _without_leaving(self, after: Reading) -> Reading:
        """A driver may list our own ended program for a moment, in a container by a number we do not know."""
        known = (self._start or after).gpu_others or ()
        if set(after.gpu_others or ()) <= set(known):
            return after
        self._pace.sleep(limits.LEAVING_SECONDS)
        still = self._sensors.read().gpu_others or ()
        return replace(after, gpu_others=tuple(name for name in after.gpu_others or () if name in still))

    def _end_sampling(self) -> int:
        sampler, self._sampler = self._sampler, None
        return 0 if sampler is None else sampler.stop()

    def _disturbances(self, before: Reading, after: Reading, worst: int) -> Iterator[str]:
        start = self._start or before
        asleep = after.slept - before.slept
        if asleep > SLEEP_SECONDS:
            yield f"the machine slept for {asleep:.0f} s of it"
        heat = max(worst, before.heat or 0, after.heat or 0)
        if heat > limits.NOMINAL:
            yield f"the machine grew hot (thermal level {heat}, 0 is nominal)"
        slowed, took = throttled_seconds(before, after), max(after.at - before.at, 1e-9)
        if slowed is not None and slowed > limits.THROTTLED_SHARE * took:
            yield f"a chip was slowed by heat for {slowed:.0f} s of {took:.0f} s"
        if after.power is not None and before.power is not None and after.power != before.power:
            yield f"the power source changed from {before.power} to {after.power}"
        elif after.power is not None and start.power is not None and after.power != start.power:
            yield f"the machine ran on {after.power}; when the session began it ran on {start.power}"
        yield from self._company(start, before, after)

    def _company(self, start: Reading, before: Reading, after: Reading) -> Iterator[str]:
        strangers = (set(before.gpu_others or ()) | set(after.gpu_others or ())) - set(start.gpu_others or ())
        if strangers:
            yield f"other programs computed on the GPU: {', '.join(sorted(strangers))}"
        busy = self._busy(before, after)
        if busy is not None:
            yield f"other programs used {busy:.1f} of {after.cores} processor cores"
        if (
            self._wall
            and after.memory_bytes
            and None not in (before.swapped_in_bytes, after.swapped_in_bytes)
        ):
            read = (after.swapped_in_bytes or 0) - (before.swapped_in_bytes or 0)
            if read > limits.SWAP_SHARE * after.memory_bytes:
                yield f"the machine read {read / (1 << 20):.0f} MiB back from swap"


class _Sampler:
    """Asks for the thermal level again and again while a run goes on, and keeps the worst."""

    def __init__(self, sensors: Sensors, interval: float) -> None:
        self._sensors, self._interval = sensors, interval
        self._worst = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="heat", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stopped.wait(self._interval):
            self._worst = max(self._worst, self._sensors.heat() or 0)

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self._worst
