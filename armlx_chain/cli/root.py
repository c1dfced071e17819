"""``root`` and ``verify``: content addresses of files on this machine. Nothing is sent anywhere."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import click

from armlx_chain.cli.output import emit, say
from armlx_chain.errors import ContentMismatch, ContentTooLarge
from armlx_chain.storage.zerog import shape
from armlx_chain.storage.zerog.filehash import root_of_file
from armlx_chain.types import Root

_BAR_FROM = 128 << 20
"""Shorter files are done before a bar is seen."""
_MOST_THREADS = 8
_ITEM_LIMIT = 256 << 20
"""A signed item is held in memory while its signature is checked."""
_BLOCK = 1 << 20

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)
_threads = click.option(
    "--threads",
    type=click.IntRange(1, 64),
    help=f"How many hash at once.  [default: the processors at hand, at most {_MOST_THREADS}]",
)
_json = click.option(
    "--json", "as_json", is_flag=True, envvar="ARMLX_JSON", help="One JSON object on stdout."
)


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_FILE)
@_threads
@_json
def root(files: tuple[Path, ...], threads: int | None, as_json: bool) -> None:
    """Show the 0G root of each FILE; - is stdin.

    The root is the address under which the bytes are stored, and what the ledger names. It commits to every
    byte, but not to how many zero bytes end the file: keep the length beside it where that matters.

    \b
    Examples:
      armlx-chain root protocol.json
      armlx-chain root --threads 2 shard-*.parquet
      tar -c folder | armlx-chain root - --json
    """
    found = []
    lines = []
    for file in files:
        address, size = _zerog(file, threads)
        found.append({"file": str(file), "root": str(address), "bytes": size})
        lines.append(f"{address}  {file}")
    emit({"files": found}, lines, as_json=as_json)


@click.command()
@click.argument("file", type=_FILE)
@click.argument("root", metavar="ROOT")
@click.option(
    "--size", type=click.IntRange(min=1), help="The length in bytes, if you know it from a trusted place."
)
@_threads
@_json
def verify(file: Path, root: str, size: int | None, threads: int | None, as_json: bool) -> None:
    """Prove that FILE (- is stdin) has the content address ROOT. Exit code 3 if it has another one.

    ROOT is a 0G root (0g:0x…, or just the hex digits), sha256:…, or irys:…. An Irys id belongs to a signed
    item: FILE is then the item's raw bytes, signature and all, not only the document inside.

    \b
    Examples:
      armlx-chain verify protocol.json 0xe4c1bb3a70f36fe29132775cfeb1b8dcadd65e9e61bccd40bb0cfd648499b6b3
      armlx-chain verify shard.parquet 0g:0x… --size 93123456
      armlx-chain verify log.txt sha256:…
    """
    wanted = Root.parse(root)
    check = {"0g": _check_zerog, "sha256": _check_sha256, "irys": _check_irys}[wanted.scheme]
    checked = check(file, wanted, size, threads)
    facts = {"file": str(file), "root": str(wanted), "bytes": checked.size, "proved": checked.proved}
    if size is not None and size != checked.size:
        raise ContentMismatch(
            f"{file} has {checked.size} bytes where {size} belong.",
            meaning=f"Its bytes do hash to {wanted}, which does not commit to zero bytes at the end."
            if wanted.scheme == "0g"
            else None,
            details={**facts, "wanted_bytes": size},
        )
    for warning in checked.warnings:
        say(f"warning: {warning}")
    emit(
        {**facts, "length_settled": checked.length_settled, "warnings": checked.warnings, **checked.facts},
        [f"{file}: {checked.size} bytes belong to {wanted}", *checked.lines],
        as_json=as_json,
    )


@dataclass(frozen=True)
class _Checked:
    """What was proved.

    Attributes:
        size: Length of the file in bytes.
        proved: What belongs to the root, in words.
        length_settled: Whether the length is beyond doubt: the root commits to it, or the caller gave it.
        facts: More for ``--json``.
        lines: More for a person.
    """

    size: int
    proved: str
    length_settled: bool
    warnings: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)


def _mismatch(file: Path, wanted: Root, what: str, **details: object) -> ContentMismatch:
    return ContentMismatch(
        f"{file} does not belong to {wanted}: {what}.",
        meaning="It is another file, it was changed, or it is not complete.",
        next_step="Fetch it again, or check where the root came from.",
        details={"file": str(file), "root": str(wanted), **details},
    )


def _check_zerog(file: Path, wanted: Root, size: int | None, threads: int | None) -> _Checked:
    found, length = _zerog(file, threads)
    if found != wanted:
        raise _mismatch(file, wanted, f"its root is {found}", found=str(found), bytes=length)
    if size is not None:
        return _Checked(length, "every byte; the length is the one given", True)
    room = shape.padded_chunks(length) * shape.CHUNK_BYTES
    return _Checked(
        length,
        "every byte; not the length",
        False,
        warnings=(
            f"only the length remains unproven: with zero bytes at the end, up to {room} bytes have the same"
            " root. Give --size if you know the length from a trusted place.",
        ),
    )


def _check_sha256(file: Path, wanted: Root, size: int | None, threads: int | None) -> _Checked:
    digest = hashlib.sha256()
    length = 0
    with _opened(file) as stream, _bar(file) as advance:
        while block := stream.read(_BLOCK):
            digest.update(block)
            length += len(block)
            advance(length)
    if digest.digest() != wanted.digest:
        found = digest.hexdigest()
        raise _mismatch(file, wanted, f"its SHA-256 is {found}", found=f"sha256:{found}", bytes=length)
    return _Checked(length, "every byte, and the length", True)


def _check_irys(file: Path, wanted: Root, size: int | None, threads: int | None) -> _Checked:
    from armlx_chain.storage.irys.items import verify_item

    with _opened(file) as stream:
        raw = stream.read(_ITEM_LIMIT + 1)
    if len(raw) > _ITEM_LIMIT:
        raise ContentTooLarge(f"{file} has more than the {_ITEM_LIMIT} bytes of the longest item.")
    checked = verify_item(raw, wanted.digest)
    if not checked.verdict.accepted or checked.item is None:
        error = _mismatch(
            file, wanted, checked.verdict.detail.rstrip("."), reason=str(checked.verdict.reason)
        )
        error.next_step = (
            "An Irys id is proved from the signed item: give its raw bytes (signature, owner, tags and data)."
            " The document alone cannot prove it."
        )
        raise error
    item = checked.item
    facts = {
        "payload_bytes": len(item.data),
        "payload_sha256": hashlib.sha256(item.data).hexdigest(),
        "signer": item.address,
        "signature_type": item.scheme.name,
    }
    lines = (f"signed by {item.address or 'a key without an address'} ({item.scheme.name}),",)
    return _Checked(
        len(raw),
        "the signed item, every byte and the length",
        True,
        warnings=tuple(str(caution) for caution in checked.verdict.cautions),
        lines=(*lines, f"payload: {len(item.data)} bytes, sha256:{facts['payload_sha256']}"),
        facts=facts,
    )


def _zerog(file: Path, threads: int | None) -> tuple[Root, int]:
    threads = threads or min(_processors(), _MOST_THREADS)
    with _bar(file) as advance:
        if _is_stdin(file):
            return root_of_file(cast(io.BufferedIOBase, sys.stdin.buffer), threads=threads, progress=advance)
        return root_of_file(file, threads=threads, progress=advance)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_stdin(file: Path) -> bool:
    return str(file) == "-"


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    if _is_stdin(file):
        yield sys.stdin.buffer
        return
    with file.open("rb") as stream:
        yield stream


@contextmanager
def _bar(file: Path) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal for a large file; told how many bytes are done."""
    length = 0 if _is_stdin(file) else file.stat().st_size
    if length < _BAR_FROM or not sys.stderr.isatty():
        yield _untold
        return
    with click.progressbar(length=length, label=file.name, file=sys.stderr) as bar:

        def advance(done: int) -> None:
            bar.update(done - bar.pos)

        yield advance


def _untold(_done: int) -> None:
    """Nobody watches."""
