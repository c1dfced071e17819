"""A simulated chain that misbehaves by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

from eth_utils import keccak, to_checksum_address

from armlx_chain.chain.rpc import Block, BlockId, NodeRefused
from armlx_chain.chain.sender import Intent
from armlx_chain.errors import RpcUnavailable
from armlx_chain.types import Address, TxHash, Wei
from tests.faults.schedules import Tally
from tests.faults.simchain import GWEI, SimAccess, SimChain, SimSigner

T = TypeVar("T")
FALSE_WORDS = (
    "already known",
    "nonce too low",
    "nonce too high",
    "replacement transaction underpriced",
    "transaction underpriced: minimum needed 3000000000",
    "insufficient funds for gas * price + value",
    "txpool is full",
    "429 Too Many Requests",
    "intrinsic gas too low",
    "max fee per gas less than block base fee",
    "no words that anybody knows",
)


class FaultyAccess(SimAccess):
    """An endpoint that fails, lags, contradicts itself, swallows, doubles and refuses with false words."""

    def __init__(self, chain: SimChain, rng: random.Random, tally: Tally, rate: float) -> None:
        super().__init__(chain)
        self.rng = rng
        self.tally = tally
        self.rate = rate
        self.sent: list[tuple[str, float]] = []

    def _strikes(self, kind: str, share: float = 1.0) -> bool:
        if self.rng.random() >= self.rate * share:
            return False
        self.tally.faults[kind] += 1
        return True

    def _read(self, read: Callable[[], T]) -> T:
        if self._strikes("unreachable"):
            raise RpcUnavailable("simulated: no answer")
        self.lag = self.rng.randint(1, 3) if self._strikes("stale head") else 0
        try:
            return read()
        finally:
            self.lag = 0

    def block(self, identifier: BlockId = "latest") -> Block:
        return self._read(lambda: super(FaultyAccess, self).block(identifier))

    def find_block(self, number: int) -> Block | None:
        return self._read(lambda: super(FaultyAccess, self).find_block(number))

    def nonce(self, account: Address, *, pending: bool) -> int:
        return self._read(lambda: super(FaultyAccess, self).nonce(account, pending=pending))

    def base_fee(self) -> Wei:
        return self._read(super().base_fee)

    def receipt(self, tx_hash: TxHash) -> dict[str, Any] | None:
        honest = self._read(lambda: super(FaultyAccess, self).receipt(tx_hash))
        if not self._strikes("contradictory receipt"):
            return honest
        head = self.chain.blocks[-1]
        lie = honest or {
            "transactionHash": bytes.fromhex(tx_hash[2:]),
            "blockHash": head.hash,
            "blockNumber": head.number,
            "status": 1,
            "gasUsed": 21_000,
        }
        change = self.rng.choice(
            [{"status": 0}, {"blockHash": b"\x07" * 32}, {"transactionHash": b"\x08" * 32}, {}, None]
        )
        return None if change is None else {**lie, **change}

    def send_raw(self, raw: bytes) -> TxHash:
        tx_hash = TxHash("0x" + keccak(raw).hex())
        if self._strikes("reset before the broadcast"):
            raise RpcUnavailable("simulated: connection reset")
        if self._strikes("false refusal", 0.5):
            raise NodeRefused(self.rng.choice(FALSE_WORDS))
        self.sent.append((tx_hash, self.chain.now))
        if self._strikes("dropped broadcast"):
            return tx_hash
        result = super().send_raw(raw)
        if self._strikes("duplicated broadcast"):
            super().send_raw(raw)
        if self._strikes("error after the broadcast"):
            raise RpcUnavailable("simulated: 502 after forwarding")
        return result


class SimWorld:
    """One account on a simulated chain where things happen while it sleeps."""

    signer = SimSigner()

    def __init__(self, seed: int, tally: Tally) -> None:
        self._rng = random.Random(f"world {seed}")
        self._tally = tally
        self.chain = SimChain()
        self.confirmations = self._rng.choice([0, 1, 2, 3, 5])
        rate = self._rng.choice([0.0, 0.02, 0.06, 0.12])
        self.access = FaultyAccess(self.chain, self._rng, tally, rate)
        self._wild = self._rng.choice([0.02, 0.06, 0.12])
        self._strangers = 0
        self._may_intrude = self._rng.random() < 0.1
        self.chain.pass_time(20.0)

    def connect(self) -> FaultyAccess:
        return self.access

    def clock(self) -> float:
        return self.chain.now

    def sleep(self, seconds: float) -> None:
        self.chain.pass_time(seconds)
        if self._rng.random() < self._wild:
            self._happen()

    def _happen(self) -> None:
        kinds = ["forgotten by every pool", "congestion", "base fee", "reorganisation"]
        if self._may_intrude and not self._strangers:
            kinds.append("a stranger with the key")
        kind = self._rng.choice(kinds)
        if kind == "forgotten by every pool":
            self.chain.forget()
        elif kind == "congestion":
            self.chain.congested = not self.chain.congested
        elif kind == "base fee":
            self.chain.base_fee = self._rng.choice([1_000, 1_000, 3 * GWEI, 25 * GWEI])
        elif kind == "a stranger with the key":
            self._strangers += 1
            self.chain.stranger()
        elif self.confirmations:
            self._reorganise()
        self._tally.faults[kind] += 1

    def _reorganise(self) -> None:
        depth = self._rng.randint(1, self.confirmations)
        before = self._foreign()
        self.chain.reorganise(depth, keep=self._rng.random() < 0.5)
        self._strangers -= before - self._foreign()

    def _foreign(self) -> int:
        return sum(tx.plain is None for block in self.chain.blocks for tx in block.txs)

    def calm(self) -> None:
        self.access.rate = self._wild = 0.0
        self.chain.congested = False
        self.chain.base_fee = 1_000

    def intent(self, number: int) -> Intent:
        to = to_checksum_address(keccak(f"recipient {number}".encode())[:20])
        return Intent(key=f"deed/{number}", to=Address(to), data=b"", value=Wei(1), what=f"deed {number}")

    def effect(self, number: int) -> int:
        return self.chain.effects()[self.intent(number).to]

    def used(self) -> int:
        return self.chain.used()

    def strangers(self) -> int:
        return self._foreign()

    def was_sent_since(self, tx_hash: str, moment: float) -> bool:
        return any(sent == tx_hash and when > moment for sent, when in self.access.sent)
