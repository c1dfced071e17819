"""A chain behind one or several JSON-RPC endpoints, with every library error turned into ours at the border.

- Nothing here retries a send; each endpoint gets the same signed bytes at most once per ``send_raw``.
- A revert becomes ``ContractRevert`` with the decoded reason; endpoints that cannot be reached become
  ``RpcUnavailable``; anything else a node says becomes ``NodeRefused`` with its words.
- ``at_depth`` gives the same chain as of a confirmed block: what decides about money is read there, and two
  endpoints have to agree on it where two are configured.

::

    rpc = Rpc(["https://a", "https://b"], expected_chain_id=16602)
    rpc.check_chain()
    settled = rpc.at_depth(3)          # every "latest" below means that one block
    ProjectRegistry(settled, address).find_project(1)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from web3 import Web3
from web3.exceptions import (
    BadFunctionCallOutput,
    BlockNotFound,
    ContractCustomError,
    ContractLogicError,
    InvalidAddress,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.providers.base import BaseProvider

from armlx_chain.chain.canonical import revert_data
from armlx_chain.chain.health import EndpointReport, Fault
from armlx_chain.chain.pool import Ask, EndpointPool, Policy
from armlx_chain.chain.reverts import revert_error
from armlx_chain.chain.wire import Answer
from armlx_chain.errors import ChainError, ContractRevert, RpcUnavailable, UsageError, WrongChain
from armlx_chain.recursion import tame_recursion
from armlx_chain.types import Address, BlockNumber, TxHash, Wei

tame_recursion()
log = logging.getLogger(__name__)
_NOT_OURS = ("gas_price_strategy", "ens_name_to_address", "validation", "gas_estimate")
"""Middleware of the library that we do without: transactions are filled in and signed by us, addresses are
never names, and ``validation`` asks for the chain id before every single read (``check_chain`` asks once)."""
_BLOCK_AT = {
    "eth_call": 1, "eth_getBalance": 1, "eth_getCode": 1, "eth_getTransactionCount": 1, "eth_getStorageAt": 2,
    "eth_getBlockByNumber": 0,
}  # fmt: skip
"""Where a method names its block."""
_NEWEST = ("latest", "safe", "finalized")
T = TypeVar("T")
BlockId = int | str
Explain = Callable[[Mapping[str, Any], ContractRevert], ContractRevert]


class NodeRefused(ChainError):
    """The node understood and refused; the message holds its words."""


@dataclass(frozen=True, slots=True)
class Block:
    """What we use of a block: header fields, and the hashes of its transactions."""

    number: BlockNumber
    hash: bytes
    timestamp: int
    parent_hash: bytes = b""
    transactions: tuple[bytes, ...] = ()


class _Door(BaseProvider):
    """Hands the library's questions to a function of ours."""

    def __init__(self, ask: Callable[[Ask], Answer]) -> None:
        super().__init__()
        self._ask = ask

    def make_request(self, method: str, params: Any) -> Any:
        return self._ask(Ask(method, list(params)))


class Rpc:
    """A chain.

    Args:
        urls: One endpoint, or several in order of preference, each ``http(s)://…``.
        expected_chain_id: Refuse every other chain on first use.
        timeout_seconds: Per request, where no policy is given.
        policy: What is expected of endpoints.
        clock: A monotonic clock in seconds; wall: Unix time in seconds.

    Attributes:
        explain: Says more about a revert of a call, from its calldata; set where the contracts are known.
        pin: The block that "latest" means for this view, or None.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        expected_chain_id: int,
        timeout_seconds: float = 30.0,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.pool = EndpointPool(
            [urls] if isinstance(urls, str) else list(urls),
            expected_chain_id=expected_chain_id,
            policy=policy or Policy(timeout_seconds=timeout_seconds),
            clock=clock,
            wall=wall,
        )
        self.expected_chain_id = expected_chain_id
        self.explain: Explain | None = None
        self._open(None, None)

    def _open(self, pin: Block | None, genesis: bytes | None) -> None:
        self.pin = pin
        self._genesis = genesis
        self.w3 = Web3(_Door(self._answer))
        for name in _NOT_OURS:
            self.w3.middleware_onion.remove(name)

    @property
    def url(self) -> str:
        """How the preferred endpoint is named; its address may hold a key and is not shown."""
        return self.pool.names[0]

    def endpoints(self) -> tuple[EndpointReport, ...]:
        """How every endpoint stands: in use, or set aside and why."""
        return self.pool.report()

    def at_depth(self, depth: int) -> Self:
        """This chain as of the block with ``depth`` blocks on top of it, read with two witnesses.

        Raises:
            EndpointsDisagree: endpoints show different blocks at that height.
            RpcUnavailable: no endpoint is up to date.
        """
        number = max(0, self.pool.height() - depth)
        block = self.witnessed_block(number)
        if block is None:
            raise RpcUnavailable(
                f"No endpoint has block {number}, which was there before.",
                meaning="The endpoints lag behind, or the chain is being reorganised.",
                next_step="Wait a moment and run this again.",
            )
        view = type(self).__new__(type(self))
        view.pool, view.expected_chain_id, view.explain = self.pool, self.expected_chain_id, self.explain
        view._open(block, self._genesis)
        return view

    def check_chain(self) -> None:
        """Compare the endpoints' chain ids with the configured one, and several with each other.

        Raises:
            WrongChain: they differ. A signature made for one chain must never reach another.
        """
        self.pool.check_chain()

    def ask_many(self, asks: Sequence[Ask]) -> list[Answer]:
        """Raw questions in as few round trips as possible; on a pinned view with two witnesses."""
        pinned = [self._pinned(ask) for ask in asks]
        return self.pool.request_many(pinned) if self.pin is None else self.pool.witnessed(pinned)

    def _answer(self, ask: Ask) -> Answer:
        if ask.method == "eth_sendRawTransaction":
            return self.pool.broadcast(bytes.fromhex(str(ask.params[0])[2:]))
        if ask.method == "eth_getTransactionReceipt":
            receipt = self.pool.receipt(str(ask.params[0]))
            return {"jsonrpc": "2.0", "id": 1, "result": receipt}
        if self.pin is None or ask.method not in _BLOCK_AT:
            return self.pool.request(ask)
        return self.pool.witnessed([self._pinned(ask)])[0]

    def _pinned(self, ask: Ask) -> Ask:
        """The question with "latest" replaced by the view's block."""
        where = _BLOCK_AT.get(ask.method)
        if self.pin is None or where is None or len(ask.params) <= where or ask.params[where] not in _NEWEST:
            return ask
        params = list(ask.params)
        params[where] = hex(self.pin.number)
        return Ask(ask.method, params)

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
            raise NodeRefused(f"{self.pool.last_name} refused {what}: {_rpc_words(error)}") from error
        except InvalidAddress as error:  # before anything was asked: not the endpoint's fault
            raise UsageError(
                f"{what}: an address is not written with its checksum: {error.args[-1]}."
            ) from error
        except BlockNotFound as error:
            raise RpcUnavailable(f"{self.pool.last_name} does not have the block of {what}.") from error
        except (Web3Exception, RecursionError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._nonsense(what, str(error)) from error

    def _nonsense(self, what: str, why: str) -> RpcUnavailable:
        """An answer that only its reader could see through; its endpoint is set aside."""
        name = self.pool.last_name
        self.pool.blame(name, Fault.GARBAGE, f"gave an answer to {what} that makes no sense")
        return RpcUnavailable(f"{name} gave an answer to {what} that makes no sense: {why[:300]}")

    @property
    def genesis_hash(self) -> bytes:
        """Hash of block 0: with the chain id it names the chain that a journal belongs to."""
        if self._genesis is None:
            self._genesis = self.block(0).hash
        return self._genesis

    def block(self, identifier: BlockId = "latest") -> Block:
        if self.pin is not None and identifier in (*_NEWEST, self.pin.number):
            return self.pin

        def look() -> Block:
            raw: Any = self.w3.eth.get_block(identifier)  # type: ignore[arg-type]
            number, timestamp = _whole(raw["number"]), _whole(raw["timestamp"])
            return _block(number, raw["hash"], timestamp, raw["parentHash"], raw["transactions"])

        found = self.guarded("eth_getBlockByNumber", look)
        if isinstance(identifier, int) and found.number != identifier:
            raise self._nonsense("eth_getBlockByNumber", f"block {found.number} instead of {identifier}")
        return found

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

    def witnessed_block(self, number: int) -> Block | None:
        """The block at a height as two endpoints show it, where two are configured; None before it exists.

        Raises:
            EndpointsDisagree: they show different ones.
        """
        answer = self.pool.witnessed([Ask("eth_getBlockByNumber", [hex(number), False])])[0]
        raw = answer.get("result")
        if answer.get("error") is not None or raw is None:
            return None
        try:
            hashes = (bytes.fromhex(raw["hash"][2:]), bytes.fromhex(raw["parentHash"][2:]))
            inside = [bytes.fromhex(tx_hash[2:]) for tx_hash in raw["transactions"]]
            found = _block(int(raw["number"], 16), hashes[0], int(raw["timestamp"], 16), hashes[1], inside)
        except (KeyError, TypeError, ValueError) as error:
            raise self._nonsense("eth_getBlockByNumber", str(error)) from error
        if found.number != number:
            raise self._nonsense("eth_getBlockByNumber", f"block {found.number} instead of {number}")
        return found

    def balance(self, account: Address) -> Wei:
        return Wei(self.guarded("eth_getBalance", lambda: _whole(self.w3.eth.get_balance(account))))  # type: ignore[arg-type]

    def code(self, account: Address) -> bytes:
        return self.guarded("eth_getCode", lambda: _octets(self.w3.eth.get_code(account)))  # type: ignore[arg-type]

    def nonce(self, account: Address, *, pending: bool) -> int:
        tag: Any = "pending" if pending else "latest"
        return self.guarded(
            "eth_getTransactionCount",
            lambda: _whole(self.w3.eth.get_transaction_count(account, tag)),  # type: ignore[arg-type]
        )

    def base_fee(self) -> Wei:
        def look() -> int:
            raw: Any = self.w3.eth.get_block("latest")
            return _whole(raw.get("baseFeePerGas", 0))

        return Wei(self.guarded("eth_getBlockByNumber", look))

    def suggested_tip(self) -> Wei:
        return Wei(self.guarded("eth_maxPriorityFeePerGas", lambda: _whole(self.w3.eth.max_priority_fee)))

    def estimate_gas(self, transaction: dict[str, Any], what: str) -> int:
        look = lambda: _whole(self.w3.eth.estimate_gas(transaction))  # type: ignore[arg-type]  # noqa: E731
        return self._explained(transaction, what, look)

    def call(self, transaction: dict[str, Any], what: str, block: BlockId = "latest") -> bytes:
        look = lambda: _octets(self.w3.eth.call(transaction, block))  # type: ignore[arg-type]  # noqa: E731
        return self._explained(transaction, what, look)

    def _explained(self, transaction: Mapping[str, Any], what: str, call: Callable[[], T]) -> T:
        try:
            return self.guarded(what, call)
        except ContractRevert as error:
            if self.explain is None:
                raise
            raise self.explain(transaction, error) from error

    def call_many(
        self, calls: Sequence[tuple[Address, bytes]], what: str, block: BlockId = "latest"
    ) -> list[bytes | ContractRevert]:
        """Many ``eth_call`` at one block, in as few round trips as the endpoint allows.

        Raises:
            NodeRefused, RpcUnavailable: as for a single call.
        """
        tag = hex(block) if isinstance(block, int) else block
        asks = [Ask("eth_call", [{"to": to, "data": "0x" + data.hex()}, tag]) for to, data in calls]
        return [self._outcome(answer, what) for answer in self.ask_many(asks)]

    def bytes_of(self, answer: Answer, what: str) -> bytes:
        """The bytes of an answer's hex text.

        Raises:
            NodeRefused: the answer is an error.
            RpcUnavailable: it is no hex text.
        """
        if answer.get("error") is not None:
            raise NodeRefused(f"{self.pool.last_name} refused {what}: {error_words(answer)}")
        try:
            return bytes.fromhex(answer["result"].removeprefix("0x"))
        except (AttributeError, ValueError) as error:
            raise self._nonsense(what, "it is no hex text") from error

    def _outcome(self, answer: Answer, what: str) -> bytes | ContractRevert:
        data = revert_data(answer)
        return self.bytes_of(answer, what) if data is None else revert_error(what, _hex_bytes(data))

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


def error_words(answer: Answer) -> str:
    """A node's own words, cut short."""
    error = answer.get("error")
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]


def _block(number: int, block_hash: Any, timestamp: int, parent: Any, inside: Any) -> Block:
    """A block, of what a node said of it.

    Raises:
        ValueError, TypeError: they are none.
    """
    if not isinstance(inside, list):
        raise ValueError("a block without a list of transactions")  # noqa: TRY004 (an answer's fault)
    hashes = tuple(_octets(tx_hash) for tx_hash in inside)
    found = Block(BlockNumber(number), _octets(block_hash), timestamp, _octets(parent), hashes)
    if len(found.hash) != 32 or len(found.parent_hash) != 32 or number < 0 or timestamp < 0:
        raise ValueError("a block without a proper hash, number or time")
    return found


def _whole(value: Any) -> int:
    """A number that is not negative; the library hands on whatever a node sends.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{str(value)[:80]} is no number")
    return value


def _octets(value: Any) -> bytes:
    """As ``_whole``, for bytes."""
    if not isinstance(value, bytes):
        raise ValueError(f"{str(value)[:80]} is no bytes")  # noqa: TRY004 (an answer's fault, as above)
    return bytes(value)


def _revert_bytes(error: ContractLogicError) -> bytes:
    return _hex_bytes(error.data) if isinstance(error.data, str) else b""


def _hex_bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text[2:]) if text.startswith("0x") else b""
    except ValueError:
        return b""


def _rpc_words(error: Web3RPCError) -> str:
    response = getattr(error, "rpc_response", None)
    return error_words(response) if isinstance(response, dict) and response.get("error") else str(error)[:300]
