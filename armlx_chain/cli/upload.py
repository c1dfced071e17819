"""``upload``: a file in, its tagged root out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options, spending_options
from armlx_chain.cli.output import coin, confirm, emit, say
from armlx_chain.cli.sizes import show_size
from armlx_chain.errors import ContentTooLarge, MachineError, UsageError
from armlx_chain.types import Address, Wei

if TYPE_CHECKING:
    from armlx_chain.irys_hosts import IrysHosts
    from armlx_chain.storage.irys.publish import IrysUpload
    from armlx_chain.storage.zerog.upload import UploadPlan

_NOBODY = Address("0x0000000000000000000000000000000000000000")
_STATES = {
    "absent": "it will be announced, paid and sent",
    "announced": "it is paid for; what is missing will be sent",
    "final": "it is stored already; nothing will be sent",
}


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--to",
    "place",
    type=click.Choice(["0g", "irys"]),
    default="0g",
    show_default=True,
    help="0G Storage, for files of any size; or Irys, for small documents.",
)
@click.option(
    "--content-type",
    default="application/octet-stream",
    show_default=True,
    help="What an Irys item says it is.",
)
@click.option(
    "--max-fee",
    type=click.IntRange(min=0),
    metavar="WEI",
    help="Never pay more than this for the storage. [default: 0.1 coins to 0G, nothing to Irys]",
)
@signer_options
@spending_options
@network_options
def upload(
    app: App,
    key: SignerChoice,
    file: Path,
    place: str,
    content_type: str,
    max_fee: int | None,
    yes: bool,
    dry_run: bool,
) -> None:
    """Store FILE and print its tagged root.

    What the network has already is neither sent nor paid again; the same command resumes a stopped upload.
    A 0G root depends on the bytes alone: --dry-run prints it with the fee, and needs no key.

    \b
    Examples:
      armlx-chain upload protocol.json --dry-run
      armlx-chain upload snapshot.tar --account me --yes
      armlx-chain upload protocol.json --to irys --content-type application/json --account me
    """
    if place == "irys":
        _to_irys(app, key, file, content_type, Wei(max_fee or 0), yes=yes, dry_run=dry_run)
    elif dry_run:
        _plan_zerog(app, file)
    else:
        _to_zerog(app, key, file, max_fee, yes=yes)


# --- 0G ----------------------------------------------------------------------------------------------------


class _Unsent:
    """Stands for the sender of transactions where only a plan is wanted."""

    def submit(self, *, flow: Address, calldata: bytes, value: Wei, label: str) -> NoReturn:
        raise UsageError(f"A plan sends nothing: {label} of {len(calldata)} bytes, {value} wei, to {flow}.")


def _plan_zerog(app: App, file: Path) -> None:
    from armlx_chain.cli.wiring import MAX_STORAGE_FEE, zerog_publisher

    plan = zerog_publisher(app.settings, _Unsent(), _NOBODY, MAX_STORAGE_FEE).plan(file)
    confirm(_rows(app, file, plan), yes=False, dry_run=True)
    _emit_zerog(app, file, plan, dry_run=True)


def _to_zerog(app: App, key: SignerChoice, file: Path, max_fee: int | None, *, yes: bool) -> None:
    """One pass over the file: the person is asked when root and fee are known, before anything is paid."""
    from armlx_chain.cli.progress import transfer_bar
    from armlx_chain.cli.wiring import MAX_STORAGE_FEE, make_publisher

    signer = key.load(app)
    sender = app.sender(signer)
    sender.resume()
    bound = MAX_STORAGE_FEE if max_fee is None else Wei(max_fee)
    paid: list[UploadPlan] = []
    with transfer_bar(file.name) as bar:

        def approve(plan: UploadPlan) -> None:
            bar.finish()
            confirm([*_rows(app, file, plan), ("from", signer.address)], yes=yes, dry_run=False)
            paid.append(plan)

        root = make_publisher(app.settings, sender, max_fee=bound).publish_file(
            file, label=file.name, progress=bar, approve=approve
        )
    say(f"stored for good: {file}")
    facts = {"file": str(file), "root": str(root), "bytes": file.stat().st_size, "dry_run": False}
    emit({**facts, "fee_wei": paid[0].fee if paid else 0}, [str(root)], as_json=app.as_json)


def _rows(app: App, file: Path, plan: UploadPlan) -> list[tuple[str, object]]:
    return [
        ("file", f"{file} ({show_size(plan.size)}, {plan.sectors} sectors of 256 bytes)"),
        ("to", f"0G Storage of {app.settings.network.name}"),
        ("root", plan.root),
        ("state", _STATES[plan.state.value]),
        ("fee", f"{coin(plan.fee)}, and the gas of one transaction" if plan.fee else "nothing"),
    ]


def _emit_zerog(app: App, file: Path, plan: UploadPlan, *, dry_run: bool) -> None:
    facts: dict[str, Any] = {
        "file": str(file),
        "root": str(plan.root),
        "bytes": plan.size,
        "fee_wei": plan.fee,
        "price_wei_per_sector": plan.price,
        "sectors": plan.sectors,
        "state": plan.state.value,
        "dry_run": dry_run,
    }
    emit(facts, [str(plan.root)], as_json=app.as_json)


# --- Irys --------------------------------------------------------------------------------------------------


def _to_irys(
    app: App,
    key: SignerChoice,
    file: Path,
    content_type: str,
    max_fee: Wei,
    *,
    yes: bool,
    dry_run: bool,
) -> None:
    hosts = _irys_hosts(app)
    data = _small(file)
    facts = {"file": str(file), "bytes": len(data), "bundler": hosts.upload, "permanent": hosts.permanent}
    if not confirm(_irys_rows(file, data, hosts, max_fee), yes=yes, dry_run=dry_run):
        note = "The id is the hash of a signature: it is known once the key has signed."
        emit({**facts, "dry_run": True, "root": None}, [note], as_json=app.as_json)
        return
    from armlx_chain.storage.irys.publish import publish_to_irys

    done = publish_to_irys(
        data,
        label=file.name,
        signer=key.load(app),
        hosts=hosts,
        home=app.home,
        content_type=content_type,
        max_fee=max_fee,
    )
    for warning in done.warnings:
        say(f"warning: {warning}")
    emit({**facts, "dry_run": False, **_irys_facts(done)}, [str(done.root)], as_json=app.as_json)


def _irys_hosts(app: App) -> IrysHosts:
    from armlx_chain.irys_hosts import hosts_for

    hosts = hosts_for(app.network_name, os.environ)
    if hosts.upload is None:
        raise UsageError(
            "No Irys bundler to upload to is configured.",
            next_step="Set ARMLX_IRYS=mainnet, or ARMLX_IRYS_BUNDLER to a URL.",
        )
    return hosts


def _irys_rows(file: Path, data: bytes, hosts: IrysHosts, max_fee: Wei) -> list[tuple[str, object]]:
    from armlx_chain.storage.irys.publish import FREE_BYTES

    free = len(data) < FREE_BYTES * 9 // 10  # the item's header and tags count too
    cost = "nothing: it is below the free limit" if free else f"at most {max_fee} wei of the balance there"
    return [
        ("file", f"{file} ({show_size(len(data))})"),
        ("to", f"Irys, through {hosts.upload}"),
        ("kept", "for good" if hosts.permanent else "some 60 days: this is a test network"),
        ("cost", cost),
        ("public", "anybody can read it from now on"),
    ]


def _irys_facts(done: IrysUpload) -> dict[str, Any]:
    return {
        "root": str(done.root),
        "id": {"base58": done.ids.base58, "base64url": done.ids.base64url, "bytes32": done.ids.hex},
        "sha256": done.sha256.hex(),
        "item": str(done.item_path),
    }


def _small(file: Path) -> bytes:
    from armlx_chain.storage.irys.publish import MAX_UPLOAD_BYTES

    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_UPLOAD_BYTES + 1)
    except OSError as error:
        raise MachineError(f"{file} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_UPLOAD_BYTES:
        raise ContentTooLarge(
            f"{file} is larger than {show_size(MAX_UPLOAD_BYTES)}.", next_step="Use --to 0g for large files."
        )
    return data
