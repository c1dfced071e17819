"""From options to keys: which keystore is meant, where its passphrase comes from, what a hot key may hold."""

from __future__ import annotations

import os
import sys
import warnings
from getpass import GetPassWarning
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.amounts import parse_amount
from armlx_chain.errors import SigningError, UsageError
from armlx_chain.types import Address, Wei

if TYPE_CHECKING:
    from armlx_chain.settings import Settings
    from armlx_chain.signing.accounts import Account
    from armlx_chain.signing.passphrase import PassphraseChoice, PassphraseSource
    from armlx_chain.signing.signer import Signer
    from armlx_chain.signing.vault import Vault

HOT_CEILING_VARIABLE = "ARMLX_HOT_CEILING"
"""Amount above which a hot key's balance is worth a warning; 1 0G unless it is set."""


def ask_secret(question: str) -> str:
    """Ask on the terminal, without echo. Where there is none, a line of standard input is the answer.

    Raises:
        SigningError: there is neither.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GetPassWarning)  # what is no terminal echoes nothing
            answer: str = click.prompt(question, hide_input=True, err=True, default="", show_default=False)
    except click.Abort:
        if _has_terminal():
            raise
        raise SigningError(
            f"{question}: there is nobody to ask.",
            meaning="This process has no terminal, and nothing on its standard input.",
            next_step="Say where it lies: --password-file FILE, or --passphrase-from file:PATH or keyring.",
        ) from None
    return answer


def _has_terminal() -> bool:
    try:
        with Path(os.devnull if sys.stdin.isatty() else "/dev/tty").open("rb"):
            return True
    except OSError:
        return False


def passphrase_choice(passphrase_from: str | None, password_file: Path | None) -> PassphraseChoice:
    """What ``--passphrase-from`` says; where it is missing ``--password-file``; else the prompt.

    Raises:
        UsageError: the text is no source.
    """
    from armlx_chain.signing.passphrase import PassphraseChoice

    if passphrase_from is not None:
        return PassphraseChoice.parse(passphrase_from)
    return PassphraseChoice("prompt") if password_file is None else PassphraseChoice("file", password_file)


def foundry() -> Path | None:
    """Foundry's keystores of this person; None for a user without a home folder."""
    from armlx_chain.signing.accounts import foundry_folder

    try:
        return foundry_folder(Path.home())
    except RuntimeError:
        return None


def find(folder: Path, name: str) -> Account:
    """The account of a name or an address, in the own folder or in Foundry's.

    Raises:
        KeystoreError: there is none, or several match.
    """
    from armlx_chain.signing.accounts import find_account

    return find_account(name, folder, foundry())


def open_vault() -> Vault:
    """The system's keyring.

    Raises:
        SigningError: there is none that keeps a secret.
    """
    from armlx_chain.signing.vault import Vault, system_backend

    return Vault(system_backend())


def open_signer(
    folder: Path, *, account: str | None, keystore: Path | None, choice: PassphraseChoice
) -> Signer:
    """Open the keystore a person named.

    Raises:
        SigningError: it is not found or damaged, or the passphrase is wrong or not to be had.
    """
    from armlx_chain.signing.keystore import load

    path = keystore if keystore is not None else find(folder, account or "").path
    return load(path, existing_passphrase(path, choice))


def existing_passphrase(path: Path, choice: PassphraseChoice) -> PassphraseSource:
    """The source of the passphrase of a keystore that exists; nothing is asked for yet."""
    from armlx_chain.signing import passphrase
    from armlx_chain.signing.keystore import inspect
    from armlx_chain.signing.vault import entry_name

    if choice.kind == "file" and choice.path is not None:
        return passphrase.from_file(choice.path)
    if choice.kind == "keyring":
        return lambda: open_vault().source(entry_name(inspect(path).address, path))()
    return passphrase.from_prompt(ask_secret, f"Passphrase of {path.name}")


def new_passphrase(choice: PassphraseChoice) -> PassphraseSource:
    """The source of a new keystore's passphrase: typed twice, unless it comes from a file."""
    from armlx_chain.signing import passphrase

    if choice.kind == "file" and choice.path is not None:
        return passphrase.from_file(choice.path)
    return passphrase.new_from_prompt(ask_secret)


def asked_once(source: PassphraseSource) -> PassphraseSource:
    """A source that asks the first time only: for a passphrase that is needed in two places."""
    answers: list[str] = []

    def answer() -> str:
        if not answers:
            answers.append(source())
        return answers[0]

    return answer


def hot_ceiling(settings: Settings) -> Wei | None:
    """The most a hot key should hold, from the environment; ``None`` in a local world unless it is set.

    Raises:
        UsageError: the variable holds no amount.
    """
    from armlx_chain.signing.preferences import DEFAULT_HOT_CEILING

    stated = os.environ.get(HOT_CEILING_VARIABLE)
    if not stated:
        return None if settings.network.name == "devnet" else DEFAULT_HOT_CEILING
    try:
        return parse_amount(stated)
    except ValueError as error:
        raise UsageError(f"{HOT_CEILING_VARIABLE}: {error}.") from None


def hot_warning(settings: Settings, account: Address, balance: Wei) -> str | None:
    """What to tell a person whose hot key holds more than the ceiling, or ``None``."""
    from armlx_chain.signing.preferences import hot_balance_warning

    return hot_balance_warning(account, balance, ceiling=hot_ceiling(settings))
