"""``fetch``: a root in, verified bytes out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from armlx_chain.cli.context import App, network_options
from armlx_chain.cli.output import emit, say, table
from armlx_chain.errors import ProtocolInvalid
from armlx_chain.types import Root

PROTOCOL_LIMIT_BYTES = 1 << 20


@click.command()
@click.argument("root")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the bytes to this file instead of showing the protocol.",
)
@click.option("--raw", is_flag=True, help="Write the bytes to stdout, whatever they are.")
@click.option(
    "--max-bytes",
    type=click.IntRange(min=1),
    default=64 << 20,
    show_default=True,
    help="Never download more than this.",
)
@network_options
def fetch(app: App, root: str, output: Path | None, raw: bool, max_bytes: int) -> None:
    """Fetch the bytes of ROOT and prove that every one belongs to it.

    Without --output or --raw the bytes are read as a protocol and shown.

    \b
    Examples:
      armlx-chain fetch 0xe4c1bb3a70f36fe29132775cfeb1b8dcadd65e9e61bccd40bb0cfd648499b6b3
      armlx-chain fetch 0g:0x… -o protocol.json --network devnet
    """
    wanted = Root.parse(root)
    found = app.storage.fetch(wanted, max_bytes=max_bytes)
    for fault in found.faults:
        say(f"warning: {fault}")
    say(f"verified: {len(found.data)} bytes from {found.source} belong to {found.root}")
    facts = {
        "root": str(found.root),
        "bytes": len(found.data),
        "source": found.source,
        "faults": [str(fault) for fault in found.faults],
    }
    if output is not None:
        _write(output, found.data)
        emit({**facts, "file": str(output)}, [f"Wrote {output}."], as_json=app.as_json)
    elif raw:
        sys.stdout.buffer.write(found.data)
    else:
        _show_protocol(app, found.data, facts)


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    temporary.replace(path)


def _show_protocol(app: App, data: bytes, facts: dict[str, object]) -> None:
    from armlx_chain.protocol.parse import parse_protocol

    try:
        protocol = parse_protocol(data)
    except ProtocolInvalid as error:
        error.next_step = "If it is not meant to be a protocol, use --output FILE or --raw."
        raise
    metric = protocol.measurement.primary_metric
    rows: list[tuple[str, object]] = [
        ("purpose", protocol.meta.purpose_statement),
        ("command", protocol.execution.command),
        ("metric", f"{metric.name}, {metric.direction}"),
        ("may change", ", ".join(protocol.mutable_surface.allowed_globs)),
        ("must not change", ", ".join(protocol.mutable_surface.forbidden_globs) or "-"),
        ("hard timeout", f"{protocol.execution.hard_timeout_seconds} s"),
    ]
    emit(
        {**facts, "protocol": protocol.model_dump(mode="json", by_alias=True, exclude_none=True)},
        table(rows),
        as_json=app.as_json,
    )
