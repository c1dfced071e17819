"""Who used a nonce, when it was not us: the transaction is looked for, so that a person can look at it.

The account's count of transactions is bisected over recent blocks, which any full node can answer for; the
block in which it passed the nonce holds the transaction. Nothing is decided by the answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from armlx_chain.chain.access import ChainAccess
from armlx_chain.chain.wire import Answer, Ask
from armlx_chain.errors import ChainError
from armlx_chain.types import Address, TxHash

log = logging.getLogger(__name__)

RECENT_BLOCKS = 120
"""Full nodes keep the state of at least 128 blocks."""


@runtime_checkable
class _Askable(Protocol):
    def ask_many(self, asks: Sequence[Ask]) -> list[Answer]: ...


def find_user(chain: ChainAccess, account: Address, nonce: int) -> TxHash | None:
    """The recent transaction of an account with a nonce; ``None`` where it cannot be found.

    Never raises for an endpoint that cannot say.
    """
    if not isinstance(chain, _Askable):
        return None
    try:
        head = int(chain.block("latest").number)
        low, high = max(0, head - RECENT_BLOCKS), head
        if _count(chain, account, low) > nonce or _count(chain, account, high) <= nonce:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if _count(chain, account, middle) > nonce:
                high = middle
            else:
                low = middle
        return _in_block(chain, account, nonce, high)
    except (ChainError, ValueError, TypeError, LookupError, AttributeError) as error:
        log.info("who used nonce %d of %s cannot be found: %s", nonce, account, error)
        return None


def _count(chain: _Askable, account: Address, block: int) -> int:
    return int(_ask(chain, "eth_getTransactionCount", account, hex(block)), 16)


def _in_block(chain: _Askable, account: Address, nonce: int, block: int) -> TxHash | None:
    for entry in _ask(chain, "eth_getBlockByNumber", hex(block), True)["transactions"]:
        if entry["from"].lower() == account.lower() and int(entry["nonce"], 16) == nonce:
            digest = bytes.fromhex(entry["hash"].removeprefix("0x"))
            return TxHash("0x" + digest.hex()) if len(digest) == 32 else None
    return None


def _ask(chain: _Askable, method: str, *params: Any) -> Any:
    return chain.ask_many([Ask(method, list(params))])[0]["result"]
