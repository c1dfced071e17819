"""A validator without its key: it judges for an address, and can sign nothing.

For a machine with one account, where whoever gets out of the sandbox would find the key: its verdicts and
their bundles are left unsigned in the folder of reports, and a person, or another machine, takes them on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eth_utils import is_hex_address, to_checksum_address

from armlx_chain.errors import SigningError, UsageError
from armlx_chain.formats.typed import TypedData
from armlx_chain.signing.signer import Signer
from armlx_chain.types import Address

__all__ = ["NoKey"]


class NoKey(Signer):
    """Stands where a key would.

    Args:
        address: Of the validator that is judged for.

    Raises:
        UsageError: it is no address.
    """

    __slots__ = ("_address",)

    def __init__(self, address: str) -> None:
        if not is_hex_address(address):
            raise UsageError(f"{address[:60]!r} is no address.", next_step="Give 0x and 40 hex digits.")
        self._address = Address(to_checksum_address(address))

    @property
    def address(self) -> Address:
        return self._address

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        raise _none(self._address)

    def sign_typed_data(self, typed: TypedData) -> bytes:
        raise _none(self._address)

    def sign_deep_hash(self, message: bytes) -> bytes:
        raise _none(self._address)

    def _sign_digest(self, digest: bytes) -> bytes:
        raise _none(self._address)


def _none(address: Address) -> SigningError:
    return SigningError(
        f"This process has no key of {address}.",
        meaning="It was started with --unsigned, so it signs nothing.",
    )
