"""A plan looked at, and carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from verifier.daemon.install.steps import Person, Step
from verifier.daemon.install.system import System

__all__ = ["Planned", "carry_out", "look"]


@dataclass(frozen=True, slots=True)
class Planned:
    """A step, and whether it was done when it was looked at."""

    step: Step
    done: bool

    @property
    def is_yours(self) -> bool:
        return isinstance(self.step, Person)

    @property
    def state(self) -> str:
        if self.done:
            return "there"
        return "yours" if self.is_yours else "to do"

    def as_json(self) -> dict[str, object]:
        step = self.step
        return {"title": step.title, "state": self.state, "why": step.why, "how": step.shows()}

    def lines(self) -> list[str]:
        """For a person: what, why, and exactly how, unless it is there."""
        head = f"{self.state:<6} {self.step.title}"
        if self.done:
            return [head]
        how = [f"         {line}" for line in self.step.shows()]
        return [f"{head}: {self.step.why}", *how]


def look(steps: Sequence[Step], system: System) -> list[Planned]:
    """What is there and what is not; changes nothing.

    Raises:
        MachineError: something lies where a file belongs.
    """
    return [Planned(step, step.is_done(system)) for step in steps]


def carry_out(steps: Sequence[Step], system: System, say: Callable[[str], None]) -> int:
    """Do what is not done, in order; how many steps that were. What is a person's is left.

    Each step is looked at when its turn comes: earlier ones may have brought it about, or undone it.

    Raises:
        MachineError: a step failed; those before it are kept, and the next time goes on from there.
    """
    count = 0
    for step in steps:
        if isinstance(step, Person) or step.is_done(system):
            continue
        say(step.title)
        step.do(system)
        count += 1
    return count
