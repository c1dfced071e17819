"""Simulated time for several actors: each is a thread, one of them runs at a time, and a sleep hands over.

Deterministic: who wakes next is decided by the time and, at the same time, by the order of going to sleep.
Nothing waits in real time.

::

    timeline = Timeline(start=1_800_000_000.0)
    timeline.spawn("miner", lambda: …)        # may call timeline.sleep(seconds)
    timeline.run_until(timeline.now + 86_400)
    timeline.stop()
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)


class Stopped(BaseException):
    """Ends an actor when its world ends."""


@dataclass
class _Actor:
    name: str
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    thread: threading.Thread | None = None


class Timeline:
    """A clock that only moves when everybody sleeps."""

    def __init__(self, start: float) -> None:
        self.now = start
        self.failures: list[tuple[str, BaseException]] = []
        """What ended actors that should have gone on."""
        self._queue: list[tuple[float, int, _Actor]] = []
        self._order = itertools.count()
        self._back = threading.Semaphore(0)
        self._local = threading.local()
        self._stopping = False

    def clock(self) -> float:
        return self.now

    def spawn(self, name: str, act: Callable[[], None], *, after: float = 0.0) -> None:
        """Start an actor; it first runs when its time comes."""
        actor = _Actor(name)

        def body() -> None:
            self._local.actor = actor
            actor.go.acquire()
            try:
                if not self._stopping:
                    act()
            except Stopped:
                pass
            except BaseException as error:
                self.failures.append((name, error))
                log.exception("%s ended", name)
            self._back.release()

        actor.thread = threading.Thread(target=body, name=name, daemon=True)
        actor.thread.start()
        self._push(actor, after)

    def sleep(self, seconds: float) -> None:
        """Let time pass for the calling actor; outside any actor, for all of them."""
        actor: _Actor | None = getattr(self._local, "actor", None)
        if actor is None:
            self.run_until(self.now + seconds)
            return
        self._push(actor, max(0.0, seconds))
        self._back.release()
        actor.go.acquire()
        if self._stopping:
            raise Stopped

    def run_until(self, moment: float) -> None:
        """Let the actors act until a moment, in order."""
        while self._queue and self._queue[0][0] <= moment:
            wake, _, actor = heapq.heappop(self._queue)
            self.now = max(self.now, wake)
            self._hand_over(actor)
        self.now = max(self.now, moment)

    def stop(self) -> None:
        """End every actor where it sleeps."""
        self._stopping = True
        while self._queue:
            actor = heapq.heappop(self._queue)[2]
            self._hand_over(actor)
            if actor.thread is not None:
                actor.thread.join(timeout=60)

    def _push(self, actor: _Actor, seconds: float) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), actor))

    def _hand_over(self, actor: _Actor) -> None:
        actor.go.release()
        self._back.acquire()
