"""Units and content addresses that all layers share.

- Amounts are integers: ``Wei`` of the native coin, ``Tokens`` of a project (they have no decimals).
- A score is a ``ScaledScore``: metric × 1,000,000 as a signed integer, greater is better.
- A content address is a pair (scheme, 32 bytes). Bare digests of two schemes are never compared.

>>> Root.parse("0g:0x" + "ab" * 32) == Root.parse("0x" + "AB" * 32)
True
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NewType

from armlx_chain.errors import RootFormatError

Wei = NewType("Wei", int)
Tokens = NewType("Tokens", int)
BlockNumber = NewType("BlockNumber", int)
ScaledScore = NewType("ScaledScore", int)
ProjectId = NewType("ProjectId", int)
ProposalId = NewType("ProposalId", int)
Address = NewType("Address", str)
"""A checksummed (EIP-55) account or contract address."""
TxHash = NewType("TxHash", str)
"""Lower-case ``0x`` and 64 hex digits."""

SCORE_SCALE = 1_000_000
"""Raw score units per unit of the metric (contracts specification, section 10)."""

Scheme = Literal["0g", "irys", "sha256"]

_HEX32 = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Root:
    """A tagged content address.

    Attributes:
        scheme: ``0g`` (Merkle root of 0G Storage), ``irys`` (id of an Irys item) or ``sha256``.
        digest: The 32 bytes.
    """

    scheme: Scheme
    digest: bytes

    def __post_init__(self) -> None:
        if len(self.digest) != 32:
            raise RootFormatError(f"A root has 32 bytes, this one has {len(self.digest)}.")

    @classmethod
    def zerog(cls, digest: bytes) -> Root:
        return cls("0g", bytes(digest))

    @classmethod
    def parse(cls, text: str) -> Root:
        """Read ``0g:0x…``, ``sha256:…``, ``irys:…`` or bare hex, which means 0G.

        Raises:
            RootFormatError: for anything else.
        """
        scheme, colon, rest = text.strip().partition(":")
        if not colon:
            scheme, rest = "0g", scheme
        if scheme in ("0g", "sha256"):
            match = _HEX32.fullmatch(rest)
            if match:
                digest = bytes.fromhex(match.group(1))
                return cls("0g" if scheme == "0g" else "sha256", digest)
        elif scheme == "irys":
            return cls("irys", _irys_digest(rest))
        shown = text if len(text) <= 100 else text[:97] + "…"
        raise RootFormatError(
            f"{shown!r} is not a root.",
            next_step="Give 0x and 64 hex digits (a 0G root), 0g:0x…, sha256:… or irys:<id>.",
        )

    @property
    def hex(self) -> str:
        """``0x`` and 64 lower-case hex digits, as the ledger's bytes32 fields show it."""
        return "0x" + self.digest.hex()

    def __str__(self) -> str:
        return f"{self.scheme}:{self.hex if self.scheme == '0g' else self.digest.hex()}"


def _irys_digest(text: str) -> bytes:
    """The 32 bytes of an Irys id in base58 or hex.

    Raises:
        RootFormatError: if it is neither.
    """
    match = _HEX32.fullmatch(text)
    if match:
        return bytes.fromhex(match.group(1))
    number = 0
    if not text or len(text) > 44 or any(char not in _BASE58 for char in text):
        raise RootFormatError(f"{text[:60]!r} is not an Irys id in base58 or hex.")
    for char in text:
        number = number * 58 + _BASE58.index(char)
    if number >= 1 << 256:
        raise RootFormatError(f"{text!r} is longer than 32 bytes.")
    return number.to_bytes(32, "big")
