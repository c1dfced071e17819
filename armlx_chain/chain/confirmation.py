"""Whether a receipt counts: several answers of an endpoint must fit together before one is believed.

- It names the transaction that was asked for.
- The account's count of mined transactions is past its nonce.
- The block that it names is on the chain of the blocks above it, by their parents' hashes, down from the
  block that makes it deep enough, and lists the transaction.
- Asked again afterwards, it is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from armlx_chain.chain.access import ChainAccess
from armlx_chain.chain.journal import Attempt
from armlx_chain.chain.lifecycle import Sighting
from armlx_chain.errors import RpcUnavailable
from armlx_chain.types import TxHash

log = logging.getLogger(__name__)


def find_receipt(chain: ChainAccess, attempts: Iterable[Attempt]) -> tuple[Sighting, dict[str, Any]] | None:
    """The receipt of whichever of these attempts the endpoint shows as mined.

    Raises:
        ChainError: the endpoint cannot be read.
    """
    for tx_hash in dict.fromkeys(attempt.tx_hash for attempt in attempts):
        raw = chain.receipt(tx_hash)
        seen = None if raw is None else read_receipt(tx_hash, raw)
        if raw is not None and seen is not None:
            return seen, raw
    return None


def read_receipt(tx_hash: TxHash, raw: dict[str, Any]) -> Sighting | None:
    """The parts of a receipt that decide; ``None`` for another transaction's, or for one without a block.

    Raises:
        RpcUnavailable: it is no receipt.
    """
    try:
        if raw.get("blockHash") is None or raw.get("blockNumber") is None:
            return None
        named = "0x" + bytes(raw["transactionHash"]).hex()
        seen = Sighting(
            tx_hash=tx_hash,
            block_number=int(raw["blockNumber"]),
            block_hash=bytes(raw["blockHash"]),
            succeeded=int(raw["status"]) == 1,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RpcUnavailable(f"The receipt of {tx_hash} makes no sense: {error}.") from error
    if named != tx_hash:
        log.warning("asked for the receipt of %s, the endpoint sent that of %s", tx_hash, named)
        return None
    return seen


def is_settled(chain: ChainAccess, seen: Sighting, *, head: int, confirmations: int) -> bool:
    """Whether a receipt is deep enough on the present chain, and is still told the same.

    Args:
        head: Number of the latest block.

    Raises:
        ChainError: the endpoint cannot be read.
    """
    if head < seen.block_number + confirmations or not _is_inside(chain, seen, confirmations):
        return False
    again = chain.receipt(seen.tx_hash)
    if again is None or read_receipt(seen.tx_hash, again) != seen:
        log.warning("the endpoint contradicts itself about transaction %s", seen.tx_hash)
        return False
    return True


def _is_inside(chain: ChainAccess, seen: Sighting, confirmations: int) -> bool:
    block = chain.find_block(seen.block_number + confirmations)
    while block is not None and block.number > seen.block_number:
        parent = chain.find_block(block.number - 1)
        if parent is None or parent.hash != block.parent_hash:
            log.info("the chain moved between two looks at block %d", block.number)
            return False
        block = parent
    if block is None or block.number != seen.block_number or block.hash != seen.block_hash:
        return False
    if bytes.fromhex(seen.tx_hash[2:]) not in block.transactions:
        log.warning(
            "block %d does not hold transaction %s, whose receipt names it", block.number, seen.tx_hash
        )
        return False
    return True
