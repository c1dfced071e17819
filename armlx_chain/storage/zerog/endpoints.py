"""The three kinds of server of 0G Storage, one client each: node, indexer, REST gateway.

Every method either returns a checked value or raises :class:`EndpointFault` naming the server. ``None`` is
a proper answer: the server does not have it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from armlx_chain.errors import EndpointFault, UsageError
from armlx_chain.storage.http import BoundedHttp, endpoint_fault
from armlx_chain.storage.interface import FaultKind
from armlx_chain.storage.jsonrpc import RpcEndpoint, parse_json, refusal_text
from armlx_chain.storage.zerog import wire
from armlx_chain.storage.zerog.hunt import Absence
from armlx_chain.types import Root

T = TypeVar("T")

SEGMENT_ANSWER_LIMIT = 512 * 1024
"""A segment in base64 has 349,528 bytes; its proof and the JSON around it less than 8 KiB."""

_GATEWAY_ABSENT = {101: Absence.UNKNOWN, 102: Absence.PRUNED, 103: Absence.NOT_FINAL}
_UNKNOWN_FILE = ("file not found", "file info not found")
_MAX_URL = 300


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server from the settings.

    Attributes:
        url: Base URL, http or https.
        kind: An ``indexer`` also answers as a REST gateway; a ``node`` speaks only the storage node's RPC; a
            ``gateway`` only REST.
    """

    url: str
    kind: Literal["indexer", "node", "gateway"] = "indexer"

    def __post_init__(self) -> None:
        if not is_web_url(self.url):
            raise UsageError(f"{self.url!r} is not an http or https URL of a storage endpoint.")


def is_web_url(url: str) -> bool:
    """Whether ``url`` is a plausible http(s) base URL without user name or password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    printable = url.isascii() and url.isprintable() and " " not in url
    host = bool(parts.hostname) and parts.username is None
    return printable and host and parts.scheme in ("http", "https") and len(url) <= _MAX_URL


def is_inner(url: str) -> bool:
    """Whether ``url`` is written as an address of this machine or its network."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def may_lead_to(indexer: str, node: str) -> bool:
    """Whether a node that ``indexer`` lists may be asked.

    A stranger's list must not make this machine send requests to its own network: inner addresses are
    accepted only from an indexer that has one itself.
    """
    return is_web_url(node) and (is_inner(indexer) or not is_inner(node))


def _checked(url: str, what: str, parse: Callable[[Any], T], value: Any) -> T:
    """``parse(value)``; what it cannot read is the server's nonsense."""
    try:
        return parse(value)
    except (ValueError, RecursionError, AttributeError) as error:
        raise endpoint_fault(url, FaultKind.NONSENSE, f"{what}: {error}") from error


class NodeApi:
    """A storage node's ``zgs_*`` methods."""

    def __init__(self, url: str, http: BoundedHttp) -> None:
        self.url = url
        self._rpc = RpcEndpoint(url, http)

    def status(self) -> wire.NodeStatus:
        return _checked(self.url, "status", wire.parse_status, self._rpc.call("zgs_getStatus", []))

    def shard(self) -> wire.ShardConfig:
        return _checked(
            self.url, "shard configuration", wire.parse_shard, self._rpc.call("zgs_getShardConfig", [])
        )

    def file_info(self, root: Root, *, need_available: bool) -> wire.FileInfo | None:
        value = self._rpc.call("zgs_getFileInfo", [root.hex, need_available])
        return self._info(value, root)

    def file_info_by_seq(self, seq: int, root: Root) -> wire.FileInfo | None:
        """The submission ``seq``, or ``None`` if the node does not know it.

        Raises:
            EndpointFault: also when it is a submission of another root.
        """
        return self._info(self._rpc.call("zgs_getFileInfoByTxSeq", [seq]), root)

    def _info(self, value: Any, root: Root) -> wire.FileInfo | None:
        if value is None:
            return None
        return _checked(self.url, "file information", lambda v: wire.parse_file_info(v, root), value)

    def proven_segment(self, seq: int, index: int, seconds: float) -> wire.ServedSegment | None:
        """A segment with the proof it came with; the caller verifies it."""
        value = self._rpc.call(
            "zgs_downloadSegmentWithProofByTxSeq",
            [seq, index],
            limit=SEGMENT_ANSWER_LIMIT,
            seconds=seconds,
            parse=wire.parse_lifted,
        )
        if value is None:
            return None
        return _checked(self.url, f"segment {index}", wire.parse_segment, value)

    def chunks(self, seq: int, start: int, end: int, seconds: float) -> bytes | bytearray | None:
        """Chunks [start, end) of the file, without proof."""
        value = self._rpc.call(
            "zgs_downloadSegmentByTxSeq",
            [seq, start, end],
            limit=SEGMENT_ANSWER_LIMIT,
            seconds=seconds,
            parse=wire.parse_lifted,
        )
        if value is None:
            return None
        return _checked(self.url, f"chunks {start} to {end}", lambda v: wire.parse_bytes(v, "data"), value)

    def upload(self, segments: list[dict[str, Any]], seq: int) -> None:
        """Send segments of submission ``seq``. The right answer is ``null``; older nodes answer 0."""
        self._rpc.call("zgs_uploadSegmentsByTxSeq", [segments, seq])


class IndexerApi:
    """An indexer's ``indexer_*`` methods."""

    def __init__(self, url: str, http: BoundedHttp) -> None:
        self.url = url
        self._rpc = RpcEndpoint(url, http)

    def locations(self, root: Root) -> list[wire.ShardedNode]:
        """Nodes that hold the file for good; empty if the indexer knows none."""
        try:
            value = self._rpc.call("indexer_getFileLocations", [root.hex])
        except EndpointFault as error:
            if any(text in refusal_text(error) for text in _UNKNOWN_FILE):
                return []
            raise
        return self._usable(_checked(self.url, "file locations", wire.parse_nodes, value))

    def nodes(self, *, trusted_only: bool = False) -> list[wire.ShardedNode]:
        """All nodes the indexer knows, the trusted ones first."""
        value = self._rpc.call("indexer_getShardedNodes", [])
        if not isinstance(value, dict):
            raise endpoint_fault(self.url, FaultKind.NONSENSE, "the list of nodes is not an object")
        listed = _checked(self.url, "trusted nodes", wire.parse_nodes, value.get("trusted"))
        if not trusted_only:
            listed += _checked(self.url, "discovered nodes", wire.parse_nodes, value.get("discovered"))
        return self._usable(listed)

    def _usable(self, nodes: list[wire.ShardedNode]) -> list[wire.ShardedNode]:
        return [node for node in nodes if may_lead_to(self.url, node.url)]


class GatewayApi:
    """The REST gateway's file download."""

    def __init__(self, url: str, http: BoundedHttp) -> None:
        self.url = url.rstrip("/")
        self._http = http

    def download(self, root: Root, *, limit: int, seconds: float, receive: Callable[[bytes], None]) -> None:
        """Hand whatever the gateway sends as the file to ``receive``: unverified.

        Raises:
            EndpointFault: if it answers with any status but 200, or beyond the limits.
        """
        answer = self._http.get(
            f"{self.url}/file",
            params={"root": root.hex},
            limit=limit,
            seconds=min(seconds, self._http.timeouts.transfer),
            receive=receive,
        )
        if answer.status != 200:
            raise endpoint_fault(self.url, FaultKind.REFUSED, f"HTTP {answer.status} for the file")

    def absence(self, body: bytes) -> tuple[Absence | None, str] | None:
        """What a gateway meant that sent ``body`` instead of the file.

        Returns:
            Why it does not have the file, if it says so properly, and its text; (None, text) for another of
            its error answers; ``None`` if the body is no such answer.
        """
        if len(body) > 64 * 1024 or not body.lstrip().startswith(b"{"):
            return None
        try:
            document = parse_json(body)
        except ValueError:
            return None
        code = document.get("code") if isinstance(document, dict) else None
        if not isinstance(code, int) or isinstance(code, bool) or code == 0 or "message" not in document:
            return None
        text = f"code {code}: {str(document['message'])[:100]}"
        return _GATEWAY_ABSENT.get(code), text
