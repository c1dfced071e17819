"""Brings one nonce to its end: sends, sends again, raises fees, cancels, and waits.

The rules are in :mod:`armlx_chain.chain.lifecycle`; here they are carried out. Every new attempt is in the
journal before it is broadcast. An endpoint that fails in between is asked again until the patience is used
up; what was signed stays recorded, and the next run goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from eth_utils import keccak

from armlx_chain.chain import fees as fee_rules
from armlx_chain.chain.access import ChainAccess
from armlx_chain.chain.answers import Answer, classify, minimum_tip
from armlx_chain.chain.confirmation import find_receipt, is_settled
from armlx_chain.chain.fees import FeePolicy, Fees
from armlx_chain.chain.journal import CANCEL, Attempt, Ending, Journal, State
from armlx_chain.chain.lifecycle import Course, Move, Patience, Sighting, View, decide, poll_delay
from armlx_chain.chain.rawtx import TRANSFER_GAS, Plain, read_signed, unsigned
from armlx_chain.chain.rpc import NodeRefused
from armlx_chain.chain.strangers import find_user
from armlx_chain.errors import (
    InsufficientFunds,
    JournalError,
    PreconditionFailed,
    RpcUnavailable,
    TransactionPending,
)
from armlx_chain.types import Address, TxHash, Wei

log = logging.getLogger(__name__)


class TransactionSigner(Protocol):
    """What this module needs of a key."""

    @property
    def address(self) -> Address: ...

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes: ...


Hook = Callable[[str, Attempt], None]


@dataclass(frozen=True, slots=True)
class Desk:
    """What one account sends with.

    Attributes:
        holds: Whether the recorded facts of a precondition still stand.
        hook: Called with ``signed``, ``replaced`` and ``cancelling`` (recorded, not yet broadcast),
            ``broadcast`` and ``mined``; tests stop the process there.
    """

    chain: ChainAccess
    signer: TransactionSigner
    journal: Journal
    fees: FeePolicy
    patience: Patience
    confirmations: int
    holds: Callable[[dict[str, Any]], bool]
    hook: Hook
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def cap_for(self, precondition: dict[str, Any] | None) -> Wei:
        """The fee cap; what may have to be cancelled leaves room for the cancellation under it."""
        return self.fees.cap if precondition is None else fee_rules.leave_room(self.fees.cap)

    def market_fees(self, precondition: dict[str, Any] | None) -> Fees:
        """What a first attempt offers now."""
        return fee_rules.plan_fees(
            base_fee=self.chain.base_fee(),
            suggested_tip=self.chain.suggested_tip(),
            cap=self.cap_for(precondition),
        )

    def record(
        self, key: str, nonce: int, plain: Plain, fees: Fees, precondition: dict[str, Any] | None
    ) -> Attempt:
        """Sign and write down; the same bytes under the same key are the attempt made before.

        Two deeds never share their bytes, or the receipt of one would pass for the other's: where they would,
        the gas limit is one higher.
        """
        former = self.journal.at_nonce(nonce)
        while True:
            transaction = unsigned(plain, chain_id=self.chain.expected_chain_id, nonce=nonce, fees=fees)
            raw = self.signer.sign_transaction(transaction)
            tx_hash = TxHash("0x" + keccak(raw).hex())
            same = [attempt for attempt in former if attempt.tx_hash == tx_hash]
            if not same:
                return self.journal.record(
                    key=key, nonce=nonce, tx_hash=tx_hash, raw=raw, precondition=precondition
                )
            if same[0].key == key:
                self.journal.reopen(same[0], "signed again")
                return replace(same[0], state=State.SIGNED)
            plain = replace(plain, gas=plain.gas + 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a nonce ended."""

    winner: Attempt
    raw: dict[str, Any] = field(repr=False)
    succeeded: bool


class Pursuit:
    """One nonce, from its first recorded attempt to its end."""

    def __init__(self, desk: Desk, nonce: int) -> None:
        self._desk = desk
        self._nonce = nonce
        self._trouble = ""
        self._barrier = ""
        self._least_tip = Wei(0)
        self._seen: tuple[Sighting, dict[str, Any]] | None = None

    def run(self, *, fresh: bool) -> Outcome:
        """Bring it to its end.

        Args:
            fresh: Whether its one attempt was signed just now, its precondition checked right before.

        Raises:
            PreconditionFailed: the nonce went to a cancellation, or to a stranger while being cancelled.
            JournalError: somebody else used the nonce.
            TransactionPending: not ended within the patience; the next run goes on.
            InsufficientFunds, NodeRefused: no node took it, and none ever will as it is.
            WrongChain.
        """
        course = Course(started=self._desk.clock())
        if fresh:
            course = self._broadcast(self._target(), course, new=True)
        looks = 0
        while True:
            move, course = self._next(course)
            if move is Move.DONE:
                return self._conclude()
            if move is Move.GIVE_UP:
                raise self._pending()
            if move is Move.LOST:
                raise self._lost()
            if move is not Move.WAIT:
                course = self._act(move, course)
            self._desk.sleep(poll_delay(looks, self._desk.patience))
            looks += 1

    # -- looking -------------------------------------------------------------------------------------------

    def _next(self, course: Course) -> tuple[Move, Course]:
        desk = self._desk
        try:
            view = self._look()
        except (RpcUnavailable, NodeRefused) as error:
            self._note(error.message)
            over = desk.clock() - course.started >= desk.patience.receipt
            return (Move.GIVE_UP if over else Move.WAIT), course
        course = course.after_look(view, self._nonce)
        move = decide(
            view,
            course,
            nonce=self._nonce,
            fees=read_signed(self._target().raw)[1],
            policy=desk.fees,
            patience=desk.patience,
            confirmations=desk.confirmations,
        )
        return move, course

    def _look(self) -> View:
        chain, desk = self._desk.chain, self._desk
        self._seen = find_receipt(chain, reversed(self._rows()))
        seen = None if self._seen is None else self._seen[0]
        head = chain.block("latest").number
        used = chain.nonce(desk.signer.address, pending=False)
        settled = (
            seen is not None
            and used > self._nonce
            and is_settled(chain, seen, head=head, confirmations=desk.confirmations)
        )
        base_fee = Wei(0) if seen is not None or used > self._nonce else chain.base_fee()
        return View(desk.clock(), head, used, base_fee, seen, settled)

    def _rows(self) -> list[Attempt]:
        return self._desk.journal.at_nonce(self._nonce)

    def _open(self) -> list[Attempt]:
        return [attempt for attempt in self._rows() if attempt.state is State.SIGNED]

    def _target(self) -> Attempt:
        """What is sent now: the newest cancellation, or else the newest attempt."""
        waiting = self._open()
        if not waiting:
            raise JournalError(f"Nonce {self._nonce} has no attempt that is on its way.")
        return max(waiting, key=lambda attempt: (attempt.is_cancellation, attempt.id))

    # -- acting --------------------------------------------------------------------------------------------

    def _act(self, move: Move, course: Course) -> Course:
        """Send or replace; an endpoint that fails now is asked again after the next look."""
        try:
            target = self._target()
            if not target.is_cancellation and not self._stands(target):
                return self._cancel(target, course)
            if move is Move.BUMP:
                return self._raise_fees(target, course)
            return self._broadcast(target, course, new=course.tried_at is None)
        except (RpcUnavailable, NodeRefused) as error:
            self._note(error.message)
            return course

    def _stands(self, target: Attempt) -> bool:
        return target.precondition is None or self._desk.holds(target.precondition)

    def _raise_fees(self, target: Attempt, course: Course) -> Course:
        return self._replace(
            target.key, read_signed(target.raw)[0], target.precondition, course, event="replaced"
        )

    def _cancel(self, target: Attempt, course: Course) -> Course:
        """The deed is based on what is gone: an empty transfer to ourselves takes its nonce."""
        log.info("%s: its precondition no longer holds, so its nonce is cancelled", target.key)
        plain = Plain(to=self._desk.signer.address, value=0, data="0x", gas=TRANSFER_GAS)
        return self._replace(CANCEL + target.key, plain, None, course, event="cancelling")

    def _replace(
        self, key: str, plain: Plain, precondition: dict[str, Any] | None, course: Course, *, event: str
    ) -> Course:
        desk = self._desk
        offered = [read_signed(attempt.raw)[1] for attempt in self._rows()]
        highest = Fees(max(fees.max_fee for fees in offered), max(fees.tip for fees in offered))
        fees = fee_rules.replacement(
            highest,
            desk.market_fees(precondition),
            cap=desk.cap_for(precondition),
            least=self._least_tip,
            hard=course.answer is Answer.OUTBID,
        )
        if fees is None and event == "cancelling":
            # Too little to displace the original where a pool still holds it, enough where none does.
            fees = Fees(desk.fees.cap, Wei(min(desk.fees.cap, highest.tip)))
        if fees is None:
            self._barrier = (
                f"To replace it would take more than the cap of {desk.fees.cap} wei per gas, which is not"
                " exceeded; ARMLX_MAX_FEE_GWEI raises it."
            )
            log.warning("%s waits: %s", key, self._barrier)
            return replace(course, capped=True, sent_at=desk.clock())
        attempt = desk.record(key, self._nonce, plain, fees, precondition)
        desk.hook(event, attempt)
        log.info("%s: replaced at %d wei per gas", key, fees.max_fee)
        return self._broadcast(attempt, course, new=True)

    def _broadcast(self, target: Attempt, course: Course, *, new: bool) -> Course:
        desk, answer, words = self._desk, None, ""
        try:
            desk.chain.check_chain()
        except (RpcUnavailable, NodeRefused) as error:
            self._note(error.message)
            return course
        try:
            desk.chain.send_raw(target.raw)
        except NodeRefused as error:
            words = error.message
            answer = classify(words)
            log.info("%s: the node says %s (%s)", target.key, answer.value, words)
        except RpcUnavailable as error:
            self._note(error.message)  # nobody knows; the same bytes may go out again
        if answer in (None, Answer.KNOWN):
            desk.hook("broadcast", target)
        else:
            self._note(words)
        course = course.after_send(desk.clock(), answer, new=new)
        return self._after_answer(target, course, answer, words)

    def _after_answer(self, target: Attempt, course: Course, answer: Answer | None, words: str) -> Course:
        if answer is Answer.UNDERPRICED:
            self._least_tip = Wei(max(self._least_tip, minimum_tip(words) or 0))
        if answer not in (Answer.INSUFFICIENT_FUNDS, Answer.INVALID):
            return course
        if len(self._open()) > 1:
            self._desk.journal.settle(target, State.CANCELLED, f"no node took it: {words}")
            self._barrier = f"A replacement was refused: {words}"
            return replace(course, capped=True, answer=None)
        if course.accepted:
            return course  # it is in a pool already, and that pool counts it as spent
        self._desk.journal.settle(target, State.CANCELLED, f"no node took it: {words}")
        if answer is Answer.INVALID:
            raise NodeRefused(words, meaning="Nothing was sent.")
        raise InsufficientFunds(words, next_step="Fund the account and run this again.")

    def _note(self, words: str) -> None:
        self._trouble = words
        log.debug("nonce %d: %s", self._nonce, words)

    # -- ends ----------------------------------------------------------------------------------------------

    def _conclude(self) -> Outcome:
        if self._seen is None:
            raise JournalError("A nonce was called done without a receipt.")
        seen, raw = self._seen
        rows = self._rows()
        winner = next(attempt for attempt in reversed(rows) if attempt.tx_hash == seen.tx_hash)
        state = State.MINED if seen.succeeded else State.REVERTED
        block = (seen.block_number, "0x" + seen.block_hash.hex())
        endings = [Ending(winner, state, block=block)]
        endings += [
            _loser(attempt, winner)
            for attempt in rows
            if attempt.id != winner.id and attempt.state is State.SIGNED
        ]
        self._desk.journal.settle_all(endings)
        self._desk.hook("mined", winner)
        return Outcome(winner, raw, seen.succeeded)

    def _lost(self) -> PreconditionFailed | JournalError:
        waiting = self._open()
        original = next((attempt for attempt in waiting if not attempt.is_cancellation), waiting[0])
        address = self._desk.signer.address
        other = find_user(self._desk.chain, address, self._nonce)
        named = "a transaction" if other is None else f"transaction {other}, which"
        given_up = any(attempt.is_cancellation for attempt in waiting) or not (
            original.precondition is None or self._desk.holds(original.precondition)
        )
        self._desk.journal.settle_all(
            Ending(attempt, State.CANCELLED, "nonce used by another transaction") for attempt in waiting
        )
        if given_up:
            return stale(original, f"its nonce was used by {named} we did not make")
        return JournalError(
            f"Nonce {self._nonce} of {address} was used by {named} we did not make.",
            meaning="Another program sends from the same key. This step was not carried out.",
            next_step="Stop the other program, then run this again.",
            details={"nonce": self._nonce, "tx_hash": other},
        )

    def _pending(self) -> TransactionPending:
        target = self._target()
        if self._seen is not None:
            state = "was mined, but is not deep enough on the chain yet"
        else:
            state = "was signed and sent but is not mined yet"
        return TransactionPending(
            f"Transaction {target.tx_hash} {state}.",
            meaning=" ".join(part for part in (self._barrier, self._last_words()) if part) or None,
            next_step="Run the same command again later; it resumes and sends nothing twice.",
            details={"tx_hash": target.tx_hash, "nonce": self._nonce},
        )

    def _last_words(self) -> str:
        return f"The last trouble was: {self._trouble}" if self._trouble else ""


def stale(attempt: Attempt, end: str) -> PreconditionFailed:
    """The error for a deed that was given up because what it was based on is gone."""
    return PreconditionFailed(
        f"{attempt.deed}: what it was based on has changed on the chain; {end}.",
        details={"precondition": attempt.precondition or {}},
    )


def _loser(attempt: Attempt, winner: Attempt) -> Ending:
    if attempt.key == winner.key:
        return Ending(attempt, State.REPLACED, "another attempt at the same was mined")
    if winner.is_cancellation and attempt.deed == winner.deed:
        return Ending(attempt, State.CANCELLED, "precondition no longer holds; its nonce was cancelled")
    if attempt.is_cancellation and attempt.deed == winner.deed:
        return Ending(attempt, State.CANCELLED, "the original was mined first")
    return Ending(attempt, State.CANCELLED, f"its nonce was used by {winner.key}")
