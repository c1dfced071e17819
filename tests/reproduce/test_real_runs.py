"""The first look, the live line and an interruption, with real programs in the real sandbox."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from armlx_chain.cli.interrupts import interruptible
from armlx_chain.devnet.benchmark.data import make_data
from armlx_chain.devnet.benchmark.project import snapshot_files
from armlx_chain.formats.manifest import ManifestEntry, ManifestRole
from armlx_chain.storage.zerog.merkle import root_of
from tests.benchmark.bare import Profile, with_profile
from verifier.capacity import interpreter_here
from verifier.exportcheck import check_export, shortened
from verifier.following import LiveLine
from verifier.harness.benchmark import Benchmark
from verifier.live import LivePainter
from verifier.model import Outcome, Reason, Role
from verifier.rerun import HarnessRunner, RunSettings
from verifier.sandbox.interface import LogSink, Sandbox, SandboxProcess, SandboxSpec
from verifier.sandbox.select import default_sandbox
from verifier.session import Progress

pytestmark = pytest.mark.integration

PATIENCE = 120.0


class Noted:
    """A sandbox that remembers what it started."""

    def __init__(self, inner: Sandbox) -> None:
        self._inner, self.started = inner, list[SandboxProcess]()
        self.name = inner.name

    def check(self) -> None:
        self._inner.check()

    def start(self, spec: SandboxSpec, log: LogSink) -> SandboxProcess:
        self.started.append(self._inner.start(spec, log))
        return self.started[-1]


@dataclass(frozen=True)
class Place:
    benchmark: Benchmark
    sandbox: Noted
    train: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("benchmark")
    snapshot = dict(snapshot_files())
    snapshot["prepare.py"] = with_profile(snapshot["prepare.py"], Profile(60.0, 1024))
    entries = []
    for file in make_data(folder / "data"):
        data = (folder / "data" / file.path).read_bytes()
        entries.append(ManifestEntry(file.path, len(data), root_of(data), ManifestRole(file.role)))
    sandbox = Noted(default_sandbox())
    benchmark = Benchmark.prepare(
        snapshot,
        folder / "data",
        entries,
        sandbox=sandbox,
        interpreter=interpreter_here(Path(sys.executable)),
        work=folder / "work",
    )
    return Place(benchmark, sandbox, snapshot["train.py"].decode())


def test_a_first_look_takes_a_hundredth_of_the_budget_and_says_that_the_model_comes_out(
    place: Place, tmp_path: Path
) -> None:
    assert shortened(place.benchmark).constants.budget_seconds == pytest.approx(0.6)
    found = check_export(place.benchmark, place.sandbox, {}, folder=tmp_path)
    assert found.passed, found.sentence
    assert found.verdict() is None
    assert found.record.seconds_to_graph is not None
    assert found.record.seconds_to_graph < 30, "not the sixty seconds of a run"


def test_a_model_that_cannot_be_judged_is_found_out_before_any_long_run(place: Place, tmp_path: Path) -> None:
    hook = "model = GPT(config)\n"
    assert place.train.count(hook) == 1
    asks = "lambda self, idx: honest(self, idx) + 0.0 * mx.sum(idx).item()"
    source = place.train.replace(hook, f"GPT.logits = (lambda honest: {asks})(GPT.logits)\n{hook}")
    found = check_export(place.benchmark, place.sandbox, {"train.py": source.encode()}, folder=tmp_path)
    verdict = found.verdict()
    assert verdict is not None, found.sentence
    assert (found.passed, verdict.outcome, verdict.reason) == (False, Outcome.UNDECIDED, Reason.UNSUPPORTED)
    assert found.sentence in verdict.explanation


def test_a_program_that_crashes_at_once_is_told_and_not_judged(place: Place, tmp_path: Path) -> None:
    files = {"train.py": b"raise SystemExit('no such idea')\n"}
    found = check_export(place.benchmark, place.sandbox, files, folder=tmp_path)
    assert (found.passed, found.verdict()) == (None, None)
    assert "no such idea" in found.sentence


def test_an_interrupted_run_leaves_no_process_and_the_line_had_read_its_log(
    place: Place, tmp_path: Path
) -> None:
    stream = io.StringIO()
    line = LiveLine(LivePainter(stream))
    frames: list[str] = []

    def stop_once_it_trains(chunk: bytes) -> None:
        line.on_log(chunk)
        frame = line.frame()
        if frame is not None and frame.reading.step and not frames:
            frames.append(f"{frame.reading.step} {frame.outside}")
            os.kill(os.getpid(), signal.SIGINT)

    runner = HarnessRunner(
        place.benchmark,
        line.observe(place.sandbox),
        settings=RunSettings(hard_wall_seconds=PATIENCE),
        on_log=stop_once_it_trains,
    )
    before = threading.active_count()
    line.progress(Progress("starts", 1, Role.CANDIDATE))
    with interruptible(), pytest.raises(KeyboardInterrupt), line:
        runner.run(Role.CANDIDATE, {}, run_folder=tmp_path / "run", deadline_seconds=None, seed=b"seed")
    assert frames, "the log was read while it grew"
    assert "used_seconds" in frames[0]
    assert place.sandbox.started[-1].poll() is not None, "the program's whole tree is gone"
    assert place.sandbox.started[-1].host_pids() == []  # type: ignore[attr-defined]
    assert (tmp_path / "run" / "run.log").stat().st_size > 0
    assert not (tmp_path / "run" / "workspace").exists()
    assert threading.active_count() <= before
