"""Databases that several processes open for the first time at the same moment."""

from __future__ import annotations

import multiprocessing
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from durable_processes import SCHEMA, opens_new_databases

from armlx_chain.durable import open_durable

pytestmark = pytest.mark.unit

SPAWN = multiprocessing.get_context("spawn")
WORKERS, ROUNDS = 6, 60


def test_a_new_database_opened_by_many_at_once_serves_all_of_them(tmp_path: Path) -> None:
    barrier, results = SPAWN.Barrier(WORKERS), SPAWN.Queue()
    workers = [
        SPAWN.Process(target=opens_new_databases, args=(tmp_path, number, ROUNDS, barrier, results))
        for number in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    said = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert said == ["done"] * WORKERS
    for number in range(ROUNDS):
        with closing(sqlite3.connect(tmp_path / f"{number}.sqlite")) as database:
            assert database.execute("SELECT count(*) FROM entry").fetchone()[0] == WORKERS


def test_a_database_is_private_durable_and_says_its_version(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.sqlite"
    with closing(open_durable(path, SCHEMA, version=3)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert database.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert database.execute("PRAGMA fullfsync").fetchone()[0] == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(sqlite3.OperationalError, match=r"another version of this program \(3\)"):
        open_durable(path, SCHEMA, version=2)
    with closing(open_durable(path, SCHEMA, version=3)) as database:
        assert database.execute("SELECT count(*) FROM entry").fetchone()[0] == 0


def test_a_second_connection_does_not_take_the_first_ones_locks_away(tmp_path: Path) -> None:
    """Closing any descriptor of a file drops the locks of its process on it, SQLite's too. Another process
    would then clear the write-ahead log away under a connection that still writes to it."""
    path = tmp_path / "journal.sqlite"
    program = (
        "import sys; from pathlib import Path; from armlx_chain.durable import open_durable;"
        "db = open_durable(Path(sys.argv[1]), 'CREATE TABLE IF NOT EXISTS t (n)', version=1);"
        "db.execute('INSERT INTO t VALUES (0)');"
        "print(db.execute('SELECT SUM(n) FROM t').fetchone()[0]); db.close()"
    )

    def elsewhere() -> int:
        given = [sys.executable, "-c", program, str(path)]
        return int(subprocess.run(given, capture_output=True, text=True, timeout=120, check=True).stdout)

    schema = "CREATE TABLE IF NOT EXISTS t (n)"
    first = open_durable(path, schema, version=1)
    first.execute("INSERT INTO t VALUES (1)")
    second = open_durable(path, schema, version=1)
    second.execute("SELECT * FROM t").fetchall()
    assert elsewhere() == 1
    first.execute("INSERT INTO t VALUES (2)")
    assert elsewhere() == 3, "what was committed is there for everybody"
    open_durable(path, schema, version=1).close()
    for database in (first, second):
        database.close()
