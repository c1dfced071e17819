"""Cycle after cycle: how each ends is written and told, and what follows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from armlx_chain.errors import (
    ArmlxError,
    GuardRefused,
    InsufficientFunds,
    Interrupted,
    RpcUnavailable,
    VerifierFault,
)
from armlx_chain.types import ProposalId
from verifier.daemon.drain import Drain
from verifier.daemon.loop import Clocks, Daemon
from verifier.daemon.observer import Alarm, Silent
from verifier.daemon.results import Result, Step
from verifier.daemon.store import FindingStore
from verifier.daemon.timing import Pace

pytestmark = pytest.mark.unit


class Watcher(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def cycle_began(self, cycle_id: str) -> None:
        self.told.append(("began", cycle_id))

    def cycle_ended(self, cycle_id: str, outcome: str, seconds: float, results: object) -> None:
        self.told.append(("ended", cycle_id, outcome))

    def alarm(self, name: str, sentence: str) -> None:
        self.told.append(("alarm", name))


@dataclass
class World:
    """A daemon over a scripted pass, in a time that passes only where somebody waits."""

    store: FindingStore
    script: list[Callable[[list[Result]], None]]
    now: float = 0.0
    moved: list[bool] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)
    began_at: list[float] = field(default_factory=list)
    chores: int = 0

    def __post_init__(self) -> None:
        self.watcher = Watcher()
        self.drain = Drain(stop=lambda: None, kill=lambda: None, seconds=60, say=lambda _: None)
        self.drain.rest = self._rest  # type: ignore[method-assign]
        self.daemon = Daemon(
            passes=self,
            chores=self._chores,
            moved=self._moved,
            cycles=self.store.cycles,
            observer=self.watcher,
            drain=self.drain,
            pace=Pace(poll=300, soon=20, most=900, jitter=0),
            look=10,
            clocks=Clocks(lambda: 1000 + self.now, lambda: self.now, lambda: 0.5),
            say=lambda _: None,
        )

    def run(self, results: list[Result]) -> list[Result]:
        self.began_at.append(self.now)
        self.script.pop(0)(results)
        return results

    def _rest(self, seconds: float) -> bool:
        self.now += seconds
        return self.drain.is_asked

    def _moved(self) -> bool:
        self.asked_at.append(self.now)
        return self.moved.pop(0) if self.moved else False

    def _chores(self) -> list[str]:
        self.chores += 1
        return []

    @property
    def outcomes(self) -> list[str]:
        return [entry[2] for entry in self.watcher.told if entry[0] == "ended"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FindingStore]:
    with closing(FindingStore(tmp_path / "f.sqlite", chain="c", ledger="l", account="a")) as opened:
        yield opened


def good(_: list[Result]) -> None:
    return None


def waiting(results: list[Result]) -> None:
    results.append(Result(ProposalId(1), Step.WAITING, "not there yet"))


def failing(error: Exception) -> Callable[[list[Result]], None]:
    def fail(results: list[Result]) -> None:
        results.append(Result(ProposalId(0), Step.APPROVED, "before that"))
        raise error

    return fail


def test_every_cycle_is_written_and_told_once_with_its_reason(store: FindingStore) -> None:
    world = World(store, [good, good, good], moved=[True, False, True])
    world.daemon.run(3)
    rows = store.cycles.cycles()
    assert [(row.why, row.outcome) for row in reversed(rows)] == [
        ("start", "done"),
        ("events", "done"),
        ("poll", "done"),
    ]
    assert world.began_at == [0, 20, 320], "an event wakes it at the next look, else the poll"
    assert [entry[0] for entry in world.watcher.told] == ["began", "ended"] * 3
    assert world.chores == 3


@pytest.mark.parametrize("error", [RpcUnavailable("gone"), InsufficientFunds("poor"), OSError("full")])
def test_what_the_next_cycle_can_try_again_is_written_and_backed_off_from(
    store: FindingStore, error: Exception
) -> None:
    world = World(store, [failing(error)] * 3 + [good], moved=[True] * 99)
    world.daemon.run(4)
    assert world.outcomes == ["broken-off"] * 3 + ["done"]
    assert world.began_at == [0, 20, 60, 140], "longer each time, and no event shortens it"
    assert world.asked_at == [0], "once before the first cycle"
    assert [row.proposals for row in reversed(store.cycles.cycles())] == [1, 1, 1, 0]
    assert world.chores == 1, "no housekeeping after a failure"


@pytest.mark.parametrize(
    "error", [GuardRefused("lost"), ArmlxError("unheard of"), sqlite3.OperationalError("x")]
)
def test_what_a_person_must_see_to_ends_the_daemon_after_the_cycle_is_written(
    store: FindingStore, error: Exception
) -> None:
    world = World(store, [failing(error), good])
    with pytest.raises(type(error)):
        world.daemon.run(2)
    (row,) = store.cycles.cycles()
    assert (row.outcome, row.ended) == ("stopped", 1000)
    assert world.outcomes == ["stopped"]
    alarms = [entry[1] for entry in world.watcher.told if entry[0] == "alarm"]
    assert alarms == ([Alarm.GUARD_REFUSED] if isinstance(error, GuardRefused) else [])
    assert "lost" not in row.sentence, "no foreign text is kept"


class Defect(Exception):
    """Nothing that anybody sorted."""


def test_a_defect_is_not_swallowed_and_its_cycle_is_still_written(store: FindingStore) -> None:
    world = World(store, [failing(Defect("bug"))])
    with pytest.raises(Defect):
        world.daemon.run()
    assert [row.outcome for row in store.cycles.cycles()] == ["stopped"]
    assert world.outcomes == ["stopped"]


def test_told_to_stop_in_a_session_it_ends_in_order_and_begins_nothing(store: FindingStore) -> None:
    world = World(store, [])

    def session(_: list[Result]) -> None:
        world.drain.ask()
        raise Interrupted("The session was stopped.")

    world.script = [session, good]
    world.daemon.run()
    assert world.outcomes == ["drained"]
    assert (len(world.script), world.chores) == (1, 0)


def test_told_to_stop_while_it_rests_it_begins_nothing(store: FindingStore) -> None:
    world = World(store, [good, good])
    looks = []

    def ask() -> bool:
        looks.append(world.now)
        if len(looks) > 1:
            world.drain.ask()
        return False

    world.daemon._moved = ask
    world.daemon.run()
    assert (world.outcomes, len(world.script)) == (["done"], 1)


def test_an_interruption_that_nobody_ordered_is_no_orderly_end(store: FindingStore) -> None:
    world = World(store, [failing(Interrupted("?"))])
    with pytest.raises(Interrupted):
        world.daemon.run()
    assert world.outcomes == ["stopped"]


def test_what_is_not_there_yet_is_looked_for_soon_and_then_less_often(store: FindingStore) -> None:
    world = World(store, [waiting] * 5)
    world.daemon.run(5)
    assert world.began_at == [0, 20, 60, 140, 300]


def test_events_that_cannot_be_read_are_no_reason_to_end(store: FindingStore) -> None:
    world = World(store, [good, good])

    def unreadable() -> bool:
        raise RpcUnavailable("gone")

    world.daemon._moved = unreadable
    world.daemon.run(2)
    assert world.outcomes == ["done", "done"]


def test_a_fault_of_this_side_that_reaches_the_loop_is_only_broken_off(store: FindingStore) -> None:
    world = World(store, [failing(VerifierFault("sandbox")), good])
    world.daemon.run(2)
    assert world.outcomes == ["broken-off", "done"]
