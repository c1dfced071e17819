"""What the daemon did and stands at, kept in the database of its findings."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from verifier.daemon.cyclelog import KEPT_CYCLES, Cursor, Phase
from verifier.daemon.observer import CycleOutcome
from verifier.daemon.store import FindingState, FindingStore

pytestmark = pytest.mark.unit

VERSION_2 = """
CREATE TABLE finding (chain TEXT NOT NULL, ledger TEXT NOT NULL, account TEXT NOT NULL,
    proposal INTEGER NOT NULL, state TEXT NOT NULL, report TEXT NOT NULL, draft BLOB, attestation BLOB,
    metrics_root TEXT, PRIMARY KEY (chain, ledger, account, proposal));
CREATE TABLE test (chain TEXT NOT NULL, ledger TEXT NOT NULL, account TEXT NOT NULL,
    proposal INTEGER NOT NULL, subject TEXT NOT NULL, conditions TEXT NOT NULL, sessions INTEGER NOT NULL,
    started INTEGER NOT NULL, interrupted INTEGER NOT NULL, PRIMARY KEY (chain, ledger, account, proposal));
CREATE TABLE pair (chain TEXT NOT NULL, ledger TEXT NOT NULL, account TEXT NOT NULL,
    proposal INTEGER NOT NULL, number INTEGER NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (chain, ledger, account, proposal, number));
INSERT INTO finding VALUES ('c', 'l', 'a', 4, 'published', '{"outcome": "refuted"}', X'01', X'02', '0g:0x03');
INSERT INTO test VALUES ('c', 'l', 'a', 5, 'this', 'so', 2, 1, 0);
PRAGMA user_version = 2;
"""


def open_store(path: Path, account: str = "a") -> FindingStore:
    return FindingStore(path, chain="c", ledger="l", account=account)


def test_a_database_of_version_2_keeps_what_it_held_and_gets_what_version_3_added(tmp_path: Path) -> None:
    path = tmp_path / "findings.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_2)
    with closing(open_store(path)) as store:
        finding = store.find(4)
        assert finding is not None
        assert (finding.state, finding.draft, finding.attestation) == (FindingState.PUBLISHED, b"\1", b"\2")
        test = store.tests.find(5)
        assert test is not None
        assert (test.subject, test.sessions) == ("this", 2)
        store.cycles.note(4, 0, Phase.DECIDED, "settling", 10)
        assert store.cycles.begin("start", 9) == 1
    with closing(open_store(path)) as store:
        assert [entry.proposal_id for entry in store.cycles.queue()] == [4]
    with closing(sqlite3.connect(path)) as database, closing(open_store(tmp_path / "new.sqlite")) as fresh:
        names = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        assert database.execute(names).fetchall() == fresh.database.execute(names).fetchall()
        assert database.execute("PRAGMA user_version").fetchone() == (3,)


def test_a_cycle_without_an_end_is_one_whose_process_died(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / "f.sqlite")) as store:
        first = store.cycles.begin("start", 100)
        store.cycles.end(first, CycleOutcome.DONE, "", 3, 105)
        second = store.cycles.begin("events", 200)
    with closing(open_store(tmp_path / "f.sqlite")) as store:
        latest = store.cycles.cycles()
        assert [(row.number, row.ended, row.outcome) for row in latest] == [
            (second, None, None),
            (first, 105, CycleOutcome.DONE),
        ]
        assert store.cycles.begin("poll", 300) > second


def test_old_cycles_make_way(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / "f.sqlite")) as store:
        store.database.execute("PRAGMA synchronous = OFF")
        numbers = [store.cycles.begin("poll", now) for now in range(KEPT_CYCLES + 5)]
        kept = store.cycles.cycles(most=2 * KEPT_CYCLES)
        assert [row.number for row in kept] == numbers[:4:-1]


def test_a_proposal_keeps_its_machine_and_its_time_while_the_phase_stands(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / "f.sqlite")) as store:
        log = store.cycles
        log.note(7, 1, Phase.JUDGING, "pair 1", 10)
        log.pin(7, "machine-b")
        log.note(7, 1, Phase.JUDGING, "pair 2", 20)
        found = log.find(7)
        assert found is not None
        assert (found.since, found.sentence, found.machine) == (10, "pair 2", "machine-b")
        log.note(7, 1, Phase.ENDED, "settled", 30)
        assert log.queue() == []
        ended = log.find(7)
        assert ended is not None
        assert (ended.since, ended.machine) == (30, "machine-b")


def test_each_account_has_its_own_cursor_queue_and_cycles(tmp_path: Path) -> None:
    path = tmp_path / "f.sqlite"
    with closing(open_store(path)) as one, closing(open_store(path, "b")) as other:
        one.cycles.advance(Cursor(5, "0x05"))
        one.cycles.advance(Cursor(6, "0x06"))
        one.cycles.note(1, 0, Phase.WAITING, "", 0)
        one.cycles.begin("start", 0)
        assert one.cycles.cursor() == Cursor(6, "0x06")
        assert (other.cycles.cursor(), other.cycles.queue(), other.cycles.cycles()) == (None, [], [])
