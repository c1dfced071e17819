"""What nodes say, true or not: refusals, receipts, silence. Nothing is done twice or believed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from armlx_chain.chain.journal import State
from armlx_chain.chain.rawtx import read_signed
from armlx_chain.chain.rpc import NodeRefused
from armlx_chain.errors import (
    ContractRevert,
    InsufficientFunds,
    JournalError,
    RpcUnavailable,
    TransactionPending,
)
from armlx_chain.types import TxHash
from tests.faults.simchain import GWEI, SimAccess, SimChain
from tests.faults.simdesk import Desk

pytestmark = pytest.mark.unit


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


class Refusing(SimAccess):
    """Says certain words to the first broadcasts, whether or not they are true."""

    def __init__(self, chain: SimChain, words: list[str], *, forwards: bool = False) -> None:
        super().__init__(chain)
        self.words = words
        self.forwards = forwards

    def send_raw(self, raw: bytes) -> TxHash:
        if not self.words:
            return super().send_raw(raw)
        if self.forwards:
            super().send_raw(raw)
        raise NodeRefused(self.words.pop(0))


def test_a_deed_called_unaffordable_but_mined_is_not_done_again(desk: Desk) -> None:
    desk.access = Refusing(desk.chain, ["insufficient funds for gas * price + value"], forwards=True)
    with pytest.raises(InsufficientFunds):
        desk.do()
    assert desk.states == [State.CANCELLED]
    desk.chain.pass_time(10.0)
    desk.do()
    assert (desk.effects, desk.states) == (1, [State.MINED])


def test_while_a_refused_deed_may_still_wait_in_a_pool_no_further_nonce_is_given_out(desk: Desk) -> None:
    desk.chain.congested = True
    desk.access = Refusing(desk.chain, ["insufficient funds for gas * price + value"], forwards=True)
    with pytest.raises(InsufficientFunds):
        desk.do()
    with pytest.raises(TransactionPending, match="not in this journal"):
        desk.do()
    assert len(desk.rows) == 1


def test_a_replacement_that_the_account_cannot_pay_leaves_the_first_attempt_alone(desk: Desk) -> None:
    desk.chain.congested = True
    first_cost = 63_000 * (2 * GWEI + 2_000) + 1  # gas limit with its margin, at the first offer
    desk.chain.balance_wei = first_cost
    desk.when(lambda: len(desk.rows) == 2, lambda: setattr(desk.chain, "congested", False))
    receipt = desk.do()
    assert receipt.tx_hash == desk.rows[0].tx_hash
    assert desk.states == [State.MINED, State.CANCELLED]


def test_an_underpriced_answer_raises_the_tip_to_what_the_node_asks(desk: Desk) -> None:
    words = "transaction gas price below minimum: gas tip cap 2000000000, minimum needed 3500000000"
    desk.access = Refusing(desk.chain, [words])
    desk.do()
    assert read_signed(desk.rows[-1].raw)[1].tip >= 3_500_000_000
    assert desk.effects == 1


@pytest.mark.parametrize(
    "words", ["txpool is full", "429 Too Many Requests", "nonce too high", "gibberish", "nonce too low"]
)
def test_other_words_conclude_nothing_and_the_same_bytes_go_out_again(desk: Desk, words: str) -> None:
    desk.access = Refusing(desk.chain, [words, words])
    desk.do()
    assert (desk.effects, desk.states) == (1, [State.MINED])


def test_a_node_that_never_takes_it_is_quoted_and_nothing_is_assumed(desk: Desk) -> None:
    desk.access = Refusing(desk.chain, ["the cat sat on the keyboard"] * 100)
    with pytest.raises(TransactionPending) as caught:
        desk.do()
    assert "the cat sat on the keyboard" in str(caught.value.meaning)
    assert desk.states == [State.SIGNED]
    desk.access = SimAccess(desk.chain)
    desk.do()
    assert (desk.effects, len(desk.rows)) == (1, 1)


def test_bytes_that_no_node_will_ever_take_are_given_up_at_once(desk: Desk) -> None:
    desk.access = Refusing(desk.chain, ["intrinsic gas too low"])
    with pytest.raises(NodeRefused, match="intrinsic gas"):
        desk.do()
    assert desk.states == [State.CANCELLED]
    desk.do()
    assert (desk.effects, {row.nonce for row in desk.rows}) == (1, {0})


def test_two_deeds_with_the_same_contents_never_share_their_bytes(desk: Desk) -> None:
    desk.access = Refusing(desk.chain, ["intrinsic gas too low"])
    with pytest.raises(NodeRefused):
        desk.do("one")
    desk.do("other")
    assert len({row.tx_hash for row in desk.rows}) == 2
    assert desk.sender().done("one") is None
    desk.do("one")
    assert desk.effects == 2


def test_an_endpoint_that_is_behind_is_waited_for_before_anything_is_signed(desk: Desk) -> None:
    desk.do("first")
    desk.access.lag = 3
    desk.when(lambda: True, lambda: setattr(desk.access, "lag", 0))
    desk.do("second")
    assert [row.nonce for row in desk.rows] == [0, 1]
    desk.access.lag = 500
    with pytest.raises(JournalError, match="counts only"):
        desk.do("third")
    assert len(desk.rows) == 2


def test_an_endpoint_that_dies_after_the_broadcast_is_asked_again(desk: Desk) -> None:
    class Dying(SimAccess):
        silent = 0

        def receipt(self, tx_hash: TxHash) -> dict[str, Any] | None:
            if self.silent < 5:
                self.silent += 1
                raise RpcUnavailable("no answer")
            return super().receipt(tx_hash)

    desk.access = Dying(desk.chain)
    desk.do()
    assert (desk.effects, desk.states) == (1, [State.MINED])


@pytest.mark.parametrize(
    "lie",
    [
        {"blockHash": b"\x07" * 32},
        {"transactionHash": b"\x08" * 32},
        {"status": 0},
        {"blockNumber": 1},
        {"status": "?"},
        {"blockHash": None},
    ],
    ids=["another block", "another transaction", "reverted", "another height", "no status", "no block"],
)
def test_a_receipt_that_is_contradicted_does_not_count(desk: Desk, lie: dict[str, Any]) -> None:
    class Lying(SimAccess):
        asked = 0

        def receipt(self, tx_hash: TxHash) -> dict[str, Any] | None:
            honest = super().receipt(tx_hash)
            if honest is None:
                return None
            self.asked += 1
            return {**honest, **lie} if self.asked == 1 else honest

    desk.access = Lying(desk.chain)
    receipt = desk.do()
    assert receipt.raw["status"] == 1
    assert desk.access.asked >= 3
    assert desk.states == [State.MINED]


def test_a_receipt_of_what_was_never_mined_does_not_count(desk: Desk) -> None:
    class Phantom(SimAccess):
        def receipt(self, tx_hash: TxHash) -> dict[str, Any] | None:
            head = self.chain.blocks[-1]
            return super().receipt(tx_hash) or {
                "transactionHash": bytes.fromhex(tx_hash[2:]),
                "blockHash": head.hash,
                "blockNumber": head.number,
                "status": 1,
                "gasUsed": 1,
            }

    desk.access = Phantom(desk.chain)
    desk.chain.congested = True
    with pytest.raises(TransactionPending, match="not deep enough"):
        desk.do()
    assert desk.states == [State.SIGNED]


@pytest.mark.parametrize(
    "answer", [None, {}, {"result": None}, {"result": "0xzz"}, {"result": {"transactions": 7}}]
)
def test_an_endpoint_that_cannot_name_a_stranger_changes_nothing(desk: Desk, answer: Any) -> None:
    class Silent(SimAccess):
        asked = 0

        def ask_many(self, asks: list[Any]) -> list[Any]:
            self.asked += 1
            if answer is None:
                raise RpcUnavailable("no answer")
            return [answer]

    desk.access = Silent(desk.chain)
    desk.chain.congested = True
    desk.when(lambda: desk.chain.now > 21.0, desk.chain.stranger)
    with pytest.raises(JournalError, match="used by a transaction we did not make"):
        desk.do()
    assert desk.access.asked >= 1
    assert desk.states == [State.CANCELLED]


def test_a_success_that_was_twice_called_a_revert_is_not_repeated(desk: Desk) -> None:
    class Lying(SimAccess):
        lies = True

        def receipt(self, tx_hash: TxHash) -> dict[str, Any] | None:
            honest = super().receipt(tx_hash)
            return {**honest, "status": 0} if honest and self.lies else honest

    desk.access = Lying(desk.chain)
    with pytest.raises(ContractRevert):
        desk.do()
    assert desk.states == [State.REVERTED]
    desk.access.lies = False
    desk.do()
    assert (desk.effects, desk.states) == (1, [State.MINED])
