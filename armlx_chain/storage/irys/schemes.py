"""Signature types of data items: field sizes, the message each one signs, and its check.

The table is the specification's section 4.5. Types 6 and 8 are known and never verify: with type 6 an empty
list of signers passes the reference library's check, so anyone can make such items.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from armlx_chain.encodings import base58_encode, base64url_encode
from armlx_chain.storage.irys import keys
from armlx_chain.storage.irys.keys import keccak256
from armlx_chain.storage.irys.results import Caution, Reason, Verdict

__all__ = ["ETHEREUM", "SCHEMES", "SignatureType", "personal_digest", "schemes_of_size"]

_OWNER_TEXT: Final = re.compile(rb"0x[0-9a-fA-F]{40}")
_DOMAIN_TYPE: Final = b"EIP712Domain(string name,string version)"
_PRIMARY_TYPE: Final = b"Bundlr(bytes Transaction hash,address address)"
"""The space inside a field's name is what deployed signers really sign."""


@dataclass(frozen=True, slots=True)
class SignatureType:
    """One signature type.

    Attributes:
        number: As on the wire.
        name: For a person.
        signature_bytes: Size of the signature field.
        owner_bytes: Size of the owner field.
        check: (owner, signature, deep hash) to a verdict; ``None`` if the type never verifies.
        address: Owner to the address that people know; a hint, derived and not signed as such.
    """

    number: int
    name: str
    signature_bytes: int
    owner_bytes: int
    check: Callable[[bytes, bytes, bytes], Verdict] | None
    address: Callable[[bytes], str | None]


def _verdict(reason: Reason | None) -> Verdict:
    why = {
        Reason.WEAK_KEY: "the owner's key is weak: its signatures fit any content",
        Reason.BAD_OWNER: "the owner field is not a key of this type",
        Reason.HIGH_S: "the signature is the malleable twin of another one (high s)",
        Reason.BAD_SIGNATURE: "the signature does not fit these fields and this content",
    }
    return Verdict() if reason is None else Verdict(reason, why.get(reason, ""))


# --- messages -----------------------------------------------------------------------------------------------


def personal_digest(message: bytes) -> bytes:
    """EIP-191: keccak256(0x19 ‖ "Ethereum Signed Message:\\n" ‖ dec(len) ‖ message)."""
    return keccak256(b"\x19Ethereum Signed Message:\n%d" % len(message) + message)


def typed_digest(message: bytes, address: bytes) -> bytes:
    """EIP-712 digest of type 7 for a deep hash and an address of 20 bytes."""
    domain = keccak256(keccak256(_DOMAIN_TYPE) + keccak256(b"Bundlr") + keccak256(b"1"))
    struct = keccak256(keccak256(_PRIMARY_TYPE) + keccak256(message) + bytes(12) + address)
    return keccak256(b"\x19\x01" + domain + struct)


def _hex_text(message: bytes) -> bytes:
    return message.hex().encode()


def _aptos_text(message: bytes) -> bytes:
    return b"APTOS\nmessage: " + _hex_text(message) + b"\nnonce: bundlr"


# --- checks -------------------------------------------------------------------------------------------------


def _arweave(owner: bytes, signature: bytes, message: bytes) -> Verdict:
    return _verdict(keys.rsa_key_fault(owner) or keys.check_rsa_pss(owner, signature, message))


def _ed25519(form: Callable[[bytes], bytes]) -> Callable[[bytes, bytes, bytes], Verdict]:
    def check(owner: bytes, signature: bytes, message: bytes) -> Verdict:
        return _verdict(keys.ed25519_key_fault(owner) or keys.check_ed25519(owner, signature, form(message)))

    return check


def _ethereum(owner: bytes, signature: bytes, message: bytes) -> Verdict:
    digest = personal_digest(message)
    reason = keys.secp256k1_key_fault(owner) or keys.check_ecdsa(owner, signature, digest)
    if reason is None and keys.recover_key(signature, digest) != owner:
        return Verdict(cautions=(Caution.V_NONSTANDARD,))
    return _verdict(reason)


def _typed_ethereum(owner: bytes, signature: bytes, message: bytes) -> Verdict:
    if not _OWNER_TEXT.fullmatch(owner):
        return _verdict(Reason.BAD_OWNER)
    address = bytes.fromhex(owner[2:].decode())
    recovery = signature[64] + 27 if signature[64] in (0, 1) else signature[64]
    key = keys.recover_key(signature[:64] + bytes([recovery]), typed_digest(message, address))
    if isinstance(key, Reason):
        return _verdict(key)
    return _verdict(None if keccak256(key[1:])[12:] == address else Reason.BAD_SIGNATURE)


# --- addresses ----------------------------------------------------------------------------------------------


def _arweave_address(owner: bytes) -> str:
    return base64url_encode(hashlib.sha256(owner).digest())


def _ethereum_address(owner: bytes) -> str:
    digits = keccak256(owner[1:])[12:].hex()
    mask = keccak256(digits.encode()).hex()  # EIP-55: upper case where the hash's digit is 8 or more
    return "0x" + "".join(d.upper() if m >= "8" else d for d, m in zip(digits, mask, strict=False))


def _typed_address(owner: bytes) -> str:
    return owner.decode("ascii", "replace")


def _no_address(owner: bytes) -> str | None:
    return None


ETHEREUM: Final = 3

SCHEMES: Final = {
    scheme.number: scheme
    for scheme in (
        SignatureType(1, "Arweave", 512, 512, _arweave, _arweave_address),
        SignatureType(2, "Ed25519", 64, 32, _ed25519(bytes), base58_encode),
        SignatureType(ETHEREUM, "Ethereum", 65, 65, _ethereum, _ethereum_address),
        SignatureType(4, "Solana", 64, 32, _ed25519(_hex_text), base58_encode),
        SignatureType(5, "Injected Aptos", 64, 32, _ed25519(_aptos_text), _no_address),
        SignatureType(6, "Multi-Aptos", 2052, 1025, None, _no_address),
        SignatureType(7, "Typed Ethereum", 65, 42, _typed_ethereum, _typed_address),
        SignatureType(8, "Starknet", 96, 67, None, _no_address),
    )
}
_BY_LIKELIHOOD: Final = (1, 3, 7, 4, 2, 5)


def schemes_of_size(signature_bytes: int, owner_bytes: int) -> tuple[SignatureType, ...]:
    """The verifiable types with fields of these sizes, the most usual first."""
    likely = (SCHEMES[number] for number in _BY_LIKELIHOOD)
    return tuple(s for s in likely if (s.signature_bytes, s.owner_bytes) == (signature_bytes, owner_bytes))
