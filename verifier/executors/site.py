"""A machine that makes runs for somebody else: it fetches, proves, prepares, calibrates and runs by itself.

What it is told it takes from jobs alone. It holds no key, and nothing it says makes anybody reject.
"""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from armlx_chain.chain.contracts import Project
from armlx_chain.errors import AcceleratorBusy, UsageError, VerifierFault
from verifier.controls import PastBest
from verifier.executors.jobs import Facts, Job, Made, Order
from verifier.executors.stopping import Brake
from verifier.judging import Prepared
from verifier.model import Noise, Role

__all__ = ["Backend", "Say", "Site", "Work"]

Say = Callable[[str], None]
Prepare = Callable[[Project, Sequence[PastBest], Brake, Say], Prepared]
_KEPT = 4
"""Projects that stay prepared."""


class Work(Protocol):
    """A session that is open on one machine."""

    def run(self, order: Order) -> Made:
        """Make one run.

        Raises:
            ArmlxError: it could not be made.
        """
        ...

    def kill(self) -> None:
        """End what runs, now; from any thread."""
        ...

    def close(self) -> None:
        """The session is over."""
        ...


class Backend(Protocol):
    """Where jobs are carried out: on this machine, or on those of a cluster."""

    def machines(self) -> tuple[tuple[str, bool], ...]:
        """The machines, and whether each could take a session now."""
        ...

    def prepare(self, job: Job, say: Say, brake: Brake) -> Facts:
        """Make a project ready; ``brake`` ends what runs for it."""
        ...

    def noise(self, job: Job, say: Say, brake: Brake) -> Noise:
        """The machine's calibration; ``brake`` ends a measurement."""
        ...

    def open(self, job: Job, say: Say, brake: Brake) -> Work:
        """Begin a session; ``brake`` ends what has to be prepared for it first, and then nothing more."""
        ...


class Site:
    """This machine as a backend, with one session at a time.

    Args:
        prepare: Fetches, proves and prepares a project in a sandbox whose programs the brake reaches.
        noise: The calibration of a prepared project, with what to call as it goes on.
        scratch: Where runs leave their files; emptied after each.
    """

    def __init__(
        self, machine: str, *, prepare: Prepare, noise: Callable[[Prepared, Say], Noise], scratch: Path
    ) -> None:
        self.machine = machine
        self._prepare = prepare
        self._noise = noise
        self._scratch = scratch
        self._brake = Brake()
        self._turn = threading.Lock()
        self._prepared: dict[tuple[object, ...], Prepared] = {}

    def machines(self) -> tuple[tuple[str, bool], ...]:
        return ((self.machine, not self._turn.locked()),)

    def prepare(self, job: Job, say: Say, brake: Brake) -> Facts:
        with self._busy(brake):
            return self._facts(self._ready(job, say))

    def noise(self, job: Job, say: Say, brake: Brake) -> Noise:
        with self._busy(brake):
            prepared = self._ready(job, say)
            braked = self._brake.session(prepared.runner, None)
            return self._noise(prepared.with_runner(braked), say)

    def open(self, job: Job, say: Say, brake: Brake) -> Work:
        self._take()
        try:
            with self._pulled(brake):
                prepared = self._ready(job, say)
            _same_control(str(prepared.materials.control_root), job.control)
            return _Session(prepared, job, self._brake, self._turn, self._scratch / secrets.token_hex(8))
        except BaseException:
            self._turn.release()
            raise

    def kill(self) -> None:
        """End what runs, whoever asked for it: the machine goes away."""
        self._brake.kill()

    @contextmanager
    def _busy(self, brake: Brake) -> Iterator[None]:
        """This machine for one job, which ``brake`` ends as long as it lasts."""
        self._take()
        try:
            with self._pulled(brake):
                yield
        finally:
            self._turn.release()

    @contextmanager
    def _pulled(self, brake: Brake) -> Iterator[None]:
        """As long as this lasts ``brake`` ends what runs here."""
        pulls = _Pulls(self._brake)
        try:
            brake.reach(pulls)
            yield
        finally:
            pulls.let_go()

    def _take(self) -> None:
        if not self._turn.acquire(blocking=False):
            raise AcceleratorBusy("Another session is at work on this machine.")
        self._brake.release()

    def _ready(self, job: Job, say: Say) -> Prepared:
        if job.machine and job.machine != self.machine:
            raise UsageError(f"This is machine {self.machine}, not {job.machine}.")
        project = job.project
        key = (int(project.id), project.token, project.best_code_hash, int(project.best_score), job.control)
        if job.kind == "prepare" or key not in self._prepared:
            prepared = self._prepare(project, job.past, self._brake, say)
            while len(self._prepared) >= _KEPT:
                self._prepared.pop(next(iter(self._prepared)))
            self._prepared[(*key[:4], str(prepared.materials.control_root))] = prepared
            return prepared
        return self._prepared[key]

    def _facts(self, prepared: Prepared) -> Facts:
        contest = prepared.contest
        return Facts(
            machine=self.machine,
            hardware_class=contest.hardware_class,
            environment=contest.environment,
            budget_seconds=float(contest.budget_seconds),
            control=str(prepared.materials.control_root),
            notices=prepared.notices,
            environment_facts=dict(prepared.environment.facts),
        )


def _same_control(found: str, wanted: str) -> None:
    if found != wanted:
        raise VerifierFault(
            f"This machine would measure against {found}, the daemon wants {wanted}.",
            meaning="Storage does not give both the same bytes now.",
        )


class _Pulls:
    """One brake pulls another, but not that of the next job."""

    def __init__(self, brake: Brake) -> None:
        self._brake = brake
        self._lock = threading.Lock()
        self._is_held = True

    def kill_tree(self, reason: str = "deadline") -> None:
        with self._lock:
            if self._is_held:
                self._brake.kill()

    def let_go(self) -> None:
        with self._lock:
            self._is_held = False


class _Session:
    """An open session of this machine."""

    def __init__(
        self, prepared: Prepared, job: Job, brake: Brake, turn: threading.Lock, folder: Path
    ) -> None:
        self._runner = brake.session(prepared.runner, None)
        self._files = {
            Role.CANDIDATE: job.files,
            Role.CONTROL: prepared.materials.control_files,
            Role.BASELINE: {},
        }
        self._brake = brake
        self._turn = turn
        self._folder = folder
        self._lock = threading.Lock()
        self._is_open = True
        self._alone = ExitStack()
        self._alone.enter_context(prepared.turn("judging a candidate"))

    def run(self, order: Order) -> Made:
        record = self._runner.run(
            order.role,
            self._files[order.role],
            run_folder=self._folder / f"{order.label}-{order.role}",
            deadline_seconds=order.deadline_seconds,
            seed=order.seed,
        )
        return Made.of(record)

    def kill(self) -> None:
        with self._lock:
            if self._is_open:
                self._brake.kill()

    def close(self) -> None:
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
        try:
            self._alone.close()
            shutil.rmtree(self._folder, ignore_errors=True)
        finally:
            self._turn.release()
