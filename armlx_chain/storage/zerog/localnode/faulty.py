"""A gateway that lies on purpose: it stands before a real node and spoils what passes through.

Part of the product, for demonstrations and tests: whoever wants to see that a client catches a gateway that
serves one wrong byte puts this URL first in the client's list. It spoils file content only (the gateway's
``/file`` and the nodes' segments); everything else passes unchanged, and node lists are rewritten so that
they lead back to it. Proofs are passed on as they are: it does not help the lie along, and could not.

Usage::

    liar = LyingGateway(node.url, GatewayFault.FLIP).start()
    liar.url, liar.spoiled      # where it is; how many answers it spoiled
"""

from __future__ import annotations

import json
import threading
from enum import StrEnum
from types import TracebackType
from typing import Any

from armlx_chain.errors import EndpointFault
from armlx_chain.storage.http import BoundedHttp, Timeouts
from armlx_chain.storage.jsonrpc import parse_json
from armlx_chain.storage.zerog import wire
from armlx_chain.storage.zerog.localnode.server import Reply, Request, WebServer

__all__ = ["GatewayFault", "LyingGateway"]

_LIMIT = 256 << 20
_SEGMENT_METHODS = (
    "zgs_downloadSegment",
    "zgs_downloadSegmentByTxSeq",
    "zgs_downloadSegmentWithProof",
    "zgs_downloadSegmentWithProofByTxSeq",
)


class GatewayFault(StrEnum):
    """How file content is spoiled."""

    FLIP = "flip"
    """One bit of one byte is turned over."""
    TRUNCATE = "truncate"
    """The last bytes are missing, and the length is adjusted to hide it."""
    EXTEND = "extend"
    """One more byte follows."""
    STALL = "stall"
    """The answer never comes."""
    DRIP = "drip"
    """The answer comes one byte at a time."""
    CUT = "cut"
    """The connection is cut before the end of the answer."""
    GARBAGE = "garbage"
    """A web page comes instead of the answer."""
    SWAP = "swap"
    """The neighbouring segment for the one asked for; where there is none, two halves change places."""


class LyingGateway:
    """A proxy in front of ``upstream`` (a node, indexer and gateway URL) that commits one ``fault``.

    Args:
        position: For ``FLIP``: the byte of each answer that is spoiled; negative counts from the end.
        pause: For ``DRIP``: seconds between two bytes.
    """

    def __init__(
        self,
        upstream: str,
        fault: GatewayFault,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        position: int = 0,
        pause: float = 0.5,
    ) -> None:
        self._upstream = upstream.rstrip("/")
        self.fault = fault
        self._position = position
        self._pause = pause
        self._http = BoundedHttp(Timeouts(read=60.0))
        self._server = WebServer(lambda request: self._answer(request), host=host, port=port)
        self._count = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def spoiled(self) -> int:
        """How many answers were spoiled so far."""
        with self._lock:
            return self._count

    def start(self) -> LyingGateway:
        """Serve in the background."""
        self._server.start()
        return self

    def stop(self) -> None:
        """Stop serving; answers that are held back end."""
        self._server.stop()
        self._http.close()

    def __enter__(self) -> LyingGateway:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answer(self, request: Request) -> Reply:
        try:
            if request.method == "POST" and request.target.split("?")[0] == "/":
                return self._answer_rpc(request)
            answer = self._http.send(
                request.method,
                self._upstream + request.target,
                limit=_LIMIT,
                seconds=60.0,
                body=request.body if request.method == "POST" else None,
            )
        except EndpointFault as error:
            return Reply(502, str(error).encode(), "text/plain")
        kind = answer.headers.get("content-type", "application/octet-stream")
        disposition = answer.headers.get("content-disposition")
        if disposition is None:
            return Reply(answer.status, answer.body, kind)
        headers = {"Content-Disposition": disposition}
        return self._paced(Reply(answer.status, self._spoil(answer.body), kind, headers))

    def _answer_rpc(self, request: Request) -> Reply:
        try:
            call = parse_json(request.body)
        except ValueError:
            call = None
        method = call.get("method") if isinstance(call, dict) else None
        if method in _SEGMENT_METHODS and self.fault is GatewayFault.SWAP:
            swapped = self._neighbour(call)
            if swapped is not None:
                return swapped
        answer = self._http.post_json(self._upstream, request.body, limit=_LIMIT, seconds=60.0)
        if method in _SEGMENT_METHODS:
            return self._paced(Reply(answer.status, self._spoil_segment(answer.body)))
        text = answer.body.replace(f'"{self._upstream}"'.encode(), f'"{self.url}"'.encode())
        return Reply(answer.status, text)

    def _neighbour(self, call: dict[str, Any]) -> Reply | None:
        """The neighbouring segment with its proof, labelled as the one asked for, if there is one."""
        params = list(call["params"])
        if "WithProof" not in call["method"] or len(params) != 2 or not isinstance(params[1], int):
            return None
        index, params[1] = params[1], params[1] ^ 1
        body = json.dumps({**call, "params": params}).encode()
        answer = self._http.post_json(self._upstream, body, limit=_LIMIT, seconds=60.0)
        document = parse_json(answer.body)
        if not isinstance(document.get("result"), dict):
            return None
        document["result"]["index"] = index
        with self._lock:
            self._count += 1
        return Reply(answer.status, json.dumps(document).encode())

    def _spoil_segment(self, body: bytes) -> bytes:
        document = parse_json(body)
        result = document.get("result")
        if isinstance(result, str):
            document["result"] = wire.encode_bytes(self._spoil(bytes(wire.parse_bytes(result, "data"))))
        elif isinstance(result, dict):
            result["data"] = wire.encode_bytes(self._spoil(bytes(wire.parse_bytes(result["data"], "data"))))
        return json.dumps(document).encode()

    def _spoil(self, data: bytes) -> bytes:
        with self._lock:
            self._count += 1
        if self.fault is GatewayFault.FLIP and data:
            at = self._position % len(data)
            return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        if self.fault is GatewayFault.TRUNCATE:
            return data[: max(len(data) - 256, 0)] if len(data) > 256 else data[:-1]
        if self.fault is GatewayFault.EXTEND:
            return data + b"\1"
        if self.fault is GatewayFault.SWAP:
            half = len(data) // 2
            return data[half:] + data[:half]
        return data

    def _paced(self, reply: Reply) -> Reply:
        if self.fault is GatewayFault.STALL:
            self._server.stopping.wait()
        if self.fault is GatewayFault.CUT:
            return Reply(
                reply.status, reply.body, reply.content_type, reply.headers, announced=len(reply.body) + 1
            )
        if self.fault is GatewayFault.GARBAGE:
            return Reply(200, b"<html>Please sign in</html>", "text/html")
        if self.fault is GatewayFault.DRIP:
            return Reply(reply.status, reply.body, reply.content_type, reply.headers, 1, self._pause)
        return reply
