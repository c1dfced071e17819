"""SQLite databases that keep what must never be lost: the guard, the journal, the findings.

- Write-ahead log, every commit on disk before it returns; on macOS through the drive's own cache too.
- Private to their owner from the first byte.
- Safe to open for the first time from several processes at once. SQLite does not call its busy handler while
  a database is switched to the write-ahead log, so the processes that make a new one take turns by a file
  lock beside it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["open_durable"]

_WAIT_SECONDS = 30.0
"""How long a statement waits for another process's transaction."""


def open_durable(path: Path, schema: str, *, version: int) -> sqlite3.Connection:
    """Open a database in autocommit mode, made with its folder and tables if it is new.

    Args:
        path: The database file.
        schema: Statements that do nothing when they were carried out before.
        version: The schema's number, kept in the database.

    Raises:
        sqlite3.Error: it is not a database, cannot be read or written, or carries another schema's number.
        OSError: the file or its folder cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    database = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
    try:
        path.chmod(0o600)
        with _turn(path):
            _prepare(database, schema, version)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, schema: str, version: int) -> None:
    if database.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise sqlite3.OperationalError("this file system does not allow a write-ahead log")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA fullfsync = ON")
    found = database.execute("PRAGMA user_version").fetchone()[0]
    if found == version:
        return
    if found != 0:
        raise sqlite3.OperationalError(f"it was written by another version of this program ({found})")
    database.executescript(schema)
    database.execute(f"PRAGMA user_version = {version}")


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    with path.with_name(f"{path.name}.opening").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
