"""The server's side of JSON-RPC 2.0, as the storage node and the indexer speak it.

Ids are echoed exactly, also above 2**53; ``params`` may be missing; batches are answered in order.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from armlx_chain.errors import DevnetRpcError
from armlx_chain.storage.jsonrpc import parse_json

__all__ = ["Dispatcher", "Method", "failure", "internal_error", "invalid_params", "param", "refuse"]

log = logging.getLogger(__name__)

Method = Callable[[list[Any]], Any]
Forward = Callable[[str, Any], dict[str, Any]]
"""Takes method and params, returns an object with ``result`` or ``error``."""

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
FAILURE = -32000

_FORWARDED = ("eth_", "net_", "web3_")
_MAX_BATCH = 1000
_ID_RANGE = 1 << 64


def refuse(code: int, message: str, data: str | None = None) -> DevnetRpcError:
    return DevnetRpcError(code, message, data)


def invalid_params(field: str, why: str) -> DevnetRpcError:
    """The node's refusal of one field of a request."""
    return refuse(INVALID_PARAMS, f"Invalid params: {field}", why)


def internal_error(why: str) -> DevnetRpcError:
    return refuse(INTERNAL_ERROR, "Internal error", why)


def failure(text: str) -> DevnetRpcError:
    """Any other refusal: the text is all there is."""
    return refuse(FAILURE, text)


def undecodable(why: str) -> DevnetRpcError:
    return refuse(INVALID_PARAMS, "Invalid params", why)


def param(params: list[Any], index: int) -> Any:
    """Parameter ``index``.

    Raises:
        DevnetRpcError: if there are fewer.
    """
    if index >= len(params):
        raise undecodable(f"missing value for required argument {index}")
    return params[index]


def _error(call_id: Any, code: int, message: str, data: Any = None) -> dict[str, Any]:
    body: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return {"jsonrpc": "2.0", "error": body, "id": call_id}


def _is_id(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return value is None or isinstance(value, str) or (isinstance(value, int) and 0 <= value < _ID_RANGE)


class Dispatcher:
    """Answers request bodies from a table of methods.

    Args:
        methods: By name.
        forward: Takes the chain's methods (``eth_*``, ``net_*``, ``web3_*``), if given.
    """

    def __init__(self, methods: Mapping[str, Method], forward: Forward | None = None) -> None:
        self._methods = dict(methods)
        self._forward = forward

    def answer(self, body: bytes) -> bytes:
        """The response body; empty for a lone notification."""
        try:
            document = parse_json(body)
        except ValueError:
            return self._encode(_error(None, PARSE_ERROR, "Parse error"))
        if not isinstance(document, list):
            reply = self._one(document)
            return b"" if reply is None else self._encode(reply)
        if not document or len(document) > _MAX_BATCH:
            return self._encode(_error(None, INVALID_REQUEST, "Invalid request"))
        replies = [reply for entry in document if (reply := self._one(entry)) is not None]
        return self._encode(replies) if replies else b""

    @staticmethod
    def _encode(reply: Any) -> bytes:
        return json.dumps(reply, separators=(",", ":")).encode()

    def _one(self, request: Any) -> dict[str, Any] | None:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(None, INVALID_REQUEST, "Invalid request")
        call_id = request.get("id")
        if not _is_id(call_id):
            return _error(None, INVALID_REQUEST, "Invalid request")
        reply = self._dispatch(request["method"], request.get("params"), call_id)
        return reply if "id" in request else None

    def _dispatch(self, name: str, params: Any, call_id: Any) -> dict[str, Any]:
        log.debug("%s", name)
        if self._forward is not None and name.startswith(_FORWARDED):
            return {"jsonrpc": "2.0", **self._forward(name, params), "id": call_id}
        method = self._methods.get(name)
        if method is None:
            return _error(call_id, METHOD_NOT_FOUND, "Method not found")
        if params is None:
            params = []
        if not isinstance(params, list):
            return _error(
                call_id, INVALID_PARAMS, "Invalid params", "only positional parameters are understood"
            )
        try:
            result = method(params)
        except DevnetRpcError as error:
            return _error(call_id, error.rpc_code, error.message, error.rpc_data)
        return {"jsonrpc": "2.0", "result": result, "id": call_id}
