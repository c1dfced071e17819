"""A signed transaction while pools forget it, fees rise, blocks vanish and strangers interfere."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from eth_utils import to_checksum_address

from armlx_chain.chain.fees import FeePolicy
from armlx_chain.chain.journal import Attempt, Journal, State
from armlx_chain.chain.rawtx import read_signed
from armlx_chain.chain.rpc import NodeRefused
from armlx_chain.chain.sender import Intent, Receipt, TxSender
from armlx_chain.errors import (
    InsufficientFunds,
    JournalError,
    PreconditionFailed,
    RpcUnavailable,
    TransactionPending,
)
from armlx_chain.types import Address, TxHash, Wei
from tests.faults.schedules import Killed
from tests.faults.simchain import ACCOUNT, GWEI, SimAccess, SimChain, SimSigner, SimTx

pytestmark = pytest.mark.unit

CAP = Wei(10 * GWEI)
THERE = Address(to_checksum_address("0x" + "e1" * 20))


class Desk:
    """An account on a simulated chain; ``during`` is called whenever the sender sleeps."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chain = SimChain()
        self.chain.pass_time(20.0)
        self.access = SimAccess(self.chain)
        self.holds = True
        self.during: Callable[[], None] = lambda: None
        self.journal = self.open()

    def open(self) -> Journal:
        return Journal(self.path / "journal.sqlite", chain="31337:test", account=ACCOUNT)

    def sender(self, *, confirmations: int = 0, **options: Any) -> TxSender:
        return TxSender(
            rpc=self.access,
            signer=SimSigner(),
            journal=self.journal,
            confirmations=confirmations,
            check_precondition=lambda _: self.holds,
            fees=FeePolicy(cap=CAP),
            clock=lambda: self.chain.now,
            sleep=self._sleep,
            **options,
        )

    def _sleep(self, seconds: float) -> None:
        self.chain.pass_time(seconds)
        self.during()

    def do(self, key: str = "deed", *, facts: dict[str, Any] | None = None, **options: Any) -> Receipt:
        intent = Intent(key=key, to=THERE, data=b"", value=Wei(1), what="a deed", precondition=facts)
        return self.sender(**options).execute(intent)

    def killed_at(self, event: str, **options: Any) -> None:
        def hook(reached: str, _attempt: Attempt) -> None:
            if reached == event:
                raise Killed

        with pytest.raises(Killed):
            self.do(hook=hook, **options)

    def when(self, condition: Callable[[], bool], act: Callable[[], None]) -> None:
        """Do something once, at the first sleep at which a condition holds."""
        done = []

        def look() -> None:
            if not done and condition():
                done.append(True)
                act()

        self.during = look

    @property
    def rows(self) -> list[Attempt]:
        return self.journal._all()

    @property
    def states(self) -> list[State]:
        return [row.state for row in self.rows]

    @property
    def effects(self) -> int:
        return self.chain.effects()[THERE]

    def mined(self) -> bool:
        return self.chain.used() > 0


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def max_fee(attempt: Attempt) -> int:
    return int(read_signed(attempt.raw)[1].max_fee)


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
