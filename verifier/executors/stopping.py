"""Ending a session from another thread, without losing what it measured or counting what was cut off.

- ``stop``: the session ends before its next pair, or after the control where that ran first. A candidate's
  run that has begun, and the control beside it, are finished.
- ``kill``: every running program dies, and no record of a run that died so reaches the session: it would look
  like a crash of the candidate.

Both end the session with ``Interrupted``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from armlx_chain.errors import Interrupted, VerifierFault
from verifier.model import Pair, Role, RunRecord
from verifier.sandbox.interface import LogSink, Sandbox, SandboxProcess, SandboxSpec
from verifier.session import Keeper, Runner

__all__ = ["Brake", "Killable"]


class Killable(Protocol):
    """Something that runs and can be ended from another thread."""

    def kill_tree(self, reason: str = "deadline") -> None: ...


class Brake:
    """Shared between a session and whoever may end it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopping = False
        self._killed = False
        self._running: WeakSet[Killable] = WeakSet()

    @property
    def is_pulled(self) -> bool:
        """Whether no further pair starts."""
        return self._stopping

    def stop(self) -> None:
        """Let what was begun end."""
        self._stopping = True

    def kill(self) -> None:
        """End every program that runs, now.

        Raises:
            VerifierFault: something survives.
        """
        with self._lock:
            self._stopping = self._killed = True
            running = list(self._running)
        survivors: list[VerifierFault] = []
        for process in running:
            try:
                process.kill_tree("stopped")
            except VerifierFault as fault:  # it must not keep the others from being ended
                survivors.append(fault)
        if survivors:
            raise survivors[0]

    def release(self) -> None:
        """The next session of the same machine may run."""
        with self._lock:
            self._stopping = self._killed = False

    def sandbox(self, inner: Sandbox) -> Sandbox:
        """The same sandbox, whose programs ``kill`` reaches."""
        return _Reached(inner, self)

    def session(self, runner: Runner, keeper: Keeper | None) -> _Braked:
        """A session's runner and keeper in one, which heed the brake."""
        return _Braked(self, runner, keeper)

    def check(self) -> None:
        """Go on only where nobody asked to stop.

        Raises:
            Interrupted: somebody did.
        """
        if self._stopping:
            raise Interrupted("The session was stopped.", meaning="What had ended is kept and goes on later.")

    def check_alive(self) -> None:
        """Go on only where nobody killed the run.

        Raises:
            Interrupted: somebody did.
        """
        if self._killed:
            raise Interrupted(
                "The run was ended before its time.", meaning="The pairs that had ended are kept."
            )

    def reach(self, process: Killable) -> None:
        """From here on ``kill`` ends this, too."""
        with self._lock:
            self._running.add(process)
            killed = self._killed
        if killed:  # between the order and the start
            process.kill_tree("stopped")


@dataclass(frozen=True, slots=True)
class _Reached:
    """A sandbox that tells which processes it starts."""

    inner: Sandbox
    brake: Brake

    @property
    def name(self) -> str:
        return self.inner.name

    def check(self) -> None:
        self.inner.check()

    def start(self, spec: SandboxSpec, log: LogSink) -> SandboxProcess:
        process = self.inner.start(spec, log)
        self.brake.reach(process)
        return process


class _Braked:
    """One session's runner and keeper."""

    def __init__(self, brake: Brake, runner: Runner, keeper: Keeper | None) -> None:
        self._brake = brake
        self._runner = runner
        self._keeper = keeper
        self._candidate_began = False

    def run(
        self,
        role: Role,
        files: Mapping[str, bytes],
        *,
        run_folder: Path,
        deadline_seconds: float | None,
        seed: bytes,
    ) -> RunRecord:
        self._brake.check_alive()
        if not self._candidate_began:
            self._brake.check()
        self._candidate_began = self._candidate_began or role is Role.CANDIDATE
        try:
            record = self._runner.run(
                role, files, run_folder=run_folder, deadline_seconds=deadline_seconds, seed=seed
            )
        except VerifierFault:
            self._brake.check_alive()  # what fell with the kill is no fault of its own
            raise
        self._brake.check_alive()
        return record

    def began(self, number: int) -> None:
        self._brake.check()
        self._candidate_began = True
        if self._keeper is not None:
            self._keeper.began(number)

    def ended(self, number: int, pair: Pair) -> None:
        self._candidate_began = False
        if self._keeper is not None:
            self._keeper.ended(number, pair)

    def repeated(self, number: int) -> None:
        self._candidate_began = False
        if self._keeper is not None:
            self._keeper.repeated(number)
