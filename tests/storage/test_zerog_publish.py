"""Publishing: one transaction, the right fee, segments to the right nodes, and nothing paid twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_sims import ACCOUNT, FLOW, PRICE, SEGMENT, HttpSim, SimChain, SimSender, http

from armlx_chain.errors import (
    InsufficientFunds,
    RpcUnavailable,
    StorageError,
    StorageUnavailable,
    WrongChain,
)
from armlx_chain.storage.http import BoundedHttp, Timeouts
from armlx_chain.storage.interface import FaultKind
from armlx_chain.storage.zerog.client import Endpoint, ZeroGStorage
from armlx_chain.storage.zerog.localnode import GatewayFault, LocalStorageNode, LyingGateway
from armlx_chain.storage.zerog.merkle import FileTree, root_of
from armlx_chain.storage.zerog.submission import submit_calldata
from armlx_chain.storage.zerog.upload import RpcPriceReader, UploadSettings, ZeroGPublisher
from armlx_chain.types import Address, Wei

pytestmark = pytest.mark.integration

FAST = UploadSettings(seen=60.0, final=120.0, resend=1.0, poll=0.02, busy_retries=3)
HASTY = UploadSettings(seen=0.3, final=0.3, poll=0.02, busy_retries=1)
PATIENT = Timeouts(connect=60.0, read=60.0, total=60.0, transfer=60.0, overall=120.0)
BIG = bytes(itertools.islice(itertools.cycle(range(251)), 25 * SEGMENT + 777))
SMALL = b"a small document " * 200


@pytest.fixture
def chain() -> Iterator[SimChain]:
    made = SimChain()
    yield made
    made.stop()


@pytest.fixture
def node(chain: SimChain, tmp_path: Path) -> Iterator[LocalStorageNode]:
    with LocalStorageNode(tmp_path / "node", chain.url, FLOW, poll_seconds=0.03) as made:
        yield made


def publisher(url: str, chain: SimChain, sender: SimSender, **options: Any) -> ZeroGPublisher:
    options.setdefault("settings", FAST)
    options.setdefault("flow_address", FLOW)
    return ZeroGPublisher(
        Endpoint(url, options.pop("kind", "indexer")),
        flow=sender,
        price=RpcPriceReader(chain.url),
        submitter=ACCOUNT,
        http=BoundedHttp(PATIENT),
        **options,
    )


def fetch(url: str, data: bytes) -> bytes:
    storage = ZeroGStorage([Endpoint(url)], timeouts=PATIENT)
    return storage.fetch(root_of(data), max_bytes=len(data), expected_size=len(data)).data


@pytest.mark.parametrize("size", [1, 256, 257, 3000, SEGMENT, SEGMENT + 1, 25 * SEGMENT + 777])
@pytest.mark.parametrize("shards", [1, 2, 4])
def test_what_is_published_can_be_fetched(chain: SimChain, tmp_path: Path, size: int, shards: int) -> None:
    data = BIG[:size]
    sender = SimSender(chain)
    options: dict[str, Any] = {"shards": shards, "poll_seconds": 0.03}
    with LocalStorageNode(tmp_path / "node", chain.url, FLOW, **options) as node:
        assert publisher(node.url, chain, sender).publish(data, label="x") == root_of(data)
        assert fetch(node.url, data) == data
    ((flow, calldata, value, label),) = sender.sent
    tree = FileTree.of(data)
    assert (flow, label) == (FLOW, "x")
    assert calldata == submit_calldata(tree, ACCOUNT)
    assert value == sum(1 << n.height for n in tree.submission_nodes) * PRICE


def test_publishing_to_a_node_without_an_indexer_works(chain: SimChain, node: LocalStorageNode) -> None:
    publisher(node.url, chain, SimSender(chain), kind="node").publish(SMALL, label="x")
    assert fetch(node.url, SMALL) == SMALL


def test_publishing_twice_pays_once(chain: SimChain, node: LocalStorageNode) -> None:
    sender = SimSender(chain)
    for _ in range(3):
        publisher(node.url, chain, sender).publish(SMALL, label="x")
    assert len(sender.sent) == 1


def test_a_submission_without_segments_is_completed_and_not_paid_again(
    chain: SimChain, node: LocalStorageNode
) -> None:
    """As after a crash between the transaction and the upload."""
    chain.submit(submit_calldata(FileTree.of(BIG), ACCOUNT))
    node.sync()
    sender = SimSender(chain)
    publisher(node.url, chain, sender).publish(BIG, label="x")
    assert sender.sent == []
    assert fetch(node.url, BIG) == BIG


def test_the_same_root_with_another_length_gets_its_own_submission(
    chain: SimChain, node: LocalStorageNode
) -> None:
    """Somebody announced our root with zeros added; readers must still get our length."""
    data, longer = b"q" * 1000, b"q" * 1000 + bytes(24)
    chain.submit(submit_calldata(FileTree.of(longer), ACCOUNT))
    node.sync()
    sender = SimSender(chain)
    publisher(node.url, chain, sender).publish(data, label="x")
    publisher(node.url, chain, sender).publish(data, label="x")
    assert len(sender.sent) == 1
    found = ZeroGStorage([Endpoint(node.url)]).fetch(root_of(data), max_bytes=5000)
    assert found.data == data


def test_an_empty_file_is_refused_before_anything_is_sent(chain: SimChain, node: LocalStorageNode) -> None:
    sender = SimSender(chain)
    with pytest.raises(StorageError, match="empty file"):
        publisher(node.url, chain, sender).publish(b"", label="x")
    assert sender.sent == []


def test_a_fee_above_the_bound_is_not_paid(chain: SimChain, node: LocalStorageNode) -> None:
    sender = SimSender(chain)
    fee = Wei(14 * PRICE)
    assert FileTree.of(SMALL).submission_nodes[0].height == 3
    with pytest.raises(InsufficientFunds, match=str(fee)):
        publisher(node.url, chain, sender, max_fee=Wei(fee - 1)).publish(SMALL, label="x")
    assert sender.sent == []
    publisher(node.url, chain, sender, max_fee=fee).publish(SMALL, label="x")
    assert [value for _, _, value, _ in sender.sent] == [fee]


def test_a_node_of_another_flow_contract_is_refused_and_not_paid(
    chain: SimChain, node: LocalStorageNode
) -> None:
    sender = SimSender(chain)
    other = Address("0x3000000000000000000000000000000000000003")
    with pytest.raises(WrongChain, match="serves the Flow contract"):
        publisher(node.url, chain, sender, flow_address=other).publish(SMALL, label="x")
    assert sender.sent == []


@pytest.mark.parametrize("address", [ACCOUNT, FLOW])
def test_a_price_that_cannot_be_read_is_no_price(chain: SimChain, address: Address) -> None:
    if address == FLOW:
        chain.down = True
    with pytest.raises(RpcUnavailable):
        RpcPriceReader(chain.url).price_per_sector(address)


def test_without_storage_nothing_is_paid(chain: SimChain, node: LocalStorageNode) -> None:
    sender = SimSender(chain)
    node.stop()
    with pytest.raises(StorageUnavailable) as caught:
        publisher(node.url, chain, sender).publish(SMALL, label="x")
    assert caught.value.exit_code == 75
    assert sender.sent == []


def test_a_submission_that_is_not_seen_ends_at_the_deadline_and_is_taken_up_later(
    chain: SimChain, tmp_path: Path
) -> None:
    sender = SimSender(chain, journal=True)
    with LocalStorageNode(tmp_path, chain.url, FLOW, confirmations=5, poll_seconds=0.03) as node:
        with pytest.raises(StorageUnavailable, match="to see the submission"):
            publisher(node.url, chain, sender, settings=HASTY).publish(SMALL, label="x")
        for _ in range(5):
            chain.mine()
        publisher(node.url, chain, sender).publish(SMALL, label="x")
    assert len(sender.sent) == 1


class Meddler(HttpSim):
    """Stands before a node and answers chosen upload calls itself; the list of nodes leads back to it."""

    def __init__(self, node: LocalStorageNode, refusals: list[dict[str, Any]]) -> None:
        self.node = node
        self.refusals = refusals
        self.client = BoundedHttp()
        super().__init__()

    def respond(self, method: str, target: str, body: bytes) -> bytes:
        import json

        call = json.loads(body)
        if call["method"].startswith("zgs_upload") and self.refusals:
            error = self.refusals.pop(0)
            return http(json.dumps({"jsonrpc": "2.0", "id": call["id"], "error": error}).encode())
        answer = self.client.post_json(self.node.url, body, limit=1 << 20, seconds=10).body
        return http(answer.replace(self.node.url.encode(), self.url.encode()))


BUSY = {"code": -32000, "message": "too many data writing: 128"}
THERE = {"code": -32000, "message": "segment has already been uploaded or is being uploaded"}


@pytest.mark.parametrize("refusals", [[BUSY], [BUSY, BUSY], [THERE], [THERE, BUSY, THERE]])
def test_busy_nodes_are_asked_again_and_present_segments_are_no_error(
    chain: SimChain, node: LocalStorageNode, refusals: list[dict[str, Any]]
) -> None:
    meddler = Meddler(node, list(refusals))
    # With THERE the meddler lies once: the segments are not there, so they must be sent one by one.
    data = BIG[: 5 * SEGMENT]
    sender = SimSender(chain)
    try:
        # Said a second time of a segment alone, that one is missing until everything is sent again.
        publisher(meddler.url, chain, sender).publish(data, label="x")
        assert fetch(node.url, data) == data
    finally:
        meddler.stop()
    assert len(sender.sent) == 1


def test_a_node_that_refuses_segments_is_an_error_and_the_next_run_pays_nothing(
    chain: SimChain, node: LocalStorageNode
) -> None:
    meddler = Meddler(node, [{"code": -32000, "message": "disk is full"}])
    sender = SimSender(chain)
    try:
        with pytest.raises(StorageUnavailable, match="No storage nodes that hold every shard"):
            publisher(meddler.url, chain, sender).publish(SMALL, label="x")
        publisher(meddler.url, chain, sender).publish(SMALL, label="x")
    finally:
        meddler.stop()
    assert len(sender.sent) == 1


# --- the lying gateway ------------------------------------------------------------------------------------

LIES = {
    GatewayFault.FLIP: FaultKind.WRONG_BYTES,
    GatewayFault.TRUNCATE: FaultKind.WRONG_BYTES,
    GatewayFault.EXTEND: FaultKind.WRONG_BYTES,
    GatewayFault.SWAP: FaultKind.WRONG_BYTES,
    GatewayFault.STALL: FaultKind.STALLED,
    GatewayFault.DRIP: FaultKind.STALLED,
    GatewayFault.CUT: FaultKind.NONSENSE,
    GatewayFault.GARBAGE: FaultKind.NONSENSE,
}


@pytest.mark.parametrize("fault", GatewayFault)
@pytest.mark.parametrize("size", [3000, 4 * SEGMENT + 5])
def test_the_lying_gateway_is_caught_by_name(
    chain: SimChain, node: LocalStorageNode, fault: GatewayFault, size: int
) -> None:
    data = BIG[:size]
    publisher(node.url, chain, SimSender(chain)).publish(data, label="x")
    hurried = Timeouts(connect=2.0, read=1.0, total=1.2, transfer=1.2, overall=12.0)
    if LIES[fault] is not FaultKind.STALLED:
        hurried = PATIENT
    with LyingGateway(node.url, fault, position=7, pause=0.05) as liar:
        alone = ZeroGStorage([Endpoint(liar.url)], timeouts=hurried)
        with pytest.raises(StorageError) as caught:
            alone.fetch(root_of(data), max_bytes=len(data))
        assert liar.url in caught.value.message
        both = ZeroGStorage([Endpoint(liar.url), Endpoint(node.url)], timeouts=hurried)
        found = both.fetch(root_of(data), max_bytes=len(data))
        assert liar.spoiled > 0
    assert found.data == data
    assert node.url in found.source and liar.url not in found.source
    assert LIES[fault] in {entry.kind for entry in found.faults}
    assert {entry.endpoint for entry in found.faults} == {liar.url}


def test_the_lying_gateways_rest_route_is_caught_too(chain: SimChain, node: LocalStorageNode) -> None:
    publisher(node.url, chain, SimSender(chain)).publish(SMALL, label="x")
    with LyingGateway(node.url, GatewayFault.FLIP, position=-1) as liar:
        storage = ZeroGStorage([Endpoint(liar.url, "gateway"), Endpoint(node.url, "gateway")])
        found = storage.fetch(root_of(SMALL), max_bytes=len(SMALL))
        assert liar.spoiled == 1
    assert found.data == SMALL
    assert [(entry.endpoint, entry.kind) for entry in found.faults] == [(liar.url, FaultKind.WRONG_BYTES)]
