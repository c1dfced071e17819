"""Nodes made to misbehave: a tiny chain in memory behind real HTTP, and a proxy in front of a real node."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from eth_utils import keccak

Reply = tuple[int, bytes, dict[str, str]]
Fault = Callable[[Any], Reply | None]
"""Looks at a parsed request; answers in the node's place, or None to let it through."""


def json_reply(body: Any, status: int = 200, **headers: str) -> Reply:
    return status, json.dumps(body).encode(), headers


def answer_to(request: Any, result: Any) -> Reply:
    return json_reply({"jsonrpc": "2.0", "id": request["id"], "result": result})


def error_to(request: Any, code: int, message: str) -> Reply:
    return json_reply({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message}})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, reply, headers = self.server.respond(body)  # type: ignore[attr-defined]
        if status == 0:
            self.connection.close()
            self.close_connection = True
            return
        self.send_response(status)
        announced = headers.pop("announced", str(len(reply)))
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": announced,
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply)
        if announced != str(len(reply)):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    respond: Callable[[bytes], Reply]

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def serving(respond: Callable[[bytes], Reply]) -> Iterator[str]:
    """Serve on a free loopback port; gives the address."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.respond = respond
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class TinyNode:
    """A chain of numbered blocks whose every answer can be bent.

    Attributes:
        branch: Blocks above ``fork`` have hashes of this branch.
        fault: Answers in the node's place.
        seen: Methods asked, in order; a batch is one list.
    """

    chain_id: int = 7
    height: int = 100
    branch: str = "honest"
    fork: int = 0
    base_time: int = 1_000_000
    results: dict[str, Any] = field(default_factory=dict)
    fault: Fault | None = None
    seen: list[Any] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    max_batch: int = 1000

    def block_hash(self, number: int) -> str:
        branch = self.branch if number > self.fork else "honest"
        return "0x" + keccak(text=f"{self.chain_id}/{branch}/{number}").hex()

    def block(self, number: int) -> dict[str, Any] | None:
        if not 0 <= number <= self.height:
            return None
        return {
            "number": hex(number),
            "hash": self.block_hash(number),
            "parentHash": self.block_hash(number - 1),
            "transactions": [],
            "timestamp": hex(self.base_time + 2 * number),
        }

    def respond(self, body: bytes) -> Reply:
        request = json.loads(body)
        many = isinstance(request, list)
        self.seen.append([item["method"] for item in request] if many else request["method"])
        bent = self.fault(request) if self.fault is not None else None
        if bent is not None:
            return bent
        if many and len(request) > self.max_batch:
            return json_reply(
                {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "too many"}}
            )
        return json_reply([self.one(item) for item in request] if many else self.one(request))

    def one(self, request: Any) -> dict[str, Any]:
        method, params = request["method"], request["params"]
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        if method in self.results:
            found = self.results[method]
            value = found(params) if callable(found) else found
        elif method == "eth_chainId":
            value = hex(self.chain_id)
        elif method == "eth_getBlockByNumber":
            value = self.block(self.height if params[0] == "latest" else int(params[0], 16))
        elif method == "eth_sendRawTransaction":
            self.sent.append(params[0])
            value = "0x" + keccak(hexstr=params[0]).hex()
        elif method == "eth_getTransactionReceipt":
            value = None
        else:
            return reply | {"error": {"code": -32601, "message": f"no method {method}"}}
        if isinstance(value, dict) and set(value) == {"error"}:
            return reply | value
        return reply | {"result": value}


class Proxy:
    """Passes requests on to a real node, except where a fault answers, or a lie replaces a result.

    Attributes:
        lie: Given a request and the node's true result, what is answered instead.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.fault: Fault | None = None
        self.lie: Callable[[Any, Any], Any] | None = None
        self.requests = 0

    def respond(self, body: bytes) -> Reply:
        self.requests += 1
        asked = json.loads(body)
        bent = self.fault(asked) if self.fault is not None else None
        if bent is not None:
            return bent
        request = urllib.request.Request(self.target, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            status, reply = int(answer.status), answer.read()
        return (status, reply, {}) if self.lie is None else json_reply(self._bent(asked, json.loads(reply)))

    def _bent(self, asked: Any, answered: Any) -> Any:
        if isinstance(asked, list):
            return [self._bent(one, other) for one, other in zip(asked, answered, strict=True)]
        if self.lie is None or "result" not in answered:
            return answered
        return answered | {"result": self.lie(asked, answered["result"])}


def lying_about(selector: bytes, value: bytes) -> Callable[[Any, Any], Any]:
    """A lie about one function of contracts."""

    def lie(asked: Any, true: Any) -> Any:
        asks = asked["method"] == "eth_call" and asked["params"][0]["data"].startswith("0x" + selector.hex())
        return "0x" + value.hex() if asks else true

    return lie


class Stepped:
    """A clock that moves when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def unlucky(kind: str) -> Fault:
    """Faults of the wire, by name."""

    def bend(request: Any) -> Reply | None:
        first = request[0] if isinstance(request, list) else request
        whole = json.dumps({"jsonrpc": "2.0", "id": first["id"], "result": "0x" + "00" * 64}).encode()
        if kind == "latency":
            time.sleep(1.5)
        return {
            "reset": (0, b"", {}),
            "truncated": (200, whole[:20], {"announced": str(len(whole))}),
            "cut JSON": (200, whole[:20], {}),
            "429": (429, b"slow down", {"Retry-After": "7"}),
            "500": (500, b"<html>oops</html>", {}),
            "503": (503, b"", {}),
            "-32005": error_to(first, -32005, "limit exceeded"),
            "other id": json_reply({"jsonrpc": "2.0", "id": 10**9, "result": "0x1"}),
            "a list": json_reply([]),
            "no result": json_reply({"jsonrpc": "2.0", "id": first["id"]}),
            "nested": (200, b"[" * 100_000, {}),
            "redirect": (302, b"", {"Location": "http://127.0.0.1:9/"}),
            "endless": (200, b"x" * 3_000_000, {}),
            "latency": None,
        }[kind]

    return bend
