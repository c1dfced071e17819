"""The embedded chain as a JSON-RPC node: one thread for the chain, a server in front of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from armlx_chain.devnet.node.engine import Engine
from armlx_chain.devnet.node.journal import Journal
from armlx_chain.devnet.rpc.jsonrpc import method_not_found
from armlx_chain.devnet.rpc.methods import METHODS
from armlx_chain.devnet.rpc.server import RpcServer
from armlx_chain.types import Wei

JOURNAL_NAME = "chain.jsonl"
STACK_BYTES = 64 * 1024 * 1024
T = TypeVar("T")


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
        journal = Journal(directory / JOURNAL_NAME)
        with ExitStack() as undo:
            undo.callback(journal.close)
            self._worker = _deep_worker()
            undo.callback(self._worker.shutdown)
            self._engine = self._run(
                lambda: Engine.open(journal, chain_id=chain_id, balances=balances, wall=wall)
            )
            self._server = RpcServer.on_first_free(self, ports)
            undo.pop_all()
        self._server.start()

    @property
    def url(self) -> str:
        return self._server.url

    def handle(self, method: str, params: list[Any]) -> Any:
        """Answer one JSON-RPC call; see :class:`armlx_chain.devnet.rpc.jsonrpc.Node`."""
        function = METHODS.get(method)
        if function is None:
            raise method_not_found(method)
        return self._run(lambda: function(self._engine, params))

    def stop(self) -> None:
        """Stop serving. The journal already holds everything."""
        self._server.stop()
        self._run(self._engine.close)
        self._worker.shutdown()

    def _run(self, action: Callable[[], T]) -> T:
        return self._worker.submit(action).result()


def _deep_worker() -> ThreadPoolExecutor:
    """One thread with a stack that the deepest EVM recursion fits in; on macOS threads get 512 KiB."""
    former = threading.stack_size(STACK_BYTES)
    try:
        worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="devnet-evm")
        worker.submit(threading.get_ident).result()
    finally:
        threading.stack_size(former)
    return worker
