"""Laws of the tree, against a naive recursive reference that shares no code with it."""

from __future__ import annotations

import pytest
from Crypto.Hash import keccak as reference_keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.errors import ContentMismatch
from armlx_chain.storage.zerog import shape
from armlx_chain.storage.zerog.merkle import FileTree, SegmentProof, fold_nodes, root_of, verify_segment

pytestmark = pytest.mark.unit

SEGMENT = 262144
SIZES = st.one_of(
    st.integers(1, 6000),
    st.integers(1, 9).flatmap(lambda k: st.integers(max(1, k * 4096 - 3), k * 4096 + 3)),
    st.integers(0, 13).flatmap(lambda k: st.integers(max(1, (256 << k) - 2), (256 << k) + 2)),
    st.sampled_from([SEGMENT - 1, SEGMENT + 1, 2 * SEGMENT + 1, 5 * SEGMENT - 7, 6 * SEGMENT + 300]),
)


def keccak(data: bytes) -> bytes:
    return bytes(reference_keccak.new(digest_bits=256, data=data).digest())


ZERO_LEAF = keccak(bytes(256))


def reference_padded(size: int) -> int:
    chunks = (size + 255) // 256
    power = 1
    while power < chunks:
        power *= 2
    if power == chunks:
        return chunks
    unit = power // 16 if power >= 16 else 1
    while chunks % unit:
        chunks += 1
    return chunks


def reference_tree(leaves: list[bytes]) -> bytes:
    """Left subtree = the largest power of two strictly below the leaf count, recursively."""
    if len(leaves) == 1:
        return leaves[0]
    left = 1
    while left * 2 < len(leaves):
        left *= 2
    return keccak(reference_tree(leaves[:left]) + reference_tree(leaves[left:]))


def reference_root(data: bytes) -> bytes:
    padded = reference_padded(len(data))
    chunks = [data[i : i + 256].ljust(256, b"\0") for i in range(0, len(data), 256)]
    seen: dict[bytes, bytes] = {}
    leaves = [seen.setdefault(c, keccak(c)) if c not in seen else seen[c] for c in chunks]
    return reference_tree(leaves + [ZERO_LEAF] * (padded - len(leaves)))


def content(size: int, seed: bytes) -> bytes:
    """Cheap to hash twice: few distinct chunks, but every position matters."""
    block = (seed * 256)[:251] or b"x" * 251
    data = bytearray((block * (size // 251 + 1))[:size])
    data[-1] |= 1
    return bytes(data)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, seed=st.binary(min_size=1, max_size=16))
def test_three_constructions_equal_the_recursive_reference(size: int, seed: bytes) -> None:
    data = content(size, seed)
    want = reference_root(data)
    tree = FileTree.of(data)
    assert tree.root.digest == want
    assert fold_nodes([node.root for node in tree.submission_nodes]) == want
    assert reference_tree(list(tree.segment_roots)) == want
    assert sum(1 << node.height for node in tree.submission_nodes) == reference_padded(size)


@settings(max_examples=40, deadline=None)
@given(size=SIZES, seed=st.binary(min_size=1, max_size=8))
def test_every_segment_has_a_proof_that_verifies(size: int, seed: bytes) -> None:
    data = content(size, seed)
    tree = FileTree.of(data)
    for index in range(shape.segment_count(size)):
        segment = data[index * SEGMENT : (index + 1) * SEGMENT]
        segment += bytes(-len(segment) % 256)
        verify_segment(tree.root, size, index, segment, tree.proof(index))


MULTI = content(5 * SEGMENT + 777, b"multi")
MULTI_TREE = FileTree.of(MULTI)


def multi_segment(index: int) -> bytes:
    segment = MULTI[index * SEGMENT : (index + 1) * SEGMENT]
    return segment + bytes(-len(segment) % 256)


@settings(max_examples=60, deadline=None)
@given(index=st.integers(0, 5), place=st.integers(0, SEGMENT - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(index: int, place: int, bit: int) -> None:
    data = bytearray(multi_segment(index))
    data[place % len(data)] ^= 1 << bit
    with pytest.raises(ContentMismatch):
        verify_segment(MULTI_TREE.root, len(MULTI), index, bytes(data), MULTI_TREE.proof(index))


@settings(max_examples=80, deadline=None)
@given(index=st.integers(0, 5), choice=st.data())
def test_any_change_to_a_proof_is_refused(index: int, choice: st.DataObject) -> None:
    proof = MULTI_TREE.proof(index)
    lemma, path = list(proof.lemma), list(proof.path)
    kind = choice.draw(
        st.sampled_from(["flip", "drop", "repeat", "turn", "shorter path", "longer path", "long"])
    )
    at = choice.draw(st.integers(0, len(lemma) - 1))
    step = choice.draw(st.integers(0, len(path) - 1))
    if kind == "flip":
        lemma[at] = bytes([lemma[at][0] ^ 1]) + lemma[at][1:]
    elif kind == "drop":
        del lemma[at]
    elif kind == "repeat":
        lemma.insert(at, lemma[at])
    elif kind == "turn":
        path[step] = not path[step]
    elif kind == "shorter path":
        del path[step]
        del lemma[1]
    elif kind == "longer path":
        path.append(True)
        lemma.insert(1, lemma[1])
    else:
        lemma[at] += b"\0"
    with pytest.raises(ContentMismatch):
        forged = SegmentProof(tuple(lemma), tuple(path))
        verify_segment(MULTI_TREE.root, len(MULTI), index, multi_segment(index), forged)


@settings(max_examples=40, deadline=None)
@given(index=st.integers(0, 5), other=st.integers(0, 5))
def test_a_segment_is_refused_at_every_index_but_its_own(index: int, other: int) -> None:
    if index == other:
        return
    with pytest.raises(ContentMismatch):
        verify_segment(MULTI_TREE.root, len(MULTI), other, multi_segment(index), MULTI_TREE.proof(index))


@pytest.mark.parametrize("index", [-1, 6, 7, 1 << 62])
def test_padding_and_impossible_segments_are_refused(index: int) -> None:
    with pytest.raises(ContentMismatch, match="no such segment"):
        verify_segment(MULTI_TREE.root, len(MULTI), index, b"", SegmentProof((), ()))


def test_nonzero_bytes_after_the_end_are_refused() -> None:
    data = b"A" * 1000
    longer = data + b"B" * 24
    tree = FileTree.of(longer)
    with pytest.raises(ContentMismatch, match="not zero"):
        verify_segment(tree.root, 1000, 0, longer, tree.proof(0))


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 5000), extra=st.integers(0, 400))
def test_trailing_zeros_within_the_padding_are_the_only_freedom_of_the_root(size: int, extra: int) -> None:
    data = content(size, b"tail")
    same = reference_padded(size) == reference_padded(size + extra)
    assert (root_of(data + bytes(extra)) == root_of(data)) is same


def test_a_shorter_length_inside_the_same_padding_cannot_hide_content_in_the_siblings() -> None:
    """A 44-segment file claimed to have 41: both are padded to 44, and every fold still leads to the root."""
    data = content(44 * SEGMENT, b"hidden")
    tree, claimed = FileTree.of(data), 41 * SEGMENT
    assert shape.padded_segments(claimed) == shape.padded_segments(len(data)) == 44
    with pytest.raises(ContentMismatch, match="hides content"):
        verify_segment(tree.root, claimed, 40, data[40 * SEGMENT : 41 * SEGMENT], tree.proof(40))
