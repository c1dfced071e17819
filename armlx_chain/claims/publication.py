"""The rules of publishing a project, and the record that makes it happen once.

- The registry checks no argument (contracts specification, section 4), so everything is checked here: the
  sign of the baseline, whole tokens, a price, a name that can be shown.
- The record holds the protocol as it was filled in first; a later run with the same inputs uses it again, so
  that its root, and with it the deed, stays the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from armlx_chain.chain.contracts import Project
from armlx_chain.claims.projectfiles import Tree
from armlx_chain.claims.publish import PublishedProject, TokenTerms
from armlx_chain.errors import ClaimRefused, UsageError
from armlx_chain.protocol.globs import Glob
from armlx_chain.protocol.model import Protocol
from armlx_chain.protocol.orientation import classify_orientation
from armlx_chain.protocol.score import encode_score
from armlx_chain.protocol.text import one_line
from armlx_chain.types import Address, ProjectId, Root, ScaledScore

__all__ = [
    "CREATE_GAS",
    "Publication",
    "PublicationStore",
    "check_project",
    "check_terms",
    "require_as_published",
    "require_unpublished",
]

CREATE_GAS = 1_260_000
"""Source: the contracts specification, section 9, rounded up."""
MAX_POOL = 10**15
"""Tokens are whole. A larger cap is one written with 18 decimals (contracts specification, section 10)."""
MAX_PRICE = 10**24
_NAME, _SYMBOL = 64, 16


@dataclass(frozen=True, slots=True)
class Publication:
    """What names one publication: the same inputs by the same account are the same deed.

    Attributes:
        template: The protocol as given, placeholders and all.
    """

    chain_id: int
    registry: Address
    creator: Address
    template: bytes
    snapshot_root: Root
    benchmark_root: Root
    baseline: bytes
    terms: TokenTerms

    @property
    def id(self) -> str:
        """32 hex digits."""
        terms = self.terms
        parts = (
            str(self.chain_id),
            self.registry.lower(),
            self.creator.lower(),
            hashlib.sha256(self.template).hexdigest(),
            str(self.snapshot_root),
            str(self.benchmark_root),
            hashlib.sha256(self.baseline).hexdigest(),
            terms.name,
            terms.symbol,
            f"{terms.base_price} {terms.slope} {terms.miner_pool_cap}",
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    @property
    def key(self) -> str:
        """The journal's name for creating the project."""
        return f"publish/{self.id}/create"


class PublicationStore:
    """Publications in a folder: the protocol of each, and the project it became."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def protocol(self, publication: Publication, filled: bytes) -> bytes:
        """The protocol this publication was begun with, or ``filled``, which is kept from now on."""
        path = self._folder / f"{publication.id}.protocol.json"
        if path.exists():
            return path.read_bytes()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._folder / f".{publication.id}.{os.getpid()}"
        with temporary.open("wb") as handle:
            handle.write(filled)
            handle.flush()
            os.fsync(handle.fileno())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return path.read_bytes()
        finally:
            temporary.unlink(missing_ok=True)
        return filled

    def begun(self, publication: Publication) -> bytes | None:
        """The protocol it was begun with, if it was."""
        path = self._folder / f"{publication.id}.protocol.json"
        return path.read_bytes() if path.exists() else None

    def finish(self, publication: Publication, project_id: ProjectId) -> None:
        """Note the project, once it was read back and proven."""
        path = self._folder / f"{publication.id}.done"
        temporary = path.with_suffix(".part")
        temporary.write_text(f"{project_id}\n")
        temporary.replace(path)

    def finished(self, publication: Publication) -> ProjectId | None:
        """The project of a complete publication."""
        path = self._folder / f"{publication.id}.done"
        return ProjectId(int(path.read_text())) if path.exists() else None


def require_unpublished(store: PublicationStore, publication: Publication) -> None:
    """The same thing is published once.

    Raises:
        ClaimRefused: naming the project.
    """
    project = store.finished(publication)
    if project is not None:
        raise ClaimRefused(
            f"This was published already, as project {project}.",
            meaning="A second one would split its miners and its token. Nothing was sent.",
            next_step=f"Look at it with: armlx-chain status --project {project}",
            details={"project": int(project)},
        )


def check_terms(terms: TokenTerms) -> list[str]:
    """What a token must have, for anybody to be able to stake it.

    Returns:
        Warnings.

    Raises:
        UsageError: naming the first that is wrong.
    """
    for what, text, limit in (("name", terms.name, _NAME), ("symbol", terms.symbol, _SYMBOL)):
        if one_line(text, limit) != text or text != text.strip():
            raise UsageError(f"The token's {what} must be 1 to {limit} printable characters on one line.")
    if terms.base_price < 1:
        raise UsageError(
            "The base price must be at least 1 wei.",
            meaning="A token without a price cannot be bought, so nobody could ever stake.",
        )
    if terms.slope < 0 or max(terms.base_price, terms.slope) > MAX_PRICE:
        raise UsageError(f"Base price and slope lie between 0 and {MAX_PRICE} wei.")
    if not 1 <= terms.miner_pool_cap <= MAX_POOL:
        raise UsageError(
            f"A miner pool of {terms.miner_pool_cap} tokens is out of range: 1 to {MAX_POOL}.",
            meaning="The token has no decimals: a pool of a million is 1000000, not 10 to the power of 24.",
        )
    warnings = []
    if terms.slope == 0:
        warnings.append("the slope is 0: the price never moves, whatever is bought.")
    if terms.slope % 2:
        warnings.append("the slope is odd: exact payments may buy one token less; take an even one.")
    return warnings


def check_project(protocol: Protocol, snapshot: Tree, baseline_score: ScaledScore) -> None:
    """Protocol, snapshot and baseline must make a project that can be improved.

    Raises:
        UsageError: the protocol is not meant to be mined, or nothing of the snapshot may be changed.
        ClaimRefused: the baseline's score has the wrong sign.
    """
    if protocol.meta.eligibility != "eligible":
        raise UsageError(f"The protocol calls itself {protocol.meta.eligibility}, not eligible.")
    allowed = [Glob.parse(text) for text in protocol.mutable_surface.allowed_globs]
    if not any(glob.matches(path) for path in snapshot for glob in allowed):
        raise UsageError(
            "No file of the snapshot may be changed: none matches "
            + ", ".join(protocol.mutable_surface.allowed_globs)
            + ".",
            next_step="Publish the repository that the protocol is about.",
        )
    metric = protocol.measurement.primary_metric
    found = classify_orientation(
        direction=metric.direction,
        baseline_value=None,
        baseline=baseline_score,
        best=baseline_score,
        metric=metric.name,
    )
    if found.stop:
        raise ClaimRefused(" ".join(found.sentences), meaning="Nothing was sent.")


def require_as_published(
    project: Project, expected: PublishedProject, protocol: Protocol, value: str, creator: Address
) -> None:
    """The record read back must be what was sent.

    Raises:
        ClaimRefused: naming what differs.
    """

    direction = protocol.measurement.primary_metric.direction
    compared: Sequence[tuple[str, object, object]] = (
        ("protocol", Root.zerog(project.protocol_hash), expected.protocol_root),
        ("snapshot", Root.zerog(project.repo_snapshot_hash), expected.snapshot_root),
        ("benchmark", Root.zerog(project.benchmark_hash), expected.benchmark_root),
        ("baseline record", Root.zerog(project.baseline_metrics_hash), expected.baseline_root),
        ("baseline", int(project.baseline_score), int(encode_score(Decimal(value), direction))),
        ("token", project.token, expected.token),
        ("creator", project.creator, creator),
    )
    for what, found, sent in compared:
        if found != sent:
            raise ClaimRefused(
                f"The {what} of project {project.id} reads {found}, but {sent} was sent.",
                meaning="The endpoint or the registry is not what it should be.",
                next_step="Read the project through another --rpc-url before anybody stakes on it.",
            )
