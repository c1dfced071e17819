"""SHA-256 Merkle roots over chunks of at most 256 KiB, in the two chunkings (specification, section 8).

With H = SHA-256 and note(n) = n as 32 bytes, big-endian:

    leaf   = H( H(H(chunk)) ‖ H(note(max)) )           for the chunk covering bytes [min, max)
    branch = H( H(left) ‖ H(right) ‖ H(note(left.max)) )

Layers pair nodes from the left; an odd last node moves up unchanged. The datachain of Irys cuts plainly.
Arweave balances the last two chunks, and adds an empty leaf where the size is a multiple of 256 KiB.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from armlx_chain.errors import ItemRejected, UsageError
from armlx_chain.storage.irys.results import Reason

__all__ = ["Chunk", "Chunking", "DataTree", "check_path", "chunk_ranges", "data_root"]

MAX_CHUNK: Final = 256 * 1024
MIN_CHUNK: Final = 32 * 1024
_NOTE: Final = 32
_BRANCH: Final = 96
_LEAF: Final = 64


class Chunking(StrEnum):
    """How content is cut."""

    DATACHAIN = "irys"
    ARWEAVE = "arweave"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk's place and digest: bytes [start, end), SHA-256 of them."""

    start: int
    end: int
    data_hash: bytes


@dataclass(frozen=True, slots=True)
class _Node:
    id: bytes
    end: int
    path: bytes
    children: tuple[_Node, _Node] | None = None


def _h(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _note(number: int) -> bytes:
    return number.to_bytes(_NOTE, "big")


def _leaf_id(data_hash: bytes, note: bytes) -> bytes:
    return _h(_h(data_hash), _h(note))


def _branch_id(left: bytes, right: bytes, note: bytes) -> bytes:
    return _h(_h(left), _h(right), _h(note))


def chunk_ranges(size: int, chunking: Chunking) -> list[tuple[int, int]]:
    """Where content of ``size`` bytes is cut.

    Raises:
        UsageError: the datachain has no empty content.
    """
    if size == 0 and chunking is Chunking.DATACHAIN:
        raise UsageError("The datachain stores no empty content.")
    ranges = []
    start = 0
    while size - start >= MAX_CHUNK:
        length, rest = MAX_CHUNK, size - start - MAX_CHUNK
        if chunking is Chunking.ARWEAVE and 0 < rest < MIN_CHUNK:
            length = (size - start + 1) // 2
        ranges.append((start, start + length))
        start += length
    if start < size or chunking is Chunking.ARWEAVE:
        ranges.append((start, size))
    return ranges


class DataTree:
    """The tree over some content, with its proofs."""

    def __init__(self, data: bytes, chunking: Chunking) -> None:
        view = memoryview(data)
        ranges = chunk_ranges(len(data), chunking)
        self.chunks = [Chunk(start, end, hashlib.sha256(view[start:end]).digest()) for start, end in ranges]
        nodes = [_leaf(chunk) for chunk in self.chunks]
        while len(nodes) > 1:
            pairs = [_branch(nodes[i], nodes[i + 1]) for i in range(0, len(nodes) - 1, 2)]
            nodes = pairs + nodes[len(pairs) * 2 :]
        self._top = nodes[0]

    @property
    def root(self) -> bytes:
        return self._top.id

    def proofs(self) -> list[bytes]:
        """The ``data_path`` of each chunk, in order."""
        found: list[bytes] = []
        pending = [(self._top, b"")]
        while pending:
            node, above = pending.pop()
            if node.children is None:
                found.append(above + node.path)
            else:
                pending.extend((child, above + node.path) for child in reversed(node.children))
        return found


def _leaf(chunk: Chunk) -> _Node:
    note = _note(chunk.end)
    return _Node(_leaf_id(chunk.data_hash, note), chunk.end, chunk.data_hash + note)


def _branch(left: _Node, right: _Node) -> _Node:
    note = _note(left.end)
    return _Node(_branch_id(left.id, right.id, note), right.end, left.id + right.id + note, (left, right))


def data_root(data: bytes, chunking: Chunking) -> bytes:
    """The root of ``data``, 32 bytes."""
    return DataTree(data, chunking).root


def check_path(root: bytes, size: int, position: int, path: bytes) -> Chunk:
    """The chunk that covers byte ``position`` of content of ``size`` bytes, as ``path`` proves it.

    The caller still owes: SHA-256 of the chunk's bytes equals ``data_hash``, and their number end - start.

    Raises:
        ItemRejected: the path does not lead from ``root`` to a leaf that covers ``position``.
    """
    if not 0 <= position < size:
        raise ItemRejected(Reason.SIZE_MISMATCH, f"There is no byte {position} in {size} bytes.")
    low, high, expected, rest = 0, size, root, path
    while len(rest) > _LEAF:
        left, right, note = rest[:32], rest[32:64], rest[64:_BRANCH]
        if len(note) != _NOTE or _branch_id(left, right, note) != expected:
            raise ItemRejected(Reason.BAD_SIGNATURE, "A branch of the proof does not hash to the root.")
        split = int.from_bytes(note, "big")
        if position < split:
            expected, high = left, min(high, split)
        else:
            expected, low = right, max(low, split)
        rest = rest[_BRANCH:]
    data_hash, note = rest[:32], rest[32:]
    if len(note) != _NOTE or _leaf_id(data_hash, note) != expected:
        raise ItemRejected(Reason.BAD_SIGNATURE, "The leaf of the chunk's proof does not hash to the root.")
    end = int.from_bytes(note, "big")
    if not low <= position < end <= high or end - low > MAX_CHUNK:
        raise ItemRejected(Reason.SIZE_MISMATCH, "The proven chunk does not lie where it should.")
    return Chunk(low, end, data_hash)
