"""Many reads in few round trips: Multicall3 where it is present, batches of JSON-RPC otherwise.

- All reads of one call are of one block: give a pinned view (``Rpc.at_depth``) or a block number.
- A multicall that fails as a whole (too much gas for this node, an answer that is none) is asked again as a
  batch; a batch that a node refuses is asked again one by one (``armlx_chain.chain.roster``).
- Neither changes what is read: a read that reverts is that read's own outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from eth_utils.crypto import keccak

from armlx_chain.chain.reverts import revert_error
from armlx_chain.chain.rpc import BlockId, NodeRefused, Rpc
from armlx_chain.errors import ContractRevert
from armlx_chain.types import Address

log = logging.getLogger(__name__)
READS_PER_MULTICALL = 300
"""A proposal's record costs some 30,000 gas to read; nodes give a call 25 to 50 million."""
_AGGREGATE3 = keccak(text="aggregate3((address,bool,bytes)[])")[:4]
_WORD = 32

Read = tuple[Address, bytes]
Outcome = bytes | ContractRevert


class ManyReader:
    """Reads from one chain.

    Args:
        rpc: The chain, or a pinned view of it.
        multicall: Where a Multicall3 may be.
    """

    def __init__(self, rpc: Rpc, multicall: Address | None = None) -> None:
        self.rpc = rpc
        self._multicall = multicall
        self._present: bool | None = None if multicall else False

    def on(self, rpc: Rpc) -> ManyReader:
        """The same reader on another view of the chain."""
        other = ManyReader(rpc, self._multicall)
        other._present = self._present
        return other

    def read(self, reads: Sequence[Read], what: str, block: BlockId = "latest") -> list[Outcome]:
        """Outcomes in order.

        Raises:
            NodeRefused, RpcUnavailable, EndpointsDisagree: the chain cannot be read.
        """
        if len(reads) < 2 or not self.uses_multicall():
            return self.rpc.call_many(reads, what, block)
        outcomes: list[Outcome] = []
        for part, outcome in self._multicalls(reads, what, block):
            found = None if outcome is None else _decode(outcome, len(part), what)
            outcomes += self.rpc.call_many(part, what, block) if found is None else found
        return outcomes

    def uses_multicall(self) -> bool:
        """Whether there is code where the Multicall3 should be; asked once."""
        if self._present is None and self._multicall is not None:
            self._present = bool(self.rpc.code(self._multicall))
        return bool(self._present)

    def _multicalls(
        self, reads: Sequence[Read], what: str, block: BlockId
    ) -> Iterator[tuple[Sequence[Read], bytes | None]]:
        """Parts of the reads, each with the multicall's answer, or None where it failed."""
        starts = range(0, len(reads), READS_PER_MULTICALL)
        parts = [reads[start : start + READS_PER_MULTICALL] for start in starts]
        target = self._multicall or Address("")
        try:
            answers = self.rpc.call_many([(target, _encode(part)) for part in parts], what, block)
        except NodeRefused as refused:
            log.info("multicall refused: %s", refused.message)
            answers = [b""] * len(parts)
        for part, answer in zip(parts, answers, strict=True):
            yield part, answer if isinstance(answer, bytes) else None


def _encode(reads: Sequence[Read]) -> bytes:
    """Calldata of ``aggregate3`` with every failure allowed."""
    tails, offsets, position = [], [], len(reads) * _WORD
    for target, data in reads:
        tail = bytes.fromhex(target[2:]).rjust(_WORD, b"\0") + _uint(1) + _uint(3 * _WORD)
        tail += _uint(len(data)) + data + bytes(-len(data) % _WORD)
        offsets.append(_uint(position))
        tails.append(tail)
        position += len(tail)
    return _AGGREGATE3 + _uint(_WORD) + _uint(len(reads)) + b"".join(offsets) + b"".join(tails)


def _decode(data: bytes, count: int, what: str) -> list[Outcome] | None:
    """The outcomes of ``aggregate3``, or None if this is not its answer."""
    base = 2 * _WORD
    if len(data) < base + count * _WORD or _at(data, 0) != _WORD or _at(data, _WORD) != count:
        return None
    found: list[Outcome] = []
    for index in range(count):
        start = base + _at(data, base + index * _WORD)
        flag, offset = _at(data, start), _at(data, start + _WORD)
        size = _at(data, start + offset)
        end = start + offset + _WORD + size
        if flag > 1 or offset != 2 * _WORD or end > len(data):
            return None
        payload = data[end - size : end]
        found.append(payload if flag else revert_error(what, payload))
    return found


def _at(data: bytes, position: int) -> int:
    """The word at a position; more than any answer holds where there is none."""
    word = data[position : position + _WORD]
    return int.from_bytes(word, "big") if len(word) == _WORD else 1 << 255


def _uint(value: int) -> bytes:
    return value.to_bytes(_WORD, "big")
