"""Tags of a data item in their Avro form, read strictly (specification, section 4.3).

    tags = block* 00          block = long(count) pair*    or    long(-count) long(bytes) pair*
    pair = long(len) name long(len) value                  long = zig-zag, 7-bit groups, low group first

No tags at all are zero bytes; the one byte ``00`` is read too. Writers emit one block with a positive count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from armlx_chain.errors import ItemRejected, UsageError
from armlx_chain.storage.irys.results import Caution, Reason

__all__ = ["MAX_TAG_BYTES", "Tag", "decode_tags", "encode_tags", "tag_cautions"]

MAX_TAG_BYTES: Final = 4096
"""What the reference libraries read and write at most."""
_MAX_TAGS: Final = 128
_MAX_NAME: Final = 1024
_MAX_VALUE: Final = 3072
_MAX_GROUPS: Final = 10
"""A 64-bit number has at most ten groups of seven bits."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A name and a value; order and repetition count, both are signed."""

    name: str
    value: str


def encode_tags(tags: tuple[Tag, ...]) -> bytes:
    """The writer's form.

    Raises:
        UsageError: if it takes more than ``MAX_TAG_BYTES``, or a text is no Unicode text.
    """
    if not tags:
        return b""
    try:
        pairs = b"".join(_string(tag.name) + _string(tag.value) for tag in tags)
    except UnicodeEncodeError as error:
        raise UsageError("A tag's name or value is not valid Unicode text.") from error
    encoded = _long(len(tags)) + pairs + b"\0"
    if len(encoded) > MAX_TAG_BYTES:
        raise UsageError(f"The tags take {len(encoded)} bytes; at most {MAX_TAG_BYTES} are allowed.")
    return encoded


def decode_tags(data: bytes) -> tuple[Tag, ...]:
    """The tags of ``data``, which must be used up exactly.

    Raises:
        ItemRejected: with the reason ``TAG_BYTES_LIMIT``, ``TAG_DECODE``, ``TAG_TRAILING`` or ``TAG_UTF8``.
    """
    if not data:
        return ()
    if len(data) > MAX_TAG_BYTES:
        raise ItemRejected(
            Reason.TAG_BYTES_LIMIT, f"{len(data)} tag bytes; at most {MAX_TAG_BYTES} are allowed"
        )
    reader = _Reader(data)
    tags: list[Tag] = []
    while count := reader.long():
        end = None
        if count < 0:
            count = -count
            size = reader.long()
            end = reader.position + size
            if size < 0 or end > len(data):
                raise ItemRejected(Reason.TAG_DECODE, "a block of tags gives an impossible size")
        if count > len(data):  # a pair takes two bytes at least
            raise ItemRejected(Reason.TAG_DECODE, f"a block announces {count} tags in {len(data)} bytes")
        tags.extend(Tag(reader.string(), reader.string()) for _ in range(count))
        if end is not None and reader.position != end:
            raise ItemRejected(Reason.TAG_DECODE, "a block of tags does not have the size it gives")
    if reader.position != len(data):
        raise ItemRejected(Reason.TAG_TRAILING, f"{len(data) - reader.position} bytes after the last tag")
    return tuple(tags)


def tag_cautions(tags: tuple[Tag, ...]) -> tuple[Caution, ...]:
    """Warnings for tags that the standard forbids and libraries write."""
    found = []
    if any(not tag.name or not tag.value for tag in tags):
        found.append(Caution.TAG_EMPTY)
    too_long = any(len(t.name.encode()) > _MAX_NAME or len(t.value.encode()) > _MAX_VALUE for t in tags)
    if too_long or len(tags) > _MAX_TAGS:
        found.append(Caution.TAG_LIMITS)
    return tuple(found)


def _long(value: int) -> bytes:
    rest = value << 1  # zig-zag of a number that is never negative here
    groups = bytearray()
    while rest > 0x7F:
        groups.append(rest & 0x7F | 0x80)
        rest >>= 7
    groups.append(rest)
    return bytes(groups)


def _string(text: str) -> bytes:
    data = text.encode()
    return _long(len(data)) + data


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def long(self) -> int:
        value = 0
        for group in range(_MAX_GROUPS):
            if self.position >= len(self._data):
                raise ItemRejected(Reason.TAG_DECODE, "the tags end in the middle of a number")
            byte = self._data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << 7 * group
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
        raise ItemRejected(Reason.TAG_DECODE, "a number in the tags is longer than 64 bits")

    def string(self) -> str:
        length = self.long()
        start = self.position
        if not 0 <= length <= len(self._data) - start:
            raise ItemRejected(Reason.TAG_DECODE, "a text in the tags goes past their end")
        self.position = start + length
        try:
            return self._data[start : self.position].decode()
        except UnicodeDecodeError:
            raise ItemRejected(Reason.TAG_UTF8, "a tag is not valid UTF-8 text") from None
