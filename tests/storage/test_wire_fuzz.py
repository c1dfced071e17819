"""Whatever JSON a server sends, reading it ends in a value or in ``ValueError``: nothing else escapes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.storage.jsonrpc import parse_json
from armlx_chain.storage.zerog import wire
from armlx_chain.storage.zerog.merkle import FileTree

pytestmark = pytest.mark.unit

TREE = FileTree.of(b"fuzz" * 2000)
INFO = {
    "tx": {
        "streamIds": [],
        "data": [],
        "dataMerkleRoot": TREE.root.hex,
        "merkleNodes": [[n.height + 1, wire.hash_text(n.root)] for n in TREE.submission_nodes],
        "startEntryIndex": 64,
        "size": TREE.size,
        "seq": 3,
    },
    "finalized": True,
    "isCached": False,
    "uploadedSegNum": 1,
    "pruned": False,
}
SEGMENT = wire.segment_json(TREE.root, b"fuzz" * 64, 0, TREE.size, TREE.proof(0))
STATUS = {"nextTxSeq": 1, "networkIdentity": {"chainId": 1, "flowAddress": "0x" + "11" * 20}}
NODES = [{"url": "http://x", "config": {"shardId": 0, "numShard": 2}, "latency": 1, "since": 0}]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=70)
    | st.just("0x" + "11" * 32),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
READERS: list[tuple[str, Callable[[Any], Any], Any]] = [
    ("file information", lambda value: wire.parse_file_info(value, TREE.root), INFO),
    ("segment", wire.parse_segment, SEGMENT),
    ("status", wire.parse_status, STATUS),
    ("nodes", wire.parse_nodes, NODES),
    ("shard", wire.parse_shard, {"shardId": 0, "numShard": 2}),
    ("proof", wire.parse_proof, SEGMENT["proof"]),
]


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, child in inner for path in paths(child, (*here, key)))]


@pytest.mark.parametrize(("name", "read", "sample"), READERS, ids=[reader[0] for reader in READERS])
def test_the_sample_itself_is_read(name: str, read: Callable[[Any], Any], sample: Any) -> None:
    assert read(sample) is not None


@pytest.mark.parametrize(("name", "read", "sample"), READERS, ids=[reader[0] for reader in READERS])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_sample_with_any_part_replaced_is_read_or_refused(
    name: str, read: Callable[[Any], Any], sample: Any, data: st.DataObject
) -> None:
    changed = copy.deepcopy(sample)
    *way, last = data.draw(st.sampled_from([path for path in paths(sample) if path]))
    place = changed
    for key in way:
        place = place[key]
    place[last] = data.draw(JSON)
    try:
        read(changed)
    except ValueError:
        return


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_json_or_refused(data: bytes) -> None:
    try:
        parse_json(data)
    except ValueError:
        return
