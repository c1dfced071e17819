"""Deterministic tar bundles of a repository snapshot and of a candidate.

A bundle is a plain ustar archive that is a function of its files alone: regular files only, names sorted by
their UTF-8 bytes, modes 644 and 755, all times, owners and numbers zero, two zero blocks at the end and
nothing after them. Reading one re-packs what was read and compares: whatever else an archive may hold (links,
devices, extensions, other padding) is refused because it cannot come out again.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from armlx_chain.errors import FormatError
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.fields import Fields
from armlx_chain.protocol.strict_json import shorten
from armlx_chain.protocol.text import check_relative_path
from armlx_chain.types import Address, ProjectId

__all__ = [
    "AUTHORSHIP_NAME",
    "CANDIDATE_LIMITS",
    "SNAPSHOT_LIMITS",
    "Authorship",
    "TreeFile",
    "TreeLimits",
    "pack_candidate",
    "pack_tree",
    "read_candidate",
    "read_tree",
    "unpack_tree",
]

BLOCK = 512
AUTHORSHIP_NAME = "authorship.json"
_END = bytes(2 * BLOCK)
_NAME_BYTES, _PREFIX_BYTES, _SEGMENT_BYTES, _MAX_SEGMENTS = 100, 155, 255, 32
_CHECKSUM = slice(148, 156)


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """Bounds of a bundle; a larger one is refused before it is read."""

    files: int
    file_bytes: int
    total_bytes: int

    @property
    def archive_bytes(self) -> int:
        """The largest archive that could keep within these bounds."""
        return self.total_bytes + self.files * 2 * BLOCK + len(_END)


SNAPSHOT_LIMITS = TreeLimits(files=10_000, file_bytes=32 << 20, total_bytes=64 << 20)
CANDIDATE_LIMITS = TreeLimits(files=256, file_bytes=1 << 20, total_bytes=4 << 20)


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One file of a bundle. ``path`` is relative, in normal form C, with ``/`` between segments."""

    path: str
    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Authorship:
    """Who packed a candidate, for which project, on which chain: part of the hashed bytes."""

    miner: Address
    project_id: ProjectId
    chain_id: int

    def to_json(self) -> dict[str, object]:
        return {
            "chainId": self.chain_id,
            "kind": "armlx-authorship",
            "miner": self.miner,
            "projectId": str(self.project_id),
            "version": 1,
        }

    @classmethod
    def parse(cls, data: bytes) -> Authorship:
        """Read ``authorship.json``.

        Raises:
            FormatError: if it is not a canonical authorship document.
        """
        what = "The authorship record"
        tree = parse_canonical(data, what=what, max_bytes=4_096)
        fields = Fields(tree, ("chainId", "kind", "miner", "projectId", "version"), what=what)
        fields.kind("armlx-authorship")
        return cls(fields.address("miner"), ProjectId(fields.uint256("projectId")), fields.integer("chainId"))


def pack_tree(files: Mapping[str, bytes | tuple[bytes, bool]], limits: TreeLimits = SNAPSHOT_LIMITS) -> bytes:
    """Pack files into a bundle.

    Args:
        files: Content by relative path, or (content, executable).
        limits: Bounds to keep.

    Raises:
        FormatError: for paths that a bundle cannot hold, and beyond the limits.
    """
    entries = []
    for path, content in files.items():
        data, executable = content if isinstance(content, tuple) else (content, False)
        entries.append(TreeFile(path, bytes(data), executable))
    return _pack(entries, limits)


def read_tree(data: bytes, limits: TreeLimits = SNAPSHOT_LIMITS) -> tuple[TreeFile, ...]:
    """The files of a bundle, in its order.

    Raises:
        FormatError: if the bytes are not exactly what ``pack_tree`` writes, or beyond the limits.
    """
    if len(data) > limits.archive_bytes:
        raise FormatError(f"The bundle has {len(data)} bytes; at most {limits.archive_bytes} are read.")
    entries = tuple(_entries(bytes(data), limits))
    if _pack(entries, limits) != data:
        raise FormatError(
            "The bundle is not in its canonical form.",
            meaning="Only sorted regular files with zero times and owners are read; nothing was unpacked.",
        )
    return entries


def unpack_tree(data: bytes, limits: TreeLimits = SNAPSHOT_LIMITS) -> dict[str, bytes]:
    """The files of a bundle by path.

    Raises:
        FormatError: as ``read_tree``.
    """
    return {entry.path: entry.data for entry in read_tree(data, limits)}


def pack_candidate(files: Mapping[str, bytes], authorship: Authorship) -> bytes:
    """Pack a miner's replacement files together with their authorship.

    Raises:
        FormatError: for paths that a bundle cannot hold (``authorship.json`` is one), and beyond the limits.
    """
    if not files:
        raise FormatError("A candidate must replace at least one file.")
    if any(path.casefold() == AUTHORSHIP_NAME for path in files):
        raise FormatError(f"{AUTHORSHIP_NAME} is written by the packer and cannot be a candidate's file.")
    record = canonical_json(authorship.to_json())
    Authorship.parse(record)
    return pack_tree({**files, AUTHORSHIP_NAME: record}, CANDIDATE_LIMITS)


def read_candidate(data: bytes) -> tuple[Authorship, dict[str, bytes]]:
    """The authorship and the replacement files of a candidate bundle.

    Raises:
        FormatError: if it is not a canonical candidate bundle.
    """
    entries = read_tree(data, CANDIDATE_LIMITS)
    files = {entry.path: entry.data for entry in entries}
    record = files.pop(AUTHORSHIP_NAME, None)
    if record is None:
        raise FormatError(f"The candidate bundle holds no {AUTHORSHIP_NAME}.")
    if not files:
        raise FormatError("The candidate bundle replaces no file.")
    if any(entry.executable for entry in entries):
        raise FormatError("A candidate's files cannot be executable.")
    return Authorship.parse(record), files


def _pack(entries: Any, limits: TreeLimits) -> bytes:
    ordered = sorted(entries, key=lambda entry: entry.path.encode("utf-8", "surrogatepass"))
    _check_limits(ordered, limits)
    _check_names([entry.path for entry in ordered])
    pieces = []
    for entry in ordered:
        pieces += [_header(entry), entry.data, bytes(-len(entry.data) % BLOCK)]
    return b"".join([*pieces, _END])


def _check_limits(entries: list[TreeFile], limits: TreeLimits) -> None:
    if len(entries) > limits.files:
        raise FormatError(f"The bundle holds {len(entries)} files; at most {limits.files} are allowed.")
    if sum(len(entry.data) for entry in entries) > limits.total_bytes:
        raise FormatError(f"The bundle's files exceed {limits.total_bytes} bytes together.")
    for entry in entries:
        if len(entry.data) > limits.file_bytes:
            raise FormatError(f"{shorten(entry.path)} exceeds {limits.file_bytes} bytes.")


def _check_names(paths: list[str]) -> None:
    """Refuse paths that escape, and paths that a file system without case would confuse."""
    files: set[str] = set()
    folders: dict[str, str] = {}
    for path in paths:
        _check_path(path)
        folded = _fold(path)
        if folded in files:
            raise FormatError(f"The bundle holds {shorten(path)} twice, or twice but for case.")
        files.add(folded)
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folders.setdefault(_fold(folder), folder) != folder:
                raise FormatError(f"The bundle holds the folder {shorten(folder)} in two spellings.")
    clash = files & folders.keys()
    if clash:
        raise FormatError(f"{shorten(min(clash))} is both a file and a folder of the bundle.")


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path.casefold())


def _check_path(path: str) -> None:
    try:
        path.encode("utf-8")
        check_relative_path(path)
    except ValueError as refused:
        raise FormatError(f"A bundle cannot hold {shorten(path)}: {refused}.") from None
    parts = path.split("/")
    if path == "." or len(parts) > _MAX_SEGMENTS:
        raise FormatError(f"A bundle cannot hold {shorten(path)}: it is no file name, or too deep.")
    for part in parts:
        if len(part.encode("utf-8")) > _SEGMENT_BYTES or part.endswith((" ", ".")) or part.startswith(" "):
            raise FormatError(f"A bundle cannot hold {shorten(path)}: file systems differ on such names.")
        if part.casefold() == ".git":
            raise FormatError("A bundle cannot hold a .git folder.")


def _split_name(path: str) -> tuple[bytes, bytes]:
    """Prefix and name: a path of at most 100 bytes is all name, else the shortest prefix that fits."""
    raw = path.encode("utf-8")
    if len(raw) <= _NAME_BYTES:
        return b"", raw
    for position, byte in enumerate(raw):
        if byte == 0x2F and position <= _PREFIX_BYTES and len(raw) - position - 1 <= _NAME_BYTES:
            return raw[:position], raw[position + 1 :]
    raise FormatError(f"The path {shorten(path)} is too long for a bundle.")


def _header(entry: TreeFile) -> bytes:
    prefix, name = _split_name(entry.path)
    header = bytearray(BLOCK)
    header[0 : len(name)] = name
    header[100:108] = b"0000755\0" if entry.executable else b"0000644\0"
    header[108:124] = b"0000000\x000000000\0"
    header[124:136] = b"%011o\0" % len(entry.data)
    header[136:148] = b"00000000000\0"
    header[_CHECKSUM] = b" " * 8
    header[156] = 0x30
    header[257:265] = b"ustar\x0000"
    header[345 : 345 + len(prefix)] = prefix
    header[_CHECKSUM] = b"%06o\0 " % sum(header)
    return bytes(header)


def _entries(data: bytes, limits: TreeLimits) -> Iterator[TreeFile]:
    """Read loosely; the comparison in ``read_tree`` is what makes the reading strict."""
    position, count = 0, 0
    while data[position : position + BLOCK].strip(b"\0"):
        header = data[position : position + BLOCK]
        count += 1
        if count > limits.files or len(header) < BLOCK:
            raise FormatError("The bundle is cut short or holds too many files.")
        size = _octal(header[124:135])
        start = position + BLOCK
        if size > limits.file_bytes or start + size > len(data):
            raise FormatError("The bundle is cut short, or one of its files exceeds the limit.")
        yield TreeFile(_path_of(header), data[start : start + size], header[100:107] == b"0000755")
        position = start + size + -size % BLOCK


def _octal(field: bytes) -> int:
    if not all(0x30 <= byte <= 0x37 for byte in field):
        raise FormatError("The bundle has a header that is not in its canonical form.")
    return int(field, 8)


def _path_of(header: bytes) -> str:
    prefix, name = header[345:500].rstrip(b"\0"), header[:100].rstrip(b"\0")
    try:
        return (prefix + b"/" + name if prefix else name).decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError("The bundle holds a name that is not UTF-8.") from None
