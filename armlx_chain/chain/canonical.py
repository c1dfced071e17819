"""What two nodes must agree on in their answers to one question, and what is not an answer at all.

Nodes differ in spelling, in optional fields and in words of errors. Pure.
"""

from __future__ import annotations

from typing import Any

from armlx_chain.chain.wire import Answer

_BEHIND_WORDS = (
    "header not found",
    "block not found",
    "unknown block",
    "missing trie node",
    "could not find block",
    "block could not be found",
    "blockoutofrange",
    "block height",
)
"""How geth, anvil, reth and evmos say that they do not have (the state of) a block."""
_NUMBERS = frozenset({"eth_chainId", "eth_blockNumber", "eth_getBalance", "eth_getTransactionCount"})
_LOG_FIELDS = ("address", "blockHash", "transactionHash", "logIndex", "data")


def revert_data(answer: Answer) -> str | None:
    """The data of a revert, ``0x`` for one without; None for every other answer."""
    error = answer.get("error")
    if not isinstance(error, dict):
        return None
    data = error.get("data")
    if isinstance(data, str) and data.startswith("0x"):
        return data.lower()
    reverted = error.get("code") == 3 or "revert" in str(error.get("message", "")).lower()
    return "0x" if reverted else None


def is_refusal(answer: Answer) -> bool:
    """An error that is no revert: it says something of the node, not of the chain."""
    return answer.get("error") is not None and revert_data(answer) is None


def is_behind(method: str, answer: Answer) -> bool:
    """Whether the node says that it does not have the block asked for."""
    if method == "eth_getBlockByNumber" and answer.get("error") is None:
        return answer.get("result") is None
    error = answer.get("error")
    words = str(error.get("message", "")).lower() if isinstance(error, dict) else ""
    return any(part in words for part in _BEHIND_WORDS)


def essence(method: str, answer: Answer) -> object:
    """What must be equal in the answers of honest nodes to the same question about the same block."""
    if answer.get("error") is not None:
        return ("revert", revert_data(answer))
    result = answer.get("result")
    if method in _NUMBERS:
        return _number(result)
    if method.startswith("eth_getBlockBy") and isinstance(result, dict):
        return _lower(result.get("hash"))
    if method == "eth_getLogs" and isinstance(result, list):
        return tuple(_log_essence(entry) for entry in result)
    if method == "eth_getTransactionReceipt":
        return receipt_essence(result)
    return _lower(result)


def receipt_essence(receipt: Any) -> object:
    """Block, outcome and logs of a receipt; None for none."""
    if not isinstance(receipt, dict):
        return None
    logs = receipt.get("logs")
    return (
        _lower(receipt.get("transactionHash")),
        _lower(receipt.get("blockHash")),
        _number(receipt.get("blockNumber")),
        _number(receipt.get("status")),
        tuple(_log_essence(entry) for entry in logs) if isinstance(logs, list) else None,
    )


def _log_essence(entry: Any) -> object:
    if not isinstance(entry, dict):
        return None
    topics = entry.get("topics")
    shown = tuple(_lower(topic) for topic in topics) if isinstance(topics, list) else None
    return (*(_lower(entry.get(field)) for field in _LOG_FIELDS), shown)


def _number(value: Any) -> object:
    try:
        return int(value, 16)
    except (TypeError, ValueError):
        return ("not a number", str(value)[:80])


def _lower(value: Any) -> object:
    return value.lower() if isinstance(value, str) else repr(value)[:10_000]
