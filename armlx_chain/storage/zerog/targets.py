"""Whom an upload talks to: nodes that hold every shard together and serve our Flow contract.

- A node of another Flow contract is an error, not a detour: nobody paid for the segments there.
- What was announced before is found again by root *and* length.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from armlx_chain.errors import EndpointFault, StorageUnavailable, WrongChain
from armlx_chain.storage.http import BoundedHttp, as_fault
from armlx_chain.storage.interface import FaultKind
from armlx_chain.storage.zerog import wire
from armlx_chain.storage.zerog.endpoints import Endpoint, IndexerApi, NodeApi
from armlx_chain.storage.zerog.merkle import FileTree
from armlx_chain.storage.zerog.shards import select_cover
from armlx_chain.types import Address

__all__ = ["Target", "UploadNodes"]

log = logging.getLogger(__name__)

_SEARCHED_BACK = 256
"""How many older submissions are looked through when a root is known with another length only."""


@dataclass(frozen=True, slots=True)
class Target:
    """A node that takes segments, and its shard."""

    api: NodeApi
    shard: wire.ShardConfig


class UploadNodes:
    """The nodes behind ``endpoint`` (an indexer, or one node)."""

    def __init__(self, endpoint: Endpoint, flow_address: Address, http: BoundedHttp) -> None:
        self._endpoint = endpoint
        self._flow_address = flow_address
        self._http = http

    def targets(self) -> tuple[list[Target], int]:
        """Nodes that together hold every shard and serve our Flow; and where to begin a search."""
        if self._endpoint.kind == "node":
            urls = [self._endpoint.url]
        else:
            indexer = IndexerApi(self._endpoint.url, self._http)
            nodes = indexer.nodes(trusted_only=True) or indexer.nodes()
            urls = list(dict.fromkeys(node.url for node in nodes))
        found: list[Target] = []
        next_seqs: list[int] = []
        for url in urls:
            api = NodeApi(url, self._http)
            try:
                status = api.status()
                self._check_flow(url, status.flow)
                found.append(Target(api, api.shard()))
                next_seqs.append(status.next_seq)
            except EndpointFault as error:
                log.warning("storage node left out: %s", as_fault(error))
        return self.cover(found), max(min(next_seqs, default=0) - _SEARCHED_BACK, 0)

    def _check_flow(self, url: str, flow: str) -> None:
        if flow != self._flow_address.lower():
            raise WrongChain(
                f"The storage node {url} serves the Flow contract {flow}, not {self._flow_address}.",
                next_step="Check that the storage endpoint and the chain belong together.",
            )

    def cover(self, targets: list[Target]) -> list[Target]:
        chosen = select_cover([(target, target.shard) for target in targets])
        if not chosen:
            raise StorageUnavailable(
                f"No storage nodes that hold every shard answer behind {self._endpoint.url}.",
                meaning="Nothing is lost: what was sent so far is not sent again.",
                next_step="Try again later.",
            )
        return chosen

    def find(self, tree: FileTree, targets: list[Target], first_seq: int) -> int | None:
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

    def _search(self, tree: FileTree, target: Target, first_seq: int) -> int | None:
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
