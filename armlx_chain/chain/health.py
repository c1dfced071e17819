"""Which endpoints are asked, in which order, and which are set aside: rules without clock or socket.

- Healthy endpoints are asked in the order in which they were given.
- A fault sets an endpoint aside for a while that doubles with each repetition; one good answer after that
  forgives it. A 429 may name its own while.
- An endpoint that is set aside for trouble (not for lying) is asked again before its time only when no
  healthy one is left: a slow answer is better than none.
- One that contradicts the majority is set aside for long; one of another chain for good.

>>> board = HealthBoard(["a", "b"])
>>> board.fault("a", Fault.SLOW, "did not answer", now=0.0)
>>> board.healthy(now=1.0), board.healthy(now=1000.0)
(['b'], ['a', 'b'])
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What an endpoint did wrong."""

    UNREACHABLE = "unreachable"
    SLOW = "slow"
    LIMITED = "rate-limited"
    SERVER = "failing"
    GARBAGE = "malformed"
    STALE = "stale"
    LYING = "contradicting"
    WRONG_CHAIN = "wrong chain"


FIRST_SECONDS: Mapping[Fault, float] = {
    Fault.UNREACHABLE: 2.0,
    Fault.SLOW: 15.0,
    Fault.LIMITED: 5.0,
    Fault.SERVER: 5.0,
    Fault.GARBAGE: 15.0,
    Fault.STALE: 30.0,
    Fault.LYING: 900.0,
    Fault.WRONG_CHAIN: math.inf,
}
"""How long the first fault of a kind sets an endpoint aside; every further one doubles it."""
LONGEST_SECONDS = 600.0
"""No trouble sets an endpoint aside for longer; lying does."""
NEVER_LAST_RESORT = frozenset({Fault.LYING, Fault.WRONG_CHAIN})
"""Better no answer than one of these."""
CLOCK_TOLERANCE_SECONDS = 120.0
"""A block's time may be ahead of this machine's clock by so much."""


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """What is known of an endpoint, for people and ``--json``.

    Attributes:
        fault: Why it is set aside, or None while it is healthy.
        seconds_left: Until it is asked again; infinite for a wrong chain.
    """

    name: str
    fault: Fault | None
    words: str
    seconds_left: float

    def sentence(self) -> str:
        if self.fault is None:
            return f"{self.name}: in use"
        until = "for good" if math.isinf(self.seconds_left) else f"for {self.seconds_left:.0f} s more"
        return f"{self.name}: set aside {until}, {self.fault.value}: it {self.words}"


@dataclass(slots=True)
class _Record:
    fault: Fault | None = None
    words: str = ""
    until: float = -math.inf
    strikes: int = 0


class HealthBoard:
    """The standing of a list of endpoints. All times are seconds of one clock of the caller's."""

    def __init__(self, names: Sequence[str]) -> None:
        self._records = {name: _Record() for name in names}

    def fault(
        self, name: str, fault: Fault, words: str, *, now: float, retry_after: float | None = None
    ) -> None:
        """Set an endpoint aside."""
        record = self._records[name]
        if record.fault is Fault.WRONG_CHAIN:
            return
        if record.fault in NEVER_LAST_RESORT and fault not in NEVER_LAST_RESORT and now < record.until:
            return
        record.strikes += 1
        wait = FIRST_SECONDS[fault] * 2 ** min(record.strikes - 1, 16)
        if fault not in NEVER_LAST_RESORT:
            wait = min(max(wait, retry_after or 0.0), LONGEST_SECONDS)
        record.fault, record.words, record.until = fault, words, now + wait

    def good(self, name: str, *, now: float) -> None:
        """An endpoint answered well; one that is still set aside for lying or lagging stays so."""
        record = self._records[name]
        if now >= record.until or record.fault not in {*NEVER_LAST_RESORT, Fault.STALE}:
            self._records[name] = _Record()

    def healthy(self, *, now: float) -> list[str]:
        """Those that may be asked, in the order they were given."""
        return [name for name, record in self._records.items() if now >= record.until]

    def last_resort(self, *, now: float) -> list[str]:
        """Those in trouble, the one whose time ends first in front."""
        waiting = [
            (record.until, name)
            for name, record in self._records.items()
            if now < record.until and record.fault not in NEVER_LAST_RESORT
        ]
        return [name for _, name in sorted(waiting, key=lambda item: item[0])]

    def report(self, *, now: float) -> tuple[EndpointReport, ...]:
        return tuple(
            EndpointReport(name, record.fault, record.words, record.until - now)
            if now < record.until
            else EndpointReport(name, None, "", 0.0)
            for name, record in self._records.items()
        )


@dataclass(frozen=True, slots=True)
class Head:
    """An endpoint's newest block."""

    number: int
    timestamp: int
    hash: str = ""


def judge_heads(
    heads: Mapping[str, Head], *, now: float | None, max_lag: int, max_age: float | None
) -> dict[str, tuple[Fault, str]]:
    """Which endpoints lag behind, or claim blocks that cannot be.

    Args:
        now: Unix time of this machine, or None where the chain's time is no real time (local chains).
        max_lag: Blocks behind the newest believable head that are still fine.
        max_age: Seconds since the newest block that are still fine; None for chains that mine on demand.
    """
    found: dict[str, tuple[Fault, str]] = {}
    for name, head in heads.items():
        if now is not None and head.timestamp > now + CLOCK_TOLERANCE_SECONDS:
            ahead = f"{head.timestamp - now:.0f} s in the future, or this machine's clock is behind"
            found[name] = (Fault.LYING, f"claims a newest block {ahead}")
        elif now is not None and max_age is not None and head.timestamp < now - max_age:
            found[name] = (Fault.STALE, f"has had no new block for {now - head.timestamp:.0f} s")
    rest = {name: head.number for name, head in heads.items() if name not in found}
    top = _believable_top(rest.values(), max_lag)
    for name, number in rest.items():
        if number < top - max_lag:
            found[name] = (Fault.STALE, f"is {top - number} blocks behind the others")
        elif len(rest) >= 3 and number > top + max_lag:
            found[name] = (Fault.LYING, f"is {number - top} blocks ahead of all others")
    return found


def _believable_top(numbers: Iterable[int], max_lag: int) -> int:
    """The newest height that counts: among three or more, one that stands alone far ahead does not."""
    ordered = sorted(numbers, reverse=True)
    if len(ordered) >= 3 and ordered[0] > ordered[1] + max_lag:
        return ordered[1]
    return ordered[0] if ordered else 0


def majority(answers: Mapping[str, object]) -> tuple[object, list[str]] | None:
    """The answer that more than half gave, and who gave another; None where there is none.

    >>> majority({"a": 1, "b": 2, "c": 1})
    (1, ['b'])
    >>> majority({"a": 1, "b": 2}) is None
    True
    """
    values = list(answers.values())
    for value in values:
        if 2 * values.count(value) > len(values):
            return value, [name for name, other in answers.items() if other != value]
    return None
