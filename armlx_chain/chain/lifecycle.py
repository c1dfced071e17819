"""What to do next about a nonce with signed attempts: pure rules over what was seen, with a clock handed in.

One nonce is one deed. All attempts ever signed for it exclude each other on the chain, so any of their
receipts ends it, and sending any of them again can do no harm. The rules, in order:

1. a receipt that is deep enough, by the hashes of the blocks above it, ends it;
2. after the patience is used up, it is given up for now and stays recorded;
3. a receipt that is not deep enough is waited for; if it vanishes, the attempt is pending again;
4. a nonce that is used while none of ours has a receipt is lost, but only after that was seen for a while and
   as many blocks as a receipt needs to count: endpoints show counts before receipts, and chains reorganise;
5. otherwise it is sent, sent again after a while (a node may forget it), or replaced at higher fees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from armlx_chain.chain.answers import Answer
from armlx_chain.chain.fees import FeePolicy, Fees, is_stale
from armlx_chain.types import TxHash, Wei

__all__ = [
    "Course",
    "Move",
    "NonceReading",
    "Patience",
    "Sighting",
    "Standing",
    "View",
    "decide",
    "nonce_standing",
    "poll_delay",
]

_TOO_CHEAP = (Answer.OUTBID, Answer.UNDERPRICED, Answer.BELOW_BASE_FEE)
_LEAST_SIGHTINGS = 3


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, in seconds.

    Attributes:
        receipt: For a receipt with its confirmations, in one run of a command.
        refused: Where no node ever took the bytes.
        resend: Between two broadcasts of the same bytes.
        behind: For an endpoint to catch up before anything is signed.
        lost: How long a used nonce without a receipt of ours is watched at least.
        poll_first, poll_most: The pause between two looks grows from one to the other.
    """

    receipt: float = 180.0
    refused: float = 30.0
    resend: float = 12.0
    behind: float = 15.0
    lost: float = 6.0
    poll_first: float = 0.15
    poll_most: float = 2.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """A receipt of one of our attempts."""

    tx_hash: TxHash
    block_number: int
    block_hash: bytes
    succeeded: bool


@dataclass(frozen=True, slots=True)
class View:
    """The chain at one look.

    Attributes:
        head: Number of the latest block.
        used: How many transactions of the account are mined.
        seen: A receipt of ours, if there is one.
        settled: Whether it is deep enough on the chain that the latest block stands on.
    """

    now: float
    head: int
    used: int
    base_fee: Wei
    seen: Sighting | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Course:
    """What was done so far in this run of the program.

    Attributes:
        tried_at, tried_block: When the newest attempt was first broadcast here.
        sent_at: The latest broadcast of any kind.
        accepted: Whether a node ever took one, or may have.
        answer: What it said last; None where it took the bytes.
        missed_at, missed_block, missed: Since when, and how often in a row, the nonce was seen used without a
            receipt of ours.
        capped: Whether the fee cap, or the account's funds, forbid a replacement.
    """

    started: float
    tried_at: float | None = None
    tried_block: int | None = None
    sent_at: float | None = None
    accepted: bool = False
    answer: Answer | None = None
    missed_at: float | None = None
    missed_block: int = 0
    missed: int = 0
    capped: bool = False

    def after_look(self, view: View, nonce: int) -> Course:
        """With a look taken into account."""
        course = self
        if self.sent_at is not None and self.tried_block is None:
            course = replace(course, tried_block=view.head)
        if view.seen is not None or view.used <= nonce:
            return replace(course, missed_at=None, missed=0)
        if self.missed_at is None:
            return replace(course, missed_at=view.now, missed_block=view.head, missed=1)
        return replace(course, missed=self.missed + 1)

    def after_send(self, now: float, answer: Answer | None, *, new: bool) -> Course:
        """With a broadcast taken into account.

        Args:
            answer: None where the node took it or where nobody knows.
            new: Whether these bytes were broadcast for the first time here.
        """
        took = answer in (None, Answer.KNOWN)
        course = replace(self, sent_at=now, accepted=self.accepted or took, answer=None if took else answer)
        return replace(course, tried_at=now, tried_block=None) if new else course


class Move(Enum):
    """What to do next."""

    DONE = auto()
    GIVE_UP = auto()
    WAIT = auto()
    SEND = auto()
    BUMP = auto()
    LOST = auto()


def decide(
    view: View,
    course: Course,
    *,
    nonce: int,
    fees: Fees,
    policy: FeePolicy,
    patience: Patience,
    confirmations: int,
) -> Move:
    """The next move; see the rules at the head of this module.

    Args:
        course: With this look taken into account already.
        fees: Of the newest attempt.
    """
    if view.settled:
        return Move.DONE
    if _is_over(view, course, patience):
        return Move.GIVE_UP
    if view.seen is not None:
        return Move.WAIT
    if view.used > nonce:
        return Move.LOST if _is_lost(view, course, patience, confirmations) else Move.WAIT
    if course.sent_at is None:
        return Move.SEND
    if not course.capped and _is_outpriced(view, course, fees, policy):
        return Move.BUMP
    return Move.SEND if view.now - course.sent_at >= patience.resend else Move.WAIT


def _is_over(view: View, course: Course, patience: Patience) -> bool:
    waited = view.now - course.started
    if waited >= patience.receipt:
        return True
    return not course.accepted and course.sent_at is not None and waited >= patience.refused


def _is_lost(view: View, course: Course, patience: Patience, confirmations: int) -> bool:
    return (
        course.missed_at is not None
        and course.missed >= _LEAST_SIGHTINGS
        and view.now - course.missed_at >= patience.lost
        and view.head >= course.missed_block + confirmations
    )


def _is_outpriced(view: View, course: Course, fees: Fees, policy: FeePolicy) -> bool:
    if course.answer in _TOO_CHEAP:
        return True
    if course.tried_at is None or course.tried_block is None:
        return False
    return is_stale(
        fees,
        base_fee=view.base_fee,
        seconds=view.now - course.tried_at,
        blocks=view.head - course.tried_block,
        policy=policy,
    )


def poll_delay(number: int, patience: Patience) -> float:
    """The pause after the n-th look, from 0: quick at first, sparing later."""
    return min(patience.poll_most, patience.poll_first * 1.25 ** min(number, 40))


@dataclass(frozen=True, slots=True)
class NonceReading:
    """What an endpoint says before anything is signed.

    Attributes:
        mined, pending: Its two counts of the account's transactions.
        head: Number of its latest block.
    """

    mined: int
    pending: int
    head: int


class Standing(Enum):
    """Whether a nonce can be given out."""

    READY = auto()
    BEHIND = auto()
    """The endpoint has not seen what we have seen mined: it lags, or the chain was reset."""
    OTHERS_WAITING = auto()
    """Transactions that are not in this journal wait in the pool."""


def nonce_standing(reading: NonceReading, *, ours: int, last_block: int) -> Standing:
    """Whether the next nonce is the endpoint's count of mined transactions.

    All our own transactions are finished before a nonce is given out, so anything that still waits in the
    pool is not ours, and a count below ours is an old one.

    Args:
        ours: One more than the highest nonce that we used.
        last_block: Number of the latest block in which we saw a transaction of ours.
    """
    if reading.mined < ours or reading.head < last_block:
        return Standing.BEHIND
    return Standing.OTHERS_WAITING if reading.pending > reading.mined else Standing.READY
