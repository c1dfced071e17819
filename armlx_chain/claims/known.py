"""Code that others (or we) have shown already: the files behind a project's proposals.

A bundle's root depends on its author, so a copied ``train.py`` has a root of its own; only the files tell.
The same files are refused; files that differ in layout or names alone are only said to.
What is not uploaded yet cannot be compared: that is the price of publishing after submitting.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from armlx_chain.chain.contracts import Project, Proposal, Status
from armlx_chain.claims.likeness import Fingerprint, Likeness, fingerprint
from armlx_chain.claims.runfolder import candidate_digest
from armlx_chain.errors import FormatError, StorageError
from armlx_chain.formats.bundle import CANDIDATE_LIMITS, read_candidate
from armlx_chain.storage.interface import Fetcher
from armlx_chain.types import Address, Root

__all__ = ["MAX_COMPARED", "KnownCode", "known_code"]

log = logging.getLogger(__name__)

MAX_COMPARED = 24
"""Bundles fetched for one comparison: the best, and the newest proposals that are open or were approved."""


@dataclass(frozen=True, slots=True)
class KnownCode:
    """What is published already.

    Attributes:
        files: Digests of candidates' files, each with where they were seen.
        prints: Fingerprints of the same candidates, each with where.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    prints: tuple[tuple[Fingerprint, str], ...] = ()

    def alike(self, files: Mapping[str, bytes]) -> list[str]:
        """Sentences about published code that differs in layout or names alone; a warning, no refusal."""
        mine, found = fingerprint(files), []
        for other, where in self.prints:
            likeness = mine.likeness(other)
            if likeness is Likeness.SYNTAX:
                found.append(f"But for comments and layout these files are known: {where}.")
            elif likeness is Likeness.SHAPE:
                found.append(f"But for names these files are known: {where}.")
        return found


def known_code(
    project: Project, proposals: Sequence[Proposal], storage: Fetcher, *, miner: Address
) -> KnownCode:
    """The candidates that are published.

    A miner's own expired candidates are left out, so that they may be tried again.
    """
    worth = [p for p in proposals if p.is_open or p.status is Status.APPROVED]
    found: dict[str, str] = {}
    prints: list[tuple[Fingerprint, str]] = []
    if project.has_accepted:
        _add(found, prints, project.best_code_hash, "they are the current best", storage)
    for proposal in sorted(worth, key=lambda p: p.id, reverse=True)[:MAX_COMPARED]:
        whose = "yours" if proposal.miner == miner else f"of {proposal.miner}"
        where = f"they are in proposal {proposal.id}, {whose}, {proposal.status.name.lower()}"
        _add(found, prints, proposal.code_hash, where, storage)
    return KnownCode(found, tuple(prints))


def _add(
    found: dict[str, str],
    prints: list[tuple[Fingerprint, str]],
    code_hash: bytes,
    where: str,
    storage: Fetcher,
) -> None:
    try:
        data = storage.fetch(Root.zerog(code_hash), max_bytes=CANDIDATE_LIMITS.archive_bytes).data
        _, files = read_candidate(data)
    except (StorageError, FormatError) as error:
        log.debug("a candidate cannot be compared: %s", error.message)
        return
    digest = candidate_digest(files)
    if digest not in found:
        found[digest] = where
        prints.append((fingerprint(files), where))
