"""Everything a judgement of a project needs, fetched by root and proven.

The same materials serve a miner's ``reproduce`` and a validator's re-run, so both judge the same thing:

0. the project's record is read from the registry;
1. protocol, repository snapshot and benchmark manifest are fetched by the record's roots;
2. the benchmark's data files are fetched by the manifest's roots into a folder of their own;
3. the control is the code of the current best, or the unmodified snapshot where nothing was ever accepted;
   what serves where the best's bytes are gone is said in ``verifier.controls``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from armlx_chain.chain.contracts import Project
from armlx_chain.errors import ContentMismatch, ContentNotFound, FormatError, StorageError, VerifierFault
from armlx_chain.formats.bundle import unpack_tree
from armlx_chain.formats.canonical import parse_canonical
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestEntry
from armlx_chain.protocol.model import Protocol
from armlx_chain.protocol.parse import parse_protocol
from armlx_chain.storage.interface import Storage
from armlx_chain.types import Root
from verifier.controls import PastBest, find_control
from verifier.environments.shards import SeenRoots, how_to_get, take_local

PROTOCOL_LIMIT_BYTES = 1 << 20
SNAPSHOT_LIMIT_BYTES = 64 << 20
MANIFEST_LIMIT_BYTES = 4 << 20
CANDIDATE_LIMIT_BYTES = 4 << 20
DATA_FILE_LIMIT_BYTES = 1 << 30
DATA_LIMIT_BYTES = 64 << 30
"""All data files of a project together: what a stranger may make this machine store."""
BASELINE_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Materials:
    """A project, ready to be judged on this machine.

    Attributes:
        control_root: Root of the control's bundle: of the best candidate, or of the snapshot.
        control_files: The control's replacement files; empty for the snapshot itself.
        data_folder: The benchmark's files, under the manifest's paths.
        baseline_metric: As its record states it; ``None`` where that record cannot be had.
        disadvantage: Bits per byte by which the best on the ledger is better than this control.
        control_note: Why the control is not the current best's code; ``None`` where it is.
    """

    project: Project
    protocol: Protocol
    protocol_root: Root
    snapshot_root: Root
    snapshot: Mapping[str, bytes]
    manifest: BenchmarkManifest
    benchmark_root: Root
    data_folder: Path
    control_root: Root
    control_files: Mapping[str, bytes]
    baseline_metric: Decimal | None
    disadvantage: Decimal = Decimal(0)
    control_note: str | None = None

    @property
    def control_is_baseline(self) -> bool:
        return self.control_root == self.snapshot_root


def load_materials(
    project: Project,
    storage: Storage,
    *,
    data_home: Path,
    progress: Callable[[str], None],
    local_data: Path | None = None,
    earlier_bests: Callable[[], Sequence[PastBest]] = tuple,
    with_data: bool = True,
) -> Materials:
    """Fetch and prove what the record names.

    Args:
        local_data: A folder that plays ``~/.cache/autoresearch``: files of it whose roots match are taken
            from there, not from storage.
        earlier_bests: The project's replaced bests, the latest first; asked for only when they are needed.
        with_data: Whether the benchmark's files are needed here; not where other machines make the runs.

    Raises:
        StorageError: something cannot be had, or is not what its root says.
        ProtocolInvalid, FormatError: it is, but does not parse.
    """
    protocol_root = Root.zerog(project.protocol_hash)
    snapshot_root = Root.zerog(project.repo_snapshot_hash)
    benchmark_root = Root.zerog(project.benchmark_hash)
    protocol = parse_protocol(storage.fetch(protocol_root, max_bytes=PROTOCOL_LIMIT_BYTES).data)
    progress(f"protocol {protocol_root} is proven")
    snapshot = unpack_tree(storage.fetch(snapshot_root, max_bytes=SNAPSHOT_LIMIT_BYTES).data)
    progress(f"snapshot {snapshot_root} is proven: {len(snapshot)} files")
    manifest = BenchmarkManifest.parse(storage.fetch(benchmark_root, max_bytes=MANIFEST_LIMIT_BYTES).data)
    data_folder = data_home / benchmark_root.hex
    if with_data:
        _ensure_data(manifest, data_folder, storage, progress, local_data)
    control = find_control(project, storage, earlier_bests)
    return Materials(
        project=project,
        protocol=protocol,
        protocol_root=protocol_root,
        snapshot_root=snapshot_root,
        snapshot=snapshot,
        manifest=manifest,
        benchmark_root=benchmark_root,
        data_folder=data_folder,
        control_root=control.root,
        control_files=control.files,
        baseline_metric=load_baseline(project, storage),
        disadvantage=control.disadvantage,
        control_note=control.note,
    )


def load_baseline(project: Project, storage: Storage) -> Decimal | None:
    """The baseline metric of the published record, or ``None`` where there is no readable one."""
    try:
        found = storage.fetch(Root.zerog(project.baseline_metrics_hash), max_bytes=BASELINE_LIMIT_BYTES)
        document = parse_canonical(found.data)
    except (StorageError, FormatError):
        return None
    text = document.get("metricValue") if isinstance(document, dict) else None
    try:
        value = Decimal(text) if isinstance(text, str) else None
    except InvalidOperation:
        return None
    return value if value is not None and value.is_finite() else None


def _ensure_data(
    manifest: BenchmarkManifest,
    folder: Path,
    storage: Storage,
    progress: Callable[[str], None],
    local: Path | None = None,
) -> None:
    """Bring every data file of the manifest into the folder, each proven by its root.

    What is there already is hashed again only where its size, times or inode moved; before a run everything
    is read and proven once more, when it is copied for the sandbox.
    """
    total = sum(entry.size for entry in manifest.entries)
    if total > DATA_LIMIT_BYTES:
        raise VerifierFault(
            f"The benchmark's data has {total} bytes; at most {DATA_LIMIT_BYTES} are fetched for one project."
        )
    seen = SeenRoots(folder.with_name(f"{folder.name}.seen.json"))
    for entry in manifest.entries:
        path = folder / entry.path
        if _is_there(path, entry, seen):
            continue
        if local is not None and take_local(entry, local, path, seen):
            progress(f"{entry.path} is proven: {entry.size} bytes, from {local}")
            continue
        _fetch_file(entry, path, storage, how_to_get(manifest, [entry.path]))
        progress(f"{entry.path} is proven: {entry.size} bytes")
    seen.save()


def _fetch_file(entry: ManifestEntry, path: Path, storage: Storage, otherwise: str) -> None:
    try:
        found = storage.fetch(entry.root, max_bytes=DATA_FILE_LIMIT_BYTES, expected_size=entry.size)
    except ContentNotFound as missing:
        raise type(missing)(
            f"The data file {entry.path} is neither on this machine nor in storage: {missing.message}",
            next_step=otherwise,
            details=missing.details,
        ) from missing
    if len(found.data) != entry.size:
        raise ContentMismatch(f"{entry.path} has {len(found.data)} bytes, the manifest says {entry.size}.")
    _place(path, found.data)


def _is_there(path: Path, entry: ManifestEntry, seen: SeenRoots) -> bool:
    try:
        return path.lstat().st_size == entry.size and seen.root(path)[0] == entry.root
    except (OSError, VerifierFault):
        return False  # missing, or a name that no file of this system can have; writing it says so


def _place(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{hashlib.sha256(data).hexdigest()[:8]}.part")
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise VerifierFault(
            f"{path} cannot be written ({error.strerror}).",
            next_step="Free some space or choose another --home.",
        ) from error
