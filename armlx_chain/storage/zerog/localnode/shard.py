"""One storage node's ``zgs_*`` methods over its shard of the files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from armlx_chain.errors import EndpointFault
from armlx_chain.storage.zerog import shape, wire
from armlx_chain.storage.zerog.localnode.flow import FlowWatcher
from armlx_chain.storage.zerog.localnode.receive import Arrival, check_arrival, check_file, decode_arrival
from armlx_chain.storage.zerog.localnode.rpc import (
    Method,
    failure,
    internal_error,
    invalid_params,
    param,
    undecodable,
)
from armlx_chain.storage.zerog.localnode.store import SegmentStore
from armlx_chain.storage.zerog.submission import Submission
from armlx_chain.types import Address, Root

__all__ = ["ShardNode"]

_POOL_CHUNKS = (4 << 20) // shape.CHUNK_BYTES
_POOL_SECONDS = 300.0
_DUPLICATE = "segment has already been uploaded or is being uploaded"


class ShardNode:
    """A node that keeps the global segments g with ``g % shard.count == shard.id``.

    Args:
        flow: Where submissions come from.
        store: Where segments are kept.
        clock: Seconds, for the expiry of segments that came before their submission.
    """

    def __init__(
        self,
        *,
        shard: wire.ShardConfig,
        flow: FlowWatcher,
        flow_address: Address,
        store: SegmentStore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shard = shard
        self._flow = flow
        self._flow_address = flow_address
        self._store = store
        self._clock = clock
        self._pool: dict[bytes, dict[int, tuple[float, Arrival]]] = {}
        self._lock = threading.Lock()
        self._chain_id: int | None = None

    def methods(self) -> dict[str, Method]:
        """The JSON-RPC methods by name."""
        return {
            "zgs_getStatus": lambda _: self.status(),
            "zgs_getShardConfig": lambda _: {"shardId": self.shard.id, "numShard": self.shard.count},
            "zgs_getFileInfo": self._get_file_info,
            "zgs_getFileInfoByTxSeq": self._get_file_info_by_seq,
            "zgs_checkFileFinalized": self._check_finalized,
            "zgs_downloadSegment": lambda p: self._download(self._by_root_param(p), p),
            "zgs_downloadSegmentByTxSeq": lambda p: self._download(self._by_seq_param(p), p),
            "zgs_downloadSegmentWithProof": lambda p: self._download_proven(self._by_root_param(p), p),
            "zgs_downloadSegmentWithProofByTxSeq": lambda p: self._download_proven(self._by_seq_param(p), p),
            "zgs_uploadSegment": lambda p: self.receive(param(p, 0), None),
            "zgs_uploadSegmentByTxSeq": lambda p: self.receive(param(p, 0), _seq(p, 1)),
            "zgs_uploadSegments": lambda p: self._receive_all(p, None),
            "zgs_uploadSegmentsByTxSeq": lambda p: self._receive_all(p, _seq(p, 1)),
        }

    # --- what is known ---------------------------------------------------------------------------------

    def own_segments(self, submission: Submission) -> list[int]:
        """The file's segments that belong to this shard."""
        first = submission.start // shape.SEGMENT_CHUNKS
        return [i for i in range(shape.segment_count(submission.size)) if self.shard.holds(first + i)]

    def is_final(self, submission: Submission) -> bool:
        present = self._store.indices((submission.root, submission.size))
        return all(index in present for index in self.own_segments(submission))

    def by_root(self, root: bytes) -> Submission | None:
        """The first finalized submission of ``root``, else the first. (Nothing is ever pruned here.)"""
        found = self._flow.by_root(root)
        return next((entry for entry in found if self.is_final(entry)), found[0] if found else None)

    def info(self, submission: Submission) -> dict[str, Any]:
        """File information as the node answers it."""
        final = self.is_final(submission)
        return {
            "tx": {
                "streamIds": [],
                "data": [],
                "dataMerkleRoot": wire.hash_text(submission.root),
                "merkleNodes": [[node.height + 1, wire.hash_text(node.root)] for node in submission.nodes],
                "startEntryIndex": submission.start,
                "size": submission.size,
                "seq": submission.seq,
            },
            "finalized": final,
            "isCached": False,
            "uploadedSegNum": self._uploaded(submission, final),
            "pruned": False,
        }

    def _uploaded(self, submission: Submission, final: bool) -> int:
        if final:
            return shape.segment_count(submission.size)
        present = self._store.indices((submission.root, submission.size))
        if not present:
            return 0
        return next(index for index in self.own_segments(submission) if index not in present)

    def status(self) -> dict[str, Any]:
        height, block_hash, next_seq = self._flow.progress()
        if self._chain_id is None:
            try:
                self._chain_id = self._flow.chain_id()
            except EndpointFault as error:
                raise internal_error(f"the chain does not answer: {error.message}") from error
        return {
            "connectedPeers": 0,
            "logSyncHeight": height,
            "logSyncBlock": block_hash,
            "nextTxSeq": next_seq,
            "networkIdentity": {
                "chainId": self._chain_id,
                "flowAddress": self._flow_address.lower(),
                "p2pProtocolVersion": {"major": 0, "minor": 4, "build": 0},
            },
        }

    def _by_root_param(self, params: list[Any]) -> Submission | None:
        return self.by_root(_hash(params, 0))

    def _by_seq_param(self, params: list[Any]) -> Submission | None:
        return self._flow.by_seq(_seq(params, 0))

    def _get_file_info(self, params: list[Any]) -> dict[str, Any] | None:
        root = _hash(params, 0)
        if not isinstance(param(params, 1), bool):  # "need available": nothing is ever pruned here
            raise undecodable("expected a boolean")
        submission = self.by_root(root)
        return None if submission is None else self.info(submission)

    def _get_file_info_by_seq(self, params: list[Any]) -> dict[str, Any] | None:
        submission = self._by_seq_param(params)
        return None if submission is None else self.info(submission)

    def _check_finalized(self, params: list[Any]) -> bool | None:
        key = param(params, 0)
        found = self.by_root(_hash(params, 0)) if isinstance(key, str) else self._by_seq_param(params)
        return None if found is None else self.is_final(found)

    # --- download ----------------------------------------------------------------------------------------

    def _download(self, submission: Submission | None, params: list[Any]) -> str | None:
        start, end = _number(params, 1), _number(params, 2)
        if start >= end:
            raise invalid_params("end_index", "invalid chunk index")
        if end - start > shape.SEGMENT_CHUNKS:
            raise invalid_params("end_index", f"exceeds maximum chunks {shape.SEGMENT_CHUNKS}")
        if submission is None:
            return None
        total = shape.chunk_count(submission.size)
        if end > total:
            raise failure(f"end entry index exceeds tx size: end={end} tx size={total}")
        data = self.chunks(submission, start, end)
        return None if data is None else wire.encode_bytes(data)

    def chunks(self, submission: Submission, start: int, end: int) -> bytes | None:
        """Chunks [start, end) of the file, or ``None`` if not all of them are here."""
        parts: list[bytes] = []
        for index in range(start // shape.SEGMENT_CHUNKS, (end - 1) // shape.SEGMENT_CHUNKS + 1):
            segment = self._store.read((submission.root, submission.size), index)
            if segment is None:
                return None
            parts.append(segment)
        skip = start % shape.SEGMENT_CHUNKS * shape.CHUNK_BYTES
        return b"".join(parts)[skip : skip + (end - start) * shape.CHUNK_BYTES]

    def _download_proven(self, submission: Submission | None, params: list[Any]) -> dict[str, Any] | None:
        index = _number(params, 1)
        if submission is None:
            return None
        if index >= shape.segment_count(submission.size):
            raise invalid_params("index", "index out of bound")
        key = (submission.root, submission.size)
        data = self._store.read(key, index)
        proof = self._store.read_proof(key, index)
        if data is None or proof is None:
            return None
        return wire.segment_json(Root.zerog(submission.root), data, index, submission.size, proof)

    # --- upload --------------------------------------------------------------------------------------------

    def receive(self, value: Any, seq: int | None, *, skip_present: bool = False) -> None:
        """Take one segment; see :mod:`receive` for the checks.

        Raises:
            DevnetRpcError: with the real node's code and text.
        """
        arrival = decode_arrival(value)
        submission = self.by_root(arrival.root) if seq is None else self._flow.by_seq(seq)
        final = submission is not None and self.is_final(submission)
        check_file(arrival, submission, finalized=final)
        check_arrival(arrival)
        if submission is None:
            self._keep_in_pool(arrival)
        elif not self._keep(arrival) and not skip_present:
            raise failure(_DUPLICATE)

    def _receive_all(self, params: list[Any], seq: int | None) -> None:
        segments = param(params, 0)
        if not isinstance(segments, list):
            raise undecodable("expected a list of segments")
        for segment in segments:
            self.receive(segment, seq, skip_present=seq is not None)

    def _keep(self, arrival: Arrival) -> bool:
        return self._store.write((arrival.root, arrival.size), arrival.index, arrival.data, arrival.proof)

    def _keep_in_pool(self, arrival: Arrival) -> None:
        now = self._clock()
        with self._lock:
            for root in list(self._pool):
                kept = {i: e for i, e in self._pool[root].items() if now - e[0] < _POOL_SECONDS}
                self._pool[root] = kept
                if not kept:
                    del self._pool[root]
            if arrival.index in self._pool.get(arrival.root, {}):
                raise failure(_DUPLICATE)
            held = sum(len(e[1].data) for entries in self._pool.values() for e in entries.values())
            if held + len(arrival.data) > _POOL_CHUNKS * shape.CHUNK_BYTES:
                raise failure(f"exceeds the maximum cached chunks of whole pool: {_POOL_CHUNKS}")
            self._pool.setdefault(arrival.root, {})[arrival.index] = (now, arrival)

    def flush_pool(self) -> None:
        """Move segments whose submission has become known to the disk."""
        with self._lock:
            known = [root for root in self._pool if self._flow.by_root(root)]
            entries = [entry for root in known for entry in self._pool.pop(root).values()]
        for _, arrival in entries:
            if any(found.size == arrival.size for found in self._flow.by_root(arrival.root)):
                self._keep(arrival)


def _number(params: list[Any], index: int) -> int:
    try:
        return wire.parse_int(param(params, index), "number")
    except ValueError as error:
        raise undecodable("expected a number") from error


def _seq(params: list[Any], index: int) -> int:
    return _number(params, index)


def _hash(params: list[Any], index: int) -> bytes:
    try:
        return wire.parse_hash(param(params, index), "hash")
    except ValueError as error:
        raise undecodable("expected a 32-byte hash") from error
