"""The whole world in one object: chain, contracts, accounts, storage node.

- Everything listens on 127.0.0.1.
- One devnet a directory at a time; a second start is refused.
- Stopping keeps the state; starting again in the same directory continues it, on the same ports if free.

Usage::

    with Devnet.start(directory) as devnet:
        client = open_client(devnet.rpc_url, devnet.addresses)
        devnet.advance_time(86_400)
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

from armlx_chain.devnet.accounts import (
    DEFAULT_CHAIN_ID,
    INITIAL_BALANCE,
    DevAccount,
    check_chain_id,
    derive_accounts,
)
from armlx_chain.devnet.anvil import ANVIL_VARIABLE, AnvilChain, find_anvil
from armlx_chain.devnet.deploy import Addresses, deploy
from armlx_chain.devnet.rpc.client import RpcClient
from armlx_chain.devnet.rpc.embedded import EmbeddedChain
from armlx_chain.devnet.state import STATE_NAME, DevnetLock, DevnetState, read_state, write_state
from armlx_chain.errors import DevnetError
from armlx_chain.types import Address

logger = logging.getLogger(__name__)

EngineChoice = Literal["embedded", "anvil", "auto"]
Chain = EmbeddedChain | AnvilChain

CHAIN_FOLDER = "chain"
STORAGE_FOLDER = "storage"


class Devnet:
    """A running devnet. Made by :meth:`start`."""

    def __init__(self, state: DevnetState, resources: ExitStack) -> None:
        self._state = state
        self._resources = resources
        self._rpc = RpcClient(state.rpc_url)
        self.accounts: tuple[DevAccount, ...] = derive_accounts()

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        chain_id: int = DEFAULT_CHAIN_ID,
        engine: EngineChoice = "embedded",
        rpc_port: int = 0,
        storage_port: int = 0,
        with_storage: bool = True,
        is_service: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> Devnet:
        """Start or continue the devnet of a directory.

        Args:
            directory: Where its state lives; made if missing.
            chain_id: Its chain id; ids of real networks are refused.
            engine: ``embedded`` (Python only), ``anvil``, or ``auto``: the one it had before, else anvil
                where it is found, else embedded.
            rpc_port: TCP port; 0 for the one it had before, if free, else any.
            storage_port: Likewise.
            with_storage: Whether to start the local storage node.
            is_service: Whether this process exists for the devnet alone and may be ended by ``devnet down``.
            wall: The clock, seconds since the epoch.

        Raises:
            DevnetError: if it is running already, was made otherwise, or cannot be started.
        """
        check_chain_id(chain_id)
        with ExitStack() as resources:
            lock = DevnetLock.take(directory)
            if lock is None:
                raise DevnetError(
                    f"The devnet in {directory} is already running.",
                    next_step="Use it, stop it with `armlx-chain devnet down`, or choose another directory.",
                )
            resources.callback(lock.release)
            former = read_state(directory) if (directory / STATE_NAME).exists() else None
            _check_same(former, directory, chain_id, engine)
            former_urls = (None, None) if former is None else (former.rpc_url, former.storage_url)
            chain = _start_chain(
                directory / CHAIN_FOLDER,
                chain_id,
                _choose_engine(former, engine),
                _ports(rpc_port, former_urls[0]),
                wall,
            )
            resources.callback(chain.stop)
            addresses, genesis = _deploy(directory, chain, chain_id, former)
            storage_url = None
            if with_storage:
                ports = _ports(storage_port, former_urls[1])
                storage_url = _start_storage(
                    directory / STORAGE_FOLDER, chain.url, addresses.flow, ports, resources
                )
            state = DevnetState(
                chain_id=chain_id,
                engine=chain.engine_name,
                rpc_url=chain.url,
                storage_url=storage_url,
                addresses=addresses,
                genesis_hash=genesis,
                pid=os.getpid(),
                is_service=is_service,
            )
            write_state(directory, state)
            return cls(state, resources.pop_all())

    @property
    def state(self) -> DevnetState:
        return self._state

    @property
    def rpc_url(self) -> str:
        return self._state.rpc_url

    @property
    def storage_url(self) -> str:
        """Indexer, node and gateway of the local storage network."""
        if self._state.storage_url is None:
            raise DevnetError("This devnet runs without a storage node.")
        return self._state.storage_url

    @property
    def chain_id(self) -> int:
        return self._state.chain_id

    @property
    def addresses(self) -> Addresses:
        return self._state.addresses

    def mine(self, blocks: int = 1) -> None:
        """Mine empty blocks (or what waits in the pool)."""
        mine(self._rpc, blocks)

    def advance_time(self, seconds: int) -> int:
        """Move the chain's clock and mine; returns the new block's timestamp. See :func:`advance_time`."""
        return advance_time(self._rpc, seconds)

    def stop(self) -> None:
        """Stop everything; the state stays. A second call does nothing."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def mine(rpc: RpcClient, blocks: int) -> None:
    """Mine blocks on a devnet's node.

    Raises:
        DevnetError: for less than one block.
    """
    if blocks < 1:
        raise DevnetError(f"Cannot mine {blocks} blocks.")
    rpc.call("anvil_mine", hex(blocks))


def advance_time(rpc: RpcClient, seconds: int) -> int:
    """Let at least so many seconds pass between the latest block and a new one.

    Returns:
        The timestamp of the new block, in seconds.

    Raises:
        DevnetError: for a negative step.
    """
    if seconds < 0:
        raise DevnetError(f"Time does not go back by {-seconds} seconds.")
    before = _head_timestamp(rpc)
    rpc.call("evm_increaseTime", seconds)
    rpc.call("evm_mine")
    now = _head_timestamp(rpc)
    if now < before + seconds:  # the chain had run ahead of its clock
        rpc.call("evm_setNextBlockTimestamp", before + seconds)
        rpc.call("evm_mine")
        now = _head_timestamp(rpc)
    return now


def _head_timestamp(rpc: RpcClient) -> int:
    return int(rpc.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)


def _check_same(former: DevnetState | None, directory: Path, chain_id: int, engine: EngineChoice) -> None:
    if former is None:
        return
    if former.chain_id != chain_id:
        raise DevnetError(
            f"The devnet in {directory} has chain id {former.chain_id}, not {chain_id}.",
            next_step="Give that id, or another directory.",
        )
    if engine not in ("auto", former.engine):
        raise DevnetError(
            f"The devnet in {directory} was made by the {former.engine} engine, not by {engine}.",
            next_step=f"Choose {former.engine} or auto, or another directory.",
        )


def _choose_engine(former: DevnetState | None, engine: EngineChoice) -> str:
    if engine != "auto":
        return engine
    if former is not None:
        return former.engine
    return "embedded" if find_anvil() is None else "anvil"


def _ports(wanted: int, former_url: str | None) -> tuple[int, ...]:
    """The ports to try in turn."""
    if wanted or former_url is None:
        return (wanted,)
    return (urlsplit(former_url).port or 0, 0)


def _start_chain(
    directory: Path, chain_id: int, engine: str, ports: tuple[int, ...], wall: Callable[[], float]
) -> Chain:
    if engine == "anvil":
        binary = find_anvil()
        if binary is None:
            raise DevnetError(
                "anvil was not found.",
                next_step=f"Put it on the PATH, name it in {ANVIL_VARIABLE}, or use the embedded engine.",
            )
        return AnvilChain(directory, chain_id=chain_id, binary=binary, ports=ports, wall=wall)
    balances = {bytes.fromhex(account.address[2:]): INITIAL_BALANCE for account in derive_accounts()}
    return EmbeddedChain(directory, chain_id=chain_id, balances=balances, ports=ports, wall=wall)


def _deploy(
    directory: Path, chain: Chain, chain_id: int, former: DevnetState | None
) -> tuple[Addresses, str]:
    """Put the contracts there, or find them; returns their addresses and the genesis hash."""
    rpc = RpcClient(chain.url)
    genesis = str(rpc.call("eth_getBlockByNumber", "0x0", False)["hash"])
    if former is not None and former.genesis_hash != genesis:
        raise DevnetError(
            f"The chain in {directory} is not the one it was: its genesis block changed.",
            next_step="Move the devnet's directory away and start a new one.",
        )
    return deploy(rpc, chain_id, derive_accounts()), genesis


def _start_storage(
    directory: Path, rpc_url: str, flow: Address, ports: tuple[int, ...], resources: ExitStack
) -> str:
    """Start the storage node on the first free port; returns its address."""
    from armlx_chain.storage.zerog.localnode import LocalStorageNode

    for port in ports:
        try:
            node = LocalStorageNode(directory, rpc_url, flow, port=port)
            node.start()
        except DevnetError:
            if port == ports[-1]:
                raise
            logger.info("The storage node's former port %d is taken; trying another", port)
        else:
            resources.callback(node.stop)
            return str(node.url)
    raise DevnetError("No port was given for the storage node.")
