"""anvil behind the fault proxy, misbehaving by a seed: forgets, reorganises, lets the base fee jump."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

from eth_utils import keccak, to_checksum_address

from armlx_chain.chain.rpc import Rpc
from armlx_chain.chain.sender import Intent
from armlx_chain.devnet import anvil
from armlx_chain.devnet.rpc.client import RpcClient
from armlx_chain.signing.signer import Signer
from armlx_chain.types import Address, Wei
from tests.faults.faultproxy import Fault, FaultProxy
from tests.faults.schedules import Tally

CHAIN_ID = 31337
GWEI = 10**9
TIMEOUT_SECONDS = 0.4
CALM_TIMEOUT_SECONDS = 60.0
FRESH_EVERY = 100
"""Schedules on one anvil, which keeps every state it ever had."""
COUNTER = Address(to_checksum_address("0x" + "c0" * 20))
COUNTER_CODE = "0x5f3580546001019055" + "00"
"""Adds one to the storage slot that the calldata names: calldataload(0), dup, sload, +1, swap, sstore."""
MIXES: tuple[dict[Fault, float], ...] = (
    {},
    {Fault.LATENCY: 0.05, Fault.RESET: 0.03, Fault.CUT: 0.03},
    {Fault.TOO_MANY: 0.05, Fault.SERVER_ERROR: 0.05, Fault.TIMEOUT: 0.004},
    {Fault.STALE: 0.15, Fault.CONTRADICTION: 0.15},
    {Fault.SWALLOW: 0.3, Fault.DOUBLE: 0.2, Fault.AFTERWARDS: 0.2},
    {Fault.SWALLOW: 0.5, Fault.STALE: 0.05, Fault.LATENCY: 0.05},
    {Fault.DOUBLE: 0.5, Fault.AFTERWARDS: 0.3, Fault.CONTRADICTION: 0.1},
    {Fault.FALSE_REFUSAL: 0.4, Fault.WRONG_CHAIN: 0.05},
    dict.fromkeys(Fault, 0.03) | {Fault.TIMEOUT: 0.003},
)


@contextlib.contextmanager
def anvil_behind_proxy(binary: str) -> Iterator[tuple[FaultProxy, RpcClient]]:
    """A proxy before a fresh anvil, and a way round it."""
    command = [binary, "--host", "127.0.0.1", "--port", "0", "--chain-id", str(CHAIN_ID)]
    # No state is kept on disk, and our own server, which cannot break a chain, is not in front.
    process = anvil._start([*command, "--hardfork", "cancun", "--accounts", "1", "--slots-in-an-epoch", "0"])
    try:
        url = f"http://127.0.0.1:{anvil._wait_for_port(process)}"
        with FaultProxy(url) as proxy:
            yield proxy, RpcClient(url)
    finally:
        if process.stdin is not None:
            process.stdin.close()  # the leash stops anvil
        process.wait(60)


class AnvilWorld:
    """One fresh account, and a chain on which things happen while it sleeps."""

    def __init__(self, seed: int, tally: Tally, proxy: FaultProxy, direct: RpcClient) -> None:
        self._rng = random.Random(f"anvil {seed}")
        self._seed = seed
        self._tally = tally
        self._proxy = proxy
        self._direct = direct
        self._now = 0.0
        self._timeout = TIMEOUT_SECONDS
        self._sent: list[tuple[str, float]] = []
        self.confirmations = self._rng.choice([0, 0, 1, 2, 3])
        self._automine = self.confirmations == 0 and self._rng.random() < 0.5
        self._wild = self._rng.choice([0.0, 0.03, 0.08])
        self.signer = Signer(keccak(f"account {seed}".encode()))
        self._prepare()
        proxy.misbehave(seed=seed, rates=self._rng.choice(MIXES))

    def _prepare(self) -> None:
        call = self._direct.call
        self._proxy.behave()
        call("anvil_dropAllTransactions")
        call("anvil_setCode", COUNTER, COUNTER_CODE)
        call("anvil_setBalance", self.signer.address, hex(10**20))
        call("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
        call("evm_setAutomine", self._automine)
        call("anvil_mine", hex(6))  # reorganisations stay within this schedule

    def connect(self) -> Rpc:
        return Rpc(
            self._proxy.url, expected_chain_id=CHAIN_ID, timeout_seconds=self._timeout, clock=self.clock
        )

    def clock(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._note_sent()
        self._now += seconds
        if not self._automine and self._rng.random() < min(1.0, seconds / 1.0):
            self._direct.call("evm_mine")
        if self._rng.random() < self._wild:
            self._happen()

    def _happen(self) -> None:
        kind = self._rng.choice(["forgotten by the pool", "base fee", "reorganisation"])
        if kind == "forgotten by the pool":
            self._direct.call("anvil_dropAllTransactions")
        elif kind == "base fee":
            self._direct.call("anvil_setNextBlockBaseFeePerGas", hex(self._rng.choice([1, 5, 20]) * GWEI))
        elif self.confirmations:
            depth = self._rng.randint(1, self.confirmations)
            self._direct.call("anvil_reorg", depth, [])
        else:
            return
        self._tally.faults[kind] += 1

    def calm(self) -> None:
        self._note_sent()
        self._proxy.behave()
        self._wild, self._timeout = 0.0, CALM_TIMEOUT_SECONDS
        self._direct.call("anvil_setNextBlockBaseFeePerGas", hex(GWEI))

    def intent(self, number: int) -> Intent:
        return Intent(
            key=f"deed/{number}",
            to=COUNTER,
            data=self._slot(number),
            value=Wei(0),
            what=f"deed {number}",
        )

    def _slot(self, number: int) -> bytes:
        return keccak(f"{self._seed}/{number}".encode())

    def effect(self, number: int) -> int:
        slot = "0x" + self._slot(number).hex()
        return int(self._direct.call("eth_getStorageAt", COUNTER, slot, "latest"), 16)

    def used(self) -> int:
        return int(self._direct.call("eth_getTransactionCount", self.signer.address, "latest"), 16)

    def strangers(self) -> int:
        return 0

    def was_sent_since(self, tx_hash: str, moment: float) -> bool:
        self._note_sent()
        return any(sent == tx_hash and when > moment for sent, when in self._sent)

    def _note_sent(self) -> None:
        self._sent += [(tx_hash, self._now) for tx_hash in self._proxy.forwarded]
        self._proxy.forwarded.clear()


def play(seeds: range, folder: Path, tally: Tally, binary: str) -> float:
    """Play schedules on one anvil; returns the seconds it took."""
    from tests.faults.schedules import play_many

    started = time.monotonic()
    for start in range(seeds.start, seeds.stop, FRESH_EVERY):
        part = range(start, min(start + FRESH_EVERY, seeds.stop))
        with anvil_behind_proxy(binary) as (proxy, direct):
            play_many(part, lambda seed, into: AnvilWorld(seed, into, proxy, direct), folder, tally)
            tally.faults.update(proxy.counts)
    return time.monotonic() - started
