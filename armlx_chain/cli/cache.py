"""``cache``: what was fetched and kept on this machine."""

from __future__ import annotations

import datetime
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.homeoption import home_options
from armlx_chain.cli.output import emit, say, table
from armlx_chain.cli.sizes import CACHE_LIMIT_VARIABLE, SIZE, cache_limit, show_size
from armlx_chain.errors import EXIT_FINDING, EXIT_OK
from armlx_chain.settings import cache_folder, default_home

if TYPE_CHECKING:
    from armlx_chain.storage.cache import ContentCache
    from armlx_chain.storage.shelf import Entry

EPILOG = f"""\b
Examples:
  armlx-chain cache show
  armlx-chain cache prune --to 2GiB
  armlx-chain cache verify
  {CACHE_LIMIT_VARIABLE}=50GiB armlx-chain fetch 0g:0x… -o shard.parquet
"""


@click.group(epilog=EPILOG)
def cache() -> None:
    """Look after fetched content: it is proven again on every read, and bounded.

    The limit is 10 GiB unless $ARMLX_CACHE_LIMIT says otherwise (0 keeps nothing). What was used least
    recently goes first.
    """


def _open(home: Path | None) -> ContentCache:
    from armlx_chain.storage.cache import ContentCache

    return ContentCache(cache_folder(home or default_home(os.environ)), limit=cache_limit(os.environ))


@cache.command()
@click.option("--entries", "every", is_flag=True, help="List every entry, most recently used first.")
@home_options
def show(home: Path | None, as_json: bool, every: bool) -> None:
    """Show how much is kept, and where."""
    opened = _open(home)
    entries = opened.shelf.entries()
    total = sum(entry.size for entry in entries)
    limit = cache_limit(os.environ)
    counts = Counter(entry.root.scheme for entry in entries)
    rows: list[tuple[str, object]] = [
        ("folder", opened.shelf.directory),
        ("entries", len(entries)),
        ("kept", f"{show_size(total)} of at most {show_size(limit)}"),
        *[(f"  {scheme}", count) for scheme, count in sorted(counts.items())],
    ]
    lines = table(rows)
    if every:
        lines += [f"{_day(entry)}  {entry.size:>13}  {entry.root}" for entry in reversed(entries)]
    emit(
        {
            "folder": str(opened.shelf.directory),
            "entries": len(entries),
            "bytes": total,
            "limit": limit,
            "schemes": dict(counts),
            **({"roots": [_told(entry) for entry in reversed(entries)]} if every else {}),
        },
        lines,
        as_json=as_json,
    )


@cache.command()
@click.option("--to", "to", type=SIZE, help="Keep at most this much. [default: the limit]")
@home_options
def prune(home: Path | None, as_json: bool, to: int | None) -> None:
    """Remove what was used least recently until the limit holds, and what killed commands left over."""
    opened = _open(home)
    gone = opened.shelf.shrink(cache_limit(os.environ) if to is None else to)
    _show_removed(gone, as_json=as_json)


@cache.command()
@home_options
def verify(home: Path | None, as_json: bool) -> int:
    """Prove every entry now; wrong ones are removed and named. Exits with 3 if there were any."""
    opened = _open(home)
    entries = opened.shelf.entries()
    wrong = [entry for entry in entries if not opened.check(entry)]
    for entry in wrong:
        say(f"removed: the entry of {entry.root} did not belong to its name")
    emit(
        {"verified": len(entries) - len(wrong), "removed": [str(entry.root) for entry in wrong]},
        [f"{len(entries) - len(wrong)} entries are what their names say; {len(wrong)} were not."],
        as_json=as_json,
    )
    return EXIT_FINDING if wrong else EXIT_OK


@cache.command()
@home_options
def clear(home: Path | None, as_json: bool) -> None:
    """Remove every entry. Nothing is lost that cannot be fetched again."""
    _show_removed(_open(home).shelf.shrink(0), as_json=as_json)


def _show_removed(gone: list[Entry], *, as_json: bool) -> None:
    total = sum(entry.size for entry in gone)
    emit(
        {"removed": len(gone), "bytes": total},
        [f"Removed {len(gone)} entries, {show_size(total)}."],
        as_json=as_json,
    )


def _told(entry: Entry) -> dict[str, object]:
    return {"root": str(entry.root), "bytes": entry.size, "used": _day(entry)}


def _day(entry: Entry) -> str:
    moment = datetime.datetime.fromtimestamp(entry.used // 10**9, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M")
