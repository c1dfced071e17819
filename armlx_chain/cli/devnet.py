"""``devnet``: a whole world on one machine."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace

import click

from armlx_chain.cli.context import App, network_options
from armlx_chain.cli.output import emit, say, table
from armlx_chain.errors import UsageError
from armlx_chain.settings import devnet_folder


@click.group()
def devnet() -> None:
    """A local chain with our contracts and funded accounts, and a local storage node."""


@devnet.command()
@click.option("--chain-id", type=click.IntRange(min=1), default=31337, show_default=True)
@click.option(
    "--engine",
    type=click.Choice(["embedded", "anvil", "auto"]),
    default="embedded",
    show_default=True,
    help="embedded needs Python only; auto takes anvil where it is found.",
)
@click.option("--rpc-port", type=click.IntRange(0, 65535), default=0, help="0 for any free port.")
@click.option("--storage-port", type=click.IntRange(0, 65535), default=0, help="0 for any free port.")
@click.option("--detach", is_flag=True, help="Run in the background; stop with: armlx-chain devnet down")
@network_options
def up(app: App, chain_id: int, engine: str, rpc_port: int, storage_port: int, detach: bool) -> None:
    """Start the local world, or continue it.

    \b
    Example:
      armlx-chain devnet up --detach
      armlx-chain wallet list --network devnet
    """
    from armlx_chain.devnet import service
    from armlx_chain.devnet.accounts import derive_accounts
    from armlx_chain.devnet.state import DevnetState

    def ready(state: DevnetState) -> None:
        accounts = [{"address": a.address, "role": a.role_name} for a in derive_accounts()]
        rows: list[tuple[str, object]] = [
            ("chain", f"{state.rpc_url}  (id {state.chain_id}, {state.engine})"),
            ("storage", state.storage_url),
            ("ledger", state.addresses.proposal_ledger),
            ("registry", state.addresses.project_registry),
            *((a["role"], a["address"]) for a in accounts),
        ]
        emit({**state.to_json(), "accounts": accounts}, table(rows), as_json=app.as_json)
        if not detach:
            say("Running; stop with Ctrl-C. In another terminal: armlx-chain devnet status")

    service.up(
        devnet_folder(app.home, os.environ),
        chain_id=chain_id,
        engine=engine,  # type: ignore[arg-type]
        rpc_port=rpc_port,
        storage_port=storage_port,
        detach=detach,
        on_ready=ready,
    )


@devnet.command()
@network_options
def status(app: App) -> None:
    """Whether the local world runs, and where."""
    from armlx_chain.devnet import service

    found = service.status(devnet_folder(app.home, os.environ))
    head = found.head
    rows: list[tuple[str, object]] = [
        ("running", "yes" if head is not None else "no"),
        ("chain", f"{found.state.rpc_url}  (id {found.state.chain_id}, {found.state.engine})"),
        ("storage", found.state.storage_url),
    ]
    if head is not None:
        rows += [("block", head.number), ("time", head.timestamp)]
    data = {**found.state.to_json(), "running": head is not None,
            "block": None if head is None else head.number}  # fmt: skip
    emit(data, table(rows), as_json=app.as_json)


@devnet.command()
@network_options
def down(app: App) -> None:
    """Stop the local world. Its state is kept and continued by the next "up"."""
    from armlx_chain.devnet import service

    stopped = service.down(devnet_folder(app.home, os.environ))
    emit({"stopped": stopped}, ["Stopped." if stopped else "It was not running."], as_json=app.as_json)


@devnet.command()
@click.argument("address")
@click.option("--coins", type=click.IntRange(min=1, max=1000), default=100, show_default=True)
@network_options
def fund(app: App, address: str, coins: int) -> None:
    """Send coins of the local world to ADDRESS, from its last account.

    \b
    Example:
      armlx-chain devnet fund 0x1256AEe341465ACFE16c2bdDFdE9650ca97f1314
    """
    from eth_utils import is_address, to_checksum_address

    from armlx_chain.chain.sender import Intent
    from armlx_chain.cli.wiring import make_sender
    from armlx_chain.devnet.accounts import derive_accounts
    from armlx_chain.signing.signer import Signer
    from armlx_chain.types import Address, Wei

    app = replace(app, network_name="devnet")  # no other gives coins away
    if not is_address(address):
        raise UsageError(f"{address!r} is not an address.")
    giver = Signer.from_hex(derive_accounts()[-1].private_key_hex)
    receipt = make_sender(app.settings, app.rpc, giver).execute(
        Intent(
            key=f"fund/{secrets.token_hex(8)}",
            to=Address(to_checksum_address(address)),
            data=b"",
            value=Wei(coins * 10**18),
            what=f"funding {address}",
        )
    )
    emit(
        {"tx_hash": receipt.tx_hash, "coins": coins}, [f"Sent {coins} 0G to {address}."], as_json=app.as_json
    )


@devnet.command()
@click.option("--seconds", type=click.IntRange(min=0), default=0, help="Move the clock forward.")
@click.option("--blocks", type=click.IntRange(min=0), default=0, help="Mine this many blocks.")
@network_options
def advance(app: App, seconds: int, blocks: int) -> None:
    """Travel in time: past a review lock or an expiry window.

    \b
    Example:
      armlx-chain devnet advance --seconds 86400
    """
    from armlx_chain.devnet import service

    head = service.advance(devnet_folder(app.home, os.environ), seconds=seconds, blocks=blocks)
    emit(
        {"block": head.number, "timestamp": head.timestamp},
        [f"block {head.number}, time {head.timestamp}"],
        as_json=app.as_json,
    )
