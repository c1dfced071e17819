"""Reading the members of a document, one checked type at a time.

A ``Fields`` is opened on an object with the exact set of keys it must have; every reader raises
``FormatError`` with the document's name and the member's path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NoReturn

from eth_utils import is_checksum_address

from armlx_chain.errors import FormatError, RootFormatError
from armlx_chain.formats.canonical import MAX_SAFE_INTEGER
from armlx_chain.protocol.strict_json import shorten
from armlx_chain.types import Address, Root

__all__ = ["DECIMAL_LIMIT", "Fields", "decimal_text", "parse_decimal"]

_UINT = re.compile(r"0|[1-9][0-9]{0,77}")
_INT = re.compile(r"0|-?[1-9][0-9]{0,77}")
DECIMAL_LIMIT = 1_000_000
"""A document's decimals are smaller than this, whatever their sign."""
_DECIMAL = re.compile(r"-?[0-9]{1,6}\.[0-9]{9}")
_HEX = re.compile(r"0x(?:[0-9a-f]{2})*")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_ZERO_ADDRESS = "0x" + "0" * 40


def decimal_text(value: Decimal) -> str:
    """A decimal with exactly nine digits after the point, as documents write it.

    Raises:
        FormatError: if the value has more digits, is not finite, or is a million or more.
    """
    if not value.is_finite() or abs(value) >= DECIMAL_LIMIT:
        raise FormatError("A figure of a document must be finite and below a million.")
    text = f"{value:.9f}"
    if Decimal(text) != value:
        raise FormatError(f"{shorten(str(value))} has more than nine digits after the point.")
    return text.removeprefix("-") if value == 0 else text


def parse_decimal(text: str) -> Decimal | None:
    """The decimal of a text as ``decimal_text`` writes it, else ``None``."""
    if not _DECIMAL.fullmatch(text):
        return None
    value = Decimal(text)
    return value if decimal_text(value) == text else None


class Fields:
    """Checked access to one object of a document."""

    def __init__(self, tree: Any, keys: Iterable[str], *, what: str, path: str = "$") -> None:
        """Open an object.

        Raises:
            FormatError: if it is not an object with exactly these keys.
        """
        self._what = what
        self._path = path
        if not isinstance(tree, dict):
            self.fail("an object is expected.")
        expected = frozenset(keys)
        unknown, missing = sorted(tree.keys() - expected), sorted(expected - tree.keys())
        if unknown:
            self.fail(f"the key {shorten(unknown[0])} is not known.")
        if missing:
            self.fail(f"the key {missing[0]!r} is missing.")
        self._tree = tree

    def fail(self, problem: str, key: str | None = None) -> NoReturn:
        path = self._path if key is None else f"{self._path}.{key}"
        raise FormatError(f"{self._what} is not acceptable at {path}: {problem}", details={"path": path})

    def kind(self, kind: str, version: int = 1) -> None:
        """Require the document's kind and version."""
        if self._tree.get("kind") != kind:
            self.fail(f"the kind must be {kind!r}.", "kind")
        if self.integer("version") != version:
            self.fail(f"only version {version} is known.", "version")

    def child(self, key: str, keys: Iterable[str]) -> Fields:
        return Fields(self._tree[key], keys, what=self._what, path=f"{self._path}.{key}")

    def children(self, key: str, keys: Iterable[str], limit: int) -> tuple[Fields, ...]:
        items = self._tree[key]
        if not isinstance(items, tuple) or len(items) > limit:
            self.fail(f"a list of at most {limit} items is expected.", key)
        names = tuple(keys)
        return tuple(
            Fields(item, names, what=self._what, path=f"{self._path}.{key}[{index}]")
            for index, item in enumerate(items)
        )

    def subtree(self, key: str) -> Any:
        return self._tree[key]

    def is_null(self, key: str) -> bool:
        return self._tree[key] is None

    def text(self, key: str, limit: int = 200) -> str:
        """Printable ASCII, not empty."""
        value = self._tree[key]
        if not isinstance(value, str) or len(value) > limit or not _PRINTABLE.fullmatch(value):
            self.fail(f"1 to {limit} printable ASCII characters are expected.", key)
        return value

    def integer(self, key: str) -> int:
        """A non-negative JSON integer."""
        value = self._tree[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SAFE_INTEGER:
            self.fail("a non-negative integer is expected.", key)
        return value

    def uint256(self, key: str) -> int:
        """A decimal string within 256 bits."""
        return self._big(key, _UINT, 0, 1 << 256)

    def int256(self, key: str) -> int:
        """A signed decimal string within 256 bits."""
        return self._big(key, _INT, -(1 << 255), 1 << 255)

    def _big(self, key: str, grammar: re.Pattern[str], low: int, high: int) -> int:
        value = self._tree[key]
        if not isinstance(value, str) or not grammar.fullmatch(value) or not low <= int(value) < high:
            self.fail("a 256-bit integer in decimal, as a string, is expected.", key)
        return int(value)

    def decimal(self, key: str) -> Decimal:
        """A string with nine digits after the point."""
        value = self._tree[key]
        number = parse_decimal(value) if isinstance(value, str) else None
        if number is None:
            self.fail("a decimal string with nine digits after the point is expected.", key)
        return number

    def address(self, key: str) -> Address:
        """A checksummed address other than zero."""
        value = self._tree[key]
        if not isinstance(value, str) or not is_checksum_address(value) or value == _ZERO_ADDRESS:
            self.fail("a checksummed address other than zero is expected.", key)
        return Address(value)

    def hex_bytes(self, key: str, length: int) -> bytes:
        """``0x`` and lower-case hex of exactly this many bytes."""
        value = self._tree[key]
        if not isinstance(value, str) or len(value) != 2 + 2 * length or not _HEX.fullmatch(value):
            self.fail(f"0x and {2 * length} lower-case hex digits are expected.", key)
        return bytes.fromhex(value[2:])

    def root(self, key: str, *schemes: str) -> Root:
        """A tagged root in its one spelling, of one of these schemes (all, if none is named)."""
        value = self._tree[key]
        try:
            root = Root.parse(value) if isinstance(value, str) and len(value) <= 100 else None
        except RootFormatError:
            root = None
        if root is None or str(root) != value or (schemes and root.scheme not in schemes):
            self.fail(f"a tagged root ({', '.join(schemes) or 'any scheme'}) is expected.", key)
        return root
