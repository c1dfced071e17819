"""ANS-104 data items: bytes to id (specification, section 4).

The id is SHA-256 of the signature field and commits to nothing else. What ties it to the content is the
signature over the deep hash of eight blobs, among them the owner's key. Fields that are *not* signed (the
presence bytes, the number of tags, the total length) are therefore read by strict rules: one item has exactly
one form of bytes here.

Usage::

    item = parse_item(raw)                       # ItemRejected if the bytes break a rule
    checked = verify_item(raw, wanted_id)        # never raises for foreign bytes
    if checked.verdict.accepted: use(checked.item.data)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from armlx_chain.errors import ItemRejected
from armlx_chain.storage.irys.avro import MAX_TAG_BYTES, Tag, decode_tags, tag_cautions
from armlx_chain.storage.irys.deephash import deep_hash
from armlx_chain.storage.irys.results import Reason, Verdict
from armlx_chain.storage.irys.schemes import SCHEMES, SignatureType

__all__ = ["MIN_ITEM_BYTES", "CheckedItem", "Item", "assemble", "parse_item", "signed_message", "verify_item"]

MIN_ITEM_BYTES: Final = 80
"""No valid item is shorter (specification, section 4.1)."""
_OPTIONAL_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Item:
    """A parsed item; being parsed says nothing about its signature.

    Attributes:
        tag_bytes: The tags as they stand on the wire, which is what is signed.
        data: The payload.
    """

    scheme: SignatureType
    signature: bytes
    owner: bytes
    target: bytes
    anchor: bytes
    tags: tuple[Tag, ...]
    tag_bytes: bytes
    data: bytes

    @property
    def id(self) -> bytes:
        """SHA-256 of the signature field."""
        return hashlib.sha256(self.signature).digest()

    @property
    def address(self) -> str | None:
        """The owner as people know it; ``None`` for types without an address."""
        return self.scheme.address(self.owner)

    def tag(self, name: str) -> str | None:
        """The first value of the tag ``name``, compared without regard to case: a hint, not a key."""
        return next((tag.value for tag in self.tags if tag.name.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class CheckedItem:
    """A verdict, and the item as far as it could be parsed."""

    verdict: Verdict
    item: Item | None = None


class _Cursor:
    """Takes fields off the front; a field that is not wholly there is an error."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._position = 0

    def take(self, count: int, what: str) -> bytes:
        end = self._position + count
        if end > len(self._raw):
            raise ItemRejected(Reason.TRUNCATED, f"The item ends inside its {what}.")
        field = self._raw[self._position : end]
        self._position = end
        return field

    def number(self, count: int, what: str) -> int:
        return int.from_bytes(self.take(count, what), "little")

    def optional(self, what: str) -> bytes:
        presence = self.number(1, what)
        if presence not in (0, 1):
            raise ItemRejected(Reason.BAD_PRESENCE_BYTE, f"The presence byte of the {what} is {presence}.")
        return self.take(_OPTIONAL_BYTES, what) if presence else b""

    def rest(self) -> bytes:
        return self._raw[self._position :]


def parse_item(raw: bytes) -> Item:
    """Read an item by the strict rules R1 to R7.

    Raises:
        ItemRejected: with the rule's code.
    """
    if len(raw) < MIN_ITEM_BYTES:
        raise ItemRejected(Reason.TOO_SHORT, f"An item has at least {MIN_ITEM_BYTES} bytes.")
    cursor = _Cursor(raw)
    number = cursor.number(2, "signature type")
    scheme = SCHEMES.get(number)
    if scheme is None:
        raise ItemRejected(Reason.UNKNOWN_SIG_TYPE, f"There is no signature type {number}.")
    signature = cursor.take(scheme.signature_bytes, "signature")
    owner = cursor.take(scheme.owner_bytes, "owner")
    target = cursor.optional("target")
    anchor = cursor.optional("anchor")
    count = cursor.number(8, "number of tags")
    size = cursor.number(8, "size of tags")
    if size > MAX_TAG_BYTES:
        raise ItemRejected(Reason.TAG_BYTES_LIMIT, f"{size} tag bytes; at most {MAX_TAG_BYTES} are allowed.")
    tag_bytes = cursor.take(size, "tags")
    tags = decode_tags(tag_bytes)
    if len(tags) != count:
        raise ItemRejected(Reason.TAG_COUNT_MISMATCH, f"{count} tags are announced, {len(tags)} are there.")
    return Item(scheme, signature, owner, target, anchor, tags, tag_bytes, cursor.rest())


def signed_message(item: Item) -> bytes:
    """The deep hash, 48 bytes, that the owner signed in the way of the signature type."""
    number = str(item.scheme.number).encode()
    fields = (item.owner, item.target, item.anchor, item.tag_bytes, item.data)
    return deep_hash((b"dataitem", b"1", number, *fields))


def assemble(item: Item) -> bytes:
    """The bytes of an item; the inverse of :func:`parse_item`."""
    optional = (b"\1" + field if field else b"\0" for field in (item.target, item.anchor))
    return b"".join(
        (
            item.scheme.number.to_bytes(2, "little"),
            item.signature,
            item.owner,
            *optional,
            len(item.tags).to_bytes(8, "little"),
            len(item.tag_bytes).to_bytes(8, "little"),
            item.tag_bytes,
            item.data,
        )
    )


def verify_item(raw: bytes, wanted: bytes) -> CheckedItem:
    """Is ``raw`` the signed item whose id is ``wanted``? Foreign bytes never raise here."""
    try:
        item = parse_item(raw)
    except ItemRejected as error:
        return CheckedItem(Verdict(Reason(error.reason), error.message))
    return CheckedItem(check_parsed(item, wanted), item)


def check_parsed(item: Item, wanted: bytes) -> Verdict:
    """The checks after parsing, in the specification's order: id, type, key, signature."""
    if item.id != wanted:
        return Verdict(Reason.ID_MISMATCH, f"the item's id is {item.id.hex()}")
    if item.scheme.check is None:
        return Verdict(Reason.UNSUPPORTED_SIG_TYPE, f"{item.scheme.name} signatures never verify")
    verdict = item.scheme.check(item.owner, item.signature, signed_message(item))
    if not verdict.accepted:
        return verdict
    return Verdict(cautions=verdict.cautions + tag_cautions(item.tags))
