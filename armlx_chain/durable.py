"""SQLite databases that keep what must never be lost: the guard, the journal, the findings.

- Write-ahead log, every commit on disk before it returns; on macOS through the drive's own cache too.
- Private to their owner from the first byte.
- Safe to open for the first time from several processes at once. SQLite does not call its busy handler while
  a database is switched to the write-ahead log, so the processes that make a new one take turns by a file
  lock beside it.
- A database of an earlier version is brought up step by step, each step whole or not at all; one of a later
  version is refused untouched.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["open_durable", "transaction"]

_WAIT_SECONDS = 30.0
"""How long a statement waits for another process's transaction."""


Migrations = Mapping[int, Sequence[str]]
"""For an earlier version's number: the statements that make the next version of it."""


def open_durable(
    path: Path,
    schema: str,
    *,
    version: int,
    migrations: Migrations | None = None,
    is_shared: bool = False,
) -> sqlite3.Connection:
    """Open a database in autocommit mode, made with its folder and tables if it is new.

    Args:
        path: The database file.
        schema: Statements that do nothing when they were carried out before.
        version: The schema's number, kept in the database.
        migrations: How databases of earlier versions become this one.
        is_shared: Several threads will use it, one at a time: the caller sees to that.

    Raises:
        sqlite3.Error: it is not a database, cannot be read or written, or carries the number of a schema that
            no migration leads from.
        OSError: the file or its folder cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _turn(path):
        _make_private(path)
        database = sqlite3.connect(
            path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=not is_shared
        )
        try:
            path.chmod(0o600)
            _prepare(database, schema, version, migrations or {})
        except BaseException:
            database.close()
            raise
    return database


def _make_private(path: Path) -> None:
    """Make a file that is not there yet. One that is there is never opened here: closing any descriptor of it
    drops this process's POSIX locks, also those of its other connections, under which another process would
    clear the write-ahead log away and with it what they commit afterwards."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return


def _prepare(database: sqlite3.Connection, schema: str, version: int, migrations: Migrations) -> None:
    if database.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise sqlite3.OperationalError("this file system does not allow a write-ahead log")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA fullfsync = ON")
    found = int(database.execute("PRAGMA user_version").fetchone()[0])
    if found == 0:
        database.executescript(schema)
        database.execute(f"PRAGMA user_version = {version}")
        return
    if found > version or any(step not in migrations for step in range(found, version)):
        raise sqlite3.OperationalError(f"it was written by another version of this program ({found})")
    for step in range(found, version):
        _migrate(database, migrations[step], step + 1)


def _migrate(database: sqlite3.Connection, statements: Sequence[str], version: int) -> None:
    """One step; the number changes in the same transaction, so that a crash leaves the old version whole."""
    with transaction(database):
        for statement in statements:
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {version}")


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Several statements as one, and one process at a time: all of them are kept, or none."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    with path.with_name(f"{path.name}.opening").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
