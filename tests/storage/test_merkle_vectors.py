"""Roots, proofs, submissions and zero hashes against what real implementations recorded."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any, Final

import pytest
from storage_vectors import generate, lane_engine, load, tree_of

from armlx_chain.errors import ContentMismatch, StorageError
from armlx_chain.storage.zerog import shape
from armlx_chain.storage.zerog.engine import PLAIN, Engine
from armlx_chain.storage.zerog.filehash import TreeHasher, root_of_file, tree_of_file
from armlx_chain.storage.zerog.merkle import (
    ZERO_HASHES,
    FileTree,
    SegmentProof,
    fold_nodes,
    root_of,
    verify_segment,
)
from armlx_chain.types import Root

pytestmark = pytest.mark.unit

ROOTS = [v for v in load("0g_roots")["vectors"] if v["size"]]


def name_of(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def segments_of(vector: dict[str, Any]) -> Any:
    if vector["gen"] == "idx":  # half a gigabyte need not be in memory at once
        for at in range(0, vector["size"], shape.SEGMENT_BYTES):
            yield generate("idx", min(shape.SEGMENT_BYTES, vector["size"] - at), at)
        return
    data = generate(vector["gen"], vector["size"])
    for at in range(0, len(data), shape.SEGMENT_BYTES):
        yield data[at : at + shape.SEGMENT_BYTES]


class Pieces:
    """A stream of a vector's bytes that hands out as much as it likes."""

    def __init__(self, vector: dict[str, Any]) -> None:
        self._segments = segments_of(vector)
        self._rest = memoryview(b"")
        self._random = random.Random(vector["name"])
        self.digest = hashlib.sha256()

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._segments, b""))
        view = memoryview(buffer)
        count = min(len(view), len(self._rest), self._random.choice([1, 255, 256, 257, 70_000, 1 << 18]))
        view[:count] = self._rest[:count]
        self.digest.update(self._rest[:count])
        self._rest = self._rest[count:]
        return count

    def pieces(self) -> Iterator[bytes]:
        """Pieces of other lengths, empty ones among them."""
        block = bytearray(1 << 20)
        while count := self.readinto(memoryview(block)[: self._random.choice([1, 999, 300_000, 1 << 20])]):
            yield bytes(block[:count])
            if self._random.random() < 0.1:
                yield b""


def by_segments(vector: dict[str, Any], engine: Engine) -> tuple[FileTree, str]:
    digest = hashlib.sha256()

    def counted() -> Any:
        for segment in segments_of(vector):
            digest.update(segment)
            yield segment

    return FileTree.of_segments(counted(), vector["size"], engine), digest.hexdigest()


def by_plain_hashes(vector: dict[str, Any]) -> tuple[FileTree, str]:
    return by_segments(vector, PLAIN)


def by_the_kernel(vector: dict[str, Any]) -> tuple[FileTree, str]:
    return by_segments(vector, lane_engine())


def by_pieces(vector: dict[str, Any]) -> tuple[FileTree, str]:
    source, hasher = Pieces(vector), TreeHasher(lane_engine())
    for piece in source.pieces():
        hasher.update(piece)
    assert hasher.size == vector["size"]
    return hasher.finish(), source.digest.hexdigest()


def by_stream(vector: dict[str, Any]) -> tuple[FileTree, str]:
    source = Pieces(vector)
    return tree_of_file(source, threads=2, engine=lane_engine()), source.digest.hexdigest()


WAYS = (by_plain_hashes, by_the_kernel, by_pieces, by_stream)
SUBMITTED = {(v["gen"], v["size"]): v["nodes"] for v in load("0g_submission")["vectors"]}


WORTH_PLAIN_HASHES: Final = 40 << 20
"""Beyond this many bytes a tree has no new shape, and hashing chunk by chunk in Python takes a minute in all:
the largest vectors are for the other three ways."""
TRIED = [
    pytest.param(vector, way, id=f"{way.__name__.replace('_', ' ')}-{name_of(vector)}")
    for way in WAYS
    for vector in ROOTS
    if way is not by_plain_hashes or vector["size"] <= WORTH_PLAIN_HASHES
]


@pytest.mark.parametrize(("vector", "way"), TRIED)
def test_tree_equals_the_recorded_one(vector: dict[str, Any], way: Any) -> None:
    size = vector["size"]
    tree, digest = way(vector)
    assert digest == vector["sha256"].removeprefix("0x"), "the generator, not the tree, is wrong"
    assert tree.root.hex == vector["root"]
    assert tree.size == size
    assert shape.chunk_count(size) == vector["chunks"]
    assert shape.padded_chunks(size) == vector["padded_chunks"]
    assert shape.segment_count(size) == vector["segments"]
    assert shape.padded_segments(size) == vector["segments_padded"] == len(tree.segment_roots)
    nodes = tree.submission_nodes
    assert [node.height for node in nodes] == vector["node_heights"]
    assert fold_nodes([node.root for node in nodes]) == tree.root.digest
    if recorded := SUBMITTED.get((vector["gen"], size)):
        assert [("0x" + node.root.hex(), node.height) for node in nodes] == [
            (node["root"], node["height"]) for node in recorded
        ]


@pytest.mark.parametrize("vector", ROOTS, ids=name_of)
def test_root_alone_needs_no_tree(vector: dict[str, Any]) -> None:
    root, size = root_of_file(Pieces(vector), engine=lane_engine())
    assert (root.hex, size) == (vector["root"], vector["size"])


def test_the_vector_files_still_have_all_their_roots_and_submissions() -> None:
    assert len(ROOTS) == 123
    assert len(load("0g_submission")["vectors"]) == len(SUBMITTED) == 121
    assert set(SUBMITTED) <= {(v["gen"], v["size"]) for v in ROOTS}


@pytest.mark.parametrize("vector", load("0g_roots")["live"], ids=name_of)
def test_root_equals_the_one_observed_on_the_live_network(vector: dict[str, Any]) -> None:
    data = generate(vector["gen"], vector["size"])
    assert len(data) == vector["size"]
    assert root_of(data).hex == vector["root"]


def test_an_empty_file_has_no_root() -> None:
    with pytest.raises(StorageError, match="empty file"):
        root_of(b"")


def test_families_of_files_that_differ_by_trailing_zeros_share_one_root() -> None:
    by_name = {v["name"]: v for v in ROOTS}
    families = load("0g_roots")["same_root_families"]
    assert families
    for family in families:
        roots = {root_of(generate(by_name[n]["gen"], by_name[n]["size"])) for n in family}
        assert len(roots) == 1
        assert len({by_name[n]["size"] for n in family}) == len(family)


def test_zero_hashes_equal_the_constants_of_the_flow_contract() -> None:
    assert ["0x" + h.hex() for h in ZERO_HASHES] == load("0g_zero_hashes")["zero"]


def proof_of(vector: dict[str, Any]) -> SegmentProof:
    return SegmentProof(tuple(bytes.fromhex(h[2:]) for h in vector["lemma"]), tuple(vector["path"]))


def segment_data(vector: dict[str, Any]) -> bytes:
    size, at = vector["file_size"], vector["segment_byte_offset"]
    data = generate(vector["file_gen"], size)[at : at + shape.SEGMENT_BYTES]
    data += bytes(-len(data) % shape.CHUNK_BYTES)
    mutation = vector.get("segment_data_mutation", "")
    if mutation.startswith("xor"):
        place = 131072
        data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    elif mutation == "all bytes 0x41":
        data = b"A" * len(data)
    elif mutation == "drop the last 256 bytes":
        data = data[:-256]
    elif mutation == "append 256 zero bytes":
        data += bytes(256)
    else:
        assert not mutation
    return data


@pytest.fixture(params=["plain hashes", "the kernel"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return PLAIN if request.param == "plain hashes" else lane_engine()


@pytest.mark.parametrize("vector", load("0g_proofs")["vectors"], ids=name_of)
def test_recorded_proof_is_accepted_and_equals_ours(vector: dict[str, Any], engine: Engine) -> None:
    data = segment_data(vector)
    assert len(data) == vector["segment_data_len"]
    root, size, index = Root.parse(vector["root"]), vector["file_size"], vector["segment_index"]
    verify_segment(root, size, index, data, proof_of(vector), engine)
    assert shape.segment_leaves(size, index) == vector["segment_leaves"]
    tree = tree_of(vector["file_gen"], size)
    assert tree.proof(index) == proof_of(vector)


@pytest.mark.parametrize("vector", load("0g_proofs")["negative"], ids=name_of)
def test_recorded_forgery_is_rejected(vector: dict[str, Any], engine: Engine) -> None:
    root, size, index = Root.parse(vector["root"]), vector["file_size"], vector["segment_index"]
    with pytest.raises(ContentMismatch):
        verify_segment(root, size, index, segment_data(vector), proof_of(vector), engine)
