"""The embedded chain: one block a transaction, every past state readable, inputs journalled.

- Not thread-safe: whoever serves it holds one lock round every call.
- A block is written to the journal before anyone can see it; a replay must give the same hashes.
- The zero gas price of calls never reaches a sealed block.

Usage::

    chain = Engine.open(Journal(path), chain_id=31337, balances={address: wei}, wall=time.time)
    tx_hash = chain.send_raw(signed)
    chain.block(chain.height).outcomes
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from armlx_chain.devnet.node.calls import CallRequest, estimate_gas, execute_call
from armlx_chain.devnet.node.clock import ChainClock
from armlx_chain.devnet.node.evm import (
    GAS_LIMIT,
    Block,
    Header,
    genesis_block,
    new_database,
    next_header,
    open_state,
    seal_block,
)
from armlx_chain.devnet.node.journal import RULES, Journal, damaged
from armlx_chain.devnet.node.pool import Pool
from armlx_chain.devnet.node.transactions import SignedTx, decode_transaction, refused
from armlx_chain.errors import DevnetError, DevnetRpcError

if TYPE_CHECKING:
    from eth.vm.forks.cancun.state import CancunState

BLOCKHASH_DEPTH = 256
PENDING = -1
"""Block reference: the latest state as the next block would see it."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    height: int
    offset: int


class Engine:
    """A chain in memory, rebuilt from its journal."""

    def __init__(
        self, chain_id: int, genesis_timestamp: int, balances: Mapping[bytes, int], clock: ChainClock
    ) -> None:
        self.chain_id = chain_id
        self.clock = clock
        self.pool = Pool()
        self.automine = True
        self._database = new_database()
        self._journal: Journal | None = None
        self._snapshots: dict[int, _Snapshot] = {}
        self._snapshot_ids = itertools.count(1)
        genesis = genesis_block(self._database, balances, chain_id=chain_id, timestamp=genesis_timestamp)
        self._blocks = [genesis]
        self._number_by_hash = {genesis.hash: 0}
        self._place_by_tx: dict[bytes, tuple[int, int]] = {}

    @classmethod
    def open(
        cls, journal: Journal, *, chain_id: int, balances: Mapping[bytes, int], wall: Callable[[], float]
    ) -> Engine:
        """Begin a chain in an empty journal, or replay the journal.

        Args:
            journal: Where the chain's inputs are kept.
            chain_id: The id every transaction must carry.
            balances: Wei of each 20-byte address in the genesis block.
            wall: The clock, seconds since the epoch.

        The chain closes the journal, also when it cannot be opened.

        Raises:
            DevnetError: if the journal belongs to another chain or does not give the hashes it records.
        """
        try:
            chain = _begin(cls, journal, chain_id, balances, ChainClock(wall))
        except BaseException:
            journal.close()
            raise
        chain._journal = journal
        return chain

    # -- reading -------------------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """Number of the latest block."""
        return len(self._blocks) - 1

    @property
    def head(self) -> Block:
        return self._blocks[-1]

    def block(self, number: int) -> Block:
        """A sealed block.

        Raises:
            DevnetRpcError: -32000 if the chain is not that long.
        """
        if not 0 <= number <= self.height:
            raise refused("header not found")
        return self._blocks[number]

    def number_of(self, block_hash: bytes) -> int | None:
        """The number of a block on this chain, or None."""
        return self._number_by_hash.get(block_hash)

    def find_transaction(self, tx_hash: bytes) -> tuple[Block, int] | None:
        """The block that holds a transaction, and its index there."""
        place = self._place_by_tx.get(tx_hash)
        return None if place is None else (self._blocks[place[0]], place[1])

    def blocks(self, first: int, last: int) -> Iterator[Block]:
        """Sealed blocks of a range, both ends included, as far as the chain goes."""
        yield from self._blocks[max(first, 0) : last + 1]

    def pending_header(self) -> Header:
        """The header that a block sealed now would start from."""
        return next_header(self.head.header, self.clock.next_timestamp(self.head.timestamp))

    def state(self, number: int = PENDING, *, free: bool = False) -> CancunState:
        """The state after a block, executing in that block's context.

        Args:
            number: A block number or :data:`PENDING`.
            free: Whether the base fee reads as zero, as for calls without a price.

        Raises:
            DevnetRpcError: -32000 for an unknown block.
        """
        header = self.pending_header() if number == PENDING else self.block(number).header
        context = header.copy(base_fee_per_gas=0) if free else header
        return open_state(
            self._database,
            context,
            header.state_root,
            chain_id=self.chain_id,
            ancestors=self._ancestors(int(header.block_number)),
        )

    def nonce(self, address: bytes, number: int) -> int:
        """Transactions an account has sent, the pool's included for :data:`PENDING`."""
        from eth_typing import Address

        nonce = int(self.state(number).get_nonce(Address(address)))
        return self.pool.pending_nonce(address, nonce) if number == PENDING else nonce

    def call(self, request: CallRequest, number: int) -> bytes:
        """Execute without a trace; see :func:`execute_call`."""
        return execute_call(self.state(number, free=request.fee_cap == 0), request)

    def estimate(self, request: CallRequest, number: int) -> int:
        """Gas that a transaction needs; see :func:`estimate_gas`."""
        return estimate_gas(lambda: self.state(number, free=request.fee_cap == 0), request)

    # -- changing ------------------------------------------------------------------------------------------

    def send_raw(self, raw: bytes) -> bytes:
        """Take a signed transaction in, mine it at once where that is possible, and return its hash.

        Raises:
            DevnetRpcError: with geth's code and words, if it is refused.
        """
        from eth_typing import Address

        transaction = decode_transaction(raw, self.chain_id)
        if transaction.body.gas > GAS_LIMIT:
            raise refused("exceeds block gas limit")
        state = self.state(self.height)
        sender = Address(transaction.sender)
        self.pool.add(
            transaction, next_nonce=int(state.get_nonce(sender)), balance=int(state.get_balance(sender))
        )
        if self.automine:
            self._mine_one_by_one()
        return transaction.hash

    def mine(self, timestamp: int | None = None) -> Block:
        """Seal one block of everything in the pool that can be executed.

        Raises:
            DevnetRpcError: if the timestamp in seconds is not later than the latest block's.
        """
        if timestamp is not None:
            self.clock.set_exact(timestamp, self.head.timestamp)
        return self._commit(self._build(self.executable(), self.clock.next_timestamp(self.head.timestamp)))

    def set_automine(self, enabled: bool) -> None:
        """Choose between a block for every transaction and blocks on demand."""
        self.automine = enabled
        if enabled:
            self._mine_one_by_one()

    def increase_time(self, seconds: int) -> int:
        """Move the clock forward, for the next block on. Returns its offset in seconds."""
        offset = self.clock.increase(seconds, self.head.timestamp)
        self._record({"clock": offset})
        return offset

    def set_next_timestamp(self, timestamp: int) -> None:
        """Demand the next block's timestamp in seconds."""
        self.clock.set_exact(timestamp, self.head.timestamp)

    def snapshot(self) -> int:
        """Remember the chain as it is; returns an id for :meth:`revert`."""
        identifier = next(self._snapshot_ids)
        self._snapshots[identifier] = _Snapshot(self.height, self.clock.offset)
        return identifier

    def revert(self, identifier: int) -> bool:
        """Drop all blocks after a snapshot, that snapshot and the later ones. False if there is none."""
        snapshot = self._snapshots.get(identifier)
        if snapshot is None:
            return False
        self._record({"rewind": snapshot.height})
        self._rewind(snapshot.height)
        self.clock.offset, self.clock.exact = snapshot.offset, None
        self._record({"clock": snapshot.offset})
        self.pool.clear()
        self._snapshots = {key: value for key, value in self._snapshots.items() if key < identifier}
        return True

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    # -- inside --------------------------------------------------------------------------------------------

    def executable(self) -> list[SignedTx]:
        """What a block sealed now would try to execute, in order."""
        from eth_typing import Address

        state = self.state(self.height)
        base_fee = int(self.pending_header().base_fee_per_gas)
        return list(self.pool.executable(lambda sender: int(state.get_nonce(Address(sender))), base_fee))

    def _mine_one_by_one(self) -> None:
        """A block for each executable transaction, the ones that a mined one makes executable included."""
        while any(self._mine_alone(candidate) for candidate in self.executable()):
            pass

    def _mine_alone(self, transaction: SignedTx) -> bool:
        """Seal a block of one transaction; False, and no block, if it cannot be executed now."""
        block = self._build([transaction], self.clock.next_timestamp(self.head.timestamp))
        if not block.transactions:
            return False
        self._commit(block)
        return True

    def _build(self, transactions: list[SignedTx], timestamp: int) -> Block:
        return seal_block(
            self._database,
            self.head.header,
            transactions,
            chain_id=self.chain_id,
            timestamp=timestamp,
            ancestors=self._ancestors(self.height + 1),
        )

    def _commit(self, block: Block) -> Block:
        self.clock.sealed(block.timestamp)
        raw = [tx.raw.hex() for tx in block.transactions]
        facts = {"t": block.timestamp, "txs": raw, "offset": self.clock.offset, "hash": block.hash.hex()}
        self._record({"block": facts})
        self._attach(block)
        return block

    def _attach(self, block: Block) -> None:
        self._blocks.append(block)
        self._number_by_hash[block.hash] = block.number
        for index, transaction in enumerate(block.transactions):
            self._place_by_tx[transaction.hash] = (block.number, index)
            self.pool.drop_mined(transaction.sender, transaction.body.nonce + 1)

    def _rewind(self, height: int) -> None:
        for block in self._blocks[height + 1 :]:
            del self._number_by_hash[block.hash]
            for transaction in block.transactions:
                del self._place_by_tx[transaction.hash]
        del self._blocks[height + 1 :]

    def _ancestors(self, number: int) -> Iterator[bytes]:
        for index in range(number - 1, max(number - 1 - BLOCKHASH_DEPTH, -1), -1):
            yield self._blocks[index].hash

    def _record(self, entry: dict[str, Any]) -> None:
        if self._journal is not None:
            self._journal.append(entry)


def _begin(
    cls: type[Engine], journal: Journal, chain_id: int, balances: Mapping[bytes, int], clock: ChainClock
) -> Engine:
    if journal.is_empty:
        chain = cls(chain_id, int(clock.wall()), balances, clock)
        genesis = chain.block(0)
        facts = {
            "chain_id": chain_id,
            "timestamp": genesis.timestamp,
            "rules": RULES,
            "hash": genesis.hash.hex(),
        }
        journal.append({"genesis": facts})
        return chain
    entries = journal.take_entries()
    chain = _begin_replay(cls, journal, next(entries), chain_id, balances, clock)
    for entry in entries:
        _replay(chain, journal, entry)
    return chain


def _begin_replay(
    cls: type[Engine],
    journal: Journal,
    entry: dict[str, Any],
    chain_id: int,
    balances: Mapping[bytes, int],
    clock: ChainClock,
) -> Engine:
    genesis = entry.get("genesis")
    if not isinstance(genesis, dict) or genesis.get("rules") != RULES:
        raise damaged(journal.path, f"it does not begin with a genesis entry of the rules {RULES}")
    if genesis.get("chain_id") != chain_id:
        raise DevnetError(
            f"This devnet's chain has id {genesis.get('chain_id')}, not {chain_id}.",
            next_step="Give the same chain id as before, or another directory.",
        )
    chain = cls(chain_id, int(genesis["timestamp"]), balances, clock)
    if chain.block(0).hash.hex() != genesis.get("hash"):
        raise damaged(journal.path, "its genesis block has another hash here")
    return chain


def _replay(chain: Engine, journal: Journal, entry: dict[str, Any]) -> None:
    """Apply one journal entry.

    Raises:
        DevnetError: if it is malformed or leads to another block than it did before.
    """
    try:
        if "block" in entry:
            _replay_block(chain, journal, entry["block"])
        elif "clock" in entry:
            chain.clock.offset = int(entry["clock"])
        elif "rewind" in entry:
            chain._rewind(chain.block(int(entry["rewind"])).number)
        else:
            raise damaged(journal.path, f"unknown entry {sorted(entry)}")
    except (KeyError, TypeError, ValueError, DevnetRpcError) as exc:
        raise damaged(journal.path, f"an entry is malformed ({exc})") from exc


def _replay_block(chain: Engine, journal: Journal, record: dict[str, Any]) -> None:
    transactions = [decode_transaction(bytes.fromhex(raw), chain.chain_id) for raw in record["txs"]]
    block = chain._build(transactions, int(record["t"]))
    if block.hash.hex() != record["hash"]:
        raise damaged(journal.path, f"block {block.number} has another hash here")
    chain._attach(block)
    chain.clock.offset = int(record["offset"])
