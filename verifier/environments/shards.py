"""Data and tokenizer of a benchmark as a manifest of roots: made, checked, taken from a local cache.

Invariants:

- every file is hashed in a stream, several threads at once, at most once for as long as size, times and inode
  stand still (``SeenRoots``);
- only plain files count; a link anywhere below the folder is refused;
- one file has one role, and no two roles share a root: a validation shard that is also a training shard would
  make every score worthless;
- parquet files are looked into through pyarrow only, and never as a whole.

::

    seen = SeenRoots(home / "seen.json")
    manifest = make_manifest(folder, roles_of(prepare), seen)
    for fault in check_manifest(folder, manifest, seen): ...
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from armlx_chain.errors import FormatError, StorageError, UsageError, VerifierFault
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestEntry, ManifestRole
from armlx_chain.privatefile import replace_private
from armlx_chain.protocol.globs import Glob
from armlx_chain.storage.zerog.filehash import root_of_file
from armlx_chain.types import Root
from verifier.harness.constants import module_constants
from verifier.harness.runlog import harmless

VARIABLE: Final = "ARMLX_DATA"
"""Names the folder that plays ``~/.cache/autoresearch`` on this machine."""
TEXT_COLUMN: Final = "text"
_SHARD: Final = "data/shard_{:05d}.parquet"
_SHARD_NUMBER: Final = re.compile(r"data/shard_([0-9]{5,9})\.parquet", re.ASCII)
_MOST_SEEN: Final = 20_000
_MOST_THREADS: Final = 8
_IGNORED: Final = (".tmp", ".part")
"""Leavings of a download that was cut off."""

Roles = Sequence[tuple[ManifestRole, str]]
"""Role and glob, tried in order: the first that matches a file gives its role."""


def local_folder(environ: Mapping[str, str]) -> Path:
    """Where benchmarks of this kind keep their data on this machine."""
    named = environ.get(VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "autoresearch"


def roles_of(prepare: bytes, *, validation: str | None = None, fresh: Iterable[str] = ()) -> Roles:
    """Which file is for what, from the benchmark's own constants.

    Args:
        prepare: The snapshot's ``prepare.py``; it is read, not run.
        validation: Path of the validation shard, where the constants do not tell it.
        fresh: Globs of shards that no training may see, for the audit.

    Raises:
        UsageError: nobody says which shard is for validation, or a glob makes no sense.
    """
    name = validation or _validation_shard(prepare)
    globs = [(ManifestRole.FRESH, glob) for glob in (*fresh, "fresh/*.parquet")]
    globs += [
        (ManifestRole.VALIDATION, name),
        (ManifestRole.TRAIN, "data/*.parquet"),
        (ManifestRole.TOKENIZER, "tokenizer/tokenizer.*"),
        (ManifestRole.BYTE_TABLE, "tokenizer/token_bytes.*"),
    ]
    for _, glob in globs:
        try:
            Glob.parse(glob)
        except ValueError as refused:
            raise UsageError(f"{glob!a} is not a glob: {refused}.") from None
    return globs


def _validation_shard(prepare: bytes) -> str:
    constants = module_constants(prepare)
    name, number = constants.get("VAL_FILENAME"), constants.get("VAL_SHARD")
    if isinstance(name, str) and "/" not in name:
        return f"data/{name}"
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 10**9:
        return _SHARD.format(number)
    raise UsageError(
        "The benchmark's prepare.py does not say which shard is for validation.",
        next_step="Name it with --validation data/NAME.parquet.",
    )


class SeenRoots:
    """Roots of files by size, times and inode, kept in a file of ours.

    A file whose facts moved is hashed again; nothing is believed of a file that is not the very same one.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        self._path, self._threads = path, threads or min(os.cpu_count() or 1, _MOST_THREADS)
        self._known: dict[str, list[Any]] = self._load()
        self.hashed = 0
        """Files that had to be read since this was opened."""

    def root(self, file: Path, *, afresh: bool = False) -> tuple[Root, int]:
        """Root and size of a plain file.

        Args:
            afresh: Read every byte, whatever is remembered.

        Raises:
            VerifierFault: it is no plain file, or cannot be read.
        """
        key = str(file.absolute())
        before = _facts(file)
        known = self._known.get(key)
        if not afresh and known is not None and known[:4] == before:
            return Root.zerog(bytes.fromhex(known[4])), before[0]
        try:
            root, size = root_of_file(file, threads=self._threads)
        except (StorageError, OSError) as problem:
            raise VerifierFault(f"{file} cannot be read: {problem}.") from problem
        self.hashed += 1
        if _facts(file) == before:
            self._known[key] = [*before, root.hex.removeprefix("0x")]
        return root, size

    def follow(self, file: Path, link: Path) -> None:
        """Know a new link to a file as the file is known; linking moves the time that the system keeps."""
        known = self._known.get(str(file.absolute()))
        facts = _facts(link)
        if known is not None and (known[0], known[1], known[3]) == (facts[0], facts[1], facts[3]):
            self._known[str(link.absolute())] = [*facts, known[4]]
            self._known[str(file.absolute())] = [*_facts(file), known[4]]

    def save(self) -> None:
        """Keep what is known, the latest where there is too much. A disk that refuses costs only time."""
        kept = dict(list(self._known.items())[-_MOST_SEEN:])
        try:
            replace_private(self._path, json.dumps(kept, indent=0).encode())
        except OSError:
            return

    def _load(self) -> dict[str, list[Any]]:
        try:
            tree = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(tree, dict):
            return {}
        return {key: value for key, value in tree.items() if isinstance(value, list) and len(value) == 5}


def _facts(file: Path) -> list[int]:
    try:
        facts = file.lstat()
    except OSError as problem:
        raise VerifierFault(f"{file} cannot be read ({problem.strerror}).") from problem
    if not stat.S_ISREG(facts.st_mode):
        raise VerifierFault(f"{file} is not a plain file.")
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]


def make_manifest(
    folder: Path, roles: Roles, seen: SeenRoots, *, say: Callable[[str], None] = lambda _: None
) -> BenchmarkManifest:
    """Record a data folder as a manifest of roots.

    Raises:
        UsageError: a file without a role, a role without the files it needs, or one file in two roles.
        VerifierFault: a link, or a file that cannot be read.
    """
    known = [(role, Glob.parse(glob)) for role, glob in roles]
    entries = []
    for path in _files(folder):
        role = next((role for role, glob in known if glob.matches(path)), None)
        if role is None:
            raise UsageError(
                f"{folder / path} has no place in a benchmark's data.",
                next_step="Move it away, or name its role (--fresh, --validation).",
            )
        root, size = seen.root(folder / path)
        entries.append(ManifestEntry(path, size, root, role))
        say(f"{path}: {role.value}, {size} bytes, {root}")
    seen.save()
    _require_whole(folder, entries)
    try:
        return BenchmarkManifest.of(entries)
    except FormatError as problem:
        raise UsageError(" ".join(problem.sentences())) from problem


def _files(folder: Path) -> list[str]:
    found = []
    for place in sorted(folder.rglob("*")):
        if place.is_symlink():
            raise VerifierFault(f"{place} is a link; a benchmark's data are plain files.")
        if place.is_file() and not place.name.endswith(_IGNORED) and not place.name.startswith("."):
            found.append(place.relative_to(folder).as_posix())
    return found


def _require_whole(folder: Path, entries: Sequence[ManifestEntry]) -> None:
    wanted = (ManifestRole.TRAIN, ManifestRole.VALIDATION, ManifestRole.TOKENIZER, ManifestRole.BYTE_TABLE)
    missing = [role.value for role in wanted if not any(entry.role is role for entry in entries)]
    if missing:
        raise UsageError(
            f"{folder} has no {' and no '.join(missing)} file.",
            next_step="Get what is missing with the benchmark's own command: uv run prepare.py",
        )
    by_root: dict[Root, ManifestEntry] = {}
    for entry in entries:
        other = by_root.setdefault(entry.root, entry)
        if other.role is not entry.role:
            raise UsageError(
                f"{entry.path} ({entry.role.value}) has the same bytes as {other.path} ({other.role.value}).",
                meaning="What is scored must never be trained on.",
            )


@dataclass(frozen=True, slots=True)
class DataFault:
    """A file that is not as the manifest says."""

    path: str
    what: str


def check_manifest(
    folder: Path, manifest: BenchmarkManifest, seen: SeenRoots, *, afresh: bool = False
) -> list[DataFault]:
    """Compare a data folder with a manifest: size first, the whole file only where it changed.

    Args:
        afresh: Hash every file again.
    """
    faults = []
    for entry in manifest.entries:
        place = folder / entry.path
        if not place.exists():
            faults.append(DataFault(entry.path, "is missing"))
            continue
        try:
            root, size = seen.root(place, afresh=afresh)
        except VerifierFault as problem:
            faults.append(DataFault(entry.path, problem.message))
            continue
        if size != entry.size:
            faults.append(DataFault(entry.path, f"has {size} bytes instead of {entry.size}"))
        elif root != entry.root:
            faults.append(DataFault(entry.path, f"has the root {root} instead of {entry.root}"))
    seen.save()
    return faults


def how_to_get(manifest: BenchmarkManifest, missing: Iterable[str]) -> str:
    """The command that brings missing files: the benchmark's own, with as many shards as are needed."""
    numbers = [
        int(match.group(1))
        for entry in manifest.with_role(ManifestRole.TRAIN)
        if (match := _SHARD_NUMBER.fullmatch(entry.path))
    ]
    count = f" --num-shards {max(numbers) + 1}" if numbers else ""
    names = list(missing)
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"Get {shown} with: uv run prepare.py{count} (it writes to ~/.cache/autoresearch)."


def take_local(entry: ManifestEntry, local: Path, target: Path, seen: SeenRoots) -> bool:
    """Put a file of the local cache in place, if it is the published one; linked where that can be done.

    Whoever reads the file later checks it again: the cache is the operator's, who may write it at any time.
    """
    source = local / entry.path
    try:
        if source.lstat().st_size != entry.size or seen.root(source)[0] != entry.root:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        _link_or_copy(source, target)
        seen.follow(source, target)
        return seen.root(target)[0] == entry.root
    except (OSError, VerifierFault):
        return False


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        passing = target.with_name(f".{target.name}.{os.getpid()}.part")
        shutil.copyfile(source, passing, follow_symlinks=False)
        passing.replace(target)


@dataclass(frozen=True, slots=True)
class Shard:
    """What a parquet file holds, by its own account and by a walk through it."""

    documents: int
    groups: int
    text_bytes: int


def describe_shard(path: Path, *, walk: bool = False) -> Shard:
    """Look into a shard: its metadata, and with ``walk`` every document, a batch at a time.

    Raises:
        VerifierFault: it is no parquet file with a text column, or it is cut off.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as shard:
            if TEXT_COLUMN not in shard.schema_arrow.names:
                raise VerifierFault(f"{path} has no column {TEXT_COLUMN!r}.")
            documents, size = 0, 0
            for batch in shard.iter_batches(batch_size=1024, columns=[TEXT_COLUMN]) if walk else ():
                documents += batch.num_rows
                size += pc.sum(pc.binary_length(batch.column(0))).as_py() or 0
            if walk and documents != shard.metadata.num_rows:
                raise VerifierFault(f"{path} holds {documents} documents, its own index says otherwise.")
            return Shard(shard.metadata.num_rows, shard.num_row_groups, size)
    except (pa.ArrowException, OSError, ValueError) as problem:
        raise VerifierFault(
            f"{path} cannot be read as parquet: {harmless(str(problem), 120)}.",
            next_step="It may be cut off: remove it and get it again with uv run prepare.py.",
        ) from problem
