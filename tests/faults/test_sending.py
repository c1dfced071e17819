"""A signed transaction while pools forget it, fees rise, blocks vanish and strangers interfere."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from armlx_chain.chain.journal import State
from armlx_chain.chain.rawtx import read_signed
from armlx_chain.errors import (
    JournalError,
    PreconditionFailed,
    TransactionPending,
)
from tests.faults.simchain import SimTx
from tests.faults.simdesk import CAP, Desk, max_fee

pytestmark = pytest.mark.unit


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_transaction_that_blocks_pass_over_is_replaced_at_an_eighth_more(desk: Desk) -> None:
    desk.chain.congested = True
    desk.when(lambda: len(desk.rows) == 3, lambda: setattr(desk.chain, "congested", False))
    receipt = desk.do()
    assert desk.effects == 1
    assert {row.nonce for row in desk.rows} == {0}
    fees = [max_fee(row) for row in desk.rows]
    assert all(later * 8 >= former * 9 for former, later in pairwise(fees))
    assert desk.states == [State.REPLACED, State.REPLACED, State.MINED]
    assert receipt.tx_hash == desk.rows[-1].tx_hash


def test_an_earlier_attempt_that_is_mined_after_all_counts(desk: Desk) -> None:
    desk.chain.congested = True

    def miner_has_the_first() -> None:
        plain, fees = read_signed(desk.rows[0].raw)
        desk.chain.mine((SimTx(desk.rows[0].tx_hash, 0, fees, plain),))

    desk.when(lambda: len(desk.rows) == 2, miner_has_the_first)
    receipt = desk.do()
    assert receipt.tx_hash == desk.rows[0].tx_hash
    assert desk.states == [State.MINED, State.REPLACED]
    assert desk.do().tx_hash == receipt.tx_hash
    assert desk.effects == 1


def test_the_cap_is_never_exceeded_and_said(desk: Desk) -> None:
    desk.chain.congested = True
    for _ in range(4):
        with pytest.raises(TransactionPending) as caught:
            desk.do()
    assert "cap of 10000000000 wei per gas" in str(caught.value.meaning)
    assert max(max_fee(row) for row in desk.rows) <= CAP
    assert desk.effects == 0
    desk.chain.congested = False
    desk.do()
    assert desk.effects == 1


def test_nothing_is_signed_while_the_base_fee_is_above_the_cap(desk: Desk) -> None:
    desk.chain.base_fee = CAP
    with pytest.raises(TransactionPending, match="base fee is 10000000000"):
        desk.do()
    assert desk.rows == []


def test_a_forgotten_transaction_goes_out_again_with_the_identical_bytes(desk: Desk) -> None:
    desk.chain.congested = True

    def forget() -> None:
        desk.chain.forget()
        desk.chain.congested = False

    desk.when(lambda: desk.chain.now > 21.0, forget)
    desk.do()
    (row,) = desk.rows
    assert desk.chain.broadcasts[row.tx_hash] == 2
    assert desk.effects == 1


@pytest.mark.parametrize("keep", [True, False], ids=["back in the pool", "forgotten"])
def test_a_receipt_that_is_reorganised_away_is_waited_for_again(desk: Desk, keep: bool) -> None:
    desk.when(desk.mined, lambda: desk.chain.reorganise(2, keep=keep))
    receipt = desk.do(confirmations=3)
    block = desk.chain.find(receipt.tx_hash)
    assert block is not None
    assert receipt.block_number == block.number
    assert len(desk.chain.blocks) > block.number + 3
    assert (desk.effects, desk.states) == (1, [State.MINED])
    assert desk.rows[0].block_hash == "0x" + block.hash.hex()


def test_a_transaction_moved_to_another_block_of_the_same_height_is_noticed(desk: Desk) -> None:
    seen = []

    def move_it() -> None:
        seen.append(desk.chain.blocks[-1].hash)
        desk.chain.reorganise(1, keep=True)

    desk.when(desk.mined, move_it)
    desk.do(confirmations=2)
    assert desk.rows[0].block_hash != "0x" + seen[0].hex()
    assert desk.effects == 1


def test_what_was_confirmed_and_reorganised_away_later_is_sent_again_not_signed_again(desk: Desk) -> None:
    first = desk.do(confirmations=1)
    desk.chain.reorganise(len(desk.chain.blocks) - first.block_number, keep=False)
    assert desk.effects == 0
    again = desk.do(confirmations=1)
    assert again.tx_hash == first.tx_hash
    assert again.block_number != first.block_number
    assert (desk.effects, desk.states) == (1, [State.MINED])


def test_a_receipt_that_an_endpoint_lost_is_no_reason_to_send_anything(desk: Desk) -> None:
    first = desk.do()
    desk.access.receipt = lambda _hash: None  # type: ignore[method-assign]
    sent = desk.chain.broadcasts.total()
    with pytest.raises(TransactionPending, match="differently from before"):
        desk.do()
    assert desk.chain.broadcasts.total() == sent
    assert desk.chain.find(first.tx_hash) is not None


def test_a_nonce_that_a_stranger_used_is_given_up_and_the_deed_done_with_the_next(desk: Desk) -> None:
    desk.chain.congested = True
    desk.when(lambda: desk.chain.now > 21.0, desk.chain.stranger)
    with pytest.raises(JournalError, match="did not make"):
        desk.do(confirmations=2)
    assert (desk.effects, desk.states) == (0, [State.CANCELLED])
    desk.chain.congested = False
    desk.do(confirmations=2)
    assert desk.effects == 1
    assert [row.nonce for row in desk.rows] == [0, 1]


def test_a_stranger_whose_block_is_reorganised_away_costs_nothing(desk: Desk) -> None:
    desk.chain.congested = True
    desk.when(lambda: desk.chain.now > 21.0, desk.chain.stranger)
    waited = desk.during

    def then() -> None:
        waited()
        if desk.chain.used() == 1 and desk.chain.now > 23.0:
            desk.chain.congested = False
            desk.chain.reorganise(2, keep=False)
            desk.during = lambda: None

    desk.during = then
    desk.do(confirmations=4)
    assert (desk.effects, desk.states) == (1, [State.MINED])
    assert [row.nonce for row in desk.rows] == [0]


def test_a_basis_that_goes_while_waiting_cancels_the_nonce_at_replacing_fees(desk: Desk) -> None:
    desk.chain.congested = True

    def script() -> None:
        if desk.chain.now > 22.0:
            desk.holds = False
        if len(desk.rows) == 2:
            desk.chain.congested = False

    desk.during = script
    with pytest.raises(PreconditionFailed, match="nonce was cancelled"):
        desk.do(facts={"best": 1})
    original, cancellation = desk.rows
    assert (original.state, cancellation.state) == (State.CANCELLED, State.MINED)
    assert cancellation.key == "cancel/deed"
    assert max_fee(cancellation) * 8 >= max_fee(original) * 9
    assert read_signed(cancellation.raw)[0].value == 0
    assert (desk.effects, desk.chain.used()) == (0, 1)
    assert desk.chain.broadcasts[original.tx_hash] == 1, "never again once its basis was gone"


def test_a_cancellation_is_itself_raised_until_it_is_mined(desk: Desk) -> None:
    desk.killed_at("signed", facts={"best": 1})
    desk.holds = False
    desk.chain.congested = True
    desk.when(lambda: len(desk.rows) == 4, lambda: setattr(desk.chain, "congested", False))
    with pytest.raises(PreconditionFailed, match="nonce was cancelled"):
        desk.do(facts={"best": 1})
    assert desk.states == [State.CANCELLED, State.REPLACED, State.REPLACED, State.MINED]
    assert desk.chain.broadcasts[desk.rows[0].tx_hash] == 0
    assert (desk.effects, desk.chain.used()) == (0, 1)


def test_an_original_that_wins_against_its_cancellation_is_what_counts(desk: Desk) -> None:
    desk.chain.congested = True

    def original_wins() -> None:
        plain, fees = read_signed(desk.rows[0].raw)
        desk.chain.mine((SimTx(desk.rows[0].tx_hash, 0, fees, plain),))

    def script() -> None:
        desk.holds = desk.chain.now < 22.0
        if len(desk.rows) == 2 and not desk.mined():
            original_wins()

    desk.during = script
    receipt = desk.do(facts={"best": 1})
    assert receipt.tx_hash == desk.rows[0].tx_hash
    assert desk.states == [State.MINED, State.CANCELLED]
    assert desk.effects == 1


@pytest.mark.parametrize("event", ["cancelling", "broadcast"])
def test_a_kill_during_a_cancellation_changes_nothing(desk: Desk, event: str) -> None:
    desk.killed_at("signed", facts={"best": 1})
    desk.holds = False
    desk.killed_at(event, facts={"best": 1})
    desk.journal.close()
    desk.journal = desk.open()
    with pytest.raises(PreconditionFailed, match="nonce was cancelled"):
        desk.do(facts={"best": 1})
    assert [row.key for row in desk.rows] == ["deed", "cancel/deed"]
    assert (desk.effects, desk.chain.used()) == (0, 1)


def test_a_kill_between_a_replacement_and_its_broadcast_sends_those_very_bytes(desk: Desk) -> None:
    desk.chain.congested = True
    desk.killed_at("replaced")
    desk.chain.congested = False
    desk.chain.forget()
    desk.journal.close()
    desk.journal = desk.open()
    assert desk.do().tx_hash == desk.rows[1].tx_hash
    assert desk.states == [State.REPLACED, State.MINED]
    assert desk.effects == 1
