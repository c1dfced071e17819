"""A small JSON-RPC client for the devnet's own errands: deployment, time travel, status."""

from __future__ import annotations

import http.client
import itertools
import json
from typing import Any
from urllib.parse import urlsplit

from armlx_chain.errors import DevnetError, DevnetRpcError

MAX_ANSWER_BYTES = 64 * 1024 * 1024


class RpcClient:
    """Calls one local node over plain HTTP."""

    def __init__(self, url: str, timeout: float = 120.0) -> None:
        parts = urlsplit(url)
        self.url = url
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._timeout = timeout
        self._ids = itertools.count(1)

    def call(self, method: str, *params: Any) -> Any:
        """The result of one method.

        Raises:
            DevnetRpcError: if the node answers with an error.
            DevnetError: if it does not answer, or not with JSON-RPC.
        """
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        reply = self._post(json.dumps(request).encode())
        if not isinstance(reply, dict) or (
            "result" not in reply and not isinstance(reply.get("error"), dict)
        ):
            raise DevnetError(f"The node at {self.url} does not speak JSON-RPC.")
        error = reply.get("error")
        if error:
            data = error.get("data")
            raise DevnetRpcError(
                int(error.get("code", 0)), str(error.get("message")), data if isinstance(data, str) else None
            )
        return reply["result"]

    def _post(self, body: bytes) -> Any:
        connection = http.client.HTTPConnection(*self._address, timeout=self._timeout)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read(MAX_ANSWER_BYTES))
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise DevnetError(f"The node at {self.url} does not answer ({exc}).") from exc
        finally:
            connection.close()
