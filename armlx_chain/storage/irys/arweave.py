"""Arweave transactions, format 2: an id that is no data item may be one (specification, section 7).

The header's signature covers the Merkle root of the data, so header and data together are proven by the id:
SHA-256(signature) is the id, the signature is by the owner in the header, the root is that of the data.
"""

from __future__ import annotations

import hashlib
from typing import Final

from armlx_chain.storage.irys.dataroot import Chunking, data_root
from armlx_chain.storage.irys.deephash import deep_hash
from armlx_chain.storage.irys.foreign import Json, base64url_field, decimal_text, same_id, whole_number
from armlx_chain.storage.irys.keys import check_rsa_pss, rsa_key_fault
from armlx_chain.storage.irys.results import Reason, Verdict

__all__ = ["verify_l1"]

_BLOBS: Final = ("owner", "target", "last_tx", "data_root", "signature")
_NUMBERS: Final = ("quantity", "reward", "data_size")
_MAX_TAGS: Final = 4096


def verify_l1(header: Json, wanted: bytes, data: bytes) -> Verdict:
    """Does ``header`` prove that ``data`` is the content of the transaction ``wanted``? Never raises."""
    if whole_number(header.get("format")) != 2:
        return Verdict(Reason.NOT_VERIFIABLE, "only Arweave transactions of format 2 can be proven")
    blobs = {name: base64url_field(header, name) for name in _BLOBS}
    numbers = {name: decimal_text(header.get(name)) for name in _NUMBERS}
    tags = _tags(header.get("tags"))
    if None in blobs.values() or None in numbers.values() or tags is None:
        return Verdict(Reason.NOT_VERIFIABLE, "the transaction's header is not complete")
    read = {name: blob or b"" for name, blob in blobs.items()}
    text = {name: (number or "").encode() for name, number in numbers.items()}
    if hashlib.sha256(read["signature"]).digest() != wanted:
        return Verdict(Reason.ID_MISMATCH, "the transaction's signature belongs to another id")
    if "id" in header and not same_id(header["id"], wanted):
        return Verdict(Reason.ID_MISMATCH, "the header names another id")
    fault = _data_fault(int(text["data_size"]), read["data_root"], data)
    if fault is not None:
        return fault
    reason = rsa_key_fault(read["owner"])
    if reason is None:
        order = (b"2", read["owner"], read["target"], text["quantity"], text["reward"], read["last_tx"])
        message = deep_hash((*order, tags, text["data_size"], read["data_root"]))
        reason = check_rsa_pss(read["owner"], read["signature"], message)
    return Verdict() if reason is None else Verdict(reason, "the transaction's signature does not fit")


def _data_fault(size: int, root: bytes, data: bytes) -> Verdict | None:
    if size != len(data):
        return Verdict(Reason.SIZE_MISMATCH, f"the transaction has {size} bytes of data, not {len(data)}")
    expected = data_root(data, Chunking.ARWEAVE) if data else b""
    if root != expected:
        return Verdict(Reason.BAD_SIGNATURE, "the data does not have the Merkle root that was signed")
    return None


def _tags(given: object) -> list[list[bytes]] | None:
    """Names and values as raw bytes; in the header they are base64url."""
    if not isinstance(given, list) or len(given) > _MAX_TAGS:
        return None
    tags = []
    for tag in given:
        if not isinstance(tag, dict):
            return None
        name, value = base64url_field(tag, "name"), base64url_field(tag, "value")
        if name is None or value is None:
            return None
        tags.append([name, value])
    return tags
