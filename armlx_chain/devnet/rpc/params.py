"""Reading JSON-RPC parameters: hex quantities, data, addresses, block references. Strict, as geth is.

Every function raises ``DevnetRpcError`` with code -32602 and a text that names what was wrong.
"""

from __future__ import annotations

import re
from typing import Any

from armlx_chain.devnet.node.calls import CallRequest
from armlx_chain.devnet.node.engine import PENDING, Engine
from armlx_chain.devnet.node.transactions import INVALID_PARAMS, refused
from armlx_chain.errors import DevnetRpcError

_QUANTITY = re.compile(r"0x(?:0|[1-9a-fA-F][0-9a-fA-F]*)")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_LATEST_TAGS = frozenset({"latest", "safe", "finalized"})
"""A devnet never reorganises, so its latest block is final."""
_CALL_KEYS = frozenset(
    {
        "from",
        "to",
        "gas",
        "gasPrice",
        "maxFeePerGas",
        "maxPriorityFeePerGas",
        "value",
        "data",
        "input",
        "nonce",
        "type",
        "chainId",
        "accessList",
    }
)


def invalid(message: str) -> DevnetRpcError:
    """The error for parameters that cannot be read."""
    return DevnetRpcError(INVALID_PARAMS, message)


def quantity(value: Any, name: str = "quantity") -> int:
    """A hex number without leading zeros, at most 256 bits."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value) or len(value) > 66:
        raise invalid(f"invalid {name}: {_shown(value)} is not a hex number")
    return int(value, 16)


def seconds(value: Any, name: str) -> int:
    """A number as the time methods take it: a JSON integer, hex or decimal text."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.isdigit():
        return int(value)
    return quantity(value, name)


def data(value: Any, name: str = "data") -> bytes:
    """Hex text with a whole number of bytes."""
    if not isinstance(value, str) or not _DATA.fullmatch(value):
        raise invalid(f"invalid {name}: {_shown(value)} is not hex data")
    return bytes.fromhex(value[2:])


def fixed(value: Any, size: int, name: str) -> bytes:
    """Hex text of exactly ``size`` bytes."""
    decoded = data(value, name)
    if len(decoded) != size:
        raise invalid(f"invalid {name}: {len(decoded)} bytes, want {size}")
    return decoded


def address(value: Any, name: str = "address") -> bytes:
    return fixed(value, 20, name)


def hash32(value: Any, name: str = "hash") -> bytes:
    return fixed(value, 32, name)


def flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise invalid(f"invalid {name}: {_shown(value)} is not true or false")
    return value


def block_reference(chain: Engine, value: Any) -> int:
    """A block number or :data:`PENDING` from a tag, a hex number, or an EIP-1898 object.

    A number beyond the head is returned as it is; reading that block fails or finds nothing.
    """
    if isinstance(value, dict):
        if (
            set(value) - {"blockHash", "blockNumber", "requireCanonical"}
            or len({*value} - {"requireCanonical"}) != 1
        ):
            raise invalid("invalid block reference: give blockHash or blockNumber")
        if "blockNumber" in value:
            return quantity(value["blockNumber"], "block number")
        number = chain.number_of(hash32(value["blockHash"], "block hash"))
        if number is None:
            raise refused("header for hash not found")
        return number
    if value is None or (isinstance(value, str) and value in _LATEST_TAGS):
        return chain.height
    if value == "earliest":
        return 0
    if value == "pending":
        return PENDING
    return quantity(value, "block number")


def call_request(value: Any) -> CallRequest:
    """The transaction object of eth_call and eth_estimateGas."""
    if not isinstance(value, dict):
        raise invalid("invalid transaction: not an object")
    unknown = sorted(set(value) - _CALL_KEYS)
    if unknown:
        raise invalid(f"invalid transaction: unknown field {unknown[0]!r}")
    given = {key: item for key, item in value.items() if item is not None}
    if "gasPrice" in given and ("maxFeePerGas" in given or "maxPriorityFeePerGas" in given):
        raise invalid("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified")
    price = given.get("gasPrice", given.get("maxFeePerGas", "0x0"))
    tip = given.get("gasPrice", given.get("maxPriorityFeePerGas", "0x0"))
    return CallRequest(
        sender=address(given.get("from", "0x" + "00" * 20), "from"),
        to=address(given["to"], "to") if "to" in given else b"",
        data=_call_data(given),
        value=quantity(given.get("value", "0x0"), "value"),
        gas=quantity(given["gas"], "gas") if "gas" in given else None,
        fee_cap=quantity(price, "gas price"),
        tip_cap=quantity(tip, "priority fee"),
        access_list=_access_list(given.get("accessList", [])),
    )


def _call_data(given: dict[str, Any]) -> bytes:
    if "data" in given and "input" in given and data(given["data"]) != data(given["input"], "input"):
        raise invalid('both "data" and "input" are set and not equal')
    return data(given.get("input", given.get("data", "0x")), "input")


def _access_list(value: Any) -> tuple[tuple[bytes, tuple[int, ...]], ...]:
    if not isinstance(value, list):
        raise invalid("invalid accessList: not a list")
    entries = []
    for item in value:
        if not isinstance(item, dict) or not isinstance(item.get("storageKeys"), list):
            raise invalid("invalid accessList: want objects of address and storageKeys")
        keys = tuple(int.from_bytes(hash32(key, "storage key"), "big") for key in item["storageKeys"])
        entries.append((address(item.get("address")), keys))
    return tuple(entries)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
