"""Strict text forms of bytes: base64url without padding, base58, and ids of 32 bytes in any of them.

A text is accepted only if writing the bytes again gives the same text, so two texts never mean the same
bytes in one form. Everything else is ``None``: no white space, padding or foreign character is skipped.

>>> [c.encoding.value for c in parse_id("UkUXLqaemLhXJrYqAv9vR58JGwRnQUHLpZ7zHJknAB8")]
['base64url', 'base58']
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = [
    "Candidate",
    "Encoding",
    "base58_decode",
    "base58_encode",
    "base64url_decode",
    "base64url_encode",
    "parse_id",
]

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUE: Final = {character: value for value, character in enumerate(_BASE58)}
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
MAX_BASE58_TEXT: Final = 256
"""Longest base58 text that is read. Decoding takes time with the square of the length; ids have 44 digits."""

_ID_BYTES: Final = 32
_HEX_ID: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_BASE58_LENGTHS: Final = range(32, 45)
_BASE64URL_LENGTH: Final = 43


class Encoding(StrEnum):
    """How an id is written."""

    HEX = "hex"
    BASE64URL = "base64url"
    BASE58 = "base58"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One reading of a text: the form it is in, and the 32 bytes."""

    encoding: Encoding
    digest: bytes


def parse_id(text: str) -> tuple[Candidate, ...]:
    """Every reading of ``text`` as an id of 32 bytes: none (not an id), one, or two (ambiguous).

    Only 43 characters can be both base64url and base58, then of different bytes. Nothing is guessed,
    stripped or repaired.
    """
    match = _HEX_ID.fullmatch(text)
    if match:
        return (Candidate(Encoding.HEX, bytes.fromhex(match.group(1))),)
    found = []
    if len(text) == _BASE64URL_LENGTH:
        digest = base64url_decode(text)
        if digest is not None:
            found.append(Candidate(Encoding.BASE64URL, digest))
    if len(text) in _BASE58_LENGTHS:
        digest = base58_decode(text)
        if digest is not None and len(digest) == _ID_BYTES:
            found.append(Candidate(Encoding.BASE58, digest))
    return tuple(found)


def base64url_encode(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def base64url_decode(text: str) -> bytes | None:
    """The bytes of a canonical base64url text without padding, or ``None``."""
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None
    return data if base64url_encode(data) == text else None


def base58_encode(data: bytes) -> str:
    """base58 (Bitcoin's alphabet): a big-endian integer, one leading ``1`` for each leading zero byte."""
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def base58_decode(text: str) -> bytes | None:
    """The bytes of a base58 text, or ``None`` (also for more than ``MAX_BASE58_TEXT`` characters)."""
    if len(text) > MAX_BASE58_TEXT:
        return None
    number = 0
    for character in text:
        value = _BASE58_VALUE.get(character)
        if value is None:
            return None
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
