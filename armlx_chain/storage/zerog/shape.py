"""The shape of a file's tree: counts that follow from its length alone.

Words: a *chunk* has 256 bytes; a *segment* has 1024 chunks (262,144 bytes). A file is hashed as if it were
extended with zero bytes to ``padded_chunks`` chunks, so that its Merkle tree has few perfect subtrees
(0G Storage, flow padding). Everything here is integer arithmetic on ``size``, a length in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

CHUNK_BYTES = 256
SEGMENT_CHUNKS = 1024
SEGMENT_BYTES = CHUNK_BYTES * SEGMENT_CHUNKS
SEGMENT_HEIGHT = 10
"""Height of a full segment's tree: 2**10 chunks."""

_PADDING_PARTS = 16
"""Padded counts are multiples of one sixteenth of the next power of two."""


def _ceil_div(value: int, by: int) -> int:
    return -(-value // by)


def set_bits(number: int) -> tuple[int, ...]:
    """Positions of the ones in ``number``, falling: heights of the perfect subtrees over so many leaves."""
    return tuple(bit for bit in range(number.bit_length() - 1, -1, -1) if number >> bit & 1)


def chunk_count(size: int) -> int:
    """Real chunks of a file of ``size`` bytes; the last may be partly filled.

    Raises:
        ValueError: for a size below 1: an empty file has no root.
    """
    if size < 1:
        raise ValueError("an empty file has no Merkle tree")
    return _ceil_div(size, CHUNK_BYTES)


def padded_chunks(size: int) -> int:
    """Chunks after zero padding: the number of leaves of the tree, and of sectors that are paid for."""
    real = chunk_count(size)
    power = 1 << (real - 1).bit_length()
    unit = max(power // _PADDING_PARTS, 1)
    return _ceil_div(real, unit) * unit


def segment_count(size: int) -> int:
    """Real segments: the ones that are stored and served."""
    return _ceil_div(chunk_count(size), SEGMENT_CHUNKS)


def padded_segments(size: int) -> int:
    """Segments after padding: the leaves of the proofs' tree. At least :func:`segment_count`."""
    return _ceil_div(padded_chunks(size), SEGMENT_CHUNKS)


def segment_leaves(size: int, index: int) -> int:
    """Leaves of padded segment ``index``: 1024, or the remainder in the last one."""
    remainder = padded_chunks(size) - index * SEGMENT_CHUNKS
    return min(SEGMENT_CHUNKS, remainder)


def segment_length(size: int, index: int) -> int:
    """Bytes of real segment ``index`` on the wire: the last chunk is sent whole, padding chunks are not."""
    return min(SEGMENT_BYTES, chunk_count(size) * CHUNK_BYTES - index * SEGMENT_BYTES)


def node_heights(size: int) -> tuple[int, ...]:
    """Heights of the perfect subtrees that a submission names: the set bits of ``padded_chunks``, falling."""
    return set_bits(padded_chunks(size))


def left_leaves(leaves: int) -> int:
    """Leaves of the left subtree of a tree of ``leaves`` >= 2: the largest power of two below that."""
    return 1 << ((leaves - 1).bit_length() - 1)


@dataclass(frozen=True, slots=True)
class ProofStep:
    """One step of a proof, seen from the running node.

    Attributes:
        is_left: Whether the running node is the left child.
        sibling_start: First leaf under the sibling.
        sibling_leaves: How many leaves lie under the sibling.
    """

    is_left: bool
    sibling_start: int
    sibling_leaves: int


def proof_steps(leaves: int, index: int) -> tuple[ProofStep, ...]:
    """The one valid way, bottom up, from leaf ``index`` among ``leaves`` to the root.

    Raises:
        ValueError: if there is no such leaf.
    """
    if not 0 <= index < leaves:
        raise ValueError(f"no leaf {index} in a tree of {leaves}")
    top_down: list[ProofStep] = []
    start = 0
    while leaves > 1:
        left = left_leaves(leaves)
        if index < start + left:
            top_down.append(ProofStep(True, start + left, leaves - left))
            leaves = left
        else:
            top_down.append(ProofStep(False, start, left))
            start += left
            leaves -= left
    return tuple(reversed(top_down))


def proof_path(leaves: int, index: int) -> tuple[bool, ...]:
    """The directions of :func:`proof_steps`: what travels as a proof's ``path``."""
    return tuple(step.is_left for step in proof_steps(leaves, index))
