"""Machine time by project and UTC day, durably: what a policy's ``machineSeconds`` is compared with.

- The expected time of a run is charged *before* it starts; when it has ended, what it really took stands
  instead. A process that is killed in between leaves the expectation charged, so nobody gets machine time
  for nothing by bringing the machine down.
- A lane runs one thing at a time. What a lane left open is closed at its expectation when it begins the next.
- A run belongs to the day on which it began. Seconds are whole, rounded to the nearest.

::

    with usage.session(project_id, lane="local", now=clock, run_seconds=340) as meter:
        bench.judge(Trial(files, …, progress=meter))
    usage.used(project_id, day_of(clock()))
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from armlx_chain.durable import transaction
from verifier.session import Progress

__all__ = ["DAY_SECONDS", "UNKNOWN_RUN_SECONDS", "USAGE_TABLES", "Meter", "Usage", "day_of"]

DAY_SECONDS: Final = 86_400
UNKNOWN_RUN_SECONDS: Final = 600
"""Charged for a run whose length nobody measured yet, until it ends. Our choice: twice the usual budget."""

USAGE_TABLES = (
    """
CREATE TABLE IF NOT EXISTS machine_time (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    project INTEGER NOT NULL,
    day INTEGER NOT NULL,
    seconds INTEGER NOT NULL,
    PRIMARY KEY (chain, ledger, account, project, day)
)""",
    """
CREATE TABLE IF NOT EXISTS machine_time_open (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    lane TEXT NOT NULL,
    project INTEGER NOT NULL,
    day INTEGER NOT NULL,
    seconds INTEGER NOT NULL,
    PRIMARY KEY (chain, ledger, account, lane)
)""",
)
_ADD = (
    "INSERT INTO machine_time VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (chain, ledger, account, project, day)"
    " DO UPDATE SET seconds = seconds + excluded.seconds"
)
_OPEN = "INSERT INTO machine_time_open VALUES (?, ?, ?, ?, ?, ?, ?)"
_FIND_OPEN = (
    "SELECT project, day, seconds FROM machine_time_open"
    " WHERE chain = ? AND ledger = ? AND account = ? AND lane = ?"
)
_CLOSE = "DELETE FROM machine_time_open WHERE chain = ? AND ledger = ? AND account = ? AND lane = ?"
_SPENT = (
    "SELECT COALESCE(SUM(seconds), 0) FROM machine_time"
    " WHERE chain = ? AND ledger = ? AND account = ? AND project = ? AND day = ?"
)
_UNDER_WAY = (
    "SELECT COALESCE(SUM(seconds), 0) FROM machine_time_open"
    " WHERE chain = ? AND ledger = ? AND account = ? AND project = ? AND day = ?"
)


def day_of(now: float) -> int:
    """The UTC day of a time in seconds since 1970, counted from that year's first."""
    return int(now // DAY_SECONDS)


class Usage:
    """The machine time of one verifier account on one ledger, in the database of its findings."""

    def __init__(self, database: sqlite3.Connection, where: tuple[str, str, str]) -> None:
        self._db = database
        self._where = where

    def used(self, project_id: int, day: int) -> int:
        """Seconds charged to a project on a day, runs that are under way at their expectation."""
        key = (*self._where, int(project_id), day)
        return sum(int(self._db.execute(which, key).fetchone()[0]) for which in (_SPENT, _UNDER_WAY))

    def by_project(self, day: int) -> dict[int, int]:
        """Seconds of a day by project, for a person."""
        rows = self._db.execute(
            "SELECT project FROM machine_time"
            " WHERE chain = ? AND ledger = ? AND account = ? AND day = ? UNION"
            " SELECT project FROM machine_time_open"
            " WHERE chain = ? AND ledger = ? AND account = ? AND day = ?",
            (*self._where, day, *self._where, day),
        ).fetchall()
        return {int(project): self.used(project, day) for (project,) in sorted(rows)}

    def charge(self, project_id: int, *, day: int, seconds: float) -> None:
        """Charge time that was spent."""
        self._db.execute(_ADD, (*self._where, int(project_id), day, _whole(seconds)))

    def begin(self, project_id: int, *, lane: str, day: int, expected: float) -> None:
        """Charge what a lane is about to spend; what it left open before stays charged in full."""
        with transaction(self._db):
            self._close(lane, None)
            self._db.execute(_OPEN, (*self._where, lane, int(project_id), day, _whole(expected)))

    def settle(self, lane: str, seconds: float) -> None:
        """What the lane began took this long; nothing happens where it began nothing."""
        with transaction(self._db):
            self._close(lane, seconds)

    def _close(self, lane: str, seconds: float | None) -> None:
        """Turn what a lane has open into a charge; ``None`` for its expectation."""
        row = self._db.execute(_FIND_OPEN, (*self._where, lane)).fetchone()
        if row is None:
            return
        project, day, expected = (int(value) for value in row)
        self._db.execute(_CLOSE, (*self._where, lane))
        self.charge(project, day=day, seconds=expected if seconds is None else seconds)

    @contextmanager
    def spending(
        self, project_id: int, *, lane: str, now: Callable[[], float], expected: float | None
    ) -> Iterator[None]:
        """Charge whatever is done inside, a calibration for example.

        Args:
            now: Seconds since 1970, UTC.
            expected: What it will take, in seconds; ``None`` if nobody knows.
        """
        began = now()
        guess = UNKNOWN_RUN_SECONDS if expected is None else expected
        self.begin(project_id, lane=lane, day=day_of(began), expected=guess)
        try:
            yield
        finally:
            self.settle(lane, now() - began)

    @contextmanager
    def session(
        self, project_id: int, *, lane: str, now: Callable[[], float], run_seconds: float | None
    ) -> Iterator[Meter]:
        """A meter of a session's runs; hand it every ``Progress`` of the session.

        Args:
            run_seconds: What one run takes here, as far as it was measured.
        """
        guess = UNKNOWN_RUN_SECONDS if run_seconds is None else run_seconds
        meter = Meter(self, int(project_id), lane, now, guess)
        try:
            yield meter
        finally:
            meter.close()


class Meter:
    """Charges each run of a session when it starts and when it has ended."""

    def __init__(
        self, usage: Usage, project_id: int, lane: str, now: Callable[[], float], run_seconds: float
    ) -> None:
        self._usage = usage
        self._project = project_id
        self._lane = lane
        self._now = now
        self._expected = run_seconds
        self._began: float | None = None

    def __call__(self, progress: Progress) -> None:
        """A run starts, or has ended."""
        if progress.role is None:
            return
        if progress.record is not None:
            self.close()
            return
        self.close()
        self._began = self._now()
        self._usage.begin(self._project, lane=self._lane, day=day_of(self._began), expected=self._expected)

    def close(self) -> None:
        """Whatever runs has ended, with or without a record."""
        if self._began is not None:
            self._usage.settle(self._lane, self._now() - self._began)
            self._began = None


def _whole(seconds: float) -> int:
    return max(0, math.floor(seconds + 0.5))
