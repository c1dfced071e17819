"""Verified download from 0G Storage.

Invariants:

- Not a byte leaves :meth:`ZeroGStorage.fetch` that is not proven against the root asked for.
- Per configured endpoint, in order: the nodes an indexer lists (segments with proofs; if they have none,
  plain segments and a check of the whole root); then, over all endpoints, the REST gateways (whole root).
- An endpoint that lies, stalls or answers nonsense is named and left out of the rest of this fetch.
- Nothing is allocated because of a size that an endpoint claims before that size passed the limit.

Usage::

    storage = ZeroGStorage([Endpoint("https://indexer.example")])
    verified = storage.fetch(root, max_bytes=1 << 20)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from armlx_chain.errors import (
    ContentMismatch,
    ContentTooLarge,
    EndpointFault,
    SchemeUnsupported,
    UsageError,
)
from armlx_chain.storage.http import BoundedHttp, Timeouts
from armlx_chain.storage.interface import FaultKind, VerifiedBytes
from armlx_chain.storage.zerog import shape, wire
from armlx_chain.storage.zerog.endpoints import Endpoint, GatewayApi, IndexerApi, NodeApi
from armlx_chain.storage.zerog.hunt import Hunt
from armlx_chain.storage.zerog.merkle import root_of, tree_root, verify_segment, zero_segments_root
from armlx_chain.types import Root

__all__ = ["Endpoint", "ZeroGStorage"]


@dataclass(frozen=True, slots=True)
class _View:
    """A node that knows the file, and what it says about it."""

    api: NodeApi
    info: wire.FileInfo
    shard: wire.ShardConfig

    def is_responsible(self, index: int) -> bool:
        return self.shard.holds(self.info.start_segment + index)


@dataclass(frozen=True, slots=True)
class _Segment:
    """A segment of the right length, without the padding after the end; proven or not yet."""

    data: bytes
    root: bytes | None
    source: str


class ZeroGStorage:
    """Reads 0G roots.

    Args:
        endpoints: Where to ask, in order.
        timeouts: Patience; see :class:`Timeouts`.
        http: A shared HTTP client; overrides ``timeouts``.
        max_nodes: Most nodes asked of each indexer's list.
        workers: Segments fetched at once.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        timeouts: Timeouts | None = None,
        http: BoundedHttp | None = None,
        max_nodes: int = 16,
        workers: int = 4,
    ) -> None:
        if not endpoints:
            raise UsageError("No storage endpoint is configured.", next_step="Give the URL of a 0G indexer.")
        self._endpoints = tuple(endpoints)
        self._http = http or BoundedHttp(timeouts)
        self._max_nodes = max_nodes
        self._workers = workers

    def fetch(self, root: Root, *, max_bytes: int, expected_size: int | None = None) -> VerifiedBytes:
        """See :meth:`armlx_chain.storage.interface.Storage.fetch`."""
        if root.scheme != "0g":
            raise SchemeUnsupported(f"{root} is not a 0G root, and this storage proves no other.")
        if expected_size is not None and expected_size < 1:
            raise UsageError("A stored file has at least one byte.")
        if expected_size is not None and expected_size > max_bytes:
            raise ContentTooLarge(f"{root} has {expected_size} bytes; the limit is {max_bytes}.")
        hunt = Hunt(
            root,
            max_bytes=max_bytes,
            expected_size=expected_size,
            seconds=self._http.timeouts.overall,
        )
        found = self._from_nodes(hunt) or self._from_gateways(hunt)
        if found is None:
            raise hunt.failure()
        data, source = found
        return VerifiedBytes(root, data, source, tuple(hunt.faults))

    # --- nodes ---------------------------------------------------------------------------------------

    def _from_nodes(self, hunt: Hunt) -> tuple[bytes, str] | None:
        asked: set[str] = set()
        for endpoint in self._endpoints:
            urls = [url for url in self._node_urls(hunt, endpoint) if url not in asked]
            asked.update(urls)
            views = [view for url in urls if not hunt.is_over and (view := self._view(hunt, url))]
            for size, group in _by_size(views, hunt.expected_size):
                found = self._assemble(hunt, size, group)
                if found is None:
                    continue
                data = hunt.settle(found[0], found[1])
                if data is not None:
                    return data, found[1]
        return None

    def _node_urls(self, hunt: Hunt, endpoint: Endpoint) -> list[str]:
        if endpoint.kind == "gateway":
            return []
        if endpoint.kind == "node":
            return [endpoint.url]
        indexer = IndexerApi(endpoint.url, self._http)
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
            hunt.missing(endpoint.url, "it lists no location")
        return list(dict.fromkeys(node.url for node in nodes))[: self._max_nodes]

    def _view(self, hunt: Hunt, url: str) -> _View | None:
        """What the node at ``url`` says about the file, if that is worth a download."""
        api = NodeApi(url, self._http)
        try:
            info = api.file_info(hunt.root, need_available=True)
            if info is None or info.pruned:
                hunt.missing(url, "unknown" if info is None else "pruned")
                return None
            view = _View(api, info, api.shard())
        except EndpointFault as error:
            hunt.blame_error(error)
            return None
        expected = hunt.expected_size
        if expected is not None and shape.padded_chunks(expected) != shape.padded_chunks(info.size):
            detail = f"it gives the file {info.size} bytes where {expected} are expected"
            hunt.blame(url, FaultKind.WRONG_LENGTH, detail)
            return None
        if info.size > hunt.limit:
            hunt.blame(url, FaultKind.TOO_LARGE, f"it gives the file {info.size} bytes")
            return None
        return view

    def _assemble(self, hunt: Hunt, size: int, views: list[_View]) -> tuple[bytes, str] | None:
        """The whole file of ``size`` bytes from ``views``, proven; and who served it."""
        segments = self._proven(hunt, size, views)
        missing = [index for index in range(shape.segment_count(size)) if index not in segments]
        if not missing:
            return _joined(segments, size) if _adds_up(hunt.root, size, segments) else None
        return self._unproven(hunt, size, views, segments, missing)

    def _proven(self, hunt: Hunt, size: int, views: list[_View]) -> dict[int, _Segment]:
        """Segments that came with a valid proof; stops at the first that nobody can prove."""
        count = shape.segment_count(size)
        segments: dict[int, _Segment] = {}
        with ThreadPoolExecutor(max_workers=self._workers) as pool:
            for start in range(0, count, self._workers):
                window = range(start, min(start + self._workers, count))
                answers = pool.map(lambda index: self._prove_one(hunt, size, views, index), window)
                for index, segment in zip(window, answers, strict=True):
                    if segment is not None:
                        segments[index] = segment
                if len(segments) < window.stop:
                    break
        return segments

    def _prove_one(self, hunt: Hunt, size: int, views: list[_View], index: int) -> _Segment | None:
        for view in _candidates(hunt, views, index):
            if hunt.is_over:
                break
            try:
                served = view.api.proven_segment(view.info.seq, index, hunt.remaining())
            except EndpointFault as error:
                if error.details.get("rpc_code") != -32601:  # a node may lack the method: see _unproven
                    hunt.blame_error(error)
                continue
            if served is None:
                continue
            try:
                _check_claims(served, index, size)
                verify_segment(hunt.root, size, index, served.data, served.proof)
            except ContentMismatch as error:
                hunt.blame(view.api.url, FaultKind.WRONG_BYTES, error.message)
                continue
            end = min(len(served.data), size - index * shape.SEGMENT_BYTES)
            return _Segment(served.data[:end], served.proof.lemma[0], view.api.url)
        return None

    def _unproven(
        self, hunt: Hunt, size: int, views: list[_View], proven: dict[int, _Segment], missing: list[int]
    ) -> tuple[bytes, str] | None:
        """Fill ``missing`` with segments without proof, from one choice of nodes after the other."""
        for choice in range(len(views)):
            segments = dict(proven)
            for index in missing:
                candidates = _candidates(hunt, views, index)
                segment = None
                if candidates and not hunt.is_over:
                    segment = self._plain_one(hunt, size, candidates[choice % len(candidates)], index)
                if segment is None:
                    break
                segments[index] = segment
            else:
                data, source = _joined(segments, size)
                if root_of(data) == hunt.root:
                    return data, source
                _blame_all(hunt, {segments[index].source for index in missing})
        for index in missing:
            for view in views:
                if view.api.url not in hunt.bad:
                    hunt.missing(view.api.url, f"segment {index} is not there")
        return None

    def _plain_one(self, hunt: Hunt, size: int, view: _View, index: int) -> _Segment | None:
        want = shape.segment_length(size, index)
        start = index * shape.SEGMENT_CHUNKS
        try:
            data = view.api.chunks(view.info.seq, start, start + want // shape.CHUNK_BYTES, hunt.remaining())
        except EndpointFault as error:
            hunt.blame_error(error)
            return None
        if data is None:
            return None
        end = min(want, size - index * shape.SEGMENT_BYTES)
        if len(data) != want or any(data[end:]):
            why = f"segment {index} has {len(data)} bytes where {want} belong"
            hunt.blame(view.api.url, FaultKind.WRONG_BYTES, why)
            return None
        return _Segment(data[:end], None, view.api.url)

    # --- gateways ------------------------------------------------------------------------------------

    def _from_gateways(self, hunt: Hunt) -> tuple[bytes, str] | None:
        for endpoint in self._endpoints:
            if endpoint.kind == "node" or hunt.is_over:
                continue
            gateway = GatewayApi(endpoint.url, self._http)
            try:
                body = gateway.download(hunt.root, limit=hunt.limit, seconds=hunt.remaining())
            except EndpointFault as error:
                hunt.blame_error(error, endpoint=gateway.url)
                continue
            data = self._judge_body(hunt, gateway, body)
            if data is not None:
                return data, gateway.url
        return None

    def _judge_body(self, hunt: Hunt, gateway: GatewayApi, body: bytes) -> bytes | None:
        """The file, if ``body`` is it. Only the root decides; an error answer is told from a lie after it."""
        if body and root_of(body) == hunt.root:
            return hunt.settle(body, gateway.url)
        answer = gateway.absence(body)
        if answer is None:
            detail = f"the {len(body)} bytes it served as the file do not hash to the root"
            hunt.blame(gateway.url, FaultKind.WRONG_BYTES if body else FaultKind.NONSENSE, detail)
        elif answer[0]:
            hunt.missing(gateway.url, answer[1])
        else:
            hunt.blame(gateway.url, FaultKind.REFUSED, answer[1])
        return None


def _by_size(views: Iterable[_View], expected: int | None) -> list[tuple[int, list[_View]]]:
    """Views that agree on the length, together; the expected length first, then in order of appearance."""
    groups: dict[int, list[_View]] = {}
    for view in views:
        groups.setdefault(view.info.size, []).append(view)
    return sorted(groups.items(), key=lambda item: item[0] != expected)


def _candidates(hunt: Hunt, views: list[_View], index: int) -> list[_View]:
    """Nodes to ask for segment ``index``: the responsible ones first, without those that failed."""
    usable = [view for view in views if view.api.url not in hunt.bad]
    return sorted(usable, key=lambda view: not view.is_responsible(index))


def _check_claims(served: wire.ServedSegment, index: int, size: int) -> None:
    if served.index != index or served.size != size:
        raise ContentMismatch(f"Segment {index} was asked for; index {served.index} of another file came.")


def _adds_up(root: Root, size: int, segments: dict[int, _Segment]) -> bool:
    """The whole file's root from the proven segment roots and zero padding: nothing hides after the end."""
    roots = [segments[index].root or b"" for index in range(shape.segment_count(size))]
    zero = zero_segments_root(1)
    roots.extend([zero] * (shape.padded_segments(size) - len(roots)))
    return tree_root(roots) == root.digest


def _joined(segments: dict[int, _Segment], size: int) -> tuple[bytes, str]:
    ordered = [segments[index] for index in range(shape.segment_count(size))]
    sources = dict.fromkeys(segment.source for segment in ordered)
    return b"".join(segment.data for segment in ordered), ", ".join(sources)


def _blame_all(hunt: Hunt, sources: set[str]) -> None:
    """The file as a whole is wrong: certain if one node served what was not proven, else a suspicion."""
    kind = FaultKind.WRONG_BYTES if len(sources) == 1 else FaultKind.SUSPECT
    for source in sorted(sources):
        hunt.blame(source, kind, "segments without proof did not add up to the root")
