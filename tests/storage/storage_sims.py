"""Simulators: a chain with one Flow contract, and a storage server that does exactly what a test tells it.

They are not mocks of our own parts: both are reached over real HTTP, and the server shares no code with the
local storage node.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from eth_abi.abi import decode, encode

from armlx_chain.storage.zerog.merkle import FileTree
from armlx_chain.storage.zerog.submission import MARKET_SELECTOR, PRICE_SELECTOR, SUBMIT_TOPIC
from armlx_chain.types import Address, Wei

SEGMENT = 262144
FLOW = Address("0x1000000000000000000000000000000000000001")
MARKET = Address("0x2000000000000000000000000000000000000002")
ACCOUNT = Address("0x1111111111111111111111111111111111111111")
PRICE = Wei(30733644962)

Sent = bytes | Iterable[bytes]


class HttpSim:
    """An HTTP server whose every answer is raw bytes, or a stream of them, from ``respond``."""

    def __init__(self) -> None:
        sim = self
        self.requests: list[tuple[str, str, bytes]] = []
        self.stopping = threading.Event()

        class Handler(socketserver.StreamRequestHandler):
            timeout = 10

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    request = self._read()
                    if request is not None:
                        self._write(sim.respond(*request))

            def _read(self) -> tuple[str, str, bytes] | None:
                line = self.rfile.readline(65536).split()
                length = 0
                while (header := self.rfile.readline(65536)) not in (b"\r\n", b""):
                    name, _, value = header.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                if len(line) < 2:
                    return None
                request = (line[0].decode("latin-1"), line[1].decode("latin-1"), self.rfile.read(length))
                sim.requests.append(request)
                return request

            def _write(self, answer: Sent) -> None:
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    if sim.stopping.is_set():
                        return
                    self.wfile.write(piece)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def respond(self, method: str, target: str, body: bytes) -> Sent:
        raise NotImplementedError

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def http(body: bytes, *, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    """A whole HTTP/1.1 answer."""
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + body


class Raw:
    """An answer that goes out as it is, instead of a JSON-RPC result."""

    def __init__(self, sent: Sent) -> None:
        self.sent = sent


class Error:
    """A JSON-RPC error."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        self.body = {"code": code, "message": message, **({"data": data} if data is not None else {})}


Hook = Callable[[list[Any], Any], Any]


class SimStorage(HttpSim):
    """Indexer, node and gateway for some files. ``hooks`` change the result of a method, ``rest`` the file.

    A hook gets the parameters and the honest result; ``every`` replaces every answer of the server.
    """

    def __init__(self, *files: bytes, start_entry: int = 1024) -> None:
        self.files = {tree.root.hex: (data, tree) for data in files for tree in [FileTree.of(data)]}
        self.start_entry = start_entry
        self.hooks: dict[str, Hook] = {}
        self.rest: Callable[[bytes], Sent] | None = None
        self.every: Callable[[], Sent] | None = None
        self.shard = (0, 1)
        super().__init__()

    # --- honest answers ---------------------------------------------------------------------------------

    def respond(self, method: str, target: str, body: bytes) -> Sent:
        if self.every is not None:
            return self.every()
        if method == "POST":
            return self._rpc(json.loads(body))
        root = target.partition("root=")[2]
        entry = self.files.get(root)
        if entry is None:
            return http(b'{"code":101,"message":"File not found","data":null}')
        if self.rest is not None:
            return self.rest(entry[0])
        return http(entry[0], headers=f'Content-Disposition: attachment; filename="{root}"\r\n')

    def _rpc(self, call: dict[str, Any]) -> Sent:
        method, params = call["method"], call["params"]
        result = getattr(self, method)(*params)
        if method in self.hooks:
            result = self.hooks[method](params, result)
        if isinstance(result, Raw):
            return result.sent
        body = {"error": result.body} if isinstance(result, Error) else {"result": result}
        return http(json.dumps({"jsonrpc": "2.0", "id": call["id"], **body}).encode())

    def _listed(self) -> dict[str, Any]:
        config = {"shardId": self.shard[0], "numShard": self.shard[1]}
        return {"url": self.url, "config": config, "latency": 1, "since": 0}

    def indexer_getFileLocations(self, root: str) -> Any:
        return [self._listed()] if root in self.files else Error(-32000, "file not found")

    def indexer_getShardedNodes(self) -> Any:
        return {"trusted": [self._listed()], "discovered": None}

    def zgs_getShardConfig(self) -> Any:
        return {"shardId": self.shard[0], "numShard": self.shard[1]}

    def zgs_getFileInfo(self, root: str, available: bool) -> Any:
        if root not in self.files:
            return None
        tree = self.files[root][1]
        tx = {
            "streamIds": [],
            "data": [],
            "dataMerkleRoot": root,
            "merkleNodes": [[n.height + 1, "0x" + n.root.hex()] for n in tree.submission_nodes],
            "startEntryIndex": self.start_entry,
            "size": tree.size,
            "seq": list(self.files).index(root),
        }
        return {"tx": tx, "finalized": True, "isCached": False, "uploadedSegNum": 1, "pruned": False}

    def _by_seq(self, seq: int) -> tuple[bytes, FileTree]:
        return list(self.files.values())[seq]

    def zgs_downloadSegmentByTxSeq(self, seq: int, start: int, end: int) -> Any:
        data = self._by_seq(seq)[0][start * 256 : end * 256]
        return base64.b64encode(data + bytes(-len(data) % 256)).decode()

    def zgs_downloadSegmentWithProofByTxSeq(self, seq: int, index: int) -> Any:
        data, tree = self._by_seq(seq)
        if index >= -(-tree.size // SEGMENT):
            return Error(-32602, "Invalid params: index", "index out of bound")
        piece = data[index * SEGMENT : (index + 1) * SEGMENT]
        proof = tree.proof(index)
        return {
            "root": tree.root.hex,
            "data": base64.b64encode(piece + bytes(-len(piece) % 256)).decode(),
            "index": index,
            "proof": {"lemma": ["0x" + h.hex() for h in proof.lemma], "path": list(proof.path)},
            "fileSize": tree.size,
        }

    # --- one line spoils all routes ----------------------------------------------------------------------

    def spoil_file(self, change: Callable[[bytes], bytes]) -> None:
        """Serve ``change(file)`` by every route, proofs and information left as they were."""
        changed = {seq: change(data) for seq, (data, _) in enumerate(self.files.values())}

        def plain(params: list[Any], _: Any) -> Any:
            data = changed[params[0]][params[1] * 256 : params[2] * 256]
            return base64.b64encode(data + bytes(-len(data) % 256)).decode()

        def proven(params: list[Any], honest: Any) -> Any:
            data = changed[params[0]][params[1] * SEGMENT : (params[1] + 1) * SEGMENT]
            return {**honest, "data": base64.b64encode(data + bytes(-len(data) % 256)).decode()}

        self.hooks["zgs_downloadSegmentByTxSeq"] = plain
        self.hooks["zgs_downloadSegmentWithProofByTxSeq"] = proven
        self.rest = lambda data: http(change(data), headers="Content-Disposition: attachment\r\n")

    def spoil_segments(self, change: Hook) -> None:
        """Replace both kinds of segment answers, and refuse the gateway route."""
        self.hooks["zgs_downloadSegmentByTxSeq"] = change
        self.hooks["zgs_downloadSegmentWithProofByTxSeq"] = change
        self.rest = lambda _: http(b'{"code":101,"message":"File not found","data":null}')


def forever(piece: bytes, *, pause: float = 0.0, first: bytes = b"") -> Iterator[bytes]:
    """An answer without an end."""
    yield first
    while True:
        yield piece
        if pause:
            time.sleep(pause)


class SimChain(HttpSim):
    """A chain with a Flow and a Market, one block per submission; positions as the real Flow assigns them."""

    def __init__(self) -> None:
        self.blocks: list[dict[str, Any]] = [{"hash": "0x" + "00" * 31 + "01", "logs": []}]
        self.cursor = 1
        self.count = 0
        self.salt = 0
        self.down = False
        super().__init__()

    def respond(self, method: str, target: str, body: bytes) -> Sent:
        if self.down:
            return http(b"", status="503 Service Unavailable")
        call = json.loads(body)
        result = getattr(self, call["method"])(*call["params"])
        return http(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}).encode())

    def eth_chainId(self) -> str:
        return hex(31337)

    def eth_blockNumber(self) -> str:
        return hex(len(self.blocks) - 1)

    def eth_getBlockByNumber(self, number: str, _full: bool) -> Any:
        index = int(number, 16)
        return {"hash": self.blocks[index]["hash"]} if index < len(self.blocks) else None

    def eth_getLogs(self, query: dict[str, Any]) -> Any:
        if query["address"] != FLOW or query["topics"] != ["0x" + SUBMIT_TOPIC.hex()]:
            return []
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        return [entry for block in self.blocks[first : last + 1] for entry in block["logs"]]

    def eth_call(self, call: dict[str, Any], _block: str) -> Any:
        if call == {"to": FLOW, "data": "0x" + MARKET_SELECTOR.hex()}:
            return "0x" + MARKET[2:].rjust(64, "0")
        if call == {"to": MARKET, "data": "0x" + PRICE_SELECTOR.hex()}:
            return "0x" + PRICE.to_bytes(32, "big").hex()
        return "0x"

    def mine(self, logs: list[Any] | None = None) -> None:
        number = len(self.blocks) + (self.salt << 32)
        self.blocks.append({"hash": "0x" + number.to_bytes(32, "big").hex(), "logs": logs or []})

    def reorganise(self, drop: int) -> None:
        """Forget the last ``drop`` blocks; new ones get other hashes."""
        removed = sum(len(block["logs"]) for block in self.blocks[-drop:])
        del self.blocks[-drop:]
        self.count -= removed
        self.salt += 1

    def submit(self, calldata: bytes) -> int:
        """Execute ``submit``: assign a position, emit the event. Returns the submission's number."""
        types = ["((uint256,bytes,(bytes32,uint256)[]),address)"]
        (((length, tags, nodes), _submitter),) = decode(types, calldata[4:])
        heights = [height for _, height in nodes]
        total = sum(1 << height for height in heights)
        start = -(-self.cursor >> heights[0]) << heights[0]
        if start % 1024 and start // 1024 != (start + total - 1) // 1024:
            start = (start // 1024 + 1) * 1024
            start = -(-start >> heights[0]) << heights[0]
        self.cursor = start + total
        seq = self.count
        self.count += 1
        event = ["uint256", "uint256", "uint256", "(uint256,bytes,(bytes32,uint256)[])"]
        data = encode(event, [seq, start, total, (length, tags, nodes)])
        self.mine([{"data": "0x" + data.hex(), "address": FLOW}])
        return seq


class SimSender:
    """A FlowSender over :class:`SimChain` that records what was sent.

    With ``journal`` it sends the same calldata once, as the real one does; without, every call pays.
    """

    def __init__(self, chain: SimChain, *, journal: bool = False) -> None:
        self.chain = chain
        self.journal = journal
        self.sent: list[tuple[Address, bytes, Wei, str]] = []

    def submit(self, *, flow: Address, calldata: bytes, value: Wei, label: str) -> None:
        if self.journal and any(calldata == entry[1] for entry in self.sent):
            return
        self.sent.append((flow, calldata, value, label))
        self.chain.submit(calldata)
