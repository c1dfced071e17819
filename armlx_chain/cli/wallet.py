"""``wallet``: keys of one's own. There is no export: a keystore is a file that other wallets open."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from armlx_chain.cli.amounts import AMOUNT
from armlx_chain.cli.context import App, network_options, passphrase_options
from armlx_chain.cli.keys import (
    ask_secret,
    asked_once,
    existing_passphrase,
    find,
    foundry,
    hot_ceiling,
    new_passphrase,
    open_vault,
    passphrase_choice,
)
from armlx_chain.cli.output import coin, emit, say
from armlx_chain.errors import UsageError
from armlx_chain.types import Address, Wei

if TYPE_CHECKING:
    from collections.abc import Callable

    from armlx_chain.signing.accounts import Account
    from armlx_chain.signing.keystore import KeystoreInfo
    from armlx_chain.signing.passphrase import PassphraseChoice, PassphraseSource
    from armlx_chain.signing.signer import Signer

_SECRET_FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


@click.group()
def wallet() -> None:
    """Keys of one's own: keystores (Web3 v3) that only their owner may read.

    Foundry's keystores are listed and used too. A key is never shown and never exported: copy its keystore
    file, any wallet opens it with the passphrase.
    """


@wallet.command()
@click.argument("name")
@passphrase_options
@network_options
def new(app: App, name: str, passphrase_from: str | None, password_file: Path | None) -> None:
    """Make a new key under NAME.

    \b
    Examples:
      armlx-chain wallet new me
      armlx-chain wallet new me --passphrase-from file:secret.txt
      armlx-chain wallet new me --passphrase-from keyring     asked twice, then kept in the keyring
    """
    from armlx_chain.signing import keystore

    choice = passphrase_choice(passphrase_from, password_file)
    info = _create(choice, lambda source: keystore.create(_folder(app), name, source))
    say("Keep the passphrase: without it the key is lost. Use this key for gas and stakes only;")
    say(f"name a cold address for its rewards with: armlx-chain wallet set-reward {name} 0x…")
    _show_made(app, info)


@wallet.command("import")
@click.argument("name")
@click.option("--key-file", type=_SECRET_FILE, help="File with the private key in hex; - is standard input.")
@click.option("--mnemonic", is_flag=True, help="Ask for a mnemonic (BIP-39) instead of a private key.")
@click.option("--mnemonic-file", type=_SECRET_FILE, help="File with the mnemonic; - is standard input.")
@click.option("--derivation-path", metavar="PATH", help="Path of the account. [default: m/44'/60'/0'/0/0]")
@click.option("--extra-word", is_flag=True, help="Ask for the mnemonic's own passphrase (BIP-39) as well.")
@click.option(
    "--from-keystore",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Another keystore, of any wallet; stored again under a passphrase of this one.",
)
@click.option(
    "--from-passphrase", metavar="SOURCE", help="Its passphrase: prompt or file:PATH. [default: prompt]"
)
@passphrase_options
@network_options
def import_(
    app: App, name: str, passphrase_from: str | None, password_file: Path | None, **given: Any
) -> None:
    """Store an existing key under NAME. Neither key nor words are ever taken from the command line.

    \b
    Examples:
      armlx-chain wallet import old                            asks for the private key
      armlx-chain wallet import old --key-file - < key.txt
      armlx-chain wallet import second --mnemonic --derivation-path "m/44'/60'/0'/0/1"
      armlx-chain wallet import mine --from-keystore UTC--2024-05-01T00-00-00Z--3c44
    """
    from armlx_chain.signing import keystore

    source = _key_source(**given)
    choice = passphrase_choice(passphrase_from, password_file)
    info = _create(choice, lambda answer: keystore.import_signer(_folder(app), name, source, answer))
    _show_made(app, info)


@wallet.command("list")
@click.option("--balances", is_flag=True, help="Ask the chain for each account's balance.")
@network_options
def list_(app: App, balances: bool) -> None:
    """List the keystores: the home's own, then Foundry's.

    \b
    Examples:
      armlx-chain wallet list
      armlx-chain wallet list --balances --network devnet
    """
    from armlx_chain.signing.accounts import list_accounts

    rows: list[dict[str, Any]] = []
    lines = []
    for account in list_accounts(_folder(app), foundry()):
        row: dict[str, Any] = {
            "name": account.name, "address": account.address, "origin": account.origin,
            "path": account.path, "exposed": account.exposed,
        }  # fmt: skip
        line = f"{account.name:<16} {account.address or 'address not stated':<42}  {account.origin}"
        if balances and account.address is not None:
            row["balance_wei"] = str(app.rpc.balance(account.address))
            line += f"  {coin(int(row['balance_wei']))}"
        if account.exposed:
            say(f"warning: others can read {account.path}; chmod 600 it.")
        rows.append(row)
        lines.append(line)
    if not rows:
        say("There is no keystore yet. Make one with: armlx-chain wallet new NAME")
    emit({"accounts": rows}, lines, as_json=app.as_json)


@wallet.command()
@click.argument("name")
@click.option("--check", is_flag=True, help="Open the keystore, so that the address is proven.")
@passphrase_options
@network_options
def address(
    app: App, name: str, check: bool, passphrase_from: str | None, password_file: Path | None
) -> None:
    """Show the address of NAME. A keystore that states none is opened for it.

    \b
    Examples:
      armlx-chain wallet address me
      armlx-chain wallet address me --check
    """
    account = find(_folder(app), name)
    choice = passphrase_choice(passphrase_from, password_file)
    found = _address_of(account, choice, prove=check)
    proven = check or account.address is None
    emit({"name": account.name, "address": found, "proven": proven}, [found], as_json=app.as_json)


@wallet.command()
@click.argument("name", required=False)
@click.option("--ceiling", type=AMOUNT, help="Warn above this amount. [default: ARMLX_HOT_CEILING, or 1 0G]")
@passphrase_options
@network_options
def balance(
    app: App, name: str | None, ceiling: Wei | None, passphrase_from: str | None, password_file: Path | None
) -> None:
    """Show the balance of NAME, or of every account that states its address.

    A key on this machine is hot: it should hold gas and stakes, nothing else. Above the ceiling (1 0G unless
    it is set; none in the local world) a warning says so.

    \b
    Examples:
      armlx-chain wallet balance me
      armlx-chain wallet balance --ceiling 0.2og --json
    """
    from armlx_chain.signing import preferences
    from armlx_chain.signing.accounts import list_accounts

    most = hot_ceiling(app.settings) if ceiling is None else ceiling
    rewards = preferences.reward_addresses(app.home)
    if name is None:
        wanted = [
            (a.name, a.address) for a in list_accounts(_folder(app), foundry()) if a.address is not None
        ]
    else:
        account = find(_folder(app), name)
        wanted = [(account.name, _address_of(account, passphrase_choice(passphrase_from, password_file)))]
    rows, lines = [], []
    for label, owner in wanted:
        held = app.rpc.balance(owner)
        warning = preferences.hot_balance_warning(owner, held, ceiling=most)
        reward = rewards.get(owner)
        rows.append(
            {"name": label, "address": owner, "balance_wei": str(held), "reward_address": reward,
             "ceiling_wei": None if most is None else str(most), "warning": warning}
        )  # fmt: skip
        lines.append(f"{label:<16} {owner}  {coin(held)}  rewards to {reward or 'no cold address yet'}")
        if warning:
            say(f"warning: {warning}.")
    emit({"accounts": rows}, lines, as_json=app.as_json)


@wallet.command("set-reward")
@click.argument("name")
@click.argument("reward", required=False, metavar="ADDRESS")
@click.option("--forget", is_flag=True, help="Forget the address instead.")
@passphrase_options
@network_options
def set_reward(
    app: App,
    name: str,
    reward: str | None,
    forget: bool,
    passphrase_from: str | None,
    password_file: Path | None,
) -> None:
    """Name the cold address that rewards of NAME go to; submit takes it where it is told nothing else.

    \b
    Examples:
      armlx-chain wallet set-reward me 0x90F79bf6EB2c4f870365E785982E1f101E93b906
      armlx-chain wallet set-reward me --forget
    """
    from armlx_chain.signing import preferences
    from armlx_chain.signing.accounts import list_accounts

    if (reward is None) != forget:
        raise UsageError("Give the cold address, or --forget.")
    owner = _address_of(find(_folder(app), name), passphrase_choice(passphrase_from, password_file))
    if reward is None:
        known = preferences.forget_reward(app.home, owner)
        emit({"account": owner, "reward_address": None, "forgotten": known},
             ["Forgotten." if known else "There was none."], as_json=app.as_json)  # fmt: skip
        return
    cold = preferences.checked_address(reward)
    preferences.set_reward(app.home, owner, cold)
    hot = [account.name for account in list_accounts(_folder(app), foundry()) if account.address == cold]
    if hot:
        say(f"warning: the key of {cold} lies on this machine too ({hot[0]}): it is not cold.")
    emit({"account": owner, "reward_address": cold, "is_hot": bool(hot)},
         [f"Rewards of {owner} go to {cold}."], as_json=app.as_json)  # fmt: skip


@wallet.group("keyring")
def keyring_() -> None:
    """Passphrases in the system's keyring, for --passphrase-from keyring."""


@keyring_.command("set")
@click.argument("name")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Take the passphrase from a file.",
)
@network_options
def keyring_set(app: App, name: str, password_file: Path | None) -> None:
    """Put the passphrase of NAME into the keyring, after it has opened the keystore.

    \b
    Example:
      armlx-chain wallet keyring set me
    """
    from armlx_chain.signing.keystore import load

    account = find(_folder(app), name)
    vault = open_vault()
    source = asked_once(existing_passphrase(account.path, passphrase_choice(None, password_file)))
    opened = load(account.path, source)
    vault.keep(_entry(account), source())
    emit({"name": account.name, "address": opened.address},
         [f"The keyring holds the passphrase of {account.name}."], as_json=app.as_json)  # fmt: skip


@keyring_.command("forget")
@click.argument("name")
@network_options
def keyring_forget(app: App, name: str) -> None:
    """Take the passphrase of NAME out of the keyring. The keystore stays.

    \b
    Example:
      armlx-chain wallet keyring forget me
    """
    account = find(_folder(app), name)
    known = open_vault().forget(_entry(account))
    emit({"name": account.name, "forgotten": known},
         ["Forgotten." if known else "The keyring held none."], as_json=app.as_json)  # fmt: skip


def _folder(app: App) -> Path:
    return app.home / "keystores"


def _entry(account: Account) -> str:
    from armlx_chain.signing.vault import entry_name

    return entry_name(account.address, account.path)


def _address_of(account: Account, choice: PassphraseChoice, *, prove: bool = False) -> Address:
    from armlx_chain.signing.keystore import load

    if account.address is not None and not prove:
        return account.address
    return load(account.path, existing_passphrase(account.path, choice)).address


def _create(choice: PassphraseChoice, make: Callable[[PassphraseSource], KeystoreInfo]) -> KeystoreInfo:
    """Make a keystore; with ``keyring`` its passphrase is kept there, once the keystore exists."""
    from armlx_chain.signing.vault import entry_name

    source = asked_once(new_passphrase(choice))
    if choice.kind != "keyring":
        return make(source)
    vault = open_vault()
    info = make(source)
    vault.keep(entry_name(info.address, info.path), source())
    return info


def _show_made(app: App, info: KeystoreInfo) -> None:
    emit(
        {"name": info.name, "address": info.address, "path": str(info.path)},
        [f"{info.name}  {info.address}  {info.path}"],
        as_json=app.as_json,
    )


def _key_source(
    *,
    key_file: Path | None,
    mnemonic: bool,
    mnemonic_file: Path | None,
    derivation_path: str | None,
    extra_word: bool,
    from_keystore: Path | None,
    from_passphrase: str | None,
) -> Callable[[], Signer]:
    """Where the key to be imported comes from; nothing is asked for yet.

    Raises:
        UsageError: several sources were named, or an option that belongs to another one.
    """
    from armlx_chain.signing.keystore import load
    from armlx_chain.signing.signer import DEFAULT_DERIVATION_PATH, Signer

    words = mnemonic or mnemonic_file is not None
    if sum((key_file is not None, words, from_keystore is not None)) > 1:
        raise UsageError("Give one of --key-file, --mnemonic or --mnemonic-file, and --from-keystore.")
    if not words and (derivation_path is not None or extra_word):
        raise UsageError("--derivation-path and --extra-word belong to a mnemonic.")
    if from_keystore is None and from_passphrase is not None:
        raise UsageError("--from-passphrase belongs to --from-keystore.")
    if from_keystore is not None:
        known = existing_passphrase(from_keystore, passphrase_choice(from_passphrase, None))
        return lambda: load(from_keystore, known)
    if not words:
        key = _secret(key_file, "Private key", "key file")
        return lambda: Signer.from_hex(key())
    phrase = _secret(mnemonic_file, "Mnemonic", "mnemonic file")
    path = DEFAULT_DERIVATION_PATH if derivation_path is None else derivation_path
    return lambda: Signer.from_mnemonic(
        phrase(), path=path, extra_word=ask_secret("The mnemonic's passphrase") if extra_word else ""
    )


def _secret(path: Path | None, question: str, what: str) -> PassphraseSource:
    from armlx_chain.signing import passphrase

    if path is None:
        return passphrase.from_prompt(ask_secret, question)
    if str(path) == "-":
        return passphrase.from_stream(sys.stdin.buffer, "Standard input")
    return passphrase.from_file(path, what)
