"""The embedded chain as a JSON-RPC node: one lock round the chain, a server in front of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from armlx_chain.devnet.node.engine import Engine
from armlx_chain.devnet.node.journal import Journal
from armlx_chain.devnet.rpc.jsonrpc import method_not_found
from armlx_chain.devnet.rpc.methods import METHODS
from armlx_chain.devnet.rpc.server import RpcServer
from armlx_chain.types import Wei

JOURNAL_NAME = "chain.jsonl"


class EmbeddedChain:
    """A running embedded chain. The counterpart of :class:`armlx_chain.devnet.anvil.AnvilChain`."""

    engine_name = "embedded"

    def __init__(
        self,
        directory: Path,
        *,
        chain_id: int,
        balances: Mapping[bytes, Wei],
        ports: Sequence[int] = (0,),
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Open the journal in a directory and begin to serve on the first free one of several ports.

        Raises:
            DevnetError: if the journal cannot be replayed or no port is free.
        """
        self._lock = threading.Lock()
        self._engine = Engine.open(
            Journal(directory / JOURNAL_NAME), chain_id=chain_id, balances=balances, wall=wall
        )
        try:
            self._server = RpcServer.on_first_free(self, ports)
        except BaseException:
            self._engine.close()
            raise
        self._server.start()

    @property
    def url(self) -> str:
        return self._server.url

    def handle(self, method: str, params: list[Any]) -> Any:
        """Answer one JSON-RPC call; see :class:`armlx_chain.devnet.rpc.jsonrpc.Node`."""
        function = METHODS.get(method)
        if function is None:
            raise method_not_found(method)
        with self._lock:
            return function(self._engine, params)

    def stop(self) -> None:
        """Stop serving. The journal already holds everything."""
        self._server.stop()
        with self._lock:
            self._engine.close()
