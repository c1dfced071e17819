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
from armlx_chain.types import Address, ProjectId, Root, ScaledScore, Tokens, Wei


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

    snapshot: Mapping[str, bytes]
    protocol: bytes
    manifest: BenchmarkManifest
    data: Mapping[str, bytes]
    baseline_metric: Decimal
    baseline_record: Mapping[str, Any]


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


def publish_project(
    files: ProjectFiles,
    terms: TokenTerms,
    *,
    publisher: Publisher,
    sender: TxSender,
    registry: ProjectRegistry,
    progress: Callable[[str], None],
) -> PublishedProject:
    """Upload everything, then create the project.

    The baseline is encoded with the direction of the protocol: a minimised metric is negated, so that
    greater is better on the ledger (contracts specification, section 10).

    Raises:
        ProtocolInvalid: the protocol does not parse.
        StorageError, ChainError: uploading or creating failed; running it again resumes.
    """
    protocol = parse_protocol(files.protocol)
    score = encode_score(files.baseline_metric, protocol.measurement.primary_metric.direction)
    protocol_root = publisher.publish(files.protocol, label="protocol")
    progress(f"protocol       {protocol_root}")
    snapshot_root = publisher.publish(pack_tree(files.snapshot), label="snapshot")
    progress(f"snapshot       {snapshot_root}")
    _publish_data(files, publisher, progress)
    benchmark_root = publisher.publish(files.manifest.encode(), label="benchmark manifest")
    progress(f"benchmark      {benchmark_root}")
    baseline_root = publisher.publish(canonical_json(dict(files.baseline_record)), label="baseline")
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
            key=f"create/{protocol_root}/{snapshot_root}/{benchmark_root}/{terms.symbol}",
            to=registry.address,
            data=registry.encode("createProject", *arguments),
            what=f"creating project {terms.symbol}",
        )
    )
    created = registry.event(receipt, "ProjectCreated")
    return PublishedProject(
        project_id=ProjectId(created["projectId"]),
        token=Address(created["token"]),
        protocol_root=protocol_root,
        snapshot_root=snapshot_root,
        benchmark_root=benchmark_root,
        baseline_root=baseline_root,
        baseline_score=score,
    )


def _publish_data(files: ProjectFiles, publisher: Publisher, progress: Callable[[str], None]) -> None:
    for entry in files.manifest.entries:
        root = publisher.publish(files.data[entry.path], label=entry.path)
        progress(f"{entry.role:<14} {root}  {entry.path}")
