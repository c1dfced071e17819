"""What other validators attested on the same project: shown in the report, and nothing more.

Found through the ledger: a settled proposal names its reviewer and the root of the attestation. It is
fetched, proven, its signature checked and what it states compared with the ledger's record. It decides
nothing here: another validator is trusted with nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Final

from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.errors import FormatError, SigningError, StorageError
from armlx_chain.formats.attestation import Attestation, SignedAttestation
from armlx_chain.formats.typed import Domain
from armlx_chain.signing.eip712 import check_attestation_signature
from armlx_chain.storage.interface import Fetcher
from armlx_chain.types import Address, Root
from verifier.report import plain, short

__all__ = ["MAX_OTHERS", "other_verdicts"]

log = logging.getLogger(__name__)

MAX_OTHERS: Final = 6
"""Attestations shown in one report: those on the same bundle first, then the newest."""
MAX_MISSED: Final = 3
"""Looking for what nobody has is slow."""
ATTESTATION_LIMIT_BYTES: Final = 1 << 20
_ENDS: Final = {Status.APPROVED: "reproduced", Status.REJECTED: "refuted"}


def other_verdicts(
    proposal: Proposal,
    others: Sequence[Proposal],
    storage: Fetcher,
    *,
    domain: Domain,
    account: Address,
) -> tuple[str, ...]:
    """A sentence for each attestation of another validator on the proposal's project.

    Args:
        others: The project's proposals.
        account: Whose own verdicts are left out.
    """
    settled = [o for o in others if o.status in _ENDS and any(o.metrics_hash) and o.reviewer != account]
    settled.sort(key=lambda other: (other.code_hash != proposal.code_hash, -int(other.id)))
    sentences: list[str] = []
    missed = 0
    for other in settled:
        if len(sentences) >= MAX_OTHERS or missed >= MAX_MISSED:
            break
        try:
            sentences.append(_sentence(proposal, other, storage, domain))
        except StorageError as error:
            missed += 1
            log.debug("the attestation on proposal %s cannot be had: %s", other.id, error.message)
    return tuple(sentences)


def _sentence(proposal: Proposal, other: Proposal, storage: Fetcher, domain: Domain) -> str:
    root = Root.zerog(other.metrics_hash)
    data = storage.fetch(root, max_bytes=ATTESTATION_LIMIT_BYTES).data
    same = ", the same bundle," if other.code_hash == proposal.code_hash else ""
    who = f"Validator {other.reviewer} {other.status.name.lower()} proposal {other.id}{same}"
    try:
        signed = SignedAttestation.parse(data)
        check_attestation_signature(signed)
    except (FormatError, SigningError) as error:
        return f"{who} with what is no attestation of theirs: {plain(error.message, 200)}"
    wrong = list(_contradictions(signed.attestation, other, domain))
    if wrong:
        return f"{who} with an attestation that contradicts the ledger: {', '.join(wrong)}."
    return f"{who}, and attests {_finding(signed.attestation)}."


def _contradictions(stated: Attestation, other: Proposal, domain: Domain) -> Iterator[str]:
    if stated.domain != domain:
        yield "another chain or ledger"
    if stated.proposal_id != other.id:
        yield "another proposal"
    if stated.validator != other.reviewer:
        yield "another validator"
    if stated.candidate_root != Root.zerog(other.code_hash):
        yield "another candidate"
    if stated.outcome != _ENDS[other.status]:
        yield "another outcome"
    if stated.verified_score is not None and int(stated.verified_score) != int(other.verified_score):
        yield "another score"


def _finding(stated: Attestation) -> str:
    figures = ""
    if stated.mean_gain is not None and stated.lower_bound is not None:
        figures = (
            f", mean gain {short(stated.mean_gain)} bits per byte over {stated.pairs} pairs (lower bound "
            f"{short(stated.lower_bound)})"
        )
    return f"{stated.outcome} ({plain(stated.reason, 64)}){figures}, on {plain(stated.hardware_class, 100)}"
