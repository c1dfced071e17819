"""Sessions in this process: the default, and what every worker does on its own machine."""

from __future__ import annotations

import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from armlx_chain.chain.contracts import Project
from armlx_chain.errors import AcceleratorBusy, MachineError, UsageError, VerifierFault
from armlx_chain.storage.files import write_file
from verifier.executors.interface import Bench
from verifier.executors.stopping import Brake
from verifier.judgement import Trial
from verifier.judging import Prepared
from verifier.materials import Materials
from verifier.model import Noise, Verdict
from verifier.session import Progress
from verifier.verdict.earlier import Subject

__all__ = ["LocalBench", "LocalExecutor", "machine_id"]

MACHINE_FILE: Final = "machine-id"
_REMEMBERED: Final = 48
"""Runs whose times say what the next ones take: a whole test of 24 pairs."""
_ID: Final = re.compile(r"[0-9a-f]{16}")


def machine_id(home: Path) -> str:
    """This machine's id, made at the first call: random, no secret, and in no relation to any account.

    Raises:
        MachineError: it can be neither read nor made.
    """
    path = home / MACHINE_FILE
    try:
        if not path.exists():
            home.mkdir(parents=True, exist_ok=True)
            write_file(path, secrets.token_hex(8).encode() + b"\n")
        found = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as problem:
        raise MachineError(f"{path} cannot be used ({problem.strerror}).") from problem
    if _ID.fullmatch(found) is None:
        raise MachineError(
            f"{path} does not hold a machine's id.", next_step="Remove it: another one is made."
        )
    return found


@dataclass(frozen=True, slots=True)
class LocalBench:
    """A project prepared in this process.

    Attributes:
        prepared: What everything below is about.
        source: The calibration of a prepared project.
        machine_id: Of this machine.
        brake: Ends sessions from another thread.
        turn: Held while a session runs: one at a time.
    """

    prepared: Prepared
    source: Callable[[Prepared], Noise]
    machine_id: str
    brake: Brake = field(default_factory=Brake)
    turn: threading.Lock = field(default_factory=threading.Lock)
    _wall: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @property
    def materials(self) -> Materials:
        return self.prepared.materials

    @property
    def hardware_class(self) -> str:
        return self.prepared.machine.hardware_class

    @property
    def environment_digest(self) -> str:
        return self.prepared.environment.digest

    @property
    def environment_facts(self) -> Mapping[str, str]:
        """What the environment's digest is made of, for a verdict's bundle."""
        return self.prepared.environment.facts

    def precheck(self, files: Mapping[str, bytes]) -> Verdict | None:
        return self.prepared.precheck(files)

    def noise(self) -> Noise:
        braked = self.brake.session(self.prepared.runner, None)
        return self.source(self.prepared.with_runner(braked))

    def subject(self, files: Mapping[str, bytes], noise: Noise) -> Subject:
        return self.prepared.subject(files, noise)

    def judge(self, trial: Trial) -> Verdict:
        def noted(what: Progress) -> None:
            if what.record is not None:
                self._wall.append(what.record.wall_seconds)
            trial.progress(what)

        if not self.turn.acquire(blocking=False):
            raise AcceleratorBusy("Another session of this process is at work on this machine.")
        try:
            braked = self.brake.session(self.prepared.runner, trial.keeper)
            return self.prepared.with_runner(braked).judge(replace(trial, progress=noted, keeper=braked))
        finally:
            self.turn.release()

    def session_seconds(self, pairs: int) -> float | None:
        """By the longest of the last runs here; before the first, by the calibration's runs."""
        longest = max(self._wall, default=None) or self._calibrated_seconds()
        return None if longest is None else 2 * pairs * longest

    def _calibrated_seconds(self) -> float | None:
        """Seconds to the graph leave out the scoring, so they are taken twice."""
        try:
            seconds = self.prepared.stored_noise().reference_seconds
        except VerifierFault:
            return None
        return 2 * max(seconds) if seconds else None


class LocalExecutor:
    """This machine, with one session at a time.

    Args:
        prepare: Makes a project ready here, with a sandbox whose programs the brake reaches.
        noise: The calibration of a prepared project.
        machine: This machine's id.
    """

    def __init__(
        self,
        *,
        prepare: Callable[[Project, Brake], Prepared],
        noise: Callable[[Prepared], Noise],
        machine: str,
    ) -> None:
        self._prepare = prepare
        self._noise = noise
        self._machine = machine
        self._brake = Brake()
        self._turn = threading.Lock()

    def machines(self) -> tuple[str, ...]:
        return () if self._brake.is_pulled or self._turn.locked() else (self._machine,)

    def prepare(
        self,
        project: Project,
        machine: str | None,
        *,
        aside: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> Bench:
        if machine is not None and machine != self._machine:
            raise UsageError(f"Machine {machine} is not this one, which is {self._machine}.")
        prepared = self._prepare(project, self._brake)
        return LocalBench(prepared, self._noise, self._machine, self._brake, self._turn)

    def stop(self) -> None:
        self._brake.stop()

    def kill(self) -> None:
        self._brake.kill()

    def close(self) -> None:
        return None
