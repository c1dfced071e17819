"""Reading fields out of JSON that a stranger wrote: a field is of the right kind, or it is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from armlx_chain.encodings import base64url_decode
from armlx_chain.storage.irys.ids import parse_id

__all__ = ["MAX_NUMBER_DIGITS", "Json", "decimal_text", "parse_object", "same_id", "whole_number"]

Json = Mapping[str, Any]
MAX_NUMBER_DIGITS: Final = 78
"""A 256-bit number has at most 78 digits; longer ones are no number here."""
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]*")


def parse_object(text: bytes) -> Json | None:
    """A JSON object, or ``None`` for anything else: other JSON, no JSON, nesting without end."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # ValueError covers bad UTF-8 and numbers beyond Python's limit
        return None
    return value if isinstance(value, dict) else None


def decimal_text(value: object) -> str | None:
    """The canonical decimal text of a whole number that may come as a JSON number or as text."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**MAX_NUMBER_DIGITS:
        return str(value)
    if isinstance(value, str) and len(value) <= MAX_NUMBER_DIGITS and _DECIMAL.fullmatch(value):
        return value
    return None


def whole_number(value: object) -> int | None:
    """The same as a number."""
    text = decimal_text(value)
    return None if text is None else int(text)


def base64url_field(fields: Json, name: str) -> bytes | None:
    """The bytes of a base64url text, or ``None``."""
    value = fields.get(name)
    return base64url_decode(value) if isinstance(value, str) else None


def same_id(text: object, wanted: bytes) -> bool:
    """Does ``text`` name the id ``wanted``, in any of its forms?"""
    return isinstance(text, str) and any(candidate.digest == wanted for candidate in parse_id(text))
