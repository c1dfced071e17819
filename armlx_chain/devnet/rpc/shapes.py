"""JSON shapes of blocks, transactions, receipts and logs, as the Ethereum JSON-RPC describes them."""

from __future__ import annotations

from typing import Any

from armlx_chain.devnet.node.evm import Block, Header, LogRecord
from armlx_chain.devnet.node.transactions import SignedTx

JSON = Any
_EMPTY_BLOOM = 256


def hex_number(value: int) -> str:
    return hex(value)


def hex_data(value: bytes) -> str:
    return "0x" + value.hex()


def bloom_hex(bloom: int) -> str:
    return hex_data(bloom.to_bytes(_EMPTY_BLOOM, "big"))


def block_json(block: Block, *, full: bool) -> dict[str, JSON]:
    """A sealed block with its transactions' hashes, or the transactions themselves."""
    shape = header_json(block.header)
    shape["hash"] = hex_data(block.hash)
    shape["size"] = hex_number(block.size)
    shape["transactions"] = [
        transaction_json(tx, block, index) if full else hex_data(tx.hash)
        for index, tx in enumerate(block.transactions)
    ]
    return shape


def pending_json(header: Header, waiting: list[SignedTx], *, full: bool) -> dict[str, JSON]:
    """The block that would be sealed now: it has no hash and no nonce yet."""
    shape = header_json(header)
    shape.update(hash=None, nonce=None, miner=None, size=hex_number(0))
    shape["transactions"] = [
        transaction_json(tx, None, None) if full else hex_data(tx.hash) for tx in waiting
    ]
    return shape


def header_json(header: Header) -> dict[str, JSON]:
    """Every field of a header, enough to compute its hash again."""
    return {
        "parentHash": hex_data(header.parent_hash),
        "sha3Uncles": hex_data(header.uncles_hash),
        "miner": hex_data(header.coinbase),
        "stateRoot": hex_data(header.state_root),
        "transactionsRoot": hex_data(header.transaction_root),
        "receiptsRoot": hex_data(header.receipt_root),
        "logsBloom": bloom_hex(header.bloom),
        "difficulty": hex_number(header.difficulty),
        "number": hex_number(header.block_number),
        "gasLimit": hex_number(header.gas_limit),
        "gasUsed": hex_number(header.gas_used),
        "timestamp": hex_number(header.timestamp),
        "extraData": hex_data(header.extra_data),
        "mixHash": hex_data(header.mix_hash),
        "nonce": hex_data(header.nonce),
        "baseFeePerGas": hex_number(header.base_fee_per_gas),
        "withdrawalsRoot": hex_data(header.withdrawals_root),
        "blobGasUsed": hex_number(header.blob_gas_used),
        "excessBlobGas": hex_number(header.excess_blob_gas),
        "parentBeaconBlockRoot": hex_data(header.parent_beacon_block_root),
        "withdrawals": [],
        "uncles": [],
    }


def transaction_json(tx: SignedTx, block: Block | None, index: int | None) -> dict[str, JSON]:
    """A transaction, mined (with its block) or waiting in the pool."""
    body = tx.body
    price = tx.fee_cap if block is None else tx.effective_price(int(block.header.base_fee_per_gas))
    shape: dict[str, JSON] = {
        "blockHash": None if block is None else hex_data(block.hash),
        "blockNumber": None if block is None else hex_number(block.number),
        "transactionIndex": None if index is None else hex_number(index),
        "hash": hex_data(tx.hash),
        "type": hex_number(tx.type_id),
        "from": hex_data(tx.sender),
        "to": hex_data(bytes(body.to)) if body.to else None,
        "nonce": hex_number(body.nonce),
        "gas": hex_number(body.gas),
        "gasPrice": hex_number(price),
        "value": hex_number(body.value),
        "input": hex_data(bytes(body.data)),
        "r": hex_number(body.r),
        "s": hex_number(body.s),
        "chainId": hex_number(int(body.chain_id or 0)),
    }
    if tx.type_id == 0:
        shape["v"] = hex_number(body.v)  # type: ignore[attr-defined]  # a field of legacy transactions only
    else:
        shape["v"] = shape["yParity"] = hex_number(body.y_parity)
        shape["accessList"] = _access_list_json(body.access_list)
    if tx.type_id == 2:
        shape["maxFeePerGas"] = hex_number(tx.fee_cap)
        shape["maxPriorityFeePerGas"] = hex_number(tx.tip_cap)
    return shape


def receipt_json(block: Block, index: int) -> dict[str, JSON]:
    tx, outcome = block.transactions[index], block.outcomes[index]
    return {
        "transactionHash": hex_data(tx.hash),
        "transactionIndex": hex_number(index),
        "blockHash": hex_data(block.hash),
        "blockNumber": hex_number(block.number),
        "from": hex_data(tx.sender),
        "to": hex_data(bytes(tx.body.to)) if tx.body.to else None,
        "contractAddress": None if outcome.created is None else hex_data(outcome.created),
        "status": hex_number(1 if outcome.succeeded else 0),
        "type": hex_number(tx.type_id),
        "gasUsed": hex_number(outcome.gas_used),
        "cumulativeGasUsed": hex_number(outcome.cumulative_gas),
        "effectiveGasPrice": hex_number(outcome.effective_price),
        "logs": [log_json(log, block, index) for log in outcome.logs],
        "logsBloom": bloom_hex(outcome.bloom),
    }


def log_json(log: LogRecord, block: Block, tx_index: int) -> dict[str, JSON]:
    return {
        "address": hex_data(log.address),
        "topics": [hex_data(topic) for topic in log.topics],
        "data": hex_data(log.data),
        "blockNumber": hex_number(block.number),
        "blockHash": hex_data(block.hash),
        "blockTimestamp": hex_number(block.timestamp),
        "transactionHash": hex_data(block.transactions[tx_index].hash),
        "transactionIndex": hex_number(tx_index),
        "logIndex": hex_number(log.index),
        "removed": False,
    }


def _access_list_json(entries: Any) -> list[dict[str, JSON]]:
    return [
        {
            "address": hex_data(bytes(item[0])),
            "storageKeys": [hex_data(key.to_bytes(32, "big")) for key in item[1]],
        }
        for item in entries
    ]
