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

from armlx_chain.encodings import parse_id
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

        An Irys id may be base58, base64url or hex; where both of the first two fit, ``irys:base58:…`` or
        ``irys:base64url:…`` says which.

        Raises:
            RootFormatError: for anything else, and for an ambiguous id.
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
            return _only(rest, [cls("irys", digest) for digest in _irys_digests(rest)])
        shown = text if len(text) <= 100 else text[:97] + "…"
        raise RootFormatError(
            f"{shown!r} is not a root.",
            next_step="Give 0x and 64 hex digits (a 0G root), 0g:0x…, sha256:… or irys:<id>.",
        )

    @classmethod
    def candidates(cls, text: str) -> tuple[Root, ...]:
        """All readings of ``text``: one, or two for an Irys id that is both base64url and base58.

        Raises:
            RootFormatError: if there is none.
        """
        scheme, _, rest = text.strip().partition(":")
        found = tuple(cls("irys", digest) for digest in _irys_digests(rest)) if scheme == "irys" else ()
        return found or (cls.parse(text),)

    @property
    def hex(self) -> str:
        """``0x`` and 64 lower-case hex digits, as the ledger's bytes32 fields show it."""
        return "0x" + self.digest.hex()

    def __str__(self) -> str:
        return f"{self.scheme}:{self.hex if self.scheme == '0g' else self.digest.hex()}"


def _irys_digests(text: str) -> list[bytes]:
    """The readings of an Irys id; ``base58:`` or ``base64url:`` in front of it says which one is meant."""
    form, colon, rest = text.partition(":")
    return [c.digest for c in parse_id(rest if colon else text) if not colon or c.encoding == form]


def _only(text: str, readings: list[Root]) -> Root:
    if len(readings) == 1:
        return readings[0]
    if not readings:
        raise RootFormatError(
            f"{text[:60]!r} is not an Irys id.",
            next_step="Give it as the receipt or page writes it: base58, base64url, or 64 hex digits.",
        )
    raise RootFormatError(
        f"{text!r} is an Irys id in two forms at once, and means different bytes in each.",
        next_step=f"If it stands in an upload receipt, give irys:base58:{text};"
        f" if it is part of a link, irys:base64url:{text}.",
        details={"candidates": [str(reading) for reading in readings]},
    )
