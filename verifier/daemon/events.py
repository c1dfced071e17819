"""Events of ledger and registry as a wake-up: something moved, so a pass is due.

- Events decide nothing. Which proposals are due, and what becomes of them, the records say; an event that is
  missed, repeated or made up costs a pass, or the wait for the next one.
- The cursor is the last block whose events were looked at, on disk. Blocks are looked at once they have their
  confirmations, a few of them twice: a reorganisation may have moved an event into one that was looked at.
- What was seen in the overlap wakes nobody twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import contracts_abi
from armlx_chain.chain.logs import LogQuery, LogReader
from armlx_chain.chain.rpc import NodeRefused, Rpc
from armlx_chain.types import Address
from verifier.daemon.cyclelog import Cursor, CycleLog

__all__ = ["MOST_BLOCKS", "Events"]

log = logging.getLogger(__name__)
OVERLAP_BLOCKS = 8
MOST_BLOCKS = 50_000
"""After a longer absence everything is looked at anyway, so older events are not read."""
_LEDGER_EVENTS = (
    "ProposalSubmitted", "ReviewClaimed", "ReviewReleased", "ProposalApproved", "ProposalRejected",
    "ProposalExpired",
)  # fmt: skip
_REGISTRY_EVENTS = ("BestUpdated",)


class Events:
    """The events of one ledger and its registry, from a cursor of their own.

    Args:
        depth: Confirmations that a block needs to be looked at.
    """

    def __init__(self, rpc: Rpc, *, ledger: Address, registry: Address, cycles: CycleLog, depth: int) -> None:
        self._rpc = rpc
        self._cycles = cycles
        self._depth = depth
        self._reader = LogReader()
        self._queries = (
            LogQuery((ledger,), (_topics("ProposalLedger", _LEDGER_EVENTS),)),
            LogQuery((registry,), (_topics("ProjectRegistry", _REGISTRY_EVENTS),)),
        )
        self._seen: frozenset[tuple[bytes, bytes, int]] | None = None

    def moved(self) -> bool:
        """Whether anything happened that was not seen before; the cursor moves on.

        Where a node does not tell events, the answer is yes whenever there is a new block.

        Raises:
            RpcUnavailable: the chain cannot be read.
        """
        view = self._rpc.at_depth(self._depth)
        head, cursor = view.block(), self._cycles.cursor()
        now = Cursor(int(head.number), "0x" + head.hash.hex())
        if cursor == now:
            return False
        found = self._news(view, cursor, now)
        self._cycles.advance(now)
        return found

    def _news(self, view: Rpc, cursor: Cursor | None, now: Cursor) -> bool:
        if cursor is None or now.block - cursor.block > MOST_BLOCKS:
            return True
        first = max(0, min(cursor.block, now.block) - OVERLAP_BLOCKS)
        try:
            entries = self._reader.read(view, self._queries, first, now.block)
        except NodeRefused as refused:
            log.info("no events: %s", refused.message)
            return True
        known, self._seen = self._seen, frozenset(entry.key for entry in entries)
        if known is None:  # of an earlier process: what it had looked at is not news
            return now.block < cursor.block or any(entry.block_number > cursor.block for entry in entries)
        return not self._seen <= known


def _topics(contract: str, names: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(contracts_abi.event_topic(contract, name) for name in names)
