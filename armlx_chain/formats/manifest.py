"""The benchmark manifest: which bytes a benchmark consists of, and what each is for.

Canonical JSON; entries sorted by path; roots are tagged. Its own root is the project's ``benchmarkHash``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from armlx_chain.errors import FormatError
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.fields import Fields
from armlx_chain.protocol.strict_json import shorten
from armlx_chain.protocol.text import check_relative_path
from armlx_chain.types import Root

__all__ = ["BenchmarkManifest", "ManifestEntry", "ManifestRole"]

_KIND = "armlx-benchmark-manifest"
_WHAT = "The benchmark manifest"
_MAX_ENTRIES = 10_000
_MAX_BYTES = 4 << 20


class ManifestRole(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    FRESH = "fresh"
    """Rows outside the benchmark, for the audit."""
    TOKENIZER = "tokenizer"
    BYTE_TABLE = "byte-table"


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One file: path below the benchmark's cache folder, size in bytes, root and role."""

    path: str
    size: int
    root: Root
    role: ManifestRole


@dataclass(frozen=True, slots=True)
class BenchmarkManifest:
    """All files of a benchmark, sorted by the UTF-8 bytes of their paths, each once."""

    entries: tuple[ManifestEntry, ...]

    @classmethod
    def of(cls, entries: Iterable[ManifestEntry]) -> BenchmarkManifest:
        """Sort and check entries.

        Raises:
            FormatError: for a path that is taken twice or not acceptable, and for no or too many entries.
        """
        manifest = cls(tuple(sorted(entries, key=_sort_key)))
        return cls.parse(manifest.encode())

    def with_role(self, role: ManifestRole) -> tuple[ManifestEntry, ...]:
        return tuple(entry for entry in self.entries if entry.role is role)

    def encode(self) -> bytes:
        entries = [
            {"path": entry.path, "role": entry.role.value, "root": str(entry.root), "size": entry.size}
            for entry in self.entries
        ]
        return canonical_json({"entries": entries, "kind": _KIND, "version": 1})

    @classmethod
    def parse(cls, data: bytes) -> BenchmarkManifest:
        """Read a manifest.

        Raises:
            FormatError: if it is not canonical, not sorted, or breaks a rule.
        """
        tree = parse_canonical(data, what=_WHAT, max_bytes=_MAX_BYTES)
        fields = Fields(tree, ("entries", "kind", "version"), what=_WHAT)
        fields.kind(_KIND)
        items = fields.children("entries", ("path", "role", "root", "size"), _MAX_ENTRIES)
        entries = tuple(_entry(item) for item in items)
        if not entries:
            fields.fail("at least one file is expected.", "entries")
        keys = [_sort_key(entry) for entry in entries]
        if any(here >= following for here, following in pairwise(keys)):
            fields.fail("the entries must be sorted by path, each path once.", "entries")
        if len({entry.path.casefold() for entry in entries}) != len(entries):
            fields.fail("two paths differ only in case.", "entries")
        return cls(entries)


def _sort_key(entry: ManifestEntry) -> bytes:
    return entry.path.encode("utf-8", "surrogatepass")


def _entry(fields: Fields) -> ManifestEntry:
    path = fields.subtree("path")
    role = fields.subtree("role")
    if not isinstance(path, str) or path == ".":
        fields.fail("a relative path is expected.", "path")
    try:
        check_relative_path(path)
    except ValueError as refused:
        fields.fail(f"{refused}.", "path")
    if role not in [known.value for known in ManifestRole]:
        raise FormatError(f"{_WHAT} gives {shorten(path)} a role that is not known.")
    return ManifestEntry(path, fields.integer("size"), fields.root("root"), ManifestRole(role))
