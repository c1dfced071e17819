"""How alike two candidates are, by their text: a reason to look, never a reason to decide.

- Three digests of a candidate's files, each coarser than the one before: the bytes; the syntax (comments,
  layout and docstrings dropped); the shape (the same, with every name that the file itself gives replaced by
  the order in which it is met). Constants are kept in all of them: they are what a search for better settings
  changes.
- Names that come from elsewhere (built-ins, members of libraries, dunder names) are kept in the shape too.
- The shape sees through renaming and reformatting, not through reordering or rewriting; and two people may
  well arrive at one shape. So it only flags.
- What is not Python, does not parse, or is beyond the bounds has a digest of its bytes instead, so nothing
  hostile is ever walked: 256 KiB and 100,000 nodes a file, nested at most 100 deep.

::

    mine, theirs = fingerprint(files), fingerprint(other)
    mine.likeness(theirs)        # Likeness.SHAPE: equal but for names
"""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from armlx_chain.claims.naming import Naming

__all__ = [
    "MAX_DEPTH",
    "MAX_NODES",
    "MAX_TEXT_BYTES",
    "Fingerprint",
    "Likeness",
    "fingerprint",
    "normal_form",
]

MAX_TEXT_BYTES: Final = 256 << 10
"""Longer files are compared by their bytes; the source gate allows 64 KiB for all of a candidate."""
MAX_NODES: Final = 100_000
MAX_DEPTH: Final = 100
"""Deeper nesting is compared by its bytes: the walk below recurses."""


class Likeness(StrEnum):
    """In what two candidates are equal, from the least to the most that was dropped."""

    BYTES = "bytes"
    SYNTAX = "syntax"
    """All but comments, layout and docstrings."""
    SHAPE = "shape"
    """All but those and the names that the code itself gives."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Digests of a candidate's files, hex."""

    bytes: str
    syntax: str
    shape: str

    def likeness(self, other: Fingerprint) -> Likeness | None:
        """In what the two are equal, ``None`` if in nothing."""
        if self.bytes == other.bytes:
            return Likeness.BYTES
        if self.syntax == other.syntax:
            return Likeness.SYNTAX
        return Likeness.SHAPE if self.shape == other.shape else None


def fingerprint(files: Mapping[str, bytes]) -> Fingerprint:
    """The fingerprint of replacement files by relative path; their paths count, their order does not."""
    parts = sorted(files.items())
    return Fingerprint(
        bytes=_combined((path, hashlib.sha256(data).hexdigest()) for path, data in parts),
        syntax=_combined((path, _file_form(path, data, renamed=False)) for path, data in parts),
        shape=_combined((path, _file_form(path, data, renamed=True)) for path, data in parts),
    )


def _combined(parts: Iterator[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for path, form in parts:
        digest.update(f"{len(path)}:{path}{form};".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _file_form(path: str, data: bytes, *, renamed: bool) -> str:
    found = normal_form(data, renamed=renamed) if path.lower().endswith((".py", ".pyi", ".pyw")) else None
    return found if found is not None else "bytes:" + hashlib.sha256(data).hexdigest()


def normal_form(source: bytes, *, renamed: bool) -> str | None:
    """Digest of a source's syntax tree, hex; ``None`` where it has none within the bounds. Never raises.

    Args:
        renamed: Replace the names that the source itself gives.
    """
    tree = _parse(source)
    if tree is None or not _within_bounds(tree):
        return None
    try:
        writer = _Writer(Naming(tree) if renamed else None)
        writer.node(tree)
    except RecursionError:
        return None  # called from deep inside something else
    return writer.digest.hexdigest()


def _parse(source: bytes) -> ast.Module | None:
    if len(source) > MAX_TEXT_BYTES:
        return None
    try:
        text = source.decode("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a stranger's "\d" is no concern of ours
            return ast.parse(text)
    except (UnicodeDecodeError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _within_bounds(tree: ast.AST) -> bool:
    """Counted without recursion."""
    waiting, seen = [(tree, 1)], 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_NODES:
            return False
        waiting.extend((child, depth + 1) for child in ast.iter_child_nodes(node))
    return True


class _Writer:
    """Feeds a tree to a digest, every part with its length, so that no two trees read alike."""

    def __init__(self, naming: Naming | None) -> None:
        self.digest = hashlib.sha256()
        self._naming = naming

    def node(self, node: ast.AST) -> None:
        self._text(type(node).__name__)
        if isinstance(node, ast.Constant):
            self._text(_constant(node.value))
            return
        for name, value in self._fields(node):
            self._text(name)
            self._value(value)
        self._text(")")

    def _fields(self, node: ast.AST) -> Iterator[tuple[str, object]]:
        for name, value in ast.iter_fields(node):
            if name in ("type_comment", "type_ignores", "kind", "ctx"):
                continue
            if name == "body" and isinstance(value, list):
                value = _without_comments(node, value)
            if isinstance(node, ast.alias) and name == "asname":
                value = value or node.name.split(".")[0]
            if self._naming is not None and isinstance(value, str | list):
                value = self._naming.renamed(node, name, value)
            yield name, value

    def _value(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self.node(value)
        elif isinstance(value, list):
            self._text(f"[{len(value)}")
            for part in value:
                self._value(part)
        else:
            self._text(_constant(value))

    def _text(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self.digest.update(b"%d:" % len(data) + data)


def _constant(value: object) -> str:
    """A constant's type and value; integers in hexadecimal, for long ones have no decimal text."""
    shown = hex(value) if isinstance(value, int) and not isinstance(value, bool) else repr(value)
    return f"{type(value).__name__} {shown}"


def _without_comments(node: ast.AST, body: list[ast.stmt]) -> list[ast.stmt]:
    """Without docstring and ``pass``, which a body may need only to be one."""
    documented = isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    if documented and body and _is_string(body[0]):
        body = body[1:]
    return [statement for statement in body if not isinstance(statement, ast.Pass)]


def _is_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
