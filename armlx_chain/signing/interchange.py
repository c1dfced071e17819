"""The guard's entries as a document: to move a key to another machine, and to mend a guard that lost some.

Lines of canonical JSON: a header with the number of entries, each entry with key, digest and payload, and at
the end the SHA-256 of all lines before, which finds accidents. The document is neither secret nor authentic:
an import can only forbid, never allow, so a forged one can stop a validator and nothing worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, Final

from armlx_chain.errors import FormatError
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.fields import Fields
from armlx_chain.signing.guard import Entry, GuardKey
from armlx_chain.types import Address, ProposalId

__all__ = ["INTERCHANGE_LIMIT_BYTES", "read_interchange", "write_interchange"]

INTERCHANGE_LIMIT_BYTES: Final = 512 << 20
_KIND: Final = "armlx-guard"
_WHAT: Final = "The guard's interchange document"
_KEYS: Final = ("chainId", "digest", "genesisHash", "ledger", "payload", "proposalId", "signer")
_PIECE: Final = 60_000
"""Characters of one string; a document's strings are bounded."""


def write_interchange(entries: Sequence[Entry]) -> bytes:
    """All entries as a document."""
    lines = [canonical_json({"entries": len(entries), "kind": _KIND, "version": 1})]
    lines += [canonical_json(_tree(entry)) for entry in entries]
    body = b"\n".join(lines) + b"\n"
    return body + canonical_json({"check": "0x" + sha256(body).hexdigest()}) + b"\n"


def read_interchange(data: bytes) -> tuple[Entry, ...]:
    """Read a document.

    Raises:
        FormatError: it is none, or is damaged.
    """
    if len(data) > INTERCHANGE_LIMIT_BYTES or not data.endswith(b"\n"):
        raise FormatError(f"{_WHAT} is too long or incomplete.")
    *lines, last = data[:-1].split(b"\n")
    if not lines:
        raise FormatError(f"{_WHAT} is incomplete.")
    body = b"\n".join(lines) + b"\n"
    check = Fields(parse_canonical(last, what=_WHAT), ("check",), what=_WHAT)
    if check.hex_bytes("check", 32) != sha256(body).digest():
        raise FormatError(f"{_WHAT} is damaged: it does not have the digest it states.")
    header = Fields(parse_canonical(lines[0], what=_WHAT), ("entries", "kind", "version"), what=_WHAT)
    header.kind(_KIND)
    if header.integer("entries") != len(lines) - 1:
        raise FormatError(f"{_WHAT} is damaged: it does not have as many entries as it states.")
    return tuple(_entry(parse_canonical(line, what=_WHAT)) for line in lines[1:])


def _tree(entry: Entry) -> dict[str, Any]:
    return {
        "chainId": str(entry.key.chain_id),
        "digest": "0x" + entry.digest.hex(),
        "genesisHash": "0x" + entry.key.genesis_hash.hex(),
        "ledger": entry.key.ledger.lower(),
        "payload": list(_pieces(entry.payload.hex())),
        "proposalId": str(entry.key.proposal_id),
        "signer": entry.key.signer.lower(),
    }


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _PIECE):
        yield text[start : start + _PIECE]


def _entry(tree: Any) -> Entry:
    Fields(tree, _KEYS, what=_WHAT)
    pieces = tree["payload"]
    try:
        payload = bytes.fromhex("".join(pieces))
        key = GuardKey(
            chain_id=_number(tree["chainId"]),
            genesis_hash=_bytes(tree["genesisHash"], 32),
            ledger=Address("0x" + _bytes(tree["ledger"], 20).hex()),
            proposal_id=ProposalId(_number(tree["proposalId"])),
            signer=Address("0x" + _bytes(tree["signer"], 20).hex()),
        )
        digest = _bytes(tree["digest"], 32)
    except (ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"{_WHAT} has a damaged entry: {error}.") from error
    if sha256(payload).digest() != digest:
        raise FormatError(f"{_WHAT} has an entry whose payload does not have its digest.")
    return Entry(key, digest, payload)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 78) or text != str(int(text)):
        raise ValueError(f"{text[:20]!r} is no whole number")
    return int(text)


def _bytes(text: str, length: int) -> bytes:
    if text != text.lower() or not text.startswith("0x") or len(text) != 2 + 2 * length:
        raise ValueError(f"{length} bytes in hexadecimal are expected")
    return bytes.fromhex(text[2:])
