"""Options that commands share, and the objects made from them, wired in one visible place."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from armlx_chain.errors import UsageError
from armlx_chain.settings import Settings, cache_folder, default_home, load_network, max_fee

if TYPE_CHECKING:
    from armlx_chain.chain.frontier import FrontierReader
    from armlx_chain.chain.rpc import Rpc
    from armlx_chain.chain.sender import TxSender
    from armlx_chain.chain.startup import LedgerConstants
    from armlx_chain.signing.signer import Signer
    from armlx_chain.storage.fetch import ContentStorage
    from armlx_chain.storage.places import Places

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class App:
    """What one invocation was told; makes its collaborators on demand."""

    network_name: str
    home: Path
    rpc_url: str | None
    storage_url: str | None
    as_json: bool

    @functools.cached_property
    def settings(self) -> Settings:
        network = load_network(
            self.network_name, home=self.home, rpc_url=self.rpc_url, storage_url=self.storage_url
        )
        return Settings(network=network, home=self.home, max_fee=max_fee(os.environ))

    @functools.cached_property
    def rpc(self) -> Rpc:
        """The chain, the ids of all its endpoints compared with the configured one."""
        from armlx_chain.chain.startup import open_chain

        return open_chain(self.settings.network)

    @functools.cached_property
    def constants(self) -> LedgerConstants:
        """The ledger's constants, read with the start-up checks of the whole deployment.

        Raises:
            WrongChain: what is at the configured addresses is not what this program was made for.
        """
        from armlx_chain.chain.startup import check_deployment

        return check_deployment(self.rpc, self.settings.network)

    @functools.cached_property
    def frontier(self) -> FrontierReader:
        """All projects and proposals; later looks read only what changed."""
        return self.frontier_at(0)

    def frontier_at(self, depth: int) -> FrontierReader:
        """A reader of its own, of what has so many confirmations."""
        from armlx_chain.chain.frontier import FrontierReader

        network = self.settings.network
        return FrontierReader(
            self.rpc,
            ledger=network.proposal_ledger,
            registry=network.project_registry,
            multicall=network.multicall3,
            depth=depth,
        )

    @functools.cached_property
    def storage(self) -> ContentStorage:
        return self.open_storage()

    def open_storage(self, *, offline: bool = False) -> ContentStorage:
        """Content by root, through the cache; the network's settings are read when the cache does not do."""
        from armlx_chain.cli.sizes import cache_limit
        from armlx_chain.storage.fetch import open_storage

        limit = cache_limit(os.environ)
        return open_storage(self._places, cache_folder(self.home), cache_limit=limit, offline=offline)

    def _places(self) -> Places:
        from armlx_chain.irys_hosts import hosts_for
        from armlx_chain.storage.places import Places

        irys = hosts_for(self.network_name, os.environ)
        return Places(self.settings.network.storage_urls, irys)

    def sender(self, signer: Signer, **options: Any) -> TxSender:
        """A sender whose journal belongs to this chain and account; the deployment is checked first."""
        from armlx_chain.cli.wiring import check_wiring, make_sender

        check_wiring(self)
        return make_sender(self.settings, self.rpc, signer, **options)


@dataclass(frozen=True)
class SignerChoice:
    """How a person named their key; the passphrase is asked for only when it is needed."""

    account: str | None
    keystore: Path | None
    password_file: Path | None
    passphrase_from: str | None = None

    def load(self, app: App) -> Signer:
        """Open the keystore.

        Raises:
            UsageError: no key was named, with every way to name one.
            SigningError: wrong passphrase or a damaged keystore.
        """
        from armlx_chain.cli.keys import open_signer, passphrase_choice

        if self.account is None and self.keystore is None:
            raise UsageError(
                "No key was named.",
                next_step="Give --account NAME (see: armlx-chain wallet list), --keystore FILE, or set"
                " ETH_KEYSTORE_ACCOUNT or ETH_KEYSTORE. Make one with: armlx-chain wallet new NAME",
            )
        return open_signer(
            app.settings.keystore_folder,
            account=self.account,
            keystore=self.keystore,
            choice=passphrase_choice(self.passphrase_from, self.password_file),
        )


def network_options(command: F) -> F:
    """``--network --rpc-url --storage-url --home --json``; the command receives ``app``."""

    @click.option(
        "--network",
        "network_name",
        default="galileo",
        envvar="ARMLX_NETWORK",
        show_default=True,
        help="galileo, or devnet for the local world.",
    )
    @click.option(
        "--rpc-url",
        envvar="ETH_RPC_URL",
        help="Chain endpoints, comma-separated, or file:PATH, instead of the network's own. From two on they"
        " are compared.",
    )
    @click.option(
        "--storage-url",
        envvar="ARMLX_STORAGE_URL",
        help="Storage indexers, comma-separated, instead of the network's own.",
    )
    @click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="ARMLX_HOME",
        help="Folder of keystores, journal and cache. [default: ~/.armlx-chain]",
    )
    @click.option("--json", "as_json", is_flag=True, envvar="ARMLX_JSON", help="One JSON object on stdout.")
    @functools.wraps(command)
    def wrapper(
        *args: Any,
        network_name: str,
        rpc_url: str | None,
        storage_url: str | None,
        home: Path | None,
        as_json: bool,
        **kwargs: Any,
    ) -> Any:
        place = (home or default_home(os.environ)).absolute()  # sandboxes have another working folder
        app = App(network_name, place, rpc_url, storage_url, as_json)
        return command(*args, app=app, **kwargs)

    return wrapper  # type: ignore[return-value]


def signer_options(command: F) -> F:
    """``--account --keystore --passphrase-from --password-file``; the command receives ``key``."""

    @click.option(
        "--account",
        envvar="ETH_KEYSTORE_ACCOUNT",
        help="Name or address of a keystore in the home folder, or in Foundry's.",
    )
    @click.option(
        "--keystore",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="ETH_KEYSTORE",
        help="A keystore file.",
    )
    @passphrase_options
    @functools.wraps(command)
    def wrapper(
        *args: Any,
        account: str | None,
        keystore: Path | None,
        password_file: Path | None,
        passphrase_from: str | None,
        **kwargs: Any,
    ) -> Any:
        choice = SignerChoice(account, keystore, password_file, passphrase_from)
        return command(*args, key=choice, **kwargs)

    return wrapper  # type: ignore[return-value]


def passphrase_options(command: F) -> F:
    """``--passphrase-from --password-file``: where a passphrase is taken from."""
    command = click.option(
        "--password-file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="ETH_PASSWORD",
        help="The same as --passphrase-from file:PATH.",
    )(command)
    return click.option(
        "--passphrase-from",
        metavar="SOURCE",
        help="prompt, file:PATH, or keyring (the system's). [default: prompt]",
    )(command)


_WAITS = "armlx_chain.waits"


def _no_wait(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[_WAITS] = not value


def waits() -> bool:
    """Whether the running command may wait for another process on this machine's accelerator."""
    ctx = click.get_current_context(silent=True)
    return True if ctx is None else bool(ctx.meta.get(_WAITS, True))


def no_wait_option(command: F) -> F:
    """``--no-wait``, read by ``waits``."""
    return click.option(
        "--no-wait",
        is_flag=True,
        expose_value=False,
        callback=_no_wait,
        help="Refuse (exit code 75) instead of waiting while another process trains on this machine's GPU.",
    )(command)


def running_options(command: F) -> F:
    """``--calibrate --python`` and what set-up may do: how candidates are run on this machine."""
    command = no_wait_option(command)
    return click.option(
        "--calibrate",
        type=click.Choice(["full", "quick"]),
        help="Measure this machine's noise first where it is not known: full as the rule demands (28 runs),"
        " or quick (8 runs, a shortcut that every report shows).",
    )(setup_options(command))


def setup_options(command: F) -> F:
    """``--python --allow-network --allow-builds --allow-any-source``; the command receives ``python``."""

    @click.option(
        "--python",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="A ready interpreter that runs candidates. [default: the environment that the protocol sets up;"
        " this interpreter where it installs nothing]",
    )
    @click.option(
        "--allow-network",
        is_flag=True,
        envvar="ARMLX_ALLOW_NETWORK",
        help="Let the protocol's set-up use the network, where its policy is full. Candidates never do.",
    )
    @click.option(
        "--allow-builds", is_flag=True, help="Let set-up build packages from source, in the sandbox."
    )
    @click.option(
        "--allow-any-source", is_flag=True, help="Let a lock name packages from git, paths or addresses."
    )
    @functools.wraps(command)
    def wrapper(
        *args: Any,
        python: Path | None,
        allow_network: bool,
        allow_builds: bool,
        allow_any_source: bool,
        **kwargs: Any,
    ) -> Any:
        from verifier.environments.choice import PythonChoice

        choice = PythonChoice(python, allow_network, allow_builds, allow_any_source)
        return command(*args, python=choice, **kwargs)

    return wrapper  # type: ignore[return-value]


def spending_options(command: F) -> F:
    """``--yes --dry-run``."""
    command = click.option("--dry-run", is_flag=True, help="Show the plan and stop.")(command)
    return click.option("--yes", is_flag=True, envvar="ARMLX_YES", help="Go ahead without asking.")(command)
