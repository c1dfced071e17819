"""How long a candidate may take from its start to its graph.

- The reference is the unmodified snapshot on this machine and environment, warm; never an accepted candidate,
  else every winner's margin would become the next reference.
- The margin is small on purpose: on a small profile five percent more steps are worth 0.014 bits per byte.
"""

from __future__ import annotations

import math
import statistics as basic
from collections.abc import Sequence
from dataclasses import dataclass

from armlx_chain.errors import VerifierFault
from verifier.verdict.constants import (
    MARGIN_LIMIT,
    MARGIN_OF_BUDGET,
    MARGIN_REFERENCE_BUDGET,
    MARGIN_SECONDS,
    MARGIN_SPREADS,
    REFERENCE_RUNS,
)


@dataclass(frozen=True, slots=True)
class Deadline:
    """Seconds on the session's outside clock.

    Attributes:
        reference: Median of the warm baseline runs, from start to graph.
        spread: Standard deviation of the same runs. Their training budget is fixed, so what differs is
            start-up.
        margin: What is added.
    """

    reference: float
    spread: float
    margin: float

    @property
    def seconds(self) -> float:
        return self.reference + self.margin


def margin_seconds(budget: float, spread: float) -> float:
    """max(2 percent of the budget, 3 spreads), at most 5 s at 300 s, never above 10 percent of the budget."""
    wanted = max(MARGIN_OF_BUDGET * budget, MARGIN_SPREADS * spread)
    cap = MARGIN_SECONDS * max(1.0, budget / MARGIN_REFERENCE_BUDGET)
    return min(wanted, cap, MARGIN_LIMIT * budget)


def deadline_from(reference_seconds: Sequence[float], budget: float) -> Deadline:
    """The deadline from the baseline's own times.

    Args:
        reference_seconds: Start to graph of the unmodified snapshot, one figure per warm run.
        budget: The benchmark's training budget in seconds of the same clock.

    Raises:
        VerifierFault: if there are fewer than three runs or a figure makes no sense.
    """
    times = [float(value) for value in reference_seconds]
    if len(times) < REFERENCE_RUNS:
        raise VerifierFault(
            f"The deadline needs {REFERENCE_RUNS} warm runs of the snapshot, there are {len(times)}.",
            next_step="Calibrate this machine for the project again.",
        )
    if not (math.isfinite(budget) and budget > 0 and all(math.isfinite(t) and t > 0 for t in times)):
        raise VerifierFault("The times measured for the deadline are not positive numbers of seconds.")
    spread = basic.stdev(times)
    return Deadline(reference=basic.median(times), spread=spread, margin=margin_seconds(budget, spread))
