"""A simulated runner that leaves folders and logs as a real one does, and can be cut off."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from verifier.model import Role, RunRecord
from verifier.simulate import Machine, SimRunner

TRAIN = b"import mlx.core as mx\nmx.random.seed(42)\n"


class Cut(Exception):
    """The process is killed."""


class Laboratory:
    """A simulated runner that writes its logs, and is cut off before a given run."""

    def __init__(self, die_before: int = 10_000, seed: int = 0, death: type[BaseException] = Cut) -> None:
        self.death = death
        self.inner = SimRunner(Machine(noise=0.01), seed=seed)
        self.die_before = die_before
        self.labels: list[str] = []
        self.seeds: set[bytes] = set()

    def run(self, role: Role, files, *, run_folder: Path, deadline_seconds, seed: bytes) -> RunRecord:
        if len(self.labels) >= self.die_before:
            run_folder.mkdir(parents=True)
            (run_folder / "run.log").write_text("half a line")
            raise self.death
        self.labels.append(run_folder.name)
        self.seeds.add(seed)
        record = self.inner.run(
            role, files, run_folder=run_folder, deadline_seconds=deadline_seconds, seed=seed
        )
        run_folder.mkdir(parents=True)
        (run_folder / "model.mlxfn").write_bytes(b"big")
        log = f"val_bpb: {record.validation}\n".encode()
        (run_folder / "run.log").write_bytes(log)
        return replace(record, log_path=run_folder / "run.log", log_sha256=sha256(log).hexdigest())
