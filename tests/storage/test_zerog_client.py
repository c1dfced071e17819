"""Download from several servers that are honest but differ: shards, lengths, missing methods."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from storage_sims import SEGMENT, Error, HttpSim, SimStorage, http

from armlx_chain.errors import (
    ContentMismatch,
    ContentNotFound,
    ContentTooLarge,
    SchemeUnsupported,
    StorageUnavailable,
    UsageError,
)
from armlx_chain.storage.fetch import open_storage
from armlx_chain.storage.http import Timeouts
from armlx_chain.storage.interface import FaultKind
from armlx_chain.storage.zerog.client import Endpoint, ZeroGStorage
from armlx_chain.storage.zerog.endpoints import may_lead_to
from armlx_chain.storage.zerog.merkle import FileTree, root_of
from armlx_chain.types import Root

pytestmark = pytest.mark.integration

PATIENT = Timeouts(connect=60.0, read=60.0, total=60.0, transfer=60.0, overall=120.0)
DATA = bytes(itertools.islice(itertools.cycle(range(251)), 5 * SEGMENT + 777))
ROOT = FileTree.of(DATA).root
PROVEN, PLAIN = "zgs_downloadSegmentWithProofByTxSeq", "zgs_downloadSegmentByTxSeq"
ABSENT = b'{"code":101,"message":"File not found","data":null}'


@contextmanager
def serving(*sims: HttpSim) -> Iterator[None]:
    with ExitStack() as stack:
        for sim in sims:
            stack.callback(sim.stop)
        yield


def storage(*endpoints: Endpoint) -> ZeroGStorage:
    return ZeroGStorage(endpoints, timeouts=PATIENT)


def paths(sim: SimStorage) -> list[str]:
    return [f"{method} {target}" for method, target, _ in sim.requests]


def test_segments_come_with_proofs_and_the_gateway_is_not_needed() -> None:
    sim = SimStorage(DATA)
    with serving(sim):
        found = storage(Endpoint(sim.url)).fetch(ROOT, max_bytes=len(DATA))
    assert found.data == DATA
    assert found.root == ROOT
    assert not any("/file" in path for path in paths(sim))
    assert not any(PLAIN.encode() in body for _, _, body in sim.requests)


def test_without_proof_methods_plain_segments_and_the_whole_root_do() -> None:
    sim = SimStorage(DATA)
    sim.hooks[PROVEN] = lambda _, __: Error(-32601, "Method not found")
    with serving(sim):
        found = storage(Endpoint(sim.url)).fetch(ROOT, max_bytes=len(DATA))
    assert (found.data, found.faults) == (DATA, ())


def test_without_node_methods_the_gateway_and_the_whole_root_do() -> None:
    sim = SimStorage(DATA)
    sim.hooks["zgs_getFileInfo"] = lambda _, __: Error(-32601, "Method not found")
    with serving(sim):
        found = storage(Endpoint(sim.url)).fetch(ROOT, max_bytes=len(DATA))
    assert found.data == DATA
    assert [fault.kind for fault in found.faults] == [FaultKind.REFUSED]


def test_a_gateway_alone_and_a_node_alone_do() -> None:
    sim = SimStorage(DATA)
    with serving(sim):
        for kind in ("gateway", "node"):
            found = storage(Endpoint(sim.url, kind)).fetch(ROOT, max_bytes=len(DATA))  # type: ignore[arg-type]
            assert found.data == DATA


def sharded(*, start_entry: int) -> tuple[SimStorage, list[SimStorage]]:
    """An indexer without content, and two nodes of which each serves only its own flow segments."""
    nodes = [SimStorage(DATA, start_entry=start_entry) for _ in range(2)]
    for number, node in enumerate(nodes):
        node.shard = (number, 2)

        def own(params: list[int], honest: object, number: int = number) -> object:
            index = params[1] if len(params) == 2 else params[1] // 1024
            return honest if (start_entry // 1024 + index) % 2 == number else None

        node.hooks[PROVEN] = own
        node.hooks[PLAIN] = own
    indexer = SimStorage()
    indexer.hooks["indexer_getFileLocations"] = lambda _, __: [node._listed() for node in nodes]
    return indexer, nodes


@pytest.mark.parametrize("start_entry", [1024, 2048])
def test_shards_are_found_by_the_global_segment_number(start_entry: int) -> None:
    indexer, nodes = sharded(start_entry=start_entry)
    with serving(indexer, *nodes):
        found = storage(Endpoint(indexer.url)).fetch(ROOT, max_bytes=len(DATA))
    assert found.data == DATA
    for number, node in enumerate(nodes):
        asked = sum(PROVEN.encode() in body for _, _, body in node.requests)
        own = sum((start_entry // 1024 + index) % 2 == number for index in range(6))
        assert asked == own, "the responsible node is asked, and only it"


def test_one_lying_shard_is_named_and_the_file_is_refused() -> None:
    indexer, nodes = sharded(start_entry=1024)
    nodes[1].spoil_file(lambda data: b"?" + data[1:])  # segment 0 is flow segment 1: its own
    with serving(indexer, *nodes), pytest.raises(ContentMismatch) as caught:
        storage(Endpoint(indexer.url)).fetch(ROOT, max_bytes=len(DATA))
    assert nodes[1].url in caught.value.message
    assert not any(nodes[0].url in fault for fault in caught.value.details["faults"])


def test_unproven_lies_from_one_of_two_shards_make_both_suspects() -> None:
    indexer, nodes = sharded(start_entry=1024)
    for node in nodes:
        node.hooks[PROVEN] = lambda _, __: Error(-32601, "Method not found")
    honest = nodes[1].hooks[PLAIN]

    def wrong(params: list[int], result: object) -> object:
        served = honest(params, result)
        return None if served is None else "////" + str(served)[4:]

    nodes[1].hooks[PLAIN] = wrong
    with serving(indexer, *nodes), pytest.raises(ContentMismatch) as caught:
        storage(Endpoint(indexer.url)).fetch(ROOT, max_bytes=len(DATA))
    faults = caught.value.details["faults"]
    assert all(any(f"{node.url}: suspect" in fault for fault in faults) for node in nodes)


def test_a_file_that_is_known_but_not_final_is_not_found() -> None:
    sim = SimStorage(DATA)
    sim.hooks["indexer_getFileLocations"] = lambda _, __: None
    sim.hooks[PROVEN] = sim.hooks[PLAIN] = lambda _, __: None
    sim.rest = lambda _: http(ABSENT)
    with serving(sim), pytest.raises(ContentNotFound) as caught:
        storage(Endpoint(sim.url)).fetch(ROOT, max_bytes=len(DATA))
    assert caught.value.exit_code == 75


def test_unknown_content_is_not_found_and_not_unavailable() -> None:
    sim = SimStorage(DATA)
    with serving(sim), pytest.raises(ContentNotFound, match=r"Nobody asked has"):
        storage(Endpoint(sim.url)).fetch(root_of(b"other"), max_bytes=100)


def test_unknown_here_and_unreachable_there_is_unavailable_and_not_not_found() -> None:
    sim, dead = SimStorage(DATA), SimStorage(DATA)
    dead.stop()
    with serving(sim), pytest.raises(StorageUnavailable) as caught:
        storage(Endpoint(sim.url), Endpoint(dead.url)).fetch(root_of(b"other"), max_bytes=100)
    assert caught.value.details["absent"] == [sim.url]
    assert all(fault.startswith(dead.url) for fault in caught.value.details["faults"])


def test_content_beyond_the_limit_is_too_large_and_not_downloaded() -> None:
    sim = SimStorage(DATA)
    with serving(sim), pytest.raises(ContentTooLarge):
        storage(Endpoint(sim.url)).fetch(ROOT, max_bytes=len(DATA) - 1)
    assert not any(PROVEN.encode() in body for _, _, body in sim.requests)


def test_content_of_exactly_the_limit_is_accepted() -> None:
    sim = SimStorage(DATA)
    with serving(sim):
        assert storage(Endpoint(sim.url, "gateway")).fetch(ROOT, max_bytes=len(DATA)).data == DATA
        assert storage(Endpoint(sim.url)).fetch(ROOT, max_bytes=len(DATA)).data == DATA


SHORT = b"x" * 1000


@pytest.mark.parametrize("kind", ["indexer", "gateway", "node"])
@pytest.mark.parametrize("served", [SHORT, SHORT + bytes(1), SHORT + bytes(24)])
def test_an_expected_size_mends_zeros_that_a_server_added(kind: str, served: bytes) -> None:
    assert root_of(served) == root_of(SHORT)
    sim = SimStorage(served)
    with serving(sim):
        endpoint = Endpoint(sim.url, kind)  # type: ignore[arg-type]
        found = storage(endpoint).fetch(root_of(SHORT), max_bytes=5000, expected_size=1000)
    assert found.data == SHORT
    kinds = [fault.kind for fault in found.faults]
    assert kinds == ([] if len(served) == 1000 else [FaultKind.WRONG_LENGTH])


def test_an_expected_size_mends_zeros_that_a_server_took_away() -> None:
    whole = b"y" * 900 + bytes(100)
    sim = SimStorage(whole[:900])
    with serving(sim):
        found = storage(Endpoint(sim.url)).fetch(root_of(whole), max_bytes=5000, expected_size=1000)
    assert found.data == whole
    assert found.faults[0].kind is FaultKind.WRONG_LENGTH


def test_without_an_expected_size_trailing_zeros_are_the_servers_choice() -> None:
    """The documented limit: the root does not commit to the length."""
    sim = SimStorage(SHORT + bytes(24))
    with serving(sim):
        assert storage(Endpoint(sim.url)).fetch(root_of(SHORT), max_bytes=5000).data == SHORT + bytes(24)


@pytest.mark.parametrize("expected", [999, 1025, 4000, 700])
def test_an_impossible_expected_size_is_a_mismatch(expected: int) -> None:
    sim = SimStorage(SHORT)
    with serving(sim), pytest.raises((ContentMismatch, ContentTooLarge)) as caught:
        storage(Endpoint(sim.url)).fetch(root_of(SHORT), max_bytes=5000, expected_size=expected)
    assert sim.url in caught.value.message


def test_an_expected_size_beyond_the_limit_asks_nobody() -> None:
    sim = SimStorage(SHORT)
    with serving(sim), pytest.raises(ContentTooLarge):
        storage(Endpoint(sim.url)).fetch(root_of(SHORT), max_bytes=999, expected_size=1000)
    assert sim.requests == []


def test_nodes_that_disagree_about_the_size_are_both_tried() -> None:
    """The first claims a size that its own proofs cannot carry; the second is right."""
    wrong, right = SimStorage(DATA), SimStorage(DATA)
    wrong.hooks["zgs_getFileInfo"] = lambda _, honest: {
        **honest,
        "tx": {**honest["tx"], "size": len(DATA) - 300},
    }
    indexer = SimStorage()
    indexer.hooks["indexer_getFileLocations"] = lambda _, __: [wrong._listed(), right._listed()]
    with serving(indexer, wrong, right):
        found = storage(Endpoint(indexer.url)).fetch(ROOT, max_bytes=len(DATA))
    assert found.data == DATA
    assert {fault.endpoint for fault in found.faults} == {wrong.url}


def test_an_endless_list_of_nodes_is_cut() -> None:
    sim = SimStorage(DATA)
    entry = {"config": {"shardId": 0, "numShard": 1}, "latency": 0, "since": 0}
    sim.hooks["indexer_getFileLocations"] = lambda _, __: [
        {**entry, "url": f"http://127.0.0.1:1/{number}"} for number in range(900)
    ]
    with serving(sim):
        client = ZeroGStorage([Endpoint(sim.url)], timeouts=PATIENT, max_nodes=4)
        found = client.fetch(ROOT, max_bytes=len(DATA))
    assert found.source == sim.url, "the gateway, after four dead nodes"
    assert len(found.faults) == 4


@pytest.mark.parametrize(
    ("indexer", "node", "allowed"),
    [
        ("https://indexer.example", "http://34.19.125.196:5678", True),
        ("https://indexer.example", "http://127.0.0.1:8545", False),
        ("https://indexer.example", "http://localhost:8545", False),
        ("https://indexer.example", "http://10.0.0.5/", False),
        ("https://indexer.example", "http://169.254.169.254/latest/meta-data", False),
        ("https://indexer.example", "http://[::1]:80", False),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001", True),
        ("http://127.0.0.1:5000", "ftp://127.0.0.1/x", False),
        ("http://127.0.0.1:5000", "http://user:secret@127.0.0.1/", False),
        ("http://127.0.0.1:5000", "http://a b/", False),
        ("http://127.0.0.1:5000", "http://[::1", False),
        ("http://127.0.0.1:5000", "http://x:99999/", False),
    ],
)
def test_a_strangers_list_cannot_lead_into_the_own_network(indexer: str, node: str, allowed: bool) -> None:
    assert may_lead_to(indexer, node) is allowed


def test_irys_and_sha256_roots_are_told_apart_from_unknown_ones(tmp_path: Path) -> None:
    opened = open_storage(["http://127.0.0.1:1"], tmp_path)
    with pytest.raises(UsageError, match="No Irys server"):
        opened.fetch(Root.parse("irys:" + "11" * 32), max_bytes=10)
    with pytest.raises(SchemeUnsupported, match="names no place"):
        opened.fetch(Root.parse("sha256:" + "11" * 32), max_bytes=10)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_answers_before_the_network_and_is_filled_by_it(tmp_path: Path) -> None:
    sim = SimStorage(DATA)
    with serving(sim):
        opened = open_storage([sim.url], tmp_path, timeouts=PATIENT)
        assert opened.fetch(ROOT, max_bytes=len(DATA)).source == sim.url
        count = len(sim.requests)
        assert opened.fetch(ROOT, max_bytes=len(DATA)).source == "cache"
        assert len(sim.requests) == count


@pytest.mark.parametrize("url", ["ftp://x", "http://", "file:///etc/passwd", "http://u:p@h/", ""])
def test_an_unusable_endpoint_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError):
        Endpoint(url)


def test_no_endpoints_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        ZeroGStorage([])
