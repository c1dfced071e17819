"""The transaction journal: every attempt is on disk, signed, before it is broadcast.

- An intent has a *key*, a sentence-like name that is the same after a restart (``submit/3/0x…/buy``). One
  key is carried out at most once.
- The signed bytes are stored before they are sent; after a crash the identical bytes go out again.
- A nonce may have several attempts: replacements at higher fees, a cancellation. They exclude each other on
  the chain, and how all of them ended is written in one transaction.
- One process per (chain, account): an exclusive lock on a file beside the database. It may be taken again
  inside itself, so that a use case of several transactions can hold it from the first to the last.
- Rows belong to a chain by id *and* genesis hash, so that a reset devnet starts afresh.
- Several threads may use it one after the other; whoever shares it holds a lock of their own.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from armlx_chain.durable import open_durable
from armlx_chain.errors import AccountBusy
from armlx_chain.types import Address, TxHash

_SCHEMA_VERSION = 2
_BY_KEY = "CREATE INDEX IF NOT EXISTS attempt_by_key ON attempt (chain, account, key)"
_BY_NONCE = "CREATE INDEX IF NOT EXISTS attempt_by_nonce ON attempt (chain, account, nonce)"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS attempt (
    id INTEGER PRIMARY KEY,
    chain TEXT NOT NULL,
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    nonce INTEGER NOT NULL,
    tx_hash TEXT NOT NULL,
    raw BLOB NOT NULL,
    state TEXT NOT NULL,
    precondition TEXT,
    note TEXT NOT NULL DEFAULT '',
    block_number INTEGER,
    block_hash TEXT
);
{_BY_KEY};
{_BY_NONCE};
"""
_MIGRATIONS = {
    1: (
        "ALTER TABLE attempt ADD COLUMN block_number INTEGER",
        "ALTER TABLE attempt ADD COLUMN block_hash TEXT",
        _BY_NONCE,
    )
}
_COLUMNS = "id, key, nonce, tx_hash, raw, state, precondition, block_number, block_hash"
CANCEL = "cancel/"
"""How the keys of cancellations begin; the key of what they cancel follows."""


class State(StrEnum):
    """Where an attempt stands."""

    SIGNED = "signed"
    """On disk; it may or may not have reached a node."""
    MINED = "mined"
    REVERTED = "reverted"
    REPLACED = "replaced"
    """Its nonce was used by another attempt at the same deed."""
    CANCELLED = "cancelled"
    """Its nonce was used by a cancellation, or by nothing of ours; or no node ever took it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction.

    Attributes:
        block_number, block_hash: Where it was mined, once that is known (``0x`` and 64 hex digits).
    """

    id: int
    key: str
    nonce: int
    tx_hash: TxHash
    raw: bytes
    state: State
    precondition: dict[str, Any] | None
    block_number: int | None = None
    block_hash: str | None = None

    @property
    def is_cancellation(self) -> bool:
        return self.key.startswith(CANCEL)

    @property
    def deed(self) -> str:
        """The key of the intent that it carries out or cancels."""
        return self.key.removeprefix(CANCEL)


@dataclass(frozen=True, slots=True)
class Ending:
    """How one attempt ended.

    Attributes:
        block: Number and hash of the block that holds it.
    """

    attempt: Attempt
    state: State
    note: str = ""
    block: tuple[int, str] | None = None


class Journal:
    """The journal of one account on one chain.

    Args:
        path: SQLite file; made with its folder, readable by the owner only.
        chain: ``<chain id>:<genesis hash>``.
        account: The sender.
    """

    def __init__(self, path: Path, *, chain: str, account: Address) -> None:
        self._path = path
        self._chain = chain
        self._account = account
        self._held = 0
        self._db = open_durable(
            path, _SCHEMA, version=_SCHEMA_VERSION, migrations=_MIGRATIONS, is_shared=True
        )

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold this account's lock; inside itself it is held already.

        Raises:
            AccountBusy: another process holds it.
        """
        if self._held:
            yield
            return
        name = f"{self._path.name}.{self._chain.partition(':')[0]}.{self._account.lower()}.lock"
        with (self._path.parent / name).open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AccountBusy(
                    f"Another process is sending transactions for {self._account}.",
                    next_step="Wait until it has finished, then run this again.",
                ) from error
            self._held += 1
            try:
                yield
            finally:
                self._held -= 1

    def attempts(self, key: str) -> list[Attempt]:
        """All attempts under a key, oldest first."""
        return self._select("key = ?", key)

    def at_nonce(self, nonce: int) -> list[Attempt]:
        """All attempts ever signed for a nonce, whatever became of them, oldest first."""
        return self._select("nonce = ?", nonce)

    def unfinished(self) -> list[Attempt]:
        """Attempts whose outcome is not known yet, by nonce."""
        return sorted(self._select("state = ?", State.SIGNED.value), key=lambda attempt: attempt.nonce)

    def next_nonce(self) -> int:
        """One more than the highest nonce that an attempt of ours uses or has used; 0 without any."""
        highest = self._highest("nonce", "state != ?", State.CANCELLED.value)
        return 0 if highest is None else highest + 1

    def last_block(self) -> int:
        """Number of the latest block that holds a transaction of ours; 0 without any."""
        return self._highest("block_number", "state IN (?, ?)", State.MINED.value, State.REVERTED.value) or 0

    def record(
        self, *, key: str, nonce: int, tx_hash: TxHash, raw: bytes, precondition: dict[str, Any] | None
    ) -> Attempt:
        """Write a signed attempt durably; returns once it is on disk."""
        packed = None if precondition is None else json.dumps(precondition, sort_keys=True)
        cursor = self._db.execute(
            "INSERT INTO attempt (chain, account, key, nonce, tx_hash, raw, state, precondition)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (self._chain, self._account, key, nonce, tx_hash, raw, State.SIGNED.value, packed),
        )
        return Attempt(int(cursor.lastrowid or 0), key, nonce, tx_hash, raw, State.SIGNED, precondition)

    def settle(self, attempt: Attempt, state: State, note: str = "") -> None:
        """Record how an attempt ended."""
        self.settle_all([Ending(attempt, state, note)])

    def settle_all(self, endings: Iterable[Ending]) -> None:
        """Record how several attempts ended, all together or not at all."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for ending in endings:
                self._write(ending)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def reopen(self, attempt: Attempt, note: str) -> None:
        """An attempt that was given up, or whose block is gone from the chain, is on its way again."""
        self.settle(attempt, State.SIGNED, note)

    def close(self) -> None:
        self._db.close()

    def _write(self, ending: Ending) -> None:
        number, block_hash = ending.block or (None, None)
        self._db.execute(
            "UPDATE attempt SET state = ?, note = ?, block_number = ?, block_hash = ? WHERE id = ?",
            (ending.state.value, ending.note, number, block_hash, ending.attempt.id),
        )

    def _highest(self, column: str, condition: str, *values: str) -> int | None:
        row = self._db.execute(
            f"SELECT MAX({column}) FROM attempt WHERE chain = ? AND account = ? AND {condition}",  # noqa: S608
            (self._chain, self._account, *values),
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def _all(self) -> list[Attempt]:
        return self._select("1 = ?", 1)

    def _select(self, condition: str, value: str | int) -> list[Attempt]:
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM attempt WHERE chain = ? AND account = ? AND {condition}"  # noqa: S608
            " ORDER BY id",
            (self._chain, self._account, value),
        ).fetchall()
        return [
            Attempt(
                int(row[0]),
                str(row[1]),
                int(row[2]),
                TxHash(row[3]),
                bytes(row[4]),
                State(row[5]),
                None if row[6] is None else json.loads(row[6]),
                row[7],
                row[8],
            )
            for row in rows
        ]
