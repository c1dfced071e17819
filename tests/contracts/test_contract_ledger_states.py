"""Every call in every state of a proposal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from evm_world import BETTER, METRICS, WEEK, World, refuses


def prepared(world: World, state: str) -> int:
    """A proposal brought into a state of the machine."""
    proposal = world.submit() if state == "submitted" else world.reviewing()
    end = world.proposal(proposal)["submittedAt"] + WEEK
    steps: dict[str, Callable[[], Any]] = {
        "lock over": lambda: world.engine.set_next_time(world.proposal(proposal)["reviewLockUntil"]),
        "approved": lambda: world.ledger.send("approve", proposal, BETTER, METRICS, sender=world.reviewer),
        "rejected": lambda: world.ledger.send("reject", proposal, METRICS, sender=world.reviewer),
        "expired": lambda: world.ledger.send("expire", proposal, sender=world.cranker, at=end),
    }
    steps.get(state, lambda: None)()
    return proposal


FINISHED = {name: ["WrongStatus"] * 7 for name in ("approved", "rejected", "expired")}
CALLS = [
    "claimReview",
    "approve",
    "approve by another",
    "reject",
    "reject by another",
    "releaseReview",
    "expire",
]
MATRIX: dict[str, list[str]] = {
    "submitted": [
        "",
        "WrongStatus",
        "WrongStatus",
        "WrongStatus",
        "WrongStatus",
        "WrongStatus",
        "ExpiryNotReached",
    ],
    "reviewing": ["WrongStatus", "", "WrongReviewer", "", "WrongReviewer", "LockActive", "ExpiryNotReached"],
    "lock over": [
        "WrongStatus",
        "LockExpired",
        "WrongReviewer",
        "LockExpired",
        "WrongReviewer",
        "",
        "ExpiryNotReached",
    ],
    **FINISHED,
}


@pytest.mark.parametrize("state", MATRIX)
@pytest.mark.parametrize("column", range(7), ids=CALLS)
def test_every_cell_of_the_state_machine(world: World, state: str, column: int) -> None:
    proposal, outcome = prepared(world, state), MATRIX[state][column]
    function, _, by_another = CALLS[column].partition(" by ")
    arguments = {"approve": (BETTER + 1, METRICS), "reject": (METRICS,)}.get(function, ())
    sender = world.other_reviewer if by_another else world.reviewer
    if outcome:
        with refuses(outcome):
            world.ledger.send(function, proposal, *arguments, sender=sender)
    else:
        world.ledger.send(function, proposal, *arguments, sender=sender)
