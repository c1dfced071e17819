"""Execution under cancun rules: a state, a block sealed from transactions, a call. No network, clock or lock.

- A block is a function of its parent, its timestamp and its transactions: replaying them gives the same hash.
- Headers are laid out as on a post-merge chain; the coinbase is the zero address, the gas limit constant.
- Every state stays readable, because nothing is pruned from the database.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from armlx_chain.devnet.node.transactions import SignedTx

if TYPE_CHECKING:
    from eth.abc import AtomicDatabaseAPI, ComputationAPI, ReceiptAPI
    from eth.vm.forks.cancun.state import CancunState

Header = Any
"""py-evm's ``CancunBlockHeader``, whose type declares fields that are always there as optional."""

RECURSION_LIMIT = 12_000
"""Python frames. With the block's gas a chain of calls gets some 600 deep (63/64 of the gas for each), and
py-evm takes less than 15 frames for a call."""
GAS_LIMIT = 30_000_000
INITIAL_BASE_FEE = 10**9
"""Wei per gas in the genesis block (EIP-1559)."""
_MIX_SEED = b"armlx-chain devnet randomness"


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One event: 20-byte address, 32-byte topics, data, and its index within the block."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    index: int


@dataclass(frozen=True, slots=True)
class TxOutcome:
    """What a receipt says of one transaction. Gas in units, the price in wei per gas."""

    succeeded: bool
    gas_used: int
    cumulative_gas: int
    effective_price: int
    created: bytes | None
    logs: tuple[LogRecord, ...]
    bloom: int


@dataclass(frozen=True, slots=True)
class Block:
    """A sealed block with what its execution left."""

    header: Header
    hash: bytes
    transactions: tuple[SignedTx, ...]
    outcomes: tuple[TxOutcome, ...]
    size: int

    @property
    def number(self) -> int:
        return int(self.header.block_number)

    @property
    def timestamp(self) -> int:
        return int(self.header.timestamp)


def import_evm() -> None:
    """Import py-evm and its relatives, and take the interpreter's recursion limit down again.

    One of them (py_ecc) sets the limit to 100,000, far beyond what the C stack of any thread holds: from then
    on a JSON text of nested brackets kills the process instead of raising RecursionError.
    """
    import eth.vm.forks.cancun  # noqa: F401

    sys.setrecursionlimit(RECURSION_LIMIT)


def new_database() -> AtomicDatabaseAPI:
    """An empty state database in memory."""
    import_evm()
    from eth.db.atomic import AtomicDB
    from eth.db.backends.memory import MemoryDB

    return AtomicDB(MemoryDB())


def open_state(
    database: AtomicDatabaseAPI,
    header: Header,
    state_root: bytes,
    *,
    chain_id: int,
    ancestors: Iterable[bytes],
) -> CancunState:
    """A state at a root that executes in the context of a header; ``ancestors`` are hashes, parent first."""
    from eth.vm.execution_context import ExecutionContext
    from eth.vm.forks.cancun.state import CancunState
    from eth_typing import Hash32

    context = ExecutionContext(
        coinbase=header.coinbase,
        timestamp=header.timestamp,
        block_number=header.block_number,
        difficulty=0,
        mix_hash=header.mix_hash,
        gas_limit=header.gas_limit,
        prev_hashes=(Hash32(ancestor) for ancestor in ancestors),
        chain_id=chain_id,
        base_fee_per_gas=header.base_fee_per_gas,
        excess_blob_gas=0,
    )
    return CancunState(database, context, Hash32(state_root))


def genesis_block(
    database: AtomicDatabaseAPI, balances: Mapping[bytes, int], *, chain_id: int, timestamp: int
) -> Block:
    """Write the first state, accounts with balances in wei, and return block 0."""
    from eth.constants import BLANK_ROOT_HASH
    from eth.vm.forks.cancun.blocks import CancunBlockHeader
    from eth_typing import Address, BlockNumber

    blank = CancunBlockHeader(
        difficulty=0,
        block_number=BlockNumber(0),
        gas_limit=GAS_LIMIT,
        timestamp=timestamp,
        # Two devnets with different ids must not share a genesis hash: journals are keyed by it.
        extra_data=f"armlx devnet {chain_id}".encode(),
        nonce=bytes(8),
        base_fee_per_gas=INITIAL_BASE_FEE,
    )
    state = open_state(database, blank, BLANK_ROOT_HASH, chain_id=chain_id, ancestors=())
    for address, balance in balances.items():
        state.set_balance(Address(address), balance)
    state.persist()
    return _sealed(blank.copy(state_root=state.state_root), (), ())


def next_header(parent: Header, timestamp: int) -> Header:
    """The header of the block after a parent, before any transaction."""
    from eth.vm.forks.cancun.blocks import CancunBlockHeader
    from eth.vm.forks.london.headers import calculate_expected_base_fee_per_gas
    from eth_typing import BlockNumber, Hash32
    from eth_utils import keccak

    return CancunBlockHeader(
        difficulty=0,
        block_number=BlockNumber(parent.block_number + 1),
        gas_limit=GAS_LIMIT,
        timestamp=timestamp,
        parent_hash=parent.hash,
        state_root=parent.state_root,
        mix_hash=Hash32(keccak(_MIX_SEED + parent.hash)),
        nonce=bytes(8),
        base_fee_per_gas=calculate_expected_base_fee_per_gas(parent),
    )


def seal_block(
    database: AtomicDatabaseAPI,
    parent: Header,
    transactions: Sequence[SignedTx],
    *,
    chain_id: int,
    timestamp: int,
    ancestors: Iterable[bytes],
) -> Block:
    """Execute transactions on a parent and seal the block.

    A transaction that cannot be executed here (nonce, funds, room in the block) is left out; one that fails
    while it runs is included with status 0.

    Args:
        database: The state database; the new state is written to it.
        parent: Header of the parent.
        transactions: Candidates in order.
        chain_id: What the CHAINID instruction answers.
        timestamp: Seconds, later than the parent's.
        ancestors: Hashes of earlier blocks, the parent's first.
    """
    from eth.db.trie import make_trie_root_and_nodes

    header = next_header(parent, timestamp)
    state = open_state(database, header, parent.state_root, chain_id=chain_id, ancestors=ancestors)
    included, outcomes, receipts = _execute_all(state, header, transactions)
    state.persist()
    transaction_root, _ = make_trie_root_and_nodes([tx.body for tx in included])
    receipt_root, _ = make_trie_root_and_nodes(receipts)
    bloom = 0
    for outcome in outcomes:
        bloom |= outcome.bloom
    final = header.copy(
        state_root=state.state_root,
        transaction_root=transaction_root,
        receipt_root=receipt_root,
        bloom=bloom,
        gas_used=outcomes[-1].cumulative_gas if outcomes else 0,
    )
    return _sealed(final, tuple(included), tuple(outcomes))


def _execute_all(
    state: CancunState, header: Header, transactions: Sequence[SignedTx]
) -> tuple[list[SignedTx], list[TxOutcome], list[ReceiptAPI]]:
    from eth.vm.forks.cancun import CancunVM
    from eth_utils import ValidationError

    included: list[SignedTx] = []
    outcomes: list[TxOutcome] = []
    receipts: list[ReceiptAPI] = []
    gas_used = log_count = 0
    for transaction in transactions:
        if gas_used + transaction.body.gas > header.gas_limit or not _can_pay(state, transaction):
            continue
        state.lock_changes()
        try:
            computation = state.apply_transaction(transaction.body)
        except ValidationError:  # raised before any change of state
            continue
        running = header.copy(gas_used=gas_used)
        receipt = CancunVM.make_receipt(running, transaction.body, computation, state)
        outcome = _outcome(transaction, computation, receipt, header, gas_used, log_count)
        gas_used, log_count = outcome.cumulative_gas, log_count + len(outcome.logs)
        included.append(transaction)
        outcomes.append(outcome)
        receipts.append(receipt)
    return included, outcomes, receipts


def _can_pay(state: CancunState, transaction: SignedTx) -> bool:
    from eth_typing import Address

    return int(state.get_balance(Address(transaction.sender))) >= transaction.max_cost


def _outcome(
    transaction: SignedTx,
    computation: ComputationAPI,
    receipt: ReceiptAPI,
    header: Header,
    gas_before: int,
    first_log: int,
) -> TxOutcome:
    logs = tuple(
        LogRecord(bytes(address), tuple(topic.to_bytes(32, "big") for topic in topics), bytes(data), index)
        for index, (address, topics, data) in enumerate(computation.get_log_entries(), start=first_log)
    )
    cumulative = int(receipt.gas_used)
    return TxOutcome(
        succeeded=not computation.is_error,
        gas_used=cumulative - gas_before,
        cumulative_gas=cumulative,
        effective_price=transaction.effective_price(int(header.base_fee_per_gas)),
        created=bytes(computation.msg.storage_address) if computation.msg.is_create else None,
        logs=logs,
        bloom=int(receipt.bloom),
    )


def _sealed(header: Header, transactions: tuple[SignedTx, ...], outcomes: tuple[TxOutcome, ...]) -> Block:
    import rlp  # type: ignore[import-untyped]

    wire = [rlp.decode(tx.raw) if tx.type_id == 0 else tx.raw for tx in transactions]
    size = len(rlp.encode([rlp.decode(rlp.encode(header)), wire, [], []]))
    return Block(
        header=header, hash=bytes(header.hash), transactions=transactions, outcomes=outcomes, size=size
    )
