"""Run the campaign: every condition, every gain, every design; then the requirements.

::

    result = run_campaign(CONDITIONS, proposals=200_000, seed=1)
    for line in check(result): …
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from verifier.campaign.conditions import Condition, draw
from verifier.campaign.designs import OTHERS, Tally, paired_test
from verifier.verdict.constants import FIRST_LIMIT, LAST_LIMIT

FULL: Final = 100_000
"""From so many proposals per cell on, a requirement is held against the estimate itself."""

SHOWN_Z: Final = 1.96
SAFE_Z: Final = 3.89
"""Below ``FULL`` only an estimate this many standard errors beyond its bound counts as a violation: one in
twenty thousand by chance."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One condition at one true gain.

    Attributes:
        first: The rule after at most eight pairs.
        whole: The same tests, continued to 24 pairs.
        others: How many proposals each other design accepts.
    """

    condition: str
    gain: float
    first: Tally
    whole: Tally
    others: dict[str, int]


@dataclass(frozen=True, slots=True)
class Campaign:
    """All cells, in order."""

    proposals: int
    seed: int
    cells: tuple[Cell, ...]

    def cell(self, condition: str, gain: float) -> Cell:
        """One of them.

        Raises:
            KeyError: it was not simulated.
        """
        for cell in self.cells:
            if (cell.condition, cell.gain) == (condition, gain):
                return cell
        raise KeyError(f"{condition}, gain {gain}")


def run_campaign(
    conditions: Sequence[Condition],
    *,
    proposals: int,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Campaign:
    """Simulate every condition with runs of its own; within one, all gains and designs see the same runs."""
    cells: list[Cell] = []
    for number, condition in enumerate(conditions):
        progress(condition.name)
        cells += _cells(condition, proposals, seed=1000 * seed + number)
    return Campaign(proposals, seed, tuple(cells))


def _cells(condition: Condition, proposals: int, *, seed: int) -> list[Cell]:
    first = {gain: Tally() for gain in condition.gains}
    whole = dict(first)
    others = {gain: dict.fromkeys(OTHERS, 0) for gain in condition.gains}
    for runs in draw(condition, proposals, seed=seed):
        for gain in condition.gains:
            ends = paired_test(runs, gain)
            first[gain] += Tally.of(ends.first(FIRST_LIMIT))
            whole[gain] += Tally.of(ends)
            for name, judge in OTHERS.items():
                others[gain][name] += int(np.sum(judge(runs, gain)))
    return [Cell(condition.name, gain, first[gain], whole[gain], others[gain]) for gain in condition.gains]


def interval(count: int, total: int, z: float = SHOWN_Z) -> tuple[float, float]:
    """Wilson's interval of a share."""
    share, extra = count / total, z * z / total
    centre = (share + extra / 2) / (1 + extra)
    half = z / (1 + extra) * math.sqrt(share * (1 - share) / total + extra / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, slots=True)
class Requirement:
    """A bound on the share of accepted proposals in a cell."""

    condition: str
    gain: float
    bound: float
    at_least: bool = False


NO_OP: Final = 0.001
STRESSED_NO_OP: Final = 0.005
OWN_NOISE_NO_OP: Final = 0.05
POWER: Final = 0.98

REQUIREMENTS: Final = (
    Requirement("nominal", 0.0, NO_OP),
    Requirement("nominal", 3.0, POWER, at_least=True),
    *(
        Requirement(name, 0.0, STRESSED_NO_OP)
        for name in (
            "drift of 1s",
            "drift of 2s",
            "drift of 4s",
            "level wanders by 1s a run",
            "heavy tails (t3)",
            "heavy tails (t3), noise 1.2s",
            "5 % of runs worse by 10s",
            "true noise 1.2s",
            "s measured from 20 runs",
            "s measured from 20 heavy-tailed runs",
            "drift 4s, heavy tails, 5 % contaminated",
            "the same, noise 1.2s",
        )
    ),
    Requirement("candidate's noise tripled", 0.0, OWN_NOISE_NO_OP),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A requirement, held against what was simulated."""

    requirement: Requirement
    pairs: int
    accepted: int
    proposals: int
    holds: bool

    def line(self) -> str:
        """One line for people."""
        wanted = self.requirement
        low, high = interval(self.accepted, self.proposals)
        what = "at least" if wanted.at_least else "at most"
        return (
            f"{'holds' if self.holds else 'VIOLATED':8}  {wanted.condition}, gain {wanted.gain:g}s, up to "
            f"{self.pairs} pairs: accepted {self.accepted / self.proposals:.3%} [{low:.3%}, {high:.3%}], "
            f"{what} {wanted.bound:.1%}"
        )


def check(campaign: Campaign) -> list[Finding]:
    """Every requirement whose cell was simulated, for eight and for 24 pairs."""
    known = {(cell.condition, cell.gain) for cell in campaign.cells}
    found: list[Finding] = []
    for wanted in REQUIREMENTS:
        if (wanted.condition, wanted.gain) not in known:
            continue
        cell = campaign.cell(wanted.condition, wanted.gain)
        for pairs, tally in ((FIRST_LIMIT, cell.first), (LAST_LIMIT, cell.whole)):
            holds = _holds(wanted, tally.accepted, tally.proposals)
            found.append(Finding(wanted, pairs, tally.accepted, tally.proposals, holds))
    return found


def _holds(wanted: Requirement, accepted: int, proposals: int) -> bool:
    z = 0.0 if proposals >= FULL else SAFE_Z
    low, high = interval(accepted, proposals, z)
    return high >= wanted.bound if wanted.at_least else low <= wanted.bound
