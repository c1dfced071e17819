"""The shapes that travel between 0G Storage clients, nodes and indexers, read strictly.

Hashes are ``0x`` and 64 hex digits, bytes are standard base64 with padding, integers are JSON numbers. The
``parse_*`` functions raise ``ValueError`` with a short reason; the client turns that into a named fault.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

from armlx_chain.storage.jsonrpc import parse_json
from armlx_chain.storage.zerog import base64text, shape
from armlx_chain.storage.zerog.merkle import SegmentProof, fold_nodes
from armlx_chain.types import Root

_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_MAX_SHARDS = 1 << 32
_MAX_NODES_LISTED = 1000
_UINT64 = 1 << 64
_DATA, _RESULT = b'"data":"', b'"result":"'
_WORTH_LIFTING = 4096


@dataclass(frozen=True, slots=True)
class ShardConfig:
    """Which part of the flow a node keeps: global segments g with ``g % count == id``."""

    id: int
    count: int

    def holds(self, flow_segment: int) -> bool:
        return flow_segment % self.count == self.id


@dataclass(frozen=True, slots=True)
class ShardedNode:
    """A storage node as an indexer lists it."""

    url: str
    shard: ShardConfig


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A node's view of one submission.

    Attributes:
        root: Data root.
        size: Length in bytes, as submitted.
        seq: Submission index in the Flow contract.
        start: First chunk in the flow.
        finalized: The node holds every segment of its shard.
        pruned: The node dropped the file.
        uploaded: Segments below this index are with the node (as far as they belong to its shard).
    """

    root: bytes
    size: int
    seq: int
    start: int
    finalized: bool
    pruned: bool
    uploaded: int = 0

    @property
    def start_segment(self) -> int:
        """Flow segment of the file's segment 0."""
        return self.start // shape.SEGMENT_CHUNKS


@dataclass(frozen=True, slots=True)
class Lifted:
    """Base64 that stays where it came: ``body[start:end]``. See :func:`parse_lifted`."""

    body: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ServedSegment:
    """A segment with its proof, as served."""

    root: bytes
    data: bytes | bytearray
    index: int
    size: int
    proof: SegmentProof


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """Identity and progress of a node."""

    chain_id: int
    flow: str
    next_seq: int


def hash_text(digest: bytes) -> str:
    return "0x" + digest.hex()


def encode_bytes(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _field(document: Any, name: str) -> Any:
    if not isinstance(document, dict) or name not in document:
        raise ValueError(f"{name} is missing")
    return document[name]


def parse_int(value: Any, name: str, limit: int = _UINT64) -> int:
    """A JSON integer in [0, limit)."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < limit:
        raise ValueError(f"{name} is not a number in range")
    return value


def parse_bool(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is not true or false")  # noqa: TRY004 - foreign data, not misuse
    return value


def parse_hash(value: Any, name: str) -> bytes:
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise ValueError(f"{name} is not a hash")
    return bytes.fromhex(value[2:])


def parse_bytes(value: Any, name: str) -> bytes | bytearray:
    """Standard base64 with padding, nothing else."""
    if isinstance(value, Lifted):
        return base64text.decode_slice(value.body, value.start, value.end)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")  # noqa: TRY004 - foreign data, not misuse
    try:
        return base64text.decode(value.encode("ascii"))
    except ValueError as error:
        raise ValueError(f"{name} is not base64") from error


def parse_lifted(body: bytes) -> Any:
    """Strict JSON, as :func:`parse_json` reads it, except that a long ``"data"`` string in the ``result`` of
    a JSON-RPC answer (or the whole result, if it is a string) may come as :class:`Lifted`.

    JSON and text decoding would cost more than all verification of a segment. Where the shape is not exactly
    the usual one, or the text is not base64, everything is read the usual way, and refused there if need be.

    Raises:
        ValueError: if it is not JSON.
    """
    for name in (_DATA, _RESULT):
        start = body.find(name) + len(name)
        end = body.find(b'"', start)
        if start < len(name) or end - start < _WORTH_LIFTING or body.find(name, end) >= 0:
            continue
        if body.find(b"\\", start, end) >= 0:
            break
        document = parse_json(body[:start] + body[end:])
        holder = document.get("result") if name is _DATA and isinstance(document, dict) else document
        key = "data" if name is _DATA else "result"
        if isinstance(holder, dict) and holder.get(key) == "":
            holder[key] = Lifted(body, start, end)
            return document
    return parse_json(body)


def parse_shard(value: Any) -> ShardConfig:
    count = parse_int(_field(value, "numShard"), "numShard", _MAX_SHARDS)
    shard = parse_int(_field(value, "shardId"), "shardId", _MAX_SHARDS)
    if count < 1 or count & (count - 1) or shard >= count:
        raise ValueError("the shard configuration is impossible")
    return ShardConfig(shard, count)


def parse_nodes(value: Any) -> list[ShardedNode]:
    """A list of sharded nodes; ``null`` is an empty list. Entries with impossible shards are left out."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > _MAX_NODES_LISTED:
        raise ValueError("the list of nodes is not a list, or endless")
    nodes: list[ShardedNode] = []
    for entry in value:
        url = _field(entry, "url")
        if not isinstance(url, str):
            raise ValueError("a node's url is not a string")  # noqa: TRY004 - foreign data
        try:
            shard = parse_shard(_field(entry, "config"))
        except ValueError:
            continue
        nodes.append(ShardedNode(url, shard))
    return nodes


def parse_file_info(value: Any, root: Root) -> FileInfo:
    """File information that is at least consistent with ``root``: its subtrees fold to it."""
    tx = _field(value, "tx")
    claimed = parse_hash(_field(tx, "dataMerkleRoot"), "dataMerkleRoot")
    if claimed != root.digest:
        raise ValueError("the information is about another root")
    size = parse_int(_field(tx, "size"), "size")
    if size < 1:
        raise ValueError("size is 0")
    _check_nodes(_field(tx, "merkleNodes"), size, root)
    return FileInfo(
        root=claimed,
        size=size,
        seq=parse_int(_field(tx, "seq"), "seq"),
        start=parse_int(_field(tx, "startEntryIndex"), "startEntryIndex"),
        finalized=parse_bool(_field(value, "finalized"), "finalized"),
        pruned=parse_bool(value.get("pruned", False), "pruned"),
        uploaded=_uploaded(value),
    )


def _uploaded(value: Any) -> int:
    """``uploadedSegNum``, which means something else while segments wait for their submission."""
    if value.get("isCached", False):
        return 0
    return parse_int(value.get("uploadedSegNum", 0), "uploadedSegNum")


def _check_nodes(nodes: Any, size: int, root: Root) -> None:
    """``merkleNodes`` are [height + 1, root] pairs of the size's subtrees, and fold to the root."""
    heights = shape.node_heights(size)
    if not isinstance(nodes, list) or len(nodes) != len(heights):
        raise ValueError("merkleNodes do not fit the size")
    hashes: list[bytes] = []
    for entry, height in zip(nodes, heights, strict=True):
        if not isinstance(entry, list) or len(entry) != 2 or entry[0] != height + 1:
            raise ValueError("merkleNodes do not fit the size")
        hashes.append(parse_hash(entry[1], "merkleNodes"))
    if fold_nodes(hashes) != root.digest:
        raise ValueError("merkleNodes do not fold to the root")


def parse_proof(value: Any) -> SegmentProof:
    lemma, path = _field(value, "lemma"), _field(value, "path")
    if not isinstance(lemma, list) or not isinstance(path, list) or len(lemma) > 66 or len(path) > 64:
        raise ValueError("the proof has no lemma and path of a possible length")
    return SegmentProof(
        tuple(parse_hash(entry, "lemma") for entry in lemma),
        tuple(parse_bool(entry, "path") for entry in path),
    )


def parse_segment(value: Any) -> ServedSegment:
    return ServedSegment(
        root=parse_hash(_field(value, "root"), "root"),
        data=parse_bytes(_field(value, "data"), "data"),
        index=parse_int(_field(value, "index"), "index"),
        size=parse_int(_field(value, "fileSize"), "fileSize"),
        proof=parse_proof(_field(value, "proof")),
    )


def proof_json(proof: SegmentProof) -> dict[str, Any]:
    return {"lemma": [hash_text(entry) for entry in proof.lemma], "path": list(proof.path)}


def segment_json(root: Root, data: bytes, index: int, size: int, proof: SegmentProof) -> dict[str, Any]:
    """A segment with its proof, as it is served and as it is uploaded."""
    return {
        "root": root.hex,
        "data": encode_bytes(data),
        "index": index,
        "proof": proof_json(proof),
        "fileSize": size,
    }


def parse_status(value: Any) -> NodeStatus:
    identity = _field(value, "networkIdentity")
    flow = _field(identity, "flowAddress")
    if not isinstance(flow, str) or not re.fullmatch(r"0x[0-9a-fA-F]{40}", flow):
        raise ValueError("flowAddress is not an address")
    return NodeStatus(
        chain_id=parse_int(_field(identity, "chainId"), "chainId"),
        flow=flow.lower(),
        next_seq=parse_int(_field(value, "nextTxSeq"), "nextTxSeq"),
    )
