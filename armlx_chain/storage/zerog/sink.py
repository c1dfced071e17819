"""Where a download's segments go: into memory, or (in ``partfile``) into a file that is resumed.

Whoever puts a segment here has verified it, or says that it has not: ``proven``. Only what adds up to the
root is ever taken out again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from armlx_chain.storage.interface import Progress
from armlx_chain.storage.zerog import shape
from armlx_chain.storage.zerog.merkle import FileTree, root_of, tree_root, zero_segments_root
from armlx_chain.types import Root

__all__ = ["Body", "Held", "MemorySink", "Sink", "Tally"]


class Body(Protocol):
    """A whole file as it comes from a gateway: unproven until its root was compared."""

    def receive(self, block: bytes) -> None:
        """Take the next bytes."""
        ...

    def size(self) -> int: ...

    def head(self) -> bytes:
        """All of it if it is no longer than 64 KiB, else nothing: an error answer is short."""
        ...

    def root(self) -> Root | None:
        """The root of what came, or ``None`` if nothing came."""
        ...

    def accept(self) -> None:
        """It is the file: keep it as the sink's content."""
        ...


class Sink(Protocol):
    """Segments of one file. Safe to use from several threads, ``begin`` and ``settle`` apart."""

    def begin(self, size: int) -> None:
        """Somebody gives the file ``size`` bytes, at least 1 and within the limit. What was held of a file of
        the same padded size stays, if it still is what it was.
        """
        ...

    @property
    def held(self) -> Held: ...

    def put(self, index: int, data: memoryview, root: bytes, *, proven: bool) -> None:
        """Keep segment ``index``, without bytes after the file's end, whose Merkle root is ``root``."""
        ...

    def drop(self, indices: Iterable[int]) -> None:
        """Forget segments."""
        ...

    def doubted(self) -> list[int]:
        """Segments from an earlier run: they match their own note, but nobody proved them in this run."""
        ...

    def body(self) -> contextlib.AbstractContextManager[Body]:
        """A place for a whole file from a gateway."""
        ...

    def settle(self, size: int) -> bool:
        """Give the file, complete and proven, the length ``size``, which has the same padded size: cut zeros
        off or add some. False if what would be cut off is not zero.
        """
        ...


class Held:
    """Which segments of a file are here, and their roots: 33 bytes each."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = shape.segment_count(size)
        self._flags = bytearray(self.count)
        self._roots = bytearray(32 * self.count)

    def __contains__(self, index: int) -> bool:
        return bool(self._flags[index])

    def add(self, index: int, root: bytes) -> None:
        self._roots[32 * index : 32 * index + 32] = root
        self._flags[index] = 1

    def remove(self, index: int) -> None:
        self._flags[index] = 0

    def missing(self) -> Iterator[int]:
        """Indices that are not here, in order; may be used while others add."""
        at = self._flags.find(0)
        while at >= 0:
            yield at
            at = self._flags.find(0, at + 1)

    def is_whole(self) -> bool:
        return 0 not in self._flags

    def adds_up_to(self, root: Root) -> bool:
        """Whether all segments are here and, with zero padding after them, have ``root``."""
        if not self.is_whole():
            return False
        roots = [bytes(self._roots[at : at + 32]) for at in range(0, len(self._roots), 32)]
        zero = zero_segments_root(1)
        roots.extend([zero] * (shape.padded_segments(self.size) - len(roots)))
        return tree_root(roots) == root.digest


class Tally:
    """Tells a progress display of each segment once, and never of more than the whole."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._told: set[int] = set()
        self._count = 0
        self._size = 0
        self._lock = threading.Lock()

    def start(self, size: int) -> None:
        if self._progress is None or size == self._size:
            return
        self._size = size
        self._progress.start(size)

    def segment(self, index: int, length: int) -> None:
        with self._lock:
            if self._progress is None or index in self._told:
                return
            self._told.add(index)
            count = min(length, self._size - self._count)
            self._count += count
        self._progress.advance(count)

    def all(self, size: int) -> None:
        """The whole file is there."""
        if self._progress is not None:
            self.start(size)
            rest, self._count = size - self._count, size
            if rest > 0:
                self._progress.advance(rest)

    def note(self, text: str) -> None:
        if self._progress is not None:
            self._progress.note(text)


class MemorySink:
    """Keeps segments in memory."""

    def __init__(self) -> None:
        self._held = Held(1)
        self._parts: dict[int, memoryview] = {}
        self._data: bytes | None = None

    @property
    def held(self) -> Held:
        return self._held

    def begin(self, size: int) -> None:
        if size != self._held.size:
            self._held, self._parts = Held(size), {}

    def put(self, index: int, data: memoryview, root: bytes, *, proven: bool) -> None:
        self._parts[index] = data
        self._held.add(index, root)

    def drop(self, indices: Iterable[int]) -> None:
        for index in indices:
            self._parts.pop(index, None)
            self._held.remove(index)

    def doubted(self) -> list[int]:
        return []

    @contextlib.contextmanager
    def body(self) -> Iterator[Body]:
        yield _MemoryBody(self._take)

    def _take(self, data: bytes) -> None:
        self._data = data

    def data(self) -> bytes:
        """The whole file."""
        if self._data is None:
            self._data = b"".join(self._parts[index] for index in range(self._held.count))
        return self._data

    def settle(self, size: int) -> bool:
        data = self.data()
        if any(data[size:]):
            return False
        self._data = data[:size].ljust(size, b"\0")
        return True


class _MemoryBody:
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._blocks: list[bytes] = []
        self._take = take

    def receive(self, block: bytes) -> None:
        self._blocks.append(block)

    def _data(self) -> bytes:
        if len(self._blocks) > 1:
            self._blocks = [b"".join(self._blocks)]
        return self._blocks[0] if self._blocks else b""

    def size(self) -> int:
        return sum(len(block) for block in self._blocks)

    def head(self) -> bytes:
        return self._data() if self.size() <= HEAD_BYTES else b""

    def root(self) -> Root | None:
        return root_of(self._data()) if self._blocks else None

    def accept(self) -> None:
        self._take(self._data())


HEAD_BYTES = 64 << 10


def root_of_segments(segments: Iterable[bytes], size: int) -> Root:
    """Root of a file of ``size`` bytes, given segment by segment."""
    return FileTree.of_segments(segments, size).root
