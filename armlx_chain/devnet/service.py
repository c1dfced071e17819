"""What the ``devnet`` commands do: bring a devnet up (here or as a process of its own), look at it, end it.

No printing and no exit codes; a command line calls these and shows what they return.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from armlx_chain.devnet import world
from armlx_chain.devnet.accounts import DEFAULT_CHAIN_ID
from armlx_chain.devnet.rpc.client import RpcClient
from armlx_chain.devnet.state import DevnetLock, DevnetState, read_state, running_pid
from armlx_chain.devnet.worker import read_ready_line, worker_command
from armlx_chain.devnet.world import Devnet, EngineChoice
from armlx_chain.errors import DevnetError

LOG_NAME = "devnet.log"
READY_SECONDS = 120.0
DOWN_SECONDS = 60.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Head:
    """The latest block: its number, hash (hex text) and timestamp in seconds."""

    number: int
    hash: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class DevnetStatus:
    """A devnet as it is now. ``head`` is None while it does not run."""

    state: DevnetState
    is_running: bool
    head: Head | None


def up(
    directory: Path,
    *,
    chain_id: int = DEFAULT_CHAIN_ID,
    engine: EngineChoice = "embedded",
    rpc_port: int = 0,
    storage_port: int = 0,
    detach: bool = False,
    on_ready: Callable[[DevnetState], None] = lambda state: None,
) -> DevnetState:
    """Start or continue a devnet.

    Args:
        directory: Where its state lives.
        chain_id: Its chain id.
        engine: ``embedded``, ``anvil`` or ``auto``.
        rpc_port: TCP port, or 0.
        storage_port: TCP port, or 0.
        detach: Run it as a process of its own and return when it answers. Otherwise it runs here until an
            interrupt or a SIGTERM, which must be called from the main thread.
        on_ready: Called once it answers.

    Returns:
        Its facts.

    Raises:
        DevnetError: if it cannot be started.
    """
    if detach:
        state = _start_worker(directory, chain_id, engine, rpc_port, storage_port)
        on_ready(state)
        return state
    with (
        _stop_signal() as stopped,
        Devnet.start(
            directory,
            chain_id=chain_id,
            engine=engine,
            rpc_port=rpc_port,
            storage_port=storage_port,
            is_service=True,
        ) as devnet,
    ):
        on_ready(devnet.state)
        stopped.wait()
        return devnet.state


def status(directory: Path) -> DevnetStatus:
    """What stands in the directory, and whether it answers.

    Raises:
        DevnetError: if there is no devnet, or it runs but does not answer.
    """
    state = read_state(directory)
    if running_pid(directory) is None:
        return DevnetStatus(state, is_running=False, head=None)
    return DevnetStatus(state, is_running=True, head=_head(RpcClient(state.rpc_url)))


def down(directory: Path, timeout_seconds: float = DOWN_SECONDS) -> bool:
    """End a devnet's process and wait until it has ended.

    Returns:
        False if it was not running.

    Raises:
        DevnetError: if it runs inside another program, or does not end in time.
    """
    pid = running_pid(directory)
    if pid is None:
        return False
    state = read_state(directory)
    if not state.is_service or state.pid != pid:
        raise DevnetError(
            f"The devnet in {directory} runs inside process {pid}, which does other things too.",
            next_step="End that program instead.",
        )
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        lock = DevnetLock.take(directory)
        if lock is not None:
            lock.release()
            return True
        time.sleep(_POLL_SECONDS)
    raise DevnetError(f"Process {pid} did not end within {timeout_seconds:.0f} seconds.")


def advance(directory: Path, *, seconds: int = 0, blocks: int = 0) -> Head:
    """Move a running devnet's clock forward, then mine; with neither given, mine one block.

    Args:
        directory: The devnet's directory.
        seconds: At least so much later is the next block than the latest.
        blocks: Blocks to mine after that.

    Raises:
        DevnetError: if it is not running or the step is negative.
    """
    state = read_state(directory)
    if running_pid(directory) is None:
        raise DevnetError(f"The devnet in {directory} is not running.", next_step="armlx-chain devnet up")
    rpc = RpcClient(state.rpc_url)
    if seconds:
        world.advance_time(rpc, seconds)
    if blocks or not seconds:
        world.mine(rpc, blocks or 1)
    return _head(rpc)


def _head(rpc: RpcClient) -> Head:
    block = rpc.call("eth_getBlockByNumber", "latest", False)
    return Head(int(block["number"], 16), str(block["hash"]), int(block["timestamp"], 16))


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; the former handlers come back afterwards."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    former: dict[signal.Signals, Any] = {}
    for name in (signal.SIGINT, signal.SIGTERM):
        former[name] = signal.signal(name, stop)
    try:
        yield stopped
    finally:
        for name, handler in former.items():
            signal.signal(name, handler)


def _start_worker(
    directory: Path, chain_id: int, engine: EngineChoice, rpc_port: int, storage_port: int
) -> DevnetState:
    directory.mkdir(parents=True, exist_ok=True)
    command = worker_command(directory, chain_id, engine, rpc_port, storage_port)
    with (directory / LOG_NAME).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        read_ready_line(process, READY_SECONDS)
    except BaseException:
        process.kill()
        process.wait()
        raise
    # The process goes on without us; its exit status is collected by whoever inherits it.
    process.returncode = 0
    return read_state(directory)
