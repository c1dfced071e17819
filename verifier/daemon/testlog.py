"""Tests of candidates, kept pair by pair: what was measured is neither lost nor measured a second time.

- A pair is written, with the digests of its logs, before anything is concluded from it. The row is what
  counts; the logs may be cleared away.
- The start of a pair's candidate run is written too. A pair that got there and never ended (a fault, a
  killed process) is *interrupted*: it counts like a voided pair, and like there only one is allowed.
  Otherwise whoever can bring the machine down when a score looks poor could draw again. The same holds of the
  repeat of a failed audit: a cheat who breaks it off would never be refuted, and repeated in every pass.
- A test belongs to a *subject* (proposal, candidate, control, best) and was made under *conditions* (class,
  environment, rule, noise, seed). Another best is another test. The same subject under other conditions is
  not: what was measured under the first is not repeated, and nothing is pooled, so it can only be left.
- A test in which no pair counts may begin anew, after a fresh calibration if any was run at all.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlx_chain.durable import transaction
from armlx_chain.errors import FormatError, VerifierFault
from verifier.model import Pair
from verifier.records import pair_tree, read_pair

TEST_TABLES = (
    """
CREATE TABLE IF NOT EXISTS test (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    proposal INTEGER NOT NULL,
    subject TEXT NOT NULL,
    conditions TEXT NOT NULL,
    sessions INTEGER NOT NULL,
    started INTEGER NOT NULL,
    interrupted INTEGER NOT NULL,
    PRIMARY KEY (chain, ledger, account, proposal)
)""",
    """
CREATE TABLE IF NOT EXISTS pair (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    proposal INTEGER NOT NULL,
    number INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (chain, ledger, account, proposal, number)
)""",
)
_FIND = (
    "SELECT subject, conditions, sessions, started, interrupted FROM test"
    " WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?"
)
_BEGUN = (
    "SELECT subject FROM test t WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?"
    " AND (started > 0 OR interrupted > 0 OR EXISTS (SELECT 1 FROM pair p WHERE p.chain = t.chain"
    " AND p.ledger = t.ledger AND p.account = t.account AND p.proposal = t.proposal))"
)
_PAIRS = (
    "SELECT record FROM pair WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ? ORDER BY number"
)
_FORGET_PAIRS = "DELETE FROM pair WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?"
_NEXT_SESSION = (
    "UPDATE test SET sessions = sessions + 1, interrupted = interrupted + (started > ?), started = ?"
    " WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?"
)
_START = "UPDATE test SET started = ? WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?"


@dataclass(frozen=True, slots=True)
class Test:
    """A proposal's test so far.

    Attributes:
        subject, conditions: What was compared, and under what; canonical text.
        sessions: How many sessions have worked on it.
        interrupted: How many pairs and repeats were started and never ended.
        pairs: All that ended, in order, the voided ones among them.
    """

    __test__ = False  # not a test case, whatever a test runner makes of the name

    subject: str
    conditions: str
    sessions: int
    interrupted: int
    pairs: tuple[Pair, ...]


class TestLog:
    """The tests of one verifier account on one ledger, in the database of its findings."""

    __test__ = False

    def __init__(self, database: sqlite3.Connection, where: tuple[str, str, str]) -> None:
        self._db = database
        self._where = where

    def find(self, proposal_id: int) -> Test | None:
        """A proposal's test.

        Raises:
            VerifierFault: a pair cannot be read again.
        """
        key = (*self._where, proposal_id)
        row = self._db.execute(_FIND, key).fetchone()
        if row is None:
            return None
        rows = self._db.execute(_PAIRS, key).fetchall()
        pairs = tuple(_read(proposal_id, record) for (record,) in rows)
        dangling = int(row[3] > len(pairs))
        return Test(row[0], row[1], row[2], row[4] + dangling, pairs)

    def subject_begun(self, proposal_id: int) -> str | None:
        """The subject of a test in which a candidate ran; reads no pair, so that none can be unreadable."""
        row = self._db.execute(_BEGUN, (*self._where, proposal_id)).fetchone()
        return None if row is None else str(row[0])

    def was_begun(self, proposal_id: int) -> bool:
        """Whether a proposal has a test at all, readable or not."""
        return self._db.execute(_FIND, (*self._where, proposal_id)).fetchone() is not None

    def begin(self, proposal_id: int, subject: str, conditions: str) -> None:
        """A test from its first pair; one on another subject, or in which nothing counted, makes way."""
        key = (*self._where, proposal_id)
        with transaction(self._db):
            before = self._db.execute(_FIND, key).fetchone()
            self._db.execute(_FORGET_PAIRS, key)
            self._db.execute(
                "INSERT OR REPLACE INTO test VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0)",
                (*key, subject, conditions, before[2] if before else 0),
            )

    def session(self, proposal_id: int) -> int:
        """A session starts working on the test; its number. What was left open before is interrupted."""
        key = (*self._where, proposal_id)
        with transaction(self._db):
            ended = len(self._db.execute(_PAIRS, key).fetchall())
            self._db.execute(_NEXT_SESSION, (ended, ended, *key))
            row = self._db.execute(_FIND, key).fetchone()
        return int(row[2])

    def keeper(self, proposal_id: int) -> Recorder:
        """What the session hands its pairs to."""
        return Recorder(self, proposal_id)

    def began(self, proposal_id: int, number: int) -> None:
        """The candidate's run of a pair starts, or of a repeat."""
        self._db.execute(_START, (number, *self._where, proposal_id))

    def ended(self, proposal_id: int, number: int, pair: Pair) -> None:
        """A pair has ended; a number is given once."""
        logs = {"control": str(pair.control.log_path), "candidate": str(pair.candidate.log_path)}
        record = json.dumps({"pair": pair_tree(pair), "logs": logs}, sort_keys=True)
        self._db.execute(
            "INSERT INTO pair VALUES (?, ?, ?, ?, ?, ?)", (*self._where, proposal_id, number, record)
        )

    def repeated(self, proposal_id: int, number: int) -> None:
        """A repeat that began under the next pair's number has ended: nothing is left open."""
        self._db.execute(_START, (number - 1, *self._where, proposal_id))


class Recorder:
    """A session's keeper."""

    def __init__(self, log: TestLog, proposal_id: int) -> None:
        self._log = log
        self._proposal = proposal_id

    def began(self, number: int) -> None:
        self._log.began(self._proposal, number)

    def ended(self, number: int, pair: Pair) -> None:
        self._log.ended(self._proposal, number, pair)

    def repeated(self, number: int) -> None:
        self._log.repeated(self._proposal, number)


def _read(proposal_id: int, record: str) -> Pair:
    try:
        found: dict[str, Any] = json.loads(record)
        logs = found["logs"]
        pair = read_pair(found["pair"], Path(logs["control"]), Path(logs["candidate"]))
    except (FormatError, ValueError, KeyError, TypeError) as error:
        raise VerifierFault(
            f"An earlier pair of proposal {proposal_id} cannot be continued with: {error}.",
            meaning="A test in which pairs counted never begins anew.",
        ) from error
    return pair
