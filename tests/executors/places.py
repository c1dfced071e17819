"""A published project on a shelf, and machines that sleep as long as they would train on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from armlx_chain.chain.contracts import Project
from armlx_chain.devnet.benchmark.project import protocol_document
from armlx_chain.errors import ContentNotFound, VerifierFault
from armlx_chain.formats.bundle import pack_tree
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestEntry, ManifestRole
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, ProjectId, Root, ScaledScore
from verifier.controls import PastBest
from verifier.executors.local import LocalExecutor
from verifier.executors.site import Site
from verifier.executors.stopping import Brake
from verifier.hardware import Machine, environment
from verifier.judging import Folders, Prepared
from verifier.materials import Materials, load_materials
from verifier.model import AuditKind, Noise, Role, RunRecord, bpb
from verifier.simulate import record

BASELINE = "9.000000"
BUDGET = 3.0
DATA = {
    "data/shard_00000.parquet": (b"train", ManifestRole.TRAIN),
    "data/shard_00001.parquet": (b"validation", ManifestRole.VALIDATION),
    "data/shard_00002.parquet": (b"fresh", ManifestRole.FRESH),
    "tokenizer/tokenizer.pkl": (b"tokenizer", ManifestRole.TOKENIZER),
    "tokenizer/token_bytes.npy": (b"bytes", ManifestRole.BYTE_TABLE),
}
NOBODY = Address("0x" + "00" * 20)


def program(level: str) -> bytes:
    """A ``train.py`` that scores ``level``."""
    return f"LEVEL = {level}\n".encode()


def level_of(files: Mapping[str, bytes]) -> str:
    text = files.get("train.py", program(BASELINE)).decode()
    return text.partition("LEVEL = ")[2].split()[0]


class Shelf:
    """Content by root, in a folder that several processes share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> Root:
        root = root_of(data)
        (self.folder / root.hex).write_bytes(data)
        return root

    def fetch(self, root: Root, *, max_bytes: int, expected_size: int | None = None) -> Any:
        path = self.folder / root.hex
        if not path.exists():
            raise ContentNotFound(f"{root} is not on the shelf.")
        return SimpleNamespace(data=path.read_bytes())


def published(shelf: Shelf, number: int = 0) -> Project:
    """A project's record, and everything that it names on the shelf."""
    manifest = BenchmarkManifest.of(
        ManifestEntry(path, len(data), shelf.put(data), role) for path, (data, role) in DATA.items()
    )
    snapshot = {"prepare.py": b"TIME_BUDGET = 3\n", "train.py": program(BASELINE), "README.md": b"Small.\n"}
    roots = (
        shelf.put(protocol_document(baseline_notes="Stated.", created_at="2026-01-01T00:00:00Z")),
        shelf.put(pack_tree(snapshot)),
        shelf.put(manifest.encode()),
    )
    score = ScaledScore(-9_000_000)
    return Project(
        ProjectId(number),
        *(root.digest for root in roots),
        score,
        b"\x05" * 32,
        b"\x00" * 32,
        score,
        b"\x00" * 32,
        NOBODY,
        Address("0x" + "11" * 20),
        Address("0x" + "22" * 20),
        1,
    )


class Nap:
    """A run that sleeps, until it is killed."""

    def __init__(self) -> None:
        self._killed = threading.Event()

    def sleep(self, seconds: float) -> None:
        if self._killed.wait(seconds):
            raise VerifierFault("The program was killed.")

    def kill_tree(self, reason: str = "deadline") -> None:
        self._killed.set()


class Sleeper:
    """A runner that sleeps for as long as it would train, and scores what the program says."""

    def __init__(self, place: Place, brake: Brake) -> None:
        self._place, self._brake = place, brake

    def run(
        self, role: Role, files: Any, *, run_folder: Path, deadline_seconds: float | None, seed: bytes
    ) -> RunRecord:
        self._place.at_start(role, run_folder.name)
        nap, began = Nap(), time.monotonic()
        self._brake.reach(nap)
        nap.sleep(self._place.seconds if self._place.slow in (None, role) else 0.0)
        score = bpb(level_of(files))
        log = f"{role} {run_folder.name}\nval_bpb: {score}\n".encode()
        run_folder.mkdir(parents=True)
        (run_folder / "run.log").write_bytes(log)
        made = record(role, validation=score, fresh=score, run_folder=run_folder)
        return replace(
            made, log_sha256=sha256(log).hexdigest(), wall_seconds=max(0.001, time.monotonic() - began)
        )


def noise_here(prepared: Prepared, *_: object) -> Noise:
    """A calibration that every machine here has."""
    return Noise(
        s=bpb("0.01"),
        seed_spread=bpb("0.001"),
        runs=2,
        reference_seconds=(3.0, 3.1, 2.9),
        scores=(bpb(BASELINE), bpb(BASELINE)),
        point=bpb("0.008"),
        control_mean=bpb(BASELINE),
        calibrated_audits=tuple(AuditKind),
        hardware_class=prepared.machine.hardware_class,
        environment=prepared.environment.digest,
    )


def silent(*_: object) -> None:
    return None


class Place:
    """A machine over a shelf, with a home of its own; its runs, or those of one role, take ``seconds``."""

    def __init__(
        self,
        shelf: Shelf,
        home: Path,
        *,
        machine: str = "0123456789abcdef",
        seconds: float = 0.0,
        slow: Role | None = None,
        at_start: Callable[[Role, str], None] = silent,
    ) -> None:
        self.shelf, self.home, self.machine, self.seconds = shelf, home, machine, seconds
        self.slow = slow
        self.at_start = at_start

    def prepare(
        self, project: Project, past: Sequence[PastBest], brake: Brake, _say: object = None
    ) -> Prepared:
        return Prepared(
            materials=self.load(project, past, with_data=True),
            benchmark=SimpleNamespace(constants=SimpleNamespace(budget_seconds=BUDGET)),  # type: ignore[arg-type]
            runner=Sleeper(self, brake),
            machine=Machine("cpu", "a rehearsal", 1, 1),
            environment=environment(lock=b"", command=lambda *_: None, settings={}),  # type: ignore[arg-type]
            folders=Folders(work=self.home / "work", calibrations=self.home / "calibrations"),
        )

    def load(self, project: Project, past: Sequence[PastBest] = (), *, with_data: bool = False) -> Materials:
        return load_materials(
            project,
            self.shelf,  # type: ignore[arg-type]
            data_home=self.home / "data",
            progress=silent,
            earlier_bests=lambda: past,
            with_data=with_data,
        )

    def site(self) -> Site:
        return Site(self.machine, prepare=self.prepare, noise=noise_here, scratch=self.home / "scratch")

    def executor(self) -> LocalExecutor:
        return LocalExecutor(
            prepare=lambda project, brake: self.prepare(project, (), brake),
            noise=noise_here,
            machine=self.machine,
        )
