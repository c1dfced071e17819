"""Every candidate that this machine has seen of a project, kept: what a new one is compared with.

One row per proposal, whatever became of it. Bundles that are not published (yet) are looked for again in
later passes, a bounded number of them each time; a wrong row can make a wrong flag and nothing else.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from armlx_chain.chain.contracts import Proposal
from armlx_chain.claims.likeness import Fingerprint, fingerprint
from armlx_chain.durable import open_durable
from armlx_chain.errors import FormatError, StorageError, VerifierFault
from armlx_chain.formats.bundle import CANDIDATE_LIMITS, read_candidate
from armlx_chain.storage.interface import Fetcher
from armlx_chain.types import Address, ProposalId, Root
from verifier.copies import Seen

log = logging.getLogger(__name__)

MAX_FETCHED = 48
"""Bundles of other proposals fetched for one judgement; the rest follows in later ones."""
MAX_MISSED = 8
"""…and so many of them in vain: looking for what nobody has is slow."""

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    proposal INTEGER NOT NULL,
    miner TEXT NOT NULL,
    author TEXT NOT NULL,
    root TEXT NOT NULL,
    bytes TEXT NOT NULL,
    syntax TEXT NOT NULL,
    shape TEXT NOT NULL,
    PRIMARY KEY (chain, ledger, proposal)
);
"""


class CopyIndex:
    """The candidates of one ledger's proposals."""

    def __init__(self, path: Path, *, chain: str, ledger: str) -> None:
        self._path = path
        self._where = (chain, ledger.lower())

    def compared_with(
        self, proposal: Proposal, others: Sequence[Proposal], storage: Fetcher
    ) -> tuple[Seen, ...]:
        """What is known of a project's other proposals, completed by what can be fetched now.

        Raises:
            VerifierFault: the index cannot be kept.
        """
        try:
            with closing(open_durable(self._path, _SCHEMA, version=_SCHEMA_VERSION)) as database:
                known = self._known(database)
                asked = [other for other in others if other.id != proposal.id]
                unknown = [
                    o for o in asked if o.id not in known or known[o.id].root != Root.zerog(o.code_hash)
                ]
                for seen in _fetched(unknown, storage):
                    self._keep(database, seen)
                    known[seen.proposal] = seen
        except (sqlite3.Error, OSError) as failed:
            raise VerifierFault(
                f"The index of candidates at {self._path} cannot be used: {failed}.",
                next_step="Free some space, or delete it: it is made anew.",
            ) from failed
        return tuple(known[other.id] for other in asked if other.id in known)

    def _known(self, database: sqlite3.Connection) -> dict[ProposalId, Seen]:
        rows = database.execute(
            "SELECT proposal, miner, author, root, bytes, syntax, shape FROM seen"
            " WHERE chain = ? AND ledger = ?",
            self._where,
        )
        return {
            ProposalId(row[0]): Seen(
                ProposalId(row[0]),
                Address(row[1]),
                Address(row[2]),
                Root.parse(row[3]),
                Fingerprint(*row[4:]),
            )
            for row in rows
        }

    def _keep(self, database: sqlite3.Connection, seen: Seen) -> None:
        prints = (seen.prints.bytes, seen.prints.syntax, seen.prints.shape)
        database.execute(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*self._where, int(seen.proposal), seen.miner, seen.author, str(seen.root), *prints),
        )


def _fetched(proposals: Sequence[Proposal], storage: Fetcher) -> list[Seen]:
    found: list[Seen] = []
    missed: set[bytes] = set()
    for proposal in proposals:
        if len(found) >= MAX_FETCHED or len(missed) >= MAX_MISSED:
            break
        if proposal.code_hash in missed:
            continue
        try:
            found.append(seen_of(proposal, storage))
        except (StorageError, FormatError) as error:
            log.debug("proposal %s cannot be compared: %s", proposal.id, error.message)
            missed.add(proposal.code_hash)
    return found


def seen_of(proposal: Proposal, storage: Fetcher) -> Seen:
    """Fetch and read a proposal's candidate.

    Raises:
        StorageError, FormatError: it cannot be had, or is no bundle.
    """
    root = Root.zerog(proposal.code_hash)
    author, files = read_candidate(storage.fetch(root, max_bytes=CANDIDATE_LIMITS.archive_bytes).data)
    return Seen(proposal.id, proposal.miner, author.miner, root, fingerprint(files))
