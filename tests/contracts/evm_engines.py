"""Two EVMs behind one small interface: py-evm in this process, and anvil as a child process.

Both use the cancun rules, charge nothing for gas, and mine one block per transaction, one second after the
block before unless a test sets the time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlx_chain.devnet.node.evm import import_evm

GAS = 12_000_000
RICH = 10**30
START_TIME = 2_000_000_000
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Log:
    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True)
class Receipt:
    timestamp: int
    logs: tuple[Log, ...]
    created: str | None


class CallFailed(Exception):
    """A failed call or transaction: what it returned, and whether it ended in REVERT or some other way."""

    def __init__(self, data: bytes, *, reverted: bool) -> None:
        super().__init__(data.hex() or "no data")
        self.data = data
        self.reverted = reverted


class Engine(ABC):
    """What the tests need of a chain."""

    name: str
    accounts: tuple[str, ...]

    @abstractmethod
    def send(self, sender: str, to: str | None, data: bytes, value: int = 0) -> Receipt:
        """Mine one transaction.

        Raises:
            CallFailed: if it did not succeed; it is mined all the same.
        """

    @abstractmethod
    def call(self, sender: str, to: str | None, data: bytes, value: int = 0) -> bytes:
        """Execute without leaving a trace.

        Raises:
            CallFailed: if it did not succeed.
        """

    @abstractmethod
    def balance(self, address: str) -> int: ...

    @abstractmethod
    def code(self, address: str) -> bytes: ...

    @abstractmethod
    def now(self) -> int:
        """Timestamp of the newest block."""

    @abstractmethod
    def set_next_time(self, timestamp: int) -> None:
        """Timestamp of the next transaction's block: later than the newest one."""

    @abstractmethod
    def snapshot(self) -> Any: ...

    @abstractmethod
    def restore(self, mark: Any) -> None:
        """Go back to a mark, which stays usable."""

    @abstractmethod
    def close(self) -> None: ...


class EmbeddedEngine(Engine):
    """py-evm's state machine. Blocks are not stored: only header fields and the state go on."""

    name = "embedded"

    def __init__(self) -> None:
        from eth.chains.base import MiningChain
        from eth.db.atomic import AtomicDB
        from eth.db.backends.memory import MemoryDB
        from eth.vm.forks.cancun import CancunVM
        from eth_utils import keccak, to_checksum_address

        import_evm()

        raw = [keccak(text=f"account {index}")[12:] for index in range(10)]
        self.accounts = tuple(to_checksum_address(item) for item in raw)
        self._store = MemoryDB()
        chain_class: Any = MiningChain.configure(
            "TestChain", vm_configuration=((0, CancunVM),), chain_id=31337
        )
        blank: Any = {"nonce": 0, "code": b"", "storage": {}}
        parameters: Any = {
            "difficulty": 0,
            "gas_limit": 2 * GAS,
            "timestamp": START_TIME,
            "coinbase": b"\xee" * 20,
            "nonce": bytes(8),
            "mix_hash": bytes(32),
            "extra_data": b"",
        }
        accounts: Any = {item: {**blank, "balance": RICH} for item in raw}
        self._chain = chain_class.from_genesis(AtomicDB(self._store), parameters, accounts)
        self._header = self._chain.header.copy(base_fee_per_gas=0, timestamp=START_TIME)
        self._next_time: int | None = None

    def _run(self, sender: str, to: str | None, data: bytes, value: int, header: Any) -> tuple[Any, Any]:
        from eth.vm.spoof import SpoofTransaction
        from eth_utils import to_canonical_address

        vm: Any = self._chain.get_vm(header)
        origin = to_canonical_address(sender)
        unsigned = vm.create_unsigned_transaction(
            nonce=vm.state.get_nonce(origin),
            gas_price=0,
            gas=GAS,
            to=to_canonical_address(to) if to else b"",
            value=value,
            data=data,
        )
        # The state's own entry, not the vm's: the vm makes a receipt, for which it wants a signature.
        return vm, vm.state.apply_transaction(SpoofTransaction(unsigned, from_=origin))

    def _following(self) -> Any:
        moment = self._next_time if self._next_time is not None else self._header.timestamp + 1
        return self._header.copy(timestamp=moment, block_number=self._header.block_number + 1)

    def send(self, sender: str, to: str | None, data: bytes, value: int = 0) -> Receipt:
        from eth_utils import to_checksum_address

        header = self._following()
        vm, computation = self._run(sender, to, data, value, header)
        vm.state.persist()
        self._header = header.copy(state_root=vm.state.state_root)
        self._next_time = None
        _raise_failure(computation)
        created = to_checksum_address(computation.msg.storage_address) if to is None else None
        logs = tuple(
            Log(to_checksum_address(address), tuple(topic.to_bytes(32, "big") for topic in topics), data)
            for address, topics, data in computation.get_log_entries()
        )
        return Receipt(header.timestamp, logs, created)

    def call(self, sender: str, to: str | None, data: bytes, value: int = 0) -> bytes:
        # The state is thrown away with the vm: only persist() would keep it.
        _, computation = self._run(sender, to, data, value, self._header)
        _raise_failure(computation)
        return bytes(computation.output)

    def balance(self, address: str) -> int:
        from eth_utils import to_canonical_address

        return int(self._chain.get_vm(self._header).state.get_balance(to_canonical_address(address)))

    def code(self, address: str) -> bytes:
        from eth_utils import to_canonical_address

        return bytes(self._chain.get_vm(self._header).state.get_code(to_canonical_address(address)))

    def now(self) -> int:
        return int(self._header.timestamp)

    def set_next_time(self, timestamp: int) -> None:
        if timestamp <= self.now():
            raise ValueError("time does not run backwards")
        self._next_time = timestamp

    def snapshot(self) -> Any:
        return self._header

    def restore(self, mark: Any) -> None:
        # States are stored under their roots and never overwritten: going back is naming the old root.
        self._header = mark
        self._next_time = None

    def close(self) -> None:
        self._store.kv_store.clear()


def _raise_failure(computation: Any) -> None:
    from eth.exceptions import Revert

    if computation.is_error:
        raise CallFailed(bytes(computation.output), reverted=isinstance(computation.error, Revert))


class AnvilEngine(Engine):
    """anvil on 127.0.0.1 at a port of its own choice."""

    name = "anvil"

    def __init__(self, program: str) -> None:
        options = [
            "--port",
            "0",
            "--host",
            "127.0.0.1",
            "--hardfork",
            "cancun",
            "--chain-id",
            "31337",
            "--accounts",
            "10",
        ]
        options += ["--balance", str(RICH // 10**18), "--timestamp", str(START_TIME)]
        options += [
            "--base-fee",
            "0",
            "--gas-price",
            "0",
            "--no-priority-fee",
            "--order",
            "fifo",
            "--gas-limit",
            "30000000",
        ]
        self._process = subprocess.Popen(
            [program, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._number = 0
        try:
            self._url = self._address()
            self._rpc("anvil_setBlockTimestampInterval", 1)
            self._rpc("anvil_setLoggingEnabled", False)
            from eth_utils import to_checksum_address

            self.accounts = tuple(to_checksum_address(item) for item in self._rpc("eth_accounts"))
        except BaseException:
            self.close()
            raise

    def _address(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("Listening on "):
                return "http://" + line.split()[-1]
        raise RuntimeError("anvil ended before it listened")

    def _post(self, method: str, params: tuple[Any, ...]) -> dict[str, Any]:
        self._number += 1
        body = json.dumps({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def _rpc(self, method: str, *params: Any) -> Any:
        answer = self._post(method, params)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    @staticmethod
    def _fields(sender: str, to: str | None, data: bytes, value: int) -> dict[str, str]:
        fields = {
            "from": sender,
            "data": "0x" + data.hex(),
            "value": hex(value),
            "gas": hex(GAS),
            "gasPrice": "0x0",
        }
        return {**fields, "to": to} if to else fields

    def send(self, sender: str, to: str | None, data: bytes, value: int = 0) -> Receipt:
        from eth_utils import to_checksum_address

        txhash = self._rpc("eth_sendTransaction", self._fields(sender, to, data, value))
        receipt = self._receipt(txhash)
        if int(receipt["status"], 16) == 0:
            trace = self._rpc("debug_traceTransaction", txhash, {"tracer": "callTracer"})
            output = trace.get("output") or "0x"
            raise CallFailed(bytes.fromhex(output[2:]), reverted="revert" in trace.get("error", ""))
        created = receipt.get("contractAddress")
        return Receipt(
            self.now(),
            tuple(
                Log(
                    to_checksum_address(log["address"]),
                    tuple(bytes.fromhex(topic[2:]) for topic in log["topics"]),
                    bytes.fromhex(log["data"][2:]),
                )
                for log in receipt["logs"]
            ),
            to_checksum_address(created) if created else None,
        )

    def _receipt(self, txhash: str) -> dict[str, Any]:
        for _ in range(2000):
            receipt: dict[str, Any] | None = self._rpc("eth_getTransactionReceipt", txhash)
            if receipt is not None:
                return receipt
            time.sleep(0.005)
        raise RuntimeError(f"anvil never mined {txhash}")

    def call(self, sender: str, to: str | None, data: bytes, value: int = 0) -> bytes:
        answer = self._post("eth_call", (self._fields(sender, to, data, value), "latest"))
        if "error" in answer:
            error = answer["error"]
            found = error.get("data")
            text = found if isinstance(found, str) else "0x"
            raise CallFailed(bytes.fromhex(text[2:]), reverted=error["code"] == 3)
        return bytes.fromhex(answer["result"][2:])

    def balance(self, address: str) -> int:
        return int(self._rpc("eth_getBalance", address, "latest"), 16)

    def code(self, address: str) -> bytes:
        return bytes.fromhex(self._rpc("eth_getCode", address, "latest")[2:])

    def now(self) -> int:
        return int(self._rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def set_next_time(self, timestamp: int) -> None:
        self._rpc("evm_setNextBlockTimestamp", timestamp)

    def snapshot(self) -> Any:
        return {"id": self._rpc("evm_snapshot")}

    def restore(self, mark: Any) -> None:
        # anvil forgets a mark when it goes back to it.
        if not self._rpc("evm_revert", mark["id"]):
            raise RuntimeError("anvil does not know the snapshot")
        mark["id"] = self._rpc("evm_snapshot")

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def find_anvil() -> str | None:
    """The anvil to use: $ARMLX_ANVIL, the pinned one of scripts/install-peers, or one on PATH."""
    pinned = _HERE.parent / "tools" / "node_modules" / ".bin" / "anvil"
    candidates = [os.environ.get("ARMLX_ANVIL"), str(pinned), "anvil"]
    return next((found for name in candidates if name and (found := shutil.which(name))), None)
