# ruff: noqa: E501 - the cases are tables, one a line
"""Every kind of misbehaviour × the endpoint's role × the phase of the download in which it happens.

Each case is run alone by ``fetch`` and by ``download``: both end in exactly the error named, the liar is named
in it with the right kind of fault, and nothing is under the final name or in the cache; whatever was noted as
proven on disk *is* the file's. Then the same liar stands before an honest endpoint: the right file arrives, and
the result still names the liar.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from storage_sims import SEGMENT, Error, Raw, SimStorage, forever, http

from armlx_chain.errors import ContentMismatch, ContentTooLarge, StorageError, StorageUnavailable
from armlx_chain.storage.cache import CachedStorage, ContentCache
from armlx_chain.storage.files import WholeFiles
from armlx_chain.storage.http import Timeouts
from armlx_chain.storage.interface import FaultKind as K
from armlx_chain.storage.zerog.client import Endpoint, ZeroGStorage
from armlx_chain.storage.zerog.merkle import FileTree
from armlx_chain.storage.zerog.partfile import part_paths

pytestmark = pytest.mark.integration

PATIENT = Timeouts(connect=60.0, read=60.0, total=60.0, transfer=60.0, overall=120.0)
HASTY = Timeouts(connect=0.4, read=0.4, total=0.4, transfer=0.4, overall=4.0)
MAX_BYTES = 2 << 20
DATA = bytes(itertools.islice(itertools.cycle(range(251)), 2 * SEGMENT + 777))
TREE = FileTree.of(DATA)
ROOT = TREE.root
OTHER = bytes(reversed(DATA))
PROVEN, PLAIN = "zgs_downloadSegmentWithProofByTxSeq", "zgs_downloadSegmentByTxSeq"
INFO, SHARD = "zgs_getFileInfo", "zgs_getShardConfig"
LOCATIONS, NODES = "indexer_getFileLocations", "indexer_getShardedNodes"
ABSENT = b'{"code":101,"message":"File not found","data":null}'

Role = Literal["indexer", "node", "gateway"]
Prepare = Callable[[SimStorage], None]


@dataclass(frozen=True)
class Case:
    """One liar.

    Attributes:
        name: Role, phase and kind.
        patience: Timeouts for the liar alone, where the case is about time; such a case has no honest part.
    """

    name: str
    role: Role
    prepare: Prepare
    error: type[StorageError]
    kind: K
    patience: Timeouts | None = None


# --- transport: what any HTTP server can do wrong, in every phase ------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BOMB = gzip.compress(bytes(16 << 20), 1)
DEFLATED = zlib.compress(bytes(16 << 20), 1)


def rpc(text: bytes) -> bytes:
    return http(b'{"jsonrpc":"2.0","id":1,' + text + b"}")


# name, what is sent, the error and the fault of it in an RPC phase, the same for the REST route of the gateway
DOWN, LARGE, WRONG = (StorageUnavailable, ContentTooLarge, ContentMismatch)
TRANSPORT: list[tuple[str, Callable[[], Any], tuple[type[StorageError], K], tuple[type[StorageError], K]]] = [
    ("the connection is closed at once", lambda: b"", (DOWN, K.UNREACHABLE), (DOWN, K.UNREACHABLE)),
    ("the connection is cut in the headers", lambda: b"HTTP/1.1 200 OK\r\nContent-Le", (DOWN, K.NONSENSE), (DOWN, K.NONSENSE)),
    ("the connection is cut in the body", lambda: http(b'{"jsonrpc"', length=9999), (DOWN, K.NONSENSE), (DOWN, K.NONSENSE)),
    ("a chunk is cut", lambda: OK + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n{", (DOWN, K.NONSENSE), (DOWN, K.NONSENSE)),
    ("the body has no end", lambda: forever(b"x" * 65536, first=OK + b"\r\n"), (LARGE, K.TOO_LARGE), (LARGE, K.TOO_LARGE)),
    ("the chunks have no end", lambda: forever(b"10000\r\n" + b"x" * 65536 + b"\r\n", first=OK + b"Transfer-Encoding: chunked\r\n\r\n"), (LARGE, K.TOO_LARGE), (LARGE, K.TOO_LARGE)),
    ("a huge length is announced", lambda: http(b"{}", length=1 << 50), (LARGE, K.TOO_LARGE), (LARGE, K.TOO_LARGE)),
    ("it is not HTTP", lambda: b"220 smtp.example ESMTP\r\n" * 3, (DOWN, K.NONSENSE), (DOWN, K.NONSENSE)),
    ("the headers have no end", lambda: forever(b"X-More: yes\r\n" * 500, first=OK), (DOWN, K.NONSENSE), (DOWN, K.NONSENSE)),
    ("a gzip bomb", lambda: http(BOMB, headers="Content-Encoding: gzip\r\n"), (DOWN, K.NONSENSE), (DOWN, K.NONSENSE)),
    ("a deflate bomb", lambda: http(DEFLATED, headers="Content-Encoding: deflate\r\n"), (DOWN, K.NONSENSE), (DOWN, K.NONSENSE)),
    ("an encoding nobody knows", lambda: http(b"{}", headers="Content-Encoding: br\r\n"), (DOWN, K.NONSENSE), (DOWN, K.NONSENSE)),
    ("a redirect to a file", lambda: http(b"", status="302 Found", headers="Location: file:///etc/passwd\r\n"), (DOWN, K.NONSENSE), (DOWN, K.NONSENSE)),
    ("a redirect to a private address", lambda: http(b"", status="302 Found", headers="Location: http://169.254.169.254/latest\r\n"), (DOWN, K.NONSENSE), (DOWN, K.NONSENSE)),
    ("HTTP 401", lambda: http(b"no", status="401 Unauthorized"), (DOWN, K.REFUSED), (DOWN, K.REFUSED)),
    ("HTTP 404", lambda: http(b"404 page not found", status="404 Not Found"), (DOWN, K.REFUSED), (DOWN, K.REFUSED)),
    ("HTTP 500", lambda: http(b"oops", status="500 Internal Server Error"), (DOWN, K.REFUSED), (DOWN, K.REFUSED)),
    ("HTTP 600", lambda: http(b'{"code":2}', status="600 Internal"), (DOWN, K.REFUSED), (DOWN, K.REFUSED)),
    ("an empty body", lambda: http(b""), (DOWN, K.NONSENSE), (DOWN, K.NONSENSE)),
    ("a web page", lambda: http(b"<html>sign in</html>"), (DOWN, K.NONSENSE), (WRONG, K.WRONG_BYTES)),
    ("JSON nested 100,000 deep", lambda: http(b"[" * 100_000), (DOWN, K.NONSENSE), (WRONG, K.WRONG_BYTES)),
    ("a number of 5,000 digits", lambda: rpc(b'"result":' + b"9" * 5000), (DOWN, K.NONSENSE), (WRONG, K.WRONG_BYTES)),
    ("an infinite number", lambda: rpc(b'"result":Infinity'), (DOWN, K.NONSENSE), (WRONG, K.WRONG_BYTES)),
    ("text that is not UTF-8", lambda: http(b'{"result":"\xff"}'), (DOWN, K.NONSENSE), (WRONG, K.WRONG_BYTES)),
    ("the answer to another call", lambda: http(b'{"jsonrpc":"2.0","id":987654321,"result":null}'), (DOWN, K.NONSENSE), (WRONG, K.WRONG_BYTES)),
    ("neither result nor error", lambda: rpc(b'"x":1'), (DOWN, K.NONSENSE), (WRONG, K.WRONG_BYTES)),
    ("an error that is no object", lambda: rpc(b'"error":"bad"'), (DOWN, K.NONSENSE), (WRONG, K.WRONG_BYTES)),
    ("a refusal", lambda: rpc(b'"error":{"code":-32000,"message":"no"}'), (DOWN, K.REFUSED), (WRONG, K.WRONG_BYTES)),
]  # fmt: skip


def no_gateway(sim: SimStorage) -> None:
    sim.rest = lambda _: http(ABSENT)


def rpc_phase(method: str, sent: Callable[[], Any]) -> Prepare:
    def prepare(sim: SimStorage) -> None:
        no_gateway(sim)
        if method == NODES:
            sim.hooks[LOCATIONS] = lambda _, __: None
        if method == PLAIN:
            sim.hooks[PROVEN] = lambda _, __: Error(-32601, "Method not found")
        sim.hooks[method] = lambda _, __: Raw(sent())

    return prepare


def rest_phase(sent: Callable[[], Any]) -> Prepare:
    def prepare(sim: SimStorage) -> None:
        sim.rest = lambda _: sent()

    return prepare


PHASES: list[tuple[Role, str]] = [("indexer", LOCATIONS), ("indexer", NODES), ("node", INFO), ("node", SHARD), ("node", PROVEN), ("node", PLAIN)]  # fmt: skip
CASES = [
    Case(f"{role}: {method}: {name}", role, rpc_phase(method, sent), *in_rpc)
    for name, sent, in_rpc, _ in TRANSPORT
    for role, method in PHASES
]
CASES += [
    Case(f"gateway: file: {name}", "gateway", rest_phase(sent), *in_rest)
    for name, sent, _, in_rest in TRANSPORT
]

# --- time --------------------------------------------------------------------------------------------------

SLOW: list[tuple[str, Callable[[], Any]]] = [
    ("silence", lambda: forever(b"", pause=0.02)),
    ("a byte now and then", lambda: forever(b"x", pause=0.02, first=OK + b"Content-Length: 9999\r\n\r\n")),
    ("a header byte now and then", lambda: forever(b"x", pause=0.02, first=OK + b"X-Slow: ")),
]
CASES += [
    Case(f"node: {method}: {name}", "node", rpc_phase(method, sent), StorageUnavailable, K.STALLED, HASTY)
    for name, sent in SLOW
    for method in (INFO, PROVEN)
]
CASES += [
    Case(f"gateway: file: {name}", "gateway", rest_phase(sent), StorageUnavailable, K.STALLED, HASTY)
    for name, sent in SLOW
]

# --- content: wrong bytes in every class of position, by every route ---------------------------------------


def flip(at: int) -> Callable[[bytes], bytes]:
    place = at % len(DATA)
    return lambda data: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


CONTENT: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("the first byte of the file", flip(0)),
    ("the last byte of the first segment", flip(SEGMENT - 1)),
    ("the first byte of a middle segment", flip(SEGMENT)),
    ("a byte within a middle segment", flip(SEGMENT + 1000)),
    ("the last byte of the last full segment", flip(2 * SEGMENT - 1)),
    ("the first byte of the last segment", flip(2 * SEGMENT)),
    ("the last byte of the file", flip(-1)),
    ("a byte in the padding", lambda data: data + b"\1"),
    ("the file is short by a byte", lambda data: data[:-1]),
    ("the file is short by a chunk", lambda data: data[:-256]),
    ("the file is short by a segment", lambda data: data[:-SEGMENT]),
    ("the file is long by a chunk", lambda data: data + b"\7" * 256),
    (
        "two segments are swapped",
        lambda data: data[SEGMENT : 2 * SEGMENT] + data[:SEGMENT] + data[2 * SEGMENT :],
    ),
    ("two chunks are swapped", lambda data: data[256:512] + data[:256] + data[512:]),
    ("zeros instead of the file", lambda data: bytes(len(data))),
    ("an older version of the file", lambda data: OTHER),
]


def spoiled(route: str, change: Callable[[bytes], bytes]) -> Prepare:
    def prepare(sim: SimStorage) -> None:
        sim.spoil_file(change)
        if route == "plain":
            sim.hooks[PROVEN] = lambda _, __: Error(-32601, "Method not found")
        if route != "file":
            no_gateway(sim)

    return prepare


ROUTES: list[tuple[Role, str]] = [("node", "proof"), ("node", "plain"), ("gateway", "file")]
CASES += [
    Case(f"{role}: {route}: {name}", role, spoiled(route, change), ContentMismatch, K.WRONG_BYTES)
    for name, change in CONTENT
    for role, route in ROUTES
]

# --- proofs ------------------------------------------------------------------------------------------------


def proof(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Prepare:
    def prepare(sim: SimStorage) -> None:
        no_gateway(sim)
        sim.hooks[PLAIN] = lambda _, __: None
        sim.hooks[PROVEN] = lambda _, honest: {**honest, "proof": change(honest["proof"])}

    return prepare


def segment(change: Callable[[dict[str, Any]], Any]) -> Prepare:
    def prepare(sim: SimStorage) -> None:
        no_gateway(sim)
        sim.hooks[PLAIN] = lambda _, __: None
        sim.hooks[PROVEN] = lambda _, honest: change(honest)

    return prepare


def other_hash(entry: str) -> str:
    return "0x" + hashlib.sha3_256(bytes.fromhex(entry[2:])).hexdigest()


def under_another_scheme(sim: SimStorage) -> None:
    """The right bytes, with a proof that is consistent under SHA-256 and ends in the root asked for."""
    no_gateway(sim)
    sim.hooks[PLAIN] = lambda _, __: None

    def answer(params: list[Any], honest: dict[str, Any]) -> dict[str, Any]:
        leaf = hashlib.sha256(base64.b64decode(honest["data"])).hexdigest()
        return {**honest, "proof": {**honest["proof"], "lemma": ["0x" + leaf, *honest["proof"]["lemma"][1:]]}}

    sim.hooks[PROVEN] = answer


def of_the_neighbour(sim: SimStorage) -> None:
    no_gateway(sim)
    sim.hooks[PLAIN] = lambda _, __: None
    honest = sim.zgs_downloadSegmentWithProofByTxSeq
    sim.hooks[PROVEN] = lambda p, _: {**honest(p[0], (p[1] + 1) % 3), "index": p[1]}


def of_another_file(sim: SimStorage) -> None:
    no_gateway(sim)
    sim.hooks[PLAIN] = lambda _, __: None
    other = SimStorage(OTHER)
    other.stop()
    sim.hooks[PROVEN] = lambda p, _: other.zgs_downloadSegmentWithProofByTxSeq(0, p[1])


W, N = (ContentMismatch, K.WRONG_BYTES), (StorageUnavailable, K.NONSENSE)
PROOFS: list[tuple[str, Prepare, tuple[type[StorageError], K]]] = [
    ("a wrong leaf", proof(lambda p: {**p, "lemma": [other_hash(p["lemma"][0]), *p["lemma"][1:]]}), W),
    ("a wrong sibling", proof(lambda p: {**p, "lemma": [p["lemma"][0], other_hash(p["lemma"][1]), *p["lemma"][2:]]}), W),
    ("a wrong root", proof(lambda p: {**p, "lemma": [*p["lemma"][:-1], other_hash(p["lemma"][-1])]}), W),
    ("siblings in another order", proof(lambda p: {**p, "lemma": [p["lemma"][0], *reversed(p["lemma"][1:-1]), OTHER and p["lemma"][-1]], "path": list(reversed(p["path"]))} if len(set(p["path"])) > 1 else {**p, "path": [not s for s in p["path"]]}), W),
    ("a path that turns the other way", proof(lambda p: {**p, "path": [not step for step in p["path"]]}), W),
    ("a path that is too short", proof(lambda p: {"lemma": [p["lemma"][0], *p["lemma"][2:]], "path": p["path"][1:]}), W),
    ("a path that is too long", proof(lambda p: {"lemma": [*p["lemma"][:-1], p["lemma"][0], p["lemma"][-1]], "path": [*p["path"], True]}), W),
    ("one hash only, as of a small file", proof(lambda p: {"lemma": p["lemma"][-1:], "path": []}), W),
    ("no hashes", proof(lambda p: {"lemma": [], "path": []}), W),
    ("one hash too many", proof(lambda p: {**p, "lemma": [*p["lemma"], p["lemma"][-1]]}), W),
    ("endless hashes", proof(lambda p: {**p, "lemma": p["lemma"] * 40}), N),
    ("a short hash", proof(lambda p: {**p, "lemma": [p["lemma"][0][:-2], *p["lemma"][1:]]}), N),
    ("numbers instead of directions", proof(lambda p: {**p, "path": [1 for _ in p["path"]]}), N),
    ("the proof is null", segment(lambda s: {**s, "proof": None}), N),
    ("another index", segment(lambda s: {**s, "index": s["index"] + 1}), W),
    ("a negative index", segment(lambda s: {**s, "index": -1}), N),
    ("another length", segment(lambda s: {**s, "fileSize": s["fileSize"] - 1}), W),
    ("a length of 2**70", segment(lambda s: {**s, "fileSize": 1 << 70}), N),
    ("the data is empty", segment(lambda s: {**s, "data": ""}), W),
    ("the data is no base64", segment(lambda s: {**s, "data": "*" + s["data"][1:]}), N),
    ("the data has a line break", segment(lambda s: {**s, "data": s["data"][:64] + "\n" + s["data"][64:]}), N),
    ("the data is url-safe base64", segment(lambda s: {**s, "data": "-_" + s["data"][2:]}), N),
    ("the data is a number", segment(lambda s: {**s, "data": 7}), N),
    ("the segment is a list", segment(lambda s: [s]), N),
    ("the proof of the neighbour", of_the_neighbour, W),
    ("another file with its own proof", of_another_file, W),
    ("the right bytes under another scheme", under_another_scheme, W),
]  # fmt: skip
CASES += [Case(f"node: proof: {name}", "node", prepare, *outcome) for name, prepare, outcome in PROOFS]

# --- lengths and lists -------------------------------------------------------------------------------------


def info(**changes: Any) -> Prepare:
    def prepare(sim: SimStorage) -> None:
        no_gateway(sim)
        sim.hooks[INFO] = lambda _, honest: {**honest, "tx": {**honest["tx"], **changes}}

    return prepare


def short_by_the_tail(sim: SimStorage) -> None:
    """The same padded size, two chunks less: every fold holds, yet content would be lost."""
    size = len(DATA) - 512
    info(size=size)(sim)
    sim.hooks[PROVEN] = lambda _, h: {
        **h,
        "fileSize": size,
        "data": h["data"] if h["index"] < 2 else h["data"][:4] * 86 + "AA==",
    }


FOLDED = [[n.height + 1, "0x" + n.root.hex()] for n in TREE.submission_nodes]
SIZES: list[tuple[str, Prepare, tuple[type[StorageError], K]]] = [
    ("a length beyond the limit", info(size=MAX_BYTES + 1, merkleNodes=[[14, ROOT.hex], [10, ROOT.hex]]), N),
    ("a whole tree beyond the limit", info(size=1 << 40, merkleNodes=[[33, ROOT.hex]]), (ContentTooLarge, K.TOO_LARGE)),
    ("a length of zero", info(size=0), N),
    ("a length of minus one", info(size=-1), N),
    ("a length of 2**64", info(size=1 << 64), N),
    ("a length as text", info(size=str(len(DATA))), N),
    ("a shorter length of the same padding", short_by_the_tail, W),
    ("subtrees of another file", info(merkleNodes=[[n[0], other_hash(str(n[1]))] for n in FOLDED]), N),
    ("subtrees in another order", info(merkleNodes=FOLDED[::-1]), N),
    ("no subtrees", info(merkleNodes=[]), N),
    ("another root", info(dataMerkleRoot="0x" + "22" * 32), N),
    ("a negative position in the flow", info(startEntryIndex=-1024), N),
    ("a submission of 2**64", info(seq=1 << 64), N),
]  # fmt: skip
CASES += [Case(f"node: {INFO}: {name}", "node", prepare, *outcome) for name, prepare, outcome in SIZES]


def answering(method: str, value: Any) -> Prepare:
    def prepare(sim: SimStorage) -> None:
        no_gateway(sim)
        if method == NODES:
            sim.hooks[LOCATIONS] = lambda _, __: None
        sim.hooks[method] = lambda _, __: value

    return prepare


ENTRY = {"url": "http://127.0.0.1:1", "config": {"shardId": 0, "numShard": 1}}
SHAPES: list[tuple[Role, str, str, Any]] = [
    ("indexer", LOCATIONS, "a number", 7),
    ("indexer", LOCATIONS, "an object", {"url": "x"}),
    ("indexer", LOCATIONS, "entries without a url", [{"config": {"shardId": 0, "numShard": 1}}]),
    ("indexer", LOCATIONS, "urls that are numbers", [{**ENTRY, "url": 5}]),
    ("indexer", LOCATIONS, "a list of 5,000 nodes", [ENTRY] * 5000),
    ("indexer", NODES, "a list", []),
    ("indexer", NODES, "trusted nodes that are text", {"trusted": "all"}),
    ("node", INFO, "text", "yes"),
    ("node", INFO, "no transaction", {"finalized": True}),
    ("node", SHARD, "no shards", {"shardId": 0, "numShard": 0}),
    ("node", SHARD, "three shards", {"shardId": 0, "numShard": 3}),
    ("node", SHARD, "a shard beyond their number", {"shardId": 4, "numShard": 4}),
    ("node", SHARD, "null", None),
]
CASES += [
    Case(f"{role}: {method}: {name}", role, answering(method, value), StorageUnavailable, K.NONSENSE)
    for role, method, name, value in SHAPES
]


# --- the suite ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def honest() -> Iterator[SimStorage]:
    sim = SimStorage(DATA)
    yield sim
    sim.stop()


def require_named(error: StorageError, case: Case, url: str) -> None:
    assert type(error) is case.error, error
    assert url in error.message
    named = [fault for fault in error.details["faults"] if fault.startswith(url)]
    assert any(f": {case.kind.value}: " in fault for fault in named), named


def require_only_proven(destination: Path) -> None:
    """No final file; and what the state notes as proven is the file's, byte for byte."""
    assert not destination.exists()
    content, state = part_paths(destination)
    assert set(os.listdir(destination.parent)) <= {content.name, state.name, "cache"}
    if not state.exists():
        return
    for index, _ in struct.iter_unpack(">Q32s", state.read_bytes()[64:]):
        at = index * SEGMENT
        with content.open("rb") as file:
            file.seek(at)
            piece = file.read(min(SEGMENT, len(DATA) - at))
        assert piece == DATA[at : at + SEGMENT]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name.replace(" ", "-")) for case in CASES])
def test_a_hostile_endpoint_is_named_and_nothing_unproven_gets_a_name(
    case: Case, honest: SimStorage, tmp_path: Path
) -> None:
    liar = SimStorage(DATA)
    case.prepare(liar)
    destination = tmp_path / "alone" / "f"
    destination.parent.mkdir()
    endpoint = Endpoint(liar.url, case.role)
    try:
        alone = ZeroGStorage([endpoint], timeouts=case.patience or PATIENT)
        with pytest.raises(StorageError) as fetched:
            CachedStorage(WholeFiles(alone), ContentCache(tmp_path / "alone" / "cache")).fetch(ROOT, max_bytes=MAX_BYTES)  # fmt: skip
        require_named(fetched.value, case, liar.url)
        with pytest.raises(StorageError) as downloaded:
            alone.download(ROOT, destination, max_bytes=MAX_BYTES)
        require_named(downloaded.value, case, liar.url)
        require_only_proven(destination)
        assert not [
            path for path in (tmp_path / "alone" / "cache").rglob("*") if ROOT.digest.hex() in path.name
        ]
        if case.patience is None:
            both = ZeroGStorage([endpoint, Endpoint(honest.url, case.role)], timeouts=PATIENT)
            found = both.download(ROOT, tmp_path / "f", max_bytes=MAX_BYTES)
            assert (tmp_path / "f").read_bytes() == DATA
            assert liar.url in {fault.endpoint for fault in found.faults}
            assert honest.url in found.source
    finally:
        liar.stop()


def test_there_are_enough_cases_and_each_has_its_own_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 80
    assert {case.role for case in CASES} == {"indexer", "node", "gateway"}


def test_the_same_server_unspoiled_is_accepted(honest: SimStorage, tmp_path: Path) -> None:
    """Guards the cases against passing for a wrong reason."""
    for role in ("indexer", "node", "gateway"):
        storage = ZeroGStorage([Endpoint(honest.url, role)], timeouts=PATIENT)  # type: ignore[arg-type]
        assert storage.fetch(ROOT, max_bytes=MAX_BYTES).data == DATA
        found = storage.download(ROOT, tmp_path / "f", max_bytes=MAX_BYTES)
        assert ((tmp_path / "f").read_bytes(), found.faults) == (DATA, ())


@pytest.mark.parametrize("role", ["indexer", "node", "gateway"])
def test_https_to_a_server_without_tls_is_named(role: Any, honest: SimStorage, tmp_path: Path) -> None:
    url = honest.url.replace("http://", "https://")
    storage = ZeroGStorage([Endpoint(url, role)], timeouts=HASTY)
    for act in (
        lambda: storage.fetch(ROOT, max_bytes=MAX_BYTES),
        lambda: storage.download(ROOT, tmp_path / "f", max_bytes=MAX_BYTES),
    ):
        with pytest.raises(StorageUnavailable) as caught:
            act()
        assert url in caught.value.message
    require_only_proven(tmp_path / "f")


def test_a_json_answer_that_hashes_to_nothing_is_never_a_file(tmp_path: Path) -> None:
    """HTTP 200 with a JSON body is how the gateway refuses; its text must not become the file."""
    sim = SimStorage(DATA)
    sim.rest = lambda _: http(
        json.dumps({"code": 0, "message": "Success", "data": DATA[:100].hex()}).encode()
    )
    try:
        with pytest.raises(ContentMismatch):
            ZeroGStorage([Endpoint(sim.url, "gateway")], timeouts=PATIENT).download(
                ROOT, tmp_path / "f", max_bytes=MAX_BYTES
            )
    finally:
        sim.stop()
    require_only_proven(tmp_path / "f")
