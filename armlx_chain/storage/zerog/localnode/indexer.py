"""The indexer's ``indexer_*`` methods over the nodes of this process."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from armlx_chain.storage.zerog import wire
from armlx_chain.storage.zerog.localnode.rpc import Method, failure, param, undecodable
from armlx_chain.storage.zerog.localnode.shard import ShardNode
from armlx_chain.storage.zerog.shards import select_cover
from armlx_chain.storage.zerog.submission import Submission

__all__ = ["LocalIndexer", "find_submission", "merged_info"]

_NO_COVER = "cannot select a subset from the returned nodes that meets the replication requirement"


def find_submission(nodes: Sequence[ShardNode], root: bytes) -> Submission | None:
    """The submission that a by-root call means: the first that is final on all nodes, else the first."""
    candidates = [found for node in nodes if (found := node.by_root(root)) is not None]
    final = (entry for entry in candidates if all(node.is_final(entry) for node in nodes))
    return next(final, candidates[0] if candidates else None)


def merged_info(nodes: Sequence[ShardNode], submission: Submission) -> dict[str, Any]:
    """File information over all nodes: finalized if all are, the smallest count of segments."""
    infos = [node.info(submission) for node in nodes]
    merged = dict(infos[0])
    merged["finalized"] = all(info["finalized"] for info in infos)
    merged["uploadedSegNum"] = min(info["uploadedSegNum"] for info in infos)
    return merged


class LocalIndexer:
    """Lists the nodes at ``urls``, all of them trusted.

    Args:
        seed: For the selection method ``random``.
    """

    def __init__(self, nodes: Sequence[tuple[str, ShardNode]], *, seed: int = 0) -> None:
        self._nodes = list(nodes)
        self._random = random.Random(seed)  # noqa: S311 - a choice of nodes, no secret

    def methods(self) -> dict[str, Method]:
        """The JSON-RPC methods by name."""
        return {
            "indexer_getShardedNodes": lambda _: {"trusted": self._listed(), "discovered": None},
            "indexer_getSelectedNodes": self._selected,
            "indexer_getFileLocations": self._locations,
            "indexer_getNodeLocations": lambda _: {},
        }

    def _entry(self, url: str, shard: wire.ShardConfig) -> dict[str, Any]:
        config = {"shardId": shard.id, "numShard": shard.count}
        return {"url": url, "config": config, "latency": 0, "since": 0}

    def _listed(self, *, without: Sequence[str] = ()) -> list[dict[str, Any]]:
        return [self._entry(url, node.shard) for url, node in self._nodes if url not in without]

    def _selected(self, params: list[Any]) -> dict[str, Any]:
        replicas, method, dropped = (
            param(params, 0),
            param(params, 1),
            list(params[3] or []) if params[3:] else [],
        )
        if not isinstance(replicas, int) or isinstance(replicas, bool) or not isinstance(method, str):
            raise undecodable("expected a number and a method")
        candidates = [(url, node.shard) for url, node in self._nodes if url not in dropped]
        if method == "random":
            self._random.shuffle(candidates)
        elif method in ("min", "max"):
            candidates.sort(key=lambda entry: entry[1].count, reverse=method == "max")
        elif method.isdecimal():
            candidates = [entry for entry in candidates if entry[1].count == int(method[:9])]
        else:
            raise undecodable(f"unknown selection method {method[:20]}")
        chosen = select_cover([(entry, entry[1]) for entry in candidates], max(replicas, 1))
        if not chosen:
            raise failure(_NO_COVER)
        return {"trusted": [self._entry(url, shard) for url, shard in chosen], "discovered": None}

    def _locations(self, params: list[Any]) -> list[dict[str, Any]] | None:
        try:
            root = wire.parse_hash(param(params, 0), "hash")
        except ValueError as error:
            raise undecodable(str(error)) from error
        nodes = [node for _, node in self._nodes]
        submission = find_submission(nodes, root)
        if submission is None:
            raise failure("file not found")
        holders = [(url, node.shard) for url, node in self._nodes if node.is_final(submission)]
        if not select_cover([(entry, entry[1]) for entry in holders]):
            return None
        return [self._entry(url, shard) for url, shard in holders]
