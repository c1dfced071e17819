"""A devnet as a whole: it comes back as it was, however it ended; its process obeys."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devnet_tools import Play, Wire

from armlx_chain.devnet import service
from armlx_chain.devnet.accounts import derive_accounts
from armlx_chain.devnet.state import DevnetLock, read_state, running_pid
from armlx_chain.devnet.world import Devnet
from armlx_chain.errors import DevnetError
from contracts_abi import Deployment


def _record(wire: Wire) -> list[Any]:
    """Everything a client could have seen."""
    blocks = [wire.block(number, full=True) for number in range(wire.number("eth_blockNumber") + 1)]
    receipts = [wire.receipt(one["hash"]) for block in blocks for one in block["transactions"]]
    return [
        [block["hash"] for block in blocks],
        [one["hash"] for block in blocks for one in block["transactions"]],
        [(one["status"], one["gasUsed"], one["contractAddress"], len(one["logs"])) for one in receipts],
        [wire("eth_getBalance", account.address, "latest") for account in derive_accounts()],
    ]


def test_a_restart_brings_back_blocks_receipts_state_address_and_clock(engine: str, tmp_path: Path) -> None:
    with Devnet.start(tmp_path, engine=engine, with_storage=False) as devnet:  # type: ignore[arg-type]
        play = Play(devnet, Wire(devnet.rpc_url))
        project, token = play.create_project()
        play.fund_miner(token)
        devnet.advance_time(7 * 86_400)
        before, url, addresses = _record(play.wire), devnet.rpc_url, devnet.addresses
        head = play.wire.block()
    with Devnet.start(tmp_path, engine="auto", with_storage=False) as devnet:
        assert (devnet.rpc_url, devnet.addresses, devnet.state.engine) == (url, addresses, engine)
        play = Play(devnet, Wire(devnet.rpc_url))
        assert _record(play.wire) == before
        receipt = play.sender(2).execute(**play.submission(project))
        later = play.wire.block(receipt["blockNumber"])
        assert int(later["timestamp"], 16) >= int(head["timestamp"], 16)
        assert later["parentHash"] == head["hash"]


def test_one_directory_runs_one_devnet_and_only_as_it_was_made(engine: str, tmp_path: Path) -> None:
    with Devnet.start(tmp_path, engine=engine, with_storage=False):  # type: ignore[arg-type]
        with pytest.raises(DevnetError, match="already running"):
            Devnet.start(tmp_path, engine=engine, with_storage=False)  # type: ignore[arg-type]
        assert running_pid(tmp_path) == os.getpid()
        with pytest.raises(DevnetError, match="runs inside process"):
            service.down(tmp_path)
    assert running_pid(tmp_path) is None
    with pytest.raises(DevnetError, match="has chain id 31337, not 31338"):
        Devnet.start(tmp_path, chain_id=31338, engine=engine, with_storage=False)  # type: ignore[arg-type]
    other = "anvil" if engine == "embedded" else "embedded"
    with pytest.raises(DevnetError, match=f"was made by the {engine} engine"):
        Devnet.start(tmp_path, engine=other, with_storage=False)  # type: ignore[arg-type]
    assert running_pid(tmp_path) is None


@pytest.mark.integration
def test_another_chain_id_is_used_everywhere(tmp_path: Path) -> None:
    with Devnet.start(tmp_path, chain_id=777_001, with_storage=False) as devnet:
        wire = Wire(devnet.rpc_url)
        assert (wire.number("eth_chainId"), wire("net_version")) == (777_001, "777001")
        assert Play(devnet, wire).create_project()[0] == 0
        assert read_state(tmp_path).deployment() == Deployment(
            name="devnet",
            chain_id=777_001,
            rpc_urls=(devnet.rpc_url,),
            explorer_url=None,
            indexer_url=None,
            verifier_registry=devnet.addresses.verifier_registry,
            proposal_ledger=devnet.addresses.proposal_ledger,
            project_registry=devnet.addresses.project_registry,
            flow=devnet.addresses.flow,
        )


@pytest.mark.integration
def test_a_taken_port_is_an_error_when_asked_for_and_replaced_when_only_remembered(tmp_path: Path) -> None:
    with Devnet.start(tmp_path, with_storage=False) as devnet:
        port = int(devnet.rpc_url.rpartition(":")[2])
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        with pytest.raises(DevnetError, match="cannot listen"):
            Devnet.start(tmp_path, rpc_port=port, with_storage=False)
        assert running_pid(tmp_path) is None
        with Devnet.start(tmp_path, with_storage=False) as devnet:
            assert not devnet.rpc_url.endswith(f":{port}")


@pytest.mark.integration
def test_a_deployment_that_was_cut_off_is_continued(tmp_path: Path) -> None:
    with Devnet.start(tmp_path, with_storage=False) as devnet:
        addresses = devnet.addresses
    journal = tmp_path / "chain" / "chain.jsonl"
    (tmp_path / "devnet.json").unlink()
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:4]))
    with Devnet.start(tmp_path, with_storage=False) as devnet:
        assert devnet.addresses == addresses
        assert Wire(devnet.rpc_url).number("eth_blockNumber") == 6


def test_the_storage_node_shares_the_world_and_keeps_its_address(engine: str, tmp_path: Path) -> None:
    with Devnet.start(tmp_path, engine=engine) as devnet:  # type: ignore[arg-type]
        url = devnet.storage_url
        storage = Wire(url)
        assert storage.number("eth_chainId") == devnet.chain_id
        flow = storage("zgs_getStatus")["networkIdentity"]["flowAddress"]
        assert flow.lower() == devnet.addresses.flow.lower()
        price = Wire(devnet.rpc_url).number(
            "eth_call", {"to": devnet.addresses.market, "data": "0x61ec5082"}, "latest"
        )
        assert price == 30_733_644_962
    with Devnet.start(tmp_path, engine=engine) as devnet:  # type: ignore[arg-type]
        assert devnet.storage_url == url


# -- as a process ------------------------------------------------------------------------------------------


@pytest.fixture
def process(engine: str, tmp_path: Path) -> Iterator[Path]:
    """A detached devnet's directory; the devnet is down afterwards."""
    service.up(tmp_path, engine=engine, detach=True)  # type: ignore[arg-type]
    yield tmp_path
    service.down(tmp_path)


def _wait_until_gone(pid: int) -> None:
    for _ in range(1000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)
    raise AssertionError(f"process {pid} is still there")


def test_a_detached_devnet_answers_advances_and_ends(process: Path, engine: str) -> None:
    status = service.status(process)
    assert status.is_running
    assert (status.state.engine, status.state.is_service) == (engine, True)
    assert status.head is not None
    assert status.state.storage_url is not None
    head = service.advance(process, seconds=86_400, blocks=2)
    assert head.timestamp >= status.head.timestamp + 86_400
    assert head.number >= status.head.number + 3
    assert service.advance(process).number == head.number + 1
    with pytest.raises(DevnetError, match="already running"):
        service.up(process, engine=engine, detach=True)  # type: ignore[arg-type]
    assert service.down(process) is True
    stopped = service.status(process)
    assert (stopped.is_running, stopped.head) == (False, None)
    assert service.down(process) is False
    with pytest.raises(DevnetError, match="not running"):
        service.advance(process)
    _wait_until_gone(status.state.pid)


def test_after_a_kill_everything_that_was_answered_is_still_there(process: Path, engine: str) -> None:
    state = read_state(process)
    wire = Wire(state.rpc_url)
    wire("anvil_mine", "0x3")
    if engine == "anvil":
        time.sleep(3)  # anvil writes its state every second, not at every block
    hashes = [wire.block(number)["hash"] for number in range(wire.number("eth_blockNumber") + 1)]
    children = _descendants(state.pid)
    os.kill(state.pid, signal.SIGKILL)
    for pid in (state.pid, *children):
        _wait_until_gone(pid)
    assert not service.status(process).is_running
    again = service.up(process, engine="auto", detach=True)
    assert (again.engine, again.addresses, again.genesis_hash) == (
        engine,
        state.addresses,
        state.genesis_hash,
    )
    wire = Wire(again.rpc_url)
    assert [wire.block(number)["hash"] for number in range(len(hashes))] == hashes


def _descendants(pid: int) -> list[int]:
    """Processes below one, so that a test sees the leash and the node end too."""
    found: list[int] = []
    pending = [pid]
    while pending:
        listing = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(pending.pop())], capture_output=True, text=True, check=False
        )
        children = [int(word) for word in listing.stdout.split()]
        found += children
        pending += children
    return found


@pytest.mark.integration
def test_a_devnet_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        with pytest.raises(DevnetError, match="cannot listen"):
            service.up(tmp_path, rpc_port=squatter.getsockname()[1], detach=True)
    with pytest.raises(DevnetError, match="belongs to 0G Galileo"):
        service.up(tmp_path, chain_id=16602, detach=True)
    with pytest.raises(DevnetError, match="There is no devnet"):
        service.status(tmp_path)


@pytest.mark.integration
def test_in_the_foreground_it_runs_until_a_signal(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from armlx_chain.devnet.service import up\n"
        f"up(Path({str(tmp_path)!r}), on_ready=lambda state: print(state.rpc_url, flush=True))\n"
        "print('ended', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        output = process.stdout
        assert output is not None
        url = output.readline().strip()
        assert Wire(url).number("eth_chainId") == 31337
        process.send_signal(signal.SIGINT)
        assert output.readline() == "ended\n"
        assert process.wait(30) == 0
    lock = DevnetLock.take(tmp_path)
    assert lock is not None
    lock.release()
