"""The transaction journal: every attempt is on disk, signed, before it is broadcast.

- An intent has a *key*, a sentence-like name that is the same after a restart (``submit/3/0x…/buy``). One
  key is carried out at most once.
- The signed bytes are stored before they are sent; after a crash the identical bytes go out again.
- One process per (chain, account): an exclusive lock on a file beside the database. It may be taken again
  inside itself, so that a use case of several transactions can hold it from the first to the last.
- Rows belong to a chain by id *and* genesis hash, so that a reset devnet starts afresh.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from armlx_chain.durable import open_durable
from armlx_chain.errors import JournalError
from armlx_chain.types import Address, TxHash

_SCHEMA_VERSION = 1
_SCHEMA = """
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
    note TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS attempt_by_key ON attempt (chain, account, key);
"""


class State(StrEnum):
    """Where an attempt stands."""

    SIGNED = "signed"
    """On disk; it may or may not have reached a node."""
    MINED = "mined"
    REVERTED = "reverted"
    CANCELLED = "cancelled"
    """Its nonce was used by a cancellation, or by nothing of ours."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction."""

    id: int
    key: str
    nonce: int
    tx_hash: TxHash
    raw: bytes
    state: State
    precondition: dict[str, Any] | None


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
        self._db = open_durable(path, _SCHEMA, version=_SCHEMA_VERSION)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold this account's lock; inside itself it is held already.

        Raises:
            JournalError: another process holds it.
        """
        if self._held:
            yield
            return
        name = f"{self._path.name}.{self._chain.partition(':')[0]}.{self._account.lower()}.lock"
        with (self._path.parent / name).open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise JournalError(
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
        return [attempt for attempt in self._all() if attempt.key == key]

    def unfinished(self) -> list[Attempt]:
        """Attempts whose outcome is not known yet, by nonce."""
        waiting = [attempt for attempt in self._all() if attempt.state is State.SIGNED]
        return sorted(waiting, key=lambda attempt: attempt.nonce)

    def next_nonce(self) -> int:
        """One more than the highest nonce that an attempt of ours uses or has used; 0 without any."""
        row = self._db.execute(
            "SELECT MAX(nonce) FROM attempt WHERE chain = ? AND account = ? AND state != ?",
            (self._chain, self._account, State.CANCELLED.value),
        ).fetchone()
        return 0 if row[0] is None else int(row[0]) + 1

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
        self._db.execute(
            "UPDATE attempt SET state = ?, note = ? WHERE id = ?", (state.value, note, attempt.id)
        )

    def close(self) -> None:
        self._db.close()

    def _all(self) -> list[Attempt]:
        rows = self._db.execute(
            "SELECT id, key, nonce, tx_hash, raw, state, precondition FROM attempt"
            " WHERE chain = ? AND account = ? ORDER BY id",
            (self._chain, self._account),
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
            )
            for row in rows
        ]
