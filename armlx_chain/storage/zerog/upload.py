"""Publishing to 0G Storage: announce on the chain once, send segments, wait until it is final.

Steps:

0. hash the file once: root, segment proofs and submission nodes come from the same pass;
1. ask the nodes whether they know the root: final means done; known means no second transaction, ever;
2. fee = sectors × the market's price; check it against the caller's bound; one transaction by the
   :class:`FlowSender`, which waits for its receipt;
3. wait until the nodes have seen the submission;
4. send to each chosen node the segments of its shard, with proofs; what is there already is not an error;
5. wait until all chosen nodes call it final. Every wait has a deadline.

The Flow's address comes from the caller, never from a node: a node must not choose who is paid.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from armlx_chain.errors import (
    EndpointFault,
    InsufficientFunds,
    RpcUnavailable,
    StorageUnavailable,
    WrongChain,
)
from armlx_chain.storage.http import BoundedHttp, Timeouts, as_fault
from armlx_chain.storage.interface import FaultKind
from armlx_chain.storage.jsonrpc import RpcEndpoint, refusal_text
from armlx_chain.storage.zerog import shape, wire
from armlx_chain.storage.zerog.endpoints import Endpoint, IndexerApi, NodeApi
from armlx_chain.storage.zerog.merkle import FileTree
from armlx_chain.storage.zerog.shards import select_cover
from armlx_chain.storage.zerog.submission import MARKET_SELECTOR, PRICE_SELECTOR, fee_of, submit_calldata
from armlx_chain.types import Address, Root, Wei

__all__ = ["FlowSender", "PriceReader", "RpcPriceReader", "UploadSettings", "ZeroGPublisher"]

log = logging.getLogger(__name__)

_BATCH = 10
"""Most segments in one upload call: about 3.5 MB of JSON."""
_SEARCHED_BACK = 256
"""How many older submissions are looked through when a root is known with another length only."""

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


class PriceReader(Protocol):
    """Reads the market's price."""

    def price_per_sector(self, flow: Address) -> Wei:
        """Wei per sector (256 bytes, padding included), from the Flow's market.

        Raises:
            ChainError: if the chain does not answer.
        """
        ...


class RpcPriceReader:
    """The price by two ``eth_call`` to ``rpc_url``."""

    def __init__(self, rpc_url: str, http: BoundedHttp | None = None) -> None:
        self._rpc = RpcEndpoint(rpc_url, http or BoundedHttp())

    def price_per_sector(self, flow: Address) -> Wei:
        """See :class:`PriceReader`.

        Raises:
            RpcUnavailable: if the chain does not answer, or the contract is not a Flow.
        """
        market = self._word(flow, MARKET_SELECTOR)
        return Wei(int.from_bytes(self._word("0x" + market[12:].hex(), PRICE_SELECTOR), "big"))

    def _word(self, to: str, selector: bytes) -> bytes:
        try:
            call = {"to": to, "data": "0x" + selector.hex()}
            word = bytes.fromhex(str(self._rpc.call("eth_call", [call, "latest"])).removeprefix("0x"))
        except (EndpointFault, ValueError) as error:
            raise RpcUnavailable(f"The storage price cannot be read from the chain: {error}.") from error
        if len(word) != 32:
            raise RpcUnavailable(f"{to} does not answer like the storage market: is the Flow address right?")
        return word


@dataclass(frozen=True, slots=True)
class UploadSettings:
    """Patience of an upload, in seconds.

    Attributes:
        seen: From the receipt until the nodes know the submission.
        final: From the last segment until it is final.
        poll: Pause between two questions.
        busy_retries: Times a busy node is asked again for one batch.
    """

    seen: float = 120.0
    final: float = 600.0
    poll: float = 0.25
    busy_retries: int = 12


@dataclass(frozen=True, slots=True)
class _Target:
    api: NodeApi
    shard: wire.ShardConfig


class ZeroGPublisher:
    """Publishes to the nodes behind one indexer (or to one node).

    Args:
        endpoint: An indexer or a node.
        flow_address: The Flow contract, from the deployment.
        flow: Sends the transaction.
        price: Reads the market's price.
        submitter: The account that the submission names, normally the sender's.
        max_fee: Refuse to pay more than this for one file, in wei.
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
    ) -> None:
        self._endpoint = endpoint
        self._flow_address = flow_address
        self._flow = flow
        self._price = price
        self._submitter = submitter
        self._max_fee = max_fee
        self._settings = settings or UploadSettings()
        self._http = http or BoundedHttp(Timeouts(total=60.0))
        self._clock = clock
        self._sleep = sleep

    def publish(self, data: bytes, *, label: str) -> Root:
        """See :meth:`armlx_chain.storage.interface.Publisher.publish`."""
        tree = FileTree.of(data)  # 0
        try:
            seq = self._publish(tree, data, label)
        except EndpointFault as error:
            raise StorageUnavailable(
                f"Storing {tree.root} stopped: {error.message}",
                next_step=_AGAIN,
                details={"root": str(tree.root), "faults": [str(as_fault(error))]},
            ) from error
        log.info("%s (%s) is stored for good as submission %d", tree.root, label, seq)
        return tree.root

    def _publish(self, tree: FileTree, data: bytes, label: str) -> int:
        targets, first_seq = self._targets()
        seq = self._find(tree, targets, first_seq)  # 1
        if seq is None:
            self._announce(tree, label)  # 2
            found: list[int] = []
            self._wait(  # 3
                lambda: self._note(found, self._find(tree, targets, first_seq)),
                self._settings.seen,
                f"the storage nodes to see the submission of {tree.root}",
            )
            seq = found[0]
        self._wait(
            lambda: all(target.api.file_info_by_seq(seq, tree.root) for target in targets),
            self._settings.seen,
            f"all storage nodes to see submission {seq}",
        )
        while failed := self._send_all(tree, data, targets, seq):  # 4
            targets = self._cover([target for target in targets if target not in failed])
        self._wait(  # 5
            lambda: not self._unfinished(tree, targets, seq),
            self._settings.final,
            f"{tree.root} to become final",
        )
        return seq

    # --- whom to talk to -----------------------------------------------------------------------------

    def _targets(self) -> tuple[list[_Target], int]:
        """Nodes that together hold every shard and serve our Flow; and where to begin a search."""
        if self._endpoint.kind == "node":
            urls = [self._endpoint.url]
        else:
            indexer = IndexerApi(self._endpoint.url, self._http)
            nodes = indexer.nodes(trusted_only=True) or indexer.nodes()
            urls = list(dict.fromkeys(node.url for node in nodes))
        found: list[_Target] = []
        next_seqs: list[int] = []
        for url in urls:
            api = NodeApi(url, self._http)
            try:
                status = api.status()
                self._check_flow(url, status.flow)
                found.append(_Target(api, api.shard()))
                next_seqs.append(status.next_seq)
            except EndpointFault as error:
                log.warning("storage node left out: %s", as_fault(error))
        return self._cover(found), max(min(next_seqs, default=0) - _SEARCHED_BACK, 0)

    def _check_flow(self, url: str, flow: str) -> None:
        if flow != self._flow_address.lower():
            raise WrongChain(
                f"The storage node {url} serves the Flow contract {flow}, not {self._flow_address}.",
                next_step="Check that the storage endpoint and the chain belong together.",
            )

    def _cover(self, targets: list[_Target]) -> list[_Target]:
        chosen = select_cover([(target, target.shard) for target in targets])
        if not chosen:
            raise StorageUnavailable(
                f"No storage nodes that hold every shard answer behind {self._endpoint.url}.",
                meaning="Nothing is lost: what was sent so far is not sent again.",
                next_step="Try again later.",
            )
        return chosen

    # --- the submission ------------------------------------------------------------------------------

    def _find(self, tree: FileTree, targets: list[_Target], first_seq: int) -> int | None:
        """The submission of exactly this file, if any node knows one.

        By root a node answers with *a* submission of the root, which may have another length (trailing
        zeros are not committed); then the numbers from ``first_seq`` on are looked through. Another length
        will not do: readers would get the file with zeros added or missing.
        """
        for target in targets:
            info = target.api.file_info(tree.root, need_available=True)
            if info is None or info.pruned:
                continue
            if info.size == tree.size:
                return info.seq
            seq = self._search(tree, target, first_seq)
            if seq is not None:
                return seq
        return None

    def _search(self, tree: FileTree, target: _Target, first_seq: int) -> int | None:
        for seq in range(first_seq, target.api.status().next_seq):
            try:
                info = target.api.file_info_by_seq(seq, tree.root)
            except EndpointFault as error:
                if as_fault(error).kind is FaultKind.NONSENSE:  # a submission of another root
                    continue
                raise
            if info is not None and info.size == tree.size and not info.pruned:
                return seq
        return None

    @staticmethod
    def _note(found: list[int], seq: int | None) -> bool:
        if seq is None:
            return False
        found.append(seq)
        return True

    def _announce(self, tree: FileTree, label: str) -> None:
        price = self._price.price_per_sector(self._flow_address)
        fee = fee_of(tree.submission_nodes, price)
        if self._max_fee is not None and fee > self._max_fee:
            raise InsufficientFunds(
                f"Storing {tree.size} bytes costs {fee} wei; at most {self._max_fee} wei were allowed.",
                next_step="Raise the bound if the price is acceptable.",
            )
        calldata = submit_calldata(tree, self._submitter)
        self._flow.submit(flow=self._flow_address, calldata=calldata, value=fee, label=label)

    def _wait(self, is_so: Callable[[], bool], seconds: float, what: str) -> None:
        """Ask again and again, with pauses, until it is so.

        Raises:
            StorageUnavailable: at the deadline.
        """
        end = self._clock() + seconds
        while not is_so():
            if self._clock() >= end:
                raise StorageUnavailable(
                    f"Waited {seconds:g} s for {what}.",
                    meaning="The transaction is paid for and stays valid.",
                    next_step=_AGAIN,
                )
            self._sleep(self._settings.poll)

    # --- the segments --------------------------------------------------------------------------------

    def _unfinished(self, tree: FileTree, targets: list[_Target], seq: int) -> list[_Target]:
        return [target for target in targets if not self._info(tree, target, seq).finalized]

    def _info(self, tree: FileTree, target: _Target, seq: int) -> wire.FileInfo:
        info = target.api.file_info_by_seq(seq, tree.root)
        if info is None:
            raise StorageUnavailable(f"{target.api.url} no longer knows submission {seq}.")
        return info

    def _send_all(self, tree: FileTree, data: bytes, targets: list[_Target], seq: int) -> list[_Target]:
        """Send each unfinished node its segments; the nodes that failed."""
        failed: list[_Target] = []
        for target in self._unfinished(tree, targets, seq):
            start = self._info(tree, target, seq).start_segment
            own = [i for i in range(shape.segment_count(tree.size)) if target.shard.holds(start + i)]
            try:
                for at in range(0, len(own), _BATCH):
                    self._send(tree, data, target, seq, own[at : at + _BATCH])
            except EndpointFault as error:
                log.warning("storage node left out: %s", as_fault(error))
                failed.append(target)
        return failed

    def _send(self, tree: FileTree, data: bytes, target: _Target, seq: int, indices: list[int]) -> None:
        segments = []
        for index in indices:
            piece = data[index * shape.SEGMENT_BYTES : (index + 1) * shape.SEGMENT_BYTES]
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
                            self._send(tree, data, target, seq, [index])
                    return
                if attempt == self._settings.busy_retries or not any(known in text for known in _BUSY):
                    raise
                self._sleep(self._settings.poll * (attempt + 1))
            else:
                return
