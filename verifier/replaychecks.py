"""What a replay compares, one sentence each, and what no replay can show."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

__all__ = ["NOT_SHOWN", "Book", "Check", "Holds"]

NOT_SHOWN: Final = (
    "that the runs took place on this candidate and gave these figures",
    "that no other runs were made and left out, nor a pair voided for a disturbance that nobody else saw",
    "that the noise was measured, and not chosen",
    "that the candidate's code is not the control's again",
)
"""For these the validator is believed, or the candidate is run again."""


class Holds(StrEnum):
    """How a check ended."""

    YES = "yes"
    NO = "no"
    OPEN = "open"
    """It could not be made; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was compared."""

    name: str
    holds: Holds
    sentence: str


@dataclass(slots=True)
class Book:
    """The checks of a replay, in order."""

    checks: list[Check] = field(default_factory=list)

    def note(self, name: str, problem: str | None, good: str) -> None:
        """A check that was made: ``problem`` where it does not hold, else ``good``."""
        self.checks.append(Check(name, Holds.YES if problem is None else Holds.NO, problem or good))

    def leave_open(self, name: str, why: str) -> None:
        """A check that could not be made."""
        self.checks.append(Check(name, Holds.OPEN, why))
