"""``environment``: what a protocol's set-up makes on this machine."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import setup_options
from armlx_chain.cli.homeoption import home_options
from armlx_chain.cli.output import emit, say, table
from armlx_chain.errors import EXIT_FINDING, EXIT_OK, UsageError
from armlx_chain.settings import default_home

if TYPE_CHECKING:
    from verifier.environments.choice import PythonChoice
    from verifier.environments.store import EnvironmentStore

EPILOG = """\b
Examples:
  armlx-chain environment make --repo autoresearch-mlx --protocol protocol.json --allow-network
  armlx-chain environment make --repo … --protocol … --allow-network --data ~/.cache/autoresearch
  armlx-chain environment show
  armlx-chain environment collect --days 30
"""
_DAY = 86_400.0


@click.group(epilog=EPILOG)
def environment() -> None:
    """Make, show and remove the environments that protocols ask for.

    Set-up commands are read, never handed to a shell, and run in the sandbox with the snapshot's files only.
    Environments are kept by what they were made from: lock, Python, platform, uv.
    """


def _store(home: Path | None) -> EnvironmentStore:
    from verifier.environments.providing import ENVIRONMENTS
    from verifier.environments.store import EnvironmentStore

    return EnvironmentStore((home or default_home(os.environ)) / ENVIRONMENTS)


@environment.command()
@click.option(
    "--repo",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="The published repository, without anybody's changes.",
)
@click.option(
    "--protocol",
    "document",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="Its protocol.json.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Run the set-up's scripts (prepare.py) too; they may change everything in this folder.",
)
@setup_options
@home_options
def make(
    repo: Path, document: Path, data: Path | None, python: PythonChoice, home: Path | None, as_json: bool
) -> int:
    """Make the environment of a protocol, or find it; with --data run its data step as well."""
    from armlx_chain.claims.projectfiles import read_snapshot
    from armlx_chain.protocol.parse import MAX_DOCUMENT_BYTES, parse_protocol
    from verifier.environments.providing import operator_of, provide
    from verifier.environments.steps import run_data_steps
    from verifier.sandbox.select import default_sandbox

    with document.open("rb") as stream:
        protocol = parse_protocol(stream.read(MAX_DOCUMENT_BYTES + 1))
    files = {path: content for path, (content, _) in read_snapshot(repo).items()}
    place, sandbox = home or default_home(os.environ), default_sandbox()
    sandbox.check()
    started = time.monotonic()
    provided = provide(protocol, files, python, home=place, sandbox=sandbox, say=say)
    facts: dict[str, object] = {
        "python": str(provided.interpreter.executable),
        "made": provided.facts.get("environment", "this interpreter"),
        "seconds": f"{time.monotonic() - started:.2f}",
    }
    if data is not None:
        work = place / "work" / "data-steps"  # kept: a step that fails says that its output is there
        work.mkdir(parents=True, exist_ok=True)
        facts["data_steps"] = run_data_steps(
            protocol,
            files,
            provided.interpreter,
            sandbox=sandbox,
            operator=operator_of(python),
            data=data,
            work=work,
            say=say,
        )
    emit(facts, table(list(facts.items())), as_json=as_json)
    return EXIT_OK


@environment.command()
@home_options
def show(home: Path | None, as_json: bool) -> None:
    """List the environments on this machine, the one used last first."""
    known = _store(home).known()
    rows = [
        {
            "digest": record.digest,
            "python": record.inputs.get("python version", "?"),
            "uv": record.inputs.get("uv version", "?"),
            "packages": len(record.packages),
            "bytes": record.size_bytes,
            "used": time.strftime("%Y-%m-%d %H:%M", time.localtime(used)),
        }
        for record, used in known
    ]
    lines = ["  ".join(str(value) for value in row.values()) for row in rows] or ["There is none."]
    emit({"environments": rows}, lines, as_json=as_json)


@environment.command()
@click.argument("digest")
@home_options
def check(digest: str, home: Path | None, as_json: bool) -> int:
    """Read every byte of an environment again; exits 5 where something changed."""
    store = _store(home)
    made = store.check(_whole(store, digest))
    emit(
        {"digest": made.record.digest, "files": made.record.files},
        [f"{made.record.files} files are as they were made."],
        as_json=as_json,
    )
    return EXIT_OK


@environment.command()
@click.argument("digest")
@home_options
def remove(digest: str, home: Path | None, as_json: bool) -> int:
    """Remove one environment; the next run makes it again."""
    store = _store(home)
    whole = _whole(store, digest)
    there = store.remove(whole)
    emit({"digest": whole, "removed": there}, ["Removed." if there else "It was not there."], as_json=as_json)
    return EXIT_OK if there else EXIT_FINDING


@environment.command()
@click.option("--days", type=click.IntRange(0), default=30, show_default=True, help="Unused for so long.")
@home_options
def collect(days: int, home: Path | None, as_json: bool) -> None:
    """Remove environments that nothing used for a while."""
    gone = _store(home).collect(unused_seconds=days * _DAY)
    emit({"removed": gone}, [f"removed {len(gone)}", *gone], as_json=as_json)


def _whole(store: EnvironmentStore, text: str) -> str:
    """The digest that begins so; a person types the first digits."""
    found = [place.name for place in store.folder.glob("*") if place.is_dir() and place.name.startswith(text)]
    if len(found) == 1 and text:
        return found[0]
    raise UsageError(
        f"{len(found)} environments begin with {text[:70]!a}.",
        next_step="List them with: armlx-chain environment show",
    )
