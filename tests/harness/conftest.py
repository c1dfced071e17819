"""A small benchmark with a short budget, prepared once, and a runner on the real sandbox."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import harness_programs
import pytest
from harness_material import SEED, Run, short_snapshot

from armlx_chain.devnet.benchmark.data import make_data
from armlx_chain.devnet.benchmark.project import protocol_document
from armlx_chain.formats.manifest import ManifestEntry, ManifestRole
from armlx_chain.protocol.parse import parse_protocol
from armlx_chain.storage.zerog.merkle import root_of
from verifier.harness.inside import Interpreter
from verifier.harness.logfacts import ProtocolLog
from verifier.model import Role, RunRecord
from verifier.rerun import Benchmark, HarnessRunner, RunSettings
from verifier.sandbox.interface import Sandbox
from verifier.sandbox.select import default_sandbox


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    box = default_sandbox()
    box.check()
    return box


@pytest.fixture(scope="session")
def interpreter() -> Interpreter:
    return Interpreter(Path(sys.executable))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, tuple[ManifestEntry, ...]]]:
    """The data folder and its manifest's entries."""
    folder = tmp_path_factory.mktemp("data")
    entries = []
    for file in make_data(folder):
        content = (folder / file.path).read_bytes()
        entries.append(ManifestEntry(file.path, len(content), root_of(content), ManifestRole(file.role)))
    yield folder, tuple(entries)


@pytest.fixture(scope="session")
def benchmark(
    data: tuple[Path, tuple[ManifestEntry, ...]],
    sandbox: Sandbox,
    interpreter: Interpreter,
    tmp_path_factory: pytest.TempPathFactory,
) -> Benchmark:
    work = tmp_path_factory.mktemp("benchmark")
    folder, entries = data
    return Benchmark.prepare(
        short_snapshot(), folder, entries, sandbox=sandbox, interpreter=interpreter, work=work
    )


@pytest.fixture(scope="session")
def protocol_log() -> ProtocolLog:
    return ProtocolLog(
        parse_protocol(protocol_document(baseline_notes="none", created_at="2026-01-01T00:00:00Z"))
    )


@pytest.fixture
def runner(benchmark: Benchmark, sandbox: Sandbox, protocol_log: ProtocolLog) -> HarnessRunner:
    return HarnessRunner(
        benchmark, sandbox, settings=RunSettings(hard_wall_seconds=60, probes=96), read_log=protocol_log
    )


@pytest.fixture(scope="session")
def honest(benchmark: Benchmark, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """The record of the plain program: what every variant of it is compared with."""
    runner = HarnessRunner(benchmark, sandbox, settings=RunSettings(hard_wall_seconds=60, probes=16))
    folder = tmp_path_factory.mktemp("honest")
    files = harness_programs.program()
    return runner.run(Role.CANDIDATE, files, run_folder=folder, deadline_seconds=None, seed=SEED)


@pytest.fixture
def run(runner: HarnessRunner, tmp_path: Path) -> Run:
    """Run one program and give its record. Keyword ``role`` and ``deadline`` may be set."""
    count = 0

    def once(
        files: Mapping[str, bytes], *, role: Role = Role.CANDIDATE, deadline: float | None = None
    ) -> RunRecord:
        nonlocal count
        count += 1
        return runner.run(
            role, files, run_folder=tmp_path / f"run-{count}", deadline_seconds=deadline, seed=SEED
        )

    return once
