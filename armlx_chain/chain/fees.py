"""Fee rules as pure functions; amounts in wei per gas.

- Galileo refuses a tip below 2 gwei, while tools that derive it from the fee history offer 1 wei
  (contracts specification, section 1).
- A replacement raises both fees by 12.5 percent at least: nodes ask for 10 or more, and round.
- Nothing is ever offered above the cap, not even to get through: then the transaction waits.
"""

from __future__ import annotations

from dataclasses import dataclass

from armlx_chain.settings import MAX_FEE
from armlx_chain.types import Wei

GWEI = 10**9
MIN_TIP = Wei(2 * GWEI)
"""Least priority fee that Galileo's nodes accept."""
MAX_FEE_CAP = MAX_FEE
"""Never offer more per gas than this unless told to."""
GAS_MARGIN_PERCENT = 25
"""Storage refunds make the limit exceed what is finally used (contracts specification, section 9)."""
REPLACEMENT_PER_MILLE = 125
"""Nodes ask for at least 10 percent on both fees to replace a transaction, some for an eighth."""
BUMP_AFTER_SECONDS = 30.0
BUMP_AFTER_BLOCKS = 3
"""A transaction is outpriced only if blocks were made without it: a chain that stands still needs no bump."""


@dataclass(frozen=True, slots=True)
class Fees:
    """EIP-1559 fees per gas."""

    max_fee: Wei
    tip: Wei


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """When to raise fees, and how far.

    Attributes:
        cap: Most that is ever offered per gas.
        bump_after_seconds: Time since the last attempt before another is made, and
        bump_after_blocks: blocks mined without it meanwhile; both must have passed.
    """

    cap: Wei = MAX_FEE_CAP
    bump_after_seconds: float = BUMP_AFTER_SECONDS
    bump_after_blocks: int = BUMP_AFTER_BLOCKS


def plan_fees(*, base_fee: Wei, suggested_tip: Wei, cap: Wei = MAX_FEE_CAP) -> Fees:
    """Fees for a first attempt: the tip, plus twice the base fee, under the cap."""
    tip = min(max(MIN_TIP, suggested_tip), cap)
    return Fees(Wei(min(tip + 2 * base_fee, cap)), Wei(tip))


def leave_room(cap: Wei) -> Wei:
    """The cap for what may have to be cancelled: one replacement more still fits under the real one."""
    return Wei(max(cap * 1000 // (1000 + REPLACEMENT_PER_MILLE) - 1, min(cap, MIN_TIP)))


def affordable(*, base_fee: Wei, cap: Wei) -> bool:
    """Whether a block at this base fee can take a transaction of ours at all."""
    return base_fee + MIN_TIP <= cap


def bump(fees: Fees) -> Fees:
    """Fees for a replacement of the same nonce, both raised enough for the node to accept it."""
    return Fees(Wei(_raised(fees.max_fee)), Wei(_raised(fees.tip)))


def replacement(
    former: Fees, market: Fees, *, cap: Wei, least: Wei = Wei(0), hard: bool = False
) -> Fees | None:
    """Fees that replace an attempt, or ``None`` where the cap does not allow them.

    Args:
        former: The highest fees offered for this nonce so far.
        market: What a first attempt would offer now.
        least: Least tip that a node asked for in words.
        hard: Whether a node said that an unknown rival offers more: then both fees are doubled.
    """
    raised = bump(former)
    if hard:
        raised = Fees(Wei(max(raised.max_fee, 2 * former.max_fee)), Wei(max(raised.tip, 2 * former.tip)))
    tip = max(raised.tip, market.tip, least)
    wanted = max(raised.max_fee, market.max_fee, tip)
    floor = max(_raised(former.max_fee), _raised(former.tip), least)
    if floor > cap:
        return None
    return Fees(Wei(min(wanted, cap)), Wei(min(tip, cap)))


def is_stale(fees: Fees, *, base_fee: Wei, seconds: float, blocks: int, policy: FeePolicy) -> bool:
    """Whether an attempt should be replaced.

    Args:
        seconds: Since it was first broadcast.
        blocks: Mined since then without it.
    """
    if blocks < 1:
        return False
    if base_fee > fees.max_fee:
        return True
    return seconds >= policy.bump_after_seconds and blocks >= policy.bump_after_blocks


def gas_limit(estimate: int) -> int:
    """The gas limit for an estimate, with the margin refunds need."""
    return estimate + (estimate * GAS_MARGIN_PERCENT + 99) // 100


def _raised(value: int) -> int:
    return value + (value * REPLACEMENT_PER_MILLE + 999) // 1000
