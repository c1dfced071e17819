"""JSON read without the liberties that parsers take.

Invariants of what comes back:

- the input was valid UTF-8 without a byte-order mark, within the size and depth that were allowed;
- no object had the same key twice; no number was NaN or infinite; integers lie within ±(2^63 − 1);
- no string holds a lone surrogate; strings, keys, lists and objects keep within the limits;
- lists come back as tuples.

Every failure is one error of the type the caller names, with the place in ``details["path"]``.

>>> read_json(b'{"a": [1]}', error=ProtocolInvalid, what="The document", max_bytes=100)
{'a': (1,)}
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from armlx_chain.errors import ArmlxError

JsonScalar: TypeAlias = bool | int | float | str | None
JsonValue: TypeAlias = Any
"""``JsonScalar``, ``dict[str, JsonValue]`` or ``tuple[JsonValue, ...]``; ``Any`` to the type checker."""

__all__ = ["JsonScalar", "JsonValue", "TreeLimits", "member_path", "read_json", "shorten"]

MAX_INTEGER = 2**63 - 1
_MAX_INTEGER_DIGITS = 20
_TOKENS = re.compile(r'[\[\]{}]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """Bounds on a document's tree. Strings and keys are measured in UTF-8 bytes."""

    string_bytes: int = 65_536
    key_bytes: int = 256
    list_items: int = 1_000
    object_members: int = 1_000
    depth: int = 32


def shorten(text: str, limit: int = 60) -> str:
    """A stranger's text made fit for an error message: quoted, escaped, cut."""
    return ascii(text if len(text) <= limit else text[: limit - 1] + "…")


def member_path(path: str, key: str | int) -> str:
    """The JSON path of a member: ``$.meta.repo``, ``$.list[3]``, ``$["odd key"]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if _IDENTIFIER.fullmatch(key) and len(key) <= 64:
        return f"{path}.{key}"
    return f"{path}[{json.dumps(key if len(key) <= 64 else key[:63] + '…')}]"


def read_json(
    data: bytes,
    *,
    error: type[ArmlxError],
    what: str,
    max_bytes: int,
    limits: TreeLimits | None = None,
    floats: bool = True,
) -> JsonValue:
    """Read one JSON document.

    Args:
        data: The bytes as they came.
        error: Type of every error raised.
        what: The document's name at the start of every message, as in ``The protocol``.
        max_bytes: Largest document read.
        limits: Bounds on the tree.
        floats: Whether numbers with a fraction or an exponent are allowed.

    Raises:
        ArmlxError: of the given type, for anything that breaks an invariant of this module.
    """
    reader = _Reader(error, what, limits or TreeLimits(), floats)
    text = reader.decode(data, max_bytes)
    reader.check_depth(text)
    return reader.check(reader.parse(text), "$")


class _Reader:
    def __init__(self, error: type[ArmlxError], what: str, limits: TreeLimits, floats: bool) -> None:
        self._error = error
        self._what = what
        self._limits = limits
        self._floats = floats

    def fail(self, problem: str, path: str = "$") -> NoReturn:
        place = "" if path == "$" else f" at {path}"
        raise self._error(f"{self._what} is not acceptable{place}: {problem}", details={"path": path})

    def decode(self, data: bytes, max_bytes: int) -> str:
        if len(data) > max_bytes:
            self.fail(f"it has {len(data)} bytes, at most {max_bytes} are read.")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as broken:
            self.fail(f"it is not UTF-8 (byte {broken.start}).")
        if text.startswith("\ufeff"):
            self.fail("it starts with a byte-order mark.")
        return text

    def check_depth(self, text: str) -> None:
        """Count brackets before the parser recurses into them."""
        depth = 0
        for token in _TOKENS.finditer(text):
            mark = text[token.start()]
            if mark in "[{":
                depth += 1
                if depth > self._limits.depth:
                    self.fail(f"it is nested deeper than {self._limits.depth} levels.")
            elif mark in "]}":
                depth -= 1

    def parse(self, text: str) -> JsonValue:
        try:
            return json.loads(
                text,
                object_pairs_hook=self._object,
                parse_constant=self._constant,
                parse_float=self._float,
                parse_int=self._integer,
            )
        except json.JSONDecodeError as broken:
            self.fail(f"it is not JSON (line {broken.lineno}, column {broken.colno}: {broken.msg}).")

    def _object(self, pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        members = dict(pairs)
        if len(members) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    self.fail(f"an object holds the key {shorten(key)} twice.")
                seen.add(key)
        return members

    def _constant(self, name: str) -> NoReturn:
        self.fail(f"it holds {name}, which is not a JSON number.")

    def _float(self, text: str) -> float:
        if not self._floats:
            self.fail(f"it holds the number {shorten(text, 24)}; only plain integers are allowed.")
        value = float(text)
        if not math.isfinite(value):
            self.fail(f"the number {shorten(text, 24)} is not finite.")
        return value

    def _integer(self, text: str) -> int:
        if len(text) > _MAX_INTEGER_DIGITS or abs(int(text)) > MAX_INTEGER:
            self.fail(f"the integer {shorten(text, 24)} is out of range.")
        return int(text)

    def check(self, value: JsonValue, path: str) -> JsonValue:
        if isinstance(value, str):
            self._check_text(value, path, self._limits.string_bytes)
        elif isinstance(value, list):
            return self._check_list(value, path)
        elif isinstance(value, dict):
            return self._check_object(value, path)
        return value

    def _check_list(self, value: list[JsonValue], path: str) -> tuple[JsonValue, ...]:
        if len(value) > self._limits.list_items:
            self.fail(f"a list of {len(value)} items; at most {self._limits.list_items}.", path)
        return tuple(self.check(item, f"{path}[{i}]") for i, item in enumerate(value))

    def _check_object(self, value: dict[str, JsonValue], path: str) -> dict[str, JsonValue]:
        if len(value) > self._limits.object_members:
            self.fail(f"an object of {len(value)} members; at most {self._limits.object_members}.", path)
        checked = {}
        for key, item in value.items():
            self._check_text(key, path, self._limits.key_bytes)
            checked[key] = self.check(item, member_path(path, key))
        return checked

    def _check_text(self, text: str, path: str, limit: int) -> None:
        try:
            size = len(text.encode("utf-8"))
        except UnicodeEncodeError:
            self.fail("a string holds a lone surrogate.", path)
        if size > limit:
            self.fail(f"a string of {size} bytes; at most {limit}.", path)
