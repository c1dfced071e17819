"""Who knows a file, and what each of them says about it.

Nothing said here is believed: a length only chooses the tree that segments must prove themselves in.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from armlx_chain.errors import EndpointFault
from armlx_chain.storage.http import BoundedHttp
from armlx_chain.storage.interface import FaultKind
from armlx_chain.storage.zerog import shape, wire
from armlx_chain.storage.zerog.endpoints import Endpoint, IndexerApi, NodeApi
from armlx_chain.storage.zerog.hunt import Absence, Hunt

__all__ = ["View", "by_size", "node_urls", "views_of"]

_ASKED_AT_ONCE = 8


@dataclass(slots=True, eq=False)
class View:
    """A node that knows the file, what it says about it, and how it did so far.

    Attributes:
        in_flight: Segments that are being asked of it now.
        seconds: How long it takes for one, smoothed; 0 before the first.
        strikes: Failures in a row that may be the network's.
        nulls: Segments of its own shard, in a row, that it does not have.
        has_proofs: It knows the method that serves proofs.
    """

    api: NodeApi
    info: wire.FileInfo
    shard: wire.ShardConfig
    in_flight: int = 0
    seconds: float = 0.0
    strikes: int = 0
    nulls: int = 0
    has_proofs: bool = True

    @property
    def url(self) -> str:
        return self.api.url

    def wait(self) -> tuple[bool, float, int]:
        """How long an answer would take, for comparison. A node that has not answered yet is asked a second
        time only where all others are busy with their first: should it stall, it stalls few workers.
        """
        unknown = self.seconds == 0.0
        return unknown and self.in_flight > 0, self.seconds * (self.in_flight + 1), self.in_flight

    def is_responsible(self, index: int) -> bool:
        return self.shard.holds(self.info.start_segment + index)


def node_urls(hunt: Hunt, endpoint: Endpoint, http: BoundedHttp, most: int) -> list[str]:
    """The nodes behind ``endpoint``, at most ``most``: those that have the file, else all it knows."""
    if endpoint.kind == "gateway":
        return []
    if endpoint.kind == "node":
        return [endpoint.url]
    indexer = IndexerApi(endpoint.url, http)
    try:
        nodes = indexer.locations(hunt.root)
    except EndpointFault as error:
        hunt.blame_error(error)
        return []
    if not nodes:
        try:
            nodes = indexer.nodes()
        except EndpointFault as error:
            hunt.blame_error(error)
        hunt.missing(endpoint.url, Absence.UNKNOWN, "it lists no location")
    return list(dict.fromkeys(node.url for node in nodes))[:most]


def views_of(hunt: Hunt, urls: list[str], http: BoundedHttp) -> list[View]:
    """What the nodes at ``urls`` say, those left out that do not have the file or cannot be asked."""

    def ask(url: str) -> View | None:
        return None if hunt.is_over or url in hunt.bad else _view(hunt, url, http)

    if len(urls) == 1:
        asked = [ask(urls[0])]
    else:
        with ThreadPoolExecutor(max_workers=_ASKED_AT_ONCE) as pool:
            asked = list(pool.map(ask, urls))
    return [view for view in asked if view is not None]


def _view(hunt: Hunt, url: str, http: BoundedHttp) -> View | None:
    api = NodeApi(url, http)
    try:
        info = api.file_info(hunt.root, need_available=True)
        if info is None:
            info = api.file_info(hunt.root, need_available=False)  # pruned everywhere here, or unknown
            pruned = info is not None and info.pruned
            hunt.missing(
                url, Absence.PRUNED if pruned else Absence.UNKNOWN, "pruned" if pruned else "unknown"
            )
            return None
        if info.pruned:
            hunt.missing(url, Absence.PRUNED, "pruned")
            return None
        view = View(api, info, api.shard())
    except EndpointFault as error:
        hunt.blame_error(error)
        return None
    return view if _is_possible(hunt, url, info) else None


def _is_possible(hunt: Hunt, url: str, info: wire.FileInfo) -> bool:
    expected = hunt.expected_size
    if expected is not None and shape.padded_chunks(expected) != shape.padded_chunks(info.size):
        detail = f"it gives the file {info.size} bytes where {expected} are expected"
        hunt.blame(url, FaultKind.WRONG_LENGTH, detail)
        return False
    if info.size > hunt.limit:
        hunt.blame(url, FaultKind.TOO_LARGE, f"it gives the file {info.size} bytes")
        return False
    if not info.finalized:
        segments = shape.segment_count(info.size)
        hunt.missing(url, Absence.NOT_FINAL, f"{min(info.uploaded, segments)} of {segments} segments so far")
    return True


def by_size(views: Iterable[View], expected: int | None) -> list[tuple[int, list[View]]]:
    """Views that agree on the length, together; the expected length first, then in order of appearance."""
    groups: dict[int, list[View]] = {}
    for view in views:
        groups.setdefault(view.info.size, []).append(view)
    return sorted(groups.items(), key=lambda item: item[0] != expected)
