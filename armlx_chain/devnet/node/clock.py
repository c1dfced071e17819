"""The chain's clock: wall time plus an offset that tests move.

- Block timestamps rise strictly.
- An exact timestamp asked for the next block also moves every later block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from armlx_chain.errors import DevnetRpcError

INVALID_PARAMS = -32602
MAX_TIMESTAMP = (1 << 63) - 1
"""Seconds. The ledger stores timestamps as uint64; nodes refuse more than a signed 64-bit number."""


@dataclass(slots=True)
class ChainClock:
    """When the next block will be.

    Attributes:
        wall: Seconds since the epoch, as :func:`time.time` gives them.
        offset: Seconds that the chain is ahead of the wall clock.
        exact: Timestamp demanded for the next block, or None.
    """

    wall: Callable[[], float]
    offset: int = 0
    exact: int | None = None

    def next_timestamp(self, parent_timestamp: int) -> int:
        """Timestamp of a block sealed now on a parent, in seconds; changes nothing."""
        if self.exact is not None and self.exact > parent_timestamp:
            return self.exact
        return max(parent_timestamp + 1, int(self.wall()) + self.offset)

    def sealed(self, timestamp: int) -> None:
        """Take note of a sealed block: an exact timestamp is used up and becomes the new offset."""
        if self.exact is not None:
            self.offset = timestamp - int(self.wall())
            self.exact = None

    def increase(self, seconds: int, head_timestamp: int) -> int:
        """Move the clock forward and return the new offset in seconds.

        Raises:
            DevnetRpcError: if that would move time backwards or beyond 63 bits.
        """
        if not 0 <= seconds <= MAX_TIMESTAMP - self.next_timestamp(head_timestamp):
            raise DevnetRpcError(INVALID_PARAMS, f"cannot move time by {seconds} seconds")
        # Blocks sealed within one second run ahead of the wall clock; the step counts from the chain's time.
        now = self.next_timestamp(head_timestamp - 1)
        self.offset = now + seconds - int(self.wall())
        self.exact = None
        return self.offset

    def set_exact(self, timestamp: int, head_timestamp: int) -> None:
        """Demand the timestamp of the next block.

        Raises:
            DevnetRpcError: if it is not later than the latest block's.
        """
        if not head_timestamp < timestamp <= MAX_TIMESTAMP:
            raise DevnetRpcError(
                INVALID_PARAMS,
                f"timestamp {timestamp} is not later than the latest block's, {head_timestamp}",
            )
        self.exact = timestamp
