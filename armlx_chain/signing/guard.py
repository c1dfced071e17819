"""One verdict per proposal and key, ever.

- The verdict is checked and entered in one exclusive transaction, on disk, *before* it is signed.
- The same bytes again are fine (a restart repeats itself); other bytes are refused.
- Whatever is wrong with the database refuses the signature: the guard fails closed.

Keyed by chain id and genesis hash too, so that a restarted local chain is another world.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from armlx_chain.durable import open_durable
from armlx_chain.errors import GuardRefused
from armlx_chain.types import Address, ProposalId

__all__ = ["GuardKey", "SingleSignGuard"]

_SCHEMA_VERSION = 1
_CREATE = """
CREATE TABLE IF NOT EXISTS verdicts (
    chain_id TEXT NOT NULL,
    genesis_hash BLOB NOT NULL,
    ledger TEXT NOT NULL,
    proposal_id TEXT NOT NULL,
    signer TEXT NOT NULL,
    digest BLOB NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (chain_id, genesis_hash, ledger, proposal_id, signer)
) STRICT, WITHOUT ROWID
"""
_SELECT = (
    "SELECT digest, payload FROM verdicts WHERE chain_id = ? AND genesis_hash = ? AND ledger = ? "
    "AND proposal_id = ? AND signer = ?"
)
_INSERT = "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class GuardKey:
    """What may be signed once: a proposal of one ledger in one world, by one key."""

    chain_id: int
    genesis_hash: bytes
    ledger: Address
    proposal_id: ProposalId
    signer: Address

    def columns(self) -> tuple[str, bytes, str, str, str]:
        # Addresses without their case: two spellings must not be two keys.
        return (
            str(self.chain_id),
            self.genesis_hash,
            self.ledger.lower(),
            str(self.proposal_id),
            self.signer.lower(),
        )


class SingleSignGuard:
    """The durable record of what was signed."""

    def __init__(self, path: Path) -> None:
        """Use the database at ``path``, made on first use with mode 0600."""
        self._path = path

    def check_and_insert(self, key: GuardKey, payload: bytes) -> None:
        """Allow these bytes to be signed under this key, durably; call before signing.

        Raises:
            GuardRefused: if other bytes were allowed before, or the record cannot be kept.
        """
        digest = sha256(payload).digest()
        with self._transaction() as database:
            row = database.execute(_SELECT, key.columns()).fetchone()
            if row is None:
                database.execute(_INSERT, (*key.columns(), digest, payload))
            elif row[0] != digest:
                raise GuardRefused(
                    f"Another verdict on proposal {key.proposal_id} was signed by {key.signer} before.",
                    meaning="Two verdicts by one key would be proof of misbehaviour; nothing was signed.",
                    next_step="The recorded verdict stands; see the validator's history.",
                )

    def recorded(self, key: GuardKey) -> bytes | None:
        """The bytes that were allowed under this key, if any: what a restart signs again.

        Raises:
            GuardRefused: if the record cannot be read.
        """
        with self._transaction() as database:
            row = database.execute(_SELECT, key.columns()).fetchone()
        return None if row is None else bytes(row[1])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """An exclusive transaction: committed to disk at its end, rolled back on any error."""
        try:
            with closing(open_durable(self._path, _CREATE, version=_SCHEMA_VERSION)) as database:
                database.execute("BEGIN IMMEDIATE")
                try:
                    yield database
                    database.execute("COMMIT")
                except BaseException:
                    if database.in_transaction:
                        database.execute("ROLLBACK")
                    raise
        except (sqlite3.Error, OSError) as failed:
            raise GuardRefused(
                f"The single-sign guard at {self._path} cannot keep its record: {failed}.",
                meaning="Without the record a second verdict could be signed, so nothing was signed.",
            ) from failed
