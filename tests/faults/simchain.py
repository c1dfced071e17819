"""A chain in memory for what no real node does on demand: reorganisations, forgotten and replaced
transactions, a stranger with the same key, views that lag behind. Deterministic; its clock only moves when
somebody sleeps.

Implements what sending needs of a chain (``armlx_chain.chain.access.ChainAccess``). One account; every
transaction's effect is counted by its recipient, on the canonical chain only.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import rlp
from eth_utils import keccak

from armlx_chain.chain.fees import Fees
from armlx_chain.chain.rawtx import Plain, read_signed
from armlx_chain.chain.rpc import Block, BlockId, NodeRefused
from armlx_chain.types import Address, BlockNumber, TxHash, Wei

CHAIN_ID = 31337
GWEI = 10**9
BLOCK_SECONDS = 2.0
ACCOUNT = Address("0x" + "A1" * 20)
MIN_TIP = 2 * GWEI


class SimSigner:
    """Signs in the same encoding without the arithmetic: the simulated chain has one account."""

    address = ACCOUNT

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        fields = [
            transaction["chainId"],
            transaction["nonce"],
            transaction["maxPriorityFeePerGas"],
            transaction["maxFeePerGas"],
            transaction["gas"],
            bytes.fromhex(transaction["to"][2:]),
            transaction["value"],
            bytes.fromhex(transaction["data"][2:]),
            [],
        ]
        seal = int.from_bytes(hashlib.sha256(rlp.encode(fields)).digest(), "big") or 1
        return b"\x02" + bytes(rlp.encode([*fields, 0, seal, seal]))


@dataclass(frozen=True)
class SimTx:
    """A transaction; ``plain`` is None for a stranger's."""

    tx_hash: str
    nonce: int
    fees: Fees
    plain: Plain | None


@dataclass(frozen=True)
class SimBlock:
    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    txs: tuple[SimTx, ...]


@dataclass
class SimChain:
    """Blocks, a pool, and a clock."""

    now: float = 0.0
    base_fee: int = 1_000
    balance_wei: int = 10**24
    congested: bool = False
    """Whether blocks are made without our transactions, whatever they offer."""
    pool: dict[str, SimTx] = field(default_factory=dict)
    blocks: list[SimBlock] = field(default_factory=list)
    broadcasts: Counter[str] = field(default_factory=Counter)
    _salt: int = 0
    _mined_at: float = 0.0

    def __post_init__(self) -> None:
        self.blocks.append(SimBlock(0, b"\x01" * 32, b"\0" * 32, 0, ()))

    # -- what the world does -------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Let time pass; blocks come every two seconds."""
        self.now += seconds
        while self._mined_at + BLOCK_SECONDS <= self.now:
            self._mined_at += BLOCK_SECONDS
            self.mine()

    def mine(self, txs: tuple[SimTx, ...] | None = None) -> SimBlock:
        """Add a block of what can be executed."""
        head = self.blocks[-1]
        self._salt += 1
        digest = hashlib.sha256(head.hash + self._salt.to_bytes(8, "big")).digest()
        taken = self._executable() if txs is None else txs
        block = SimBlock(head.number + 1, digest, head.hash, head.timestamp + 2, taken)
        self.blocks.append(block)
        self._forget_used()
        return block

    def reorganise(self, depth: int, *, keep: bool) -> None:
        """Replace the last blocks by one more of others.

        Args:
            keep: Whether their transactions go back to the pool; otherwise every node forgot them.
        """
        depth = min(depth, len(self.blocks) - 1)
        gone = self.blocks[len(self.blocks) - depth :]
        del self.blocks[len(self.blocks) - depth :]
        if keep:
            self.pool.update({tx.tx_hash: tx for block in gone for tx in block.txs})
        self.mine(())
        for _ in range(depth):
            self.mine(None if keep else ())

    def forget(self) -> None:
        """Every pool loses what it holds."""
        self.pool.clear()

    def stranger(self) -> None:
        """Somebody with the same key gets the next nonce."""
        nonce = self.used()
        seal = hashlib.sha256(b"stranger" + nonce.to_bytes(8, "big")).hexdigest()
        self.mine((SimTx("0x" + seal, nonce, Fees(Wei(1), Wei(1)), None),))

    # -- what can be counted -------------------------------------------------------------------------------

    def used(self, height: int | None = None) -> int:
        """Transactions of the account on the canonical chain."""
        blocks = self.blocks if height is None else self.blocks[: height + 1]
        return sum(len(block.txs) for block in blocks)

    def effects(self) -> Counter[str]:
        """How often each recipient was reached."""
        return Counter(tx.plain.to for block in self.blocks for tx in block.txs if tx.plain is not None)

    def find(self, tx_hash: str) -> SimBlock | None:
        return next((block for block in self.blocks for tx in block.txs if tx.tx_hash == tx_hash), None)

    def take(self, raw: bytes) -> str:
        """A node's rules for its pool."""
        plain, fees = read_signed(raw)
        nonce = int.from_bytes(rlp.decode(raw[1:])[1], "big")
        tx = SimTx("0x" + keccak(raw).hex(), nonce, fees, plain)
        self.broadcasts[tx.tx_hash] += 1
        if tx.tx_hash in self.pool:
            raise NodeRefused("already known")
        if nonce < self.used():
            raise NodeRefused(f"nonce too low: next nonce {self.used()}, tx nonce {nonce}")
        if fees.tip < MIN_TIP:
            raise NodeRefused(f"transaction underpriced: gas tip cap {fees.tip}, minimum needed {MIN_TIP}")
        if self.balance_wei < plain.value + plain.gas * fees.max_fee:
            raise NodeRefused("insufficient funds for gas * price + value")
        rival = next((other for other in self.pool.values() if other.nonce == nonce), None)
        if rival is not None:
            if fees.max_fee * 10 < rival.fees.max_fee * 11 or fees.tip * 10 < rival.fees.tip * 11:
                raise NodeRefused("replacement transaction underpriced")
            del self.pool[rival.tx_hash]
        self.pool[tx.tx_hash] = tx
        return tx.tx_hash

    def _executable(self) -> tuple[SimTx, ...]:
        if self.congested:
            return ()
        taken, nonce = [], self.used()
        while True:
            found = [t for t in self.pool.values() if t.nonce == nonce and t.fees.max_fee >= self.base_fee]
            if not found:
                return tuple(taken)
            taken.append(found[0])
            nonce += 1

    def _forget_used(self) -> None:
        used = self.used()
        self.pool = {key: tx for key, tx in self.pool.items() if tx.nonce >= used}


class SimAccess:
    """An honest endpoint of a simulated chain, which may lag behind by some blocks."""

    expected_chain_id = CHAIN_ID

    def __init__(self, chain: SimChain) -> None:
        self.chain = chain
        self.lag = 0

    def check_chain(self) -> None:
        pass

    def block(self, identifier: BlockId = "latest") -> Block:
        number = self._head() if identifier == "latest" else int(identifier)
        found = self.find_block(number)
        if found is None:
            raise NodeRefused("header not found")
        return found

    def find_block(self, number: int) -> Block | None:
        if not 0 <= number <= self._head():
            return None
        block = self.chain.blocks[number]
        inside = tuple(bytes.fromhex(tx.tx_hash[2:]) for tx in block.txs)
        return Block(BlockNumber(number), block.hash, block.timestamp, block.parent_hash, inside)

    def balance(self, account: Address) -> Wei:
        return Wei(self.chain.balance_wei)

    def nonce(self, account: Address, *, pending: bool) -> int:
        used = self.chain.used(self._head())
        if pending:
            waiting = {tx.nonce for tx in self.chain.pool.values()}
            while used in waiting:
                used += 1
        return used

    def base_fee(self) -> Wei:
        return Wei(self.chain.base_fee)

    def suggested_tip(self) -> Wei:
        return Wei(1)

    def estimate_gas(self, transaction: dict[str, Any], what: str) -> int:
        return 50_000

    def call(self, transaction: dict[str, Any], what: str, block: BlockId = "latest") -> bytes:
        return b""

    def send_raw(self, raw: bytes) -> TxHash:
        return TxHash(self.chain.take(raw))

    def receipt(self, tx_hash: TxHash) -> dict[str, Any] | None:
        block = self.chain.find(tx_hash)
        if block is None or block.number > self._head():
            return None
        return {
            "transactionHash": bytes.fromhex(tx_hash[2:]),
            "blockHash": block.hash,
            "blockNumber": block.number,
            "status": 1,
            "gasUsed": 21_000,
            "effectiveGasPrice": MIN_TIP,
        }

    def _head(self) -> int:
        return max(0, len(self.chain.blocks) - 1 - self.lag)


def forked(block: Block) -> Block:
    """The same height on another branch."""
    return replace(block, hash=hashlib.sha256(block.hash).digest())
