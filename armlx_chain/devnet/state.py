"""What a devnet writes down for others: ``devnet.json``, and the lock that says it is running.

- ``devnet.json`` is replaced atomically; a reader sees the old one or the new one.
- Whether the devnet runs is decided by the lock alone, which the kernel frees however the process ends.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from io import TextIOWrapper
from pathlib import Path
from types import MappingProxyType
from typing import Any

from armlx_chain.devnet.deploy import Addresses
from armlx_chain.errors import DevnetError
from contracts_abi import Deployment

STATE_NAME = "devnet.json"
LOCK_NAME = "devnet.lock"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class DevnetState:
    """Facts about a devnet.

    Attributes:
        chain_id: Its chain id.
        engine: ``embedded`` or ``anvil``.
        rpc_url: Ethereum JSON-RPC.
        storage_url: Storage node, indexer and gateway on one address; None if it has none.
        addresses: Its contracts.
        genesis_hash: Hash of block 0, ``0x`` and 64 hex digits.
        pid: The process that ran it last.
        is_service: Whether that process does nothing else, so that it may be told to end.
    """

    chain_id: int
    engine: str
    rpc_url: str
    storage_url: str | None
    addresses: Addresses
    genesis_hash: str
    pid: int
    is_service: bool

    def deployment(self) -> Deployment:
        """The same facts in the form that Galileo's have."""
        return Deployment(
            name="devnet",
            chain_id=self.chain_id,
            rpc_urls=(self.rpc_url,),
            explorer_url=None,
            indexer_url=self.storage_url,
            verifier_registry=self.addresses.verifier_registry,
            proposal_ledger=self.addresses.proposal_ledger,
            project_registry=self.addresses.project_registry,
            flow=self.addresses.flow,
            multicall3=None,
            runtime_hashes=MappingProxyType({}),
        )

    def to_json(self) -> dict[str, Any]:
        return {"format": _FORMAT, **asdict(self)}


def read_state(directory: Path) -> DevnetState:
    """The devnet's facts, whether it is running or not.

    Raises:
        DevnetError: if there is none in the directory, or its file is damaged.
    """
    path = directory / STATE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != _FORMAT:
            raise DevnetError(f"{path} was written by another version.")
        return DevnetState(**{**values, "addresses": Addresses(**values["addresses"])})
    except FileNotFoundError as exc:
        raise DevnetError(
            f"There is no devnet in {directory}.", next_step="Start one with `armlx-chain devnet up`."
        ) from exc
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise DevnetError(f"{path} cannot be read: {exc}.") from exc


def write_state(directory: Path, state: DevnetState) -> None:
    """Replace the devnet's facts."""
    path = directory / STATE_NAME
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(state.to_json(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(path)


class DevnetLock:
    """The lock that a running devnet holds on its directory."""

    def __init__(self, file: TextIOWrapper) -> None:
        self._file = file

    @classmethod
    def take(cls, directory: Path) -> DevnetLock | None:
        """Take the lock, or None if a running devnet has it."""
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / LOCK_NAME).open("a+", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return cls(file)

    def release(self) -> None:
        self._file.close()


def running_pid(directory: Path) -> int | None:
    """The process that runs the devnet in a directory now, or None.

    Raises:
        DevnetError: if it runs but its lock file cannot be read.
    """
    path = directory / LOCK_NAME
    if not path.exists():
        return None
    with path.open("r", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read().strip()
            if not text.isdigit():
                raise DevnetError(f"{path} is locked but names no process.") from None
            return int(text)
    return None
