"""The daemon's side: an executor whose runs are made by a keyless process, or by a cluster behind it.

- The daemon fetches and proves what the project's record names by itself (not the benchmark's data), and
  applies the rule itself: the machine makes one run at a time, as this side's session asks for it. So what is
  kept before a candidate runs is kept here, and the verdict is this process's.
- From the other side come records, logs and a calibration: bounded, and parsed strictly.
- A machine that is lost in the middle ends the session with a fault; the pair under way counts as begun.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from armlx_chain.chain.contracts import Project
from armlx_chain.errors import FormatError, VerifierFault
from verifier.calibrationfile import read_noise
from verifier.controls import PastBest
from verifier.executors.interface import Bench
from verifier.executors.jobs import MACHINE_ID, Facts, Job, LogPieces, Made, Order
from verifier.executors.stopping import Brake
from verifier.executors.wire import ANSWER_SECONDS, RUN_SECONDS, SILENCE_SECONDS, Line, read_error, text
from verifier.judgement import Contest, Trial, check_materials
from verifier.materials import Materials
from verifier.model import Noise, Role, RunRecord, Verdict
from verifier.report import plain
from verifier.session import Progress
from verifier.verdict.earlier import Subject

__all__ = ["RemoteBench", "RemoteExecutor", "connect_to"]

_MOST_MACHINES: Final = 1024
_REMEMBERED: Final = 48
_CONNECT_SECONDS: Final = 10.0
_MOST_SAID: Final = 10_000
"""Sentences of one answer that are passed on: they end up in the daemon's log."""
Connect = Callable[[], socket.socket]
Load = Callable[[Project], tuple[Materials, Sequence[PastBest]]]


def connect_to(path: Path) -> Connect:
    """Connections to a runner's socket."""

    def connect() -> socket.socket:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            found.settimeout(_CONNECT_SECONDS)
            found.connect(str(path))
            found.settimeout(None)
        except OSError as problem:
            found.close()
            raise VerifierFault(
                f"No runner answers at {path} ({problem.strerror or problem}).",
                next_step=f"Start one, under an account without keys: armlx-validator worker --socket {path}",
            ) from problem
        return found

    return connect


class RemoteExecutor:
    """Machines behind a keyless process.

    Args:
        connect: Opens a conversation with that process.
        load: A project's materials, fetched and proven by this process, and the bests that its present one
            replaced where the present one's bytes cannot be had.
        check: Refuses a calibration that is not good enough here.
        say: Gets what the machine has to say.
        patience: Seconds of silence after which the process is taken for one that hangs.
        answer_seconds: Longest time until an answer is whole, whatever is said meanwhile.
        run_seconds: The same of a run, beyond its deadline.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        load: Load,
        check: Callable[[Noise], Noise] = lambda noise: noise,
        say: Callable[[str], None] = lambda _: None,
        patience: float = SILENCE_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        run_seconds: float = RUN_SECONDS,
    ) -> None:
        self._talk = _Talk(connect, say, Brake(), patience, answer_seconds, run_seconds)
        self._load = load
        self._check = check

    def machines(self) -> tuple[str, ...]:
        if self._talk.brake.is_pulled:
            return ()
        with self._talk.line() as line:
            line.send("machines")
            told = self._talk.wait(line, "machines").get("machines")
            if not isinstance(told, tuple) or len(told) > _MOST_MACHINES:
                raise FormatError("The list of machines is none.")
            free = [entry for entry in told if isinstance(entry, dict) and entry.get("free") is True]
            found = dict.fromkeys(text(entry, "id") for entry in free)
            if not all(MACHINE_ID.fullmatch(name) for name in found):
                raise FormatError("The list of machines names something else.")
            return tuple(found)

    def prepare(
        self,
        project: Project,
        machine: str | None,
        *,
        aside: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> Bench:
        materials, past = self._load(project)
        control = str(materials.control_root)
        job = Job("prepare", project, machine or "", control, past)
        with aside(), self._talk.line() as line:
            line.send_line(job.encode())
            found = Facts.read(_part(self._talk.wait(line, "facts"), "facts"))
        if machine is not None and found.machine != machine:
            raise VerifierFault(f"The runner prepared machine {plain(found.machine, 40)}, not {machine}.")
        if found.control != control:
            raise VerifierFault(
                "The machine found another control than this process.",
                meaning="Storage does not give both the same bytes now.",
            )
        for notice in found.notices:
            self._talk.say(plain(notice))
        contest = Contest(materials, found.hardware_class, found.environment, found.budget_seconds)
        stated = found.environment_facts
        return RemoteBench(contest, found.machine, project, past, self._talk, self._check, stated)

    def stop(self) -> None:
        self._talk.brake.stop()

    def kill(self) -> None:
        self._talk.brake.kill()

    def close(self) -> None:
        self._talk.brake.kill()


class _Talk:
    """Conversations with the process that makes the runs."""

    def __init__(
        self,
        connect: Connect,
        say: Callable[[str], None],
        brake: Brake,
        patience: float,
        answer_seconds: float,
        run_seconds: float,
    ) -> None:
        self._connect = connect
        self._patience = patience
        self._answer_seconds = answer_seconds
        self.run_seconds = run_seconds
        self.say = say
        self.brake = brake

    @contextmanager
    def line(self) -> Iterator[Line]:
        """One conversation, which ``kill`` ends."""
        line = Line(self._connect())
        hangs_up = _HangsUp(line)
        try:
            line.bound(self._patience)
            self.brake.reach(hangs_up)
            yield line
        except VerifierFault:
            self.brake.check_alive()  # it was this side that hung up
            raise
        except FormatError as strange:
            raise _nonsense(strange) from strange
        finally:
            line.close()

    def wait(self, line: Line, kind: str) -> dict[str, Any]:
        """The next message that is no talk.

        Raises:
            ArmlxError: the other side's error, or one of the wire.
        """
        until, said = time.monotonic() + self._answer_seconds, 0
        while (message := receive(line, until))["kind"] == "say":
            said += 1
            if said > _MOST_SAID:
                raise VerifierFault("The process that makes the runs talks without end.")
            self.say(plain(text(message, "text")))
        if message["kind"] != kind:
            raise VerifierFault(f"The runner answered {plain(message['kind'], 40)!r} in place of {kind}.")
        return message


class _HangsUp:
    """A conversation as something that can be killed."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def kill_tree(self, reason: str = "deadline") -> None:
        self._line.hang_up()


def receive(line: Line, until: float) -> dict[str, Any]:
    """The next message but signs of life; what is none is the other side's fault.

    Args:
        until: See ``Line.receive``.

    Raises:
        ArmlxError: the other side's error.
        VerifierFault: it is gone or too late, or does not speak this language.
    """
    try:
        while (message := line.receive(until))["kind"] == "alive":
            continue
    except FormatError as strange:
        raise _nonsense(strange) from strange
    if message["kind"] == "error":
        raise read_error(message.get("error"))
    return message


def _nonsense(strange: FormatError) -> VerifierFault:
    return VerifierFault(f"The process that makes the runs sent nonsense: {strange.message}")


def _part(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = message.get(name)
    if not isinstance(found, dict):
        raise FormatError(f"The message's {name} is no object.")
    return found


@dataclass(frozen=True, slots=True)
class RemoteBench:
    """A project prepared on a machine of somebody else's process.

    Attributes:
        contest: The project's control on that machine.
    """

    contest: Contest
    machine_id: str
    project: Project
    past: Sequence[PastBest]
    talk: _Talk
    check: Callable[[Noise], Noise]
    environment_facts: Mapping[str, str] = field(default_factory=dict)
    _wall: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _calibrated: deque[float] = field(default_factory=lambda: deque(maxlen=1))

    @property
    def materials(self) -> Materials:
        return self.contest.materials

    @property
    def hardware_class(self) -> str:
        return self.contest.hardware_class

    @property
    def environment_digest(self) -> str:
        return self.contest.environment

    def precheck(self, files: Mapping[str, bytes]) -> Verdict | None:
        return check_materials(self.materials, files)

    def noise(self) -> Noise:
        with self.talk.line() as line:
            line.send_line(self._job("noise", {}).encode())
            noise = read_noise(self.talk.wait(line, "noise").get("noise"))
        if noise.reference_seconds:
            self._calibrated.append(2 * max(noise.reference_seconds))
        return self.check(noise)

    def subject(self, files: Mapping[str, bytes], noise: Noise) -> Subject:
        return self.contest.subject(files, noise)

    def judge(self, trial: Trial) -> Verdict:
        runner = _RemoteRunner(self.talk.run_seconds)

        def noted(what: Progress) -> None:
            if what.record is not None:
                self._wall.append(runner.seconds)
            trial.progress(what)

        braked = self.talk.brake.session(runner, trial.keeper)
        told = replace(trial, progress=noted, keeper=braked)
        return self.contest.judge(braked, told, turn=lambda: self._session(runner, trial.files))

    def session_seconds(self, pairs: int) -> float | None:
        """By the longest of the last runs there; before the first, by the calibration's runs.

        Those are seconds to the graph and leave out the scoring, so they are taken twice.
        """
        longest = max(self._wall or self._calibrated, default=None)
        return None if longest is None else 2 * pairs * longest

    def _job(self, kind: str, files: Mapping[str, bytes]) -> Job:
        control = str(self.materials.control_root)
        return Job(kind, self.project, self.machine_id, control, self.past, files)

    @contextmanager
    def _session(self, runner: _RemoteRunner, files: Mapping[str, bytes]) -> Iterator[None]:
        with self.talk.line() as line:
            line.send_line(self._job("session", files).encode())
            self.talk.wait(line, "open")
            runner.line = line
            yield


class _RemoteRunner:
    """A session's runner: one order at a time over the session's conversation."""

    def __init__(self, most_seconds: float) -> None:
        self.line: Line | None = None
        self._most_seconds = most_seconds
        self.seconds = 0.0
        """How long the last run took, by this side's clock: what is planned with is not taken from others."""
        self._lock = threading.Lock()

    def run(
        self,
        role: Role,
        files: Mapping[str, bytes],
        *,
        run_folder: Path,
        deadline_seconds: float | None,
        seed: bytes,
    ) -> RunRecord:
        if self.line is None:
            raise VerifierFault("A run was asked for outside its session.")
        order = Order(role, run_folder.name.removesuffix(f"-{role}"), deadline_seconds, seed)
        with self._lock:
            began = time.monotonic()
            self.line.send("run", **order.tree())
            made = self._made(self.line, self._most_seconds + (deadline_seconds or 0.0))
            self.seconds = time.monotonic() - began
        return made.keep(order, run_folder)

    def _made(self, line: Line, most_seconds: float) -> Made:
        pieces, until = LogPieces(), time.monotonic() + most_seconds
        try:
            while (message := receive(line, until))["kind"] == "log":
                pieces.add(message)
            return Made(_part(message, "record"), pieces.whole())
        except FormatError as strange:
            raise _nonsense(strange) from strange
