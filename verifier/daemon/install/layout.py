"""What an installation consists of: accounts, folders, files and command lines. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final

from armlx_chain.errors import UsageError

__all__ = ["Accounts", "Choice", "Layout", "linux_layout", "macos_layout"]

_NAME: Final = re.compile(r"_?[a-z][a-z0-9-]{0,30}\Z")
_WORD: Final = re.compile(r"[A-Za-z0-9_.:/=,@+-]+( [A-Za-z0-9_.:/=,@+-]+)*\Z")
"""What may stand in a path or an argument: nothing that a unit file, a shell or launchd reads as more."""
DRAIN_SECONDS: Final = 600
"""How long a stopped daemon may finish the pair that runs: more than two runs of five minutes would need is
waited for by nobody; what was measured is kept in any case."""


class Accounts(StrEnum):
    """How keys and strangers' code are kept apart."""

    TWO = "two"
    """A runner without keys and a signer."""
    UNSIGNED = "unsigned"
    """One account without a key: verdicts and their reports are left unsigned, nothing is sent."""
    ONE = "one-account"
    """One account that signs all the same: whoever gets out of the sandbox has the key."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What an operator chose.

    Attributes:
        program: The ``armlx-validator`` that the services start.
        key: Name of the keystore in the signer's home; where nothing is signed, the validator's address.
        network: As ``--network``.
        accounts: One or two, and whether one may sign.
        rpc_urls, storage_urls: What is written into the endpoints' file, where there is none yet, and what
            is asked for content: addresses without a secret, or ``file:`` and the file that holds them.
        nvidia: Whether the runner may open the devices of an NVIDIA GPU.
        setuid_bwrap: Whether bubblewrap is a set-uid program here: then it needs what ``NoNewPrivileges``
            takes away.
        polkit: Whether this machine asks polkit who may keep it awake.
    """

    program: Path
    key: str = "validator"
    network: str = "galileo"
    accounts: Accounts = Accounts.TWO
    rpc_urls: tuple[str, ...] = ()
    storage_urls: tuple[str, ...] = ()
    nvidia: bool = False
    setuid_bwrap: bool = False
    polkit: bool = False

    def __post_init__(self) -> None:
        for text in (str(self.program), self.key, self.network, *self.storage_urls):
            require_plain(text)
        if not self.program.is_absolute():
            raise UsageError(f"{self.program} is no absolute path.")


@dataclass(frozen=True, slots=True)
class Account:
    """Attributes:
    home: Its private folder: the ``--home`` of what runs under it.
    """

    name: str
    home: PurePosixPath
    about: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything goes on one machine.

    Attributes:
        runner: Who runs candidates; the signer itself where there is one account.
        group: Who may talk to the runner's socket.
        socket: The runner's; ``None`` with one account.
        settings: The folder of the two files that only root (Linux) or the signer (macOS) reads.
        passphrase, endpoints: Those files.
    """

    choice: Choice
    signer: Account
    runner: Account
    group: str
    socket: PurePosixPath | None
    settings: PurePosixPath
    logs: PurePosixPath | None = None
    passphrase: PurePosixPath = field(init=False)
    endpoints: PurePosixPath = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "passphrase", self.settings / "passphrase")
        object.__setattr__(self, "endpoints", self.settings / "rpc-urls")
        for account in (self.signer, self.runner):
            if not _NAME.match(account.name):
                raise UsageError(f"{account.name!r} is no name for an account of a service.")

    @property
    def signs(self) -> bool:
        return self.choice.accounts is not Accounts.UNSIGNED

    @property
    def is_split(self) -> bool:
        return self.choice.accounts is Accounts.TWO

    def runner_command(self) -> list[str]:
        """What the runner's service starts. It is told of no key and of no endpoint of the chain.

        It measures its noise by itself where it is not known: nobody logs in to that account to do it.
        """
        command = [str(self.choice.program), "worker", "--socket", str(self.socket), "--group"]
        command += ["--calibrate", "full"]
        return [*command, *self._common(self.runner)]

    def signer_command(self, credentials: str) -> list[str]:
        """What the signer's service starts.

        Args:
            credentials: The folder in which the service finds its two files; may be a variable that the
                service manager fills in.
        """
        command = [str(self.choice.program), "run", *self._common(self.signer)]
        command += ["--rpc-url", f"file:{credentials}/{self.endpoints.name}"]
        command += ["--drain-seconds", str(DRAIN_SECONDS)]
        if self.signs:
            command += ["--account", self.choice.key]
            command += ["--passphrase-from", f"file:{credentials}/{self.passphrase.name}"]
        else:
            command += ["--unsigned", self.choice.key]
        if self.socket is not None:
            command += ["--runner", str(self.socket)]
        if self.choice.accounts is Accounts.ONE:
            command += ["--one-account"]
        return command

    def _common(self, account: Account) -> list[str]:
        common = ["--network", self.choice.network, "--home", str(account.home)]
        if self.choice.storage_urls:
            common += ["--storage-url", ",".join(self.choice.storage_urls)]
        return common


def linux_layout(choice: Choice) -> Layout:
    """systemd's usual places: state below ``/var/lib``, the socket below ``/run``."""
    state = PurePosixPath("/var/lib")
    settings = PurePosixPath("/etc/armlx-validator")
    if choice.accounts is not Accounts.TWO:
        only = Account("armlx-validator", state / "armlx-validator", "ARMLX validator")
        return Layout(choice, only, only, only.name, None, settings)
    return Layout(
        choice=choice,
        signer=Account("armlx-signer", state / "armlx-signer", "ARMLX validator, keeper of the key"),
        runner=Account("armlx-runner", state / "armlx-runner", "ARMLX validator, runner without keys"),
        group="armlx-runner",
        socket=PurePosixPath("/run/armlx-runner/runner.sock"),
        settings=settings,
    )


def macos_layout(choice: Choice) -> Layout:
    """One folder that no cleaner empties; the runner logs in, for only such an account has Metal."""
    base = PurePosixPath("/usr/local/var/armlx-validator")
    settings, logs = base / "settings", base / "logs"
    if choice.accounts is not Accounts.TWO:
        only = Account("armlx-validator", base / "validator", "ARMLX validator")
        return Layout(choice, only, only, "armlx-validator", None, settings, logs)
    return Layout(
        choice=choice,
        signer=Account("_armlxsigner", base / "signer", "ARMLX validator, keeper of the key"),
        runner=Account("armlx-runner", base / "runner", "ARMLX validator, runner without keys"),
        group="armlx-runner",
        socket=base / "run" / "runner.sock",
        settings=settings,
        logs=logs,
    )


def require_plain(text: str) -> None:
    """Refuse what a unit file or a property list could read as something else.

    Raises:
        UsageError: the text holds anything but letters, digits, single spaces and ``_.:/=,@+-``.
    """
    if not _WORD.match(text):
        raise UsageError(
            f"{text[:80]!r} holds characters that have a meaning in service files.",
            next_step="Use letters, digits and _ . : / = , @ + - only.",
        )
