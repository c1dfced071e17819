"""Irys ids: 32 bytes in three text forms, none of which tells the kind of the id.

- hex: 64 digits, with or without ``0x``; that is also the on-chain ``bytes32``, as stored.
- base64url: 43 characters without padding, the two unused bits of the last one zero.
- base58: 32 to 44 characters, one leading ``1`` for each leading zero byte.

A text of 43 characters can be both base64url and base58, of different bytes. It is never guessed: both are
returned, and only the one whose signed item is found is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from armlx_chain.encodings import (
    Candidate,
    Encoding,
    base58_decode,
    base58_encode,
    base64url_encode,
    parse_id,
)

__all__ = ["ID_BYTES", "Candidate", "Encoding", "IdForms", "format_id", "id_in_url", "parse_id", "repairs_of"]

ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class IdForms:
    """The three text forms of one id."""

    hex: str
    base64url: str
    base58: str

    def in_form(self, encoding: Encoding) -> str:
        """The id written in ``encoding``."""
        return {
            Encoding.HEX: self.hex,
            Encoding.BASE64URL: self.base64url,
            Encoding.BASE58: self.base58,
        }[encoding]


def format_id(digest: bytes) -> IdForms:
    """The three text forms of an id of 32 bytes."""
    return IdForms("0x" + digest.hex(), base64url_encode(digest), base58_encode(digest))


def id_in_url(url: str) -> str | None:
    """The id text in a gateway's link such as ``https://gateway.irys.xyz/<id>``, or ``None``."""
    try:
        parts = urlsplit(url)
    except ValueError:  # a malformed address in brackets
        return None
    if parts.scheme != "https" or parts.query or parts.fragment:
        return None
    segments = parts.path.split("/")
    text = segments[-2] if segments[-1] == "data" and len(segments) > 2 else segments[-1]
    return text if parse_id(text) else None


def repairs_of(digest: bytes) -> tuple[bytes, ...]:
    """Ids that a lenient uploader may have misread as these 32 bytes (specification, section 1.4).

    Such an uploader takes a base58 id of 43 characters for base64url and drops its last two bits. This finds
    the base58 ids that give ``digest`` that way. They are guesses: only a signed item proves one of them.
    """
    text = base64url_encode(digest)
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    first = digits.index(text[-1]) & ~3
    found = (base58_decode(text[:-1] + digits[first + low]) for low in range(4))
    return tuple(candidate for candidate in found if candidate is not None and len(candidate) == ID_BYTES)
