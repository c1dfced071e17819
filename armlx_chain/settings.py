"""Networks and folders, from flags, environment and the local world's state file.

Nothing is read at import. ``Settings`` is made once, by the command line, and handed down.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from armlx_chain.errors import UsageError
from armlx_chain.types import Address, Wei

DEVNET_STATE = "devnet.json"
MAX_FEE_VARIABLE = "ARMLX_MAX_FEE_GWEI"
MAX_FEE = Wei(200 * 10**9)
"""Wei per gas; a hundred times what Galileo asks."""


_ADDRESSES_BYTES = 1 << 14
GALILEO_HEAD_AGE_SECONDS = 600.0
"""Galileo makes a block every few seconds."""


@dataclass(frozen=True, slots=True)
class Network:
    """Where a chain and its storage are.

    Attributes:
        rpc_urls: Endpoints of the chain, in order of preference.
        confirmations: Blocks on top of a receipt, or of a state that decides about money, before it counts.
        seed_delay_blocks: Blocks after a submission whose hash seeds its evaluation.
        explorer_url: A web page that shows accounts and transactions, where there is one.
        multicall3: A contract that carries many reads in one call, where it is known to be there.
        runtime_hashes: keccak-256 of the contracts' code by name, where known.
        max_head_age_seconds: Without a new block for so long an endpoint is stale; None for a chain that
            mines on demand.
    """

    name: str
    chain_id: int
    rpc_urls: tuple[str, ...]
    storage_urls: tuple[str, ...]
    verifier_registry: Address
    proposal_ledger: Address
    project_registry: Address
    flow: Address | None
    confirmations: int
    seed_delay_blocks: int = 8
    explorer_url: str | None = None
    multicall3: Address | None = None
    runtime_hashes: Mapping[str, str] = field(default_factory=dict)
    max_head_age_seconds: float | None = None

    @property
    def rpc_url(self) -> str:
        """The preferred endpoint."""
        return self.rpc_urls[0]


@dataclass(frozen=True, slots=True)
class Settings:
    """What one invocation works with.

    Attributes:
        max_fee: Most wei per gas that is ever offered, also when a transaction has to be replaced.
    """

    network: Network
    home: Path
    max_fee: Wei = MAX_FEE

    @property
    def keystore_folder(self) -> Path:
        return self.home / "keystores"

    @property
    def journal_path(self) -> Path:
        return self.home / "journal.sqlite"

    @property
    def guard_path(self) -> Path:
        return guard_path(self.home)


def guard_path(home: Path) -> Path:
    """Where a home keeps which verdict each key has signed; the same for all networks."""
    return home / "guard.sqlite"


def default_home(env: Mapping[str, str] = os.environ) -> Path:
    """``$ARMLX_HOME``, or ``~/.armlx-chain``."""
    return Path(env["ARMLX_HOME"]) if env.get("ARMLX_HOME") else Path.home() / ".armlx-chain"


def max_fee(env: Mapping[str, str] = os.environ) -> Wei:
    """The cap on fees per gas: ``$ARMLX_MAX_FEE_GWEI``, or 200 gwei.

    Raises:
        UsageError: it is not a whole number of gwei between 2, which Galileo asks at least, and 100,000.
    """
    text = env.get(MAX_FEE_VARIABLE, "").strip()
    if not text:
        return MAX_FEE
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 2 <= int(text) <= 100_000):
        raise UsageError(f"{MAX_FEE_VARIABLE} is {text[:20]!r}, not a whole number of gwei from 2 to 100000.")
    return Wei(int(text) * 10**9)


def cache_folder(home: Path) -> Path:
    """Where fetched content is kept; the same for all networks, as roots are."""
    return home / "cache"


def devnet_folder(home: Path, env: Mapping[str, str] = os.environ) -> Path:
    """Where the local world keeps its state: ``$ARMLX_DEVNET``, or a folder in the home."""
    return Path(env["ARMLX_DEVNET"]) if env.get("ARMLX_DEVNET") else home / "devnet"


def load_network(
    name: str,
    *,
    home: Path,
    rpc_url: str | None = None,
    storage_url: str | None = None,
    env: Mapping[str, str] = os.environ,
) -> Network:
    """The network of this name: ``galileo`` or ``devnet``, with overrides.

    Raises:
        UsageError: unknown name, or no local world is running.
    """
    if name == "devnet":
        network = _devnet(devnet_folder(home, env))
    elif name == "galileo":
        network = _deployed(name)
    else:
        raise UsageError(
            f"There is no network {name!r}.", next_step="Use --network galileo or --network devnet."
        )
    if rpc_url:
        network = replace(network, rpc_urls=_addresses(rpc_url))
    if storage_url:
        network = replace(network, storage_urls=_addresses(storage_url))
    return network


def _addresses(text: str) -> tuple[str, ...]:
    """Addresses, comma-separated, or the file that ``file:PATH`` names: an address often holds a key, and a
    command line is nothing that keeps one. In a file they may also stand line by line, with ``#`` comments.

    Raises:
        UsageError: the file cannot be read, is too long, or names none.
    """
    if not text.startswith("file:"):
        return tuple(url.strip() for url in text.split(",") if url.strip())
    path = Path(text.removeprefix("file:"))
    try:
        with path.open("rb") as stream:
            data = stream.read(_ADDRESSES_BYTES + 1)
        lines = data.decode("ascii").splitlines()
    except OSError as error:
        raise UsageError(f"The file of addresses {path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise UsageError(f"The file of addresses {path} holds characters that no address has.") from None
    listed = [url.strip() for line in lines for url in line.partition("#")[0].split(",")]
    found = tuple(url for url in listed if url)
    if not found or len(data) > _ADDRESSES_BYTES:
        raise UsageError(f"The file of addresses {path} names {'none' if not found else 'too many'}.")
    return found


def _deployed(name: str) -> Network:
    from contracts_abi import deployment  # commands that are served from the cache need no addresses

    found = deployment(name)
    return Network(
        name=name,
        chain_id=found.chain_id,
        rpc_urls=found.rpc_urls,
        storage_urls=(found.indexer_url,) if found.indexer_url else (),
        verifier_registry=Address(found.verifier_registry),
        proposal_ledger=Address(found.proposal_ledger),
        project_registry=Address(found.project_registry),
        flow=None if found.flow is None else Address(found.flow),
        confirmations=3,
        explorer_url=found.explorer_url,
        multicall3=None if found.multicall3 is None else Address(found.multicall3),
        runtime_hashes=found.runtime_hashes,
        max_head_age_seconds=GALILEO_HEAD_AGE_SECONDS,
    )


def _devnet(folder: Path) -> Network:
    path = folder / DEVNET_STATE
    try:
        state = json.loads(path.read_text())
        addresses = state["addresses"]
        return Network(
            name="devnet",
            chain_id=int(state["chain_id"]),
            rpc_urls=(str(state["rpc_url"]),),
            storage_urls=(str(state["storage_url"]),),
            verifier_registry=Address(addresses["verifier_registry"]),
            proposal_ledger=Address(addresses["proposal_ledger"]),
            project_registry=Address(addresses["project_registry"]),
            flow=Address(addresses["flow"]),
            confirmations=0,
        )
    except FileNotFoundError as error:
        raise UsageError(
            f"No local world is known at {path}.", next_step="Start one with: armlx-chain devnet up"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is damaged ({error}).", next_step="Run: armlx-chain devnet up") from error
