"""What storing costs, read from the chain: the Flow contract names its market, the market its price."""

from __future__ import annotations

from typing import Protocol

from armlx_chain.errors import EndpointFault, RpcUnavailable
from armlx_chain.storage.http import BoundedHttp, as_fault
from armlx_chain.storage.jsonrpc import RpcEndpoint
from armlx_chain.storage.zerog.submission import MARKET_SELECTOR, PRICE_SELECTOR
from armlx_chain.types import Address, Wei

__all__ = ["PriceReader", "RpcPriceReader"]


class PriceReader(Protocol):
    """Reads the market's price."""

    def price_per_sector(self, flow: Address) -> Wei:
        """Wei per sector (256 bytes, padding included), from the Flow's market.

        Raises:
            ChainError: if the chain does not answer.
        """
        ...


class RpcPriceReader:
    """The price by two ``eth_call`` to ``rpc_url``."""

    def __init__(self, rpc_url: str, http: BoundedHttp | None = None) -> None:
        self._rpc = RpcEndpoint(rpc_url, http or BoundedHttp())

    def price_per_sector(self, flow: Address) -> Wei:
        """See :class:`PriceReader`.

        Raises:
            RpcUnavailable: if the chain does not answer, or the contract is not a Flow.
        """
        market = self._word(flow, MARKET_SELECTOR)
        return Wei(int.from_bytes(self._word("0x" + market[12:].hex(), PRICE_SELECTOR), "big"))

    def _word(self, to: str, selector: bytes) -> bytes:
        try:
            call = {"to": to, "data": "0x" + selector.hex()}
            word = bytes.fromhex(str(self._rpc.call("eth_call", [call, "latest"])).removeprefix("0x"))
        except (EndpointFault, ValueError) as error:
            # Neither its address nor what it says: the address may hold a key, and what it says repeat it.
            # Nor as the cause, which a trace would show.
            kind = as_fault(error).kind.value if isinstance(error, EndpointFault) else "no number"
            raise RpcUnavailable(
                f"The storage price cannot be read from the chain's endpoint ({kind}).",
                next_step="Check the first address of --rpc-url; one with a user name cannot be used here.",
            ) from None
        if len(word) != 32:
            raise RpcUnavailable(f"{to} does not answer like the storage market: is the Flow address right?")
        return word
