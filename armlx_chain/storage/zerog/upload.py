"""Publishing to 0G Storage: announce on the chain once, send segments, wait until it is final.

Steps:

0. hash the file once, piece by piece: root, segment proofs and submission nodes come from the same pass;
1. ask the nodes whether they know the root: final means done; known means no second transaction, ever;
2. fee = sectors × the market's price; check it against the caller's bound; one transaction by the
   :class:`FlowSender`, which waits for its receipt;
3. wait until the nodes have seen the submission;
4. send each chosen node what it lacks of its shard, with proofs; what is there already is not an error;
5. wait until all chosen nodes call it final; if they do not, send everything to them once more. Every wait
   has a deadline.

The Flow's address comes from the caller, never from a node: a node must not choose who is paid.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol

from armlx_chain.errors import (
    EndpointFault,
    InsufficientFunds,
    StorageUnavailable,
)
from armlx_chain.storage.http import BoundedHttp, Timeouts, as_fault
from armlx_chain.storage.interface import Progress
from armlx_chain.storage.jsonrpc import refusal_text
from armlx_chain.storage.zerog import shape, wire
from armlx_chain.storage.zerog.endpoints import Endpoint, is_inner
from armlx_chain.storage.zerog.merkle import FileTree
from armlx_chain.storage.zerog.price import PriceReader, RpcPriceReader
from armlx_chain.storage.zerog.source import BytesSource, FileSource, Source, segments_of
from armlx_chain.storage.zerog.submission import fee_of, submit_calldata
from armlx_chain.storage.zerog.targets import Target, UploadNodes
from armlx_chain.types import Address, Root, Wei

__all__ = [
    "FlowSender",
    "PriceReader",
    "RpcPriceReader",
    "UploadPlan",
    "UploadSettings",
    "UploadState",
    "ZeroGPublisher",
]

log = logging.getLogger(__name__)

_BATCH = 5
"""Segments in one upload call: about 1.8 MB of JSON. (Nodes take 10.)"""
_AGAIN = "Run the same command again: it goes on where this one stopped, and pays nothing twice."
_FINAL_ALREADY = "already uploaded and finalized"
_THERE_ALREADY = "segment has already been uploaded"
_BUSY = ("too many data writing", "exceeds the maximum cached chunks")


class FlowSender(Protocol):
    """Sends the one transaction. The chain part supplies it."""

    def submit(self, *, flow: Address, calldata: bytes, value: Wei, label: str) -> None:
        """Send ``calldata`` with ``value`` to ``flow`` once, and wait for its receipt.

        Called again with the same ``calldata`` it must not send again if the first one was mined: the
        publisher does so when it was stopped before the nodes had seen the submission.

        Raises:
            ChainError: if it was refused, reverted or cannot be paid.
        """
        ...


@dataclass(frozen=True, slots=True)
class UploadSettings:
    """Patience of an upload, in seconds.

    Attributes:
        seen: From the receipt until the nodes know the submission.
        final: From the last segment until it is final.
        resend: Of that, until everything is sent once more to nodes that do not call it final.
        poll: Pause between two questions.
        busy_retries: Times a busy node is asked again for one batch.
    """

    seen: float = 120.0
    final: float = 600.0
    resend: float = 120.0
    poll: float = 0.25
    busy_retries: int = 12


class UploadState(StrEnum):
    """What the network knows of a file before it is uploaded."""

    ABSENT = "absent"
    """Nobody announced it: uploading pays the fee."""
    ANNOUNCED = "announced"
    """It was announced and paid for; segments are missing."""
    FINAL = "final"
    """It is stored for good: nothing would be sent."""


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """What an upload would do.

    Attributes:
        root: The file's content address.
        size: Its length in bytes.
        sectors: What is paid for: chunks of 256 bytes, padding included.
        price: Wei per sector.
        fee: Wei that the submission would cost now; 0 if it needs none.
        state: What the network knows already.
    """

    root: Root
    size: int
    sectors: int
    price: Wei
    fee: Wei
    state: UploadState


@dataclass(frozen=True, slots=True)
class _Job:
    """One file on its way.

    Attributes:
        tree: Its Merkle tree.
        source: Its bytes.
        label: What a person calls it.
        progress: Somebody who watches, or None.
        told: Segments that ``progress`` was told of.
        approve: Asked before anything is paid; raises to stop.
    """

    tree: FileTree
    source: Source
    label: str
    progress: Progress | None = None
    told: set[int] = field(default_factory=set)
    approve: Callable[[UploadPlan], object] | None = None

    def done(self, indices: Sequence[int]) -> None:
        """Tell who watches of segments that are with the network, each once."""
        new = [index for index in indices if index not in self.told]
        self.told.update(new)
        if self.progress is not None:
            self.progress.advance(
                sum(min(shape.SEGMENT_BYTES, self.tree.size - i * shape.SEGMENT_BYTES) for i in new)
            )

    def note(self, text: str) -> None:
        if self.progress is not None:
            self.progress.note(text)


class ZeroGPublisher:
    """Publishes to the nodes behind one indexer (or to one node).

    Args:
        endpoint: An indexer or a node.
        flow_address: The Flow contract, from the deployment.
        flow: Sends the transaction.
        price: Reads the market's price.
        submitter: The account that the submission names, normally the sender's.
        max_fee: Refuse to pay more than this for one file, in wei.
        workers: Upload calls under way at once.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        flow_address: Address,
        flow: FlowSender,
        price: PriceReader,
        submitter: Address,
        max_fee: Wei | None = None,
        settings: UploadSettings | None = None,
        http: BoundedHttp | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        workers: int = 4,
    ) -> None:
        self._workers = workers
        self._flow_address = flow_address
        self._flow = flow
        self._price = price
        self._submitter = submitter
        self._max_fee = max_fee
        self._settings = settings or UploadSettings()
        self._nodes = UploadNodes(endpoint, flow_address, http or _http_for(endpoint))
        self._clock = clock
        self._sleep = sleep

    def publish(self, data: bytes, *, label: str) -> Root:
        """See :meth:`armlx_chain.storage.interface.Publisher.publish`."""
        return self._carry_out(_hashed(BytesSource(data), label, None))

    def publish_file(
        self,
        path: Path,
        *,
        label: str,
        progress: Progress | None = None,
        approve: Callable[[UploadPlan], object] | None = None,
    ) -> Root:
        """The same for the file at ``path``, which is read piece by piece.

        Args:
            progress: Told of each segment that was sent, or was there already.
            approve: Sees the plan before the transaction and raises to stop; not asked where none is needed.

        Raises:
            UsageError: there is no such regular file.
            MachineError: it cannot be read.
            StorageError: it is empty, or changed while it was uploaded.
            StorageUnavailable: the network could not be reached, or was not final before the deadline.
            ChainError: from the transaction.
        """
        with FileSource.opened(path) as source:
            job = replace(_hashed(source, label, progress), approve=approve)
            source.require_unchanged()
            if progress is not None:
                progress.start(source.size)
            return self._carry_out(job)

    def plan(self, path: Path) -> UploadPlan:
        """What :meth:`publish_file` would do, without sending anything.

        Raises:
            UsageError: there is no such regular file.
            StorageError: it is empty.
            StorageUnavailable: the storage nodes could not be reached.
            ChainError: the price could not be read.
        """
        with FileSource.opened(path) as source:
            tree = _hashed(source, "", None).tree
        price = self._price.price_per_sector(self._flow_address)
        fee = fee_of(tree.submission_nodes, price)
        try:
            state = self._state(tree)
        except EndpointFault as error:
            raise _stopped(tree, error) from error
        if state is not UploadState.ABSENT:
            fee = Wei(0)
        sectors = shape.padded_chunks(tree.size)
        return UploadPlan(tree.root, tree.size, sectors, price, fee, state)

    def _state(self, tree: FileTree) -> UploadState:
        targets, first_seq = self._nodes.targets()
        seq = self._nodes.find(tree, targets, first_seq)
        if seq is None:
            return UploadState.ABSENT
        infos = [target.api.file_info_by_seq(seq, tree.root) for target in targets]
        done = all(info is not None and info.finalized for info in infos)
        return UploadState.FINAL if done else UploadState.ANNOUNCED

    def _carry_out(self, job: _Job) -> Root:
        try:
            seq = self._publish(job)
        except EndpointFault as error:
            raise _stopped(job.tree, error) from error
        log.info("%s (%s) is stored for good as submission %d", job.tree.root, job.label, seq)
        return job.tree.root

    def _publish(self, job: _Job) -> int:
        tree = job.tree
        targets, first_seq = self._nodes.targets()
        seq = self._nodes.find(tree, targets, first_seq)  # 1
        if seq is None:
            self._announce(job)  # 2
            found: list[int] = []
            self._wait(  # 3
                lambda: self._note(found, self._nodes.find(tree, targets, first_seq)),
                self._settings.seen,
                f"the storage nodes to see the submission of {tree.root}",
            )
            seq = found[0]
        else:
            job.note(f"announced before as submission {seq}: no transaction is needed")
        self._wait(
            lambda: all(target.api.file_info_by_seq(seq, tree.root) for target in targets),
            self._settings.seen,
            f"all storage nodes to see submission {seq}",
        )
        resend = min(self._settings.resend, self._settings.final)
        for trust_nodes, patience in ((True, resend), (False, self._settings.final - resend)):
            while failed := self._send_all(job, targets, seq, trust_nodes=trust_nodes):  # 4
                targets = self._nodes.cover([target for target in targets if target not in failed])
            if self._becomes(partial(self._is_final, tree, targets, seq), patience):  # 5
                return seq
        raise self._waited(self._settings.final, f"{tree.root} to become final")

    # --- the submission ------------------------------------------------------------------------------

    @staticmethod
    def _note(found: list[int], seq: int | None) -> bool:
        if seq is None:
            return False
        found.append(seq)
        return True

    def _announce(self, job: _Job) -> None:
        tree = job.tree
        price = self._price.price_per_sector(self._flow_address)
        fee = fee_of(tree.submission_nodes, price)
        if self._max_fee is not None and fee > self._max_fee:
            raise InsufficientFunds(
                f"Storing {tree.size} bytes costs {fee} wei; at most {self._max_fee} wei were allowed.",
                next_step="Raise the bound if the price is acceptable.",
            )
        if job.approve is not None:
            sectors = shape.padded_chunks(tree.size)
            job.approve(UploadPlan(tree.root, tree.size, sectors, price, fee, UploadState.ABSENT))
        calldata = submit_calldata(tree, self._submitter)
        job.note(f"announcing {tree.root} on the chain for {fee} wei")
        self._flow.submit(flow=self._flow_address, calldata=calldata, value=fee, label=job.label)

    def _wait(self, is_so: Callable[[], bool], seconds: float, what: str) -> None:
        """Ask again and again, with pauses, until it is so.

        Raises:
            StorageUnavailable: at the deadline.
        """
        if not self._becomes(is_so, seconds):
            raise self._waited(seconds, what)

    def _becomes(self, is_so: Callable[[], bool], seconds: float) -> bool:
        end = self._clock() + seconds
        while not is_so():
            if self._clock() >= end:
                return False
            self._sleep(self._settings.poll)
        return True

    @staticmethod
    def _waited(seconds: float, what: str) -> StorageUnavailable:
        return StorageUnavailable(
            f"Waited {seconds:g} s for {what}.",
            meaning="The transaction is paid for and stays valid.",
            next_step=_AGAIN,
        )

    # --- the segments --------------------------------------------------------------------------------

    def _is_final(self, tree: FileTree, targets: list[Target], seq: int) -> bool:
        return all(self._info(tree, target, seq).finalized for target in targets)

    def _info(self, tree: FileTree, target: Target, seq: int) -> wire.FileInfo:
        info = target.api.file_info_by_seq(seq, tree.root)
        if info is None:
            raise StorageUnavailable(f"{target.api.url} no longer knows submission {seq}.")
        return info

    def _send_all(self, job: _Job, targets: list[Target], seq: int, *, trust_nodes: bool) -> list[Target]:
        """Send each unfinished node its segments; the nodes that failed.

        Args:
            trust_nodes: Skip what a node says it has, counted from the file's beginning.
        """
        batches: list[tuple[Target, list[int]]] = []
        for target in targets:
            info = self._info(job.tree, target, seq)
            own = [
                index
                for index in range(shape.segment_count(job.tree.size))
                if target.shard.holds(info.start_segment + index)
            ]
            there = shape.segment_count(job.tree.size) if info.finalized else info.uploaded * trust_nodes
            due = [index for index in own if index >= there]
            job.done([index for index in own if index < there])
            batches += [(target, due[at : at + _BATCH]) for at in range(0, len(due), _BATCH)]
        failed: dict[str, Target] = {}
        stop = threading.Event()

        def send(batch: tuple[Target, list[int]]) -> None:
            target, indices = batch
            if target.api.url in failed or stop.is_set():
                return
            try:
                self._send(job, target, seq, indices)
                job.done(indices)
            except EndpointFault as error:
                job.source.require_unchanged()
                log.warning("storage node left out: %s", as_fault(error))
                job.note(f"{target.api.url} is left out: {as_fault(error).detail}")
                failed[target.api.url] = target

        with ThreadPoolExecutor(max_workers=self._workers) as pool:
            try:
                for _ in pool.map(send, batches):
                    pass
            finally:
                stop.set()
        return list(failed.values())

    def _send(self, job: _Job, target: Target, seq: int, indices: list[int]) -> None:
        tree = job.tree
        segments = []
        for index in indices:
            piece = job.source.read(index)
            piece += bytes(-len(piece) % shape.CHUNK_BYTES)
            segments.append(wire.segment_json(tree.root, piece, index, tree.size, tree.proof(index)))
        for attempt in range(self._settings.busy_retries + 1):
            try:
                target.api.upload(segments, seq)
            except EndpointFault as error:
                text = refusal_text(error)
                if _FINAL_ALREADY in text:
                    return
                if _THERE_ALREADY in text:
                    if len(indices) > 1:  # the rest of the batch was not looked at: one by one
                        for index in indices:
                            self._send(job, target, seq, [index])
                    return
                if attempt == self._settings.busy_retries or not any(known in text for known in _BUSY):
                    raise
                self._sleep(self._settings.poll * (attempt + 1))
            else:
                return


def _hashed(source: Source, label: str, progress: Progress | None) -> _Job:
    """The one pass of hashing."""
    return _Job(FileTree.of_segments(segments_of(source), source.size), source, label, progress)


def _http_for(endpoint: Endpoint) -> BoundedHttp:
    """Nodes that a public indexer lists are never looked for in this machine's own network."""
    configured = None if is_inner(endpoint.url) else [endpoint.url]
    return BoundedHttp(Timeouts(total=60.0), configured=configured)


def _stopped(tree: FileTree, error: EndpointFault) -> StorageUnavailable:
    return StorageUnavailable(
        f"Storing {tree.root} stopped: {error.message}",
        next_step=_AGAIN,
        details={"root": str(tree.root), "faults": [str(as_fault(error))]},
    )
