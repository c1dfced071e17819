"""Who hashes: the plain implementation, or the compiled kernel once there is enough to hash.

Making the kernel costs about 0.2 s, most of it the import of the compiler. A command that hashes a
protocol of 5 KB must not pay that, one that hashes a repository must not do without. So bytes are counted,
all of the process together, and the kernel is made when the plain implementation would have cost about as
much (:data:`KERNEL_AFTER`). Both give the same hashes; only the time tells which one ran.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from armlx_chain.storage.zerog.keccak import keccak256
from armlx_chain.storage.zerog.shape import CHUNK_BYTES

if TYPE_CHECKING:
    from armlx_chain.storage.zerog.kernel import LaneKernel

__all__ = ["KERNEL_AFTER", "PLAIN", "Engine", "LaneEngine", "PlainEngine", "best_engine"]

KERNEL_AFTER = 4 << 20
"""Bytes hashed the plain way by this process before it makes a kernel: 50 ms to 0.3 s of work."""


class Engine(Protocol):
    """Computes many hashes at once. Safe for several threads."""

    def perfect_roots(self, data: memoryview, count: int, height: int) -> list[bytes]:
        """Roots of ``count`` trees of ``2**height`` whole chunks each, one after the other in ``data``."""
        ...

    def parents(self, level: Sequence[bytes]) -> list[bytes]:
        """keccak256 of each two neighbours of ``level``, an even number of hashes."""
        ...


class PlainEngine:
    """One hash at a time, by :mod:`armlx_chain.storage.zerog.keccak`."""

    def perfect_roots(self, data: memoryview, count: int, height: int) -> list[bytes]:
        """See :class:`Engine`."""
        level = [
            keccak256(bytes(data[at : at + CHUNK_BYTES]))
            for at in range(0, count * CHUNK_BYTES << height, CHUNK_BYTES)
        ]
        for _ in range(height):
            level = self.parents(level)
        return level

    def parents(self, level: Sequence[bytes]) -> list[bytes]:
        """See :class:`Engine`."""
        return [keccak256(level[i] + level[i + 1]) for i in range(0, len(level), 2)]


PLAIN = PlainEngine()


class LaneEngine:
    """The compiled kernel; what is too small for its lanes goes the plain way."""

    def __init__(self, kernel: LaneKernel) -> None:
        self._kernel = kernel

    def perfect_roots(self, data: memoryview, count: int, height: int) -> list[bytes]:
        """See :class:`Engine`."""
        if height < self._kernel.smallest_height:
            return PLAIN.perfect_roots(data, count, height)
        return self._kernel.perfect_roots(data, count, height)

    def parents(self, level: Sequence[bytes]) -> list[bytes]:
        """See :class:`Engine`."""
        rest = len(level) % (2 * self._kernel.width)
        whole = len(level) - rest
        found = self._kernel.parents(level[:whole]) if whole else []
        return found + PLAIN.parents(level[whole:])


class _Choice:
    """The process's engine: plain until enough was hashed, then decided for good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = 0
        self._decided: Engine | None = None

    def engine_for(self, size: int) -> Engine:
        if self._decided is not None:
            return self._decided
        with self._lock:
            self._bytes += size
            enough = self._bytes >= KERNEL_AFTER
        if not enough:
            return PLAIN
        # Imported here: it takes longer than hashing a protocol.
        from armlx_chain.storage.zerog.kernel import shared_kernel

        kernel = shared_kernel()
        self._decided = PLAIN if kernel is None else LaneEngine(kernel)
        return self._decided


_choice = _Choice()


def best_engine(size: int) -> Engine:
    """The engine for ``size`` bytes that are to be hashed now."""
    return _choice.engine_for(size)
