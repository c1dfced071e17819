"""Recovering the key of an ECDSA signature on secp256k1 (SEC 1, section 4.1.6), in plain integers.

Only public values come in, so nothing here needs to take constant time. Common libraries for this take longer
to import than a check takes. Verification itself is left to ``cryptography``; see ``keys``.

A point is (x, y), or ``None`` for the point at infinity. The curve is y² = x³ + 7 over the field of P.
"""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = ["ORDER", "recover"]

Point: TypeAlias = tuple[int, int] | None

P: Final = 2**256 - 2**32 - 977
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G: Final = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def recover(r: int, s: int, is_odd: bool, digest: bytes) -> bytes | None:
    """The uncompressed key (65 bytes) under which (r, s) signs ``digest``, or ``None`` if there is none.

    Args:
        r: 1 ≤ r < ORDER. The rare point whose x is ORDER or more is not considered; nor do Ethereum's v.
        s: 1 ≤ s < ORDER.
        is_odd: Whether the y of the signature's point is odd.
    """
    square = (pow(r, 3, P) + 7) % P
    y = pow(square, (P + 1) // 4, P)
    if y * y % P != square:
        return None
    if (y & 1) != is_odd:
        y = P - y
    inverse = pow(r, -1, ORDER)
    hashed = int.from_bytes(digest, "big")
    key = _combined(-hashed * inverse % ORDER, _G, s * inverse % ORDER, (r, y))
    if key is None:
        return None
    return b"\x04" + key[0].to_bytes(32, "big") + key[1].to_bytes(32, "big")


def _add(a: Point, b: Point) -> Point:
    if a is None or b is None:
        return a or b
    (ax, ay), (bx, by) = a, b
    if ax != bx:
        slope = (by - ay) * pow(bx - ax, -1, P) % P
    elif ay == by and ay:
        slope = 3 * ax * ax * pow(2 * ay, -1, P) % P
    else:
        return None
    x = (slope * slope - ax - bx) % P
    return x, (slope * (ax - x) - ay) % P


def _combined(a: int, first: Point, b: int, second: Point) -> Point:
    """a · first + b · second, both read bit by bit together."""
    table: tuple[Point, ...] = (None, first, second, _add(first, second))
    total: Point = None
    for bit in reversed(range(256)):
        total = _add(total, total)
        total = _add(total, table[(a >> bit & 1) + 2 * (b >> bit & 1)])
    return total
