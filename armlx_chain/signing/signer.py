"""A key that can sign and cannot be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn, SupportsIndex

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32
from eth_utils import keccak

from armlx_chain.errors import GuardRefused, SigningError
from armlx_chain.formats.typed import TypedData
from armlx_chain.recursion import tame_recursion
from armlx_chain.types import Address

__all__ = ["DEFAULT_DERIVATION_PATH", "Signer"]

tame_recursion()

DEFAULT_DERIVATION_PATH = "m/44'/60'/0'/0/0"
"""The first account of a mnemonic, as the usual wallets derive it (BIP-44)."""

_DERIVATION_PATH = re.compile(r"m(?:/\d{1,10}['hH]?){1,10}")


DEEP_HASH_BYTES = 48
"""SHA-384, see the formats of storage."""


class Signer:
    """Signs transactions and typed data with one private key.

    ``repr`` and ``str`` show the address only; pickling and copying are refused, so that the key does not
    travel into another process or a log by accident.
    """

    __slots__ = ("_account",)

    _account: LocalAccount

    def __init__(self, key: bytes) -> None:
        """Take a private key of 32 bytes.

        Raises:
            SigningError: if it is no secp256k1 key. The message never holds it.
        """
        try:
            self._account = Account.from_key(bytes(key))
        except Exception as refused:  # noqa: BLE001 (whatever the library raises may quote the key)
            raise SigningError(f"This is not a usable private key ({type(refused).__name__}).") from None

    @classmethod
    def from_hex(cls, text: str) -> Signer:
        """Take a private key of 64 hex digits, with or without ``0x``.

        Raises:
            SigningError: if it is not one. The message never holds it.
        """
        digits = text.strip().removeprefix("0x")
        try:
            key = bytes.fromhex(digits) if len(digits) == 64 else b""
        except ValueError:
            key = b""
        if len(key) != 32:
            raise SigningError("A private key has 64 hex digits.")
        return cls(key)

    @classmethod
    def from_mnemonic(
        cls, words: str, *, path: str = DEFAULT_DERIVATION_PATH, extra_word: str = ""
    ) -> Signer:
        """Take the key that a mnemonic (BIP-39) yields at a derivation path (BIP-32).

        Args:
            extra_word: The mnemonic's own passphrase, for those who set one.

        Raises:
            SigningError: if it is no mnemonic, or no path. The message never holds a word of it.
        """
        from eth_account.hdaccount import HDPath, seed_from_mnemonic

        if not _DERIVATION_PATH.fullmatch(path):
            raise SigningError("A derivation path looks like m/44'/60'/0'/0/0.")
        try:
            key = HDPath(path.replace("h", "'")).derive(
                seed_from_mnemonic(" ".join(words.split()), extra_word)
            )
        except Exception as refused:  # noqa: BLE001 (whatever the library raises quotes the words)
            raise SigningError(
                f"These words are not a mnemonic, or the path does not exist ({type(refused).__name__}).",
                next_step="Check the spelling and the order: 12, 15, 18, 21 or 24 words.",
            ) from None
        tame_recursion()
        return cls(key)

    @property
    def address(self) -> Address:
        return Address(str(self._account.address))

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The raw bytes of the signed transaction, ready to be sent.

        Raises:
            SigningError: if the transaction names no chain or another sender, or is not complete.
        """
        fields = dict(transaction)
        chain_id = fields.get("chainId")
        if isinstance(chain_id, bool) or not isinstance(chain_id, int) or chain_id <= 0:
            raise SigningError("A transaction is signed only for a named chain; chainId is missing.")
        sender = fields.pop("from", self.address)
        if not isinstance(sender, str) or sender.lower() != self.address.lower():
            raise SigningError(f"The transaction is from {sender}, but the key belongs to {self.address}.")
        for name, value in fields.items():
            if isinstance(value, int) and not 0 <= value < 1 << 256:
                raise SigningError(f"The transaction cannot be signed: {name} is out of range.")
        try:
            signed = self._account.sign_transaction(fields)
        except Exception as refused:  # noqa: BLE001 (the library and its encoder raise kinds of their own)
            raise SigningError(f"The transaction cannot be signed: {refused}") from None
        return bytes(signed.raw_transaction)

    def sign_typed_data(self, typed: TypedData) -> bytes:
        """r ‖ s ‖ v (27 or 28) over the EIP-712 digest.

        Raises:
            GuardRefused: for an attestation, which only ``eip712.sign_attestation`` signs.
            FormatError: if a value does not fit its type.
        """
        if typed.primary_type == "Attestation":
            raise GuardRefused("An attestation is signed only through the single-sign guard.")
        return self._sign_digest(typed.digest())

    @property
    def public_key(self) -> bytes:
        """The uncompressed public key: 04 ‖ X ‖ Y, 65 bytes."""
        return b"\x04" + bytes(self._account._key_obj.public_key.to_bytes())

    def sign_deep_hash(self, message: bytes) -> bytes:
        """r ‖ s ‖ v (27 or 28) over an Irys item's deep hash, as an EIP-191 personal message.

        Only messages of 48 bytes are signed: none of them can be a transaction, typed data or a text.

        Raises:
            SigningError: for a message of another length.
        """
        if len(message) != DEEP_HASH_BYTES:
            raise SigningError(f"A deep hash has {DEEP_HASH_BYTES} bytes, this one has {len(message)}.")
        prefix = b"\x19Ethereum Signed Message:\n%d" % len(message)
        return self._sign_digest(bytes(keccak(prefix + message)))

    def _sign_digest(self, digest: bytes) -> bytes:
        return bytes(self._account.unsafe_sign_hash(Hash32(digest)).signature)

    def __repr__(self) -> str:
        return f"Signer({self.address})"

    __str__ = __repr__

    def __format__(self, specification: str) -> str:
        return format(repr(self), specification)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise SigningError("A signer cannot be pickled or copied: its key stays in this process.")
