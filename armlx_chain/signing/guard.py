"""One verdict per proposal and key, ever.

- The verdict is checked and entered in one exclusive transaction, on disk, *before* it is signed.
- The same bytes again are fine (a restart repeats itself); other bytes are refused, counted, and said as
  loudly as the log can.
- Whatever is wrong with the database refuses the signature: the guard fails closed.
- A mark beside the database says how many entries it had. One that has fewer, or is another database, was
  rolled back or replaced: nothing is signed until what is missing is imported (``interchange``).

Keyed by chain id and genesis hash too, so that a restarted local chain is another world.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from armlx_chain.durable import open_durable
from armlx_chain.errors import GuardRefused
from armlx_chain.signing.highwater import HighWater
from armlx_chain.types import Address, ProposalId

__all__ = ["Entry", "GuardKey", "Merged", "SingleSignGuard", "enter", "read_entries"]

log = logging.getLogger(__name__)

_SCHEMA_VERSION = 2
_VERDICTS = """
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
_REFUSALS = """
CREATE TABLE IF NOT EXISTS refusals (
    chain_id TEXT NOT NULL,
    genesis_hash BLOB NOT NULL,
    ledger TEXT NOT NULL,
    proposal_id TEXT NOT NULL,
    signer TEXT NOT NULL,
    digest BLOB NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (chain_id, genesis_hash, ledger, proposal_id, signer, digest)
) STRICT, WITHOUT ROWID
"""
SCHEMA = f"{_VERDICTS};{_REFUSALS};"
_MIGRATIONS = {1: (_REFUSALS,)}
_SELECT = (
    "SELECT digest, payload FROM verdicts WHERE chain_id = ? AND genesis_hash = ? AND ledger = ? "
    "AND proposal_id = ? AND signer = ?"
)
_INSERT = "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)"
_REFUSE = (
    "INSERT INTO refusals VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET times = refusals.times + 1"
)


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

    def __str__(self) -> str:
        return f"proposal {self.proposal_id} of {self.ledger} on chain {self.chain_id}, key {self.signer}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What was allowed to be signed under a key.

    Attributes:
        digest: SHA-256 of the payload.
    """

    key: GuardKey
    digest: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class Merged:
    """What an import did.

    Attributes:
        added, known: How many entries were new, and how many were there.
        conflicts: Keys under which other bytes stand here; what stands here was kept.
    """

    added: int
    known: int
    conflicts: tuple[GuardKey, ...]


def enter(database: sqlite3.Connection, key: GuardKey, payload: bytes) -> bool:
    """The rule itself, inside the caller's transaction: whether these bytes may be signed under this key.

    A refusal is counted.
    """
    digest = sha256(payload).digest()
    row = database.execute(_SELECT, key.columns()).fetchone()
    if row is None:
        database.execute(_INSERT, (*key.columns(), digest, payload))
    elif row[0] != digest or bytes(row[1]) != payload:
        database.execute(_REFUSE, (*key.columns(), digest))
        return False
    return True


def read_entries(database: sqlite3.Connection) -> tuple[Entry, ...]:
    """All entries, in a fixed order."""
    rows = database.execute("SELECT * FROM verdicts ORDER BY 1, 2, 3, length(proposal_id), 4, 5").fetchall()
    return tuple(
        Entry(
            GuardKey(int(row[0]), bytes(row[1]), Address(row[2]), ProposalId(int(row[3])), Address(row[4])),
            bytes(row[5]),
            bytes(row[6]),
        )
        for row in rows
    )


class SingleSignGuard:
    """The durable record of what was signed."""

    def __init__(self, path: Path, *, alarm: Callable[[str], None] = log.critical) -> None:
        """Use the database at ``path``, made on first use with mode 0600.

        Args:
            alarm: Told of every refusal.
        """
        self._path = path
        self._alarm = alarm
        self._mark = HighWater(path.with_name(f"{path.name}.mark"))

    def check_and_insert(self, key: GuardKey, payload: bytes) -> None:
        """Allow these bytes to be signed under this key, durably; call before signing.

        Raises:
            GuardRefused: if other bytes were allowed before, or the record cannot be kept.
        """
        with self._transaction() as database:
            is_allowed = enter(database, key, payload)
        if not is_allowed:
            refused = GuardRefused(
                f"Another verdict on proposal {key.proposal_id} was signed by {key.signer} before.",
                meaning="Two verdicts by one key would be proof of misbehaviour; nothing was signed.",
                next_step="The recorded verdict stands; see the validator's history.",
            )
            self._alarm(" ".join(refused.sentences()))
            raise refused

    def recorded(self, key: GuardKey) -> bytes | None:
        """The bytes that were allowed under this key, if any: what a restart signs again.

        Raises:
            GuardRefused: if the record cannot be read.
        """
        with self._transaction() as database:
            row = database.execute(_SELECT, key.columns()).fetchone()
        return None if row is None else bytes(row[1])

    def entries(self) -> tuple[Entry, ...]:
        """Everything that was allowed to be signed.

        Raises:
            GuardRefused: if the record cannot be read.
        """
        with self._transaction() as database:
            return read_entries(database)

    def refusals(self) -> int:
        """How often a second verdict was refused.

        Raises:
            GuardRefused: if the record cannot be read.
        """
        with self._transaction() as database:
            return int(database.execute("SELECT COALESCE(SUM(times), 0) FROM refusals").fetchone()[0])

    def merge(self, entries: Sequence[Entry]) -> Merged:
        """Add what is missing; what is here is never changed or removed, so a merge never weakens.

        Works on a database that was rolled back as well: that is how it is mended.

        Raises:
            GuardRefused: if the record cannot be kept.
        """
        added, known = 0, 0
        conflicts: list[GuardKey] = []
        with self._transaction(mending=True) as database:
            for entry in entries:
                row = database.execute(_SELECT, entry.key.columns()).fetchone()
                if row is None:
                    database.execute(_INSERT, (*entry.key.columns(), entry.digest, entry.payload))
                    added += 1
                elif row[0] == entry.digest:
                    known += 1
                else:
                    conflicts.append(entry.key)
        return Merged(added, known, tuple(conflicts))

    @contextmanager
    def _transaction(self, *, mending: bool = False) -> Iterator[sqlite3.Connection]:
        """An exclusive transaction: committed to disk at its end, rolled back on any error.

        The mark is raised after the commit and before anything is signed, so it never says more than the
        database holds unless that lost something.
        """
        try:
            with closing(
                open_durable(self._path, SCHEMA, version=_SCHEMA_VERSION, migrations=_MIGRATIONS)
            ) as database:
                database.execute("BEGIN IMMEDIATE")
                try:
                    before = _count(database)
                    if not mending:
                        self._mark.require(before)
                    yield database
                    after = _count(database)
                    database.execute("COMMIT")
                except BaseException:
                    if database.in_transaction:
                        database.execute("ROLLBACK")
                    raise
                if after != before:
                    self._mark.rise_to(after)
        except (sqlite3.Error, OSError) as failed:
            raise GuardRefused(
                f"The single-sign guard at {self._path} cannot keep its record: {failed}.",
                meaning="Without the record a second verdict could be signed, so nothing was signed.",
            ) from failed


def _count(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT count(*) FROM verdicts").fetchone()[0])
