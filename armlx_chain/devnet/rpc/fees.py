"""Fee answers of the embedded chain."""

from __future__ import annotations

from typing import Any

from armlx_chain.devnet.node.engine import PENDING, Engine
from armlx_chain.devnet.node.evm import GAS_LIMIT, Block, next_header
from armlx_chain.devnet.rpc.params import block_reference, invalid, quantity, seconds
from armlx_chain.devnet.rpc.shapes import JSON, hex_number

SUGGESTED_TIP = 10**9
"""Wei per gas that eth_maxPriorityFeePerGas answers."""
MAX_BLOCKS = 1024
MAX_PERCENTILES = 100


def fee_history(chain: Engine, count: Any, newest: Any, percentiles: Any) -> dict[str, JSON]:
    """eth_feeHistory: base fees of a range and the one after it, how full the blocks were, tips paid.

    Raises:
        DevnetRpcError: -32602 for malformed parameters, -32000 for an unknown block.
    """
    wanted = min(
        seconds(count, "block count") if isinstance(count, int) else quantity(count, "block count"),
        MAX_BLOCKS,
    )
    reference = block_reference(chain, newest)
    last = chain.block(chain.height if reference == PENDING else reference).number
    first = max(last - wanted + 1, 0)
    blocks = list(chain.blocks(first, last)) if wanted else []
    shares = _read_percentiles(percentiles)
    following = next_header(chain.block(last).header, chain.block(last).timestamp + 1)
    history: dict[str, JSON] = {
        "oldestBlock": hex_number(first if blocks else 0),
        "baseFeePerGas": [hex_number(block.header.base_fee_per_gas) for block in blocks]
        + ([hex_number(following.base_fee_per_gas)] if blocks else []),
        "gasUsedRatio": [int(block.header.gas_used) / GAS_LIMIT for block in blocks],
    }
    if shares:
        history["reward"] = [[hex_number(tip) for tip in _tips(block, shares)] for block in blocks]
    return history


def _read_percentiles(value: Any) -> list[float]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_PERCENTILES:
        raise invalid("invalid reward percentiles")
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | float) or not 0 <= item <= 100:
            raise invalid(f"invalid reward percentile: {item!r}")
    if value != sorted(value):
        raise invalid("invalid reward percentile: they must rise")
    return [float(item) for item in value]


def _tips(block: Block, shares: list[float]) -> list[int]:
    """Tips in wei per gas at percentiles of the gas used in a block; zeros for an empty one."""
    base_fee = int(block.header.base_fee_per_gas)
    paid = sorted((outcome.effective_price - base_fee, outcome.gas_used) for outcome in block.outcomes)
    if not paid:
        return [0] * len(shares)
    total = sum(gas for _, gas in paid)
    tips = []
    for share in shares:
        threshold, reached = total * share / 100, 0
        tip = paid[-1][0]
        for candidate, gas in paid:
            reached += gas
            if reached >= threshold:
                tip = candidate
                break
        tips.append(tip)
    return tips
