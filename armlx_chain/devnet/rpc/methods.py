"""The JSON-RPC methods of the embedded chain. One function a method; the table at the end names them all.

Each takes the chain and the parameter list and returns JSON. Callers hold the chain's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from armlx_chain import __version__
from armlx_chain.devnet.node.engine import PENDING, Engine
from armlx_chain.devnet.rpc import params as read
from armlx_chain.devnet.rpc.fees import SUGGESTED_TIP, fee_history
from armlx_chain.devnet.rpc.logs import find_logs, read_filter
from armlx_chain.devnet.rpc.shapes import (
    JSON,
    block_json,
    hex_data,
    hex_number,
    pending_json,
    receipt_json,
    transaction_json,
)

Params = list[Any]
Method = Callable[[Engine, Params], JSON]

MAX_MINED_AT_ONCE = 10_000
"""Blocks that one anvil_mine may ask for."""
_SLOT_TEXT_LIMIT = 66


def _take(params: Params, least: int, most: int) -> Params:
    """The parameters, padded with None to ``most``.

    Raises:
        DevnetRpcError: -32602 if there are too few or too many.
    """
    if len(params) < least:
        raise read.invalid(f"missing value for required argument {len(params)}")
    if len(params) > most:
        raise read.invalid(f"too many arguments, want at most {most}")
    return params + [None] * (most - len(params))


def _chain_id(chain: Engine, params: Params) -> JSON:
    _take(params, 0, 0)
    return hex_number(chain.chain_id)


def _net_version(chain: Engine, params: Params) -> JSON:
    _take(params, 0, 0)
    return str(chain.chain_id)


def _block_number(chain: Engine, params: Params) -> JSON:
    _take(params, 0, 0)
    return hex_number(chain.height)


def _gas_price(chain: Engine, params: Params) -> JSON:
    _take(params, 0, 0)
    return hex_number(int(chain.pending_header().base_fee_per_gas) + SUGGESTED_TIP)


def _fee_history(chain: Engine, params: Params) -> JSON:
    count, newest, percentiles = _take(params, 2, 3)
    return fee_history(chain, count, newest, percentiles)


def _block_by_number(chain: Engine, params: Params) -> JSON:
    reference, full = _take(params, 1, 2)
    number = read.block_reference(chain, reference)
    detailed = read.flag(False if full is None else full, "full transaction flag")
    if number == PENDING:
        return pending_json(chain.pending_header(), chain.executable(), full=detailed)
    return block_json(chain.block(number), full=detailed) if number <= chain.height else None


def _block_by_hash(chain: Engine, params: Params) -> JSON:
    block_hash, full = _take(params, 1, 2)
    number = chain.number_of(read.hash32(block_hash, "block hash"))
    detailed = read.flag(False if full is None else full, "full transaction flag")
    return None if number is None else block_json(chain.block(number), full=detailed)


def _transaction_by_hash(chain: Engine, params: Params) -> JSON:
    (text,) = _take(params, 1, 1)
    tx_hash = read.hash32(text, "transaction hash")
    found = chain.find_transaction(tx_hash)
    if found is not None:
        block, index = found
        return transaction_json(block.transactions[index], block, index)
    waiting = chain.pool.get(tx_hash)
    return None if waiting is None else transaction_json(waiting, None, None)


def _receipt(chain: Engine, params: Params) -> JSON:
    (text,) = _take(params, 1, 1)
    found = chain.find_transaction(read.hash32(text, "transaction hash"))
    return None if found is None else receipt_json(*found)


def _balance(chain: Engine, params: Params) -> JSON:
    account, block = _take(params, 1, 2)
    state = chain.state(read.block_reference(chain, block))
    return hex_number(int(state.get_balance(_typed(account))))


def _code(chain: Engine, params: Params) -> JSON:
    account, block = _take(params, 1, 2)
    return hex_data(bytes(chain.state(read.block_reference(chain, block)).get_code(_typed(account))))


def _storage_at(chain: Engine, params: Params) -> JSON:
    account, slot, block = _take(params, 2, 3)
    if not isinstance(slot, str) or not slot.startswith("0x") or not 2 < len(slot) <= _SLOT_TEXT_LIMIT:
        raise read.invalid("invalid storage slot")
    # Slots come as numbers or as padded words; both are read.
    position = read.quantity("0x" + (slot[2:].lstrip("0") or "0"), "storage slot")
    value = int(chain.state(read.block_reference(chain, block)).get_storage(_typed(account), position))
    return hex_data(value.to_bytes(32, "big"))


def _transaction_count(chain: Engine, params: Params) -> JSON:
    account, block = _take(params, 1, 2)
    return hex_number(chain.nonce(read.address(account), read.block_reference(chain, block)))


def _call(chain: Engine, params: Params) -> JSON:
    transaction, block = _take(params, 1, 2)
    return hex_data(chain.call(read.call_request(transaction), read.block_reference(chain, block)))


def _estimate(chain: Engine, params: Params) -> JSON:
    transaction, block = _take(params, 1, 2)
    return hex_number(chain.estimate(read.call_request(transaction), read.block_reference(chain, block)))


def _send_raw(chain: Engine, params: Params) -> JSON:
    (raw,) = _take(params, 1, 1)
    return hex_data(chain.send_raw(read.data(raw, "transaction")))


def _get_logs(chain: Engine, params: Params) -> JSON:
    (wanted,) = _take(params, 1, 1)
    return find_logs(chain, read_filter(chain, wanted))


def _evm_mine(chain: Engine, params: Params) -> JSON:
    (when,) = _take(params, 0, 1)
    if isinstance(when, dict):
        when = when.get("timestamp")
    chain.mine(None if when is None else read.seconds(when, "timestamp"))
    return "0x0"


def _anvil_mine(chain: Engine, params: Params) -> JSON:
    count, interval = _take(params, 0, 2)
    blocks = 1 if count is None else read.seconds(count, "number of blocks")
    if blocks > MAX_MINED_AT_ONCE:
        raise read.invalid(f"at most {MAX_MINED_AT_ONCE} blocks at once")
    step = None if interval is None else read.seconds(interval, "interval")
    for index in range(blocks):
        if index and step:
            chain.increase_time(step)
        chain.mine()
    return None


def _increase_time(chain: Engine, params: Params) -> JSON:
    (step,) = _take(params, 1, 1)
    return chain.increase_time(read.seconds(step, "seconds"))


def _set_next_timestamp(chain: Engine, params: Params) -> JSON:
    (when,) = _take(params, 1, 1)
    chain.set_next_timestamp(read.seconds(when, "timestamp"))
    return None


def _snapshot(chain: Engine, params: Params) -> JSON:
    _take(params, 0, 0)
    return hex_number(chain.snapshot())


def _revert(chain: Engine, params: Params) -> JSON:
    (identifier,) = _take(params, 1, 1)
    return chain.revert(read.quantity(identifier, "snapshot id"))


def _set_automine(chain: Engine, params: Params) -> JSON:
    (enabled,) = _take(params, 1, 1)
    chain.set_automine(read.flag(enabled, "automine flag"))
    return None


def _constant(value: JSON) -> Method:
    def answer(chain: Engine, params: Params) -> JSON:
        _take(params, 0, 0)
        return value

    return answer


def _typed(value: Any) -> Any:
    from eth_typing import Address

    return Address(read.address(value))


METHODS: Mapping[str, Method] = {
    "web3_clientVersion": _constant(f"armlx-devnet/{__version__}/py-evm/cancun"),
    "net_version": _net_version,
    "net_listening": _constant(True),
    "eth_chainId": _chain_id,
    "eth_syncing": _constant(False),
    "eth_accounts": _constant([]),
    "eth_blockNumber": _block_number,
    "eth_gasPrice": _gas_price,
    "eth_maxPriorityFeePerGas": _constant(hex_number(SUGGESTED_TIP)),
    "eth_feeHistory": _fee_history,
    "eth_getBlockByNumber": _block_by_number,
    "eth_getBlockByHash": _block_by_hash,
    "eth_getTransactionByHash": _transaction_by_hash,
    "eth_getTransactionReceipt": _receipt,
    "eth_getTransactionCount": _transaction_count,
    "eth_getBalance": _balance,
    "eth_getCode": _code,
    "eth_getStorageAt": _storage_at,
    "eth_call": _call,
    "eth_estimateGas": _estimate,
    "eth_sendRawTransaction": _send_raw,
    "eth_getLogs": _get_logs,
    "evm_mine": _evm_mine,
    "anvil_mine": _anvil_mine,
    "evm_increaseTime": _increase_time,
    "evm_setNextBlockTimestamp": _set_next_timestamp,
    "evm_snapshot": _snapshot,
    "evm_revert": _revert,
    "evm_setAutomine": _set_automine,
}
