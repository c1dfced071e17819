"""Sending transactions so that each happens exactly once, whatever is killed when.

Order of steps, for one intent:

0. hold the account's lock, and finish what an earlier process left unfinished (identical bytes);
1. if this key was mined before, return its receipt: nothing is sent twice; if its block is gone from the
   chain, it is pending again;
2. learn the nonce from an endpoint that is not behind, simulate, estimate, plan fees, check the precondition;
3. sign, and write the signed bytes to the journal (durable);
4. broadcast, wait, send again or replace until the nonce has ended (:mod:`armlx_chain.chain.pursuit`);
5. record how it ended.

A crash between any two steps leads back to 0 or 1 on the next run. A key keeps its nonce until that nonce is
provably used by something else, so that at most one of its attempts can ever be mined.

::

    sender = TxSender(rpc=rpc, signer=signer, journal=journal)
    receipt = sender.execute(Intent(key="buy/…", to=token, data=calldata, value=Wei(10**15), what="buy"))
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from armlx_chain.chain import fees as fee_rules
from armlx_chain.chain.access import ChainAccess
from armlx_chain.chain.confirmation import find_receipt, is_settled
from armlx_chain.chain.fees import FeePolicy
from armlx_chain.chain.journal import Attempt, Journal, State
from armlx_chain.chain.lifecycle import NonceReading, Patience, Standing, nonce_standing, poll_delay
from armlx_chain.chain.pursuit import Desk, Hook, Outcome, Pursuit, TransactionSigner, stale
from armlx_chain.chain.rawtx import Plain, read_signed
from armlx_chain.chain.reverts import revert_error
from armlx_chain.chain.rpc import NodeRefused
from armlx_chain.errors import (
    ContractRevert,
    EndpointBehind,
    InsufficientFunds,
    JournalError,
    PreconditionFailed,
    TransactionPending,
)
from armlx_chain.types import Address, TxHash, Wei

__all__ = ["Intent", "Receipt", "TransactionSigner", "TxSender", "no_hook"]

log = logging.getLogger(__name__)

_DISPLACEMENTS = 3
"""How often an intent is signed anew because an older attempt of ours took its nonce."""


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing to be done on the chain, once.

    Attributes:
        key: Names the deed across restarts; unique per account and chain.
        what: A few words for messages (``approve proposal 3``).
        precondition: Facts that must still hold at every broadcast, checked by the sender's
            ``check_precondition``.
    """

    key: str
    to: Address
    data: bytes
    value: Wei = Wei(0)
    what: str = "transaction"
    precondition: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined, successful transaction."""

    tx_hash: TxHash
    block_number: int
    gas_used: int
    fee_paid: Wei
    raw: dict[str, Any] = field(repr=False)


def no_hook(_event: str, _attempt: Attempt) -> None:
    """The default hook: does nothing."""


class TxSender:
    """Carries out intents for one account.

    Args:
        confirmations: Blocks on top of the receipt's before it counts.
        check_precondition: Answers whether recorded facts still hold; required once an intent has some
            (``armlx_chain.chain.basis.facts_hold``).
        fees: When fees are raised, and their cap.
        patience: How long is waited for what.
        hook: Called with ``signed``, ``replaced``, ``cancelling``, ``broadcast`` and ``mined``; tests stop
            the process there.
    """

    def __init__(
        self,
        *,
        rpc: ChainAccess,
        signer: TransactionSigner,
        journal: Journal,
        confirmations: int = 0,
        check_precondition: Callable[[dict[str, Any]], bool] | None = None,
        fees: FeePolicy | None = None,
        patience: Patience | None = None,
        hook: Hook = no_hook,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rpc = rpc
        self._journal = journal
        self._check_precondition = check_precondition
        self._desk = Desk(
            chain=rpc,
            signer=signer,
            journal=journal,
            fees=fees or FeePolicy(),
            patience=patience or Patience(),
            confirmations=confirmations,
            holds=self._holds,
            hook=hook,
            clock=clock,
            sleep=sleep,
        )

    @property
    def address(self) -> Address:
        return self._desk.signer.address

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold the account's lock over several intents, so that no other process comes between them.

        Raises:
            AccountBusy: another process holds it.
        """
        return self._journal.exclusive()

    def execute(self, intent: Intent) -> Receipt:
        """Do it, or return the receipt of having done it.

        Raises:
            ContractRevert: refused in the simulation (nothing was sent) or reverted when mined.
            PreconditionFailed: the recorded facts no longer hold; nothing is on its way.
            InsufficientFunds, TransactionPending, JournalError, RpcUnavailable, WrongChain.
        """
        self._rpc.check_chain()
        with self._journal.exclusive():
            self._finish_all(except_key=intent.key)
            self._revive(intent.key)
            done = self.done(intent.key)
            if done is not None:
                return done
            for _ in range(_DISPLACEMENTS):
                attempt = self._sign(intent)
                self._desk.hook("signed", attempt)
                log.info("%s: transaction %s, nonce %d", intent.what, attempt.tx_hash, attempt.nonce)
                receipt = self._finish(attempt, fresh=True)
                if receipt is not None:
                    log.info("%s: in block %d by %s", intent.what, receipt.block_number, receipt.tx_hash)
                    return receipt
        raise JournalError(
            f"{intent.what}: earlier transactions of this account took its nonce again and again.",
            next_step="Run this again.",
        )

    def done(self, key: str) -> Receipt | None:
        """The receipt of an intent that was mined successfully before.

        Attempts given up or reverted are looked at too: an endpoint that lagged behind, or lied, may have
        called a nonce used, bytes impossible or a success a revert, and the deed must not be done again.

        Raises:
            TransactionPending: it was mined, or an attempt given up shows a receipt, but the chain does not
                bear that out now.
        """
        for attempt in self._journal.attempts(key):
            if attempt.state is State.MINED:
                raw = self._rpc.receipt(attempt.tx_hash)
                if raw is not None and int(raw["status"]) == 1:
                    return _receipt(attempt.tx_hash, raw)
                raise _unclear(attempt)
            if attempt.state is not State.SIGNED:
                raw = self._proven(attempt)
                if raw is not None and int(raw["status"]) == 1:
                    return _receipt(attempt.tx_hash, raw)
        return None

    def _proven(self, attempt: Attempt) -> dict[str, Any] | None:
        """The receipt of an attempt that was given up, if it was mined all the same.

        Raises:
            TransactionPending: there is a receipt, but it does not count (yet).
        """
        found = find_receipt(self._rpc, [attempt])
        if found is None:
            return None
        seen, raw = found
        head = self._rpc.block("latest").number
        used = self._rpc.nonce(self.address, pending=False)
        depth = self._desk.confirmations
        if used > attempt.nonce and is_settled(self._rpc, seen, head=head, confirmations=depth):
            return raw
        raise _unclear(attempt)

    def resume(self) -> int:
        """Finish what an earlier process left unfinished; returns how many nonces that were."""
        with self._journal.exclusive():
            return self._finish_all()

    def _finish_all(self, except_key: str | None = None) -> int:
        """Finish unfinished nonces in order. A cancelled one stops only the intent it was for."""
        oldest = {attempt.nonce: attempt for attempt in reversed(self._journal.unfinished())}
        for nonce in sorted(oldest):
            attempt = oldest[nonce]
            try:
                self._finish(attempt)
            except (PreconditionFailed, ContractRevert) as error:
                if attempt.deed == except_key:
                    raise
                log.warning("an earlier transaction (%s) ended: %s", attempt.deed, error.message)
        return len(oldest)

    def _revive(self, key: str) -> None:
        """Set right what ended otherwise: a block that was reorganised away, an attempt given up in error.

        Such an attempt is on its way again, with the identical bytes.
        """
        for attempt in self._journal.attempts(key):
            if attempt.state is State.MINED and self._vanished(attempt):
                note = "its block was reorganised away"
            elif attempt.state in (State.CANCELLED, State.REVERTED) and self._succeeded(attempt):
                note = "it was mined, and succeeded, after all"
            else:
                continue
            log.warning("%s: %s", attempt.key, note)
            self._journal.reopen(attempt, note)
            self._finish(attempt)

    def _succeeded(self, attempt: Attempt) -> bool:
        raw = self._proven(attempt)
        return raw is not None and int(raw["status"]) == 1

    def _vanished(self, attempt: Attempt) -> bool:
        if attempt.block_number is None or self._rpc.receipt(attempt.tx_hash) is not None:
            return False
        block = self._rpc.find_block(attempt.block_number)
        return block is not None and "0x" + block.hash.hex() != attempt.block_hash

    def _sign(self, intent: Intent) -> Attempt:
        nonce = self._ready_nonce()
        plain = Plain(to=intent.to, value=int(intent.value), data="0x" + intent.data.hex(), gas=0)
        call = plain.call(self.address)
        self._require_funds(intent, 0)
        self._rpc.call(call, intent.what)
        gas = fee_rules.gas_limit(self._rpc.estimate_gas(call, intent.what))
        self._require_affordable(intent)
        fees = self._desk.market_fees(intent.precondition)
        self._require_funds(intent, gas * fees.max_fee)
        self._require(intent.precondition, intent.what)
        plain = Plain(to=plain.to, value=plain.value, data=plain.data, gas=gas)
        return self._desk.record(intent.key, nonce, plain, fees, intent.precondition)

    def _ready_nonce(self) -> int:
        """The next nonce, from an endpoint that has seen all that we have seen."""
        desk, looks = self._desk, 0
        until = desk.clock() + desk.patience.behind
        ours = self._journal.next_nonce()
        while True:
            reading = NonceReading(
                mined=self._rpc.nonce(self.address, pending=False),
                pending=self._rpc.nonce(self.address, pending=True),
                head=self._rpc.block("latest").number,
            )
            standing = nonce_standing(reading, ours=ours, last_block=self._journal.last_block())
            if standing is Standing.READY:
                return reading.mined
            if desk.clock() >= until:
                raise self._not_ready(standing, reading, ours)
            desk.sleep(poll_delay(looks, desk.patience))
            looks += 1

    def _not_ready(
        self, standing: Standing, reading: NonceReading, ours: int
    ) -> EndpointBehind | TransactionPending:
        if standing is Standing.OTHERS_WAITING:
            return TransactionPending(
                f"{reading.pending - reading.mined} transactions of {self.address} that are not in this"
                " journal wait to be mined.",
                meaning="Another program sends from the same key. Nothing was sent.",
                next_step="Stop the other program or let it finish, then run this again.",
            )
        return EndpointBehind(
            f"The journal has used nonce {ours - 1} of {self.address} up to block"
            f" {self._journal.last_block()}, but the endpoint counts only {reading.mined} transactions at"
            f" block {reading.head}.",
            meaning="The endpoint lags behind, or this is a chain that was reset.",
            next_step="Wait, or use another endpoint; for a reset local chain use a fresh data folder.",
        )

    def _require_affordable(self, intent: Intent) -> None:
        cap, base_fee = self._desk.fees.cap, self._rpc.base_fee()
        if not fee_rules.affordable(base_fee=base_fee, cap=cap):
            raise TransactionPending(
                f"{intent.what} waits: the network's base fee is {base_fee} wei per gas, and at most {cap}"
                " may be offered.",
                meaning="Nothing was sent.",
                next_step="Run this again when the network is less busy, or raise ARMLX_MAX_FEE_GWEI.",
                details={"base_fee": int(base_fee), "cap": int(cap)},
            )

    def _require_funds(self, intent: Intent, gas_cost: int) -> None:
        need = int(intent.value) + gas_cost
        have = self._rpc.balance(self.address)
        if have < need:
            raise InsufficientFunds(
                f"{intent.what} needs {need} wei with gas, but {self.address} holds {have} wei.",
                meaning="Nothing was sent.",
                next_step="Fund the account and run this again.",
                details={"need": need, "have": have},
            )

    def _require(self, precondition: dict[str, Any] | None, what: str) -> None:
        if precondition is not None and not self._holds(precondition):
            raise PreconditionFailed(
                f"{what}: what it was based on has changed on the chain, so it was not sent.",
                details={"precondition": precondition},
            )

    def _holds(self, precondition: dict[str, Any]) -> bool:
        if self._check_precondition is None:
            raise JournalError(
                "A journalled transaction has a precondition that this command cannot check.",
                next_step="Run the command that made it (the validator) again first.",
            )
        return self._check_precondition(precondition)

    def _finish(self, attempt: Attempt, *, fresh: bool = False) -> Receipt | None:
        """Bring the nonce of a recorded attempt to its end; None where another deed of ours took it."""
        outcome = Pursuit(self._desk, attempt.nonce).run(fresh=fresh)
        if outcome.winner.is_cancellation:
            raise stale(attempt, "its nonce was cancelled")
        if not outcome.succeeded:
            raise self._explain_revert(outcome)
        if outcome.winner.deed != attempt.deed:
            log.warning("nonce %d went to %s, not to %s", attempt.nonce, outcome.winner.key, attempt.key)
            return None
        return _receipt(outcome.winner.tx_hash, outcome.raw)

    def _explain_revert(self, outcome: Outcome) -> ContractRevert:
        """Replay the reverted call at the block before, to learn the reason."""
        attempt, block = outcome.winner, int(outcome.raw["blockNumber"])
        what = f"{attempt.key} (transaction {attempt.tx_hash}, mined and reverted)"
        try:
            self._rpc.call(read_signed(attempt.raw)[0].call(self.address), what, block - 1)
        except ContractRevert as error:
            return error
        except NodeRefused:
            log.debug("the node cannot replay at block %d", block - 1)
        return revert_error(what, b"")


def _unclear(attempt: Attempt) -> TransactionPending:
    return TransactionPending(
        f"The chain shows transaction {attempt.tx_hash} differently from before.",
        meaning="It was reorganised, or the endpoint is behind or contradicts itself. Nothing was sent.",
        next_step="Wait for the chain to settle and run this again.",
        details={"tx_hash": attempt.tx_hash, "nonce": attempt.nonce},
    )


def _receipt(tx_hash: TxHash, raw: dict[str, Any]) -> Receipt:
    gas_used = int(raw["gasUsed"])
    price = int(raw.get("effectiveGasPrice", 0))
    return Receipt(tx_hash, int(raw["blockNumber"]), gas_used, Wei(gas_used * price), raw)
