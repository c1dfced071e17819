"""What observers are told, in tests."""

from __future__ import annotations

from pathlib import Path

from armlx_chain.types import ProposalId
from verifier.daemon.results import Result, Step
from verifier.model import Ending, Role, RunRecord
from verifier.simulate import record

ROLES = tuple(Role)


def result(
    number: int = 7,
    step: Step = Step.LEFT,
    *,
    outcome: str | None = "unimproved",
    reason: str | None = "no-improvement",
    sentence: str = "nothing to send",
) -> Result:
    return Result(ProposalId(number), step, sentence, outcome, reason, Path("reports"))


def run(role: Role = Role.CANDIDATE, ending: Ending = Ending.GRAPH, *, disturbed: bool = False) -> RunRecord:
    return record(role, ending=ending, disturbances=("the machine slept",) if disturbed else ())
