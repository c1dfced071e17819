"""Fee rules as pure functions.

Galileo refuses a tip below 2 gwei, while tools that derive it from the fee history offer 1 wei
(contracts specification, section 1).
"""

from __future__ import annotations

from dataclasses import dataclass

from armlx_chain.types import Wei

GWEI = 10**9
MIN_TIP = Wei(2 * GWEI)
"""Least priority fee that Galileo's nodes accept."""
MAX_FEE_CAP = Wei(200 * GWEI)
"""Never offer more per gas than this; a hundred times what Galileo asks."""
GAS_MARGIN_PERCENT = 25
"""Storage refunds make the limit exceed what is finally used (contracts specification, section 9)."""
REPLACEMENT_PERCENT = 12
"""Nodes ask for at least 10 percent on both fees to replace a transaction."""


@dataclass(frozen=True, slots=True)
class Fees:
    """EIP-1559 fees per gas."""

    max_fee: Wei
    tip: Wei


def plan_fees(*, base_fee: Wei, suggested_tip: Wei) -> Fees:
    """Fees for a first attempt: the tip, plus twice the base fee, under the cap."""
    tip = min(max(MIN_TIP, suggested_tip), MAX_FEE_CAP)
    return Fees(Wei(min(tip + 2 * base_fee, MAX_FEE_CAP)), Wei(tip))


def bump(fees: Fees) -> Fees:
    """Fees for a replacement of the same nonce, both raised enough for the node to accept it."""
    return Fees(Wei(_raised(fees.max_fee)), Wei(_raised(fees.tip)))


def gas_limit(estimate: int) -> int:
    """The gas limit for an estimate, with the margin refunds need."""
    return estimate + (estimate * GAS_MARGIN_PERCENT + 99) // 100


def _raised(value: int) -> int:
    return value + (value * REPLACEMENT_PERCENT + 99) // 100
