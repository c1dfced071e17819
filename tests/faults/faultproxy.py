"""A JSON-RPC proxy that misbehaves by a seed, in front of any node.

::

    with FaultProxy("http://127.0.0.1:8545") as proxy:
        proxy.misbehave(seed=7, rates={Fault.RESET: 0.05, Fault.SWALLOW: 0.2})
        …  # use proxy.url; proxy.counts says what was done
        proxy.behave()

Deterministic as long as its client asks one thing at a time. It hears only on 127.0.0.1.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from eth_utils import keccak

SEND = "eth_sendRawTransaction"
RECEIPT = "eth_getTransactionReceipt"
_BLOCK_PARAMETER = {
    "eth_getBlockByNumber": 0,
    "eth_getTransactionCount": 1,
    "eth_getBalance": 1,
    "eth_call": 1,
}
FALSE_WORDS = (
    "already known",
    "nonce too low: next nonce 9, tx nonce 1",
    "nonce too high",
    "replacement transaction underpriced",
    "transaction gas price below minimum: gas tip cap 1, minimum needed 3000000000",
    "insufficient funds for gas * price + value: balance 0, tx cost 1",
    "txpool is full",
    "intrinsic gas too low",
    "max fee per gas less than block base fee",
    "internal error: the cat sat on the keyboard",
)


class Fault(Enum):
    """What can go wrong with one request."""

    LATENCY = "latency"
    TIMEOUT = "timeout"
    RESET = "reset"
    CUT = "truncated JSON"
    TOO_MANY = "429"
    SERVER_ERROR = "5xx"
    WRONG_CHAIN = "wrong chain id"
    STALE = "stale head"
    CONTRADICTION = "contradictory receipt"
    SWALLOW = "dropped broadcast"
    DOUBLE = "duplicated broadcast"
    AFTERWARDS = "error after forwarding"
    FALSE_REFUSAL = "false refusal"


_ANY = (Fault.LATENCY, Fault.TIMEOUT, Fault.RESET, Fault.CUT, Fault.TOO_MANY, Fault.SERVER_ERROR)
_ONLY: Mapping[Fault, Callable[[str], bool]] = {
    **{fault: lambda _method: True for fault in _ANY},
    Fault.WRONG_CHAIN: lambda method: method == "eth_chainId",
    Fault.STALE: lambda method: method in _BLOCK_PARAMETER or method in (RECEIPT, "eth_blockNumber"),
    Fault.CONTRADICTION: lambda method: method == RECEIPT,
    Fault.SWALLOW: lambda method: method == SEND,
    Fault.DOUBLE: lambda method: method == SEND,
    Fault.AFTERWARDS: lambda method: method == SEND,
    Fault.FALSE_REFUSAL: lambda method: method == SEND,
}


class _Hang(Exception):
    """Close the connection without an answer."""


class FaultProxy:
    """Serves on a free port of 127.0.0.1 until it is left."""

    def __init__(self, upstream: str, *, long_seconds: float = 0.6) -> None:
        self._upstream = urlsplit(upstream)
        self._long = long_seconds
        self._lock = threading.Lock()
        self._rng = random.Random(0)
        self._rates: Mapping[Fault, float] = {}
        self._connection: http.client.HTTPConnection | None = None
        self.counts: Counter[str] = Counter()
        self.forwarded: list[str] = []
        """Hashes of the transactions that reached the node, in order."""
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def misbehave(self, *, seed: object, rates: Mapping[Fault, float]) -> None:
        """From now on, each fault strikes with its rate where it applies."""
        with self._lock:
            self._rng = random.Random(f"proxy {seed}")
            self._rates = dict(rates)

    def behave(self) -> None:
        """From now on, forward everything."""
        with self._lock:
            self._rates = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if self._connection is not None:
            self._connection.close()

    # -- one request ---------------------------------------------------------------------------------------

    def answer(self, body: bytes) -> tuple[int, bytes]:
        """Status and body for a request; may sleep, and raises ``_Hang`` to say nothing at all."""
        request = json.loads(body)
        with self._lock:
            if isinstance(request, list):
                return self._batch(request)
            fault = self._choose(str(request.get("method")))
            pause, status, reply = self._apply(fault, request)
        if pause:
            time.sleep(pause)
        return status, reply

    def _batch(self, requests: list[dict[str, Any]]) -> tuple[int, bytes]:
        replies = []
        for request in requests:
            _, status, reply = self._apply(self._choose(str(request.get("method"))), request)
            if status != 200:
                return status, reply
            replies.append(reply)
        return 200, b"[" + b",".join(replies) + b"]"

    def _choose(self, method: str) -> Fault | None:
        for fault, rate in self._rates.items():
            if _ONLY[fault](method) and self._rng.random() < rate:
                self.counts[fault.value] += 1
                return fault
        return None

    def _apply(self, fault: Fault | None, request: dict[str, Any]) -> tuple[float, int, bytes]:
        if fault is Fault.RESET:
            raise _Hang
        if fault is Fault.TOO_MANY:
            return 0, 429, b"Too Many Requests"
        if fault is Fault.SERVER_ERROR:
            return 0, self._rng.choice([500, 502, 503]), b"<html>Bad Gateway</html>"
        if fault is Fault.WRONG_CHAIN:
            return 0, 200, _result(request, "0x1")
        if fault is Fault.STALE:
            return 0, 200, self._stale(request)
        if request["method"] == SEND:
            return self._send(fault, request)
        if fault is Fault.CONTRADICTION:
            return 0, 200, self._contradict(request)
        reply = self._forward(request)
        if fault is Fault.CUT:
            reply = reply[: max(1, len(reply) // 2)]
        pause = {Fault.LATENCY: self._rng.uniform(0.001, 0.02), Fault.TIMEOUT: self._long}.get(fault, 0.0)  # type: ignore[arg-type]
        return pause, 200, reply

    def _send(self, fault: Fault | None, request: dict[str, Any]) -> tuple[float, int, bytes]:
        tx_hash = "0x" + keccak(bytes.fromhex(request["params"][0][2:])).hex()
        if fault is Fault.SWALLOW:
            return 0, 200, _result(request, tx_hash)
        if fault is Fault.FALSE_REFUSAL:
            error = {"code": -32000, "message": self._rng.choice(FALSE_WORDS)}
            return 0, 200, _encode({"jsonrpc": "2.0", "id": request["id"], "error": error})
        self.forwarded.append(tx_hash)
        reply = self._forward(request)
        if fault is Fault.DOUBLE:
            reply = self._forward(request)
        if fault is Fault.AFTERWARDS:
            return 0, 502, b"Bad Gateway"
        if fault is Fault.CUT:
            reply = reply[: len(reply) // 2]
        return self._long if fault is Fault.TIMEOUT else 0.0, 200, reply

    def _stale(self, request: dict[str, Any]) -> bytes:
        head = int(self._ask("eth_blockNumber"), 16)
        past = max(0, head - self._rng.randint(1, 3))
        method, params = request["method"], list(request["params"])
        if method == "eth_blockNumber":
            return _result(request, hex(past))
        if method == RECEIPT:
            found = self._ask(method, *params)
            late = found is None or int(found["blockNumber"], 16) > past
            return _result(request, None if late else found)
        position = _BLOCK_PARAMETER[method]
        if position < len(params):
            if params[position] in ("latest", "pending"):
                params[position] = hex(past)
            elif isinstance(params[position], str) and int(params[position], 16) > past:
                return _result(request, None)
        return self._forward({**request, "params": params})

    def _contradict(self, request: dict[str, Any]) -> bytes:
        honest = self._ask(RECEIPT, *request["params"])
        block = self._ask("eth_getBlockByNumber", "latest", False)
        lie = honest or _phantom(request["params"][0], block)
        other = "0x" + self._rng.randbytes(32).hex()
        change: Mapping[str, Any] | None = self._rng.choice(
            [
                {"status": "0x0"},
                {"blockHash": other},
                {"transactionHash": other},
                {"blockNumber": hex(int(block["number"], 16) + 1)},
                {},
                None,
            ]
        )
        return _result(request, None if change is None else {**lie, **change})

    def _ask(self, method: str, *params: Any) -> Any:
        reply = self._forward({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
        return json.loads(reply).get("result")

    def _forward(self, request: dict[str, Any]) -> bytes:
        body = json.dumps(request).encode()
        for attempt in range(2):
            connection = self._connection or http.client.HTTPConnection(
                str(self._upstream.hostname), self._upstream.port, timeout=60
            )
            self._connection = connection
            try:
                connection.request("POST", "/", body, {"Content-Type": "application/json"})
                return connection.getresponse().read()
            except (ConnectionError, http.client.HTTPException):
                connection.close()
                self._connection = None
                if attempt or request["method"] == SEND:
                    raise
        raise ConnectionError("unreachable")


def _phantom(tx_hash: str, block: dict[str, Any]) -> dict[str, Any]:
    """A receipt of a transaction that was never mined."""
    return {
        "transactionHash": tx_hash,
        "transactionIndex": "0x0",
        "blockHash": block["hash"],
        "blockNumber": block["number"],
        "from": "0x" + "11" * 20,
        "to": "0x" + "22" * 20,
        "cumulativeGasUsed": "0x5208",
        "gasUsed": "0x5208",
        "effectiveGasPrice": "0x77359400",
        "contractAddress": None,
        "logs": [],
        "logsBloom": "0x" + "00" * 256,
        "type": "0x2",
        "status": "0x1",
    }


def _result(request: dict[str, Any], value: Any) -> bytes:
    return _encode({"jsonrpc": "2.0", "id": request["id"], "result": value})


def _encode(reply: dict[str, Any]) -> bytes:
    return json.dumps(reply).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: FaultProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            status, reply = self.server.proxy.answer(body)
        except _Hang:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
