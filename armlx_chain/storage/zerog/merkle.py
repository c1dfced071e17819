"""The Merkle tree of a 0G Storage file: roots, segment proofs, submission nodes. Pure.

Invariants:

- A leaf is keccak256 of a 256-byte chunk, an inner node keccak256 of its two children, without prefixes; a
  level's odd last node is promoted unchanged. Leaves hash 256 bytes and nodes 64, so neither passes for
  the other.
- The root commits to the padded chunk count and to every byte, but **not to the length**: two files that
  differ only by trailing zeros within the same padding have one root. Get the length from a trusted place.
- :func:`verify_segment` compares with the root the caller asked for, never with one that came along.

Usage::

    tree = FileTree.of(data)                     # one hashing pass
    tree.root, tree.submission_nodes, tree.proof(3)
    verify_segment(root, size, 3, segment_bytes, proof)   # raises ContentMismatch
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from armlx_chain.errors import ContentMismatch, StorageError
from armlx_chain.storage.zerog import shape
from armlx_chain.storage.zerog.keccak import keccak256
from armlx_chain.types import Root

__all__ = [
    "ZERO_HASHES",
    "FileTree",
    "SegmentProof",
    "SubmissionNode",
    "fold_nodes",
    "root_of",
    "segment_root",
    "split_segments",
    "tree_root",
    "verify_segment",
    "zero_segments_root",
]


def _zero_hashes(count: int) -> tuple[bytes, ...]:
    hashes = [keccak256(bytes(shape.CHUNK_BYTES))]
    while len(hashes) < count:
        hashes.append(keccak256(hashes[-1] * 2))
    return tuple(hashes)


ZERO_HASHES = _zero_hashes(64)
"""Roots of the perfect trees over 2**h zero chunks, h = 0..63."""


@dataclass(frozen=True, slots=True)
class SegmentProof:
    """A segment's way to the file root.

    Attributes:
        lemma: The segment's root, the siblings bottom up, the file root; of a one-segment file just the root.
        path: Bottom up, True where the running node is the left child.
    """

    lemma: tuple[bytes, ...]
    path: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class SubmissionNode:
    """A perfect subtree of 2**height chunks, as the Flow contract is told of it."""

    root: bytes
    height: int


def _levels(hashes: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The levels of the tree over ``hashes``, from the leaves to the root."""
    level = hashes
    yield level
    while len(level) > 1:
        above = [keccak256(level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
        yield level


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """Root of the tree whose leaves are ``hashes``.

    Raises:
        ValueError: if there are none.
    """
    if not hashes:
        raise ValueError("a tree has at least one leaf")
    root = hashes[0]
    for level in _levels(hashes):
        root = level[0]
    return root


def fold_nodes(nodes: Sequence[bytes]) -> bytes:
    """File root from the roots of its perfect subtrees, largest first (the fold goes from the right)."""
    if not nodes:
        raise ValueError("a file has at least one node")
    folded = nodes[-1]
    for node in reversed(nodes[:-1]):
        folded = keccak256(node + folded)
    return folded


def _chunk_hashes(data: bytes, leaves: int) -> list[bytes]:
    """Leaf hashes of ``data``, zero-padded to ``leaves`` chunks."""
    step = shape.CHUNK_BYTES
    if len(data) % step:
        data = data + bytes(-len(data) % step)
    hashes = [keccak256(data[at : at + step]) for at in range(0, len(data), step)]
    if len(hashes) > leaves:
        raise ValueError(f"{len(hashes)} chunks do not fit {leaves} leaves")
    hashes.extend([ZERO_HASHES[0]] * (leaves - len(hashes)))
    return hashes


def segment_root(data: bytes, leaves: int) -> bytes:
    """Root of one segment: ``data`` followed by zeros up to ``leaves`` chunks."""
    return tree_root(_chunk_hashes(data, leaves))


def split_segments(data: bytes) -> Iterator[bytes]:
    """The real segments of ``data``, the last one as long as it is (not padded)."""
    for at in range(0, len(data), shape.SEGMENT_BYTES):
        yield data[at : at + shape.SEGMENT_BYTES]


def _perfect_roots(hashes: Sequence[bytes], height: int) -> list[SubmissionNode]:
    """The perfect subtrees over ``hashes``, each of which is a tree of ``height``; largest first."""
    nodes: list[SubmissionNode] = []
    at, left = 0, len(hashes)
    for bit in range(left.bit_length() - 1, -1, -1):
        if left >> bit & 1:
            nodes.append(SubmissionNode(tree_root(hashes[at : at + (1 << bit)]), height + bit))
            at += 1 << bit
    return nodes


class FileTree:
    """The tree of one file, from a single pass over its bytes. Immutable.

    Attributes:
        size: Length of the file in bytes.
        segment_roots: Roots of all padded segments, in order.
        submission_nodes: The perfect subtrees that a submission names, largest first.
        root: The file's content address.
    """

    __slots__ = ("_levels", "root", "segment_roots", "size", "submission_nodes")

    def __init__(self, size: int, segment_roots: tuple[bytes, ...], tail_nodes: Sequence[SubmissionNode]):
        self.size = size
        self.segment_roots = segment_roots
        self._levels = [tuple(level) for level in _levels(segment_roots)]
        self.root = Root.zerog(self._levels[-1][0])
        whole = shape.padded_chunks(size) // shape.SEGMENT_CHUNKS
        head = _perfect_roots(segment_roots[:whole], shape.SEGMENT_HEIGHT)
        self.submission_nodes = (*head, *tail_nodes)

    @classmethod
    def of(cls, data: bytes) -> FileTree:
        """The tree of ``data``.

        Raises:
            StorageError: if it is empty: an empty file has no root.
        """
        return cls.of_segments(split_segments(data), len(data))

    @classmethod
    def of_segments(cls, segments: Iterable[bytes], size: int) -> FileTree:
        """The tree of a file given as its segments in order (each 262,144 bytes but the last).

        Raises:
            StorageError: if ``size`` is 0, or the segments do not add up to it.
        """
        if size < 1:
            raise StorageError(
                "An empty file cannot be stored.",
                meaning="0G Storage has no root for zero bytes.",
                next_step="Store at least one byte.",
            )
        roots: list[bytes] = []
        tail: list[SubmissionNode] = []
        total = 0
        for index, segment in enumerate(segments):
            want = min(shape.SEGMENT_BYTES, size - index * shape.SEGMENT_BYTES)
            if len(segment) != want:
                raise StorageError(f"Segment {index} has {len(segment)} bytes where {max(want, 0)} belong.")
            total += len(segment)
            leaves = shape.segment_leaves(size, index)
            hashes = _chunk_hashes(segment, leaves)
            if leaves < shape.SEGMENT_CHUNKS:
                tail = _perfect_roots(hashes, 0)
                roots.append(fold_nodes([node.root for node in tail]))
            else:
                roots.append(tree_root(hashes))
        if total != size:
            raise StorageError(f"The segments have {total} bytes together where {size} belong.")
        padding = shape.padded_segments(size) - len(roots)
        roots.extend([ZERO_HASHES[shape.SEGMENT_HEIGHT]] * padding)
        return cls(size, tuple(roots), tail)

    def proof(self, index: int) -> SegmentProof:
        """Proof of segment ``index``.

        Raises:
            ValueError: if the file has no such segment.
        """
        path = shape.proof_path(len(self.segment_roots), index)
        if not path:
            return SegmentProof((self.root.digest,), ())
        lemma = [self.segment_roots[index]]
        at = index
        for level in self._levels[:-1]:
            sibling = at ^ 1
            if sibling < len(level):
                lemma.append(level[sibling])
            at //= 2
        return SegmentProof((*lemma, self.root.digest), path)


def root_of(data: bytes) -> Root:
    """Content address of ``data``.

    Raises:
        StorageError: if it is empty.
    """
    return FileTree.of(data).root


def _refuse(index: int, why: str) -> ContentMismatch:
    return ContentMismatch(
        f"Segment {index} does not belong to the file asked for: {why}.",
        details={"segment": index, "why": why},
    )


def zero_segments_root(count: int) -> bytes:
    """Root of the tree over ``count`` >= 1 all-zero segments."""
    bits = [bit for bit in range(count.bit_length() - 1, -1, -1) if count >> bit & 1]
    return fold_nodes([ZERO_HASHES[shape.SEGMENT_HEIGHT + bit] for bit in bits])


def _fold(proof: SegmentProof) -> bytes:
    running = proof.lemma[0]
    for sibling, is_left in zip(proof.lemma[1:-1], proof.path, strict=True):
        running = keccak256(running + sibling if is_left else sibling + running)
    return running


def verify_segment(root: Root, size: int, index: int, data: bytes, proof: SegmentProof) -> None:
    """Prove that ``data`` is segment ``index`` of the file ``root`` of ``size`` bytes.

    The steps are those of the storage protocol's strict verification: 1 index, 2 length, 3 and 4 leaf,
    5 path, 6 the root that was asked for, 7 fold, 8 zero bytes after the end, and 9 siblings that lie
    wholly in the padding are all-zero trees. Without step 9 a node could claim a *shorter* file of the same
    padded size and every segment it serves would still prove: content beyond the claimed end would hide in
    the siblings. The caller still owes a ``size`` from a trusted place if trailing zeros matter to it.

    Raises:
        ContentMismatch: if any step fails; its details name the segment and the step.
    """
    if size < 1 or not 0 <= index < shape.segment_count(size):  # 1
        raise _refuse(index, f"a file of {size} bytes has no such segment")
    want = shape.segment_length(size, index)
    if len(data) != want:  # 2
        raise _refuse(index, f"it has {len(data)} bytes where {want} belong")
    steps = shape.proof_steps(shape.padded_segments(size), index)
    path = tuple(step.is_left for step in steps)
    if proof.path != path:  # 5, before any hashing: it bounds the work
        raise _refuse(index, "its proof has the path of another position")
    lemma_length = len(path) + 2 if path else 1
    if len(proof.lemma) != lemma_length or any(len(entry) != 32 for entry in proof.lemma):
        raise _refuse(index, "its proof has the wrong number of hashes")
    if proof.lemma[-1] != root.digest:  # 6
        raise _refuse(index, "its proof ends in another root")
    if proof.lemma[0] != segment_root(data, shape.segment_leaves(size, index)):  # 3, 4
        raise _refuse(index, "its bytes do not hash to the proof's leaf")
    if path and _fold(proof) != root.digest:  # 7
        raise _refuse(index, "its proof does not lead to the root")
    end = size - index * shape.SEGMENT_BYTES
    if any(data[end:]):  # 8
        raise _refuse(index, "bytes after the end of the file are not zero")
    real = shape.segment_count(size)
    for step, sibling in zip(steps, proof.lemma[1:-1], strict=True):  # 9
        if step.sibling_start >= real and sibling != zero_segments_root(step.sibling_leaves):
            raise _refuse(index, "its proof hides content after the end of the file")
