"""From served bytes and served fields to a proof, and from a kept proof to the same proof again.

A *claim* is what some server says the id's signed object looks like: an item's metadata, an Arweave header or
a datachain header. It is believed in nothing; it is tried on the bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Final

from armlx_chain.errors import ContentMismatch
from armlx_chain.storage.interface import MAX_DOCUMENT_BYTES, MAX_EVIDENCE_BYTES, Evidence, ProofKind
from armlx_chain.storage.irys.arweave import verify_l1
from armlx_chain.storage.irys.datachain import verify_chain_tx
from armlx_chain.storage.irys.foreign import Json, base64url_field, parse_object
from armlx_chain.storage.irys.items import Item, assemble, verify_item
from armlx_chain.storage.irys.rebuild import rebuild_item
from armlx_chain.storage.irys.results import Reason, Verdict
from armlx_chain.types import Root

__all__ = ["Claim", "ClaimKind", "IrysProver", "Outcome", "names_signature", "prove_claim", "prove_raw"]


class ClaimKind(StrEnum):
    """What a claim describes."""

    ITEM = "item"
    ARWEAVE = "arweave"
    DATACHAIN = "datachain"


@dataclass(frozen=True, slots=True)
class Claim:
    """Fields that a server gave for the id, and who gave them."""

    kind: ClaimKind
    fields: Json
    source: str

    @property
    def lacks_anchor(self) -> bool:
        """Whether it is an item's metadata without an anchor: then a failed check says nothing."""
        return self.kind is ClaimKind.ITEM and not self.fields.get("anchor")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A payload with the verdict on it.

    Attributes:
        payload: The content, where the verdict accepts it.
        item: The signed item, for items.
        evidence: What proves the payload again; ``None`` where it would be too large to keep.
    """

    verdict: Verdict
    payload: bytes = b""
    kind: ProofKind = ProofKind.REBUILT_ITEM
    item: Item | None = None
    evidence: Evidence | None = None


def prove_raw(body: bytes, wanted: bytes) -> Outcome | None:
    """Is ``body`` itself the signed item? ``None`` if it is not even an item of that id."""
    checked = verify_item(body, wanted)
    if checked.item is None or checked.verdict.reason is Reason.ID_MISMATCH:
        return None
    return _of_item(checked.verdict, checked.item, ProofKind.SIGNED_ITEM)


def prove_claim(claim: Claim, body: bytes, wanted: bytes) -> Outcome:
    """Does ``claim`` prove that ``body`` is the content of the id ``wanted``?"""
    if claim.kind is ClaimKind.ITEM:
        checked = rebuild_item(claim.fields, body, wanted)
        if checked.item is None:
            return Outcome(checked.verdict)
        return _of_item(checked.verdict, checked.item, ProofKind.REBUILT_ITEM)
    if claim.kind is ClaimKind.ARWEAVE:
        verdict = verify_l1(claim.fields, wanted, body)
    else:
        verdict = verify_chain_tx(claim.fields, wanted, body)
    if not verdict.accepted:
        return Outcome(verdict)
    return Outcome(verdict, body, ProofKind.CHAIN_TRANSACTION, None, _header_evidence(claim))


def _of_item(verdict: Verdict, item: Item, kind: ProofKind) -> Outcome:
    if not verdict.accepted:
        return Outcome(verdict)
    raw = assemble(item)
    head = raw[: len(raw) - len(item.data)]
    return Outcome(verdict, item.data, kind, item, Evidence(kind, head))


_ARWEAVE_FIELDS: Final = (
    *("format", "id", "last_tx", "owner", "tags", "target"),
    *("quantity", "data_size", "data_root", "reward", "signature"),
)
_CHAIN_FIELDS: Final = (
    *("version", "id", "anchor", "signer", "dataRoot", "dataSize", "headerSize", "prefixSize", "prefixHash"),
    *("termFee", "ledgerId", "chainId", "signature", "bundleFormat", "metadataFormat", "permFee"),
)


def _header_evidence(claim: Claim) -> Evidence | None:
    names = _ARWEAVE_FIELDS if claim.kind is ClaimKind.ARWEAVE else _CHAIN_FIELDS
    kept = {name: claim.fields[name] for name in names if name in claim.fields}
    blob = json.dumps({"kind": claim.kind.value, "fields": kept}).encode()
    return Evidence(ProofKind.CHAIN_TRANSACTION, blob) if len(blob) <= MAX_EVIDENCE_BYTES else None


class IrysProver:
    """Proves kept payloads again; see :class:`armlx_chain.storage.interface.Prover`."""

    def prove(self, root: Root, payload: BinaryIO, size: int, evidence: Evidence) -> None:
        """Read ``size`` bytes from ``payload`` and prove them with ``evidence``.

        Raises:
            ContentMismatch: they do not belong to ``root``.
        """
        if size > MAX_DOCUMENT_BYTES:  # nobody kept it: whoever made it means to fill the memory
            raise ContentMismatch(f"The kept bytes are not the content of {root}: {size} bytes are too many.")
        data = payload.read(size)
        verdict = Verdict(Reason.NOT_VERIFIABLE, "evidence of this kind proves no Irys id")
        if len(data) != size:
            verdict = Verdict(Reason.SIZE_MISMATCH, f"only {len(data)} of {size} bytes are there")
        elif evidence.kind in (ProofKind.SIGNED_ITEM, ProofKind.REBUILT_ITEM):
            verdict = _same_item(root, evidence.blob, data)
        elif evidence.kind is ProofKind.CHAIN_TRANSACTION:
            verdict = _same_transaction(root, evidence.blob, data)
        if root.scheme != "irys" or not verdict.accepted:
            raise ContentMismatch(f"The kept bytes are not the content of {root}: {verdict}.")


def _same_item(root: Root, head: bytes, data: bytes) -> Verdict:
    checked = verify_item(head + data, root.digest)
    if checked.verdict.accepted and checked.item is not None and checked.item.data != data:
        return Verdict(Reason.SIZE_MISMATCH, "the evidence holds a part of the content")
    return checked.verdict


def _same_transaction(root: Root, blob: bytes, data: bytes) -> Verdict:
    document = parse_object(blob) or {}
    fields, kind = document.get("fields"), document.get("kind")
    if not isinstance(fields, dict) or kind not in (ClaimKind.ARWEAVE, ClaimKind.DATACHAIN):
        return Verdict(Reason.NOT_VERIFIABLE, "the evidence is unreadable")
    return prove_claim(Claim(ClaimKind(kind), fields, "evidence"), data, root.digest).verdict


def names_signature(claim: Claim, wanted: bytes) -> bool:
    """Whether an item's metadata holds the signature that the id is the hash of."""
    signature = base64url_field(claim.fields, "signature")
    return signature is not None and hashlib.sha256(signature).digest() == wanted
