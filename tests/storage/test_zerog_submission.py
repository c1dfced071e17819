"""Calldata, fee, identity and event against what the real SDK and contracts produced; shard covers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_vectors import generate, load, tree_of

from armlx_chain.storage.zerog.keccak import keccak256
from armlx_chain.storage.zerog.merkle import FileTree
from armlx_chain.storage.zerog.shards import covers, select_cover
from armlx_chain.storage.zerog.submission import (
    SUBMIT_TOPIC,
    fee_of,
    identity_of,
    parse_submit_event,
    submit_calldata,
)
from armlx_chain.storage.zerog.wire import ShardConfig
from armlx_chain.types import Address, Wei

pytestmark = pytest.mark.unit

VECTORS = load("0g_submission")
PRICE = Wei(VECTORS["price_per_sector_wei"])


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["vectors"] if v["size"] <= 20 << 20], ids=lambda v: str(v["name"])
)
def test_calldata_fee_and_identity_equal_the_recorded_ones(vector: dict[str, Any]) -> None:
    tree = tree_of(vector["gen"], vector["size"])
    nodes = tree.submission_nodes
    assert sum(1 << node.height for node in nodes) == vector["sectors"]
    assert fee_of(nodes, PRICE) == int(vector["fee_wei_at_30733644962"])
    assert "0x" + identity_of(nodes).hex() == vector["identity_keccak_of_concatenated_node_roots"]
    tags = bytes.fromhex(vector["tags"][2:])
    calldata = submit_calldata(tree, Address(vector["submitter"]), tags=tags)
    assert calldata[:4].hex() == VECTORS["selector"][2:]
    assert "0x" + keccak256(calldata).hex() == vector["submit_calldata_keccak256"]
    if "submit_calldata" in vector:
        assert "0x" + calldata.hex() == vector["submit_calldata"]


def test_the_recorded_submit_log_is_read() -> None:
    log = load("0g_flow")["raw_submit_log"]
    assert log["topics"][0] == "0x" + SUBMIT_TOPIC.hex()
    submission = parse_submit_event(bytes.fromhex(log["data"][2:]))
    assert (submission.seq, submission.start, submission.size) == (30, 0x21004A, 257)
    assert submission.root == FileTree.of(generate("sha256ctr:0g-vec", 257)).root.digest


@given(data=st.binary(max_size=700))
def test_bytes_that_are_no_event_are_a_value_error_and_nothing_else(data: bytes) -> None:
    try:
        parse_submit_event(data)
    except ValueError:
        return


@given(data=st.data())
def test_a_spoiled_event_is_read_or_is_a_value_error(data: st.DataObject) -> None:
    log = bytearray.fromhex(load("0g_flow")["raw_submit_log"]["data"][2:])
    for _ in range(data.draw(st.integers(1, 4))):
        log[data.draw(st.integers(0, len(log) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_submit_event(bytes(log))
    except ValueError:
        return


SHARDS = st.lists(
    st.integers(0, 4).flatmap(
        lambda bits: st.builds(ShardConfig, st.integers(0, (1 << bits) - 1), st.just(1 << bits))
    ),
    max_size=14,
)


@given(shards=SHARDS, replicas=st.integers(1, 3))
def test_a_cover_holds_every_residue_as_often_as_asked_and_exists_if_it_can(
    shards: list[ShardConfig], replicas: int
) -> None:
    def held(chosen: list[ShardConfig]) -> int:
        return min(sum(shard.holds(segment) for shard in chosen) for segment in range(16))

    chosen = select_cover([(shard, shard) for shard in shards], replicas)
    if chosen:
        assert held(chosen) >= replicas
        assert covers(chosen, range(64))
    elif shards:
        assert held(shards) < replicas


def test_nodes_that_add_nothing_are_left_out() -> None:
    half, other, whole = ShardConfig(0, 2), ShardConfig(1, 2), ShardConfig(0, 1)
    assert select_cover([("a", half), ("b", half), ("c", other), ("d", whole)]) == ["a", "c"]
    assert select_cover([("d", whole), ("a", half)]) == ["d"]
    assert select_cover([("a", half), ("b", half)]) == []
    assert select_cover([]) == []
