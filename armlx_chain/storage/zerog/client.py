"""Verified download from 0G Storage, into memory or into a file.

Invariants:

- Not a byte leaves :meth:`ZeroGStorage.fetch`, or gets its name in :meth:`ZeroGStorage.download`, that is not
  proven against the root asked for.
- Per configured endpoint, in order: the nodes an indexer lists (segments with proofs; if they have none,
  plain segments and a check of the whole root); then, over all endpoints, the REST gateways (whole root).
- An endpoint that lies, stalls or answers nonsense is named and left out of the rest.
- Nothing is allocated because of a size that an endpoint claims before that size passed the limit; a download
  holds a few segments in memory, whatever the file's size.
- Segments that one endpoint's nodes proved are kept when the next endpoint is tried.

Usage::

    storage = ZeroGStorage([Endpoint("https://indexer.example")])
    verified = storage.fetch(root, max_bytes=1 << 20)
    on_disk = storage.download(root, Path("big.bin"), max_bytes=8 << 30)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from armlx_chain.errors import ContentTooLarge, EndpointFault, SchemeUnsupported, UsageError
from armlx_chain.storage.http import BoundedHttp, Timeouts
from armlx_chain.storage.interface import FaultKind, Progress, VerifiedBytes, VerifiedFile
from armlx_chain.storage.zerog import shape
from armlx_chain.storage.zerog.discover import by_size, node_urls, views_of
from armlx_chain.storage.zerog.endpoints import Endpoint, GatewayApi, is_inner
from armlx_chain.storage.zerog.fragments import Fragments, VerifiedFragments
from armlx_chain.storage.zerog.hunt import Absence, Hunt
from armlx_chain.storage.zerog.partfile import PartFile
from armlx_chain.storage.zerog.sink import Body, MemorySink, Sink, Tally
from armlx_chain.storage.zerog.transfer import Transfer
from armlx_chain.types import Root

__all__ = ["Endpoint", "ZeroGStorage"]


class ZeroGStorage:
    """Reads 0G roots.

    Args:
        endpoints: Where to ask, in order.
        timeouts: Patience. A download's ``overall`` counts from the last proven segment.
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
        # A node that a public indexer lists may be named so that it resolves into this machine's network.
        self._http = http or BoundedHttp(timeouts, configured=[endpoint.url for endpoint in endpoints])
        self._inner_http = http or BoundedHttp(timeouts)
        self._max_nodes = max_nodes
        self._workers = workers

    def fetch(self, root: Root, *, max_bytes: int, expected_size: int | None = None) -> VerifiedBytes:
        """See :meth:`armlx_chain.storage.interface.Fetcher.fetch`."""
        hunt = self._hunt(root, max_bytes, expected_size)
        sink = MemorySink()
        source = self._search(hunt, sink)
        return VerifiedBytes(root, sink.data(), source, tuple(hunt.faults))

    def download(
        self,
        root: Root,
        destination: Path,
        *,
        max_bytes: int,
        expected_size: int | None = None,
        progress: Progress | None = None,
    ) -> VerifiedFile:
        """See :meth:`armlx_chain.storage.interface.Storage.download`.

        What is unfinished is in ``<destination>.part`` and ``<destination>.part.state``.

        Raises:
            MachineError: the folder cannot be written or is full, or another process downloads to the same
                destination; what was proven so far stays.
            ContentNotFinal: the file is announced, but its upload is not complete.
            ContentIncomplete: it is announced as final, but segments are nowhere.
            ContentPruned: the nodes dropped it.
            StorageError: as for :meth:`fetch`.
        """
        tally = Tally(progress)
        hunt = self._hunt(root, max_bytes, expected_size, renewed=True, tally=tally)
        with PartFile.opened(destination, root, tally) as part:
            source = self._search(hunt, part)
            part.finish()
        return VerifiedFile(root, destination, part.end, source, tuple(hunt.faults))

    def download_fragments(
        self,
        roots: Sequence[Root],
        destination: Path,
        *,
        max_bytes: int,
        expected_size: int | None = None,
        progress: Progress | None = None,
    ) -> VerifiedFragments:
        """A file that was cut into fragments (files beyond 4 GiB are), from the roots of all in order.

        Every fragment but the last has the same power of two of bytes; the order is the caller's to know.
        Resumed like :meth:`download`, fragment by fragment.

        Args:
            max_bytes: Of all fragments together.
            expected_size: The same.

        Raises:
            ContentMismatch: also if the lengths are not those of fragments.
            MachineError, StorageError: as for :meth:`download`.
        """
        return Fragments(self._hunt, self._search, destination, max_bytes, expected_size, progress).get(roots)

    def _hunt(
        self,
        root: Root,
        max_bytes: int,
        expected_size: int | None,
        *,
        renewed: bool = False,
        tally: Tally | None = None,
    ) -> Hunt:
        if root.scheme != "0g":
            raise SchemeUnsupported(f"{root} is not a 0G root, and this storage proves no other.")
        if expected_size is not None and expected_size < 1:
            raise UsageError("A stored file has at least one byte.")
        if expected_size is not None and expected_size > max_bytes:
            raise ContentTooLarge(f"{root} has {expected_size} bytes; the limit is {max_bytes}.")
        return Hunt(
            root,
            max_bytes=max_bytes,
            expected_size=expected_size,
            seconds=self._http.timeouts.overall,
            renewed=renewed,
            note=tally.note if tally is not None else None,
        )

    def _search(self, hunt: Hunt, sink: Sink) -> str:
        """Fill ``sink`` with the file, proven and of the expected length; who served it.

        Raises:
            StorageError: the one error that all attempts add up to.
        """
        source = self._from_nodes(hunt, sink) or self._from_gateways(hunt, sink)
        if source is None:
            raise hunt.failure()
        return source

    # --- nodes ---------------------------------------------------------------------------------------

    def _from_nodes(self, hunt: Hunt, sink: Sink) -> str | None:
        asked: set[str] = set()
        for endpoint in self._endpoints:
            http = self._inner_http if is_inner(endpoint.url) else self._http
            listed = node_urls(hunt, endpoint, http, self._max_nodes)
            urls = [url for url in listed if url not in asked]
            asked.update(urls)
            for size, group in by_size(views_of(hunt, urls, http), hunt.expected_size):
                transfer = Transfer(hunt, size, group, sink, workers=self._workers)
                if not transfer.run():
                    continue
                source = ", ".join(transfer.sources) or "what an earlier run had proven"
                if _settled(hunt, sink, size, source):
                    return source
        return None

    # --- gateways ------------------------------------------------------------------------------------

    def _from_gateways(self, hunt: Hunt, sink: Sink) -> str | None:
        for endpoint in self._endpoints:
            if endpoint.kind == "node" or hunt.is_over:
                continue
            gateway = GatewayApi(endpoint.url, self._http)
            with sink.body() as body:
                try:
                    gateway.download(
                        hunt.root, limit=hunt.limit, seconds=hunt.remaining(), receive=body.receive
                    )
                except EndpointFault as error:
                    hunt.blame_error(error, endpoint=gateway.url)
                    continue
                if self._is_file(hunt, gateway, body):
                    size = body.size()
                    body.accept()
                    if _settled(hunt, sink, size, gateway.url):
                        return gateway.url
        return None

    def _is_file(self, hunt: Hunt, gateway: GatewayApi, body: Body) -> bool:
        """Only the root decides; an error answer is told from a lie after it."""
        if body.root() == hunt.root:
            return True
        answer = gateway.absence(body.head())
        if answer is None:
            detail = f"the {body.size()} bytes it served as the file do not hash to the root"
            hunt.blame(gateway.url, FaultKind.WRONG_BYTES if body.size() else FaultKind.NONSENSE, detail)
        elif isinstance(answer[0], Absence):
            hunt.missing(gateway.url, answer[0], answer[1])
        else:
            hunt.blame(gateway.url, FaultKind.REFUSED, answer[1])
        return False


def _settled(hunt: Hunt, sink: Sink, size: int, source: str) -> bool:
    """Give the proven file of ``size`` bytes its expected length.

    The root does not commit to trailing zeros, so a length that differs only in them is mended here, and
    named. False if the expected length is impossible for this root.
    """
    expected = hunt.expected_size
    if expected is None or size == expected:
        return True
    for url in source.split(", "):
        detail = f"it gives the file {size} bytes where {expected} are expected"
        hunt.blame(url, FaultKind.WRONG_LENGTH, detail)
    return shape.padded_chunks(size) == shape.padded_chunks(expected) and sink.settle(expected)
