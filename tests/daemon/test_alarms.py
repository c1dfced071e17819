"""What a person is told of at once, noticed between two cycles; each thing once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from armlx_chain.errors import GuardRefused
from verifier.daemon.alarms import Bell
from verifier.daemon.mode import ModeKeeper
from verifier.daemon.observer import Alarm, CycleOutcome, Silent
from verifier.daemon.rejections import Rejections
from verifier.daemon.store import FindingStore
from verifier.daemon.watching import Gauger
from verifier.model import Outcome

pytestmark = pytest.mark.unit

REPORT = {"reason": "causality-violated", "explanation": "Its model looks ahead."}


class Heard(Silent):
    def __init__(self) -> None:
        self.alarms: list[tuple[str, str]] = []

    def alarm(self, name: str, sentence: str) -> None:
        self.alarms.append((name, sentence))


class Standing:
    """A validator's database, and the bell over it."""

    def __init__(self, folder: Path) -> None:
        self.store = FindingStore(folder / "findings.sqlite", chain="1:aa", ledger="0x1", account="0x2")
        place = self.store.database, self.store.where
        self.modes = ModeKeeper(*place, practice=True, now=lambda: 0.0)
        self.rejections = Rejections(*place, now=lambda: 0.0, most=1)
        self.heard = Heard()
        self.refusals: int | None = 0
        self.bell = Bell(self.heard, self.modes, self.rejections, self.refused)

    def refused(self) -> int:
        if self.refusals is None:
            raise GuardRefused("the record cannot be read")
        return self.refusals

    def refuted(self, number: int) -> str | None:
        proposal: Any = SimpleNamespace(id=number, stake=3)
        return self.rejections.hindrance(proposal, REPORT)

    def rings(self) -> list[str]:
        """What is heard in two cycles: the second one has nothing new to say."""
        self.heard.alarms.clear()
        for _ in range(2):
            self.bell.cycle_ended("c", CycleOutcome.DONE, 1.0, [])
        return [name for name, _ in self.heard.alarms]


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    return Standing(tmp_path)


def test_every_refusal_of_the_guard_is_heard_even_where_the_daemon_goes_on(standing: Standing) -> None:
    standing.refusals = 2
    assert standing.rings() == [Alarm.GUARD_REFUSED]
    standing.refusals = None
    assert standing.rings() == [], "a cycle that needs the guard says so itself"
    standing.refusals = 3
    assert standing.rings() == [Alarm.GUARD_REFUSED]


def test_nothing_new_is_silence(standing: Standing) -> None:
    assert standing.rings() == []


def test_the_third_refuted_in_a_row_is_heard_as_dry_mode_with_its_reason(standing: Standing) -> None:
    for number in range(3):
        standing.modes.note_verdict(number, Outcome.REFUTED.value)
    assert standing.rings() == [Alarm.DRY_MODE]
    assert "in a row were refuted" in standing.heard.alarms[0][1]


def test_a_gold_run_that_failed_beside_the_daemon_is_heard(standing: Standing) -> None:
    standing.modes.gold(True, "It came out.", "machine")
    assert standing.rings() == []
    standing.modes.gold(False, "It did not come out.", "machine")
    assert set(standing.rings()) == {Alarm.GOLD_FAILED, Alarm.DRY_MODE}


def test_a_rejection_that_waits_is_heard_and_so_is_the_last_one_of_a_day(standing: Standing) -> None:
    assert standing.refuted(7) is not None
    assert standing.rings() == [Alarm.REJECTION_WAITS]
    assert "confirm 7" in standing.heard.alarms[0][1]
    eager = Rejections(standing.store.database, standing.store.where, now=lambda: 0.0, auto=True, most=1)
    assert eager.hindrance(SimpleNamespace(id=8, stake=3), REPORT) is None  # type: ignore[arg-type]
    assert Alarm.REJECTIONS_SPENT in standing.rings()


def test_a_database_that_fails_rings_nothing_and_raises_nothing(standing: Standing) -> None:
    standing.store.close()
    assert standing.rings() == []


def test_the_gauges_keep_what_they_had_where_nothing_can_be_read(standing: Standing) -> None:
    from armlx_chain.errors import RpcUnavailable
    from verifier.daemon.metrics import Metrics

    def no_chain() -> int:
        raise RpcUnavailable("No endpoint answers.")

    metrics = Metrics()
    gauger = Gauger(
        metrics, modes=standing.modes, rejections=standing.rejections, balance=no_chain, machines=lambda: 2
    )
    assert not gauger.look().is_ready
    gauger.cycle_ended("c", CycleOutcome.DONE, 1.0, [])
    assert gauger.look().is_ready
    text = metrics.text().decode()
    assert 'armlx_mode{mode="live"} 1.0' in text
    assert "armlx_machines 2.0" in text
    standing.store.close()
    gauger.cycle_ended("d", CycleOutcome.DONE, 1.0, [])
    assert metrics.text().decode() == text
