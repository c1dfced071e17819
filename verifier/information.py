"""How much knowledge a text can carry: a bound on its compressed size. Pure.

Weights that were trained elsewhere, or a table of the validation text, are dense: no spelling makes them
smaller than what they know. Program text is not: sixty kilobytes of it hold fifteen to twenty. So a limit on
the compressed size bounds what can be smuggled in, whether as one literal, as a thousand small ones, in
comments, in names, in blanks or in letters that look alike; and hardly any honest program comes near it.

The measure is our own and not a library's, because two validators must agree to the byte, and compressors of
one format do not agree about sizes from version to version. A greedy parse into letters (7 bits for ASCII, 9
beyond) and repetitions of at least four bytes (2 bits, one for each binary digit of the distance, two for
each digit of the length). On program text it gives about 1.13 times what zlib gives; on random letters of
base 85, 1.08 times.
"""

from __future__ import annotations

from typing import Final

_KEY: Final = 4
"""Bytes of the shortest repetition."""
_CANDIDATES: Final = 16
"""Earlier places of the same four bytes that are tried, the nearest first: bounds the work."""
_LETTER_BITS: Final = 7
_FOREIGN_BITS: Final = 9
_FLAG_BITS: Final = 2


def information_bytes(data: bytes) -> int:
    """Bytes that this text takes in the code described above, rounded up."""
    places: dict[bytes, list[int]] = {}
    bits = at = 0
    while at < len(data):
        length, distance = _longest(data, at, places.get(data[at : at + _KEY], []))
        cost = _FLAG_BITS + distance.bit_length() + 2 * length.bit_length()
        if length == 0 or cost >= _LETTER_BITS * length:
            length, cost = 1, _LETTER_BITS if data[at] < 0x80 else _FOREIGN_BITS
        bits += cost
        for place in range(at, min(at + length, len(data) - _KEY + 1)):
            known = places.setdefault(data[place : place + _KEY], [])
            known.append(place)
            del known[: -2 * _CANDIDATES]
        at += length
    return -(-bits // 8)


def _longest(data: bytes, at: int, earlier: list[int]) -> tuple[int, int]:
    """Length and distance of the longest repetition that begins here; (0, 0) if there is none."""
    best = distance = 0
    for place in reversed(earlier[-_CANDIDATES:]):
        if best and data[place : place + best + 1] != data[at : at + best + 1]:
            continue  # not longer than what was found nearer by
        length = _common(data, place, at)
        if length > best:
            best, distance = length, at - place
    return best, distance


def _common(data: bytes, first: int, second: int) -> int:
    """How many bytes from ``first`` on equal those from ``second`` on (the later of the two)."""
    length, step = 0, 64
    room = len(data) - second
    while length < room:
        step = min(step, room - length)
        if data[first + length : first + length + step] == data[second + length : second + length + step]:
            length += step
            step *= 2
        elif step == 1:
            break
        else:
            step //= 2
    return length
