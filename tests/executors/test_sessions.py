"""Sessions in this process and behind a socket: the same verdicts, and the same care for what was begun."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from armlx_chain.chain.contracts import Project
from armlx_chain.errors import AcceleratorBusy, Interrupted, UsageError, VerifierFault
from tests.executors.places import Nap, Place, Shelf, noise_here, published
from tests.executors.processes import Member, behind, until
from tests.executors.sessions import BETTER, SAME, Beside, Notes, judged
from verifier.executors.interface import Bench
from verifier.executors.jobs import Job, Order
from verifier.executors.remote import RemoteExecutor, connect_to
from verifier.executors.server import Server, listen, serve_one
from verifier.executors.site import Backend, Site
from verifier.executors.stopping import Brake
from verifier.executors.wire import Line
from verifier.judging import Prepared
from verifier.model import Noise, Outcome, Reason, Role
from verifier.records import check_log

pytestmark = pytest.mark.integration


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


@pytest.fixture
def project(shelf: Shelf) -> Project:
    return published(shelf)


def serving(there: socket.socket, backend: Backend, **options: float) -> None:
    """One conversation, and its end."""
    line = Line(there)
    serve_one(line, backend, **options)
    line.close()


def behind_a_wire(place: Place, backend: Backend | None = None) -> RemoteExecutor:
    """An executor whose conversations are led by threads of this process."""
    served = place.site() if backend is None else backend

    def connect() -> socket.socket:
        here, there = socket.socketpair()

        threading.Thread(target=lambda: serving(there, served), daemon=True).start()
        return here

    return RemoteExecutor(connect, load=lambda project: (place.load(project), ()))


def test_a_session_behind_a_wire_gives_what_one_in_this_process_gives(
    shelf: Shelf, project: Project, tmp_path: Path
) -> None:
    place = Place(shelf, tmp_path / "there")
    here, there = place.executor(), behind_a_wire(place)
    for number, files in enumerate((BETTER, SAME)):
        local, remote = Notes(), Notes()
        first = judged(here.prepare(project, None), tmp_path / f"l{number}", files=files, keeper=local)
        second = judged(there.prepare(project, None), tmp_path / f"r{number}", files=files, keeper=remote)
        assert (first.outcome, first.reason, first.lower_bound, first.gains) == (
            second.outcome,
            second.reason,
            second.lower_bound,
            second.gains,
        )
        assert local.begun == remote.begun
        assert len(remote.pairs) == len(second.pairs) > 0
        for pair in second.pairs:
            for record in (pair.control, pair.candidate):
                assert record.log_path.is_relative_to(tmp_path / f"r{number}")
                check_log(record)


def test_before_a_candidate_runs_on_another_machine_its_start_is_kept_here(
    shelf: Shelf, project: Project, tmp_path: Path
) -> None:
    order: list[str] = []
    place = Place(shelf, tmp_path / "there", at_start=lambda role, label: order.append(f"{label} {role}"))
    keeper = Notes(lambda number: order.append(f"began {number}"))
    judged(behind_a_wire(place).prepare(project, None), tmp_path / "runs", keeper=keeper)
    candidates = [index for index, what in enumerate(order) if what.endswith(Role.CANDIDATE)]
    assert candidates
    for number, index in enumerate(candidates, start=1):
        assert order[index - 1] == f"began {number}", order


@pytest.mark.parametrize("behind", [False, True])
def test_a_stop_lets_what_was_begun_end_and_starts_nothing_more(
    shelf: Shelf, project: Project, tmp_path: Path, behind: bool
) -> None:
    for at, role, pairs in ((2, Role.CANDIDATE, 2), (3, Role.CONTROL, 2), (1, Role.CANDIDATE, 1)):
        place = Place(shelf, tmp_path / f"there{at}")
        executor = behind_a_wire(place) if behind else place.executor()
        bench = executor.prepare(project, None)

        def stop(what: str, at: int = at, role: Role = role, executor: object = executor) -> None:
            if what == f"pair-{at:02d}: {role} starts.":
                executor.stop()  # type: ignore[attr-defined]

        keeper = Notes()
        with pytest.raises(Interrupted):
            judged(
                bench, tmp_path / f"runs{at}", files=SAME, keeper=keeper, progress=lambda p: stop(p.message)
            )
        assert (len(keeper.pairs), len(keeper.begun)) == (pairs, pairs), "nothing begun is lost"
        assert executor.machines() == ()


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(("role", "begun"), [(Role.CONTROL, 0), (Role.CANDIDATE, 1)])
def test_a_kill_ends_the_run_and_its_record_counts_for_nothing(
    shelf: Shelf, project: Project, tmp_path: Path, behind: bool, role: Role, begun: int
) -> None:
    running = threading.Event()
    place = Place(
        shelf,
        tmp_path / "there",
        seconds=600.0,
        slow=role,
        at_start=lambda now, _: running.set() if now is role else None,
    )
    executor = behind_a_wire(place) if behind else place.executor()
    bench, keeper = executor.prepare(project, None), Notes()
    session = Beside(lambda: judged(bench, tmp_path / "runs", keeper=keeper))
    assert running.wait(60)
    executor.kill()
    with pytest.raises(Interrupted):
        session.end()
    assert (keeper.begun, keeper.pairs) == ([1] * begun, [])


def test_when_the_daemon_hangs_up_its_run_is_ended_and_the_machine_is_free(
    shelf: Shelf, project: Project, tmp_path: Path
) -> None:
    running = threading.Event()
    place = Place(shelf, tmp_path / "there", seconds=600.0, at_start=lambda *_: running.set())
    site = place.site()
    executor = behind_a_wire(place, site)
    bench = executor.prepare(project, None)
    session = Beside(lambda: judged(bench, tmp_path / "runs", keeper=Notes()))
    assert running.wait(60)
    assert executor.machines() == (), "one session a machine"
    with pytest.raises(AcceleratorBusy):
        site.open(Job("session", project), lambda _: None, Brake())
    executor.kill()
    with pytest.raises(Interrupted):
        session.end()
    until(lambda: site.machines() == ((place.machine, True),))
    place.seconds = 0.0
    again = behind_a_wire(place, site)
    assert judged(again.prepare(project, None), tmp_path / "again").outcome is Outcome.REPRODUCED


def test_when_the_daemon_hangs_up_a_calibration_is_ended_and_no_later_job_with_it(
    shelf: Shelf, project: Project, tmp_path: Path
) -> None:
    running = threading.Event()
    place = Place(shelf, tmp_path / "there", seconds=600.0, at_start=lambda *_: running.set())

    def measure(prepared: Prepared, _say: object) -> Noise:
        folder = tmp_path / "calibration"
        prepared.runner.run(Role.BASELINE, {}, run_folder=folder, deadline_seconds=None, seed=b"s")
        return noise_here(prepared)

    site = Site(place.machine, prepare=place.prepare, noise=measure, scratch=tmp_path / "scratch")
    executor = behind_a_wire(place, site)
    bench = executor.prepare(project, None)
    measuring, control = Beside(bench.noise), str(bench.materials.control_root)
    assert running.wait(60)
    executor.kill()
    with pytest.raises(Interrupted):
        measuring.end()
    until(lambda: site.machines() == ((place.machine, True),))
    place.seconds = 0.0
    brake = Brake()
    site.noise(Job("noise", project), lambda _: None, brake)
    work = site.open(Job("session", project, control=control, files=BETTER), lambda _: None, Brake())
    brake.kill()  # of the job before, whose daemon hangs up only now
    assert work.run(Order(Role.CONTROL, "pair-01", None, b"s")).record["ending"] == "graph"
    work.close()


def test_when_the_daemon_hangs_up_what_is_prepared_for_its_session_is_ended(
    shelf: Shelf, project: Project, tmp_path: Path
) -> None:
    running, place = threading.Event(), Place(shelf, tmp_path / "there")
    control = str(place.load(project).control_root)

    def prepare(known: Project, past: object, brake: Brake, _say: object) -> Prepared:
        nap = Nap()
        brake.reach(nap)
        running.set()
        nap.sleep(600.0)
        raise AssertionError("nobody ended it")

    site = Site(place.machine, prepare=prepare, noise=noise_here, scratch=tmp_path / "scratch")
    here, there = socket.socketpair()
    served = Beside(lambda: serving(there, site))
    line = Line(here)
    line.send_line(Job("session", project, control=control).encode())
    assert running.wait(60)
    line.close()
    served.end()
    assert site.machines() == ((place.machine, True),)


def test_a_process_at_work_says_so_and_one_that_says_nothing_is_not_waited_for(
    shelf: Shelf, project: Project, tmp_path: Path
) -> None:
    alive = threading.Event()
    place = Place(shelf, tmp_path / "there", at_start=lambda *_: _until_set(alive))
    here, there = socket.socketpair()
    line = Line(here)
    served = Beside(lambda: serving(there, place.site(), beat=0.01))
    bench = place.executor().prepare(project, None)
    control = str(bench.materials.control_root)
    line.send_line(Job("session", project, control=control).encode())
    line.send("run", **Order(Role.CONTROL, "pair-01", None, b"s").tree())
    while line.receive()["kind"] != "alive":
        continue
    alive.set()
    while line.receive()["kind"] != "record":
        continue
    line.close()
    served.end()
    stopped = [socket.socketpair() for _ in range(2)]
    waiting = iter(stopped)
    executor = RemoteExecutor(
        lambda: next(waiting)[0], load=lambda known: (place.load(known), ()), patience=0.05
    )
    for call in (executor.machines, lambda: executor.prepare(project, None)):
        with pytest.raises(VerifierFault, match="says nothing"):
            call()
    for _, end in stopped:
        end.close()


def _until_set(event: threading.Event) -> None:
    assert event.wait(60)


def test_another_control_on_the_machine_than_here_is_no_session(
    shelf: Shelf, project: Project, tmp_path: Path
) -> None:
    site = Place(shelf, tmp_path / "there").site()
    site.prepare(Job("prepare", project), lambda _: None, Brake())
    with pytest.raises(VerifierFault, match="would measure against"):
        site.open(Job("session", project, control="0g:0x" + "33" * 32), lambda _: None, Brake())
    assert site.machines()[0][1], "it is free again"


def test_a_session_that_costs_more_than_it_may_is_known_from_the_runs_before(
    shelf: Shelf, project: Project, tmp_path: Path
) -> None:
    for executor in (
        Place(shelf, tmp_path / "a", seconds=0.02).executor(),
        behind_a_wire(Place(shelf, tmp_path / "b", seconds=0.02)),
    ):
        bench = executor.prepare(project, None)
        assert bench.session_seconds(8) is None
        judged(bench, tmp_path / f"runs-{id(executor)}")
        seconds = bench.session_seconds(8)
        assert seconds is not None
        assert seconds >= 16 * 0.02


# --- a process of its own ---------------------------------------------------------------------------------


@pytest.fixture
def slow(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    """A runner whose runs take a second."""
    home = tmp_path_factory.mktemp("r") / "h"
    found = Member(shelf, home, "--socket", home / "s", seconds=1.0)
    until((home / "s").exists)
    yield found
    found.kill()


def test_a_runner_that_is_killed_with_the_candidate_under_way_costs_that_pair(
    shelf: Shelf, project: Project, tmp_path: Path, slow: Member
) -> None:
    keeper = Notes()
    bench = behind(slow.home / "s", Place(shelf, tmp_path / "daemon")).prepare(project, None)
    session = Beside(lambda: judged(bench, tmp_path / "runs", files=SAME, keeper=keeper))
    until(lambda: "pair-01-candidate candidate" in slow.started())
    slow.kill()
    verdict = session.end()
    assert (verdict.outcome, verdict.reason) == (Outcome.UNDECIDED, Reason.VERIFIER_FAULT)
    assert (keeper.begun, keeper.pairs) == ([1], [])
    assert "gone" in verdict.explanation
    with pytest.raises(VerifierFault, match="No runner answers"):
        bench.noise()


def test_the_socket_is_private_and_is_left_neither_by_a_term_nor_in_anothers_way(
    shelf: Shelf, project: Project, tmp_path: Path, slow: Member
) -> None:
    slow_socket = slow.home / "s"
    assert stat.S_IMODE(os.stat(slow_socket).st_mode) == 0o600
    with pytest.raises(UsageError, match="Another process"):
        listen(slow_socket)
    slow.kill()
    assert slow_socket.exists(), "a dead process leaves it"
    with listen(slow_socket):
        pass
    other = tmp_path / "file"
    other.write_text("mine")
    with pytest.raises(UsageError, match="is no socket"):
        listen(other)
    assert other.read_text() == "mine"
    with pytest.raises(UsageError, match="too long"):
        listen(tmp_path / ("x" * 120))


def test_a_runner_told_to_end_ends_its_runs_and_goes(
    shelf: Shelf, project: Project, tmp_path: Path, slow: Member
) -> None:
    bench: Bench = behind(slow.home / "s", Place(shelf, tmp_path / "daemon")).prepare(project, None)
    session = Beside(lambda: judged(bench, tmp_path / "runs", files=SAME))
    until(lambda: bool(slow.started()))
    assert slow.end() == 0
    assert session.end().reason is Reason.VERIFIER_FAULT
    assert not (slow.home / "s").exists()


def test_a_server_that_closes_hangs_up_on_everybody(tmp_path: Path, shelf: Shelf, project: Project) -> None:
    path, running = tmp_path / "s", threading.Event()
    there = Place(shelf, tmp_path / "there", seconds=600.0, at_start=lambda *_: running.set())
    server = Server(listen(path), there.site())
    served = Beside(server.run)
    here = Place(shelf, tmp_path / "here")
    bench = RemoteExecutor(connect_to(path), load=lambda known: (here.load(known), ())).prepare(project, None)
    session = Beside(lambda: judged(bench, tmp_path / "runs"))
    assert running.wait(60)
    server.close()
    assert session.end().reason is Reason.VERIFIER_FAULT
    served.end()
