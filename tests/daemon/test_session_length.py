"""How long a session may take at most: with the pair that may be voided, and the repeat of a failed audit."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.daemon.servicing import DAY, judged, machine, once, step_of, tidy
from tests.daemon.test_mode_gold import NOISE
from tests.faults.tinyworld import TinyWorld
from verifier.daemon.testing import _further as further
from verifier.daemon.testlog import Test
from verifier.daemon.timing import SETTLING_SECONDS
from verifier.executors.local import LocalBench
from verifier.model import Pair, Role, bpb
from verifier.simulate import record

__all__ = ["machine", "tidy"]


def pair(*disturbances: str) -> Pair:
    """One that decides nothing."""
    control = record(Role.CONTROL, validation=bpb("2.0"), fresh=bpb("2.1"), run_folder=Path("a"))
    better = record(Role.CANDIDATE, validation=bpb("1.99"), fresh=bpb("2.09"), run_folder=Path("b"))
    return Pair(replace(control, disturbances=disturbances), better)


@pytest.mark.unit
def test_a_pair_that_was_voided_is_still_to_be_run() -> None:
    bench: Any = SimpleNamespace(materials=SimpleNamespace(disadvantage=Decimal(0), control_is_baseline=True))
    kept = (pair("the machine slept"), *[pair()] * 6)
    assert further(bench, NOISE, Test("s", "c", 1, 0, kept[1:]), 8) == 2
    assert further(bench, NOISE, Test("s", "c", 1, 0, kept), 8) == 2


@pytest.mark.e2e
def test_a_session_is_not_begun_that_ends_in_time_only_if_nothing_is_voided_or_repeated(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = world.submitted(), world.home()
    world.devnet.advance_time(6 * DAY)
    one = [(DAY - SETTLING_SECONDS) / 9]
    monkeypatch.setattr(LocalBench, "session_seconds", lambda self, pairs: pairs * one[0])
    late = step_of(once(world, home), proposal)
    assert (late["step"], judged()) == ("left", 0), late
    assert "its week is nearly over" in late["sentence"]
    one[0] = (DAY - SETTLING_SECONDS) / 11
    assert step_of(once(world, home), proposal)["step"] == "approved"
