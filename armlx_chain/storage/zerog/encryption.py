"""Files that were encrypted before they were stored (0G Storage's client-side format, versions 1 and 2).

- An encrypted file is a header and the AES-256-CTR stream of the content. Root and length are those of the
  encrypted bytes; nodes know nothing of it.
- Nothing but the first byte marks a file as encrypted, and a plain file may begin with it. So nothing is ever
  decrypted unasked: :func:`header_of` says what a file looks like, :func:`decrypt_file` needs a key.
- The format has no checksum of the content. A wrong version 1 key gives noise and no error; the bytes that
  were stored are proven by their root either way.

Version 1: ``01``, 16 bytes of nonce; the key is 32 bytes that the owner has. Version 2: ``02``, a compressed
secp256k1 public key, 16 bytes of nonce; the key comes from it and the recipient's private key by ECDH (the x
coordinate) and HKDF-SHA256. The nonce is the first counter block, big-endian.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from armlx_chain.errors import EncryptionError, MachineError
from armlx_chain.storage.files import staged

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import CipherContext

__all__ = [
    "DecryptionKey",
    "EncryptionHeader",
    "decrypt_file",
    "decryptor",
    "header_of",
    "read_header",
    "read_key_file",
]

_NONCE = 16
_POINT = 33
_LONGEST = 1 + _POINT + _NONCE
_HKDF_INFO = b"0g-storage-client/ecies/v1/aes-256"
_BLOCK = 1 << 20
_MAX_KEY_FILE = 200
_HEX_KEY = re.compile(rb"\s*(?:0x)?([0-9a-fA-F]{64})\s*")


@dataclass(frozen=True, slots=True)
class EncryptionHeader:
    """What an encrypted file begins with.

    Attributes:
        version: 1 (a shared key) or 2 (encrypted to a public key).
        nonce: The first counter block.
        ephemeral: The sender's public key, compressed; empty in version 1.
    """

    version: int
    nonce: bytes
    ephemeral: bytes = b""

    @property
    def length(self) -> int:
        """Bytes before the content."""
        return 1 + len(self.ephemeral) + _NONCE


@dataclass(frozen=True, slots=True)
class DecryptionKey:
    """32 secret bytes: the AES key of a version 1 file, or the recipient's private key for version 2."""

    secret: bytes

    def __repr__(self) -> str:
        return "DecryptionKey(…)"

    def __post_init__(self) -> None:
        if len(self.secret) != 32:
            raise EncryptionError(f"A key has 32 bytes, this one has {len(self.secret)}.")


def header_of(head: bytes) -> EncryptionHeader | None:
    """The header that a file beginning with ``head`` would have if it is encrypted, or ``None``.

    ``head`` has at least 50 bytes, or all there are. A plain file can look the same.
    """
    if head[:1] == b"\1" and len(head) >= 1 + _NONCE:
        return EncryptionHeader(1, head[1 : 1 + _NONCE])
    if head[:1] == b"\2" and len(head) >= _LONGEST and head[1] in (2, 3):
        return EncryptionHeader(2, head[1 + _POINT : _LONGEST], head[1 : 1 + _POINT])
    return None


def read_header(path: Path) -> EncryptionHeader | None:
    """:func:`header_of` of the file at ``path``.

    Raises:
        MachineError: it cannot be read.
    """
    with _reading(path) as file:
        return header_of(file.read(_LONGEST))


def read_key_file(path: Path) -> DecryptionKey:
    """The key in a file that holds 32 bytes, or their 64 hex digits.

    Raises:
        EncryptionError: it holds anything else; what it holds is not shown.
        MachineError: it cannot be read.
    """
    with _reading(path) as file:
        held = file.read(_MAX_KEY_FILE)
    match = _HEX_KEY.fullmatch(held)
    if match:
        return DecryptionKey(bytes.fromhex(match.group(1).decode("ascii")))
    if len(held) == 32:
        return DecryptionKey(held)
    raise EncryptionError(f"{path} holds no key.", next_step="It must hold 32 bytes, or their 64 hex digits.")


def decryptor(header: EncryptionHeader, key: DecryptionKey) -> CipherContext:
    """The stream cipher for the content after ``header``, in order from its first byte.

    Raises:
        EncryptionError: the header's public key is no point of the curve, or the private key is out of range.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    secret = key.secret if header.version == 1 else _shared_key(header.ephemeral, key)
    return Cipher(algorithms.AES(secret), modes.CTR(header.nonce)).decryptor()


def _shared_key(ephemeral: bytes, key: DecryptionKey) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    try:
        private = ec.derive_private_key(int.from_bytes(key.secret, "big"), ec.SECP256K1())
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), ephemeral)
        shared = private.exchange(ec.ECDH(), public)
    except ValueError as error:
        raise EncryptionError(
            "This key cannot open this file: one of the two is no key of the curve.",
            meaning="The file is not encrypted after all, or the key file holds another kind of key.",
        ) from error
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_HKDF_INFO).derive(shared)


def decrypt_file(source: Path, destination: Path, key: DecryptionKey) -> int:
    """Decrypt the file at ``source`` to ``destination``, which appears complete or not at all.

    Returns:
        The content's length in bytes.

    Raises:
        EncryptionError: it is not encrypted in a form that is known here, or the key cannot belong to it.
        MachineError: something cannot be read or written.
    """
    with _reading(source) as file:
        header = header_of(file.read(_LONGEST))
        if header is None:
            raise EncryptionError(
                f"{source} is not encrypted in a form that is known here.",
                meaning="It begins with neither header: it is a plain file, or some other format.",
                next_step="Leave the key away to keep the file as it is.",
            )
        file.seek(header.length)
        stream = decryptor(header, key)
        count = 0
        with staged(destination) as there:
            with there.path.open("xb") as target:
                while block := file.read(_BLOCK):
                    target.write(stream.update(block))
                    count += len(block)
                target.flush()
                os.fsync(target.fileno())
            there.keep()
    return count


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            yield file
    except OSError as error:
        raise MachineError(f"{path} cannot be read: {error.strerror or error}.") from error
