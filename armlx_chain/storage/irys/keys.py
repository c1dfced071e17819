"""The three signature algorithms that Irys items use, checked more strictly than common libraries do.

Each function returns why a key or signature is refused, or ``None``. The reasons matter: with a weak key one
signature, hence one id, is valid for any content (specification, section 4.7, rules R8 to R14).

Whatever the libraries below raise counts as a failed check, never as a success.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from armlx_chain.storage.irys.results import Reason
from armlx_chain.storage.irys.secp256k1 import ORDER, recover

__all__ = [
    "RSA_BYTES",
    "check_ecdsa",
    "check_ed25519",
    "check_rsa_pss",
    "ed25519_key_fault",
    "keccak256",
    "recover_key",
    "rsa_key_fault",
    "secp256k1_key_fault",
]

RSA_BYTES: Final = 512
"""RSA keys of Arweave have 4096 bits; no shorter ones are allowed."""
_RSA_EXPONENT: Final = 65537

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ED25519_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_TORSION: Final = 8
"""Points whose eightfold is the identity have small order."""

_LIBRARY_ERRORS: Final = (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError, OverflowError)


def keccak256(data: bytes) -> bytes:
    """Keccak-256 (not SHA3-256)."""
    from armlx_chain.storage.zerog.keccak import keccak256 as fastest  # may be slow to import, and is rare

    return fastest(data)


# --- RSA-PSS ------------------------------------------------------------------------------------------------


def rsa_key_fault(modulus: bytes) -> Reason | None:
    """R14: the modulus uses all 512 bytes and is odd."""
    if len(modulus) != RSA_BYTES or modulus[0] == 0 or modulus[-1] % 2 == 0:
        return Reason.BAD_OWNER
    return None


def check_rsa_pss(modulus: bytes, signature: bytes, message: bytes) -> Reason | None:
    """RSASSA-PSS with SHA-256, MGF1-SHA-256, e = 65537 and a salt of any length."""
    number = int.from_bytes(modulus, "big")
    if len(signature) != RSA_BYTES or int.from_bytes(signature, "big") >= number:
        return Reason.BAD_SIGNATURE
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.AUTO)
    try:
        key = rsa.RSAPublicNumbers(_RSA_EXPONENT, number).public_key()
        key.verify(signature, message, scheme, hashes.SHA256())
    except _LIBRARY_ERRORS:
        return Reason.BAD_SIGNATURE
    return None


# --- Ed25519 ------------------------------------------------------------------------------------------------


def ed25519_key_fault(owner: bytes) -> Reason | None:
    """R8: a canonical encoding of a point on the curve that is not of small order."""
    point = _decompress(owner)
    if point is None:
        return Reason.WEAK_KEY
    for _ in range(_TORSION.bit_length() - 1):
        point = _double(point)
    return Reason.WEAK_KEY if point == (0, 1) else None


def check_ed25519(owner: bytes, signature: bytes, message: bytes) -> Reason | None:
    """Ed25519, with S below the group's order (R9)."""
    if len(signature) != 64 or int.from_bytes(signature[32:], "little") >= _ED25519_ORDER:
        return Reason.BAD_SIGNATURE
    try:
        Ed25519PublicKey.from_public_bytes(owner).verify(signature, message)
    except _LIBRARY_ERRORS:
        return Reason.BAD_SIGNATURE
    return None


def _decompress(encoded: bytes) -> tuple[int, int] | None:
    """The point of a canonical encoding (RFC 8032, 5.1.3), or ``None``."""
    if len(encoded) != 32:
        return None
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if x * x % _P != square:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    if x * x % _P != square or (x == 0 and sign):
        return None
    return (_P - x if x & 1 != sign else x), y


def _double(point: tuple[int, int]) -> tuple[int, int]:
    x, y = point
    product = _D * x * x * y * y % _P  # complete formulas: the denominators are never zero
    return (
        2 * x * y * pow(1 + product, -1, _P) % _P,
        (y * y + x * x) * pow(1 - product, -1, _P) % _P,
    )


# --- secp256k1 ----------------------------------------------------------------------------------------------


def secp256k1_key_fault(owner: bytes) -> Reason | None:
    """R10: ``04 ‖ X ‖ Y`` with the point on the curve."""
    return Reason.BAD_OWNER if _secp256k1(owner) is None else None


def _secp256k1(owner: bytes) -> ec.EllipticCurvePublicKey | None:
    if len(owner) != 65 or owner[0] != 4:
        return None
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), owner)
    except _LIBRARY_ERRORS:
        return None


def _scalars(signature: bytes) -> tuple[int, int] | Reason:
    """r and s, in range and with a low s (R10)."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if len(signature) != 65 or not (1 <= r < ORDER and 1 <= s < ORDER):
        return Reason.BAD_SIGNATURE
    return Reason.HIGH_S if s > ORDER // 2 else (r, s)


def check_ecdsa(owner: bytes, signature: bytes, digest: bytes) -> Reason | None:
    """ECDSA over a digest of 32 bytes, under an uncompressed key; the recovery byte is not looked at."""
    scalars = _scalars(signature)
    if isinstance(scalars, Reason):
        return scalars
    key = _secp256k1(owner)
    if key is None:
        return Reason.BAD_OWNER
    try:
        prehashed = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
        key.verify(utils.encode_dss_signature(*scalars), digest, prehashed)
    except _LIBRARY_ERRORS:
        return Reason.BAD_SIGNATURE
    return None


def recover_key(signature: bytes, digest: bytes) -> bytes | Reason:
    """The uncompressed key (65 bytes) that r ‖ s ‖ v over ``digest`` gives; v is 27 or 28, s is low."""
    scalars = _scalars(signature)
    if isinstance(scalars, Reason):
        return scalars
    if signature[64] not in (27, 28):
        return Reason.BAD_SIGNATURE
    return recover(*scalars, signature[64] == 28, digest) or Reason.BAD_SIGNATURE
