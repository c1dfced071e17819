"""Transactions that wait: for an earlier nonce, for a lower base fee, or for mining by hand.

The rules and words are geth's. The pool is memory only, as a node's is: a restart empties it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from armlx_chain.devnet.node.transactions import SignedTx, refused

PRICE_BUMP_PERCENT = 10
"""A replacement must offer this much more of both fees (geth's ``PriceBump``)."""
MAX_POOLED = 4096
"""Transactions held at most; a devnet is no place for more."""


@dataclass(slots=True)
class Pool:
    """Pending and queued transactions by sender and nonce."""

    _by_sender: dict[bytes, dict[int, SignedTx]] = field(default_factory=dict)
    _by_hash: dict[bytes, SignedTx] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._by_hash)

    def get(self, tx_hash: bytes) -> SignedTx | None:
        return self._by_hash.get(tx_hash)

    def add(self, transaction: SignedTx, *, next_nonce: int, balance: int) -> None:
        """Take a transaction in.

        Args:
            transaction: A decoded transaction.
            next_nonce: The sender's nonce in the latest state.
            balance: The sender's wei in the latest state.

        Raises:
            DevnetRpcError: -32000 with geth's words, if it is refused.
        """
        if transaction.hash in self._by_hash:
            raise refused("already known")
        nonce = transaction.body.nonce
        if nonce < next_nonce:
            raise refused(f"nonce too low: next nonce {next_nonce}, tx nonce {nonce}")
        cost = transaction.max_cost
        if balance < cost:
            raise refused(
                "insufficient funds for gas * price + value: "
                f"balance {balance}, tx cost {cost}, overshot {cost - balance}"
            )
        waiting = self._by_sender.setdefault(transaction.sender, {})
        former = waiting.get(nonce)
        if former is not None and not _outbids(transaction, former):
            raise refused("replacement transaction underpriced")
        if former is None and len(self) >= MAX_POOLED:
            raise refused("txpool is full")
        if former is not None:
            del self._by_hash[former.hash]
        waiting[nonce] = transaction
        self._by_hash[transaction.hash] = transaction

    def pending_nonce(self, sender: bytes, next_nonce: int) -> int:
        """The first nonce for which the pool holds nothing, counting up from the latest state's."""
        waiting = self._by_sender.get(sender, {})
        while next_nonce in waiting:
            next_nonce += 1
        return next_nonce

    def executable(self, nonce_of: Callable[[bytes], int], base_fee: int) -> Iterator[SignedTx]:
        """Transactions that could go into a block now: gapless from each sender's nonce, paying the base fee.

        Senders come in the order in which they entered the pool, so that mining is deterministic.
        """
        for sender, waiting in list(self._by_sender.items()):
            nonce = nonce_of(sender)
            while (candidate := waiting.get(nonce)) is not None and candidate.fee_cap >= base_fee:
                yield candidate
                nonce += 1

    def drop_mined(self, sender: bytes, next_nonce: int) -> None:
        """Forget a sender's transactions below the nonce of the latest state."""
        waiting = self._by_sender.get(sender, {})
        for nonce in [nonce for nonce in waiting if nonce < next_nonce]:
            del self._by_hash[waiting.pop(nonce).hash]
        if not waiting:
            self._by_sender.pop(sender, None)

    def clear(self) -> None:
        self._by_sender.clear()
        self._by_hash.clear()


def _outbids(new: SignedTx, old: SignedTx) -> bool:
    return all(
        offered * 100 >= former * (100 + PRICE_BUMP_PERCENT) and offered > former
        for offered, former in ((new.fee_cap, old.fee_cap), (new.tip_cap, old.tip_cap))
    )
