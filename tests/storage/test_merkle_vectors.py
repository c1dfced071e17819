"""Roots, proofs, submissions and zero hashes against what real implementations recorded."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from storage_vectors import generate, load, tree_of

from armlx_chain.errors import ContentMismatch, StorageError
from armlx_chain.storage.zerog import shape
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
SMALL = [v for v in ROOTS if v["size"] <= 20 << 20]
LARGE = [v for v in ROOTS if v["size"] > 20 << 20]


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


def check_root(vector: dict[str, Any]) -> None:
    size = vector["size"]
    digest = hashlib.sha256()

    def counted() -> Any:
        for segment in segments_of(vector):
            digest.update(segment)
            yield segment

    tree = FileTree.of_segments(counted(), size)
    assert digest.hexdigest() == vector["sha256"].removeprefix("0x"), "the generator, not the tree, is wrong"
    assert tree.root.hex == vector["root"]
    assert shape.chunk_count(size) == vector["chunks"]
    assert shape.padded_chunks(size) == vector["padded_chunks"]
    assert shape.segment_count(size) == vector["segments"]
    assert shape.padded_segments(size) == vector["segments_padded"] == len(tree.segment_roots)
    assert [node.height for node in tree.submission_nodes] == vector["node_heights"]
    assert fold_nodes([node.root for node in tree.submission_nodes]) == tree.root.digest


@pytest.mark.parametrize("vector", SMALL, ids=name_of)
def test_root_equals_the_recorded_one(vector: dict[str, Any]) -> None:
    check_root(vector)


@pytest.mark.parametrize("vector", LARGE, ids=name_of)
def test_root_of_a_large_file_equals_the_recorded_one(vector: dict[str, Any]) -> None:
    check_root(vector)


def test_the_vector_file_still_has_all_its_roots() -> None:
    assert len(ROOTS) == 123


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


@pytest.mark.parametrize("vector", load("0g_proofs")["vectors"], ids=name_of)
def test_recorded_proof_is_accepted_and_equals_ours(vector: dict[str, Any]) -> None:
    data = segment_data(vector)
    assert len(data) == vector["segment_data_len"]
    root, size, index = Root.parse(vector["root"]), vector["file_size"], vector["segment_index"]
    verify_segment(root, size, index, data, proof_of(vector))
    assert shape.segment_leaves(size, index) == vector["segment_leaves"]
    tree = tree_of(vector["file_gen"], size)
    assert tree.proof(index) == proof_of(vector)


@pytest.mark.parametrize("vector", load("0g_proofs")["negative"], ids=name_of)
def test_recorded_forgery_is_rejected(vector: dict[str, Any]) -> None:
    root = Root.parse(vector["root"])
    with pytest.raises(ContentMismatch):
        verify_segment(
            root, vector["file_size"], vector["segment_index"], segment_data(vector), proof_of(vector)
        )


@pytest.mark.parametrize("vector", load("0g_submission")["vectors"], ids=name_of)
def test_submission_nodes_equal_the_recorded_ones(vector: dict[str, Any]) -> None:
    tree = tree_of(vector["gen"], vector["size"])
    recorded = [(node["root"], node["height"]) for node in vector["nodes"]]
    assert [("0x" + node.root.hex(), node.height) for node in tree.submission_nodes] == recorded
