"""What a run and its model may take. Pure.

- A candidate's model may take a multiple of what the control's took beside it, never less than a floor below
  which a small benchmark's figures are noise, never more than the operator's own limits.
- A run's wall time is bounded whatever its clock counts, and by the protocol's own limit where it has one.
"""

from __future__ import annotations

from typing import Final

from verifier.harness.constants import Constants
from verifier.harness.evaluation import Cost
from verifier.harness.evaluator import EvaluatorLimits
from verifier.harness.supervise import Rules

TIME_FACTOR: Final = 4
MEMORY_FACTOR: Final = 2
GRAPH_FACTOR: Final = 4
"""A graph may cost this much more than the control's (trusted evaluation, section 2)."""
LEAST_SECONDS: Final = 120.0
LEAST_MEMORY: Final = 2 << 30
CPU_WALL_FACTOR: Final = 20.0
CPU_WALL_MOST: Final = 3600.0
"""A program on the CPU clock may take so many times its time, and so much longer at most: one that sleeps
uses none of it."""
WALL_SLACK_SECONDS: Final = 120.0
BUDGETS_WITHOUT_DEADLINE: Final = 3
"""Where there is no deadline yet (calibration), so many budgets are expected to be enough."""


def candidate_limits(base: EvaluatorLimits, usual: Cost | None) -> EvaluatorLimits:
    """What a candidate's graph may cost.

    Args:
        base: The operator's limits.
        usual: What the latest control's evaluation took; ``None`` before there was one.
    """
    if usual is None:
        return base
    return EvaluatorLimits(
        seconds=min(base.seconds, max(LEAST_SECONDS, TIME_FACTOR * usual.seconds)),
        memory_bytes=min(base.memory_bytes, max(LEAST_MEMORY, MEMORY_FACTOR * usual.memory_bytes)),
        graph_bytes=max(base.graph_bytes, GRAPH_FACTOR * usual.graph_bytes),
    )


def run_rules(
    constants: Constants,
    *,
    deadline_seconds: float | None,
    hard_wall_seconds: float | None,
    protocol_wall_seconds: float | None,
) -> Rules:
    """The times of a run.

    Args:
        deadline_seconds: To the final graph, on the benchmark's clock; ``None`` for none.
        hard_wall_seconds: The operator's wall limit; ``None`` derives it from the rest.
        protocol_wall_seconds: The protocol's own; the narrower of the two counts.
    """
    expected = deadline_seconds or BUDGETS_WITHOUT_DEADLINE * constants.budget_seconds
    idle = min((CPU_WALL_FACTOR - 1) * expected, CPU_WALL_MOST) if constants.clock == "cpu" else 0.0
    hard = hard_wall_seconds or expected + idle + WALL_SLACK_SECONDS
    hard = min(hard, protocol_wall_seconds or hard)
    return Rules(constants.clock, constants.budget_seconds, deadline_seconds, hard)
