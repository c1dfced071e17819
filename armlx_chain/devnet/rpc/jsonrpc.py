"""JSON-RPC 2.0: bytes in, bytes out. Knows nothing of HTTP or of Ethereum.

- Batches answer in order, without an entry for notifications.
- Whatever arrives, the answer is well-formed JSON-RPC; a defect of ours is -32603, and logged.
"""

from __future__ import annotations

import json
import logging
import math
import re
from typing import Any, Protocol

from armlx_chain.errors import DevnetRpcError

logger = logging.getLogger(__name__)

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
MAX_BATCH = 1000
"""Requests in one batch (geth's ``BatchRequestLimit``)."""


MAX_DEPTH = 32
"""Nested lists and objects in a request; an access list in a batch needs 6."""
# A string left open is taken to the end in one piece: starting over at each quote would be quadratic.
_BRACKETS_AND_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


class Node(Protocol):
    """Something that answers Ethereum JSON-RPC methods; it is called from several threads."""

    def handle(self, method: str, params: list[Any]) -> Any:
        """Answer one call.

        Raises:
            DevnetRpcError: the JSON-RPC error to send.
        """


def method_not_found(method: str) -> DevnetRpcError:
    """The error for a method that this node does not have."""
    return DevnetRpcError(METHOD_NOT_FOUND, f"the method {method[:60]} does not exist/is not available")


def answer(node: Node, body: bytes) -> bytes | None:
    """Answer a request or a batch; None when nothing is to be said (notifications only)."""
    try:
        _check_depth(body)
        message = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        return _encode(_error(None, DevnetRpcError(PARSE_ERROR, "parse error")))
    if not isinstance(message, list):
        single = _answer_one(node, message)
        return None if single is None else _encode(single)
    if not message:
        return _encode(_error(None, DevnetRpcError(INVALID_REQUEST, "empty batch")))
    if len(message) > MAX_BATCH:
        return _encode(_error(None, DevnetRpcError(INVALID_REQUEST, "batch too large")))
    answers = [reply for reply in (_answer_one(node, item) for item in message) if reply is not None]
    return _encode(answers) if answers else None


def _answer_one(node: Node, request: Any) -> dict[str, Any] | None:
    identifier = request.get("id") if isinstance(request, dict) else None
    try:
        method, params = _read_request(request)
    except DevnetRpcError as error:
        return _error(identifier if isinstance(identifier, str | int | float) else None, error)
    reply: dict[str, Any]
    try:
        reply = {"jsonrpc": "2.0", "id": identifier, "result": node.handle(method, params)}
    except DevnetRpcError as error:
        reply = _error(identifier, error)
    except Exception as error:
        logger.exception("The method %s failed inside the node", method)
        reply = _error(identifier, DevnetRpcError(INTERNAL_ERROR, f"internal error: {type(error).__name__}"))
    return reply if "id" in request else None


def _read_request(request: Any) -> tuple[str, list[Any]]:
    if not isinstance(request, dict) or request.get("jsonrpc") != "2.0":
        raise DevnetRpcError(INVALID_REQUEST, "invalid request")
    method, params, identifier = request.get("method"), request.get("params"), request.get("id")
    if not isinstance(method, str) or isinstance(identifier, dict | list | bool):
        raise DevnetRpcError(INVALID_REQUEST, "invalid request")
    if params is None:
        return method, []
    if not isinstance(params, list):
        raise DevnetRpcError(INVALID_PARAMS, "non-array args")
    return method, params


def _error(identifier: Any, error: DevnetRpcError) -> dict[str, Any]:
    shape: dict[str, Any] = {"code": error.rpc_code, "message": error.message}
    if error.rpc_data is not None:
        shape["data"] = error.rpc_data
    return {"jsonrpc": "2.0", "id": identifier, "error": shape}


def _encode(reply: Any) -> bytes:
    return json.dumps(reply, separators=(",", ":")).encode()


def _check_depth(body: bytes) -> None:
    """Refuse deep nesting before the parser, which recurses on the C stack, meets it.

    Raises:
        ValueError: if brackets outside strings nest deeper than any request does.
    """
    depth = 0
    for token in _BRACKETS_AND_STRINGS.finditer(body):
        opening = token.group()[:1]
        if opening in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError("nested too deeply")
        elif opening != b'"':
            depth -= 1


def _finite(text: str) -> float:
    """A number; one that overflows to infinity could not be echoed as JSON."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is out of range")
    return number


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
