"""Sending transactions so that each happens exactly once, whatever is killed when.

Order of steps, for one intent:

0. hold the account's lock, and finish what an earlier process left unfinished (identical bytes);
1. if this key was mined before, return its receipt: nothing is sent twice;
2. check the intent's precondition, simulate, estimate, plan fees;
3. sign, and write the signed bytes to the journal (durable);
4. broadcast; 5. wait for the receipt and the configured confirmations; 6. record how it ended.

A crash between any two steps leads back to 0 or 1 on the next run.

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
from typing import Any, Protocol

from eth_utils import keccak

from armlx_chain.chain import fees as fee_rules
from armlx_chain.chain.journal import Attempt, Journal, State
from armlx_chain.chain.reverts import revert_error
from armlx_chain.chain.rpc import NodeRefused, Rpc
from armlx_chain.errors import (
    ContractRevert,
    InsufficientFunds,
    JournalError,
    PreconditionFailed,
    TransactionPending,
)
from armlx_chain.types import Address, TxHash, Wei

log = logging.getLogger(__name__)

RECEIPT_TIMEOUT_SECONDS = 180.0
POLL_SECONDS = 0.15
_TRANSFER_GAS = 21_000
_CANCEL = "cancel/"


class TransactionSigner(Protocol):
    """What this module needs of a key."""

    @property
    def address(self) -> Address: ...

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes: ...


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
        hook: Called with ``signed``, ``broadcast`` and ``mined``; tests stop the process there.
    """

    def __init__(
        self,
        *,
        rpc: Rpc,
        signer: TransactionSigner,
        journal: Journal,
        confirmations: int = 0,
        check_precondition: Callable[[dict[str, Any]], bool] | None = None,
        hook: Callable[[str, Attempt], None] = no_hook,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rpc = rpc
        self._signer = signer
        self._journal = journal
        self._confirmations = confirmations
        self._check_precondition = check_precondition
        self._hook = hook
        self._clock = clock
        self._sleep = sleep

    @property
    def address(self) -> Address:
        return self._signer.address

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold the account's lock over several intents, so that no other process comes between them.

        Raises:
            JournalError: another process holds it.
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
            done = self.done(intent.key)
            if done is not None:
                return done
            self._require(intent.precondition, intent.what)
            attempt = self._sign(intent)
            self._hook("signed", attempt)
            return self._finish(attempt, fresh=True)

    def done(self, key: str) -> Receipt | None:
        """The receipt of an intent that was mined successfully before.

        Attempts given up as cancelled are looked at too: an endpoint that lagged behind may have called a
        nonce used before it showed the receipt, and the deed must not be done again.
        """
        for attempt in self._journal.attempts(key):
            if attempt.state not in (State.MINED, State.CANCELLED):
                continue
            raw = self._rpc.receipt(attempt.tx_hash)
            if raw is not None and int(raw["status"]) == 1:
                return _receipt(attempt.tx_hash, raw)
            if attempt.state is State.MINED:
                raise TransactionPending(
                    f"The chain does not show transaction {attempt.tx_hash} any more, which it had mined.",
                    next_step="Wait for the chain to settle and run this again.",
                )
        return None

    def resume(self) -> int:
        """Finish what an earlier process left unfinished; returns how many attempts that were."""
        with self._journal.exclusive():
            return self._finish_all()

    def _finish_all(self, except_key: str | None = None) -> int:
        """Finish unfinished attempts in order of nonce. A cancelled one stops only the intent it was for."""
        unfinished = [a for a in self._journal.unfinished() if not a.key.startswith(_CANCEL)]
        for attempt in unfinished:
            try:
                self._finish(attempt)
            except (PreconditionFailed, ContractRevert) as error:
                if attempt.key == except_key:
                    raise
                log.warning("an earlier transaction (%s) ended: %s", attempt.key, error.message)
        return len(unfinished)

    def _sign(self, intent: Intent) -> Attempt:
        plain: dict[str, Any] = {
            "from": self.address,
            "to": intent.to,
            "data": "0x" + intent.data.hex(),
            "value": int(intent.value),
        }
        self._require_funds(intent, 0)
        self._rpc.call(plain, intent.what)
        gas = fee_rules.gas_limit(self._rpc.estimate_gas(plain, intent.what))
        fees = fee_rules.plan_fees(base_fee=self._rpc.base_fee(), suggested_tip=self._rpc.suggested_tip())
        self._require_funds(intent, gas * fees.max_fee)
        return self._record(intent.key, self._nonce(), plain, gas, fees, intent.precondition)

    def _record(
        self,
        key: str,
        nonce: int,
        plain: dict[str, Any],
        gas: int,
        fees: fee_rules.Fees,
        precondition: dict[str, Any] | None,
    ) -> Attempt:
        transaction = {
            "type": 2,
            "chainId": self._rpc.expected_chain_id,
            "nonce": nonce,
            "to": plain["to"],
            "value": plain["value"],
            "data": plain["data"],
            "gas": gas,
            "maxFeePerGas": int(fees.max_fee),
            "maxPriorityFeePerGas": int(fees.tip),
        }
        raw = self._signer.sign_transaction(transaction)
        tx_hash = TxHash("0x" + keccak(raw).hex())
        return self._journal.record(key=key, nonce=nonce, tx_hash=tx_hash, raw=raw, precondition=precondition)

    def _nonce(self) -> int:
        pending = self._rpc.nonce(self.address, pending=True)
        ours = self._journal.next_nonce()
        if pending < ours:
            raise JournalError(
                f"The journal has used nonce {ours - 1} of {self.address}, but the endpoint counts only"
                f" {pending} transactions.",
                meaning="The endpoint lags behind, or this is a chain that was reset.",
                next_step="Wait, or use another endpoint; for a reset local chain use a fresh data folder.",
            )
        return pending

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

    def _finish(self, attempt: Attempt, *, fresh: bool = False) -> Receipt:
        """Bring a recorded attempt to its end."""
        raw = self._rpc.receipt(attempt.tx_hash)
        if raw is None and not fresh and attempt.precondition and not self._holds(attempt.precondition):
            raw = self._cancel(attempt)
        if raw is None:
            self._broadcast(attempt)
            self._hook("broadcast", attempt)
            raw = self._await(attempt)
        return self._conclude(attempt, raw)

    def _broadcast(self, attempt: Attempt) -> None:
        try:
            self._rpc.send_raw(attempt.raw)
        except NodeRefused as error:
            self._after_refusal(attempt, error)

    def _after_refusal(self, attempt: Attempt, error: NodeRefused) -> None:
        """Tell the distinct answers of nodes apart; returns where the attempt is on its way anyway."""
        words = error.message.lower()
        if "already known" in words or "already imported" in words:
            return
        if _is_nonce_used(error):
            if self._rpc.receipt(attempt.tx_hash) is not None:
                return
            self._journal.settle(attempt, State.CANCELLED, "nonce used by another transaction")
            raise JournalError(
                f"Nonce {attempt.nonce} of {self.address} was used by a transaction we did not make.",
                meaning="Another program sends from the same key. This step was not carried out.",
                next_step="Stop the other program, then run this again.",
            ) from error
        if "insufficient funds" in words:
            self._journal.settle(attempt, State.CANCELLED, "insufficient funds")
            raise InsufficientFunds(
                error.message, next_step="Fund the account and run this again."
            ) from error
        raise error

    def _await(self, *attempts: Attempt) -> dict[str, Any]:
        """The receipt of whichever of these attempts (of one nonce) is mined."""
        deadline = self._clock() + RECEIPT_TIMEOUT_SECONDS
        while self._clock() < deadline:
            for attempt in attempts:
                raw = self._rpc.receipt(attempt.tx_hash)
                if raw is not None and self._deep_enough(int(raw["blockNumber"])):
                    return raw
            self._sleep(POLL_SECONDS)
        raise TransactionPending(
            f"Transaction {attempts[0].tx_hash} was sent but is not mined yet.",
            next_step="Run the same command again later; it resumes and sends nothing twice.",
            details={"tx_hash": attempts[0].tx_hash},
        )

    def _deep_enough(self, mined_in: int) -> bool:
        return self._confirmations == 0 or (
            self._rpc.block("latest").number >= mined_in + self._confirmations
        )

    def _conclude(self, attempt: Attempt, raw: dict[str, Any]) -> Receipt:
        if int(raw["status"]) == 1:
            self._journal.settle(attempt, State.MINED)
            self._hook("mined", attempt)
            return _receipt(attempt.tx_hash, raw)
        self._journal.settle(attempt, State.REVERTED)
        raise self._explain_revert(attempt, int(raw["blockNumber"]))

    def _explain_revert(self, attempt: Attempt, block: int) -> ContractRevert:
        """Replay the reverted call at the block before, to learn the reason."""
        from eth_account import Account
        from eth_account.typed_transactions import TypedTransaction

        fields = TypedTransaction.from_bytes(attempt.raw).as_dict()  # type: ignore[arg-type]
        sender = Account.recover_transaction(attempt.raw)
        call = {"from": sender, "to": fields["to"], "data": fields["data"], "value": fields["value"]}
        what = f"{attempt.key} (transaction {attempt.tx_hash}, mined and reverted)"
        try:
            self._rpc.call(call, what, block - 1)
        except ContractRevert as error:
            return error
        except NodeRefused:
            log.debug("the node cannot replay at block %d", block - 1)
        return revert_error(what, b"")

    def _cancel(self, attempt: Attempt) -> dict[str, Any]:
        """Use up the nonce of an attempt whose precondition no longer holds.

        Returns:
            The original's receipt, where it was mined after all.

        Raises:
            PreconditionFailed: the nonce is spent on the cancellation.
        """
        cancellation = self._cancellation(attempt)
        try:
            self._rpc.send_raw(cancellation.raw)
        except NodeRefused as error:
            # Either transaction may already be known or mined; the receipts decide.
            log.info("cancellation of %s: %s", attempt.key, error.message)
            if _is_nonce_used(error) and not self._any_receipt(attempt, cancellation):
                self._journal.settle(cancellation, State.CANCELLED, "nonce used by another transaction")
                raise self._stale(attempt, "its nonce was used by a transaction we did not make") from error
        raw = self._await(attempt, cancellation)
        if bytes(raw["transactionHash"]).hex() == attempt.tx_hash[2:]:
            self._journal.settle(cancellation, State.CANCELLED, "the original was mined first")
            return raw
        self._journal.settle(cancellation, State.MINED)
        raise self._stale(attempt, "its nonce was cancelled")

    def _any_receipt(self, *attempts: Attempt) -> bool:
        return any(self._rpc.receipt(attempt.tx_hash) is not None for attempt in attempts)

    def _stale(self, attempt: Attempt, end: str) -> PreconditionFailed:
        """The attempt is given up: what it was based on is gone, and its nonce too."""
        self._journal.settle(attempt, State.CANCELLED, f"precondition no longer holds; {end}")
        return PreconditionFailed(
            f"{attempt.key}: what it was based on has changed on the chain; {end}.",
            details={"precondition": attempt.precondition or {}},
        )

    def _cancellation(self, attempt: Attempt) -> Attempt:
        """The recorded cancellation of an attempt, or a new one: an empty transfer to ourselves."""
        for earlier in self._journal.attempts(_CANCEL + attempt.key):
            if earlier.nonce == attempt.nonce:
                return earlier
        fees = fee_rules.bump(
            fee_rules.plan_fees(base_fee=self._rpc.base_fee(), suggested_tip=self._rpc.suggested_tip())
        )
        plain = {"to": self.address, "value": 0, "data": "0x"}
        return self._record(_CANCEL + attempt.key, attempt.nonce, plain, _TRANSFER_GAS, fees, None)


def _is_nonce_used(error: NodeRefused) -> bool:
    words = error.message.lower()
    return "nonce too low" in words or "nonce is too low" in words


def _receipt(tx_hash: TxHash, raw: dict[str, Any]) -> Receipt:
    gas_used = int(raw["gasUsed"])
    price = int(raw.get("effectiveGasPrice", 0))
    return Receipt(tx_hash, int(raw["blockNumber"]), gas_used, Wei(gas_used * price), raw)
