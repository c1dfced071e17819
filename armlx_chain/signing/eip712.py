"""Signatures on claims and attestations.

A signature is 65 bytes r ‖ s ‖ v with v 27 or 28 and s in the lower half, so that each has one spelling. Only
keys sign; contracts as signers (EIP-1271) are not known here.
"""

from __future__ import annotations

from eth_keys import keys
from eth_keys.exceptions import BadSignature, ValidationError

from armlx_chain.errors import SigningError
from armlx_chain.formats.attestation import Attestation, SignedAttestation
from armlx_chain.formats.claim import Claim
from armlx_chain.formats.evidence import SIGNATURE_BYTES, Evidence
from armlx_chain.formats.policy import SignedPolicy
from armlx_chain.formats.typed import TypedData
from armlx_chain.signing.guard import GuardKey, SingleSignGuard
from armlx_chain.signing.signer import Signer
from armlx_chain.types import Address

__all__ = [
    "check_attestation_signature",
    "check_claim_signature",
    "check_evidence_signature",
    "check_policy_signature",
    "guard_key",
    "recover",
    "sign_attestation",
    "sign_claim",
    "sign_recorded",
    "sign_typed",
]

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def sign_typed(signer: Signer, typed: TypedData) -> bytes:
    """Sign typed data other than an attestation.

    Raises:
        GuardRefused: for an attestation.
        FormatError: if a value does not fit its type.
    """
    return signer.sign_typed_data(typed)


def recover(typed: TypedData, signature: bytes) -> Address:
    """Whose key made this signature.

    Raises:
        SigningError: if it is not a signature in its one spelling.
    """
    if len(signature) != SIGNATURE_BYTES or signature[64] not in (27, 28):
        raise SigningError("A signature has 65 bytes, the last of which is 27 or 28.")
    if int.from_bytes(signature[32:64], "big") > _ORDER // 2:
        raise SigningError("The signature's s is in the upper half; every signature has one spelling here.")
    try:
        parts = keys.Signature(signature[:64] + bytes([signature[64] - 27]))
        return Address(parts.recover_public_key_from_msg_hash(typed.digest()).to_checksum_address())
    except (BadSignature, ValidationError, ValueError):
        raise SigningError("The signature does not belong to any key.") from None


def sign_claim(signer: Signer, claim: Claim) -> bytes:
    """Sign a claim with its miner's key.

    Raises:
        SigningError: if the key is not the miner's.
        FormatError: if a field is not acceptable.
    """
    if claim.miner != signer.address:
        raise SigningError(f"The claim is {claim.miner}'s, but the key belongs to {signer.address}.")
    return signer.sign_typed_data(claim.typed_data())


def check_claim_signature(claim: Claim, signature: bytes) -> None:
    """Require that the claim's miner signed it.

    Raises:
        SigningError: if somebody else did, or nobody.
    """
    signed_by = recover(claim.typed_data(), signature)
    if signed_by != claim.miner:
        raise SigningError(f"The claim names the miner {claim.miner} but was signed by {signed_by}.")


def check_evidence_signature(evidence: Evidence) -> None:
    """Require that the claim inside was signed by its miner.

    Raises:
        SigningError: if it was not.
    """
    check_claim_signature(evidence.claim, evidence.signature)


def guard_key(attestation: Attestation) -> GuardKey:
    """Under which key the guard knows this attestation."""
    return GuardKey(
        chain_id=attestation.domain.chain_id,
        genesis_hash=attestation.genesis_hash,
        ledger=attestation.domain.ledger,
        proposal_id=attestation.proposal_id,
        signer=attestation.validator,
    )


def sign_attestation(signer: Signer, guard: SingleSignGuard, attestation: Attestation) -> SignedAttestation:
    """Enter a verdict into the guard, then sign it.

    Raises:
        SigningError: if the key is not the validator's.
        GuardRefused: if this key signed another verdict on the proposal, or the record cannot be kept.
        FormatError: if the figures contradict the verdict.
    """
    if attestation.validator != signer.address:
        raise SigningError(f"The verdict is {attestation.validator}'s; the key belongs to {signer.address}.")
    digest = attestation.digest()
    guard.check_and_insert(guard_key(attestation), attestation.encode())
    return SignedAttestation(attestation, signer._sign_digest(digest))


def sign_recorded(signer: Signer, guard: SingleSignGuard, key: GuardKey) -> SignedAttestation | None:
    """The verdict that was entered under this key, signed again; ``None`` if none was.

    For a restart after the entry and before the signature was kept: a verdict drafted anew would have another
    time, hence other bytes, and be refused.

    Raises:
        SigningError: if the key is not the validator's.
        GuardRefused: if the record cannot be read.
        FormatError: if the record is no attestation.
    """
    payload = guard.recorded(key)
    return None if payload is None else sign_attestation(signer, guard, Attestation.parse(payload))


def check_attestation_signature(signed: SignedAttestation) -> None:
    """Require that the named validator signed the verdict.

    Raises:
        SigningError: if somebody else did, or nobody.
    """
    signed_by = recover(signed.attestation.typed_data(), signed.signature)
    if signed_by != signed.attestation.validator:
        raise SigningError(f"The verdict names {signed.attestation.validator} but was signed by {signed_by}.")


def check_policy_signature(signed: SignedPolicy) -> None:
    """Require that the named validator signed its policy.

    Raises:
        SigningError: if somebody else did, or nobody.
    """
    signed_by = recover(signed.policy.typed_data(), signed.signature)
    if signed_by != signed.policy.validator:
        raise SigningError(f"The policy names {signed.policy.validator} but was signed by {signed_by}.")
