"""What a storage node checks when a segment arrives, in its order and with its words. Pure.

Clients react to these texts, so they are the real node's, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from armlx_chain.storage.zerog import shape, wire
from armlx_chain.storage.zerog.keccak import keccak256
from armlx_chain.storage.zerog.localnode.rpc import failure, internal_error, invalid_params, undecodable
from armlx_chain.storage.zerog.merkle import SegmentProof, segment_root, zero_segments_root
from armlx_chain.storage.zerog.submission import Submission

__all__ = ["MAX_CACHED_FILE", "Arrival", "check_arrival", "check_file", "decode_arrival"]

MAX_CACHED_FILE = 10 << 20
"""Largest file of which segments are taken before its submission is known."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An uploaded segment, not yet proven."""

    root: bytes
    data: bytes
    index: int
    size: int
    proof: SegmentProof


def decode_arrival(value: Any) -> Arrival:
    """Read an uploaded segment (step 1).

    Raises:
        DevnetRpcError: for anything that is no segment.
    """
    try:
        served = wire.parse_segment(value)
    except ValueError as error:
        raise undecodable(str(error)) from error
    if not served.data:
        raise failure("data is empty")
    if len(served.data) % shape.CHUNK_BYTES:
        raise failure("invalid data length")
    return Arrival(served.root, bytes(served.data), served.index, served.size, served.proof)


def check_file(
    arrival: Arrival, submission: Submission | None, *, finalized: bool, pruned: bool = False
) -> None:
    """Steps 2 and 3: does the segment fit the submission, and is it still wanted?"""
    if submission is None:
        if arrival.size > MAX_CACHED_FILE:
            raise invalid_params("file_size", "caching of large file when tx is unavailable is not supported")
        return
    if submission.root != arrival.root:
        raise internal_error("data root and tx seq not match")
    if arrival.size != submission.size:
        raise invalid_params("file_size", "segment file size not matched with tx file size")
    if finalized:
        raise invalid_params("root", "already uploaded and finalized")
    if pruned:
        raise invalid_params("root", "already pruned")


def check_arrival(arrival: Arrival) -> None:
    """Steps 4 and 5: index, length and proof.

    Raises:
        DevnetRpcError: with the real node's code and text.
    """
    if arrival.size == 0:
        raise invalid_params("file_size", "file is empty")
    if arrival.index >= shape.segment_count(arrival.size):
        raise invalid_params("index", "index out of bound")
    if len(arrival.data) != shape.segment_length(arrival.size, arrival.index):
        raise invalid_params("data", "invalid data length")
    leaves = shape.padded_segments(arrival.size)
    _check_position(arrival.proof, leaves, arrival.index)
    _check_fold(arrival)
    _check_padding(arrival, leaves)


def _check_position(proof: SegmentProof, leaves: int, index: int) -> None:
    lemma, path = proof.lemma, proof.path
    if len(lemma) != (len(path) + 2 if path else 1):
        raise invalid_params("proof", "invalid proof")
    start = 0
    for is_left in reversed(path):
        if leaves == 1:
            raise failure("Proof path too long")
        left = shape.left_leaves(leaves)
        if is_left:
            leaves = left
        else:
            start += left
            leaves -= left
    if leaves != 1:
        raise failure("Proof path too short")
    if start != index:
        raise failure(f"wrong position: proof is for {start}, segment is {index}")


def _check_fold(arrival: Arrival) -> None:
    proof = arrival.proof
    running = proof.lemma[0]
    for sibling, is_left in zip(proof.lemma[1:-1], proof.path, strict=True):
        running = keccak256(running + sibling if is_left else sibling + running)
    if running != proof.lemma[-1]:
        raise invalid_params("proof", "validation failed")
    if proof.lemma[-1] != arrival.root:
        expected, actual = wire.hash_text(arrival.root), wire.hash_text(proof.lemma[-1])
        raise failure(f"root mismatch, expected: {expected}, actual: {actual}")
    leaf = segment_root(arrival.data, shape.segment_leaves(arrival.size, arrival.index))
    if leaf != proof.lemma[0]:
        raise failure(
            f"data hash mismatch: expected: {wire.hash_text(proof.lemma[0])}, actual: {wire.hash_text(leaf)}"
        )


def _check_padding(arrival: Arrival, leaves: int) -> None:
    real = shape.segment_count(arrival.size)
    steps = shape.proof_steps(leaves, arrival.index)
    for step, sibling in zip(steps, arrival.proof.lemma[1:-1], strict=True):
        if step.sibling_start >= real and sibling != zero_segments_root(step.sibling_leaves):
            raise invalid_params("proof", "invalid proof node value in the padding range")
