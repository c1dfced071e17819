"""An item put together from a bundler's metadata and the payload (specification, section 5).

Everything in the metadata is a stranger's claim; only the signature over the rebuilt item decides. So it is
harmless to try the few readings that deployed servers make necessary: the anchor as text or as base64url,
tags plain or as base64url, and each signature type that the field sizes allow.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from armlx_chain.encodings import base64url_decode
from armlx_chain.errors import ArmlxError
from armlx_chain.storage.irys.avro import Tag, encode_tags
from armlx_chain.storage.irys.foreign import Json, base64url_field, same_id, whole_number
from armlx_chain.storage.irys.items import CheckedItem, Item, assemble, check_parsed, parse_item
from armlx_chain.storage.irys.results import Caution, Reason, Verdict
from armlx_chain.storage.irys.schemes import SignatureType, schemes_of_size

__all__ = ["rebuild_item"]

_FIELD_BYTES: Final = 32


def rebuild_item(metadata: Json, payload: bytes, wanted: bytes) -> CheckedItem:
    """Is there a reading of ``metadata`` under which ``payload`` is the content of the item ``wanted``?

    Never raises for foreign input. ``NOT_VERIFIABLE`` means that the metadata lacks what a proof needs, and
    says nothing about the payload; ``BAD_SIGNATURE`` means altered content *or* a missing anchor.
    """
    signature, owner = base64url_field(metadata, "signature"), base64url_field(metadata, "owner")
    if signature is None or owner is None:
        return _rejected(Reason.NOT_VERIFIABLE, "the metadata lacks a readable signature or owner")
    if hashlib.sha256(signature).digest() != wanted:
        return _rejected(Reason.ID_MISMATCH, "the metadata's signature belongs to another id")
    if "id" in metadata and not same_id(metadata["id"], wanted):
        return _rejected(Reason.ID_MISMATCH, "the metadata names another id")
    schemes = _schemes(metadata, signature, owner)
    if not schemes:
        return _rejected(Reason.UNSUPPORTED_SIG_TYPE, "no verifiable signature type has such fields")
    targets, anchors = _targets(metadata), _anchors(metadata)
    tag_lists = list(_tag_lists(metadata))
    if not (targets and anchors and tag_lists):
        return _rejected(Reason.NOT_VERIFIABLE, "the metadata's target, anchor or tags are unreadable")
    outcome = CheckedItem(Verdict(Reason.NOT_VERIFIABLE, "no reading of the metadata makes an item"))
    for scheme, target, anchor, tags in itertools.product(schemes, targets, anchors, tag_lists):
        item = Item(scheme, signature, owner, target, anchor, tags, encode_tags(tags), payload)
        verdict = check_parsed(item, wanted)
        if verdict.accepted:
            strict = parse_item(assemble(item))  # what is handed on went through the strict rules
            return _with_hints(CheckedItem(verdict, strict), metadata)
        outcome = CheckedItem(verdict)
    return outcome


def _rejected(reason: Reason, detail: str) -> CheckedItem:
    return CheckedItem(Verdict(reason, detail))


def _schemes(metadata: Json, signature: bytes, owner: bytes) -> tuple[SignatureType, ...]:
    """The types that fit; only the one that the metadata names, if it is among them."""
    fitting = schemes_of_size(len(signature), len(owner))
    named = whole_number(metadata.get("signature_type"))
    return tuple(scheme for scheme in fitting if scheme.number == named) or fitting


def _is_absent(value: object) -> bool:
    return value is None or value == ""


def _targets(metadata: Json) -> list[bytes]:
    if _is_absent(metadata.get("target")):
        return [b""]
    target = base64url_field(metadata, "target")
    return [target] if target is not None and len(target) == _FIELD_BYTES else []


def _anchors(metadata: Json) -> list[bytes]:
    anchor = metadata.get("anchor")
    if _is_absent(anchor):
        return [b""]
    if not isinstance(anchor, str):
        return []
    readings = (_utf8(anchor), base64url_decode(anchor) or b"")
    return [reading for reading in readings if len(reading) == _FIELD_BYTES]


def _utf8(text: str) -> bytes:
    """The text's bytes; none for half of a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return b""


def _tag_lists(metadata: Json) -> Iterator[tuple[Tag, ...]]:
    """The tags as given, and decoded if every one of them is base64url of text; each if it can be written."""
    given = metadata.get("tags")
    if given is None:
        given = []
    if not isinstance(given, list):
        return
    pairs = [(tag.get("name"), tag.get("value")) for tag in given if isinstance(tag, dict)]
    tags = tuple(Tag(n, v) for n, v in pairs if isinstance(n, str) and isinstance(v, str))
    if len(tags) != len(given):
        return
    for reading in (tags, _decoded(tags)):
        if reading is not None and _can_be_written(reading):
            yield reading


def _decoded(tags: tuple[Tag, ...]) -> tuple[Tag, ...] | None:
    texts = [_text(part) for tag in tags for part in (tag.name, tag.value)]
    if not texts or None in texts:
        return None
    pieces = [text or "" for text in texts]
    return tuple(Tag(name, value) for name, value in zip(pieces[::2], pieces[1::2], strict=True))


def _text(encoded: str) -> str | None:
    data = base64url_decode(encoded)
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return None


def _can_be_written(tags: tuple[Tag, ...]) -> bool:
    try:
        encode_tags(tags)
    except ArmlxError:
        return False
    return True


def _with_hints(checked: CheckedItem, metadata: Json) -> CheckedItem:
    """Warnings where the metadata's unsigned claims differ from what was proven."""
    item = checked.item
    if item is None or not checked.verdict.accepted:
        return checked
    cautions = list(checked.verdict.cautions)
    size, address = metadata.get("data_size"), metadata.get("address")
    if size is not None and whole_number(size) != len(item.data):
        cautions.append(Caution.DATA_SIZE_HINT)
    if address and item.address is not None and address != item.address:
        cautions.append(Caution.ADDRESS_HINT)
    return replace(checked, verdict=Verdict(cautions=tuple(cautions)))
