"""``armlx-validator guard``: what was signed, carried to another machine and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, network_options
from armlx_chain.cli.output import emit, say
from armlx_chain.errors import EXIT_FINDING, EXIT_OK

if TYPE_CHECKING:
    from armlx_chain.signing.guard import Entry, SingleSignGuard


@click.group("guard")
def guard() -> None:
    """The record of which verdict each key has signed: one per proposal, ever.

    Take it along when a key moves to another machine.
    """


def _guard(app: App) -> SingleSignGuard:
    from armlx_chain.settings import guard_path
    from armlx_chain.signing.guard import SingleSignGuard

    return SingleSignGuard(guard_path(app.home))  # no network is asked


@guard.command()
@network_options
def show(app: App) -> int:
    """List what was signed, and how often a second verdict was refused.

    \b
    Example:
      armlx-validator guard show --json
    """
    record = _guard(app)
    entries, refusals = record.entries(), record.refusals()
    lines = [f"{len(entries)} verdicts signed, {refusals} second ones refused."]
    lines += [f"  {entry.key}: sha256 {entry.digest.hex()}" for entry in entries]
    data = {"entries": [_as_json(entry) for entry in entries], "refusals": refusals}
    emit(data, lines, as_json=app.as_json)
    return EXIT_OK


@guard.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@network_options
def export_entries(app: App, file: Path) -> int:
    """Write all entries to FILE, which must not exist yet.

    Stop the validator first: what it signs afterwards is not in the file.

    \b
    Example:
      armlx-validator guard export guard-2026-11.jsonl
    """
    from armlx_chain.errors import UsageError
    from armlx_chain.signing.interchange import write_interchange

    entries = _guard(app).entries()
    try:
        with file.open("xb") as stream:
            stream.write(write_interchange(entries))
    except OSError as error:
        raise UsageError(f"{file} cannot be written ({error.strerror}).") from error
    data = {"file": str(file), "entries": len(entries)}
    emit(data, [f"{len(entries)} entries are in {file}."], as_json=app.as_json)
    return EXIT_OK


@guard.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@network_options
def import_entries(app: App, file: Path) -> int:
    """Add what FILE has and this machine lacks. Nothing that is here is changed or removed.

    Exits 3 where FILE holds another verdict than this machine under the same key: a key signed twice.

    \b
    Example:
      armlx-validator guard import guard-2026-11.jsonl
    """
    from armlx_chain.errors import UsageError
    from armlx_chain.signing.interchange import INTERCHANGE_LIMIT_BYTES, read_interchange

    try:
        with file.open("rb") as stream:
            data = stream.read(INTERCHANGE_LIMIT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror}).") from error
    merged = _guard(app).merge(read_interchange(data))
    for key in merged.conflicts:
        say(f"conflict: another verdict stands here for {key}; it was kept")
    lines = [
        f"{merged.added} entries added, {merged.known} were here already, {len(merged.conflicts)} conflict."
    ]
    conflicts = [str(key) for key in merged.conflicts]
    emit({"added": merged.added, "known": merged.known, "conflicts": conflicts}, lines, as_json=app.as_json)
    return EXIT_FINDING if merged.conflicts else EXIT_OK


def _as_json(entry: Entry) -> dict[str, object]:
    return {
        "chain": entry.key.chain_id,
        "genesis": "0x" + entry.key.genesis_hash.hex(),
        "ledger": entry.key.ledger,
        "proposal": int(entry.key.proposal_id),
        "signer": entry.key.signer,
        "sha256": entry.digest.hex(),
    }
