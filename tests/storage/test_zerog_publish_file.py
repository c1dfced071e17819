"""Uploading a file: read piece by piece, hashed once, resumed where it stopped, planned without paying."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_sims import ACCOUNT, FLOW, PRICE, SEGMENT, HttpSim, SimChain, SimSender, http

from armlx_chain.errors import StorageError, StorageUnavailable, UsageError
from armlx_chain.storage.http import BoundedHttp
from armlx_chain.storage.zerog import upload
from armlx_chain.storage.zerog.client import Endpoint, ZeroGStorage
from armlx_chain.storage.zerog.localnode import LocalStorageNode
from armlx_chain.storage.zerog.merkle import FileTree, root_of
from armlx_chain.storage.zerog.submission import submit_calldata
from armlx_chain.storage.zerog.upload import RpcPriceReader, UploadSettings, UploadState, ZeroGPublisher

pytestmark = pytest.mark.integration

PATIENT = UploadSettings(seen=60.0, final=120.0, poll=0.02, busy_retries=3)
DATA = bytes(range(251)) * (11 * SEGMENT // 251) + b"the end"


class Watcher:
    """Records what a progress display would show."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0
        self.notes: list[str] = []

    def start(self, total: int | None) -> None:
        self.total = total

    def advance(self, count: int) -> None:
        self.done += count

    def note(self, text: str) -> None:
        self.notes.append(text)


class Through(HttpSim):
    """Stands before a node, counts the segments that are sent, and can break off after some of them."""

    def __init__(self, node: LocalStorageNode) -> None:
        self.node = node
        self.client = BoundedHttp()
        self.sent: list[int] = []
        self.allowed = 10**9
        super().__init__()

    def respond(self, method: str, target: str, body: bytes) -> bytes:
        call = json.loads(body)
        if call["method"].startswith("zgs_upload"):
            if len(self.sent) >= self.allowed:
                return b""
            self.sent += [segment["index"] for segment in call["params"][0]]
        answer = self.client.post_json(self.node.url, body, limit=1 << 20, seconds=60).body
        return http(answer.replace(self.node.url.encode(), self.url.encode()))


@pytest.fixture
def chain() -> Iterator[SimChain]:
    made = SimChain()
    yield made
    made.stop()


@pytest.fixture
def node(chain: SimChain, tmp_path: Path) -> Iterator[LocalStorageNode]:
    with LocalStorageNode(tmp_path / "node", chain.url, FLOW, poll_seconds=0.03) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(DATA)
    return path


def publisher(url: str, chain: SimChain, sender: SimSender, **options: Any) -> ZeroGPublisher:
    return ZeroGPublisher(
        Endpoint(url),
        flow_address=FLOW,
        flow=sender,
        price=RpcPriceReader(chain.url),
        submitter=ACCOUNT,
        settings=PATIENT,
        **options,
    )


def fetched(url: str, root: Any) -> bytes:
    return ZeroGStorage([Endpoint(url)]).fetch(root, max_bytes=len(DATA)).data


@pytest.mark.parametrize("shards", [1, 4])
def test_a_file_is_stored_and_progress_reaches_its_length(
    chain: SimChain, tmp_path: Path, file: Path, shards: int
) -> None:
    watcher = Watcher()
    options: dict[str, Any] = {"shards": shards, "poll_seconds": 0.03}
    with LocalStorageNode(tmp_path / "node", chain.url, FLOW, **options) as node:
        root = publisher(node.url, chain, SimSender(chain)).publish_file(file, label="x", progress=watcher)
        assert root == root_of(DATA)
        assert fetched(node.url, root) == DATA
    assert (watcher.total, watcher.done) == (len(DATA), len(DATA))
    assert any("announcing" in note for note in watcher.notes)


def test_a_file_is_hashed_once_and_never_read_as_a_whole(
    chain: SimChain, node: LocalStorageNode, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    trees: list[int] = []
    honest_read, honest_tree = os.pread, FileTree.of_segments

    def pread(descriptor: int, count: int, at: int) -> bytes:
        reads.append(count)
        return honest_read(descriptor, count, at)

    def of_segments(segments: Any, size: int) -> FileTree:
        trees.append(size)
        return honest_tree(segments, size)

    monkeypatch.setattr("armlx_chain.storage.zerog.source.os.pread", pread)
    monkeypatch.setattr(upload.FileTree, "of_segments", of_segments)
    publisher(node.url, chain, SimSender(chain)).publish_file(file, label="x")
    assert trees == [len(DATA)]
    assert max(reads) <= SEGMENT
    assert sum(reads) == 2 * len(DATA), "once to hash, once to send"


def test_what_is_there_is_not_sent_again(chain: SimChain, node: LocalStorageNode, file: Path) -> None:
    through, sender, watcher = Through(node), SimSender(chain), Watcher()
    try:
        publisher(through.url, chain, sender).publish_file(file, label="x")
        assert sorted(through.sent) == list(range(11))
        through.sent.clear()
        publisher(through.url, chain, sender).publish_file(file, label="x", progress=watcher)
    finally:
        through.stop()
    assert through.sent == []
    assert watcher.done == len(DATA)
    assert len(sender.sent) == 1


def test_an_upload_that_was_cut_goes_on_where_it_stopped(
    chain: SimChain, node: LocalStorageNode, file: Path
) -> None:
    through, sender = Through(node), SimSender(chain)
    through.allowed = 5
    try:
        with pytest.raises(StorageUnavailable) as caught:
            publisher(through.url, chain, sender, workers=1).publish_file(file, label="x")
        assert caught.value.exit_code == 75
        assert through.sent == [0, 1, 2, 3, 4]
        through.allowed = 10**9
        publisher(through.url, chain, sender, workers=1).publish_file(file, label="x")
    finally:
        through.stop()
    assert through.sent == list(range(11)), "each segment once over both runs"
    assert len(sender.sent) == 1
    assert fetched(node.url, root_of(DATA)) == DATA


def test_a_plan_names_root_and_fee_and_sends_nothing(
    chain: SimChain, node: LocalStorageNode, file: Path
) -> None:
    sender = SimSender(chain)
    ours = publisher(node.url, chain, sender)
    plan = ours.plan(file)
    sectors = sum(1 << n.height for n in FileTree.of(DATA).submission_nodes)
    assert (plan.root, plan.size, plan.sectors) == (root_of(DATA), len(DATA), sectors)
    assert (plan.price, plan.fee, plan.state) == (PRICE, sectors * PRICE, UploadState.ABSENT)
    assert sender.sent == []
    chain.submit(submit_calldata(FileTree.of(DATA), ACCOUNT))
    node.sync()
    announced = ours.plan(file)
    assert (announced.fee, announced.state) == (0, UploadState.ANNOUNCED)
    ours.publish_file(file, label="x")
    assert ours.plan(file).state is UploadState.FINAL
    assert sender.sent == []


def test_a_file_that_changes_while_it_is_sent_is_said_to_have_changed(
    chain: SimChain, node: LocalStorageNode, file: Path
) -> None:
    class Meddling(SimSender):
        def submit(self, **facts: Any) -> None:
            super().submit(**facts)
            file.write_bytes(b"?" + DATA[1:])

    with pytest.raises(StorageError, match="changed while it was uploaded"):
        publisher(node.url, chain, Meddling(chain)).publish_file(file, label="x")


def test_a_file_that_shrinks_while_it_is_sent_is_said_to_have_changed(
    chain: SimChain, node: LocalStorageNode, file: Path
) -> None:
    class Cutting(SimSender):
        def submit(self, **facts: Any) -> None:
            super().submit(**facts)
            os.truncate(file, 1000)

    with pytest.raises(StorageError, match="changed while it was uploaded"):
        publisher(node.url, chain, Cutting(chain)).publish_file(file, label="x")


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_what_is_no_regular_file_is_a_usage_error(
    chain: SimChain, node: LocalStorageNode, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "thing"
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    sender = SimSender(chain)
    with pytest.raises(UsageError):
        publisher(node.url, chain, sender).publish_file(path, label="x")
    assert sender.sent == []


def test_an_empty_file_is_refused_before_anything_is_sent(
    chain: SimChain, node: LocalStorageNode, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_bytes(b"")
    sender = SimSender(chain)
    for act in (
        lambda p: p.plan(tmp_path / "empty"),
        lambda p: p.publish_file(tmp_path / "empty", label="x"),
    ):
        with pytest.raises(StorageError, match="empty file"):
            act(publisher(node.url, chain, sender))
    assert sender.sent == []
