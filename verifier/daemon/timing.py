"""When a session may begin, and when the next cycle does. Pure; the clock and the dice are the caller's.

A session that cannot end in time is never begun: its machine time would be wasted, and with a lease it would
hold a proposal that others could have judged. What it takes is measured (``Bench.session_seconds``); before
the first measurement a fixed time is kept free.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SETTLING_SECONDS", "UNMEASURED_SECONDS", "Pace", "SeedTiming", "Term", "no_time"]

SETTLING_SECONDS = 900
"""Kept free after a session for publishing and settling: the last ten minutes of a lease are never used
(``armlx_chain.chain.basis``), and transactions take a few."""
UNMEASURED_SECONDS = 3600
"""Kept free for a session whose length nobody has measured yet."""


@dataclass(frozen=True, slots=True)
class SeedTiming:
    """When a seed block counts."""

    seed_delay_blocks: int
    confirmations: int


@dataclass(frozen=True, slots=True)
class Term:
    """By when something must have ended.

    Attributes:
        what: A few words for a sentence: "its week", "the lease".
        ends: Time of a block, seconds since 1970.
    """

    what: str
    ends: int


def no_time(now: int, expected: float | None, *terms: Term) -> str | None:
    """Why a session is not begun now, or ``None``.

    Args:
        now: Time of the newest block.
        expected: Seconds of wall time that it takes at most, as measured; ``None`` where nothing is.
    """
    needed = (UNMEASURED_SECONDS if expected is None else expected) + SETTLING_SECONDS
    first = min(terms, key=lambda term: term.ends)
    left = first.ends - now
    if needed <= left:
        return None
    if left <= 0:
        return f"{first.what} is over"
    how = "nobody has measured yet" if expected is None else f"may take {expected:.0f} s"
    return f"{first.what} is nearly over: {left} s are left, and its session {how}"


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the daemon rests between cycles.

    Attributes:
        poll: Seconds after which it looks at all records in any case.
        soon: Seconds after which it looks again while something is not there yet.
        most: The longest rest after failures, in seconds.
        jitter: By which share a rest may be shorter or longer, so that many daemons do not ask at once.
    """

    poll: float = 300.0
    soon: float = 20.0
    most: float = 900.0
    jitter: float = 0.2

    def rest(self, *, failures: int, idle: int, is_waiting: bool, draw: float) -> float:
        """Seconds until the next cycle, if no event comes before.

        Args:
            failures: Cycles in a row that were broken off.
            idle: Cycles in a row in which nothing changed; what is waited for is looked at less and less
                often, but never less often than everything.
            is_waiting: Whether something is not there yet.
            draw: A number from 0 to 1, drawn anew each time.
        """
        if failures:
            rest = min(self.soon * 2.0 ** min(failures - 1, 16), self.most)
        elif is_waiting:
            rest = min(self.soon * 2.0 ** min(idle, 16), self.poll)
        else:
            rest = self.poll
        return rest * (1 + self.jitter * (2 * draw - 1))
