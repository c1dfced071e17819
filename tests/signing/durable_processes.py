"""What the processes of the durable database's tests do; importable by spawned ones."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from armlx_chain.durable import open_durable

SCHEMA = "CREATE TABLE IF NOT EXISTS entry (round INTEGER, worker INTEGER);"


def opens_new_databases(folder: Path, worker: int, rounds: int, gate: Barrier, results: Queue[str]) -> None:
    """Open one new database a round, all workers at the same moment, and enter a row."""
    said = "done"
    for number in range(rounds):
        gate.wait(60)
        try:
            with closing(open_durable(folder / f"{number}.sqlite", SCHEMA, version=1)) as database:
                database.execute("INSERT INTO entry VALUES (?, ?)", (number, worker))
        except (sqlite3.Error, OSError) as failed:
            said = f"round {number}: {failed!r}"
    results.put(said)
