"""``fetch``: a root in, verified bytes out."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from armlx_chain.cli.context import App, network_options
from armlx_chain.cli.marks import register_of, unverified_option, warn_unverified
from armlx_chain.cli.output import emit, say, table
from armlx_chain.cli.sizes import SIZE
from armlx_chain.errors import (
    ProtocolInvalid,
    RootFormatError,
    StorageError,
    UsageError,
)
from armlx_chain.types import Root

if TYPE_CHECKING:
    from armlx_chain.storage.fetch import ContentStorage
    from armlx_chain.storage.interface import Fault, UnverifiedBytes, VerifiedBytes, VerifiedFile

DEFAULT_LIMIT = 64 << 20
FILE_LIMIT = 1 << 40
"""A file on disk may be large; a person who gave a name for it expects that."""


@dataclass(frozen=True)
class Wish:
    """What is wanted, as the person said it."""

    text: str
    output: Path | None
    raw: bool
    size: int | None
    max_size: int | None
    sha256: bytes | None
    allow_unverified: bool

    @property
    def limit(self) -> int:
        """Most bytes that are accepted."""
        return self.max_size or (DEFAULT_LIMIT if self.output is None else FILE_LIMIT)


def _digest(_: click.Context, __: click.Parameter, text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return Root.parse("sha256:" + text.removeprefix("sha256:")).digest
    except RootFormatError:
        raise click.BadParameter("give 64 hex digits.") from None


@click.command()
@click.argument("root")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the bytes to this file, of any size, instead of showing the protocol. A stopped download"
    " goes on where it was.",
)
@click.option("--raw", is_flag=True, help="Write the bytes to stdout, whatever they are.")
@click.option("--offline", is_flag=True, envvar="ARMLX_OFFLINE", help="Serve from the cache only.")
@click.option(
    "--size",
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="The exact length, from a place you trust. A 0G root does not commit to zero bytes at the end.",
)
@click.option(
    "--max-size",
    "--max-bytes",
    "max_size",
    type=SIZE,
    help="Never download more than this. [default: 64MiB, with --output 1TiB]",
)
@click.option(
    "--sha256",
    metavar="HEX",
    callback=_digest,
    help="The content's SHA-256, from a place you trust. It proves an Irys document that has no other proof.",
)
@unverified_option
@network_options
def fetch(
    app: App,
    root: str,
    output: Path | None,
    raw: bool,
    offline: bool,
    size: int | None,
    max_size: int | None,
    sha256: bytes | None,
    allow_unverified: bool,
) -> None:
    """Fetch the bytes of ROOT and prove that every one belongs to it.

    ROOT is a 0G root (0x… or 0g:0x…), an Irys id (irys:<base58, base64url or 0x…>, or a gateway's link that
    ends in it) or sha256:… of something in the cache. Without --output or --raw the bytes are read as a
    protocol and shown.

    \b
    Examples:
      armlx-chain fetch 0xe4c1bb3a70f36fe29132775cfeb1b8dcadd65e9e61bccd40bb0cfd648499b6b3
      armlx-chain fetch 0g:0x… -o protocol.json --network devnet
      armlx-chain fetch 0g:0x… -o shard.parquet --size 92274688
      armlx-chain fetch irys:7cMG… -o protocol.json --sha256 4f6c…
      armlx-chain fetch 0x… --offline --json
    """
    if output is not None and raw:
        raise UsageError("--output and --raw exclude each other.")
    wish = Wish(root, output, raw, size, max_size, sha256, allow_unverified)
    storage = app.open_storage(offline=offline)
    if wish.size is not None and wish.size > wish.limit:
        raise UsageError(f"--size {wish.size} is more than --max-size {wish.limit}.")
    readings = _readings(root)
    for position, reading in enumerate(readings):
        try:
            _serve(app, storage, reading, wish)
        except StorageError as error:
            if position == len(readings) - 1:
                raise
            say(f"not as {reading}: {error.message}")
        else:
            return


def _readings(text: str) -> tuple[Root, ...]:
    """What ROOT may mean: one root, or two for an Irys id in two forms at once; a bare id needs no scheme."""
    if text.startswith("https://"):
        from armlx_chain.storage.irys.ids import id_in_url

        text = id_in_url(text) or text
    bare = ":" not in text and not text.lower().startswith("0x") and len(text) < 64
    try:
        return Root.candidates("irys:" + text if bare else text)
    except RootFormatError:
        if not bare:
            raise
        return Root.candidates(text)  # for the error that names every form


def _serve(app: App, storage: ContentStorage, root: Root, wish: Wish) -> None:
    from armlx_chain.storage.interface import UnverifiedBytes

    unproven_possible = root.scheme == "irys" and (wish.allow_unverified or wish.sha256 is not None)
    if wish.output is not None and not unproven_possible:
        _show_file(app, _download(storage, root, wish.output, wish), wish)
        return
    if unproven_possible or wish.sha256 is not None:
        found = storage.fetch_unproven(root, max_bytes=wish.limit, sha256=wish.sha256)
    else:
        found = storage.fetch(root, max_bytes=wish.limit, expected_size=wish.size)
    _require_size(found, wish)
    if isinstance(found, UnverifiedBytes):
        _show_unverified(app, found, wish)
    else:
        _show_verified(app, found, wish)


def _download(storage: ContentStorage, root: Root, output: Path, wish: Wish) -> VerifiedFile:
    from armlx_chain.cli.progress import transfer_bar

    with transfer_bar(output.name) as bar:
        if wish.sha256 is None:
            return storage.download(root, output, max_bytes=wish.limit, expected_size=wish.size, progress=bar)
        return storage.download_pinned(
            root,
            output,
            sha256=wish.sha256,
            max_bytes=wish.limit,
            expected_size=wish.size,
            progress=bar,
        )


def _require_size(found: VerifiedBytes | UnverifiedBytes, wish: Wish) -> None:
    from armlx_chain.errors import ContentMismatch

    if wish.size not in (None, len(found.data)):
        raise ContentMismatch(
            f"{found.root} has {len(found.data)} bytes, not {wish.size}.",
            next_step="Check --size with whoever gave you the length.",
        )


# --- showing -----------------------------------------------------------------------------------------------


def _facts(
    root: Root, size: int, source: str, faults: tuple[Fault, ...], verified: bool, proof: str | None
) -> dict[str, Any]:
    return {
        "root": str(root),
        "bytes": size,
        "source": source,
        "verified": verified,
        "proof": proof,
        "faults": [str(fault) for fault in faults],
    }


def _say_proven(found: VerifiedBytes | VerifiedFile, size: int) -> dict[str, Any]:
    for fault in found.faults:
        say(f"warning: {fault}")
    say(f"verified ({found.proof.value}): {size} bytes from {found.source} belong to {found.root}")
    return _facts(found.root, size, found.source, found.faults, True, found.proof.value)


def _show_file(app: App, found: VerifiedFile, wish: Wish) -> None:
    facts = _say_proven(found, found.size)
    register = register_of(app.home)
    sha256 = ""
    if not register.is_empty():
        with found.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    register.proven(found.root, sha256, found.path)
    _say_if_sealed(found)
    emit({**facts, "file": str(found.path)}, [f"Wrote {found.path}."], as_json=app.as_json)


def _say_if_sealed(found: VerifiedFile) -> None:
    """A file that looks encrypted is kept as it is stored; say how to open it."""
    if found.root.scheme == "0g":
        from armlx_chain.storage.zerog.encryption import read_header

        header = read_header(found.path)
        if header is not None:
            say(
                f"note: {found.path} begins like an encrypted file (version {header.version}). If it is one:"
                f" armlx-chain decrypt {found.path} --key-file KEY -o FILE"
            )


def _show_verified(app: App, found: VerifiedBytes, wish: Wish) -> None:
    facts = _say_proven(found, len(found.data))
    if wish.output is not None:
        from armlx_chain.storage.files import write_file

        write_file(wish.output, found.data)
    register_of(app.home).proven(found.root, hashlib.sha256(found.data).hexdigest(), wish.output)
    _show_data(app, found.data, facts, wish)


def _show_unverified(app: App, found: UnverifiedBytes, wish: Wish) -> None:
    for fault in found.faults:
        say(f"warning: {fault}")
    register = register_of(app.home)
    mark = register.note(found) if wish.output is None else register.write(found, wish.output)
    warn_unverified(f"the content of {found.root}", mark)
    facts = _facts(found.root, len(found.data), found.source, found.faults, False, None)
    _show_data(app, found.data, {**facts, "reason": found.reason, "sha256": mark.sha256}, wish)


def _show_data(app: App, data: bytes, facts: dict[str, Any], wish: Wish) -> None:
    if wish.output is not None:
        emit({**facts, "file": str(wish.output)}, [f"Wrote {wish.output}."], as_json=app.as_json)
    elif wish.raw:
        sys.stdout.buffer.write(data)
    else:
        _show_protocol(app, data, facts)


def _show_protocol(app: App, data: bytes, facts: dict[str, Any]) -> None:
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
    if not facts["verified"]:
        rows.insert(0, ("UNVERIFIED", facts["reason"]))
    emit(
        {**facts, "protocol": protocol.model_dump(mode="json", by_alias=True, exclude_none=True)},
        table(rows),
        as_json=app.as_json,
    )
