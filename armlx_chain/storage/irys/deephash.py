"""The deep hash: SHA-384 over a nested structure of byte strings (specification, section 4.2).

With H = SHA-384:

    D(blob) = H( H("blob" ‖ dec(len)) ‖ H(blob) )
    D(list) = fold over D(element) of acc = H( acc ‖ D ), starting at H("list" ‖ dec(count))
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["Nested", "deep_hash"]

Nested: TypeAlias = "bytes | Sequence[Nested]"
"""A byte string, or a list of such structures."""


def _h(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()


def deep_hash(structure: Nested) -> bytes:
    """48 bytes."""
    if isinstance(structure, bytes):
        return _h(_h(b"blob%d" % len(structure)) + _h(structure))
    acc = _h(b"list%d" % len(structure))
    for element in structure:
        acc = _h(acc + deep_hash(element))
    return acc
