"""What the devnet's tests share: a raw client, signing, and small contract calls."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from eth_abi import encode
from eth_account import Account
from eth_utils import keccak, to_checksum_address

from armlx_chain.devnet.accounts import DevAccount
from armlx_chain.devnet.rpc.client import RpcClient
from armlx_chain.devnet.world import Devnet

PINNED_ANVIL = Path(__file__).parents[1] / "tools" / "node_modules" / ".bin" / "anvil"
GWEI = 10**9


def locate_anvil() -> str | None:
    """$ARMLX_ANVIL, the pinned one that scripts/install-peers puts there, or one on the PATH."""
    if os.environ.get("ARMLX_ANVIL"):
        return os.environ["ARMLX_ANVIL"]
    return str(PINNED_ANVIL) if PINNED_ANVIL.exists() else shutil.which("anvil")


def require_anvil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point ARMLX_ANVIL at an anvil, or skip; with ARMLX_REQUIRE_PEERS=1, fail instead."""
    found = locate_anvil()
    if found is None:
        if os.environ.get("ARMLX_REQUIRE_PEERS") == "1":
            pytest.fail("anvil is required (ARMLX_REQUIRE_PEERS=1) but was not found")
        pytest.skip("anvil was not found: run scripts/install-peers")
    monkeypatch.setenv("ARMLX_ANVIL", found)


@dataclass
class Wire:
    """Raw JSON-RPC over HTTP: what goes over the wire, without a client library."""

    url: str
    client: RpcClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = RpcClient(self.url)

    def __call__(self, method: str, *params: Any) -> Any:
        return self.client.call(method, *params)

    def number(self, method: str, *params: Any) -> int:
        return int(self(method, *params), 16)

    def block(self, reference: int | str = "latest", full: bool = False) -> dict[str, Any]:
        name = hex(reference) if isinstance(reference, int) else reference
        answer: dict[str, Any] = self("eth_getBlockByNumber", name, full)
        return answer

    def receipt(self, tx_hash: str) -> dict[str, Any]:
        """The receipt, waiting for it as a client has to."""
        for _ in range(500):
            found: dict[str, Any] | None = self("eth_getTransactionReceipt", tx_hash)
            if found is not None:
                return found
            time.sleep(0.01)
        raise AssertionError(f"{tx_hash} was not mined")

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """POST raw bytes; returns status and body whatever the status."""
        request = urllib.request.Request(
            self.url, body, headers if headers is not None else {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def post_json(self, message: Any) -> Any:
        status, body = self.post(json.dumps(message).encode())
        assert status == 200
        return json.loads(body) if body else None


@dataclass
class Sender:
    """An account that signs for one devnet. Every field of a transaction can be overridden."""

    wire: Wire
    account: DevAccount
    chain_id: int

    @property
    def address(self) -> str:
        return self.account.address

    def nonce(self, block: str = "latest") -> int:
        return self.wire.number("eth_getTransactionCount", self.address, block)

    def sign(self, **fields: Any) -> str:
        """A signed transaction as hex; type 2 unless ``type`` says 0 or 1."""
        kind = fields.pop("type", 2)
        price = 2 * int(self.wire.block()["baseFeePerGas"], 16) + GWEI
        transaction: dict[str, Any] = {
            "chainId": self.chain_id,
            "gas": 3_000_000,
            "value": 0,
            "data": b"",
        }
        if kind == 2:
            transaction.update(type=2, maxFeePerGas=price, maxPriorityFeePerGas=GWEI)
        else:
            transaction["gasPrice"] = price
            if kind == 1:
                transaction.update(type=1, accessList=[])
        transaction.update(fields)
        if transaction.get("to"):
            transaction["to"] = to_checksum_address(transaction["to"])
        if "nonce" not in transaction:
            transaction["nonce"] = self.nonce("pending")
        transaction = {key: value for key, value in transaction.items() if value is not None}
        signed = Account.sign_transaction(transaction, self.account.private_key_hex)
        return "0x" + bytes(signed.raw_transaction).hex()

    def send(self, **fields: Any) -> str:
        return str(self.wire("eth_sendRawTransaction", self.sign(**fields)))

    def execute(self, **fields: Any) -> dict[str, Any]:
        """Send and return the receipt, which must say success."""
        receipt = self.wire.receipt(self.send(**fields))
        assert receipt["status"] == "0x1", receipt
        return receipt


def calldata(signature: str, *arguments: Any) -> bytes:
    types = signature[signature.index("(") + 1 : -1]
    return keccak(text=signature)[:4] + encode(types.split(",") if types else [], arguments)


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


def topic(signature: str) -> str:
    return hexed(keccak(text=signature))


CREATE_PROJECT = "createProject(bytes32,bytes32,bytes32,int256,bytes32,string,string,uint256,uint256,uint256)"
SUBMIT = "submit(uint256,bytes32,bytes32,int256,uint256,address)"
PROJECT_CREATED = topic("ProjectCreated(uint256,address,address,bytes32)")
PROPOSAL_SUBMITTED = topic("ProposalSubmitted(uint256,uint256,address,address,bytes32,int256,uint256)")
TRANSFER = topic("Transfer(address,address,uint256)")


@dataclass
class Play:
    """The shortest way to a proposal with a stake."""

    devnet: Devnet
    wire: Wire

    def sender(self, index: int) -> Sender:
        return Sender(self.wire, self.devnet.accounts[index], self.devnet.chain_id)

    def create_project(self, baseline: int = -2_000_000) -> tuple[int, str]:
        """Create a project; returns its id and its token."""
        arguments = (b"\1" * 32, b"\2" * 32, b"\3" * 32, baseline, b"\4" * 32, "Demo", "DMO", 10**15, 10**12)
        receipt = self.sender(1).execute(
            to=self.devnet.addresses.project_registry,
            data=calldata(CREATE_PROJECT, *arguments, 10**6),
        )
        log = receipt["logs"][0]
        assert log["topics"][0] == PROJECT_CREATED
        return int(log["topics"][1], 16), "0x" + log["data"][26:66]

    def fund_miner(self, token: str, tokens: int = 10) -> None:
        miner = self.sender(2)
        miner.execute(to=token, data=calldata("buy()"), value=10**15 * tokens * 2)
        miner.execute(
            to=token,
            data=calldata("approve(address,uint256)", self.devnet.addresses.proposal_ledger, 10**6),
        )

    def submission(self, project: int, score: int = -1_900_000, stake: int = 5) -> dict[str, Any]:
        recipient = "0x" + "00" * 20
        return {
            "to": self.devnet.addresses.proposal_ledger,
            "data": calldata(SUBMIT, project, b"\5" * 32, b"\6" * 32, score, stake, recipient),
        }

    def submit(self, project: int) -> int:
        """Submit a proposal with a stake; returns its id."""
        receipt = self.sender(2).execute(**self.submission(project))
        (log,) = [log for log in receipt["logs"] if log["topics"][0] == PROPOSAL_SUBMITTED]
        return int(log["topics"][1], 16)
