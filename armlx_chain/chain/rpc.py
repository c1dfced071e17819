"""One JSON-RPC endpoint, with every library error turned into ours at the border.

- Nothing here retries a send.
- A revert becomes ``ContractRevert`` with the decoded reason; an endpoint that cannot be reached becomes
  ``RpcUnavailable``; anything else a node says becomes ``NodeRefused`` with its words.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import requests
from web3 import HTTPProvider, Web3
from web3.exceptions import (
    BadFunctionCallOutput,
    BlockNotFound,
    ContractCustomError,
    ContractLogicError,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)

from armlx_chain.chain.reverts import revert_error
from armlx_chain.errors import ChainError, RpcUnavailable, WrongChain
from armlx_chain.recursion import tame_recursion
from armlx_chain.types import Address, BlockNumber, TxHash, Wei

tame_recursion()
log = logging.getLogger(__name__)
_NOT_OURS = ("gas_price_strategy", "ens_name_to_address", "validation", "gas_estimate")
"""Middleware of the library that we do without: transactions are filled in and signed by us, addresses are
never names, and ``validation`` asks for the chain id before every single read (``check_chain`` asks once)."""
T = TypeVar("T")
BlockId = int | str


class NodeRefused(ChainError):
    """The node understood and refused; the message holds its words."""


@dataclass(frozen=True, slots=True)
class Block:
    """The header fields we use."""

    number: BlockNumber
    hash: bytes
    timestamp: int
    parent_hash: bytes = b""


class Rpc:
    """A chain endpoint.

    Args:
        url: ``http(s)://…``.
        expected_chain_id: Refuse every other chain on first use.
        timeout_seconds: Per request.
    """

    def __init__(self, url: str, *, expected_chain_id: int, timeout_seconds: float = 30.0) -> None:
        self.url = url
        self.expected_chain_id = expected_chain_id
        provider = HTTPProvider(
            url, request_kwargs={"timeout": timeout_seconds}, exception_retry_configuration=None
        )
        self.w3 = Web3(provider)
        for name in _NOT_OURS:
            self.w3.middleware_onion.remove(name)
        self._genesis: bytes | None = None

    def check_chain(self) -> None:
        """Compare the endpoint's chain id with the configured one.

        Raises:
            WrongChain: they differ. A signature made for one chain must never reach another.
        """
        actual = self.guarded("eth_chainId", lambda: self.w3.eth.chain_id)
        if actual != self.expected_chain_id:
            raise WrongChain(
                f"{self.url} answers for chain {actual}, but chain {self.expected_chain_id} is configured.",
                meaning="Nothing was sent.",
                next_step="Give the right --rpc-url, or choose the network with --network.",
                details={"actual": actual, "expected": self.expected_chain_id},
            )

    def guarded(self, what: str, call: Callable[[], T]) -> T:
        """Run one library call and translate what it may raise."""
        try:
            return call()
        except (ContractCustomError, ContractLogicError) as error:
            raise revert_error(what, _revert_bytes(error)) from error
        except BadFunctionCallOutput as error:
            raise WrongChain(
                f"{what}: there is no such contract at this address on chain {self.expected_chain_id}.",
                next_step="Check the network and the contract addresses.",
            ) from error
        except Web3RPCError as error:
            raise NodeRefused(f"{self.url} refused {what}: {_rpc_words(error)}") from error
        except requests.RequestException as error:
            raise RpcUnavailable(
                f"{self.url} cannot be reached for {what}: {type(error).__name__}.",
                next_step="Check the endpoint, or give another with --rpc-url, and try again.",
            ) from error
        except (Web3Exception, RecursionError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RpcUnavailable(
                f"{self.url} gave an answer to {what} that makes no sense: {error}"
            ) from error

    @property
    def genesis_hash(self) -> bytes:
        """Hash of block 0: with the chain id it names the chain that a journal belongs to."""
        if self._genesis is None:
            self._genesis = self.block(0).hash
        return self._genesis

    def block(self, identifier: BlockId = "latest") -> Block:
        raw: Any = self.guarded("eth_getBlockByNumber", lambda: self.w3.eth.get_block(identifier))  # type: ignore[arg-type]
        return Block(
            BlockNumber(int(raw["number"])),
            bytes(raw["hash"]),
            int(raw["timestamp"]),
            bytes(raw["parentHash"]),
        )

    def find_block(self, number: int) -> Block | None:
        """The block, or ``None`` where it does not exist yet."""

        def look() -> Block | None:
            try:
                return self.block(number)
            except RpcUnavailable as error:
                if isinstance(error.__cause__, BlockNotFound):
                    return None
                raise

        return look()

    def balance(self, account: Address) -> Wei:
        return Wei(self.guarded("eth_getBalance", lambda: self.w3.eth.get_balance(account)))  # type: ignore[arg-type]

    def code(self, account: Address) -> bytes:
        return bytes(self.guarded("eth_getCode", lambda: self.w3.eth.get_code(account)))  # type: ignore[arg-type]

    def nonce(self, account: Address, *, pending: bool) -> int:
        tag: Any = "pending" if pending else "latest"
        return int(
            self.guarded(
                "eth_getTransactionCount",
                lambda: self.w3.eth.get_transaction_count(account, tag),  # type: ignore[arg-type]
            )
        )

    def base_fee(self) -> Wei:
        raw: Any = self.guarded("eth_getBlockByNumber", lambda: self.w3.eth.get_block("latest"))
        return Wei(int(raw.get("baseFeePerGas", 0)))

    def suggested_tip(self) -> Wei:
        return Wei(int(self.guarded("eth_maxPriorityFeePerGas", lambda: self.w3.eth.max_priority_fee)))

    def estimate_gas(self, transaction: dict[str, Any], what: str) -> int:
        return int(self.guarded(what, lambda: self.w3.eth.estimate_gas(transaction)))  # type: ignore[arg-type]

    def call(self, transaction: dict[str, Any], what: str, block: BlockId = "latest") -> bytes:
        return bytes(self.guarded(what, lambda: self.w3.eth.call(transaction, block)))  # type: ignore[arg-type]

    def send_raw(self, raw: bytes) -> TxHash:
        """Broadcast once.

        Raises:
            NodeRefused: with the node's words (``already known``, ``nonce too low``, …).
            RpcUnavailable: the outcome is unknown; the same bytes may be sent again.
        """
        sent = self.guarded("eth_sendRawTransaction", lambda: self.w3.eth.send_raw_transaction(raw))
        return TxHash("0x" + bytes(sent).hex())

    def receipt(self, tx_hash: TxHash) -> dict[str, Any] | None:
        """The receipt as plain Python values, or ``None`` while it is not mined."""

        def look() -> dict[str, Any] | None:
            try:
                return dict(self.w3.eth.get_transaction_receipt(tx_hash))  # type: ignore[arg-type]
            except TransactionNotFound:
                return None

        return self.guarded("eth_getTransactionReceipt", look)

    def contract(self, address: Address, abi: Sequence[dict[str, Any]]) -> Any:
        """A web3 contract object; the classes beside this module are its only users."""
        return self.w3.eth.contract(address=address, abi=abi)  # type: ignore[call-overload]


def _revert_bytes(error: ContractLogicError) -> bytes:
    data = error.data
    if isinstance(data, str) and data.startswith("0x"):
        try:
            return bytes.fromhex(data[2:])
        except ValueError:
            return b""
    return b""


def _rpc_words(error: Web3RPCError) -> str:
    response = getattr(error, "rpc_response", None)
    if isinstance(response, dict) and isinstance(response.get("error"), dict):
        return str(response["error"].get("message", error))[:300]
    return str(error)[:300]
