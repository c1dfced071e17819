# ruff: noqa: E501 - the attacks are a table, one a line
"""Every way we know for a storage endpoint to lie, stall or talk nonsense.

Each attack is run twice. Alone: the fetch ends in exactly the error named, the endpoint is named in it, and
the cache folder stays empty. With an honest endpoint behind it: the right bytes arrive, and the result still
names the liar.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from storage_sims import SEGMENT, Error, Raw, SimStorage, forever, http

from armlx_chain.errors import (
    ContentIncomplete,
    ContentMismatch,
    ContentNotFound,
    ContentTooLarge,
    StorageError,
    StorageUnavailable,
)
from armlx_chain.storage.cache import CachedStorage, ContentCache
from armlx_chain.storage.http import Timeouts
from armlx_chain.storage.interface import FaultKind
from armlx_chain.storage.zerog.client import Endpoint, ZeroGStorage
from armlx_chain.storage.zerog.merkle import FileTree

pytestmark = pytest.mark.integration

IMPATIENT = Timeouts(connect=2.0, read=1.0, total=1.3, transfer=1.3, overall=15.0)
PATIENT = Timeouts(connect=60.0, read=60.0, total=60.0, transfer=60.0, overall=120.0)
"""Where nothing depends on time, a busy machine must not look like a stalling server."""
MAX_BYTES = 4 << 20

BIG = bytes(itertools.islice(itertools.cycle(range(251)), 3 * SEGMENT + 777))
SMALL = b"protocol " * 111
FORGED = bytes(reversed(BIG))

PROVEN, PLAIN = "zgs_downloadSegmentWithProofByTxSeq", "zgs_downloadSegmentByTxSeq"
JSON_ERROR = b'{"code":2,"message":"Internal server error","data":"x"}'


def flip(at: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        place = at % len(data)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    return change


def swap_first_two(data: bytes) -> bytes:
    return data[SEGMENT : 2 * SEGMENT] + data[:SEGMENT] + data[2 * SEGMENT :]


def every(sent: Callable[[], Any]) -> Callable[[SimStorage], None]:
    def prepare(sim: SimStorage) -> None:
        sim.every = sent

    return prepare


def files(change: Callable[[bytes], bytes]) -> Callable[[SimStorage], None]:
    return lambda sim: sim.spoil_file(change)


def segments(result: Any) -> Callable[[SimStorage], None]:
    return lambda sim: sim.spoil_segments(lambda params, honest: result)


def no_gateway(sim: SimStorage) -> None:
    sim.rest = lambda _: http(b'{"code":101,"message":"File not found","data":null}')


def info(**changes: Any) -> Callable[[SimStorage], None]:
    """Change members of ``tx`` in the file information."""

    def prepare(sim: SimStorage) -> None:
        no_gateway(sim)
        sim.hooks["zgs_getFileInfo"] = lambda _, honest: {**honest, "tx": {**honest["tx"], **changes}}

    return prepare


def proof(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[SimStorage], None]:
    """Spoil only the proof, and offer no other route."""

    def prepare(sim: SimStorage) -> None:
        no_gateway(sim)
        sim.hooks[PROVEN] = lambda _, honest: {**honest, "proof": change(honest["proof"])}
        sim.hooks[PLAIN] = lambda _, __: None

    return prepare


def segment(**changes: Any) -> Callable[[SimStorage], None]:
    """Change members of a segment that is served with proof, and offer no other route."""

    def prepare(sim: SimStorage) -> None:
        no_gateway(sim)
        sim.hooks[PROVEN] = lambda _, honest: {**honest, **changes}
        sim.hooks[PLAIN] = lambda _, __: None

    return prepare


def forged_file(sim: SimStorage) -> None:
    """Another file, complete and consistent with itself, under the root that was asked for."""
    other = SimStorage(FORGED)
    other.stop()
    no_gateway(sim)
    sim.hooks[PROVEN] = lambda p, _: other.zgs_downloadSegmentWithProofByTxSeq(0, p[1])
    sim.hooks[PLAIN] = lambda p, _: other.zgs_downloadSegmentByTxSeq(0, p[1], p[2])
    sim.rest = lambda _: http(FORGED, headers="Content-Disposition: attachment\r\n")


def right_proof_for_the_wrong_index(sim: SimStorage) -> None:
    no_gateway(sim)
    sim.hooks[PROVEN] = lambda p, _: {
        **sim.zgs_downloadSegmentWithProofByTxSeq(p[0], p[1] ^ 1),
        "index": p[1],
    }
    sim.hooks[PLAIN] = lambda _, __: None


def only_unproven_and_wrong(sim: SimStorage) -> None:
    """The node says it has no proofs, hoping that plain segments are not checked."""
    sim.spoil_file(flip(SEGMENT + 5))
    sim.hooks[PROVEN] = lambda _, __: Error(-32601, "Method not found")
    no_gateway(sim)


BOMB = gzip.compress(bytes(64 << 20), 1)


def bomb() -> bytes:
    return http(BOMB, headers="Content-Encoding: gzip\r\nContent-Type: application/json\r\n")


def nested() -> bytes:
    return http(b"[" * 200_000 + b"]" * 200_000)


def shards(value: Any) -> Callable[[SimStorage], None]:
    def prepare(sim: SimStorage) -> None:
        no_gateway(sim)
        sim.hooks["zgs_getShardConfig"] = lambda _, __: value

    return prepare


def locations(value: Any) -> Callable[[SimStorage], None]:
    def prepare(sim: SimStorage) -> None:
        no_gateway(sim)
        sim.hooks["indexer_getFileLocations"] = lambda _, __: value
        sim.hooks["indexer_getShardedNodes"] = lambda _, __: {"trusted": None, "discovered": None}

    return prepare


def wrong_id(sim: SimStorage) -> None:
    no_gateway(sim)
    answer = http(json.dumps({"jsonrpc": "2.0", "id": 10**17, "result": []}).encode())
    sim.hooks["indexer_getFileLocations"] = lambda _, __: Raw(answer)


def half_a_body(sim: SimStorage) -> None:
    sim.every = lambda: http(b'{"jsonrpc"', length=1000)


OK_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
MISMATCH, MISSING, DOWN, LARGE = ContentMismatch, ContentNotFound, StorageUnavailable, ContentTooLarge


@dataclass
class Attack:
    name: str
    prepare: Callable[[SimStorage], None]
    error: type[StorageError]
    kind: FaultKind | None
    data: bytes = BIG

    @property
    def patience(self) -> Timeouts:
        return IMPATIENT if self.kind is FaultKind.STALLED else PATIENT


K = FaultKind
ATTACKS = [
    Attack("a byte of the first segment is flipped", files(flip(0)), MISMATCH, K.WRONG_BYTES),
    Attack("a byte of a middle segment is flipped", files(flip(SEGMENT + 99)), MISMATCH, K.WRONG_BYTES),
    Attack("the very last byte is flipped", files(flip(-1)), MISMATCH, K.WRONG_BYTES),
    Attack("one byte of a small file is flipped", files(flip(500)), MISMATCH, K.WRONG_BYTES, SMALL),
    Attack("the file is truncated by one byte", files(lambda d: d[:-1]), MISMATCH, K.WRONG_BYTES),
    Attack("the file is truncated by a segment", files(lambda d: d[:-SEGMENT]), MISMATCH, K.WRONG_BYTES),
    Attack("the file is extended by one byte", files(lambda d: d + b"x"), MISMATCH, K.WRONG_BYTES),
    Attack("the first two segments are swapped", files(swap_first_two), MISMATCH, K.WRONG_BYTES),
    Attack("the file is all zeros", files(lambda d: bytes(len(d))), MISMATCH, K.WRONG_BYTES),
    Attack("a segment comes with the proof of its neighbour", right_proof_for_the_wrong_index, MISMATCH, K.WRONG_BYTES),
    Attack("another file comes, consistent with itself", forged_file, MISMATCH, K.WRONG_BYTES),
    Attack("a small forgery comes with a one-entry proof of itself", forged_file, MISMATCH, K.WRONG_BYTES, SMALL),
    Attack("plain segments are wrong where no proofs are offered", only_unproven_and_wrong, MISMATCH, K.WRONG_BYTES),
    Attack("a proof has no hashes", proof(lambda p: {**p, "lemma": []}), MISMATCH, K.WRONG_BYTES),
    Attack("a proof lost a level", proof(lambda p: {"lemma": p["lemma"][1:], "path": p["path"][1:]}), MISMATCH, K.WRONG_BYTES),
    Attack("a proof turns the other way", proof(lambda p: {**p, "path": [not s for s in p["path"]]}), MISMATCH, K.WRONG_BYTES),
    Attack("a proof has endless hashes", proof(lambda p: {**p, "lemma": p["lemma"] * 50}), DOWN, K.NONSENSE),
    Attack("a proof is a string", proof(lambda p: {"lemma": "0x", "path": "0x"}), DOWN, K.NONSENSE),
    Attack("a proof's hashes are numbers", proof(lambda p: {**p, "lemma": [1, 2]}), DOWN, K.NONSENSE),
    Attack("a segment claims another index", segment(index=2), MISMATCH, K.WRONG_BYTES),
    Attack("a segment claims another file size", segment(fileSize=77), MISMATCH, K.WRONG_BYTES),
    Attack("a segment's index is true instead of a number", segment(index=True), DOWN, K.NONSENSE),
    Attack("segments are null", segments(None), ContentIncomplete, None),
    Attack("segments are empty strings", segments(""), DOWN, K.NONSENSE),
    Attack("segment data are empty", segment(data=""), MISMATCH, K.WRONG_BYTES),
    Attack("segment data are not base64", segment(data="%%%not base64%%%"), DOWN, K.NONSENSE),
    Attack("segment data are base64 with line breaks", segment(data="QUJD\nREVG"), DOWN, K.NONSENSE),
    Attack("segment data are a list", segment(data=[1, 2, 3]), DOWN, K.NONSENSE),
    Attack("segments are a number", segments(7), DOWN, K.NONSENSE),
    Attack("a segment answer is enormous", segment(data="A" * (3 << 20)), LARGE, K.TOO_LARGE),
    Attack("the size is claimed to be 2**60", info(size=1 << 60), DOWN, K.NONSENSE),
    Attack("a small file is claimed to be huge, with one node", info(size=1 << 60, merkleNodes=[[53, FileTree.of(BIG).root.hex]]), LARGE, K.TOO_LARGE),
    Attack("the size is zero", info(size=0), DOWN, K.NONSENSE),
    Attack("the size is negative", info(size=-1), DOWN, K.NONSENSE),
    Attack("the size is a float", info(size=1000.0), DOWN, K.NONSENSE),
    Attack("the size is text", info(size="1000"), DOWN, K.NONSENSE),
    Attack("the information is about another root", info(dataMerkleRoot="0x" + "11" * 32), DOWN, K.NONSENSE),
    Attack("the subtrees do not fold to the root", info(merkleNodes=[[1, "0x" + "11" * 32]]), DOWN, K.NONSENSE),
    Attack("the shard configuration is no power of two", shards({"shardId": 0, "numShard": 3}), DOWN, K.NONSENSE),
    Attack("the shard configuration has no shards", shards({"shardId": 0, "numShard": 0}), DOWN, K.NONSENSE),
    Attack("the list of locations is an object", locations({"url": "x"}), DOWN, K.NONSENSE),
    Attack("the locations are URLs of this machine's files", locations([{"url": "file:///etc/passwd", "config": {"shardId": 0, "numShard": 1}}]), MISSING, None),
    Attack("the answer belongs to another call", wrong_id, DOWN, K.NONSENSE),
    Attack("everything is null", every(lambda: http(b"null")), MISMATCH, K.NONSENSE),
    Attack("everything is an empty body", every(lambda: http(b"")), DOWN, K.NONSENSE),
    Attack("everything is a JSON error with HTTP 600", every(lambda: http(JSON_ERROR, status="600 Internal")), DOWN, K.REFUSED),
    Attack("everything is a JSON error with HTTP 200", every(lambda: http(JSON_ERROR)), DOWN, K.REFUSED),
    Attack("everything is HTTP 503", every(lambda: http(b"busy", status="503 Service Unavailable")), DOWN, K.REFUSED),
    Attack("everything is an HTML page", every(lambda: http(b"<html>captive portal</html>")), MISMATCH, K.WRONG_BYTES),
    Attack("everything is JSON that claims success", every(lambda: http(b'{"code":0,"message":"Success","data":"x"}')), MISMATCH, K.WRONG_BYTES),
    Attack("everything is nested 200,000 levels deep", every(nested), MISMATCH, K.NONSENSE),
    Attack("everything is NaN", every(lambda: http(b'{"id":1,"result":NaN}')), MISMATCH, K.NONSENSE),
    Attack("everything is a number of 5,000 digits", every(lambda: http(b'{"id":1,"result":' + b"9" * 5000 + b"}")), MISMATCH, K.NONSENSE),
    Attack("everything is not UTF-8", every(lambda: http(b"\xff\xfe{}")), MISMATCH, K.NONSENSE),
    Attack("everything is not HTTP", every(lambda: b"SSH-2.0-OpenSSH_9.6\r\n" * 3), DOWN, K.NONSENSE),
    Attack("the connection closes without a word", every(lambda: b""), DOWN, K.UNREACHABLE),
    Attack("fewer bytes come than announced", half_a_body, DOWN, K.NONSENSE),
    Attack("the length announced is far beyond the limit", every(lambda: http(b"x", length=1 << 50)), LARGE, K.TOO_LARGE),
    Attack("the body has no end", every(lambda: forever(b"x" * 65536, first=OK_HEAD + b"\r\n")), LARGE, K.TOO_LARGE),
    Attack("the chunked body has no end", every(lambda: forever(b"10000\r\n" + b"x" * 65536 + b"\r\n", first=OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")), LARGE, K.TOO_LARGE),
    Attack("the body drips byte by byte", every(lambda: forever(b"x", pause=0.1, first=OK_HEAD + b"Content-Length: 9999\r\n\r\n")), DOWN, K.STALLED),
    Attack("the headers drip byte by byte", every(lambda: forever(b"x", pause=0.1, first=OK_HEAD + b"X-Slow: ")), DOWN, K.STALLED),
    Attack("the headers have no end", every(lambda: forever(b"X-More: yes\r\n" * 500, first=OK_HEAD)), DOWN, K.NONSENSE),
    Attack("informational answers come without end", every(lambda: forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)), DOWN, K.STALLED),
    Attack("the body is a gzip bomb", every(bomb), DOWN, K.NONSENSE),
    Attack("everything redirects", every(lambda: http(b"", status="302 Found", headers="Location: http://127.0.0.1:9/\r\n")), DOWN, K.NONSENSE),
    Attack("a redirect has an endless body", every(lambda: forever(b"x" * 65536, first=b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n")), DOWN, K.NONSENSE),
    Attack("nothing ever comes", every(lambda: forever(b"", pause=0.05)), DOWN, K.STALLED),
]  # fmt: skip


@pytest.fixture
def liar(request: pytest.FixtureRequest) -> Iterator[SimStorage]:
    attack: Attack = request.param
    sim = SimStorage(attack.data)
    attack.prepare(sim)
    yield sim
    sim.stop()


def cases() -> list[Any]:
    return [pytest.param(attack, attack, id=attack.name.replace(" ", "-")) for attack in ATTACKS]


def cached_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(("liar", "attack"), cases(), indirect=["liar"])
def test_alone_it_is_refused_and_named_and_nothing_is_cached(
    liar: SimStorage, attack: Attack, tmp_path: Path
) -> None:
    root = FileTree.of(attack.data).root
    storage = ZeroGStorage([Endpoint(liar.url)], timeouts=attack.patience)
    with pytest.raises(StorageError) as caught:
        CachedStorage(storage, ContentCache(tmp_path)).fetch(root, max_bytes=MAX_BYTES)
    assert type(caught.value) is attack.error, caught.value
    assert liar.url in caught.value.message
    named = [fault for fault in caught.value.details["faults"] if fault.startswith(liar.url)]
    if attack.kind is None:
        assert not named
    else:
        assert any(f": {attack.kind.value}: " in fault for fault in named), named
    assert cached_files(tmp_path) == []


@pytest.mark.parametrize(("liar", "attack"), cases(), indirect=["liar"])
def test_before_an_honest_endpoint_it_is_named_and_the_right_bytes_arrive(
    liar: SimStorage, attack: Attack, tmp_path: Path
) -> None:
    honest = SimStorage(attack.data)
    try:
        root = FileTree.of(attack.data).root
        storage = ZeroGStorage([Endpoint(liar.url), Endpoint(honest.url)], timeouts=attack.patience)
        cache = ContentCache(tmp_path)
        found = CachedStorage(storage, cache).fetch(root, max_bytes=MAX_BYTES)
        assert found.data == attack.data
        assert found.source == honest.url
        assert {fault.endpoint for fault in found.faults} == ({liar.url} if attack.kind else set())
        assert cache.get(root, max_bytes=MAX_BYTES) == attack.data
    finally:
        honest.stop()


def test_there_are_at_least_thirty_attacks() -> None:
    assert len(ATTACKS) >= 30
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


def test_a_shorter_length_cannot_hide_content_behind_the_padding(tmp_path: Path) -> None:
    """44 segments, claimed to be 41: same padded tree, every fold holds, yet 3 segments would be lost."""
    data = bytes(itertools.islice(itertools.cycle(range(253)), 44 * SEGMENT))
    sim = SimStorage(data)
    try:
        short = 41 * SEGMENT
        info(size=short)(sim)
        sim.hooks[PROVEN] = lambda _, honest: {**honest, "fileSize": short}
        storage = ZeroGStorage([Endpoint(sim.url)], timeouts=PATIENT)
        with pytest.raises(ContentMismatch, match=r"hides content|did not add up"):
            storage.fetch(FileTree.of(data).root, max_bytes=16 << 20)
    finally:
        sim.stop()


def test_base64_of_the_simulator_is_what_a_node_sends() -> None:
    """Guards the attacks above against passing for a wrong reason: unspoiled, everything is accepted."""
    sim = SimStorage(BIG)
    try:
        found = ZeroGStorage([Endpoint(sim.url)], timeouts=PATIENT).fetch(
            FileTree.of(BIG).root, max_bytes=MAX_BYTES
        )
        assert (found.data, found.faults, found.source) == (BIG, (), sim.url)
        assert base64.b64decode(sim.zgs_downloadSegmentByTxSeq(0, 0, 1)) == BIG[:256]
    finally:
        sim.stop()
