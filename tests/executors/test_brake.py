"""The brake ends whatever runs, also beside something that cannot be ended."""

from __future__ import annotations

import pytest

from armlx_chain.errors import VerifierFault
from verifier.executors.stopping import Brake

pytestmark = pytest.mark.unit


class Process:
    """Something that runs."""

    def __init__(self, *, survives: bool = False) -> None:
        self.survives = survives
        self.orders: list[str] = []

    def kill_tree(self, reason: str = "deadline") -> None:
        self.orders.append(reason)
        if self.survives:
            raise VerifierFault("The sandboxed program was killed and its supervision did not end.")


def test_one_program_that_survives_keeps_no_other_from_being_ended() -> None:
    brake = Brake()
    running = [Process(survives=True) for _ in range(3)] + [Process() for _ in range(3)]
    for process in running:
        brake.reach(process)
    with pytest.raises(VerifierFault, match="did not end"):
        brake.kill()
    assert [process.orders for process in running] == [["stopped"]] * 6
    assert brake.is_pulled
