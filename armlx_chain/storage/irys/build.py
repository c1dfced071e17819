"""Data items signed with an Ethereum key (specification, section 11.1).

The same key, payload, tags and anchor give the same bytes always (RFC 6979), so an item can be checked with
recorded ones, stored before it is sent, and sent again.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from armlx_chain.errors import SigningError, UsageError
from armlx_chain.storage.irys.avro import Tag, encode_tags
from armlx_chain.storage.irys.items import Item, assemble, signed_message, verify_item
from armlx_chain.storage.irys.schemes import ETHEREUM, SCHEMES

__all__ = ["DeepHashSigner", "build_item", "new_anchor", "usual_tags"]

ANCHOR_BYTES: Final = 32


class DeepHashSigner(Protocol):
    """Who signs: :class:`armlx_chain.signing.signer.Signer`, for one."""

    @property
    def public_key(self) -> bytes:
        """04 ‖ X ‖ Y, 65 bytes."""
        ...

    def sign_deep_hash(self, message: bytes) -> bytes:
        """r ‖ s ‖ v over the EIP-191 digest of 48 bytes."""
        ...


def new_anchor(randomness: Callable[[int], bytes]) -> bytes:
    """32 characters that make an item's id unlike that of any other item with the same content."""
    return base64.b64encode(randomness(ANCHOR_BYTES))[:ANCHOR_BYTES]


def usual_tags(payload: bytes, content_type: str, label: str) -> tuple[Tag, ...]:
    """What our uploads are tagged with: type, program, purpose and digest."""
    return (
        Tag("Content-Type", content_type),
        Tag("App-Name", "armlx-chain"),
        Tag("Artifact-Role", label),
        Tag("SHA-256", hashlib.sha256(payload).hexdigest()),
    )


def build_item(signer: DeepHashSigner, payload: bytes, *, tags: tuple[Tag, ...], anchor: bytes) -> Item:
    """A signed item of type 3, without target, verified as a stranger's would be.

    Raises:
        UsageError: the anchor is not 32 bytes, the tags are too long or one of them is empty.
        SigningError: the signature does not verify: the signer is broken.
    """
    if len(anchor) != ANCHOR_BYTES:
        raise UsageError(f"An anchor has {ANCHOR_BYTES} bytes, this one has {len(anchor)}.")
    if any(not tag.name or not tag.value for tag in tags):
        raise UsageError("A tag of an Irys item has a name and a value; one of them is empty.")
    unsigned = Item(SCHEMES[ETHEREUM], b"", signer.public_key, b"", anchor, tags, encode_tags(tags), payload)
    item = replace(unsigned, signature=signer.sign_deep_hash(signed_message(unsigned)))
    checked = verify_item(assemble(item), item.id)
    if str(checked.verdict) != "accept":
        raise SigningError(f"The item just signed does not verify ({checked.verdict}); nothing was sent.")
    return item
