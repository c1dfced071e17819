"""What sending needs of a chain: one endpoint, a pool of them, or a simulated chain in tests."""

from __future__ import annotations

from typing import Any, Protocol

from armlx_chain.chain.rpc import Block, BlockId
from armlx_chain.types import Address, TxHash, Wei


class ChainAccess(Protocol):
    """Reads and broadcasts. Every method may raise ``RpcUnavailable``, ``NodeRefused`` or ``WrongChain``."""

    @property
    def expected_chain_id(self) -> int: ...

    def check_chain(self) -> None:
        """Compare the chain id with the configured one.

        Raises:
            WrongChain: they differ.
        """

    def block(self, identifier: BlockId = "latest") -> Block: ...

    def find_block(self, number: int) -> Block | None: ...

    def balance(self, account: Address) -> Wei: ...

    def nonce(self, account: Address, *, pending: bool) -> int: ...

    def base_fee(self) -> Wei: ...

    def suggested_tip(self) -> Wei: ...

    def estimate_gas(self, transaction: dict[str, Any], what: str) -> int: ...

    def call(self, transaction: dict[str, Any], what: str, block: BlockId = "latest") -> bytes: ...

    def send_raw(self, raw: bytes) -> TxHash: ...

    def receipt(self, tx_hash: TxHash) -> dict[str, Any] | None: ...
