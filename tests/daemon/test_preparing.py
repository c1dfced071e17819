"""What making a project ready costs is charged to it, and what it found is not held on to for ever."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

import armlx_chain.cli.reproduce
import verifier.daemon.once
from armlx_chain.chain.contracts import Status
from armlx_chain.errors import VerifierFault
from armlx_chain.types import Root
from tests.daemon.servicing import daemon, machine, once, rows, step_of, tidy
from tests.daemon.test_housekeeping import own_policy
from tests.faults import simulated
from tests.faults.tinyworld import TinyWorld
from verifier.judging import Prepared

pytestmark = pytest.mark.e2e

__all__ = ["machine", "tidy"]

SLOW = "0.015000"
"""A gain that eight pairs do not decide."""


def test_a_control_that_can_be_had_again_is_taken_by_a_later_cycle(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = world.submitted(gain=SLOW), world.home()
    assert step_of(once(world, home), proposal)["reason"] == "more-pairs-needed"
    made: list[bool] = []

    def prepare(*arguments: Any) -> Prepared:
        prepared, is_first = simulated.prepare(*arguments), not made
        made.append(True)
        if not is_first:
            return prepared
        stand_in = replace(
            prepared.materials,
            control_root=Root.zerog(b"\x33" * 32),
            disadvantage=Decimal("0.001"),
            control_note="An earlier best serves as control.",
        )
        return replace(prepared, materials=stand_in)

    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", prepare)
    monkeypatch.setattr(verifier.daemon.once, "STAND_IN_SECONDS", 0.0)
    assert daemon(world, home, "--cycles", "2", "--poll", "1", "--look", "0.05").code == 0
    assert world.proposal(proposal.id).status is Status.APPROVED


def test_a_project_whose_own_programs_hang_uses_up_its_day_of_machine_time(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = world.submitted(), world.submitted()
    home, real, slept = world.home(), time.time, [0.0]
    noon = (real() // 86_400 + 0.5) * 86_400 - real()  # midnight must not come in between
    monkeypatch.setattr(time, "time", lambda: real() + noon + slept[0])
    own_policy(world, home, machine_seconds=3600, issued_at=1)

    def hang(*arguments: Any) -> Prepared:
        slept[0] += 1800
        raise VerifierFault("The project's own prepare.py does not give the rows to score.")

    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", hang)
    ran = once(world, home)
    assert "prepare.py" in step_of(ran, first)["sentence"]
    assert "prepare.py" in step_of(ran, second)["sentence"]
    assert rows(home, "SELECT SUM(seconds) FROM machine_time")[0][0] >= 3600
    again = once(world, home)
    assert "s of machine time a day" in step_of(again, first)["sentence"]
    assert "s of machine time a day" in step_of(again, second)["sentence"]
    assert slept == [3600], "nothing of the project runs any more today"
