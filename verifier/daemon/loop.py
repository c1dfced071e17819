"""The validator as a service: cycle after cycle, until it is told to stop or a person must act.

A cycle is the same for ``once`` and ``run``, and always ends the same way: how it ended and when is written
and told, also where it failed or was stopped.

0. the cycle is recorded as begun;
1. the pass: every open proposal is brought as far as it can be brought now (``once.Validator``);
2. housekeeping;
3. what went wrong is sorted (``sorting``): a person must act and the daemon ends, or the next cycle tries
   again;
4. the cycle is recorded as ended, in any case.

Between cycles it rests until something happens on the ledger or its pace says so. After failures it rests
longer each time, and no event shortens that.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from armlx_chain.errors import ArmlxError, ChainError, GuardRefused, InsufficientFunds, Interrupted
from verifier.daemon.cyclelog import CycleLog
from verifier.daemon.drain import Drain
from verifier.daemon.observer import Alarm, CycleOutcome, Observer
from verifier.daemon.results import Result, Step
from verifier.daemon.sorting import Sortable, Weight, sort
from verifier.daemon.timing import Pace

__all__ = ["Clocks", "Cycle", "Daemon", "Pass"]

log = logging.getLogger(__name__)


class Pass(Protocol):
    """One pass over the ledger."""

    def run(self, results: list[Result]) -> list[Result]:
        """Bring every open proposal as far as it can be brought; what was done is appended as it is done."""
        ...


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where time and chance come from.

    Attributes:
        wall: Seconds since 1970, UTC.
        steady: A clock that never jumps, in seconds.
        draw: A number from 0 to 1, new each time.
    """

    wall: Callable[[], float]
    steady: Callable[[], float]
    draw: Callable[[], float]


@dataclass(slots=True)
class Cycle:
    """One cycle as it ended.

    Attributes:
        error: What it was broken off by, if it was.
    """

    name: str
    outcome: CycleOutcome = CycleOutcome.STOPPED
    sentence: str = "It ended in a way that nobody foresaw."
    results: list[Result] = field(default_factory=list)
    error: Sortable | None = None


class Daemon:
    """Runs cycles.

    Args:
        chores: Housekeeping; sentences of what was done.
        moved: Whether anything happened on the ledger since it was asked last.
        look: Seconds between two looks at the events.
    """

    def __init__(
        self,
        *,
        passes: Pass,
        chores: Callable[[], Sequence[str]],
        moved: Callable[[], bool],
        cycles: CycleLog,
        observer: Observer,
        drain: Drain,
        pace: Pace,
        look: float,
        clocks: Clocks,
        say: Callable[[str], None],
    ) -> None:
        self._passes = passes
        self._chores = chores
        self._moved = moved
        self._cycles = cycles
        self._observer = observer
        self._drain = drain
        self._pace = pace
        self._look = look
        self._clocks = clocks
        self._say = say

    def run(self, most: int | None = None) -> None:
        """Cycle after cycle, until it is told to stop.

        Args:
            most: End after so many cycles.

        Raises:
            ArmlxError, OSError, sqlite3.Error: something that a person must see to.
        """
        why, failures, idle, done = "start", 0, 0, 0
        before: list[tuple[object, ...]] | None = None
        self._has_moved()  # whatever happened so far, the first cycle sees
        while not self._drain.is_asked:
            cycle = self.cycle(why)
            done += 1
            if cycle.outcome is CycleOutcome.STOPPED and cycle.error is not None:
                raise cycle.error
            if done == most:
                return
            failures = failures + 1 if cycle.outcome is CycleOutcome.BROKEN_OFF else 0
            stands = [(result.proposal_id, result.step, result.sentence) for result in cycle.results]
            idle, before = (idle + 1 if stands == before else 0), [*stands]
            why = self._rest(cycle, failures, idle)

    def cycle(self, why: str) -> Cycle:
        """One cycle; what it was broken off by is in it, sorted and told.

        Raises:
            sqlite3.Error: not even that it ended can be written.
        """
        began = self._clocks.steady()
        number = self._cycles.begin(why, self._second())
        cycle = Cycle(f"cycle-{number}")
        self._observer.cycle_began(cycle.name)
        try:
            self._carry_out(cycle)
        finally:
            try:
                self._cycles.end(
                    number, cycle.outcome.value, cycle.sentence, len(cycle.results), self._second()
                )
            finally:
                seconds = self._clocks.steady() - began
                self._observer.cycle_ended(cycle.name, cycle.outcome.value, seconds, cycle.results)
        return cycle

    def _carry_out(self, cycle: Cycle) -> None:
        try:
            self._passes.run(cycle.results)
            for sentence in () if self._drain.is_asked else self._chores():
                self._say(sentence)
        except (ArmlxError, OSError, sqlite3.Error) as error:
            self._broke_off(cycle, error)
        else:
            cycle.outcome, cycle.sentence = CycleOutcome.DONE, ""
            if self._drain.is_asked:
                cycle.outcome, cycle.sentence = CycleOutcome.DRAINED, "It was told to stop."

    def _broke_off(self, cycle: Cycle, error: Sortable) -> None:
        if isinstance(error, Interrupted) and self._drain.is_asked:
            cycle.outcome, cycle.sentence = CycleOutcome.DRAINED, "It was told to stop."
            return
        placed = sort(error)
        is_stop = placed.weight is Weight.STOP
        cycle.outcome = CycleOutcome.STOPPED if is_stop else CycleOutcome.BROKEN_OFF
        cycle.sentence, cycle.error = placed.sentence, error
        self._observer.fault(placed)
        if isinstance(error, GuardRefused):
            self._observer.alarm(Alarm.GUARD_REFUSED, placed.sentence)
        if isinstance(error, InsufficientFunds):
            self._observer.alarm(Alarm.LOW_FUNDS, placed.sentence)

    def _rest(self, cycle: Cycle, failures: int, idle: int) -> str:
        """Wait for the next cycle's reason."""
        rest = self._pace.rest(
            failures=failures,
            idle=idle,
            is_waiting=any(result.step is Step.WAITING for result in cycle.results),
            draw=self._clocks.draw(),
        )
        until = self._clocks.steady() + rest
        while (left := until - self._clocks.steady()) > 0:
            if self._drain.rest(min(left, self._look)):
                return "drained"
            if failures == 0 and self._has_moved():
                return "events"
        return "retry" if failures else "poll"

    def _has_moved(self) -> bool:
        try:
            return self._moved()
        except ChainError as error:  # the next cycle meets the same, and says so
            log.info("events could not be read: %s", error.message)
            return False

    def _second(self) -> int:
        return int(self._clocks.wall())
