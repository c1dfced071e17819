"""Fee rules and the transaction journal, without a chain."""

import multiprocessing
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.chain.fees import GWEI, MAX_FEE_CAP, bump, gas_limit, plan_fees
from armlx_chain.chain.journal import Journal, State
from armlx_chain.errors import JournalError
from armlx_chain.types import Address, TxHash, Wei

pytestmark = pytest.mark.unit

ACCOUNT = Address("0x" + "11" * 20)
HASH = TxHash("0x" + "22" * 32)


def test_a_tip_of_one_wei_is_raised_to_what_galileo_accepts() -> None:
    assert plan_fees(base_fee=Wei(7), suggested_tip=Wei(1)).tip == 2 * GWEI


def test_the_maximum_fee_covers_a_doubled_base_fee() -> None:
    fees = plan_fees(base_fee=Wei(5 * GWEI), suggested_tip=Wei(3 * GWEI))
    assert fees.max_fee == 13 * GWEI


def test_an_absurd_suggestion_is_capped() -> None:
    fees = plan_fees(base_fee=Wei(10**30), suggested_tip=Wei(10**30))
    assert fees.max_fee == fees.tip == MAX_FEE_CAP


@given(base=st.integers(0, 10**12), tip=st.integers(0, 10**12))
def test_a_replacement_raises_both_fees_by_a_tenth_at_least(base: int, tip: int) -> None:
    before = plan_fees(base_fee=Wei(base), suggested_tip=Wei(tip))
    after = bump(before)
    assert after.tip * 10 >= before.tip * 11
    assert after.max_fee * 10 >= before.max_fee * 11
    assert before.tip <= before.max_fee


@given(st.integers(1, 30_000_000))
def test_the_gas_limit_leaves_a_quarter_of_margin(estimate: int) -> None:
    assert gas_limit(estimate) * 4 >= estimate * 5


def journal(path: Path, chain: str = "31337:0xaa") -> Journal:
    return Journal(path / "journal.sqlite", chain=chain, account=ACCOUNT)


def test_a_recorded_attempt_survives_reopening(tmp_path: Path) -> None:
    first = journal(tmp_path)
    first.record(key="buy/1", nonce=4, tx_hash=HASH, raw=b"\x02raw", precondition={"best": 7})
    first.close()
    again = journal(tmp_path)
    (attempt,) = again.unfinished()
    assert (attempt.raw, attempt.nonce, attempt.precondition) == (b"\x02raw", 4, {"best": 7})
    assert again.next_nonce() == 5


def test_attempts_of_another_chain_are_not_seen(tmp_path: Path) -> None:
    journal(tmp_path).record(key="k", nonce=0, tx_hash=HASH, raw=b"x", precondition=None)
    assert journal(tmp_path, chain="31337:0xbb").unfinished() == []
    assert journal(tmp_path, chain="31337:0xbb").next_nonce() == 0


def test_settled_attempts_are_finished(tmp_path: Path) -> None:
    book = journal(tmp_path)
    attempt = book.record(key="k", nonce=0, tx_hash=HASH, raw=b"x", precondition=None)
    book.settle(attempt, State.MINED)
    assert book.unfinished() == []
    assert book.attempts("k")[0].state is State.MINED


def test_the_journal_is_private_and_synchronous(tmp_path: Path) -> None:
    journal(tmp_path)
    path = tmp_path / "journal.sqlite"
    assert path.stat().st_mode & 0o077 == 0
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    db.close()


def hold_lock(
    folder: str, ready: "multiprocessing.synchronize.Event", done: "multiprocessing.synchronize.Event"
) -> None:
    with journal(Path(folder)).exclusive():
        ready.set()
        done.wait(20)


def test_a_second_process_on_the_same_key_is_refused(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold_lock, args=(str(tmp_path), ready, done))
    other.start()
    try:
        assert ready.wait(20)
        with pytest.raises(JournalError, match="Another process"), journal(tmp_path).exclusive():
            pass
    finally:
        done.set()
        other.join(20)
    with journal(tmp_path).exclusive():
        pass
