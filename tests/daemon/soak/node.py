"""A node over the simulated contracts: blocks by the clock, a pool, reorganisations, JSON-RPC.

Blocks without transactions take no memory, so that a month of them is nothing. The JSON-RPC side speaks the
wire's words, hex and all; ``FaultyEndpoint`` stands in for one HTTP endpoint of the client's.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth_account import Account
from eth_utils import keccak, to_checksum_address

from armlx_chain.chain.health import Fault
from armlx_chain.chain.rawtx import read_signed
from armlx_chain.chain.wire import Endpoint
from tests.daemon.soak.ledger import Addresses, Contracts, Event, History, Revert, Session

CHAIN_ID = 31337
BLOCK_SECONDS = 12
BALANCE = 10**24
BASE_FEE = 1_000


@dataclass(frozen=True)
class Tx:
    """A transaction, signed or made up by the world for somebody without a client."""

    hash: str
    sender: str
    nonce: int | None
    to: str
    data: bytes


@dataclass
class Mined:
    """A transaction in a block."""

    tx: Tx
    succeeded: bool
    events: list[Event] = field(default_factory=list)


class Node:
    """The chain. Its clock is the world's."""

    def __init__(self, clock: Callable[[], float], where: Addresses) -> None:
        self._clock = clock
        self.genesis_time = int(clock())
        self.contracts = Contracts(where)
        self.history = History()
        self.head = 0
        self.pool: dict[str, Tx] = {}
        self.blocks: dict[int, list[Mined]] = {}
        self.found: dict[str, tuple[int, int]] = {}
        self.counts: Counter[str] = Counter()
        self.owners: dict[str, str] = {}
        """Whose transactions are, where their signatures do not say."""
        self._branches: list[tuple[int, int]] = [(0, 0)]
        self._stuck_until = 0.0

    # -- the world's side ----------------------------------------------------------------------------------

    def put(self, key: Any, value: Any) -> None:
        """Something that is so from the start."""
        self.history.put(key, value, 0)

    def send(self, sender: str, to: str, data: bytes) -> str:
        """A stranger's transaction, mined with the next block."""
        self.advance()
        self.counts["strangers"] += 1
        tx_hash = "0x" + keccak(data + sender.encode() + self.counts["strangers"].to_bytes(8, "big")).hex()
        self.pool[tx_hash] = Tx(tx_hash, to_checksum_address(sender), None, to, data)
        return tx_hash

    def stall(self, seconds: float) -> None:
        """For a while blocks come without transactions."""
        self._stuck_until = self._clock() + seconds

    def forget(self) -> int:
        """The pool loses what clients sent; they have to send it again."""
        lost = [key for key, tx in self.pool.items() if tx.nonce is not None]
        for key in lost:
            del self.pool[key]
        return len(lost)

    def reorganise(self, depth: int, *, keep: bool) -> bool:
        """Replace the last blocks by empty ones; their transactions go back to the pool, or are forgotten.

        Args:
            keep: Whether clients' transactions are kept in the pool; strangers always send theirs again.

        Returns:
            Whether any transaction was in them.
        """
        self.advance()
        from_block = max(1, self.head - depth + 1)
        gone = [mined for n in range(from_block, self.head + 1) for mined in self.blocks.pop(n, [])]
        self.history.undo_after(from_block - 1)
        self._branches.append((from_block, len(self._branches)))
        for mined in gone:
            self.found.pop(mined.tx.hash, None)
            if keep or mined.tx.nonce is None:
                self.pool[mined.tx.hash] = mined.tx
        return bool(gone)

    def session(self, block: int | None = None) -> Session:
        """A look at the state after a block."""
        number = self.head if block is None else block
        return Session(self.history, number, self.time_of(number))

    # -- blocks --------------------------------------------------------------------------------------------

    def time_of(self, number: int) -> int:
        return self.genesis_time + number * BLOCK_SECONDS

    def hash_of(self, number: int) -> str:
        branch = next(mark for first, mark in reversed(self._branches) if first <= number)
        return "0x" + hashlib.sha256(f"{number}/{branch}".encode()).hexdigest()

    def advance(self) -> None:
        """Make the blocks that are due."""
        now = self._clock()
        due = (int(now) - self.genesis_time) // BLOCK_SECONDS
        while self.head < due:
            if not self.pool or self.time_of(self.head + 1) < self._stuck_until:
                waiting = self._stuck_until if self.pool else now
                self.head = min(due, max(self.head + 1, (int(waiting) - self.genesis_time) // BLOCK_SECONDS))
                continue
            self.head += 1
            self._mine(self.head)

    def _mine(self, number: int) -> None:
        inside: list[Mined] = []
        progress = True
        while progress:
            progress = False
            for tx in list(self.pool.values()):
                if tx.nonce is not None and tx.nonce > self.used(tx.sender):
                    continue
                del self.pool[tx.hash]
                if tx.nonce is None or tx.nonce == self.used(tx.sender):
                    self.found[tx.hash] = (number, len(inside))
                    inside.append(self._apply(tx, number))
                    progress = True
        if inside:
            self.blocks[number] = inside

    def _apply(self, tx: Tx, number: int) -> Mined:
        session = Session(self.history, number, self.time_of(number))
        try:
            self.contracts.call(session, tx.sender, tx.to, tx.data)
        except Revert:
            mined = Mined(tx, succeeded=False)
            self.counts["reverted of clients" if tx.nonce is not None else "reverted of strangers"] += 1
        else:
            mined = Mined(tx, succeeded=True, events=session.events)
            for key, value in session.written.items():
                self.history.put(key, value, number)
        if tx.nonce is not None:
            self.history.put(("nonce", tx.sender), tx.nonce + 1, number)
        return mined

    def used(self, sender: str, block: int | None = None) -> int:
        found: int | None = self.history.get(("nonce", sender), self.head if block is None else block)
        return found or 0

    # -- JSON-RPC ------------------------------------------------------------------------------------------

    def answer(self, method: str, params: list[Any], *, lag: int = 0) -> dict[str, Any]:
        """``result`` or ``error`` of a question."""
        self.advance()
        head = max(0, self.head - lag)
        handler: Callable[[list[Any], int], Any] | None = getattr(self, f"_{method}", None)
        if handler is None:
            return {"error": {"code": -32601, "message": f"{method} is not known"}}
        try:
            return {"result": handler(params, head)}
        except Revert as revert:
            return {"error": {"code": 3, "message": "execution reverted", "data": "0x" + revert.data.hex()}}
        except LookupError as missing:
            return {"error": {"code": -32000, "message": str(missing.args[0])}}

    def _eth_chainId(self, _params: list[Any], _head: int) -> str:
        return hex(CHAIN_ID)

    def _eth_blockNumber(self, _params: list[Any], head: int) -> str:
        return hex(head)

    def _eth_getBlockByNumber(self, params: list[Any], head: int) -> dict[str, Any] | None:
        number = _number(params[0], head)
        if number > head:
            return None
        return {
            "number": hex(number), "hash": self.hash_of(number), "timestamp": hex(self.time_of(number)),
            "parentHash": self.hash_of(max(0, number - 1)), "baseFeePerGas": hex(BASE_FEE),
            "gasLimit": hex(30_000_000), "gasUsed": "0x0",
            "transactions": [mined.tx.hash for mined in self.blocks.get(number, [])],
            "extraData": "0x", "logsBloom": "0x" + "00" * 256, "miner": "0x" + "00" * 20, "difficulty": "0x0",
        }  # fmt: skip

    def _eth_call(self, params: list[Any], head: int) -> str:
        number = _number(params[1] if len(params) > 1 else "latest", head)
        if number > head:
            raise LookupError("header not found")
        sender = to_checksum_address(params[0].get("from", "0x" + "00" * 20))
        data = bytes.fromhex(params[0].get("data", params[0].get("input", "0x"))[2:])
        found = self.contracts.call(self.session(number), sender, params[0]["to"], data)
        return "0x" + found.hex()

    def _eth_estimateGas(self, params: list[Any], head: int) -> str:
        self._eth_call([params[0]], head)
        return hex(100_000)

    def _eth_maxPriorityFeePerGas(self, _params: list[Any], _head: int) -> str:
        return hex(2 * 10**9)

    def _eth_getBalance(self, _params: list[Any], _head: int) -> str:
        return hex(BALANCE)

    def _eth_getCode(self, params: list[Any], _head: int) -> str:
        return "0x" + self.contracts.code(params[0]).hex()

    def _eth_getTransactionCount(self, params: list[Any], head: int) -> str:
        sender = to_checksum_address(params[0])
        used = self.used(sender, _number(params[1], head) if params[1] != "pending" else head)
        if params[1] == "pending":
            waiting = {tx.nonce for tx in self.pool.values() if tx.sender == sender}
            while used in waiting:
                used += 1
        return hex(used)

    def _eth_sendRawTransaction(self, params: list[Any], _head: int) -> str:
        raw = bytes.fromhex(params[0][2:])
        plain, _ = read_signed(raw)
        tx_hash = "0x" + keccak(raw).hex()
        sender = self.owners.get(tx_hash) or Account.recover_transaction(raw)
        nonce = _nonce_of(raw)
        if tx_hash in self.pool:
            raise LookupError("already known")
        if nonce < self.used(sender):
            raise LookupError(f"nonce too low: next nonce {self.used(sender)}, tx nonce {nonce}")
        for other in [tx for tx in self.pool.values() if tx.sender == sender and tx.nonce == nonce]:
            del self.pool[other.hash]  # replacements are priced by the rules of ``tests/faults/simchain``
        self.pool[tx_hash] = Tx(tx_hash, sender, nonce, plain.to, bytes.fromhex(plain.data[2:]))
        return tx_hash

    def _eth_getTransactionReceipt(self, params: list[Any], head: int) -> dict[str, Any] | None:
        place = self.found.get(params[0].lower())
        if place is None or place[0] > head:
            return None
        number, index = place
        mined = self.blocks[number][index]
        return {
            "transactionHash": mined.tx.hash, "transactionIndex": hex(index), "blockNumber": hex(number),
            "blockHash": self.hash_of(number), "from": mined.tx.sender, "to": mined.tx.to,
            "cumulativeGasUsed": "0x5208", "gasUsed": "0x5208", "effectiveGasPrice": hex(2 * 10**9),
            "contractAddress": None, "logs": self._logs(number, index), "logsBloom": "0x" + "00" * 256,
            "type": "0x2", "status": hex(mined.succeeded),
        }  # fmt: skip

    def _eth_getLogs(self, params: list[Any], head: int) -> list[dict[str, Any]]:
        wanted = params[0]
        first, last = _number(wanted["fromBlock"], head), _number(wanted["toBlock"], head)
        if last > head:
            raise LookupError("header not found")
        addresses = {address.lower() for address in wanted["address"]}
        topics = [None if part is None else set(part) for part in wanted["topics"]]
        numbers = (n for n in range(first, last + 1) if n in self.blocks)
        entries = (e for n in numbers for i in range(len(self.blocks[n])) for e in self._logs(n, i))
        return [entry for entry in entries if entry["address"].lower() in addresses and _fits(entry, topics)]

    def _logs(self, number: int, index: int) -> list[dict[str, Any]]:
        before = sum(len(mined.events) for mined in self.blocks[number][:index])
        mined = self.blocks[number][index]
        return [
            {
                "address": address, "topics": ["0x" + topic.hex() for topic in topics],
                "data": "0x" + data.hex(), "blockNumber": hex(number), "blockHash": self.hash_of(number),
                "removed": False, "transactionHash": mined.tx.hash, "transactionIndex": hex(index),
                "logIndex": hex(before + place),
            }
            for place, (address, topics, data) in enumerate(mined.events)
        ]  # fmt: skip


class FaultyEndpoint(Endpoint):
    """An endpoint without a socket: fails, lags, limits, swallows and doubles by a seed.

    Attributes:
        rate: Of each kind of fault, per request; 0 is an honest one.
    """

    def __init__(
        self, node: Node, *, name: str, seed: str, sleep: Callable[[float], None], tally: Counter[str]
    ) -> None:
        super().__init__("http://127.0.0.1", name=name, timeout_seconds=30.0)
        self.rate = 0.0
        self._node = node
        self._rng = random.Random(seed)
        self._sleep = sleep
        self._tally = tally

    def _post(self, body: Any) -> dict[str, Any] | list[Any]:
        self.round_trips += 1
        asked: Any = json.loads(json.dumps(body, default=_plain))
        if self._strikes("endpoint unreachable"):
            raise self._faulty(Fault.UNREACHABLE, "cannot be reached (simulated)")
        if self._strikes("endpoint limited"):
            raise self._faulty(Fault.LIMITED, "says that there were too many requests (429)")
        if self._strikes("endpoint slow"):
            self._sleep(30.0)
            raise self._faulty(Fault.SLOW, "did not answer within 30 s")
        lag = self._rng.randint(1, 3) if self._strikes("stale head") else 0
        if isinstance(asked, list):
            return [self._one(question, lag) for question in asked]
        return self._one(asked, lag)

    def _one(self, asked: dict[str, Any], lag: int) -> dict[str, Any]:
        method, params = asked["method"], asked["params"]
        if method == "eth_sendRawTransaction":
            if self._strikes("dropped broadcast"):
                found: dict[str, Any] = {"result": "0x" + keccak(bytes.fromhex(params[0][2:])).hex()}
                return {"jsonrpc": "2.0", "id": asked["id"], **found}
            if self._strikes("error after the broadcast"):
                self._node.answer(method, params)
                raise self._faulty(Fault.SERVER, "fails (502)")
        found = json.loads(json.dumps(self._node.answer(method, params, lag=lag)))
        return {"jsonrpc": "2.0", "id": asked["id"], **found}

    def _strikes(self, kind: str) -> bool:
        if not self.rate or self._rng.random() >= self.rate:
            return False
        self._tally[kind] += 1
        return True


def _number(tag: str, head: int) -> int:
    return head if tag in ("latest", "pending", "safe", "finalized") else int(tag, 16)


def _nonce_of(raw: bytes) -> int:
    return int.from_bytes(rlp.decode(raw[1:])[1], "big")


def _fits(entry: dict[str, Any], topics: list[set[str] | None]) -> bool:
    if len(topics) > len(entry["topics"]):
        return False
    return all(part is None or topic in part for part, topic in zip(topics, entry["topics"], strict=False))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return "0x" + bytes(value).hex()
    return dict(value) if hasattr(value, "keys") else list(value)
