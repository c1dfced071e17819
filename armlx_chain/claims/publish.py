"""Publishing a project: repository snapshot, benchmark, protocol and baseline, then the registry entry.

Everything the registry's 32-byte fields name is uploaded before the entry is made, so that a project never
points at bytes that nobody can fetch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from armlx_chain.chain.contracts import ProjectRegistry
from armlx_chain.chain.sender import Intent, TxSender
from armlx_chain.formats.bundle import pack_tree
from armlx_chain.formats.canonical import canonical_json
from armlx_chain.formats.manifest import BenchmarkManifest
from armlx_chain.protocol.parse import parse_protocol
from armlx_chain.protocol.score import encode_score
from armlx_chain.storage.interface import Publisher
from armlx_chain.types import Address, ProjectId, Root, ScaledScore, Tokens, TxHash, Wei


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """The token a project is published with."""

    name: str
    symbol: str
    base_price: Wei
    slope: Wei
    miner_pool_cap: Tokens


@dataclass(frozen=True, slots=True)
class ProjectFiles:
    """What is published.

    Attributes:
        snapshot: The repository, by relative path.
        protocol: ``protocol.json``, byte for byte.
        manifest: The benchmark's data files by root.
        data: Those files' bytes, by the manifest's paths.
        baseline_metric: The metric of the unmodified snapshot, as measured.
        baseline_record: How it was measured; becomes a canonical JSON document.
    """

    snapshot: Mapping[str, bytes | tuple[bytes, bool]]
    protocol: bytes
    manifest: BenchmarkManifest
    data: Mapping[str, bytes]
    baseline_metric: Decimal
    baseline_record: Mapping[str, Any] | bytes

    @property
    def documents(self) -> tuple[tuple[str, bytes], ...]:
        """Everything that is uploaded, in order, each with words for a person; what points comes last."""
        record = self.baseline_record
        return (
            ("protocol", self.protocol),
            ("snapshot", pack_tree(self.snapshot)),
            *((f"data: {entry.path}", self.data[entry.path]) for entry in self.manifest.entries),
            ("benchmark", self.manifest.encode()),
            ("baseline", record if isinstance(record, bytes) else canonical_json(dict(record))),
        )


@dataclass(frozen=True, slots=True)
class PublishedProject:
    """A project on the registry, and the roots behind it."""

    project_id: ProjectId
    token: Address
    protocol_root: Root
    snapshot_root: Root
    benchmark_root: Root
    baseline_root: Root
    baseline_score: ScaledScore
    tx_hash: TxHash


def publish_project(
    files: ProjectFiles,
    terms: TokenTerms,
    *,
    publisher: Publisher,
    sender: TxSender,
    registry: ProjectRegistry,
    progress: Callable[[str], None],
    key: str | None = None,
) -> PublishedProject:
    """Upload everything, then create the project.

    Args:
        key: The journal's name for the creation, which happens once; by default, made from the roots.

    The baseline is encoded with the direction of the protocol: a minimised metric is negated, so that
    greater is better on the ledger (contracts specification, section 10).

    Raises:
        ProtocolInvalid: the protocol does not parse.
        StorageError, ChainError: uploading or creating failed; running it again resumes.
    """
    protocol = parse_protocol(files.protocol)
    score = encode_score(files.baseline_metric, protocol.measurement.primary_metric.direction)
    roots: dict[str, Root] = {}
    for label, data in files.documents:
        roots[label] = publisher.publish(data, label=label)
        progress(f"uploaded {roots[label]}  {label}")
    protocol_root, snapshot_root = roots["protocol"], roots["snapshot"]
    benchmark_root, baseline_root = roots["benchmark"], roots["baseline"]
    arguments: Sequence[Any] = (
        protocol_root.digest,
        snapshot_root.digest,
        benchmark_root.digest,
        int(score),
        baseline_root.digest,
        terms.name,
        terms.symbol,
        int(terms.base_price),
        int(terms.slope),
        int(terms.miner_pool_cap),
    )
    receipt = sender.execute(
        Intent(
            key=key or f"create/{protocol_root}/{snapshot_root}/{benchmark_root}/{terms.symbol}",
            to=registry.address,
            data=registry.encode("createProject", *arguments),
            what=f"creating project {terms.symbol}",
        )
    )
    created = registry.event(receipt, "ProjectCreated")
    return PublishedProject(
        tx_hash=receipt.tx_hash,
        project_id=ProjectId(created["projectId"]),
        token=Address(created["token"]),
        protocol_root=protocol_root,
        snapshot_root=snapshot_root,
        benchmark_root=benchmark_root,
        baseline_root=baseline_root,
        baseline_score=score,
    )
