"""One verdict per proposal and key, ever.

- The verdict is checked and entered in one exclusive transaction, on disk, *before* it is signed.
- The same bytes again are fine (a restart repeats itself); other bytes are refused.
- Whatever is wrong with the database refuses the signature: the guard fails closed.

Keyed by chain id and genesis hash too, so that a restarted local chain is another world.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from armlx_chain.errors import GuardRefused
from armlx_chain.types import Address, ProposalId

__all__ = ["GuardKey", "SingleSignGuard"]

_SCHEMA_VERSION = 1
_WAIT_SECONDS = 30.0
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
            with closing(self._open()) as database:
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

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)
        try:
            _prepare(database, self._path)
        except BaseException:
            database.close()
            raise
        return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    database.execute(f"PRAGMA busy_timeout = {int(_WAIT_SECONDS * 1000)}")
    if database.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise GuardRefused(
            f"The single-sign guard at {path} cannot use a write-ahead log on this file system."
        )
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA fullfsync = ON")  # macOS: through the drive's own cache
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, _SCHEMA_VERSION):
        raise GuardRefused(f"The single-sign guard at {path} was written by another version of this program.")
    if version == 0:
        database.execute("BEGIN IMMEDIATE")
        database.execute(_CREATE)
        database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        database.execute("COMMIT")
