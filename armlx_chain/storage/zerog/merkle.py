"""The Merkle tree of a 0G Storage file: roots, segment proofs, submission nodes. Pure.

Invariants:

- A leaf is keccak256 of a 256-byte chunk, an inner node keccak256 of its two children, without prefixes; a
  level's odd last node is promoted unchanged. Leaves hash 256 bytes and nodes 64, so neither passes for
  the other.
- The root commits to the padded chunk count and to every byte, but **not to the length**: two files that
  differ only by trailing zeros within the same padding have one root. Get the length from a trusted place.
- :func:`verify_segment` compares with the root the caller asked for, never with one that came along.

- Whoever hashes (:mod:`armlx_chain.storage.zerog.engine`), the roots are the same.

Usage::

    tree = FileTree.of(data)                     # one hashing pass
    tree.root, tree.submission_nodes, tree.proof(3)
    verify_segment(root, size, 3, segment_bytes, proof)   # raises ContentMismatch
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from armlx_chain.errors import ContentMismatch, StorageError
from armlx_chain.storage.zerog import shape
from armlx_chain.storage.zerog.engine import PLAIN, Engine, best_engine
from armlx_chain.storage.zerog.keccak import keccak256
from armlx_chain.types import Root

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "ZERO_HASHES",
    "FileTree",
    "Frontier",
    "SegmentProof",
    "SubmissionNode",
    "empty_file",
    "fold_nodes",
    "root_of",
    "segment_nodes",
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


def _levels(hashes: Sequence[bytes], engine: Engine = PLAIN) -> Iterator[Sequence[bytes]]:
    """The levels of the tree over ``hashes``, from the leaves to the root."""
    level = hashes
    yield level
    while len(level) > 1:
        even = len(level) & ~1
        level = [*engine.parents(level[:even]), *level[even:]]
        yield level


def tree_root(hashes: Sequence[bytes], engine: Engine | None = None) -> bytes:
    """Root of the tree whose leaves are ``hashes``.

    Raises:
        ValueError: if there are none.
    """
    if not hashes:
        raise ValueError("a tree has at least one leaf")
    root = hashes[0]
    for level in _levels(hashes, engine or best_engine(2 * len(hashes) * len(root))):
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


def _octets(data: Buffer) -> memoryview:
    """The bytes of ``data``, without a copy."""
    return memoryview(data).cast("B")


def _perfect_root(data: memoryview, height: int, engine: Engine) -> bytes:
    """Root of the tree over ``2**height`` chunks that begin with ``data``; the rest is zeros."""
    if not data:
        return ZERO_HASHES[height]
    if len(data) == shape.CHUNK_BYTES << height:
        return engine.perfect_roots(data, 1, height)[0]
    if height == 0:
        return keccak256(bytes(data).ljust(shape.CHUNK_BYTES, b"\0"))
    half = shape.CHUNK_BYTES << height - 1
    left = _perfect_root(data[:half], height - 1, engine)
    return keccak256(left + _perfect_root(data[half:], height - 1, engine))


def segment_nodes(data: Buffer, leaves: int, engine: Engine | None = None) -> list[SubmissionNode]:
    """The perfect subtrees of one segment, ``data`` and zeros up to ``leaves`` chunks; largest first.

    Raises:
        ValueError: if ``data`` has more chunks than that.
    """
    view = _octets(data)
    if len(view) > leaves * shape.CHUNK_BYTES:
        raise ValueError(f"{len(view)} bytes do not fit {leaves} leaves")
    engine = engine or best_engine(len(view))
    nodes: list[SubmissionNode] = []
    for height in shape.set_bits(leaves):
        size = shape.CHUNK_BYTES << height
        nodes.append(SubmissionNode(_perfect_root(view[:size], height, engine), height))
        view = view[size:]
    return nodes


def segment_root(data: Buffer, leaves: int, engine: Engine | None = None) -> bytes:
    """Root of one segment: ``data`` followed by zeros up to ``leaves`` chunks."""
    return fold_nodes([node.root for node in segment_nodes(data, leaves, engine)])


def split_segments(data: memoryview) -> Iterator[memoryview]:
    """The real segments of ``data``, the last one as long as it is (not padded)."""
    for at in range(0, len(data), shape.SEGMENT_BYTES):
        yield data[at : at + shape.SEGMENT_BYTES]


def empty_file() -> StorageError:
    """The refusal of zero bytes."""
    return StorageError(
        "An empty file cannot be stored.",
        meaning="0G Storage has no root for zero bytes.",
        next_step="Store at least one byte.",
    )


class Frontier:
    """The roots of a file's perfect subtrees while its segments come in order. It stays small."""

    def __init__(self) -> None:
        self._nodes: list[SubmissionNode] = []

    @property
    def nodes(self) -> tuple[SubmissionNode, ...]:
        """The subtrees so far, largest first: at most one of each height."""
        return tuple(self._nodes)

    def add(self, root: bytes, height: int) -> None:
        """The next perfect subtree. All but the last few of a file are segments.

        Raises:
            ValueError: if it does not follow the ones before without a gap.
        """
        while self._nodes and self._nodes[-1].height == height:
            root = keccak256(self._nodes.pop().root + root)
            height += 1
        if self._nodes and self._nodes[-1].height < height:
            raise ValueError("a subtree that does not begin where it must")
        self._nodes.append(SubmissionNode(root, height))

    def extend(self, segment_roots: Iterable[bytes]) -> None:
        """The next full segments."""
        for root in segment_roots:
            self.add(root, shape.SEGMENT_HEIGHT)

    def add_zero_segments(self, count: int) -> None:
        """``count`` segments of padding, in as few subtrees as possible."""
        while count:
            highest = count.bit_length() - 1
            room = self._nodes[-1].height - shape.SEGMENT_HEIGHT if self._nodes else highest
            step = min(highest, room)
            self.add(ZERO_HASHES[shape.SEGMENT_HEIGHT + step], shape.SEGMENT_HEIGHT + step)
            count -= 1 << step

    def close(self, size: int, tail: Sequence[SubmissionNode]) -> bytes:
        """The file's root.

        Args:
            size: Length of the file in bytes.
            tail: The subtrees of its last segment if that is not a full one.
        """
        for node in tail:
            self.add(node.root, node.height)
        self.add_zero_segments(shape.padded_segments(size) - shape.segment_count(size))
        return fold_nodes([node.root for node in self._nodes])


class FileTree:
    """The tree of one file, from a single pass over its bytes. Immutable.

    Attributes:
        size: Length of the file in bytes.
        segment_roots: Roots of all padded segments, in order.
        submission_nodes: The perfect subtrees that a submission names, largest first.
        root: The file's content address.
    """

    __slots__ = ("_levels", "root", "segment_roots", "size", "submission_nodes")

    def __init__(
        self,
        size: int,
        full_segments: Sequence[bytes],
        tail: Sequence[SubmissionNode],
        engine: Engine = PLAIN,
    ) -> None:
        """From the roots of the full segments, and the nodes of the one after them, if there is one."""
        last = [fold_nodes([node.root for node in tail])] if tail else []
        padding = shape.padded_segments(size) - len(full_segments) - len(last)
        self.size = size
        self.segment_roots = (*full_segments, *last, *[ZERO_HASHES[shape.SEGMENT_HEIGHT]] * padding)
        self._levels = [tuple(level) for level in _levels(self.segment_roots, engine)]
        self.root = Root.zerog(self._levels[-1][0])
        whole = shape.padded_chunks(size) // shape.SEGMENT_CHUNKS
        head: list[SubmissionNode] = []
        at = 0
        for bit in shape.set_bits(whole):  # a perfect subtree over whole segments is a node of the levels
            head.append(SubmissionNode(self._levels[bit][at >> bit], shape.SEGMENT_HEIGHT + bit))
            at += 1 << bit
        small = [node for node in tail if node.height < shape.SEGMENT_HEIGHT]
        self.submission_nodes = (*head, *small)

    @classmethod
    def of(cls, data: Buffer, engine: Engine | None = None) -> FileTree:
        """The tree of ``data``.

        Raises:
            StorageError: if it is empty: an empty file has no root.
        """
        view = _octets(data)
        return cls.of_segments(split_segments(view), len(view), engine)

    @classmethod
    def of_segments(cls, segments: Iterable[Buffer], size: int, engine: Engine | None = None) -> FileTree:
        """The tree of a file given as its segments in order (each 262,144 bytes but the last).

        Raises:
            StorageError: if ``size`` is 0, or the segments do not add up to it.
        """
        if size < 1:
            raise empty_file()
        engine = engine or best_engine(size)
        roots: list[bytes] = []
        tail: list[SubmissionNode] = []
        total = 0
        for index, segment in enumerate(segments):
            view = _octets(segment)
            want = min(shape.SEGMENT_BYTES, size - index * shape.SEGMENT_BYTES)
            if len(view) != want:
                raise StorageError(f"Segment {index} has {len(view)} bytes where {max(want, 0)} belong.")
            total += len(view)
            nodes = segment_nodes(view, shape.segment_leaves(size, index), engine)
            if nodes[0].height == shape.SEGMENT_HEIGHT:
                roots.append(nodes[0].root)
            else:
                tail = nodes
        if total != size:
            raise StorageError(f"The segments have {total} bytes together where {size} belong.")
        return cls(size, roots, tail, engine)

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


def root_of(data: Buffer, engine: Engine | None = None) -> Root:
    """Content address of ``data``.

    Raises:
        StorageError: if it is empty.
    """
    return FileTree.of(data, engine).root


def _refuse(index: int, why: str) -> ContentMismatch:
    return ContentMismatch(
        f"Segment {index} does not belong to the file asked for: {why}.",
        details={"segment": index, "why": why},
    )


def zero_segments_root(count: int) -> bytes:
    """Root of the tree over ``count`` >= 1 all-zero segments."""
    return fold_nodes([ZERO_HASHES[shape.SEGMENT_HEIGHT + bit] for bit in shape.set_bits(count)])


def _fold(proof: SegmentProof) -> bytes:
    running = proof.lemma[0]
    for sibling, is_left in zip(proof.lemma[1:-1], proof.path, strict=True):
        running = keccak256(running + sibling if is_left else sibling + running)
    return running


def verify_segment(
    root: Root, size: int, index: int, data: Buffer, proof: SegmentProof, engine: Engine | None = None
) -> None:
    """Prove that ``data`` is segment ``index`` of the file ``root`` of ``size`` bytes.

    The steps are those of the storage protocol's strict verification: 1 index, 2 length, 3 and 4 leaf,
    5 path, 6 the root that was asked for, 7 fold, 8 zero bytes after the end, and 9 siblings that lie
    wholly in the padding are all-zero trees. Without step 9 a node could claim a *shorter* file of the same
    padded size and every segment it serves would still prove: content beyond the claimed end would hide in
    the siblings. The caller still owes a ``size`` from a trusted place if trailing zeros matter to it.

    Raises:
        ContentMismatch: if any step fails; its details name the segment and the step.
    """
    view = _octets(data)
    if size < 1 or not 0 <= index < shape.segment_count(size):  # 1
        raise _refuse(index, f"a file of {size} bytes has no such segment")
    want = shape.segment_length(size, index)
    if len(view) != want:  # 2
        raise _refuse(index, f"it has {len(view)} bytes where {want} belong")
    steps = shape.proof_steps(shape.padded_segments(size), index)
    path = tuple(step.is_left for step in steps)
    if proof.path != path:  # 5, before any hashing: it bounds the work
        raise _refuse(index, "its proof has the path of another position")
    lemma_length = len(path) + 2 if path else 1
    if len(proof.lemma) != lemma_length or any(len(entry) != 32 for entry in proof.lemma):
        raise _refuse(index, "its proof has the wrong number of hashes")
    if proof.lemma[-1] != root.digest:  # 6
        raise _refuse(index, "its proof ends in another root")
    if proof.lemma[0] != segment_root(view, shape.segment_leaves(size, index), engine):  # 3, 4
        raise _refuse(index, "its bytes do not hash to the proof's leaf")
    if path and _fold(proof) != root.digest:  # 7
        raise _refuse(index, "its proof does not lead to the root")
    end = size - index * shape.SEGMENT_BYTES
    if any(view[end:]):  # 8
        raise _refuse(index, "bytes after the end of the file are not zero")
    real = shape.segment_count(size)
    for step, sibling in zip(steps, proof.lemma[1:-1], strict=True):  # 9
        if step.sibling_start >= real and sibling != zero_segments_root(step.sibling_leaves):
            raise _refuse(index, "its proof hides content after the end of the file")
