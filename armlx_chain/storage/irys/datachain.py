"""Transactions of the Irys datachain, in the three formats seen so far (specification, section 9).

    id = keccak256(signature)        signature over keccak256(RLP(fields)), by ``signer``, no message prefix

The signed fields hold the Merkle root of the data (cut in the datachain's way), so header and data together
are proven by the id.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from armlx_chain.encodings import base58_decode
from armlx_chain.storage.irys.dataroot import Chunking, data_root
from armlx_chain.storage.irys.foreign import Json, whole_number
from armlx_chain.storage.irys.keys import keccak256, recover_key
from armlx_chain.storage.irys.results import Caution, Reason, Verdict

__all__ = ["KNOWN_CHAINS", "preimages", "verify_chain_tx"]

KNOWN_CHAINS: Final = {3282: "mainnet", 1270: "testnet"}

_SIZES: Final = {"id": 32, "anchor": 32, "signer": 20, "dataRoot": 32, "prefixHash": 32, "signature": 65}
_V0: Final = ("anchor", "signer", "dataRoot", "dataSize", "termFee", "ledgerId", "chainId")
_V1A: Final = ("anchor", "signer", "dataRoot", "dataSize", "headerSize", "termFee", "ledgerId", "chainId")
_V1B: Final = (
    *("anchor", "signer", "dataRoot", "dataSize", "prefixSize", "prefixHash"),
    *("termFee", "ledgerId", "chainId"),
)
_ABSENT: Final = (None, "")


def verify_chain_tx(header: Json, wanted: bytes, data: bytes | None) -> Verdict:
    """Does ``header`` prove the transaction ``wanted``, and ``data`` (if given) as its content?

    Never raises for foreign input. Without data only the header is proven.
    """
    signature, signer = _blob(header, "signature"), _blob(header, "signer")
    size, root = whole_number(header.get("dataSize")), _blob(header, "dataRoot")
    candidates = list(preimages(header))
    if signature is None or signer is None or root is None or size is None or not candidates:
        return Verdict(Reason.NOT_VERIFIABLE, "the transaction's header is not of a known format")
    if keccak256(signature) != wanted:
        return Verdict(Reason.ID_MISMATCH, "the transaction's signature belongs to another id")
    if "id" in header and _blob(header, "id") != wanted:
        return Verdict(Reason.ID_MISMATCH, "the header names another id")
    keys = (recover_key(signature, keccak256(candidate)) for candidate in candidates)
    if not any(isinstance(key, bytes) and keccak256(key[1:])[12:] == signer for key in keys):
        return Verdict(Reason.BAD_SIGNATURE, "the transaction's signature does not fit")
    if data is not None and len(data) != size:
        return Verdict(Reason.SIZE_MISMATCH, f"the transaction has {size} bytes of data, not {len(data)}")
    if data is not None and (not data or data_root(data, Chunking.DATACHAIN) != root):
        return Verdict(Reason.BAD_SIGNATURE, "the data does not have the Merkle root that was signed")
    known = whole_number(header.get("chainId")) in KNOWN_CHAINS
    return Verdict(cautions=() if known else (Caution.UNKNOWN_CHAIN,))


def preimages(header: Json) -> Iterator[bytes]:
    """The byte strings that the header's signature may be over, the most likely first.

    Writers differ in how they write a fee that is not there: left out, or as an empty string.
    """
    version = whole_number(header.get("version"))
    if version == 0:
        yield from _encoded(header, 0, _V0, _v0_tails(header))
    elif version == 1 and "prefixHash" in header:
        yield from _encoded(header, 1, _V1B, _v1_tails(header))
    elif version == 1 and "headerSize" in header:
        yield from _encoded(header, 1, _V1A, _v1_tails(header))


def _v0_tails(header: Json) -> Iterator[list[object]]:
    optional = (header.get("bundleFormat"), header.get("permFee"))
    yield [value for value in optional if value not in _ABSENT]


def _v1_tails(header: Json) -> Iterator[list[object]]:
    given = header.get("metadataFormat", header.get("bundleFormat"))
    fee = header.get("permFee")
    formats: list[list[object]] = [[given]] if given not in _ABSENT else [[0], []]
    fees: list[list[object]] = [[fee]] if fee not in _ABSENT else [[], [0]]
    for first, second in itertools.product(formats, fees):
        yield first + second


def _encoded(
    header: Json, version: int, names: tuple[str, ...], tails: Iterator[list[object]]
) -> Iterator[bytes]:
    fields = [_field(header, name) for name in names]
    for tail in tails:
        numbers = [_number(value) for value in tail]
        whole = [_number(version), *fields, *numbers]
        if None not in whole:
            yield _rlp_list([field or b"" for field in whole])


def _field(header: Json, name: str) -> bytes | None:
    return _blob(header, name) if name in _SIZES else _number(header.get(name))


def _blob(header: Json, name: str) -> bytes | None:
    """A binary field of its fixed size, in base58."""
    value = header.get(name)
    data = base58_decode(value) if isinstance(value, str) else None
    return data if data is not None and len(data) == _SIZES[name] else None


def _number(value: object) -> bytes | None:
    """A number as RLP wants it: big-endian, no leading zeros, zero as the empty string."""
    number = whole_number(value)
    return None if number is None else number.to_bytes((number.bit_length() + 7) // 8, "big")


# --- RLP: only what is needed, byte strings in one list -----------------------------------------------------


def _rlp_list(fields: list[bytes]) -> bytes:
    body = b"".join(_rlp_string(field) for field in fields)
    return _rlp_length(len(body), 0xC0) + body


def _rlp_string(data: bytes) -> bytes:
    if len(data) == 1 and data[0] < 0x80:
        return data
    return _rlp_length(len(data), 0x80) + data


def _rlp_length(length: int, offset: int) -> bytes:
    if length < 56:
        return bytes([offset + length])
    encoded = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([offset + 55 + len(encoded)]) + encoded
