"""The real TypeScript SDK downloads from our storage node and uploads to it; our client joins in."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.devnet.world import Devnet
from armlx_chain.storage.interface import VerifiedFile
from armlx_chain.storage.zerog.client import Endpoint, ZeroGStorage
from armlx_chain.storage.zerog.localnode import GatewayFault, LyingGateway
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.storage.zerog.upload import RpcPriceReader, ZeroGPublisher
from armlx_chain.types import Address, Root, Wei

pytestmark = pytest.mark.peer

HERE = Path(__file__).resolve().parent
SEGMENT = 262144
SIZES = {
    "one byte": 1,
    "one chunk and a byte": 257,
    "one segment": SEGMENT,
    "two segments, one byte in the second": SEGMENT + 1,
    "five segments and a bit": 5 * SEGMENT + 777,
}


def node_command() -> str:
    """Node.js with the SDK, or the reason to skip."""
    node = shutil.which("node")
    missing = "Node.js was not found" if node is None else None
    if missing is None and not (HERE / "node_modules" / "@0gfoundation" / "0g-ts-sdk").is_dir():
        missing = "the SDK is not installed: run scripts/install-peers"
    if missing is not None:
        if os.environ.get("ARMLX_REQUIRE_PEERS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    assert node is not None
    return node


@pytest.fixture(scope="module")
def node() -> str:
    return node_command()


@pytest.fixture(scope="module")
def devnet(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    with Devnet.start(tmp_path_factory.mktemp("devnet")) as world:
        yield world


def content(size: int, name: str) -> bytes:
    """Different at every place, and for every name."""
    blocks = (hashlib.sha256(f"{name}{k}".encode()).digest() for k in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def run_sdk(node: str, folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    (folder / "job.json").write_text(json.dumps(job))
    command = [node, str(HERE / "zerog_peer.mjs"), str(folder / "job.json"), str(folder / "outcome.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
    assert outcome["ok"], outcome.get("error", "") + done.stdout[-2000:]
    return outcome


class DevnetSender:
    """A FlowSender with web3, apart from our own transaction code."""

    def __init__(self, devnet: Devnet) -> None:
        from web3 import HTTPProvider, Web3

        self._web3 = Web3(HTTPProvider(devnet.rpc_url))
        self._account = self._web3.eth.account.from_key(devnet.accounts[4].private_key_hex)
        self.address = Address(self._account.address)
        self.count = 0

    def submit(self, *, flow: Address, calldata: bytes, value: Wei, label: str) -> None:
        transaction = {
            "to": flow,
            "data": calldata,
            "value": value,
            "nonce": self._web3.eth.get_transaction_count(self.address),
            "gas": 1_000_000,
            "gasPrice": self._web3.eth.gas_price,
            "chainId": self._web3.eth.chain_id,
        }
        signed = self._account.sign_transaction(transaction)
        sent = self._web3.eth.send_raw_transaction(signed.raw_transaction)
        receipt = self._web3.eth.wait_for_transaction_receipt(sent, timeout=30, poll_latency=0.1)
        assert receipt["status"] == 1
        self.count += 1


def publisher(devnet: Devnet, sender: DevnetSender) -> ZeroGPublisher:
    assert devnet.storage_url is not None
    return ZeroGPublisher(
        Endpoint(devnet.storage_url),
        flow_address=devnet.addresses.flow,
        flow=sender,
        price=RpcPriceReader(devnet.rpc_url),
        submitter=sender.address,
    )


def downloaded(world: Devnet, root: Root, destination: Path) -> VerifiedFile:
    """By our client, into a file; nothing else stays beside it."""
    assert world.storage_url is not None
    found = ZeroGStorage([Endpoint(world.storage_url)]).download(root, destination, max_bytes=1 << 24)
    assert not list(destination.parent.glob(destination.name + ".part*"))
    return found


@pytest.mark.parametrize("way", ["bytes", "file"])
@pytest.mark.parametrize("name", SIZES)
def test_the_sdk_downloads_byte_for_byte_what_we_uploaded(
    name: str, way: str, node: str, devnet: Devnet, tmp_path: Path
) -> None:
    data = content(SIZES[name], f"ours {way} {name}")
    ours = publisher(devnet, DevnetSender(devnet))
    if way == "file":
        (tmp_path / "file").write_bytes(data)
        assert ours.plan(tmp_path / "file").root == root_of(data)
        root = ours.publish_file(tmp_path / "file", label=name)
    else:
        root = ours.publish(data, label=name)
    assert root == root_of(data)
    job = {"do": "download", "indexer": devnet.storage_url, "root": root.hex, "file": str(tmp_path / "got")}
    run_sdk(node, tmp_path, job)
    assert (tmp_path / "got").read_bytes() == data
    assert downloaded(devnet, root, tmp_path / "ours").faults == ()
    assert (tmp_path / "ours").read_bytes() == data


@pytest.mark.parametrize("name", SIZES)
def test_we_download_byte_for_byte_what_the_sdk_uploaded(
    name: str, node: str, devnet: Devnet, tmp_path: Path
) -> None:
    data = content(SIZES[name], "theirs " + name)
    (tmp_path / "file").write_bytes(data)
    job = {
        "do": "upload",
        "indexer": devnet.storage_url,
        "rpc": devnet.storage_url,  # the same base URL answers for the chain
        "privateKey": devnet.accounts[5].private_key_hex,
        "file": str(tmp_path / "file"),
    }
    outcome = run_sdk(node, tmp_path, job)
    root = root_of(data)
    assert outcome["root"] == root.hex
    assert devnet.storage_url is not None
    found = ZeroGStorage([Endpoint(devnet.storage_url)]).fetch(
        root, max_bytes=len(data), expected_size=len(data)
    )
    assert (found.data, found.faults) == (data, ())
    assert downloaded(devnet, root, tmp_path / "ours").size == len(data)
    assert (tmp_path / "ours").read_bytes() == data
    sender = DevnetSender(devnet)
    assert publisher(devnet, sender).publish_file(tmp_path / "file", label=name) == root
    assert sender.count == 0, "what the SDK stored is there: nothing is paid again"


def test_where_the_sdk_accepts_a_wrong_byte_our_client_names_the_liar(
    node: str, devnet: Devnet, tmp_path: Path
) -> None:
    """The SDK does not verify what it downloads; ours does. Both see the same lying gateway."""
    data = content(2 * SEGMENT + 5, "lied about")
    root = publisher(devnet, DevnetSender(devnet)).publish(data, label="victim")
    assert devnet.storage_url is not None
    with LyingGateway(devnet.storage_url, GatewayFault.FLIP, position=100) as liar:
        job = {"do": "download", "indexer": liar.url, "root": root.hex, "file": str(tmp_path / "got")}
        run_sdk(node, tmp_path, job)
        assert (tmp_path / "got").read_bytes() != data
        found = ZeroGStorage([Endpoint(liar.url), Endpoint(devnet.storage_url)]).fetch(
            root, max_bytes=len(data)
        )
    assert found.data == data
    assert {fault.endpoint for fault in found.faults} == {liar.url}


def test_publishing_again_sends_no_second_transaction(node: str, devnet: Devnet) -> None:
    sender = DevnetSender(devnet)
    data = content(3000, "twice")
    assert publisher(devnet, sender).publish(data, label="a") == publisher(devnet, sender).publish(
        data, label="b"
    )
    assert sender.count == 1
