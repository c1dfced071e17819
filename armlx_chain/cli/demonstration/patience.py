"""When a machine changes under a judgement: it is measured anew, and judged again.

A verdict that voids pairs, because the controls are not what they were when the machine was calibrated, is
right to say nothing. Here, as in life, the machine is then calibrated again; how often is bounded. A
validator begins a test anew only where no pair counted. Where one did, nobody may draw that lot twice:
another validator takes over.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from armlx_chain.cli.demonstration.stage import Stage, StepFailed, require, tell
from armlx_chain.errors import EXIT_OK, EXIT_UNDECIDED

ATTEMPTS = 3
"""How often a step is judged before the demonstration gives up."""
_MACHINE = ("too-noisy", "control-failed")
_MORE = "more-pairs-needed"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a report says.

    Attributes:
        counted: Pairs that count.
    """

    outcome: str
    reason: str
    counted: int

    @classmethod
    def read(cls, report: Path) -> Judgement | None:
        """A report of ours; ``None`` if there is none."""
        if not report.is_file():
            return None
        tree = json.loads(report.read_text())
        counted = sum(not pair["voided"] for pair in tree["pairs"])
        return cls(tree["outcome"], tree["reason"], counted)

    @property
    def is_the_machines(self) -> bool:
        """Undecided for a reason that a fresh calibration may end."""
        return self.outcome == "undecided" and self.reason in _MACHINE

    @property
    def wants_more(self) -> bool:
        """Undecided for want of pairs."""
        return (self.outcome, self.reason) == ("undecided", _MORE)


def reproduce(stage: Stage, source: Path) -> Path:
    """Let the miner reproduce a candidate until this machine has an opinion.

    Raises:
        StepFailed: it has another one than that the candidate is better, or none in the end.
    """
    for place in _places(stage.folder / "runs" / "better"):
        code = stage.run("miner", "reproduce", source, "--project", 0, "--out", place)
        if code == EXIT_OK:
            return place
        found = Judgement.read(place / "report.json")
        undecided = found is not None and (found.is_the_machines or found.wants_more)
        require(code == EXIT_UNDECIDED and undecided, f"the better train.py was not reproduced ({found})")
        calibrate_again(stage, "The machine is not in the state in which it was calibrated")
    raise _gave_up()


def _places(first: Path) -> Iterator[Path]:
    yield first
    for number in range(2, ATTEMPTS + 1):
        yield first.with_name(f"{first.name}-{number}")


def validate(stage: Stage, proposals: Sequence[int], *options: str) -> str:
    """Let a validator judge until each of these proposals has a verdict; returns who settled.

    Raises:
        StepFailed: the machine finds no rest.
    """
    who = "validator"
    for _ in range(ATTEMPTS):
        stage.do(who, "validate", "--once", *options, sign=True)
        found = [judged for number in proposals if (judged := _report(stage, who, number)) is not None]
        unrest = [judged for judged in found if judged.is_the_machines]
        if unrest:
            calibrate_again(stage, "The machine changed since it was calibrated, so its verdict says nothing")
            if any(judged.counted for judged in unrest):
                who = _take_over(stage)
        elif any(judged.wants_more for judged in found):
            tell("", "Not decided yet: the same validator continues the same test with further pairs.")
        else:
            return who
    raise _gave_up()


def _report(stage: Stage, who: str, number: int) -> Judgement | None:
    folder = stage.home(who) / "reports" / stage.world.addresses.proposal_ledger / str(number)
    return Judgement.read(folder / "report.json")


def _take_over(stage: Stage) -> str:
    tell(
        "Some pairs counted, so this validator never begins that test anew: it would be drawing the same lot",
        "again. Another one, with an account of its own, judges it.",
    )
    stage.appoint("second-validator")
    return "second-validator"


def calibrate_again(stage: Stage, why: str) -> None:
    """Measure this machine's noise anew, for everybody on it."""
    tell("", f"{why}. It is calibrated again, and judged again.")
    stage.do("miner", "calibrate", "--project", 0, "--quick", "--again")
    share(stage, stage.home("miner") / "calibrations")


def share(stage: Stage, calibrations: Path) -> None:
    """One machine, one calibration: all the people here use the same."""
    for who in ("miner", "validator", "second-validator"):
        place = stage.home(who) / "calibrations"
        if place != calibrations:
            shutil.copytree(calibrations, place, dirs_exist_ok=True)


def _gave_up() -> StepFailed:
    return StepFailed(
        f"This machine changed under {ATTEMPTS} judgements in a row, so they say nothing.",
        meaning="That is not a fault of the candidate, and nothing was decided that should not have been.",
        next_step="Close other work on this machine and play the demonstration again.",
    )
