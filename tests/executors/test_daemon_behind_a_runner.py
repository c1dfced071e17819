"""The daemon's real command, whose runs another side of a socket makes, in a real local world."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.cli.context import App
from tests.daemon.test_pass import close_all, step_of, validate
from tests.faults import simulated
from tests.faults.fixtures import launcher, world
from tests.faults.tinyworld import TinyWorld
from verifier.executors.server import Server, listen
from verifier.executors.site import Site
from verifier.judging import Prepared
from verifier.model import Noise, Role, RunRecord, bpb

__all__ = ["launcher", "world"]
pytestmark = pytest.mark.e2e


class Logged:
    """A simulated machine that leaves logs, as a real one does."""

    def __init__(self, runner: Any, labels: list[str]) -> None:
        self._runner, self._labels = runner, labels

    def run(self, role: Role, files: Any, *, run_folder: Path, **more: Any) -> RunRecord:
        self._labels.append(run_folder.name)
        made: RunRecord = self._runner.run(role, files, run_folder=run_folder, **more)
        run_folder.mkdir(parents=True)
        log = f"{run_folder.name}\nval_bpb: {made.validation}\n".encode()
        (run_folder / "run.log").write_bytes(log)
        return replace(made, log_sha256=sha256(log).hexdigest())


def _noise(prepared: Prepared, _say: object) -> Noise:
    found = simulated.noise(prepared)
    return replace(found, scores=(bpb(simulated.BASELINE),) * found.runs)


@pytest.fixture
def labels(world: TinyWorld, tmp_path: Path) -> Iterator[list[str]]:
    """A runner at ``<tmp_path>/s``, and the runs that it made."""
    found: list[str] = []
    app = App("devnet", tmp_path / "runner", None, None, False)

    def prepare(project: Any, _past: Any, brake: Any, _say: Any) -> Prepared:
        prepared = simulated.prepare(app, project, Path(), brake)
        return prepared.with_runner(Logged(prepared.runner, found))

    site = Site(
        "00112233aabbccdd",
        prepare=prepare,
        noise=_noise,
        scratch=tmp_path / "scratch",
    )
    server = Server(listen(tmp_path / "s"), site)
    threading.Thread(target=server.run, daemon=True).start()
    yield found
    server.close()
    close_all(world)


def test_a_daemon_settles_what_a_runner_measured_and_survives_its_absence(
    world: TinyWorld,
    labels: list[str],
    tmp_path: Path,
) -> None:
    proposal, home = world.submitted(), world.home()
    gone = validate(world, home, "--runner", str(tmp_path / "nobody"))
    assert gone.code != 0 or step_of(gone, proposal)["outcome"] in (None, "undecided")
    assert labels == []
    wrong = validate(world, home, "--runner", str(tmp_path / "s"), "--calibrate", "quick")
    assert (wrong.code, "by the runner" in wrong.error["message"]) == (2, True)
    found = step_of(validate(world, home, "--runner", str(tmp_path / "s")), proposal)
    assert (found["step"], found["outcome"]) == ("approved", "reproduced"), found["sentence"]
    assert labels
    logs = sorted(Path(found["report"]).rglob("run.log"))
    assert len(logs) == len(labels), "every log is with the daemon"
    assert not (home / "data").exists(), "the daemon fetched no data of the benchmark"
    assert not list((tmp_path / "scratch").iterdir()), "the runner keeps nothing of a session"
