"""What the daemon tells whoever watches it: metrics, health, logs, tests.

- An observer is told, never asked: nothing that it does or returns changes what the daemon decides.
- It must not raise and must not block; it may be called from several threads at once (one per lane).
- What it is handed may hold words of strangers and of endpoints. It redacts before it shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from verifier.daemon.results import Result
from verifier.daemon.sorting import Sorted
from verifier.model import Role, RunRecord

__all__ = ["Alarm", "CycleOutcome", "Observer", "Several", "Silent"]


class CycleOutcome(StrEnum):
    """How a cycle ended."""

    DONE = "done"
    """Every proposal that was due was brought as far as it could be."""
    BROKEN_OFF = "broken-off"
    """Something that the next cycle tries again (``Weight.CARRY_ON``)."""
    STOPPED = "stopped"
    """Something that a person must see to (``Weight.STOP``)."""
    DRAINED = "drained"
    """The daemon was told to end."""


class Alarm(StrEnum):
    """What a person should be told of at once."""

    GUARD_REFUSED = "guard-refused"
    GOLD_FAILED = "gold-failed"
    DRY_MODE = "dry-mode"
    """The daemon returned to dry mode by itself."""
    REJECTION_WAITS = "rejection-waits"
    REJECTIONS_SPENT = "rejections-spent"
    """As many rejections were sent today as may be."""
    LOW_FUNDS = "low-funds"
    OTHER = "other"


class Observer(Protocol):
    """Whoever watches a daemon."""

    def cycle_began(self, cycle_id: str) -> None:
        """A cycle starts; the id is new."""

    def cycle_ended(self, cycle_id: str, outcome: str, seconds: float, results: Sequence[Result]) -> None:
        """A cycle ended, whatever happened in it; said exactly once for each that began.

        Args:
            outcome: A ``CycleOutcome``.
            seconds: Wall time it took.
        """

    def proposal_began(self, proposal_id: int, project_id: int) -> None:
        """A proposal is looked at."""

    def proposal_ended(self, result: Result, seconds: float) -> None:
        """A proposal was brought as far as it can be now.

        Args:
            seconds: Wall time it took, runs included.
        """

    def run_ended(self, role: Role, record: RunRecord, seconds: float) -> None:
        """One run under the harness ended.

        Args:
            seconds: Wall time it took.
        """

    def fault(self, sorted_: Sorted, /) -> None:
        """Something failed; what the daemon does next is its weight."""

    def alarm(self, name: str, sentence: str) -> None:
        """Something that a person should see at once.

        Args:
            name: An ``Alarm``; any other name counts as ``OTHER``.
        """


class Silent:
    """Watches nothing; for single passes and tests."""

    def cycle_began(self, cycle_id: str) -> None:
        """Nothing."""

    def cycle_ended(self, cycle_id: str, outcome: str, seconds: float, results: Sequence[Result]) -> None:
        """Nothing."""

    def proposal_began(self, proposal_id: int, project_id: int) -> None:
        """Nothing."""

    def proposal_ended(self, result: Result, seconds: float) -> None:
        """Nothing."""

    def run_ended(self, role: Role, record: RunRecord, seconds: float) -> None:
        """Nothing."""

    def fault(self, sorted_: Sorted, /) -> None:
        """Nothing."""

    def alarm(self, name: str, sentence: str) -> None:
        """Nothing."""


class Several:
    """Tells several observers, in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def add(self, observer: Observer) -> None:
        """From now on somebody else watches too."""
        self._observers = (*self._observers, observer)

    def cycle_began(self, cycle_id: str) -> None:
        for observer in self._observers:
            observer.cycle_began(cycle_id)

    def cycle_ended(self, cycle_id: str, outcome: str, seconds: float, results: Sequence[Result]) -> None:
        for observer in self._observers:
            observer.cycle_ended(cycle_id, outcome, seconds, results)

    def proposal_began(self, proposal_id: int, project_id: int) -> None:
        for observer in self._observers:
            observer.proposal_began(proposal_id, project_id)

    def proposal_ended(self, result: Result, seconds: float) -> None:
        for observer in self._observers:
            observer.proposal_ended(result, seconds)

    def run_ended(self, role: Role, record: RunRecord, seconds: float) -> None:
        for observer in self._observers:
            observer.run_ended(role, record, seconds)

    def fault(self, sorted_: Sorted, /) -> None:
        for observer in self._observers:
            observer.fault(sorted_)

    def alarm(self, name: str, sentence: str) -> None:
        for observer in self._observers:
            observer.alarm(name, sentence)
