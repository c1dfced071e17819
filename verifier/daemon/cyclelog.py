"""What the daemon did and where it stands, durably: cycles, its place among the events, and the queue.

- A *cycle* is one pass over the ledger. It is written when it begins, and how it ended when it ends, also
  where it failed; a row without an end is a cycle whose process died.
- The *cursor* is the last block whose events were looked at. Events only wake the daemon up, so a cursor that
  is lost costs one pass and nothing else.
- The *queue* says of every proposal what the daemon is about with it, since when, and on which machine its
  test was begun. It decides nothing: findings, tests and the ledger do. The machine is the exception: a test
  in which pairs count goes on where it was begun.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum

CYCLE_TABLES = (
    """
CREATE TABLE IF NOT EXISTS cycle (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    why TEXT NOT NULL,
    began INTEGER NOT NULL,
    ended INTEGER,
    outcome TEXT,
    sentence TEXT NOT NULL DEFAULT '',
    proposals INTEGER NOT NULL DEFAULT 0
)""",
    """
CREATE TABLE IF NOT EXISTS event_cursor (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    block INTEGER NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (chain, ledger, account)
)""",
    """
CREATE TABLE IF NOT EXISTS queue (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    proposal INTEGER NOT NULL,
    project INTEGER NOT NULL,
    phase TEXT NOT NULL,
    sentence TEXT NOT NULL,
    since INTEGER NOT NULL,
    machine TEXT,
    PRIMARY KEY (chain, ledger, account, proposal)
)""",
)
KEPT_CYCLES = 1000
"""Rows of cycles that are kept; a daemon that looks every minute would write half a million a year."""
_PRUNE = "DELETE FROM cycle WHERE chain = ? AND ledger = ? AND account = ? AND id <= ?"
_CYCLES = (
    "SELECT id, why, began, ended, outcome, sentence, proposals FROM cycle"
    " WHERE chain = ? AND ledger = ? AND account = ? ORDER BY id DESC LIMIT ?"
)
_CURSOR = "SELECT block, hash FROM event_cursor WHERE chain = ? AND ledger = ? AND account = ?"
_PIN = "UPDATE queue SET machine = ? WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?"
_ONE = (
    "SELECT proposal, project, phase, sentence, since, machine FROM queue"
    " WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?"
)
_WAITING = (
    "SELECT proposal, project, phase, sentence, since, machine FROM queue"
    " WHERE chain = ? AND ledger = ? AND account = ? AND phase != 'ended' ORDER BY proposal"
)


class Phase(StrEnum):
    """What the daemon is about with a proposal."""

    WAITING = "waiting"
    """Something is not there yet: papers, seed, consent, an earlier proposal."""
    LEFT = "left"
    """Not run, or run and not sent; the sentence says why."""
    CLAIMED = "claimed"
    """The review is ours, and its test has not begun."""
    JUDGING = "judging"
    DECIDED = "decided"
    """The verdict is recorded, its settlement under way."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class CycleRow:
    """One cycle.

    Attributes:
        ended, outcome: ``None`` while it runs, or if its process died; else when and how it ended
            (an ``observer.CycleOutcome``).
    """

    number: int
    why: str
    began: int
    ended: int | None
    outcome: str | None
    sentence: str
    proposals: int


@dataclass(frozen=True, slots=True)
class Queued:
    """One proposal's place in the queue.

    Attributes:
        since: Unix time at which it came into this phase.
        machine: Where its test was begun, once that is known.
    """

    proposal_id: int
    project_id: int
    phase: Phase
    sentence: str
    since: int
    machine: str | None


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last block whose events were looked at."""

    block: int
    hash: str


class CycleLog:
    """The cycles, cursor and queue of one verifier account on one ledger."""

    def __init__(self, database: sqlite3.Connection, where: tuple[str, str, str]) -> None:
        self._db = database
        self._where = where

    def begin(self, why: str, now: int) -> int:
        """A cycle begins; its number, which grows over restarts."""
        cursor = self._db.execute(
            "INSERT INTO cycle (chain, ledger, account, why, began) VALUES (?, ?, ?, ?, ?)",
            (*self._where, why, now),
        )
        number = int(cursor.lastrowid or 0)
        self._db.execute(_PRUNE, (*self._where, number - KEPT_CYCLES))
        return number

    def end(self, number: int, outcome: str, sentence: str, proposals: int, now: int) -> None:
        """How a cycle ended."""
        self._db.execute(
            "UPDATE cycle SET ended = ?, outcome = ?, sentence = ?, proposals = ? WHERE id = ?",
            (now, outcome, sentence, proposals, number),
        )

    def cycles(self, most: int = 20) -> list[CycleRow]:
        """The latest cycles, the last one first."""
        rows = self._db.execute(_CYCLES, (*self._where, most))
        return [CycleRow(*row) for row in rows]

    def cursor(self) -> Cursor | None:
        """Where the events were last looked at."""
        row = self._db.execute(_CURSOR, self._where).fetchone()
        return None if row is None else Cursor(int(row[0]), str(row[1]))

    def advance(self, cursor: Cursor) -> None:
        """Events up to this block were looked at."""
        self._db.execute(
            "INSERT OR REPLACE INTO event_cursor VALUES (?, ?, ?, ?, ?)",
            (*self._where, cursor.block, cursor.hash),
        )

    def note(self, proposal_id: int, project_id: int, phase: Phase, sentence: str, now: int) -> None:
        """Where a proposal stands; ``since`` moves only with the phase. Nothing new is no write."""
        self._db.execute(
            "INSERT INTO queue VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)"
            " ON CONFLICT (chain, ledger, account, proposal) DO UPDATE SET"
            " since = CASE WHEN phase = excluded.phase THEN since ELSE excluded.since END,"
            " phase = excluded.phase, sentence = excluded.sentence"
            " WHERE phase != excluded.phase OR sentence != excluded.sentence",
            (*self._where, proposal_id, project_id, phase.value, sentence, now),
        )

    def pin(self, proposal_id: int, machine: str) -> None:
        """The machine on which a proposal's test was begun; the proposal was noted before."""
        self._db.execute(_PIN, (machine, *self._where, proposal_id))

    def find(self, proposal_id: int) -> Queued | None:
        """A proposal's place."""
        found = self._rows(_ONE, proposal_id)
        return found[0] if found else None

    def queue(self) -> list[Queued]:
        """Every proposal that is not at its end, in order of id."""
        return self._rows(_WAITING)

    def _rows(self, query: str, *values: object) -> list[Queued]:
        rows = self._db.execute(query, (*self._where, *values))
        return [Queued(r[0], r[1], Phase(r[2]), r[3], r[4], r[5]) for r in rows]
