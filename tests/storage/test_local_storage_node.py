"""The local storage node over HTTP: shapes, nulls, refusals and their texts, restart, reorganisation."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from storage_sims import ACCOUNT, FLOW, SEGMENT, SimChain

from armlx_chain.storage.zerog.keccak import keccak256
from armlx_chain.storage.zerog.localnode import LocalStorageNode
from armlx_chain.storage.zerog.merkle import ZERO_HASHES, FileTree
from armlx_chain.storage.zerog.submission import submit_calldata

pytestmark = pytest.mark.integration

BIG = bytes(itertools.islice(itertools.cycle(range(251)), 4 * SEGMENT + 777))
SMALL = b"small " * 700
FAST = 0.03


class World:
    """A chain, a node and a way to speak to it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.options = options
        self.chain = SimChain()
        self.node = self._start()

    def _start(self) -> LocalStorageNode:
        return LocalStorageNode(self.folder, self.chain.url, FLOW, poll_seconds=FAST, **self.options).start()

    def restart(self) -> None:
        self.node.stop()
        self.node = self._start()

    def stop(self) -> None:
        self.node.stop()
        self.chain.stop()

    def post(self, document: Any, *, url: str | None = None) -> Any:
        return requests.post(url or self.node.url, json=document, timeout=10)

    def call(self, method: str, *params: Any, url: str | None = None) -> Any:
        answer = self.post(
            {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}, url=url
        ).json()
        assert answer["id"] == 1
        if "error" in answer:
            error = answer["error"]
            return (error["code"], error["message"], error.get("data"))
        return answer["result"]

    def announce(self, data: bytes) -> int:
        seq = self.chain.submit(submit_calldata(FileTree.of(data), ACCOUNT))
        self.node.sync()
        return seq

    def store(self, data: bytes) -> int:
        seq = self.announce(data)
        for url in self.node.node_urls:
            assert self.call("zgs_uploadSegmentsByTxSeq", all_segments(data), seq, url=url) is None
        return seq

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.node.url + path, timeout=10, **options)


def segment(content: bytes, number: int, /, **changes: Any) -> dict[str, Any]:
    tree = FileTree.of(content)
    proof = tree.proof(number)
    piece = content[number * SEGMENT : (number + 1) * SEGMENT]
    return {
        "root": tree.root.hex,
        "data": base64.b64encode(piece + bytes(-len(piece) % 256)).decode(),
        "index": number,
        "proof": {"lemma": ["0x" + h.hex() for h in proof.lemma], "path": list(proof.path)},
        "fileSize": len(content),
        **changes,
    }


def all_segments(data: bytes) -> list[dict[str, Any]]:
    return [segment(data, index) for index in range(-(-len(data) // SEGMENT))]


def root_of(data: bytes) -> str:
    return FileTree.of(data).root.hex


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "node")
    yield made
    made.stop()


# --- JSON-RPC -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_id", [17293822569102704640, (1 << 53) + 1, 0, "text", "", None])
def test_an_id_comes_back_exactly(world: World, call_id: Any) -> None:
    body = f'{{"jsonrpc":"2.0","id":{json.dumps(call_id)},"method":"zgs_getShardConfig"}}'
    headers = {"Content-Type": "application/json"}
    text = requests.post(world.node.url, data=body, headers=headers, timeout=10).text
    assert json.loads(text) == {"jsonrpc": "2.0", "result": {"shardId": 0, "numShard": 1}, "id": call_id}
    assert json.dumps(call_id) in text


def test_a_batch_is_answered_in_order_and_a_notification_is_not(world: World) -> None:
    calls = [
        {"jsonrpc": "2.0", "id": "a", "method": "zgs_getShardConfig", "params": []},
        {"jsonrpc": "2.0", "method": "zgs_getShardConfig"},
        {"jsonrpc": "2.0", "id": "b", "method": "nonsense"},
        {"jsonrpc": "2.0", "id": "c", "method": "eth_chainId"},
    ]
    answers = world.post(calls).json()
    assert [answer["id"] for answer in answers] == ["a", "b", "c"]
    assert answers[1]["error"] == {"code": -32601, "message": "Method not found"}
    assert answers[2]["result"] == hex(31337)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"", -32700),
        (b"\xff", -32700),
        (b"[" * 100_000, -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b'{"id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"zgs_getStatus"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"zgs_getStatus"}', -32600),
    ],
)
def test_what_is_no_request_is_refused_with_a_null_id(world: World, body: bytes, code: int) -> None:
    headers = {"Content-Type": "application/json"}
    answer = requests.post(world.node.url, data=body, headers=headers, timeout=10)
    assert answer.status_code == 200
    assert (answer.json()["error"]["code"], answer.json()["id"]) == (code, None)


def test_other_content_types_and_methods_are_refused(world: World) -> None:
    text = {"Content-Type": "text/plain"}
    assert requests.post(world.node.url, data=b"{}", headers=text, timeout=10).status_code == 415
    assert world.get("/").status_code == 405
    assert requests.options(world.node.url, timeout=10).headers["Access-Control-Allow-Origin"] == "*"


def test_calls_of_the_chain_are_passed_on_and_its_silence_is_an_error(world: World) -> None:
    assert world.call("eth_blockNumber") == "0x0"
    world.chain.down = True
    assert world.call("eth_blockNumber")[0] == -32603


# --- file information ---------------------------------------------------------------------------------


def test_status_names_the_chain_and_the_flow(world: World) -> None:
    world.announce(SMALL)
    status = world.call("zgs_getStatus")
    assert status["networkIdentity"]["chainId"] == 31337
    assert status["networkIdentity"]["flowAddress"] == FLOW.lower()
    assert (status["nextTxSeq"], status["logSyncHeight"], status["connectedPeers"]) == (1, 1, 0)
    assert status["logSyncBlock"] == world.chain.blocks[-1]["hash"]


def test_an_unknown_file_is_null_everywhere_but_at_the_indexer(world: World) -> None:
    root = root_of(b"nobody")
    assert world.call("zgs_getFileInfo", root, True) is None
    assert world.call("zgs_getFileInfoByTxSeq", 0) is None
    assert world.call("zgs_checkFileFinalized", root) is None
    assert world.call("zgs_checkFileFinalized", 0) is None
    assert world.call("zgs_downloadSegment", root, 0, 1) is None
    assert world.call("zgs_downloadSegmentWithProofByTxSeq", 0, 0) is None
    assert world.call("indexer_getFileLocations", root) == (-32000, "file not found", None)


def test_file_information_has_the_recorded_shape_and_follows_the_upload(world: World) -> None:
    seq = world.announce(BIG)
    tree = FileTree.of(BIG)
    info = world.call("zgs_getFileInfo", tree.root.hex, True)
    assert info == {
        "tx": {
            "streamIds": [],
            "data": [],
            "dataMerkleRoot": tree.root.hex,
            "merkleNodes": [[n.height + 1, "0x" + n.root.hex()] for n in tree.submission_nodes],
            "startEntryIndex": 4096,
            "size": len(BIG),
            "seq": seq,
        },
        "finalized": False,
        "isCached": False,
        "uploadedSegNum": 0,
        "pruned": False,
    }
    assert world.call("indexer_getFileLocations", tree.root.hex) is None
    assert world.call("zgs_uploadSegmentByTxSeq", segment(BIG, 1), seq) is None
    assert world.call("zgs_getFileInfoByTxSeq", seq)["uploadedSegNum"] == 0
    assert world.call("zgs_uploadSegment", segment(BIG, 0)) is None
    assert world.call("zgs_getFileInfoByTxSeq", seq)["uploadedSegNum"] == 2
    assert world.call("zgs_uploadSegmentsByTxSeq", all_segments(BIG), seq) is None
    info = world.call("zgs_getFileInfo", tree.root.hex, False)
    assert (info["finalized"], info["uploadedSegNum"]) == (True, 5)
    assert world.call("zgs_checkFileFinalized", tree.root.hex) is True
    assert world.call("zgs_checkFileFinalized", seq) is True
    (location,) = world.call("indexer_getFileLocations", tree.root.hex)
    assert location == {
        "url": world.node.url,
        "config": {"shardId": 0, "numShard": 1},
        "latency": 0,
        "since": 0,
    }


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("zgs_getFileInfo", ["0x12", True]),
        ("zgs_getFileInfo", ["0x" + "11" * 32]),
        ("zgs_getFileInfo", ["0x" + "11" * 32, 1]),
        ("zgs_getFileInfo", []),
        ("zgs_getFileInfoByTxSeq", ["0"]),
        ("zgs_getFileInfoByTxSeq", [-1]),
        ("zgs_getFileInfoByTxSeq", [True]),
        ("zgs_checkFileFinalized", [None]),
        ("zgs_downloadSegment", ["0x" + "11" * 32, 0]),
        ("zgs_uploadSegments", [{}]),
        ("zgs_uploadSegment", [{}]),
        ("zgs_uploadSegment", ["text"]),
        ("indexer_getFileLocations", []),
        ("indexer_getSelectedNodes", [1]),
    ],
)
def test_parameters_that_cannot_be_read_are_invalid(world: World, method: str, params: list[Any]) -> None:
    answer = world.call(method, *params)
    assert (answer[0], answer[1]) == (-32602, "Invalid params")


# --- download -----------------------------------------------------------------------------------------


def test_chunks_and_proven_segments_are_served_as_they_are(world: World) -> None:
    seq = world.store(BIG)
    root = root_of(BIG)
    padded = BIG + bytes(-len(BIG) % 256)
    for start, end in [(0, 1), (1, 1025), (1000, 1100), (4096, 4100), (0, 1024)]:
        text = world.call("zgs_downloadSegmentByTxSeq", seq, start, end)
        assert base64.b64decode(text) == padded[start * 256 : end * 256]
        assert world.call("zgs_downloadSegment", root, start, end) == text
    for index in range(5):
        assert world.call("zgs_downloadSegmentWithProof", root, index) == segment(BIG, index)
        assert world.call("zgs_downloadSegmentWithProofByTxSeq", seq, index) == segment(BIG, index)


@pytest.mark.parametrize(
    ("method", "params", "refusal"),
    [
        (
            "zgs_downloadSegmentByTxSeq",
            [0, 5, 5],
            (-32602, "Invalid params: end_index", "invalid chunk index"),
        ),
        (
            "zgs_downloadSegmentByTxSeq",
            [0, 0, 1025],
            (-32602, "Invalid params: end_index", "exceeds maximum chunks 1024"),
        ),
        (
            "zgs_downloadSegmentByTxSeq",
            [0, 16, 18],
            (-32000, "end entry index exceeds tx size: end=18 tx size=17", None),
        ),
        (
            "zgs_downloadSegmentWithProofByTxSeq",
            [0, 1],
            (-32602, "Invalid params: index", "index out of bound"),
        ),
    ],
)
def test_downloads_out_of_range_are_refused_in_the_nodes_words(
    world: World, method: str, params: list[Any], refusal: Any
) -> None:
    world.store(SMALL)
    assert world.call(method, *params) == refusal


# --- upload: the order of checks and the texts --------------------------------------------------------


def lemma(data: bytes, index: int, place: int, value: str) -> dict[str, Any]:
    made = segment(data, index)
    made["proof"]["lemma"][place] = value
    return made


def path(data: bytes, index: int, change: Callable[[list[bool]], list[bool]]) -> dict[str, Any]:
    made = segment(data, index)
    made["proof"]["path"] = change(made["proof"]["path"])
    count = len(made["proof"]["path"])
    made["proof"]["lemma"] = (made["proof"]["lemma"] * 3)[: count + 2]
    return made


OTHER = "0x" + "ab" * 32
PADDED = bytes(itertools.islice(itertools.cycle(range(249)), 41 * SEGMENT))


def padding_forgery() -> dict[str, Any]:
    """A proof of a 44-segment file, claimed for a file of 41 segments with the same root."""
    longer = PADDED + PADDED[: 3 * SEGMENT]
    made = segment(longer, 40)
    return {**made, "fileSize": len(PADDED)}


REFUSALS: list[tuple[str, Callable[[], dict[str, Any]], Any]] = [
    ("not base64", lambda: segment(BIG, 0, data="%"), (-32602, "Invalid params", "data is not base64")),
    ("empty data", lambda: segment(BIG, 0, data=""), (-32000, "data is empty", None)),
    ("odd length", lambda: segment(BIG, 0, data="QUJD"), (-32000, "invalid data length", None)),
    (
        "another root than the submission's",
        lambda: segment(BIG, 0, root=OTHER),
        (-32603, "Internal error", "data root and tx seq not match"),
    ),
    (
        "another size than the submission's",
        lambda: segment(BIG, 0, fileSize=len(BIG) + 1),
        (-32602, "Invalid params: file_size", "segment file size not matched with tx file size"),
    ),
    (
        "an index beyond the end",
        lambda: segment(BIG, 0, index=5),
        (-32602, "Invalid params: index", "index out of bound"),
    ),
    (
        "a segment that is too short",
        lambda: segment(BIG, 0, data=base64.b64encode(bytes(256)).decode()),
        (-32602, "Invalid params: data", "invalid data length"),
    ),
    (
        "a proof without hashes",
        lambda: segment(BIG, 0, proof={"lemma": [], "path": []}),
        (-32602, "Invalid params: proof", "invalid proof"),
    ),
    ("a longer path", lambda: path(BIG, 4, lambda p: [True, *p]), (-32000, "Proof path too long", None)),
    ("a shorter path", lambda: path(BIG, 0, lambda p: p[1:]), (-32000, "Proof path too short", None)),
    (
        "an altered sibling",
        lambda: lemma(BIG, 0, 1, OTHER),
        (-32602, "Invalid params: proof", "validation failed"),
    ),
]


@pytest.mark.parametrize(("name", "make", "refusal"), REFUSALS, ids=[case[0] for case in REFUSALS])
def test_an_upload_is_refused_in_the_nodes_words(
    world: World, name: str, make: Callable[[], dict[str, Any]], refusal: Any
) -> None:
    seq = world.announce(BIG)
    assert world.call("zgs_uploadSegmentByTxSeq", make(), seq) == refusal
    assert world.call("zgs_getFileInfoByTxSeq", seq)["uploadedSegNum"] == 0
    assert not [file for file in world.folder.rglob("*") if file.is_file()]


def test_the_remaining_refusals_of_a_proof(world: World) -> None:
    seq = world.announce(BIG)
    swapped = segment(BIG, 1, index=0)
    code, message, _ = world.call("zgs_uploadSegmentByTxSeq", swapped, seq)
    assert code == -32000 and message.startswith("wrong position:")
    wrong_data = segment(BIG, 0, data=base64.b64encode(bytes(SEGMENT)).decode())
    code, message, _ = world.call("zgs_uploadSegmentByTxSeq", wrong_data, seq)
    assert code == -32000 and message.startswith("data hash mismatch:")
    other = segment(bytes(reversed(BIG)), 0, root=root_of(BIG))
    code, message, _ = world.call("zgs_uploadSegmentByTxSeq", other, seq)
    assert code == -32000 and message.startswith("root mismatch, ")


def test_content_hidden_behind_the_padding_is_refused(world: World) -> None:
    made = padding_forgery()
    tree = FileTree.of(PADDED + PADDED[: 3 * SEGMENT])
    assert [node.height for node in tree.submission_nodes] == [15, 13, 12]
    calldata = submit_calldata(tree, ACCOUNT)
    size = len(PADDED + PADDED[: 3 * SEGMENT]).to_bytes(32, "big")
    seq = world.chain.submit(calldata.replace(size, len(PADDED).to_bytes(32, "big")))
    world.node.sync()
    refusal = (-32602, "Invalid params: proof", "invalid proof node value in the padding range")
    assert world.call("zgs_uploadSegmentByTxSeq", made, seq) == refusal
    assert ZERO_HASHES[10].hex() not in json.dumps(made)


def test_a_second_upload_is_a_duplicate_or_is_skipped_or_is_final(world: World) -> None:
    seq = world.announce(BIG)
    duplicate = (-32000, "segment has already been uploaded or is being uploaded", None)
    assert world.call("zgs_uploadSegmentByTxSeq", segment(BIG, 0), seq) is None
    assert world.call("zgs_uploadSegmentByTxSeq", segment(BIG, 0), seq) == duplicate
    assert world.call("zgs_uploadSegments", [segment(BIG, 0)]) == duplicate
    assert world.call("zgs_uploadSegmentsByTxSeq", all_segments(BIG), seq) is None
    final = (-32602, "Invalid params: root", "already uploaded and finalized")
    assert world.call("zgs_uploadSegmentsByTxSeq", all_segments(BIG), seq) == final
    assert world.call("zgs_uploadSegment", segment(BIG, 0)) == final


def test_segments_may_come_before_their_submission(world: World) -> None:
    assert world.call("zgs_uploadSegments", all_segments(SMALL)) is None
    assert world.call("zgs_getFileInfo", root_of(SMALL), False) is None
    duplicate = (-32000, "segment has already been uploaded or is being uploaded", None)
    assert world.call("zgs_uploadSegment", segment(SMALL, 0)) == duplicate
    seq = world.announce(SMALL)
    assert world.call("zgs_getFileInfoByTxSeq", seq)["finalized"] is True


def test_early_segments_are_bounded(world: World) -> None:
    large = segment(BIG, 0, fileSize=(10 << 20) + 1)
    why = "caching of large file when tx is unavailable is not supported"
    assert world.call("zgs_uploadSegment", large) == (-32602, "Invalid params: file_size", why)
    full = (-32000, "exceeds the maximum cached chunks of whole pool: 16384", None)
    data = bytes(itertools.islice(itertools.cycle(range(247)), 17 * SEGMENT))
    answers = [world.call("zgs_uploadSegment", segment(data, index)) for index in range(17)]
    assert answers == [None] * 16 + [full]


# --- several submissions, restart, reorganisation -----------------------------------------------------


def test_a_second_submission_of_the_same_content_is_final_at_once(world: World) -> None:
    first = world.store(SMALL)
    second = world.announce(SMALL)
    assert world.call("zgs_getFileInfoByTxSeq", second)["finalized"] is True
    assert world.call("zgs_getFileInfo", root_of(SMALL), True)["tx"]["seq"] == first


def test_the_finalized_one_of_two_submissions_answers_for_their_root(world: World) -> None:
    short, longer = b"z" * 1000, b"z" * 1000 + bytes(24)
    assert root_of(short) == root_of(longer)
    world.announce(longer)
    seq = world.store(short)
    info = world.call("zgs_getFileInfo", root_of(short), True)
    assert (info["tx"]["seq"], info["tx"]["size"]) == (seq, 1000)
    assert world.get(f"/file?root={root_of(short)}").content == short


def test_a_restart_keeps_files_and_finality(world: World) -> None:
    seq = world.store(BIG)
    half = world.announce(SMALL + b"!" * SEGMENT)
    world.call("zgs_uploadSegmentByTxSeq", segment(SMALL + b"!" * SEGMENT, 1), half)
    world.restart()
    assert world.call("zgs_getFileInfoByTxSeq", seq)["finalized"] is True
    assert world.get(f"/file?root={root_of(BIG)}").content == BIG
    assert world.call("zgs_getFileInfoByTxSeq", half)["finalized"] is False
    assert world.call("zgs_uploadSegmentByTxSeq", segment(SMALL + b"!" * SEGMENT, 0), half) is None
    assert world.call("zgs_getFileInfoByTxSeq", half)["finalized"] is True


def test_damaged_files_on_disk_count_as_absent_after_a_restart(world: World) -> None:
    seq = world.store(BIG)
    (damaged,) = [path for path in world.folder.rglob("2") if path.is_file()]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (damaged.parent / "junk.part").write_bytes(b"half")
    world.restart()
    assert world.call("zgs_getFileInfoByTxSeq", seq)["finalized"] is False
    assert world.call("zgs_downloadSegmentWithProofByTxSeq", seq, 2) is None
    assert not list(world.folder.rglob("*.part"))
    assert world.call("zgs_uploadSegmentByTxSeq", segment(BIG, 2), seq) is None
    assert world.get(f"/file?root={root_of(BIG)}").content == BIG


def test_a_reorganisation_takes_submissions_back(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.store(SMALL)
    gone = world.announce(BIG)
    with caplog.at_level(logging.WARNING):
        world.chain.reorganise(1)
        world.chain.mine()
        world.node.sync()
    assert world.call("zgs_getFileInfoByTxSeq", gone) is None
    assert world.call("zgs_getFileInfo", root_of(SMALL), True)["finalized"] is True
    assert "set back" in caplog.text
    assert world.announce(b"instead") == gone
    assert world.call("zgs_getFileInfoByTxSeq", gone)["tx"]["dataMerkleRoot"] == root_of(b"instead")


def test_a_chain_that_starts_over_forgets_everything(world: World) -> None:
    world.store(SMALL)
    world.chain.reorganise(1)
    world.node.sync()
    assert world.call("zgs_getFileInfo", root_of(SMALL), True) is None
    assert world.get(f"/file?root={root_of(SMALL)}").json()["code"] == 101


def test_while_the_chain_is_silent_files_are_served_and_later_it_is_read_again(world: World) -> None:
    world.store(SMALL)
    world.chain.down = True
    time.sleep(4 * FAST)
    assert world.get(f"/file?root={root_of(SMALL)}").content == SMALL
    world.chain.down = False
    seq = world.chain.submit(submit_calldata(FileTree.of(BIG), ACCOUNT))
    for _ in range(100):
        if world.call("zgs_getFileInfoByTxSeq", seq) is not None:
            break
        time.sleep(FAST)
    assert world.call("zgs_getFileInfoByTxSeq", seq)["tx"]["size"] == len(BIG)


def test_confirmations_hold_a_submission_back(tmp_path: Path) -> None:
    world = World(tmp_path / "node", confirmations=2)
    try:
        seq = world.announce(SMALL)
        assert world.call("zgs_getFileInfoByTxSeq", seq) is None
        world.chain.mine()
        world.node.sync()
        assert world.call("zgs_getFileInfoByTxSeq", seq) is None
        world.chain.mine()
        world.node.sync()
        assert world.call("zgs_getFileInfoByTxSeq", seq)["tx"]["seq"] == seq
    finally:
        world.stop()


# --- shards -------------------------------------------------------------------------------------------


def test_two_shards_finalise_apart_and_the_indexer_lists_both(tmp_path: Path) -> None:
    world = World(tmp_path / "node", shards=2)
    try:
        first, second = world.node.node_urls
        seq = world.announce(BIG)
        start = world.call("zgs_getFileInfoByTxSeq", seq)["tx"]["startEntryIndex"] // 1024
        own = [[i for i in range(5) if (start + i) % 2 == shard] for shard in (0, 1)]
        for index in own[0]:
            assert world.call("zgs_uploadSegmentByTxSeq", segment(BIG, index), seq, url=first) is None
        assert world.call("zgs_getFileInfoByTxSeq", seq, url=first)["finalized"] is True
        assert world.call("zgs_getFileInfoByTxSeq", seq, url=second)["finalized"] is False
        assert world.call("indexer_getFileLocations", root_of(BIG)) is None
        assert world.get(f"/file?root={root_of(BIG)}").json()["code"] == 101
        for index in own[1]:
            assert world.call("zgs_uploadSegmentByTxSeq", segment(BIG, index), seq, url=second) is None
        located = world.call("indexer_getFileLocations", root_of(BIG))
        assert [node["url"] for node in located] == [first, second]
        assert world.call("zgs_downloadSegmentWithProofByTxSeq", seq, own[1][0], url=first) is None
        assert world.get(f"/file?txSeq={seq}").content == BIG
        selected = world.call("indexer_getSelectedNodes", 1, "min", True, [])
        assert [node["config"]["shardId"] for node in selected["trusted"]] == [0, 1]
        why = "cannot select a subset from the returned nodes that meets the replication requirement"
        assert world.call("indexer_getSelectedNodes", 1, "min", True, [second]) == (-32000, why, None)
        assert world.call("indexer_getSelectedNodes", 2, "random", True, []) == (-32000, why, None)
    finally:
        world.stop()


def test_a_shard_without_a_segment_of_the_file_is_final_at_once(tmp_path: Path) -> None:
    world = World(tmp_path / "node", shards=2)
    try:
        seq = world.announce(SMALL)
        finals = [
            world.call("zgs_getFileInfoByTxSeq", seq, url=url)["finalized"] for url in world.node.node_urls
        ]
        assert sorted(finals) == [False, True]
        assert world.call("indexer_getFileLocations", root_of(SMALL)) is None
    finally:
        world.stop()


# --- REST gateway -------------------------------------------------------------------------------------


def test_the_gateway_serves_files_by_root_and_by_number(world: World) -> None:
    seq = world.store(BIG)
    for query in (f"root={root_of(BIG)}", f"txSeq={seq}", f"txSeq={seq}&root=0x12"):
        answer = world.get(f"/file?{query}")
        assert (answer.status_code, answer.content) == (200, BIG)
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{root_of(BIG)}"'
    named = world.get(f'/file?txSeq={seq}&name=a"b%0d%0aX: y.log')
    assert named.headers["Content-Disposition"] == 'attachment; filename="a_b__X: y.log"'
    assert "X" not in named.headers


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-9", 206, BIG[:10]),
        ("bytes=100-", 206, BIG[100:]),
        ("bytes=-5", 206, BIG[-5:]),
        (f"bytes={len(BIG)}-", 416, b""),
        ("lines=1-2", 200, BIG),
    ],
)
def test_the_gateway_serves_ranges(world: World, asked: str, status: int, expected: bytes) -> None:
    seq = world.store(BIG)
    answer = world.get(f"/file?txSeq={seq}", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (status, expected)


@pytest.mark.parametrize(
    ("asked", "status", "code", "data"),
    [
        ("/file", 200, 1, "Either 'root' or 'txSeq' must be provided"),
        ("/file?root=" + "0x" + "11" * 32, 200, 101, None),
        ("/file?txSeq=99", 600, 2, "Failed to get file 99: file info not found"),
        ("/file/info/" + "0x" + "11" * 32, 200, 101, None),
        ("/files/info", 200, 1, "No cid specified"),
        ("/files/info?" + "cid=1&" * 101, 200, 1, "Too many cid specified, exceeded 100"),
    ],
)
def test_the_gateways_errors_have_their_codes(
    world: World, asked: str, status: int, code: int, data: str | None
) -> None:
    answer = world.get(asked)
    assert answer.status_code == status
    assert (answer.json()["code"], answer.json()["data"]) == (code, data)
    assert "Content-Disposition" not in answer.headers


def test_a_file_that_is_not_final_is_not_found_at_the_gateway_but_has_information(world: World) -> None:
    world.announce(BIG)
    assert world.get(f"/file?root={root_of(BIG)}").json()["code"] == 101
    info = world.get(f"/file/info/{root_of(BIG)}").json()
    assert (info["code"], info["data"]["finalized"]) == (0, False)
    many = world.get(f"/files/info?cid={root_of(BIG)}&cid=0&cid=0x{'11' * 32}&cid=77").json()["data"]
    assert [many[0]["tx"]["seq"], many[1]["tx"]["seq"], many[2]] == [0, 0, None]
    assert many[3].endswith("file info not found")


def test_the_gateway_takes_segments_and_tells_its_status(world: World) -> None:
    seq = world.announce(SMALL)
    made = segment(SMALL, 0)
    body = {"txSeq": seq, "data": made["data"], "index": 0, "proof": made["proof"]}
    answer = requests.post(world.node.url + "/file/segment", json=body, timeout=10).json()
    assert answer == {"code": 0, "message": "Success", "data": "Succeeded to upload segment"}
    assert world.get(f"/file?txSeq={seq}").content == SMALL
    again = requests.post(world.node.url + "/file/segment", json=body, timeout=10)
    assert (again.status_code, again.json()["code"]) == (600, 2)
    empty = requests.post(world.node.url + "/file/segment", json={"txSeq": seq}, timeout=10).json()
    assert (empty["code"], empty["data"]) == (1, "Segment data is empty")
    assert world.get("/node/status").json()["data"]["nextTxSeq"] == 1
    assert world.get("/nothing/here").status_code == 404


def test_the_gateway_walks_directories(world: World) -> None:
    world.store(SMALL)
    tree = {
        "name": "",
        "type": "directory",
        "entries": [
            {"name": "a.txt", "type": "file", "roots": [root_of(SMALL)], "size": len(SMALL)},
            {"name": "l", "type": "symbolic", "link": "a.txt"},
            {"name": "sub", "type": "directory", "entries": []},
        ],
    }
    magic = keccak256(b"0g-storage-client-dir-codec")
    assert magic.hex() == "a8795aa6b5ee8997448d47d3135f70f45e2d3502f8002edeef242ebd0458e7f5"
    directory = magic + b"\0\2" + json.dumps(tree).encode()
    world.store(directory)
    cid = root_of(directory)
    assert world.get(f"/file/{cid}/a.txt").content == SMALL
    assert world.get(f"/file/{cid}/sub").json() == {"code": 0, "message": "Success", "data": []}
    assert world.get(f"/file/{cid}/l").json()["data"]["link"] == "a.txt"
    assert world.get(f"/file/{cid}/missing").json()["code"] == 104
    assert world.get(f"/file/{root_of(SMALL)}/x").json()["code"] == 106
