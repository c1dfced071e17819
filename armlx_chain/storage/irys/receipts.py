"""Upload receipts: a bundler's signed word that it saw an id at a time (specification, section 10).

A receipt says nothing about content, and under its own embedded key it proves nothing at all: the key must be
known from elsewhere. Two keys of the public bundlers are pinned here; they may rotate, so an unknown key is
reported, not taken as a forgery.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from armlx_chain.storage.irys.deephash import deep_hash
from armlx_chain.storage.irys.foreign import Json, base64url_field, decimal_text, same_id, whole_number
from armlx_chain.storage.irys.keys import check_rsa_pss, rsa_key_fault
from armlx_chain.storage.irys.results import Reason, Verdict

__all__ = ["PINNED_KEYS", "KeyTrust", "ReceiptCheck", "receipt_message", "verify_receipt"]

PINNED_KEYS: Final = {
    bytes.fromhex("d2f00415f370b76ea26f3d0e824d9ac13b5ad2ae1cb12609541e6fb4d40c0174"): "uploader.irys.xyz",
    bytes.fromhex("397713d6c551480e5e1b0b7693a62ecfcfb77b783d5898b9b9213df425aab01b"): "node1.irys.xyz",
}
"""SHA-256 of a key's 512 modulus bytes, and whose it is."""


class KeyTrust(StrEnum):
    """Why the receipt's key is, or is not, the bundler's."""

    PINNED = "pinned"
    PUBLISHED = "published"
    """It is the key that the bundler's own ``/public`` gave over https: as good as that connection."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ReceiptCheck:
    """What a receipt is worth.

    Attributes:
        verdict: Whether the signature fits the embedded key and the id is the one asked for.
        trust: Whether that key is the bundler's.
        timestamp_ms: When the bundler says that it saw the id, milliseconds since 1970.
    """

    verdict: Verdict
    trust: KeyTrust = KeyTrust.UNKNOWN
    timestamp_ms: int | None = None

    @property
    def is_proof(self) -> bool:
        """Accepted, and under a key that is known to be the bundler's."""
        return self.verdict.accepted and self.trust is not KeyTrust.UNKNOWN


def receipt_message(receipt: Json) -> bytes | None:
    """The deep hash that a receipt's signature is over, or ``None`` if a field is missing.

    The id goes in as the text that stands in the receipt: each spelling is another message.
    """
    version, text = receipt.get("version"), receipt.get("id")
    height = decimal_text(receipt.get("deadlineHeight"))
    timestamp = decimal_text(receipt.get("timestamp"))
    if not isinstance(version, str) or not isinstance(text, str) or height is None or timestamp is None:
        return None
    try:
        fields = [part.encode() for part in ("Bundlr", version, text, height, timestamp)]
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    return deep_hash(fields)


def verify_receipt(
    receipt: Json, wanted: bytes | None = None, *, published_key: bytes | None = None
) -> ReceiptCheck:
    """Check a receipt.

    Args:
        receipt: The JSON object, a stranger's.
        wanted: The id that it must be for; ``None`` checks the signature alone.
        published_key: The modulus that the bundler gave at ``/public``, if it was asked.
    """
    key, signature = base64url_field(receipt, "public"), base64url_field(receipt, "signature")
    message = receipt_message(receipt)
    if key is None or signature is None or message is None:
        return ReceiptCheck(Verdict(Reason.NOT_VERIFIABLE, "the receipt lacks fields that are signed"))
    if wanted is not None and not same_id(receipt["id"], wanted):
        return ReceiptCheck(Verdict(Reason.ID_MISMATCH, "the receipt is for another id"))
    reason = rsa_key_fault(key) or check_rsa_pss(key, signature, message)
    if reason is not None:
        return ReceiptCheck(Verdict(reason, "the receipt's signature does not fit its fields"))
    trust = KeyTrust.UNKNOWN
    if hashlib.sha256(key).digest() in PINNED_KEYS:
        trust = KeyTrust.PINNED
    elif key == published_key:
        trust = KeyTrust.PUBLISHED
    return ReceiptCheck(Verdict(), trust, whole_number(receipt["timestamp"]))
