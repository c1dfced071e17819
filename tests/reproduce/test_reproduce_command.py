"""``reproduce`` as a person uses it: a real world, command line, session and folder; runs are simulated."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import armlx_chain.cli.reproduce
from armlx_chain.errors import VerifierFault
from armlx_chain.types import ProjectId
from tests.faults import simulated
from tests.faults.tinyworld import Ran, TinyWorld, call, log_of
from verifier.judging import Prepared
from verifier.materials import Materials
from verifier.model import Ending, Role, RunRecord
from verifier.runstate import locked
from verifier.simulate import SimRunner

pytestmark = pytest.mark.integration

PAUSE = 60.0
"""Longer than any signal needs to arrive."""


@dataclass
class Logged:
    """A simulated machine that leaves logs, and does something else at a given run."""

    inner: SimRunner
    at: dict[int, Callable[[], None]] = field(default_factory=dict)
    roles: list[Role] = field(default_factory=list)

    def run(
        self,
        role: Role,
        files: Mapping[str, bytes],
        *,
        run_folder: Path,
        deadline_seconds: float | None,
        seed: bytes,
    ) -> RunRecord:
        assert run_folder.is_absolute(), "a sandbox has another working folder"
        run_folder.mkdir(parents=True, exist_ok=True)
        self.roles.append(role)
        act = self.at.get(len(self.roles))
        if act is not None:
            act()
        found = self.inner.run(
            role, files, run_folder=run_folder, deadline_seconds=deadline_seconds, seed=seed
        )
        value = f"{found.validation:.6f}" if found.validation is not None else "1.0"
        log = log_of(value, f"{role} {len(self.roles)}")
        (run_folder / "run.log").write_bytes(log)
        return replace(
            found,
            log_path=run_folder / "run.log",
            log_sha256=sha256(log).hexdigest(),
            printed_metric=value,
            peak_memory_bytes=3 << 30,
        )


@dataclass
class Place:
    """A miner's home and folders, and the machine the command runs on."""

    world: TinyWorld
    home: Path
    folder: Path
    at: dict[int, Callable[[], None]] = field(default_factory=dict)
    change: Callable[[Prepared], Prepared] = lambda prepared: prepared
    machines: list[Logged] = field(default_factory=list)

    def prepare(self, app: Any, materials: Materials, _python: object, _line: object = None) -> Prepared:
        prepared = simulated.prepare(app, materials.project, Path())
        self.machines.append(Logged(prepared.runner, dict(self.at)))  # type: ignore[arg-type]
        constants = SimpleNamespace(budget_seconds=3.0, clock="cpu")
        benchmark: Any = SimpleNamespace(constants=constants)
        return self.change(replace(prepared, runner=self.machines[-1], benchmark=benchmark))  # type: ignore[arg-type]

    def candidate(self, level: str = "8.900000", name: str = "train.py", **options: bool) -> Path:
        path = self.folder / "idea" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(simulated.program(level, f"idea {level}", **options))
        return path

    def reproduce(self, *given: object, project: int | None = None) -> Ran:
        where = [] if project is None else ["--project", project]
        return call(self.world.unsigned(["reproduce", *where, *given], self.home))

    @property
    def out(self) -> Path:
        return self.folder / "runs" / "one"

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "session.json").read_bytes())
        return found

    def records(self) -> list[str]:
        return sorted(path.parent.name for path in (self.out / "sessions").glob("*/record.json"))


@pytest.fixture
def place(world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(world, world.home(), tmp_path)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_materials", made.prepare)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    yield made


@pytest.fixture
def handled() -> Iterator[None]:
    """No signal is ignored, whatever started the tests."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def interrupt(number: signal.Signals = signal.SIGINT) -> Callable[[], None]:
    def act() -> None:
        os.kill(os.getpid(), number)
        time.sleep(PAUSE)

    return act


def test_a_better_candidate_leaves_a_folder_that_can_be_submitted(place: Place) -> None:
    ran = place.reproduce(
        place.candidate(), "--out", place.out, "--description", "lower level", "--json", project=0
    )
    assert ran.code == 0, ran.err
    found = ran.document
    assert (found["accepted_here"], found["submittable"], found["resumed"]) == (True, True, False)
    assert found["report"]["outcome"] == "reproduced"
    assert found["measurements"]["gain"]["count"] == len(found["report"]["pairs"]) == 3
    assert set(found["prospect"]["fresh"]) == {"reproduced", "unimproved", "undecided", "pairs"}
    assert place.state()["state"] == "complete"
    assert b"val_bpb:          8.900000" in (place.out / "run.log").read_bytes()
    row = (place.folder / "runs" / "results.tsv").read_text().splitlines()[1].split("\t")
    assert row[1:] == ["8.900000", "keep", "lower level"]
    submitted = place.world.submit(place.out / "run.log", place.home, stake=3)
    assert submitted.code == 0, submitted.err


def test_a_person_reads_whether_it_would_be_accepted_how_sure_and_against_what(place: Place) -> None:
    ran = place.reproduce(place.candidate(), "--out", place.out, project=0)
    assert ran.out.startswith("Would be accepted on this machine: yes")
    for part in (
        "How sure: the true gain lies between",
        "Compared with the unmodified snapshot",
        "Chained score:",
    ):
        assert part in ran.out
    assert "control ended" in ran.err
    assert "\x1b" not in ran.err, "no drawing where stderr is no terminal"


def test_runs_measures_on_after_the_verdict_and_shows_mean_and_spread(place: Place) -> None:
    ran = place.reproduce(place.candidate(), "--out", place.out, "--runs", 5, "--json", project=0)
    assert ran.code == 0, ran.err
    found = ran.document
    assert len(found["report"]["pairs"]) == 3, "the verdict rests on the rule's own pairs"
    assert found["measurements"]["candidate"]["count"] == 5
    roles = place.machines[0].roles
    assert [role.value[:2] for role in roles] == ["co", "ca", "ca", "co", "co", "ca", "ca", "co", "co", "ca"]


def test_the_control_by_itself_is_measured_and_makes_no_claim(place: Place) -> None:
    ran = place.reproduce("--control-only", "--out", place.out, "--json", project=0)
    assert ran.code == 0, ran.err
    assert ran.document["measurements"]["control"]["mean"] == "9.000000000"
    assert place.machines[0].roles == [Role.CONTROL] * 3
    assert not (place.out / "run.json").exists()
    assert (place.out / "control.log").exists()


def test_what_the_gate_refuses_is_said_before_anything_is_prepared(place: Place) -> None:
    path = place.candidate(name="prepare.py")
    ran = place.reproduce(path, "--out", place.out, project=0)
    assert ran.code == 5
    assert "undecided (gate)" in ran.out
    assert place.machines == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_was_finished_before_an_interruption_is_kept_and_goes_on(
    place: Place, number: signal.Signals, handled: None
) -> None:
    place.at = {4: interrupt(number)}
    before = signal.getsignal(number)
    stopped = place.reproduce(place.candidate(), "--out", place.out, "--json", project=0)
    assert stopped.code == 130
    assert stopped.error["code"] == "Interrupted"
    assert stopped.error["details"] == {"folder": str(place.out), "finished": 1}
    assert signal.getsignal(number) == before
    assert (place.state()["state"], place.state()["pairs"]) == ("interrupted", 1)
    assert place.records() == ["pair-01-candidate", "pair-01-control", "pair-02-candidate"]
    assert not (place.out / "run.json").exists()
    assert place.reproduce(place.candidate(), "--out", place.out, project=0).code == 2, (
        "nothing is overwritten"
    )

    seed, place.at = place.state()["about"]["seed"], {}
    resumed = place.reproduce("--resume", place.out, "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.document["resumed"]
    assert len(resumed.document["report"]["pairs"]) == 3
    # The half of the second pair is put aside: control and candidate of a pair are adjacent.
    assert [role.value[:2] for role in place.machines[1].roles] == ["ca", "co", "co", "ca"]
    assert place.machines[1].inner.calls[0][2].hex() == seed
    aside = [path.name for path in (place.out / "unfinished" / "01").iterdir()]
    assert sorted(aside) == ["pair-02-candidate", "pair-02-control"]
    assert place.state()["state"] == "complete"
    assert place.reproduce("--resume", place.out).code == 2, "a complete session has nothing to go on with"


def test_the_advice_after_an_interruption_works_as_it_stands(place: Place, handled: None) -> None:
    place.at = {2: interrupt()}
    stopped = place.reproduce(
        place.candidate(), "--out", place.out, "--calibrate", "quick", "--json", project=0
    )
    advice = shlex.split(stopped.error["next"].partition(": ")[2])
    place.at = {}
    assert advice[:2] == ["armlx-chain", "reproduce"]
    assert "--calibrate" in advice
    resumed = call([*advice[1:], "--json"])
    assert resumed.code == 0, resumed.err
    assert resumed.document["resumed"]


def test_without_a_folder_or_with_a_relative_one_a_reproduction_runs_and_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, handled: None
) -> None:
    monkeypatch.chdir(place.folder)
    ran = place.reproduce(place.candidate(), "--json", project=0)
    assert ran.code == 0, ran.err
    assert Path(ran.document["folder"]).parent == place.folder / "runs"
    place.at = {3: interrupt()}
    assert place.reproduce(place.candidate(), "--out", "runs/one", project=0).code == 130
    place.at = {}
    resumed = place.reproduce("--resume", "runs/one", "--json")
    assert resumed.code == 0, resumed.err


def test_a_fault_of_the_machine_loses_nothing_and_says_how_to_go_on(place: Place) -> None:
    def hot() -> None:
        raise VerifierFault("This machine does not come to rest: heat.")

    place.at = {3: hot}
    ran = place.reproduce(place.candidate(), "--out", place.out, project=0)
    assert ran.code == 5
    assert f"Finished pairs kept in {place.out}: 1" in ran.out
    assert (place.state()["state"], place.state()["pairs"]) == ("interrupted", 1)
    assert "come to rest" in place.state()["note"]
    assert not (place.folder / "runs" / "results.tsv").exists(), "the candidate was not judged"
    place.at = {}
    resumed = place.reproduce("--resume", place.out, "--json")
    assert resumed.code == 0, resumed.err
    assert place.machines[-1].roles[0] is Role.CANDIDATE, "the second pair comes next"

    other, place.at = place.folder / "runs" / "two", {3: hot}
    ran = place.reproduce("--control-only", "--out", other, "--json", project=0)
    assert ran.code != 0
    assert f"Finished runs of the control kept in {other}: 2" in ran.err
    assert "--resume" in ran.err


def test_a_folder_with_parts_of_another_candidate_or_at_work_is_not_touched(place: Place) -> None:
    strange = place.out / "candidate" / "model.py"
    strange.parent.mkdir(parents=True)
    strange.write_text("of a reproduction that was stopped early")
    ran = place.reproduce(place.candidate(), "--out", place.out, "--json", project=0)
    assert ran.code == 2
    assert "model.py" in ran.error["message"]
    assert [path.name for path in strange.parent.iterdir()] == ["model.py"]

    strange.unlink()
    with locked(place.out):
        ran = place.reproduce(place.candidate(), "--out", place.out, "--json", project=0)
    assert ran.code == 2
    assert "Another process" in ran.error["message"]
    assert list(strange.parent.iterdir()) == [], "what the other one judges is not replaced"


def _child(place: Place, done: Any) -> None:
    done.put(place.reproduce(place.candidate(), "--out", place.out, project=0).code)


def _in_another_process(place: Place) -> int | None:
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=_child, args=(place, context.SimpleQueue()))
    worker.start()
    worker.join(120)
    assert not worker.is_alive()
    return worker.exitcode


def test_a_killed_reproduction_is_readable_and_goes_on(place: Place) -> None:
    place.at = {5: lambda: os.kill(os.getpid(), signal.SIGKILL)}
    assert _in_another_process(place) == -signal.SIGKILL
    assert place.state()["state"] == "running", "nobody could say anything any more"
    assert len(place.records()) == 4
    place.at = {}
    resumed = place.reproduce("--resume", place.out, "--json")
    assert resumed.code == 0, resumed.err
    assert place.machines[-1].roles == [Role.CONTROL, Role.CANDIDATE]


def test_a_second_interruption_ends_at_once(place: Place) -> None:
    def twice() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(PAUSE)
        finally:  # whatever takes long on the way out is not waited for
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(PAUSE)

    place.at = {3: twice}
    assert _in_another_process(place) == 130
    assert place.state()["state"] == "running"
    assert len(place.records()) == 2


def test_a_session_goes_on_only_with_what_it_began_with(place: Place) -> None:
    place.at = {3: interrupt()}
    project = place.world.publish(symbol="OTHER").project_id
    assert place.reproduce(place.candidate(), "--out", place.out, project=project).code == 130
    place.at = {}
    kept = place.out / "candidate" / "train.py"
    original = kept.read_bytes()

    kept.write_bytes(original + b"\n")
    _refused(place, "the candidate's files", "candidate")
    kept.write_bytes(original)

    place.change = lambda prepared: replace(
        prepared, environment=replace(prepared.environment, facts={"system": "another"})
    )
    _refused(place, "this machine's environment", "environment")
    place.change = lambda prepared: replace(prepared, machine=replace(prepared.machine, chip="another chip"))
    _refused(place, "this machine's hardware class", "hardware_class")
    place.change = lambda prepared: prepared

    assert place.reproduce("--resume", place.out, project=0).code == 2, "another project"
    place.world.move_best(ProjectId(int(project)))
    _refused(place, "the control", "control")
    assert place.records() == ["pair-01-candidate", "pair-01-control"], "what was measured stays"


def _refused(place: Place, words: str, name: str) -> None:
    ran = place.reproduce("--resume", place.out, "--json")
    assert ran.code == 2
    assert words in ran.error["message"]
    assert name in ran.error["details"]["changed"]
    assert place.machines == [] or place.machines[-1].roles in (
        [],
        [Role.CONTROL, Role.CANDIDATE, Role.CANDIDATE],
    )


def test_a_crash_is_in_the_results_log_with_the_protocols_word(place: Place) -> None:
    project, path = 0, place.candidate()
    crash = lambda record: replace(  # noqa: E731
        record, ending=Ending.CRASH, validation=None, fresh=None, audits=(), graph_sha256=None
    )
    place.change = lambda prepared: _crashing(prepared, crash)
    ran = place.reproduce(path, "--out", place.out, project=project)
    assert ran.code == 3
    assert "run-without-model" in ran.out
    row = (place.folder / "runs" / "results.tsv").read_text().splitlines()[1].split("\t")
    assert row[1:3] == ["0.000000", "discard"], "the protocol says that a crash is discarded"


def _crashing(prepared: Prepared, crash: Callable[[RunRecord], RunRecord]) -> Prepared:
    logged: Any = prepared.runner
    inner = logged.run

    class Crashing:
        def run(self, role: Role, files: Mapping[str, bytes], **options: Any) -> RunRecord:
            record = inner(role, files, **options)
            return crash(record) if role is Role.CANDIDATE else record

    return replace(prepared, runner=Crashing())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given", [[], ["--control-only", "x"], ["--resume", ".", "x"], ["--project", "0"], ["--runs", "25"]]
)
def test_contradictory_requests_are_usage_errors(place: Place, given: list[str]) -> None:
    path = place.candidate()
    assert place.reproduce(*[path if word == "x" else word for word in given]).code == 2
