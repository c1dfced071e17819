"""EIP-712 typed data, hashed by this project's own small encoder.

Only what claims and attestations need: ``string``, ``address``, ``bool``, ``bytes32``, ``uintN``, ``intN``,
structures and arrays of structures. The domain is always (name ``armlx-chain``, version ``1``, chain id,
verifying contract = the ledger).

    digest = keccak256(0x19 0x01 ‖ hashStruct(domain) ‖ hashStruct(message))
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from eth_utils import is_checksum_address, keccak

from armlx_chain.errors import FormatError
from armlx_chain.formats.canonical import MAX_SAFE_INTEGER
from armlx_chain.formats.fields import Fields
from armlx_chain.types import Address

__all__ = ["DOMAIN_KEYS", "DOMAIN_NAME", "DOMAIN_VERSION", "Domain", "TypedData"]

DOMAIN_NAME: Final = "armlx-chain"
DOMAIN_VERSION: Final = "1"

Member = tuple[str, str]
"""(type, name) of a structure's member, in order."""

_DOMAIN_TYPE: tuple[Member, ...] = (
    ("string", "name"),
    ("string", "version"),
    ("uint256", "chainId"),
    ("address", "verifyingContract"),
)
_INTEGER = re.compile(r"(u?)int([0-9]{1,3})")


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a signature is valid: one chain, one ledger."""

    chain_id: int
    ledger: Address

    def to_json(self) -> dict[str, object]:
        return {
            "chainId": self.chain_id,
            "name": DOMAIN_NAME,
            "verifyingContract": self.ledger,
            "version": DOMAIN_VERSION,
        }

    @classmethod
    def read(cls, fields: Fields) -> Domain:
        """Read the domain of a document; ``fields`` is opened with ``DOMAIN_KEYS``.

        Raises:
            FormatError: for another name or version, or an unacceptable chain id or ledger.
        """
        if fields.text("name") != DOMAIN_NAME or fields.text("version") != DOMAIN_VERSION:
            fields.fail(f"the domain must be {DOMAIN_NAME!r}, version {DOMAIN_VERSION!r}.", "name")
        return cls(fields.integer("chainId"), fields.address("verifyingContract"))


DOMAIN_KEYS: Final = tuple(name for _, name in _DOMAIN_TYPE)


@dataclass(frozen=True, slots=True)
class TypedData:
    """A message of a declared type in a domain.

    Attributes:
        domain: Where it is valid.
        primary_type: Name of the message's structure.
        types: All structures by name, the domain's excepted.
        message: The values; integers as ``int``, ``bytes32`` as ``bytes``.
    """

    domain: Domain
    primary_type: str
    types: Mapping[str, tuple[Member, ...]]
    message: Mapping[str, Any]

    def digest(self) -> bytes:
        """The 32 bytes that are signed.

        Raises:
            FormatError: if a value does not fit its type.
        """
        if not 0 <= self.domain.chain_id <= MAX_SAFE_INTEGER:
            raise FormatError("The chain id is out of range.")
        return bytes(keccak(b"\x19\x01" + self.domain_separator() + self.struct_hash()))

    def domain_separator(self) -> bytes:
        return _hash_struct("EIP712Domain", self.domain.to_json(), {"EIP712Domain": _DOMAIN_TYPE})

    def struct_hash(self) -> bytes:
        """``hashStruct(message)``."""
        return _hash_struct(self.primary_type, self.message, self.types)

    def encoded_type(self) -> str:
        """``encodeType`` of the message's structure."""
        return _encode_type(self.primary_type, self.types)

    def full_message(self) -> dict[str, Any]:
        """The JSON form that wallets take for ``eth_signTypedData_v4``, with ``bytes32`` as hex."""
        types = {
            name: [{"name": member, "type": kind} for kind, member in members]
            for name, members in {"EIP712Domain": _DOMAIN_TYPE, **self.types}.items()
        }
        return {
            "types": types,
            "primaryType": self.primary_type,
            "domain": self.domain.to_json(),
            "message": _hexed(self.message),
        }


def _hexed(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Mapping):
        return {key: _hexed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hexed(item) for item in value]
    return value


def _encode_type(name: str, types: Mapping[str, tuple[Member, ...]]) -> str:
    """The structure itself, then every structure it uses, by name."""
    used: set[str] = set()
    waiting = [name]
    while waiting:
        for kind, _ in types[waiting.pop()]:
            inner = kind.removesuffix("[]")
            if inner in types and inner not in used:
                used.add(inner)
                waiting.append(inner)
    ordered = [name, *sorted(used - {name})]
    return "".join(f"{one}({','.join(f'{kind} {member}' for kind, member in types[one])})" for one in ordered)


def _hash_struct(name: str, message: Mapping[str, Any], types: Mapping[str, tuple[Member, ...]]) -> bytes:
    words = [keccak(text=_encode_type(name, types))]
    words += [_encode(kind, message[member], types) for kind, member in types[name]]
    return bytes(keccak(b"".join(words)))


def _encode(kind: str, value: Any, types: Mapping[str, tuple[Member, ...]]) -> bytes:
    if kind.endswith("[]"):
        return bytes(keccak(b"".join(_encode(kind[:-2], item, types) for item in value)))
    if kind in types:
        return _hash_struct(kind, value, types)
    if kind == "string" and isinstance(value, str):
        return bytes(keccak(text=value))
    if kind == "address" and isinstance(value, str) and is_checksum_address(value):
        return bytes.fromhex(value[2:]).rjust(32, b"\0")
    if kind == "bytes32" and isinstance(value, bytes) and len(value) == 32:
        return value
    if kind == "bool" and isinstance(value, bool):
        return int(value).to_bytes(32, "big")
    return _encode_integer(kind, value)


def _encode_integer(kind: str, value: Any) -> bytes:
    match = _INTEGER.fullmatch(kind)
    if match is None or isinstance(value, bool) or not isinstance(value, int):
        raise FormatError(f"A {type(value).__name__} is no value of the type {kind}.")
    bits, signed = int(match.group(2)), not match.group(1)
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    if not low <= value < high:
        raise FormatError(f"An integer of the message does not fit {kind}.")
    return value.to_bytes(32, "big", signed=signed)
