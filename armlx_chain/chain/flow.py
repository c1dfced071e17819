"""Storage submissions through the transaction journal."""

from __future__ import annotations

from eth_utils import keccak

from armlx_chain.chain.sender import Intent, TxSender
from armlx_chain.types import Address, Wei


class JournalledFlow:
    """Sends the Flow contract's ``submit`` once per content, and waits for the receipt."""

    def __init__(self, sender: TxSender) -> None:
        self._sender = sender

    @property
    def address(self) -> Address:
        return self._sender.address

    def submit(self, *, flow: Address, calldata: bytes, value: Wei, label: str) -> None:
        """Carry the submission out, or return if it was mined before.

        Raises:
            ChainError: refused, pending or out of reach.
        """
        self._sender.execute(
            Intent(
                key=f"flow/{flow}/{keccak(calldata).hex()}",
                to=flow,
                data=calldata,
                value=value,
                what=f"storing {label}",
            )
        )
