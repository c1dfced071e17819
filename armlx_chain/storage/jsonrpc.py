"""JSON-RPC 2.0 to an endpoint that may be hostile."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any, NoReturn

from armlx_chain.errors import EndpointFault
from armlx_chain.storage.http import BoundedHttp, endpoint_fault
from armlx_chain.storage.interface import FaultKind

__all__ = ["CONTROL_LIMIT", "RpcEndpoint", "parse_json", "refusal_text"]

CONTROL_LIMIT = 1 << 20
"""Most bytes of an answer that carries no file content."""


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def parse_json(data: bytes) -> Any:
    """Strict JSON from bytes of unknown origin.

    Raises:
        ValueError: for anything else, however deep or long.
    """
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def refusal_text(error: EndpointFault) -> str:
    """Message and data of the JSON-RPC error behind ``error``, or an empty string."""
    details = error.details
    return f"{details.get('rpc_message', '')} {details.get('rpc_data', '')}".strip()


class RpcEndpoint:
    """One JSON-RPC server."""

    def __init__(self, url: str, http: BoundedHttp) -> None:
        self.url = url
        self._http = http
        self._ids = itertools.count(1)

    def call(
        self,
        method: str,
        params: list[Any],
        *,
        limit: int = CONTROL_LIMIT,
        seconds: float | None = None,
        parse: Callable[[bytes], Any] = parse_json,
    ) -> Any:
        """The ``result`` of one call.

        Args:
            parse: Reads the answer's JSON; raises ValueError.

        Raises:
            EndpointFault: of kind ``refused`` if the server answers with an error (its code, message and
                data are in the details), of another kind if it does not answer properly.
        """
        call_id = next(self._ids)
        body = json.dumps({"jsonrpc": "2.0", "id": call_id, "method": method, "params": params}).encode()
        patience = self._http.timeouts.total if seconds is None else min(seconds, self._http.timeouts.total)
        answer = self._http.post_json(self.url, body, limit=limit, seconds=patience)
        if answer.status != 200:
            raise endpoint_fault(self.url, FaultKind.REFUSED, f"{method}: HTTP {answer.status}")
        try:
            document = parse(answer.body)
        except ValueError as error:
            raise endpoint_fault(self.url, FaultKind.NONSENSE, f"{method}: the answer is not JSON") from error
        return self._result(method, call_id, document)

    def _result(self, method: str, call_id: int, document: Any) -> Any:
        if not isinstance(document, dict):
            raise endpoint_fault(self.url, FaultKind.NONSENSE, f"{method}: the answer is not an object")
        error = document.get("error")
        if error is not None:
            raise self._refusal(method, error)
        if document.get("id") != call_id or isinstance(document.get("id"), bool):
            raise endpoint_fault(
                self.url, FaultKind.NONSENSE, f"{method}: the answer belongs to another call"
            )
        if "result" not in document:
            raise endpoint_fault(self.url, FaultKind.NONSENSE, f"{method}: neither result nor error")
        return document["result"]

    def _refusal(self, method: str, error: Any) -> EndpointFault:
        if not isinstance(error, dict):
            return endpoint_fault(self.url, FaultKind.NONSENSE, f"{method}: the error is not an object")
        code = error.get("code")
        message = str(error.get("message", ""))[:200]
        data = str(error.get("data") or "")[:200]
        return endpoint_fault(
            self.url,
            FaultKind.REFUSED,
            f"{method}: {message}{': ' if data else ''}{data}",
            rpc_code=code if isinstance(code, int) else 0,
            rpc_message=message,
            rpc_data=data,
        )
