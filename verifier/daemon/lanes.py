"""Several proposals side by side: one lane per free machine, and one project in one lane at a time.

- A *lane* is one machine's work. It takes the open proposal with the lowest id whose project no other lane
  is at, so that a project's proposals are looked at in order of id.
- All state and every question to the chain belongs to whoever holds the *baton*. A lane lays it down while
  an executor works, and takes it up again for every word that the executor reports.
- A single lane needs no thread: it runs in the caller's.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from verifier.executors.interface import Bench
from verifier.judgement import Trial
from verifier.materials import Materials
from verifier.model import Noise, Pair, Verdict
from verifier.session import Keeper, Progress
from verifier.verdict.earlier import Subject

__all__ = ["Baton", "Board", "Item", "SharedBench", "run_lanes", "shared"]


LOOK_SECONDS = 10.0
"""How often an idle lane looks for new proposals while others work."""


class Baton:
    """Whoever holds it may touch state and chain."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Take it for the block."""
        with self._lock:
            yield

    @contextmanager
    def laid_down(self) -> Iterator[None]:
        """Let others have it for the block; the caller holds it before and after."""
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()


@dataclass(frozen=True, slots=True)
class Item:
    """A proposal to be looked at.

    Attributes:
        machine: The only machine on which its test goes on; ``None`` for any.
    """

    number: int
    project: int
    machine: str | None = None


class Board:
    """What is still to be looked at. Safe for several threads."""

    def __init__(self, items: Iterable[Item], machines: Sequence[str]) -> None:
        self._items = sorted(items, key=lambda item: item.number)
        self._machines: frozenset[str | None] = frozenset(machines)
        self._known = {item.number for item in self._items}
        self._busy: set[int] = set()
        self._changed = threading.Condition()
        self._is_closed = False

    def take(self, machine: str | None) -> Item | None:
        """The next item for a lane, or ``None``; waits while what it may take stands behind others."""
        with self._changed:
            while not self._is_closed and self._items:
                found = self._free_for(machine)
                if found is not None:
                    self._items.remove(found)
                    self._busy.add(found.project)
                    return found
                if not any(self._may_take(item, machine) for item in self._items):
                    return None  # the rest is for other lanes, which are there
                self._changed.wait()
            return None

    def done(self, item: Item) -> None:
        """A lane has finished with an item that it took."""
        with self._changed:
            self._busy.discard(item.project)
            self._changed.notify_all()

    def add(self, items: Iterable[Item]) -> None:
        """What arrived meanwhile; nothing is looked at twice."""
        with self._changed:
            fresh = [item for item in items if item.number not in self._known]
            self._known |= {item.number for item in fresh}
            self._items = sorted([*self._items, *fresh], key=lambda item: item.number)
            self._changed.notify_all()

    def leave(self, machine: str | None) -> None:
        """A lane ended. What only it could have taken goes to any other, which says so."""
        with self._changed:
            self._machines -= {machine}
            self._changed.notify_all()

    def linger(self, seconds: float) -> bool:
        """Wait for something to do while other lanes work; whether there may still be something."""
        with self._changed:
            if self._is_more():
                self._changed.wait(seconds)
            return self._is_more()

    def _is_more(self) -> bool:
        return not self._is_closed and bool(self._busy or self._items)

    def close(self) -> None:
        """Nothing more is given out."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _free_for(self, machine: str | None) -> Item | None:
        passed: set[int] = set()
        for item in self._items:
            is_first = item.project not in passed
            passed.add(item.project)
            if is_first and item.project not in self._busy and self._may_take(item, machine):
                return item
        return None

    def _may_take(self, item: Item, machine: str | None) -> bool:
        """One whose machine is not here goes to any lane, which says so."""
        return item.machine is None or item.machine == machine or item.machine not in self._machines


def run_lanes(
    board: Board,
    machines: Sequence[str],
    work: Callable[[Item, str | None], None],
    *,
    on_error: Callable[[BaseException], None],
    refill: Callable[[], None] = lambda: None,
    look: float = LOOK_SECONDS,
) -> None:
    """Work the board off with one lane per machine, or one without where there is none.

    Args:
        work: Handles one item on a machine; called without the baton.
        refill: Puts on the board what arrived meanwhile; called by lanes that have nothing to do while others
            have, once in ``look`` seconds.
        on_error: Told at once of what a lane could not handle; that is raised again once all lanes ended.
    """
    lanes: Sequence[str | None] = tuple(machines) or (None,)
    failed: list[BaseException] = []

    def lane(machine: str | None) -> None:
        try:
            while (item := board.take(machine)) is not None or board.linger(look):
                if item is None:
                    refill()
                    continue
                try:
                    work(item, machine)
                finally:
                    board.done(item)
        except BaseException as error:  # noqa: BLE001 (raised again below, in the caller's thread)
            failed.append(error)
            board.close()
            on_error(error)
        finally:
            board.leave(machine)

    if len(lanes) == 1:
        lane(lanes[0])
    else:
        _in_threads(lane, lanes, board, on_error)
    if failed:
        raise failed[0]


def _in_threads(
    lane: Callable[[str | None], None],
    machines: Sequence[str | None],
    board: Board,
    on_error: Callable[[BaseException], None],
) -> None:
    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(lane, machine), name=f"lane-{number}")
        for number, machine in enumerate(machines)
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException as error:
        board.close()
        on_error(error)
        for thread in threads:
            thread.join()
        raise


@dataclass(frozen=True, slots=True)
class SharedBench:
    """A bench whose long work is done without the baton."""

    inner: Bench
    baton: Baton

    @property
    def materials(self) -> Materials:
        return self.inner.materials

    @property
    def hardware_class(self) -> str:
        return self.inner.hardware_class

    @property
    def environment_digest(self) -> str:
        return self.inner.environment_digest

    @property
    def machine_id(self) -> str:
        return self.inner.machine_id

    def precheck(self, files: Mapping[str, bytes]) -> Verdict | None:
        return self.inner.precheck(files)

    def noise(self) -> Noise:
        with self.baton.laid_down():
            return self.inner.noise()

    def subject(self, files: Mapping[str, bytes], noise: Noise) -> Subject:
        return self.inner.subject(files, noise)

    def session_seconds(self, pairs: int) -> float | None:
        return self.inner.session_seconds(pairs)

    def judge(self, trial: Trial) -> Verdict:
        def told(what: Progress) -> None:
            with self.baton.held():
                trial.progress(what)

        keeper = None if trial.keeper is None else _SharedKeeper(trial.keeper, self.baton)
        with self.baton.laid_down():
            return self.inner.judge(replace(trial, progress=told, keeper=keeper))


@dataclass(frozen=True, slots=True)
class _StatingBench(SharedBench):
    """One whose machine states the facts behind its environment's digest."""

    @property
    def environment_facts(self) -> Mapping[str, str]:
        facts: Mapping[str, str] = getattr(self.inner, "environment_facts", {})
        return facts


def shared(bench: Bench, baton: Baton) -> SharedBench:
    """The same bench, whose long work is done without the baton."""
    kind = _StatingBench if hasattr(bench, "environment_facts") else SharedBench
    return kind(bench, baton)


@dataclass(frozen=True, slots=True)
class _SharedKeeper:
    inner: Keeper
    baton: Baton

    def began(self, number: int) -> None:
        with self.baton.held():
            self.inner.began(number)

    def ended(self, number: int, pair: Pair) -> None:
        with self.baton.held():
            self.inner.ended(number, pair)

    def repeated(self, number: int) -> None:
        with self.baton.held():
            self.inner.repeated(number)
