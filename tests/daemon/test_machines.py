"""A daemon in front of several machines: projects side by side, and a test stays where it was begun."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.errors import VerifierFault
from tests.daemon.servicing import daemon, once, rows, step_of, tidy
from tests.executors.places import Place, silent
from tests.faults.tinyworld import SEED_BLOCKS, TinyWorld
from verifier.executors.jobs import Facts, Job
from verifier.executors.server import Server, listen
from verifier.executors.site import Say, Site, Work
from verifier.executors.stopping import Brake
from verifier.model import Noise, Role

pytestmark = pytest.mark.e2e

__all__ = ["tidy"]

LONG = 60.0
SLOW = "0.015000"
"""A gain that eight pairs do not decide."""
FIRST, OTHER = "a" * 16, "b" * 16


class Fleet:
    """Several machines behind one socket."""

    def __init__(self, sites: list[Site], at_prepare: Callable[[str], None]) -> None:
        self._sites = {site.machine: site for site in sites}
        self._at_prepare = at_prepare

    def machines(self) -> tuple[tuple[str, bool], ...]:
        return tuple(entry for site in self._sites.values() for entry in site.machines())

    def prepare(self, job: Job, say: Say, brake: Brake) -> Facts:
        self._at_prepare(job.machine)
        return self._sites[job.machine].prepare(job, say, brake)

    def noise(self, job: Job, say: Say, brake: Brake) -> Noise:
        return self._sites[job.machine].noise(job, say, brake)

    def open(self, job: Job, say: Say, brake: Brake) -> Work:
        return self._sites[job.machine].open(job, say, brake)


@contextmanager
def fleet(
    world: TinyWorld,
    folder: Path,
    *machines: str,
    at_start: Callable[[Role, str], None] = silent,
    at_prepare: Callable[[str], None] = silent,
) -> Iterator[Path]:
    """The socket of a process with these machines."""
    places = [
        Place(world.storage(), folder / name, machine=name, at_start=at_start)  # type: ignore[arg-type]
        for name in machines
    ]
    path = folder / "s"
    with ExitStack() as stack:
        server = Server(listen(path), Fleet([place.site() for place in places], at_prepare))
        serving = threading.Thread(target=server.run)
        serving.start()
        stack.callback(serving.join, LONG)
        stack.callback(server.close)
        yield path
    path.unlink(missing_ok=True)


def submitted(world: TinyWorld, project: int, gain: str = "0.050000") -> Proposal:
    number = world.ledger.proposal_count()
    ran = world.submit(world.write_run(gain=gain, project_id=project), world.home())
    assert ran.code == 0, ran.err
    world.devnet.mine(SEED_BLOCKS)
    return world.proposal(number)


def test_two_projects_are_judged_at_the_same_time_on_two_machines(world: TinyWorld, tmp_path: Path) -> None:
    projects = [int(world.project.project_id), int(world.publish(symbol="SECOND").project_id)]
    proposals = [submitted(world, project) for project in projects]
    both = threading.Barrier(2, timeout=LONG)  # breaks, and fails the test, where one comes alone

    def at_start(role: Role, name: str) -> None:
        if name.startswith("pair-01") and role is Role.CONTROL:
            both.wait()

    home = world.home()
    with fleet(world, tmp_path, FIRST, OTHER, at_start=at_start) as runner:
        ran = daemon(world, home, "--runner", runner, "--cycles", "1")
    assert ran.code == 0, ran.err
    assert [world.proposal(proposal.id).status for proposal in proposals] == [Status.APPROVED] * 2
    assert {row[0] for row in rows(home, "SELECT machine FROM queue")} == {FIRST, OTHER}
    assert not both.broken


def test_a_machine_that_prepares_for_an_hour_keeps_no_other_from_judging(
    world: TinyWorld, tmp_path: Path
) -> None:
    projects = [int(world.project.project_id), int(world.publish(symbol="THIRD").project_id)]
    proposals = [submitted(world, project) for project in projects]
    running = threading.Event()

    def at_prepare(machine: str) -> None:
        if machine == FIRST and not running.wait(LONG):
            raise VerifierFault("nobody else came to judge anything")

    home = world.home()
    with fleet(
        world, tmp_path, FIRST, OTHER, at_start=lambda *_: running.set(), at_prepare=at_prepare
    ) as runner:
        ran = daemon(world, home, "--runner", runner, "--cycles", "1")
    assert ran.code == 0, ran.err
    assert [world.proposal(proposal.id).status for proposal in proposals] == [Status.APPROVED] * 2


def test_two_proposals_of_one_project_are_never_side_by_side(world: TinyWorld, tmp_path: Path) -> None:
    project = int(world.project.project_id)
    first = submitted(world, project)
    second = submitted(world, project, "0.200000")
    order: list[int] = []

    def at_start(role: Role, name: str) -> None:
        if role is Role.CANDIDATE and name.startswith("pair-01"):
            order.append(world.proposal(first.id).status.value)

    home = world.home()
    with fleet(world, tmp_path, FIRST, OTHER, at_start=at_start) as runner:
        ran = once(world, home, "--runner", runner)
    assert step_of(ran, first)["step"] == "approved"
    assert step_of(ran, second)["step"] == "approved"
    assert order == [Status.SUBMITTED.value, Status.APPROVED.value], "the second was measured after the first"


def test_a_test_goes_on_only_on_the_machine_where_it_was_begun(world: TinyWorld, tmp_path: Path) -> None:
    proposal, home = submitted(world, int(world.project.project_id), SLOW), world.home()
    with fleet(world, tmp_path, FIRST) as runner:
        begun = step_of(once(world, home, "--runner", runner), proposal)
    assert begun["reason"] == "more-pairs-needed"
    with fleet(world, tmp_path, OTHER) as runner:
        waiting = step_of(once(world, home, "--runner", runner), proposal)
    assert (waiting["step"], rows(home, "SELECT count(*) FROM pair")) == ("waiting", [(8,)])
    assert FIRST in waiting["sentence"]
    with fleet(world, tmp_path, OTHER, FIRST) as runner:
        assert step_of(once(world, home, "--runner", runner), proposal)["step"] == "approved"
    assert rows(home, "SELECT machine FROM queue") == [(FIRST,)]


def test_without_a_machine_proposals_wait_and_nothing_is_held_against_them(
    world: TinyWorld, tmp_path: Path
) -> None:
    proposal, home = submitted(world, int(world.project.project_id)), world.home()
    waiting = step_of(once(world, home, "--runner", tmp_path / "nobody"), proposal)
    assert (waiting["step"], waiting["outcome"]) == ("waiting", None)
    assert "no machine" in waiting["sentence"]
    assert rows(home, "SELECT count(*) FROM finding") == [(0,)]
