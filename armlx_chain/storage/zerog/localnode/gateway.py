"""The REST gateway: files, file information, node status and segment upload over plain HTTP.

JSON answers are ``{"code", "message", "data"}``, with HTTP 200 for success and for business errors and HTTP
600 for internal ones, as the real gateway has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from armlx_chain.errors import DevnetRpcError
from armlx_chain.storage.jsonrpc import parse_json
from armlx_chain.storage.zerog import shape, wire
from armlx_chain.storage.zerog.keccak import keccak256
from armlx_chain.storage.zerog.localnode.flow import FlowWatcher
from armlx_chain.storage.zerog.localnode.indexer import find_submission, merged_info
from armlx_chain.storage.zerog.localnode.rpc import refuse
from armlx_chain.storage.zerog.localnode.server import Reply, Request
from armlx_chain.storage.zerog.localnode.shard import ShardNode
from armlx_chain.storage.zerog.submission import Submission

__all__ = ["LocalGateway"]

DIRECTORY_MAGIC = keccak256(b"0g-storage-client-dir-codec")
_MAX_CIDS = 100
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def _envelope(code: int, message: str, data: Any = None) -> Reply:
    body = json.dumps({"code": code, "message": message, "data": data}).encode()
    return Reply(600 if code == 2 else 200, body, "application/json; charset=utf-8")


def _internal(reason: str) -> DevnetRpcError:
    return refuse(2, "Internal server error", reason)


def _invalid(reason: str) -> DevnetRpcError:
    return refuse(1, "Invalid parameter", reason)


def _not_found() -> DevnetRpcError:
    return refuse(101, "File not found")


class LocalGateway:
    """Answers the REST routes from the nodes of this process."""

    def __init__(self, nodes: Sequence[ShardNode], flow: FlowWatcher) -> None:
        self._nodes = list(nodes)
        self._flow = flow

    def answer(self, request: Request) -> Reply | None:
        """The answer to a REST request, or ``None`` if the route is not one of ours."""
        parts = urlsplit(request.target)
        query = parse_qs(parts.query, keep_blank_values=True)
        route = [unquote(piece) for piece in parts.path.strip("/").split("/")]
        try:
            return self._route(request, route, query)
        except DevnetRpcError as error:
            if error.rpc_code < 0:  # from a node
                return _envelope(2, "Internal server error", f"{error.message}: {error.rpc_data}")
            return _envelope(error.rpc_code, error.message, error.rpc_data)

    def _route(self, request: Request, route: list[str], query: dict[str, list[str]]) -> Reply | None:
        is_get = request.method in ("GET", "HEAD")
        match route:
            case ["file"] if is_get:
                return self._file(request, query)
            case ["file", "info", cid] if is_get:
                return _envelope(0, "Success", self._info(cid))
            case ["files", "info"] if is_get:
                return _envelope(0, "Success", self._infos(query.get("cid", [])))
            case ["file", "segment"] if request.method == "POST":
                return self._receive(request.body)
            case ["node", "status"] if is_get:
                return _envelope(0, "Success", self._nodes[0].status())
            case ["file", cid, *path] if is_get and path:
                return self._in_directory(request, cid, path)
        return None

    # --- files -------------------------------------------------------------------------------------------

    def _file(self, request: Request, query: dict[str, list[str]]) -> Reply:
        seq, root = query.get("txSeq", [""])[0], query.get("root", [""])[0]
        if not seq and not root:
            raise _invalid("Either 'root' or 'txSeq' must be provided")
        submission = self._find(seq or root)
        if submission is None:
            raise _not_found()
        name = query.get("name", [""])[0] or wire.hash_text(submission.root)
        return _download(request, name, self._content(submission))

    def _find(self, cid: str) -> Submission | None:
        """The submission ``cid`` (a number or a root); an unknown *number* is an internal error."""
        if cid.isdecimal() and len(cid) < 19:
            found = self._flow.by_seq(int(cid))
            if found is None:
                raise _internal(f"Failed to get file {cid}: file info not found")
            return found
        try:
            return find_submission(self._nodes, wire.parse_hash(cid, "root"))
        except ValueError as error:
            raise _invalid(f"{cid[:100]} is neither a txSeq nor a root") from error

    def _content(self, submission: Submission) -> bytes:
        """The whole file; only nodes on which it is final are asked, so an unfinished one is "not found"."""
        if not all(node.is_final(submission) for node in self._nodes):
            raise _not_found()
        total = shape.chunk_count(submission.size)
        parts: list[bytes] = []
        for start in range(0, total, shape.SEGMENT_CHUNKS):
            end = min(start + shape.SEGMENT_CHUNKS, total)
            served = (node.chunks(submission, start, end) for node in self._nodes)
            part = next((data for data in served if data is not None), None)
            if part is None:
                raise refuse(103, "File not finalized yet")
            parts.append(part)
        return b"".join(parts)[: submission.size]

    def _in_directory(self, request: Request, cid: str, path: list[str]) -> Reply:
        submission = self._find(cid)
        if submission is None:
            raise _not_found()
        node = _directory(self._content(submission))
        for name in path:
            entries = node.get("entries") or []
            found = next((entry for entry in entries if entry.get("name") == name), None)
            if found is None:
                raise refuse(104, "File path not found")
            node = found
        if node.get("type") == "directory":
            listed = [{key: entry.get(key) for key in ("name", "type", "size")} for entry in node["entries"]]
            return _envelope(0, "Success", listed)
        if node.get("type") == "symbolic":
            return _envelope(0, "Success", node)
        if node.get("type") != "file":
            raise refuse(106, "File type unsupported")
        parts: list[bytes] = []
        for root in node.get("roots") or [node.get("hash") or ""]:
            part = self._find(str(root)) if root else None
            if part is None:
                raise _not_found()
            parts.append(self._content(part))
        return _download(request, path[-1], b"".join(parts))

    # --- information and upload ----------------------------------------------------------------------------

    def _info(self, cid: str) -> dict[str, Any]:
        submission = self._find(cid)
        if submission is None:
            raise _not_found()
        return merged_info(self._nodes, submission)

    def _infos(self, cids: list[str]) -> list[Any]:
        if not cids:
            raise _invalid("No cid specified")
        if len(cids) > _MAX_CIDS:
            raise _invalid(f"Too many cid specified, exceeded {_MAX_CIDS}")
        answers: list[Any] = []
        for cid in cids:
            try:
                submission = self._find(cid)
                answers.append(None if submission is None else merged_info(self._nodes, submission))
            except DevnetRpcError as error:
                answers.append(error.rpc_data or error.message)
        return answers

    def _receive(self, body: bytes) -> Reply:
        try:
            document = parse_json(body)
        except ValueError as error:
            raise _invalid("the body is not JSON") from error
        if not isinstance(document, dict) or not document.get("data"):
            raise _invalid("Segment data is empty")
        seq = document.get("txSeq")
        submission = self._find(str(document.get("root") if seq is None else seq))
        if submission is None:
            raise _not_found()
        segment = {
            "root": wire.hash_text(submission.root),
            "fileSize": submission.size,
            **{name: document.get(name) for name in ("data", "index", "proof")},
        }
        first = submission.start // shape.SEGMENT_CHUNKS
        for node in self._nodes:
            index = segment["index"]
            if isinstance(index, int) and not node.shard.holds(first + index):
                continue
            try:
                node.receive(segment, submission.seq, skip_present=True)
            except DevnetRpcError as error:
                raise refuse(2, "Internal server error", f"{error.message} {error.rpc_data or ''}") from error
        return _envelope(0, "Success", "Succeeded to upload segment")


def _directory(data: bytes) -> dict[str, Any]:
    """The JSON node of a directory object (magic, version, JSON)."""
    if data[:32] != DIRECTORY_MAGIC or data[32:34] not in (b"\0\1", b"\0\2"):
        raise refuse(106, "File type unsupported")
    try:
        node = parse_json(data[34:])
    except ValueError as error:
        raise refuse(106, "File type unsupported") from error
    if not isinstance(node, dict):
        raise refuse(106, "File type unsupported")
    return node


def _sniff(data: bytes) -> str:
    """Content type by the first 512 bytes: text, or bytes. (The real gateway knows more kinds.)"""
    head = data[:512]
    binary = any(
        byte < 9 or byte in (11, 14, 15, 16) or 17 <= byte <= 26 or 28 <= byte <= 31 for byte in head
    )
    return "application/octet-stream" if binary else "text/plain; charset=utf-8"


def _download(request: Request, name: str, data: bytes) -> Reply:
    """``data`` as an attachment, whole or the one range asked for."""
    safe = re.sub(r'[^\x20-\x7e]|["\\]', "_", name)[:200]
    headers = {"Content-Disposition": f'attachment; filename="{safe}"', "Accept-Ranges": "bytes"}
    kind = _sniff(data)
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or match.group(1) == match.group(2) == "":
        return Reply(200, data, kind, headers)
    first, last = match.group(1), match.group(2)
    start = int(first) if first else max(len(data) - int(last), 0)
    end = min(int(last) + 1, len(data)) if first and last else len(data)
    if start >= end:
        return Reply(416, b"", kind, {**headers, "Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return Reply(206, data[start:end], kind, headers)
