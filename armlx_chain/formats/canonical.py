"""Canonical JSON: one document, one sequence of bytes.

- UTF-8 without byte-order mark and without white space between tokens;
- keys are printable ASCII, sorted by their bytes;
- strings escape only ``"``, the backslash and U+0000…U+001F (``\\b \\t \\n \\f \\r``, else ``\\u00xx`` in
  lower case);
- numbers are integers within ±(2^53 − 1); larger ones and fractions are written as strings;
- no duplicate keys.

On these documents the result equals RFC 8785.

>>> canonical_json({"b": 1, "a": "ü"})
b'{"a":"\\xc3\\xbc","b":1}'
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from armlx_chain.errors import FormatError
from armlx_chain.protocol.strict_json import JsonValue, TreeLimits, read_json

__all__ = ["MAX_DOCUMENT_BYTES", "MAX_SAFE_INTEGER", "canonical_json", "parse_canonical"]

MAX_DOCUMENT_BYTES = 1 << 20
MAX_SAFE_INTEGER = 2**53 - 1
_MAX_DEPTH = 32
_LIMITS = TreeLimits(string_bytes=65_536, key_bytes=128, list_items=20_000, depth=_MAX_DEPTH)
_KEY = re.compile(r"[\x20-\x7e]{1,128}")


def canonical_json(value: object) -> bytes:
    """Encode a tree of mappings, lists, tuples, strings, integers, booleans and ``None``.

    Raises:
        FormatError: for anything else in the tree, and for trees that are too deep.
    """
    text = json.dumps(
        _plain(value, 0), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError("A string of the document holds a lone surrogate.") from None


def parse_canonical(data: bytes, *, what: str = "The document", max_bytes: int = MAX_DOCUMENT_BYTES) -> Any:
    """Read canonical JSON; lists come back as tuples.

    Raises:
        FormatError: if the input is not exactly what ``canonical_json`` would write.
    """
    tree: JsonValue = read_json(
        data, error=FormatError, what=what, max_bytes=max_bytes, limits=_LIMITS, floats=False
    )
    if canonical_json(tree) != bytes(data):
        raise FormatError(
            f"{what} is not canonical JSON.",
            meaning="Keys are sorted, no white space stands between tokens, each string has one spelling.",
        )
    return tree


def _plain(value: object, depth: int) -> object:
    if depth > _MAX_DEPTH:
        raise FormatError(f"The document is nested deeper than {_MAX_DEPTH} levels.")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise FormatError("An integer beyond 2^53 − 1 must be written as a string.")
        return int(value)
    if isinstance(value, Mapping):
        return {_key(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    raise FormatError(f"Canonical JSON has no place for a {type(value).__name__}.")


def _key(key: object) -> str:
    if isinstance(key, str) and _KEY.fullmatch(key):
        return str(key)
    raise FormatError("A key of the document is not 1 to 128 printable ASCII characters.")
