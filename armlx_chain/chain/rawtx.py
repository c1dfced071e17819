"""The fields of signed bytes: what is journalled is the one source of truth, also for its fees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from armlx_chain.chain.fees import Fees
from armlx_chain.errors import JournalError
from armlx_chain.types import Wei

TRANSFER_GAS = 21_000


@dataclass(frozen=True, slots=True)
class Plain:
    """A transaction before its fees and nonce: what is replaced, stays this."""

    to: str
    value: int
    data: str
    gas: int

    def call(self, sender: str) -> dict[str, Any]:
        """The same as an ``eth_call``."""
        return {"from": sender, "to": self.to, "data": self.data, "value": self.value}


def unsigned(plain: Plain, *, chain_id: int, nonce: int, fees: Fees) -> dict[str, Any]:
    """An EIP-1559 transaction, ready to be signed."""
    return {
        "type": 2,
        "chainId": chain_id,
        "nonce": nonce,
        "to": plain.to,
        "value": plain.value,
        "data": plain.data,
        "gas": plain.gas,
        "maxFeePerGas": int(fees.max_fee),
        "maxPriorityFeePerGas": int(fees.tip),
    }


@lru_cache(maxsize=64)
def read_signed(raw: bytes) -> tuple[Plain, Fees]:
    """Take signed EIP-1559 bytes apart.

    Raises:
        JournalError: they are none; the journal is damaged.
    """
    from eth_account.typed_transactions import TypedTransaction
    from eth_utils import to_checksum_address
    from hexbytes import HexBytes
    from rlp.exceptions import RLPException  # type: ignore[import-untyped]

    try:
        fields: dict[str, Any] = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        plain = Plain(
            to=to_checksum_address(fields["to"]),
            value=int(fields["value"]),
            data="0x" + bytes(fields["data"]).hex(),
            gas=int(fields["gas"]),
        )
        fees = Fees(Wei(int(fields["maxFeePerGas"])), Wei(int(fields["maxPriorityFeePerGas"])))
    except (ValueError, TypeError, KeyError, IndexError, RLPException) as error:
        raise JournalError(
            f"The journal holds bytes that are no transaction of ours ({type(error).__name__}).",
            meaning="It was damaged or changed by something else. Nothing was sent.",
            next_step="Restore journal.sqlite from a backup.",
        ) from error
    return plain, fees
