"""Bundles of data items (specification, section 4.8).

32-byte count · count × (32-byte size, 32-byte id) · the items, back to back    (little-endian numbers)
"""

from __future__ import annotations

from typing import Final

from armlx_chain.errors import ItemRejected
from armlx_chain.storage.irys.items import MIN_ITEM_BYTES, CheckedItem, verify_item
from armlx_chain.storage.irys.results import Reason

__all__ = ["split_bundle", "verify_bundle"]

_WORD: Final = 32


def split_bundle(raw: bytes) -> list[tuple[bytes, bytes]]:
    """(id, item bytes) of each entry; the sizes must add up to the whole exactly. Nothing is verified.

    Raises:
        ItemRejected: ``TRUNCATED`` or ``SIZE_MISMATCH``.
    """
    if len(raw) < _WORD:
        raise ItemRejected(Reason.TRUNCATED, "The bundle ends inside its count.")
    count = int.from_bytes(raw[:_WORD], "little")
    if count > (len(raw) - _WORD) // (2 * _WORD):
        raise ItemRejected(Reason.TRUNCATED, "The bundle announces more items than it has room for.")
    position = _WORD * (1 + 2 * count)
    entries = []
    for index in range(count):
        head = _WORD * (1 + 2 * index)
        size = int.from_bytes(raw[head : head + _WORD], "little")
        if size < MIN_ITEM_BYTES or size > len(raw) - position:
            raise ItemRejected(Reason.SIZE_MISMATCH, f"Item {index} of the bundle has an impossible size.")
        entries.append((raw[head + _WORD : head + 2 * _WORD], raw[position : position + size]))
        position += size
    if position != len(raw):
        raise ItemRejected(Reason.SIZE_MISMATCH, f"{len(raw) - position} bytes follow the bundle's items.")
    return entries


def verify_bundle(raw: bytes) -> list[CheckedItem]:
    """Each item checked against the id that the bundle gives it.

    Raises:
        ItemRejected: as :func:`split_bundle`.
    """
    return [verify_item(item, wanted) for wanted, item in split_bundle(raw)]
