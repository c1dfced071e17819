"""The local storage node: one URL that is storage node, indexer, REST gateway and chain RPC at once.

Invariants:

- What is on disk is content (segments with proofs); what was submitted is read from the chain. So a restart
  loses nothing, and a chain that starts over makes nothing visible that it does not know of.
- With ``shards=N`` the base URL is shard 0, and shards 1..N-1 listen on ports of their own.

Usage::

    node = LocalStorageNode(directory, rpc_url, flow_address).start()
    node.url          # give this to clients as indexer, gateway and node
    node.stop()
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from armlx_chain.errors import DevnetError, EndpointFault
from armlx_chain.storage.http import BoundedHttp, Timeouts
from armlx_chain.storage.jsonrpc import parse_json
from armlx_chain.storage.zerog.localnode.flow import FlowWatcher
from armlx_chain.storage.zerog.localnode.gateway import LocalGateway
from armlx_chain.storage.zerog.localnode.indexer import LocalIndexer
from armlx_chain.storage.zerog.localnode.rpc import Dispatcher
from armlx_chain.storage.zerog.localnode.server import Reply, Request, WebServer
from armlx_chain.storage.zerog.localnode.shard import ShardNode
from armlx_chain.storage.zerog.localnode.store import SegmentStore
from armlx_chain.storage.zerog.wire import ShardConfig
from armlx_chain.types import Address

__all__ = ["LocalStorageNode"]

POLL_SECONDS = 0.25
_CHAIN_ANSWER_LIMIT = 64 << 20
_CHAIN_TIMEOUTS = Timeouts(connect=5.0, read=30.0, total=60.0)


class LocalStorageNode:
    """See the module.

    Args:
        directory: Where segments are kept; made if missing.
        rpc_url: JSON-RPC of the chain; ``eth_*``, ``net_*`` and ``web3_*`` calls are passed on to it.
        flow_address: The Flow contract whose submissions are served.
        port: Of the base URL; 0 chooses a free one.
        confirmations: Blocks that must lie on top of a submission before it is known.
        shards: A power of two.
        poll_seconds: Pause between two looks at the chain.
    """

    def __init__(
        self,
        directory: Path,
        rpc_url: str,
        flow_address: Address,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        confirmations: int = 0,
        shards: int = 1,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        if shards < 1 or shards & (shards - 1):
            raise ValueError("the number of shards is a power of two")
        self._rpc_url = rpc_url
        self._http = BoundedHttp(_CHAIN_TIMEOUTS)
        self._flow = FlowWatcher(
            rpc_url=rpc_url,
            flow=flow_address,
            http=self._http,
            confirmations=confirmations,
            poll_seconds=poll_seconds,
            on_change=self._flush,
        )
        self._nodes = [
            ShardNode(
                shard=ShardConfig(number, shards),
                flow=self._flow,
                flow_address=flow_address,
                store=SegmentStore(directory / f"shard-{number}-of-{shards}"),
            )
            for number in range(shards)
        ]
        self._gateway = LocalGateway(self._nodes, self._flow)
        self._base = WebServer(lambda request: self._answer_base(request), host=host, port=port)
        self._others = [
            WebServer(_node_answerer(Dispatcher(node.methods())), host=host) for node in self._nodes[1:]
        ]
        self.node_urls: tuple[str, ...] = (self._base.url, *(server.url for server in self._others))
        indexer = LocalIndexer(list(zip(self.node_urls, self._nodes, strict=True)))
        methods = {**self._nodes[0].methods(), **indexer.methods()}
        self._dispatcher = Dispatcher(methods, self._forward)

    @property
    def url(self) -> str:
        """Base URL: indexer, gateway, node of shard 0 and chain RPC."""
        return self._base.url

    def start(self) -> LocalStorageNode:
        """Serve in the background.

        What the chain knows by now is known here when this returns, if the chain answers.
        """
        self._try_poll()
        self._flow.start()
        for server in (self._base, *self._others):
            server.start()
        return self

    def stop(self) -> None:
        """Stop serving and polling."""
        for server in (self._base, *self._others):
            server.stop()
        self._flow.stop()
        self._http.close()

    def __enter__(self) -> LocalStorageNode:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def sync(self) -> None:
        """Read the chain now instead of at the next poll.

        Raises:
            EndpointFault: if it does not answer.
            DevnetError: if its events make no sense.
        """
        self._flow.poll()

    def _try_poll(self) -> None:
        try:
            self._flow.poll()
        except (EndpointFault, DevnetError):
            return  # the watcher says so, and goes on trying

    def _flush(self) -> None:
        for node in self._nodes:
            node.flush_pool()

    def _answer_base(self, request: Request) -> Reply:
        if request.method == "OPTIONS":
            return _preflight()
        if request.target.split("?")[0] == "/":
            return _answer_rpc(self._dispatcher, request)
        reply = self._gateway.answer(request)
        return reply or Reply(404, b"404 page not found", "text/plain")

    def _forward(self, method: str, params: Any) -> dict[str, Any]:
        """Pass a call on to the chain; its errors come back as they are."""
        request = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": method,
            "params": params if params is not None else [],
        }
        try:
            answer = self._http.post_json(
                self._rpc_url,
                json.dumps(request).encode(),
                limit=_CHAIN_ANSWER_LIMIT,
                seconds=_CHAIN_TIMEOUTS.total,
            )
            document = parse_json(answer.body)
        except (EndpointFault, ValueError) as error:
            return {"error": {"code": -32603, "message": "Internal error", "data": f"the chain: {error}"}}
        if isinstance(document, dict) and isinstance(document.get("error"), dict):
            return {"error": document["error"]}
        if not isinstance(document, dict) or "result" not in document:
            return {"error": {"code": -32603, "message": "Internal error", "data": "the chain: no answer"}}
        return {"result": document["result"]}


def _preflight() -> Reply:
    headers = {"Access-Control-Allow-Methods": "GET, POST, OPTIONS", "Access-Control-Allow-Headers": "*"}
    return Reply(204, b"", "text/plain", headers)


def _answer_rpc(dispatcher: Dispatcher, request: Request) -> Reply:
    """JSON-RPC over POST with a JSON content type, as strict as the real servers."""
    if request.method != "POST":
        return Reply(405, b"Used HTTP Method is not allowed. POST is required\n", "text/plain")
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        text = b"Supplied content type is not allowed. Content-Type: application/json is required\n"
        return Reply(415, text, "text/plain")
    return Reply(200, dispatcher.answer(request.body), "application/json; charset=utf-8")


def _node_answerer(dispatcher: Dispatcher) -> Callable[[Request], Reply]:
    def answer(request: Request) -> Reply:
        return _preflight() if request.method == "OPTIONS" else _answer_rpc(dispatcher, request)

    return answer
