"""What is done next about a nonce, and how fees rise: pure rules, with a stepped clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.chain.answers import Answer, classify, minimum_tip
from armlx_chain.chain.fees import (
    GWEI,
    MIN_TIP,
    FeePolicy,
    Fees,
    affordable,
    is_stale,
    plan_fees,
    replacement,
)
from armlx_chain.chain.lifecycle import (
    Course,
    Move,
    NonceReading,
    Patience,
    Sighting,
    Standing,
    View,
    decide,
    nonce_standing,
    poll_delay,
)
from armlx_chain.errors import UsageError
from armlx_chain.settings import MAX_FEE, max_fee
from armlx_chain.types import TxHash, Wei

pytestmark = pytest.mark.unit

NONCE = 7
POLICY = FeePolicy(cap=Wei(20 * GWEI), bump_after_seconds=30.0, bump_after_blocks=3)
PATIENCE = Patience()
FEES = Fees(Wei(3 * GWEI), MIN_TIP)
SEEN = Sighting(TxHash("0x" + "11" * 32), 100, b"\x22" * 32, True)
SENT = Course(started=0.0, tried_at=0.0, tried_block=100, sent_at=0.0, accepted=True)


def view(now: float = 1.0, head: int = 100, used: int = NONCE, **more: object) -> View:
    return View(now, head, used, Wei(1_000), **more)  # type: ignore[arg-type]


def move(seen: View, course: Course = SENT, *, confirmations: int = 2, fees: Fees = FEES) -> Move:
    return decide(
        seen,
        course.after_look(seen, NONCE),
        nonce=NONCE,
        fees=fees,
        policy=POLICY,
        patience=PATIENCE,
        confirmations=confirmations,
    )


def test_what_was_never_sent_is_sent_and_what_was_just_sent_is_waited_for() -> None:
    assert move(view(), Course(started=0.0)) is Move.SEND
    assert move(view()) is Move.WAIT


def test_a_forgotten_transaction_goes_out_again_after_a_while() -> None:
    assert move(view(now=PATIENCE.resend - 0.1)) is Move.WAIT
    assert move(view(now=PATIENCE.resend)) is Move.SEND


def test_fees_rise_after_time_and_blocks_have_passed_not_after_one_of_them() -> None:
    assert move(view(now=31.0, head=102)) is Move.SEND
    assert move(view(now=29.0, head=110)) is Move.SEND
    assert move(view(now=31.0, head=103)) is Move.BUMP


def test_a_chain_that_stands_still_needs_no_higher_fees() -> None:
    assert move(view(now=100.0, head=100)) is Move.SEND


def test_a_base_fee_above_the_maximum_fee_raises_it_with_the_next_block() -> None:
    above = replace(view(now=2.0, head=101), base_fee=Wei(4 * GWEI))
    assert move(above) is Move.BUMP
    assert move(replace(above, head=100)) is Move.WAIT


@pytest.mark.parametrize("answer", [Answer.OUTBID, Answer.UNDERPRICED, Answer.BELOW_BASE_FEE])
def test_a_node_that_calls_it_too_cheap_gets_a_higher_offer_at_once(answer: Answer) -> None:
    course = replace(SENT, answer=answer)
    assert move(view(), course) is Move.BUMP
    assert move(view(), replace(course, capped=True)) is Move.WAIT


@pytest.mark.parametrize("answer", [Answer.POOL_FULL, Answer.BUSY, Answer.UNKNOWN, Answer.NONCE_AHEAD])
def test_nothing_is_concluded_from_other_refusals(answer: Answer) -> None:
    course = replace(SENT, answer=answer, accepted=False)
    assert move(view(), course) is Move.WAIT
    assert move(view(now=PATIENCE.resend), course) is Move.SEND
    assert move(view(now=PATIENCE.refused), course) is Move.GIVE_UP


def test_a_receipt_that_is_not_deep_enough_is_waited_for_and_may_vanish() -> None:
    assert move(view(used=NONCE + 1, seen=SEEN)) is Move.WAIT
    assert move(view(used=NONCE + 1, seen=SEEN, settled=True)) is Move.DONE
    assert move(view(now=PATIENCE.resend)) is Move.SEND


def test_a_settled_receipt_counts_even_when_the_patience_is_over() -> None:
    late = view(now=1_000.0, used=NONCE + 1, seen=SEEN, settled=True)
    assert move(late) is Move.DONE
    assert move(replace(late, settled=False)) is Move.GIVE_UP


def test_a_used_nonce_is_lost_only_after_time_blocks_and_several_looks() -> None:
    course, used = SENT, NONCE + 1
    for now, head, expected in [
        (10.0, 100, Move.WAIT),
        (17.0, 103, Move.WAIT),
        (18.0, 101, Move.WAIT),
        (19.0, 103, Move.LOST),
    ]:
        seen = view(now=now, head=head, used=used)
        assert move(seen, course) is expected, now
        course = course.after_look(seen, NONCE)


def test_a_used_nonce_that_becomes_free_again_starts_the_watch_anew() -> None:
    course = SENT
    for look in (view(now=1.0, used=8), view(now=2.0, used=8), view(now=3.0, used=7)):
        course = course.after_look(look, NONCE)
    assert course.missed == 0
    assert move(view(now=11.0, head=150, used=8), course) is Move.WAIT


@given(
    former=st.integers(MIN_TIP, 10**12),
    tip=st.integers(0, 10**12),
    base=st.integers(0, 10**12),
    suggested=st.integers(0, 10**12),
    least=st.integers(0, 10**12),
    cap=st.integers(MIN_TIP, 10**12),
    hard=st.booleans(),
)
def test_a_replacement_is_an_eighth_higher_under_the_cap_or_nothing(
    former: int, tip: int, base: int, suggested: int, least: int, cap: int, hard: bool
) -> None:
    before = Fees(Wei(former), Wei(min(former, tip)))
    market = plan_fees(base_fee=Wei(base), suggested_tip=Wei(suggested), cap=Wei(cap))
    after = replacement(before, market, cap=Wei(cap), least=Wei(least), hard=hard)
    if after is None:
        assert cap * 8 < before.max_fee * 9 + 8 or cap < least
        return
    assert after.max_fee * 8 >= before.max_fee * 9
    assert after.tip * 8 >= before.tip * 9
    assert after.tip >= least
    assert MIN_TIP <= after.tip <= after.max_fee <= cap


@given(base=st.integers(0, 10**12), suggested=st.integers(0, 10**30), cap=st.integers(MIN_TIP, 10**12))
def test_an_offer_is_never_above_the_cap_and_can_be_mined_where_the_base_fee_is_affordable(
    base: int, suggested: int, cap: int
) -> None:
    fees = plan_fees(base_fee=Wei(base), suggested_tip=Wei(suggested), cap=Wei(cap))
    assert MIN_TIP <= fees.tip <= fees.max_fee <= cap
    if affordable(base_fee=Wei(base), cap=Wei(cap)):
        assert fees.max_fee >= min(cap, base + MIN_TIP)


def test_raising_again_and_again_ends_at_the_cap() -> None:
    fees, offers = FEES, 0
    market = plan_fees(base_fee=Wei(7), suggested_tip=Wei(1), cap=POLICY.cap)
    while (higher := replacement(fees, market, cap=POLICY.cap)) is not None:
        assert higher.max_fee > fees.max_fee
        fees, offers = higher, offers + 1
    assert 10 <= offers <= 20
    assert fees.max_fee <= POLICY.cap


def test_no_block_no_haste() -> None:
    assert not is_stale(FEES, base_fee=Wei(10**12), seconds=10**6, blocks=0, policy=POLICY)


@pytest.mark.parametrize(
    ("reading", "ours", "last_block", "expected"),
    [
        (NonceReading(5, 5, 90), 5, 90, Standing.READY),
        (NonceReading(6, 6, 90), 5, 90, Standing.READY),
        (NonceReading(4, 5, 90), 5, 90, Standing.BEHIND),
        (NonceReading(5, 5, 89), 5, 90, Standing.BEHIND),
        (NonceReading(5, 7, 90), 5, 90, Standing.OTHERS_WAITING),
    ],
)
def test_a_nonce_is_given_out_only_by_an_endpoint_that_is_not_behind(
    reading: NonceReading, ours: int, last_block: int, expected: Standing
) -> None:
    assert nonce_standing(reading, ours=ours, last_block=last_block) is expected


def test_looks_become_rarer() -> None:
    pauses = [poll_delay(number, PATIENCE) for number in range(100)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (PATIENCE.poll_first, PATIENCE.poll_most)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("already known", Answer.KNOWN),
        ("[-32003] Transaction already imported.", Answer.KNOWN),
        ("AlreadyKnown", Answer.KNOWN),
        ("Known transaction", Answer.KNOWN),
        ("tx already in mempool", Answer.KNOWN),
        ("Transaction with the same hash was already imported.", Answer.KNOWN),
        ("nonce too low: next nonce 5, tx nonce 4", Answer.NONCE_USED),
        ("nonce too low: address 0x11, tx: 4 state: 5", Answer.NONCE_USED),
        ("OldNonce, Current nonce: 10, nonce of rejected tx: 9", Answer.NONCE_USED),
        ("Transaction nonce is too low. Try incrementing the nonce.", Answer.NONCE_USED),
        ("Invalid transaction nonce: Expected 5, but got 4", Answer.NONCE_USED),
        ("invalid nonce; got 4, expected 5: invalid sequence", Answer.NONCE_USED),
        ("Invalid transaction nonce: Expected 5, but got 6", Answer.NONCE_AHEAD),
        ("nonce too high", Answer.NONCE_AHEAD),
        ("NonceGap, Future nonce. Expected nonce: 3", Answer.NONCE_AHEAD),
        ("Transaction nonce is too distant from current sender nonce", Answer.NONCE_AHEAD),
        ("replacement transaction underpriced", Answer.OUTBID),
        ("could not replace existing tx", Answer.OUTBID),
        ("ReplacementNotAllowed", Answer.OUTBID),
        (
            "Transaction gas price is too low. There is another transaction with same nonce in the queue.",
            Answer.OUTBID,
        ),
        (
            "transaction gas price below minimum: gas tip cap 1, minimum needed 2000000000",
            Answer.UNDERPRICED,
        ),
        ("transaction underpriced: tip needed 2, tip permitted 1", Answer.UNDERPRICED),
        ("FeeTooLow", Answer.UNDERPRICED),
        ("fee too low", Answer.UNDERPRICED),
        ("Gas price below configured minimum gas price", Answer.UNDERPRICED),
        ("max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1", Answer.BELOW_BASE_FEE),
        ("gasPrice is less than the current BaseFee", Answer.BELOW_BASE_FEE),
        ("insufficient funds for gas * price + value: balance 0, tx cost 5", Answer.INSUFFICIENT_FUNDS),
        ("Insufficient funds for gas * price + value", Answer.INSUFFICIENT_FUNDS),
        ("InsufficientFunds, Account balance: 0, cumulative cost: 5", Answer.INSUFFICIENT_FUNDS),
        ("Upfront cost exceeds account balance", Answer.INSUFFICIENT_FUNDS),
        ("txpool is full", Answer.POOL_FULL),
        ("pending sub-pool is full", Answer.POOL_FULL),
        ("There are too many transactions in the queue.", Answer.POOL_FULL),
        ("intrinsic gas too low: have 1, want 21000", Answer.INVALID),
        ("exceeds block gas limit", Answer.INVALID),
        ("GasLimitExceeded", Answer.INVALID),
        ("tx fee (2.00 ether) exceeds the configured cap (1.00 ether)", Answer.INVALID),
        ("invalid sender", Answer.INVALID),
        ("invalid chain id for signer: have 1 want 2", Answer.INVALID),
        ("429 Too Many Requests", Answer.BUSY),
        ("request timed out", Answer.BUSY),
        ("the cat sat on the keyboard", Answer.UNKNOWN),
        ("", Answer.UNKNOWN),
        ("nonce", Answer.UNKNOWN),
    ],
)
def test_the_words_of_every_node_are_told_apart(words: str, expected: Answer) -> None:
    assert classify(f"https://node refused eth_sendRawTransaction: {words}") is expected


@given(st.text(max_size=200))
def test_any_words_have_a_class(words: str) -> None:
    assert isinstance(classify(words), Answer)


def test_a_node_that_names_its_least_tip_is_understood() -> None:
    assert minimum_tip("gas tip cap 1, minimum needed 2000000000") == 2 * GWEI
    assert minimum_tip("transaction underpriced") is None


def test_the_cap_comes_from_the_environment_and_only_in_sensible_bounds() -> None:
    assert max_fee({}) == MAX_FEE
    assert max_fee({"ARMLX_MAX_FEE_GWEI": "7"}) == 7 * GWEI
    for wrong in ("0", "1", "-5", "1e9", "9999999", "many"):
        with pytest.raises(UsageError, match="ARMLX_MAX_FEE_GWEI"):
            max_fee({"ARMLX_MAX_FEE_GWEI": wrong})
