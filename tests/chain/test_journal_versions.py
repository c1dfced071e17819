"""Journals of earlier versions open, whole; those of later ones are left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from armlx_chain.chain.journal import Attempt, Ending, Journal, State
from armlx_chain.durable import open_durable
from armlx_chain.types import Address, TxHash

pytestmark = pytest.mark.unit

ACCOUNT = Address("0x" + "11" * 20)
CHAIN = "31337:aa"
VERSION_1 = """
CREATE TABLE attempt (
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
CREATE INDEX attempt_by_key ON attempt (chain, account, key);
PRAGMA user_version = 1;
"""


def hash_of(number: int) -> TxHash:
    return TxHash("0x" + f"{number:064x}")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A journal as the first version wrote it: two deeds mined, one on its way, one cancelled."""
    path = tmp_path / "journal.sqlite"
    rows = [
        ("buy", 0, "mined", None, ""),
        ("approve", 1, "cancelled", '{"best": 7}', "precondition no longer holds"),
        ("cancel/approve", 1, "mined", None, ""),
        ("submit", 2, "signed", '{"best": 7}', ""),
    ]
    with closing(sqlite3.connect(path)) as db:
        db.executescript(VERSION_1)
        for number, (key, nonce, state, condition, note) in enumerate(rows):
            db.execute(
                "INSERT INTO attempt (chain, account, key, nonce, tx_hash, raw, state, precondition, note)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (CHAIN, ACCOUNT, key, nonce, hash_of(number), bytes([number]), state, condition, note),
            )
        db.commit()
    return path


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_a_journal_of_the_first_version_opens_with_all_it_held(old: Path) -> None:
    book = Journal(old, chain=CHAIN, account=ACCOUNT)
    assert version_of(old) == 2
    assert book._all() == [
        Attempt(1, "buy", 0, hash_of(0), b"\x00", State.MINED, None),
        Attempt(2, "approve", 1, hash_of(1), b"\x01", State.CANCELLED, {"best": 7}),
        Attempt(3, "cancel/approve", 1, hash_of(2), b"\x02", State.MINED, None),
        Attempt(4, "submit", 2, hash_of(3), b"\x03", State.SIGNED, {"best": 7}),
    ]
    (waiting,) = book.unfinished()
    assert (waiting.raw, book.next_nonce(), book.last_block()) == (b"\x03", 3, 0)
    book.settle_all([Ending(waiting, State.MINED, block=(12, "0x" + "ab" * 32))])
    book.close()
    again = Journal(old, chain=CHAIN, account=ACCOUNT)
    assert again.last_block() == 12
    assert again.attempts("submit")[0].block_hash == "0x" + "ab" * 32
    again.close()


def test_a_migration_that_fails_leaves_the_old_version_whole(old: Path) -> None:
    broken = {1: ("ALTER TABLE attempt ADD COLUMN block_number INTEGER", "ALTER TABLE nowhere ADD COLUMN x")}
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        open_durable(old, "", version=2, migrations=broken)
    assert version_of(old) == 1
    with closing(sqlite3.connect(old)) as db:
        columns = {row[1] for row in db.execute("PRAGMA table_info(attempt)")}
    assert "block_number" not in columns
    Journal(old, chain=CHAIN, account=ACCOUNT).close()
    assert version_of(old) == 2


def test_a_journal_of_a_later_version_is_refused_and_left_as_it_is(old: Path) -> None:
    with closing(sqlite3.connect(old)) as db:
        db.execute("PRAGMA user_version = 3")
    with pytest.raises(sqlite3.OperationalError, match=r"another version of this program \(3\)"):
        Journal(old, chain=CHAIN, account=ACCOUNT)
    assert version_of(old) == 3
    with closing(sqlite3.connect(old)) as db:
        assert {row[1] for row in db.execute("PRAGMA table_info(attempt)")}.isdisjoint({"block_hash"})
        assert db.execute("SELECT count(*) FROM attempt").fetchone()[0] == 4


def test_a_version_that_no_migration_leads_from_is_refused(old: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="another version"):
        open_durable(old, "", version=4, migrations={1: (), 2: ()})
    assert version_of(old) == 1


def test_the_endings_of_a_nonce_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    book = Journal(tmp_path / "j.sqlite", chain=CHAIN, account=ACCOUNT)
    first, second = (
        book.record(key="k", nonce=0, tx_hash=hash_of(number), raw=b"x", precondition=None)
        for number in range(2)
    )

    def endings() -> list[Ending]:
        return [Ending(first, State.MINED), Ending(second, State.REPLACED)]

    def interrupted() -> object:
        yield endings()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        book.settle_all(interrupted())  # type: ignore[arg-type]
    assert [row.state for row in book.at_nonce(0)] == [State.SIGNED, State.SIGNED]
    book.settle_all(endings())
    assert [row.state for row in book.at_nonce(0)] == [State.MINED, State.REPLACED]
    assert (book.unfinished(), book.next_nonce()) == ([], 1)
    book.close()
