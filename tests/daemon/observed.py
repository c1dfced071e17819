"""What observers are told, in tests."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def logging_restored() -> Iterator[None]:
    """Within the block a command may set up this process's logging; afterwards it is as before."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    try:
        yield
    finally:
        for handler in root.handlers[:]:
            root.removeHandler(handler)
        for handler in before[0]:
            root.addHandler(handler)
        root.setLevel(before[1])
        sys.excepthook, threading.excepthook = before[2:]
        logging.captureWarnings(False)
