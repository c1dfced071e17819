"""``snapshot``: a benchmark's data and tokenizer, recorded as a manifest of roots."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.homeoption import home_options
from armlx_chain.cli.output import emit, say, table
from armlx_chain.errors import EXIT_FINDING, EXIT_OK, UsageError
from armlx_chain.settings import default_home

if TYPE_CHECKING:
    from armlx_chain.formats.manifest import BenchmarkManifest
    from verifier.environments.shards import SeenRoots

EPILOG = """\b
Examples:
  armlx-chain snapshot make --repo autoresearch-mlx -o manifest.json
  armlx-chain snapshot check manifest.json --data ~/.cache/autoresearch
  armlx-chain snapshot show manifest.json --data ~/.cache/autoresearch --walk
"""
_MANIFEST = click.Path(path_type=Path, exists=True, dir_okay=False)
_data = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of shards and tokenizer. [default: $ARMLX_DATA, else ~/.cache/autoresearch]",
)


@click.group(epilog=EPILOG)
def snapshot() -> None:
    """Record, check and show the data that a benchmark runs on.

    A snapshot is a manifest: path, size, root and role of every file. Its own root is the project's benchmark
    hash; two machines have the same data if they have the same manifest.
    """


def _folder(data: Path | None) -> Path:
    from verifier.environments.shards import local_folder

    folder = data or local_folder(os.environ)
    if not folder.is_dir():
        raise UsageError(
            f"There is no folder {folder}.",
            next_step="Get the data with the benchmark's own command (uv run prepare.py), or name another"
            " folder with --data.",
        )
    return folder


def _seen(home: Path | None, threads: int | None) -> SeenRoots:
    from verifier.environments.shards import SeenRoots

    return SeenRoots((home or default_home(os.environ)) / "data" / "seen.json", threads=threads)


def _manifest(path: Path) -> BenchmarkManifest:
    from armlx_chain.formats.manifest import BenchmarkManifest
    from verifier.materials import MANIFEST_LIMIT_BYTES

    with path.open("rb") as stream:
        return BenchmarkManifest.parse(stream.read(MANIFEST_LIMIT_BYTES + 1))


@snapshot.command()
@click.option(
    "--repo",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="The repository: its prepare.py says which shard is for validation. It is read, not run.",
)
@_data
@click.option("--validation", metavar="PATH", help="The validation shard, where prepare.py does not say it.")
@click.option(
    "--fresh",
    multiple=True,
    metavar="GLOB",
    help="Shards that no training sees, for the audit of fresh rows. [default: fresh/*.parquet]",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The manifest."
)
@click.option("--threads", type=click.IntRange(1, 64), help="How many hash at once.")
@home_options
def make(
    repo: Path,
    data: Path | None,
    validation: str | None,
    fresh: tuple[str, ...],
    out: Path,
    threads: int | None,
    home: Path | None,
    as_json: bool,
) -> int:
    """Hash every file of the data folder and write the manifest."""
    from armlx_chain.formats.manifest import ManifestRole
    from armlx_chain.storage.zerog.merkle import root_of
    from verifier.environments.shards import describe_shard, make_manifest, roles_of

    folder = _folder(data)
    try:
        prepare = (repo / "prepare.py").read_bytes()
    except OSError as problem:
        raise UsageError(f"{repo} has no readable prepare.py ({problem.strerror}).") from problem
    roles = roles_of(prepare, validation=validation, fresh=fresh)
    manifest = make_manifest(folder, roles, _seen(home, threads), say=say)
    for entry in manifest.entries:
        if entry.path.endswith(".parquet"):
            describe_shard(folder / entry.path)
    content = manifest.encode()
    out.write_bytes(content)
    if not manifest.with_role(ManifestRole.FRESH):
        say("No fresh shard: the audit will use the rows of the validation shard that are not scored.")
    facts = {"manifest": str(out), "root": str(root_of(content)), **_counts(manifest)}
    emit(facts, table(list(facts.items())), as_json=as_json)
    return EXIT_OK


@snapshot.command()
@click.argument("manifest", type=_MANIFEST)
@_data
@click.option("--full", is_flag=True, help="Hash every file, not only those whose size or time changed.")
@click.option("--threads", type=click.IntRange(1, 64), help="How many hash at once.")
@home_options
def check(
    manifest: Path, data: Path | None, full: bool, threads: int | None, home: Path | None, as_json: bool
) -> int:
    """Compare a data folder with MANIFEST; exits 3 where a file is missing or differs."""
    from verifier.environments.shards import check_manifest, how_to_get

    folder, wanted, seen = _folder(data), _manifest(manifest), _seen(home, threads)
    faults = check_manifest(folder, wanted, seen, afresh=full)
    lines = [f"{fault.path} {fault.what}" for fault in faults]
    missing = [fault.path for fault in faults if fault.what == "is missing"]
    if missing:
        lines.append(how_to_get(wanted, missing))
    if not faults:
        lines = [f"{len(wanted.entries)} files are as the manifest says; {seen.hashed} had to be read."]
    facts = {
        "folder": str(folder),
        "files": len(wanted.entries),
        "read": seen.hashed,
        "faults": [{"path": fault.path, "what": fault.what} for fault in faults],
    }
    emit(facts, lines, as_json=as_json)
    return EXIT_FINDING if faults else EXIT_OK


@snapshot.command()
@click.argument("manifest", type=_MANIFEST)
@_data
@click.option("--walk", is_flag=True, help="Count documents and text bytes, shard by shard, in a stream.")
@home_options
def show(manifest: Path, data: Path | None, walk: bool, home: Path | None, as_json: bool) -> int:
    """List what MANIFEST holds; with --walk look into the shards too."""
    from armlx_chain.storage.zerog.merkle import root_of
    from verifier.environments.shards import describe_shard

    del home  # nothing of it is needed; every command of the group takes the same options
    wanted = _manifest(manifest)
    rows = []
    for entry in wanted.entries:
        row: dict[str, object] = {
            "path": entry.path,
            "role": entry.role.value,
            "size": entry.size,
            "root": str(entry.root),
        }
        if walk and entry.path.endswith(".parquet"):
            shard = describe_shard(_folder(data) / entry.path, walk=True)
            row |= {"documents": shard.documents, "groups": shard.groups, "text_bytes": shard.text_bytes}
        rows.append(row)
    root = str(root_of(wanted.encode()))
    lines = ["  ".join(str(value) for value in row.values()) for row in rows]
    emit({"root": root, **_counts(wanted), "entries": rows}, [f"root  {root}", *lines], as_json=as_json)
    return EXIT_OK


def _counts(manifest: BenchmarkManifest) -> dict[str, int]:
    from armlx_chain.formats.manifest import ManifestRole

    return {
        "bytes": sum(entry.size for entry in manifest.entries),
        **{role.value: len(manifest.with_role(role)) for role in ManifestRole},
    }
