"""Draws from a seed that every verifier repeats to the bit, whatever library versions it has.

A stream of 64-bit numbers: SHA-256 of (domain, seed, counter), cut in four. Pure.

>>> Draw(b"seed", "rows").permutation(5) == Draw(b"seed", "rows").permutation(5)
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator


class Draw:
    """One stream of draws.

    Args:
        seed: The session's seed.
        domain: What the draws are for; streams of two domains are independent.
    """

    def __init__(self, seed: bytes, domain: str) -> None:
        self._prefix = len(seed).to_bytes(4, "big") + seed + domain.encode() + b"\x00"
        self._numbers = self._stream()

    def _stream(self) -> Iterator[int]:
        counter = 0
        while True:
            block = hashlib.sha256(self._prefix + counter.to_bytes(8, "big")).digest()
            for start in range(0, 32, 8):
                yield int.from_bytes(block[start : start + 8], "big")
            counter += 1

    def below(self, bound: int) -> int:
        """A number from 0 to ``bound - 1``, all equally likely."""
        if bound < 1:
            raise RuntimeError("a draw needs at least one outcome")
        # Numbers beyond the last whole multiple would favour small outcomes.
        ceiling = (1 << 64) - (1 << 64) % bound
        return next(number for number in self._numbers if number < ceiling) % bound

    def permutation(self, count: int) -> list[int]:
        """The numbers 0 to ``count - 1`` in a drawn order (Fisher and Yates)."""
        order = list(range(count))
        for last in range(count - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order
