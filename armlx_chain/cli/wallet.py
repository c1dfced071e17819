"""``wallet``: keystores of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from armlx_chain.cli.context import App, network_options
from armlx_chain.cli.output import coin, emit, say


@click.group()
def wallet() -> None:
    """Make and list keystores (Web3 v3, readable by their owner only)."""


@wallet.command()
@click.argument("name")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="ETH_PASSWORD",
    help="File that holds the new passphrase; asked for (twice) where it is missing.",
)
@network_options
def new(app: App, name: str, password_file: Path | None) -> None:
    """Make a new key under NAME.

    \b
    Example:
      armlx-chain wallet new me
    """
    from armlx_chain.cli.wiring import ask_passphrase
    from armlx_chain.signing import keystore, passphrase

    source = (
        passphrase.from_file(password_file) if password_file else passphrase.new_from_prompt(ask_passphrase)
    )
    info = keystore.create(app.home / "keystores", name, source)
    say("Keep the passphrase: without it the key is lost. Use this key for gas and stakes only;")
    say("have rewards paid to another address with: submit --reward-recipient 0x…")
    emit(
        {"name": info.name, "address": info.address, "path": str(info.path)},
        [f"{info.name}  {info.address}  {info.path}"],
        as_json=app.as_json,
    )


@wallet.command("import")
@click.argument("name")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="ETH_PASSWORD",
    help="File that holds the new passphrase; asked for (twice) where it is missing.",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that holds the private key in hex; asked for where it is missing.",
)
@network_options
def import_(app: App, name: str, password_file: Path | None, key_file: Path | None) -> None:
    """Store an existing private key under NAME. It is never taken from the command line.

    \b
    Example:
      armlx-chain wallet import old --key-file key.txt
    """
    from armlx_chain.cli.wiring import ask_passphrase
    from armlx_chain.signing import keystore, passphrase

    source = (
        passphrase.from_file(password_file) if password_file else passphrase.new_from_prompt(ask_passphrase)
    )
    key = (
        passphrase.from_file(key_file) if key_file else passphrase.from_prompt(ask_passphrase, "Private key")
    )
    info = keystore.import_key(app.home / "keystores", name, key, source)
    emit(
        {"name": info.name, "address": info.address, "path": str(info.path)},
        [f"{info.name}  {info.address}  {info.path}"],
        as_json=app.as_json,
    )


@wallet.command("list")
@click.option("--balances", is_flag=True, help="Ask the chain for each account's balance.")
@network_options
def list_(app: App, balances: bool) -> None:
    """List the keystores.

    \b
    Example:
      armlx-chain wallet list --balances --network devnet
    """
    from armlx_chain.signing import keystore

    rows = []
    for info in keystore.list_keystores(app.home / "keystores"):
        row = {"name": info.name, "address": info.address}
        if balances:
            row["balance_wei"] = str(app.rpc.balance(info.address))
        rows.append(row)
    lines = [
        f"{row['name']:<16} {row['address']}" + (f"  {coin(int(row['balance_wei']))}" if balances else "")
        for row in rows
    ]
    if not rows:
        say("There is no keystore yet. Make one with: armlx-chain wallet new NAME")
    emit({"accounts": rows}, lines, as_json=app.as_json)
