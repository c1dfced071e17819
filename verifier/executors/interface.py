"""One interface for every place where sessions run.

- An ``Executor`` has machines. ``prepare`` makes a project ready on one of them, which gives a ``Bench``.
- A ``Bench`` judges candidates of that project on that machine: a whole session of pairs on one machine. A
  pair never spans two.
- Whatever a bench returns rests on the pure rule over the pairs that its machine measured. Nothing that a
  bench raises is ever a reason to reject: it is this side's fault, or somebody stopped it.

::

    bench = executor.prepare(project, None)
    noise = bench.noise()
    verdict = bench.judge(Trial(files, noise, seed, folder, progress, keeper=keeper))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from armlx_chain.chain.contracts import Project
from verifier.judgement import Trial
from verifier.materials import Materials
from verifier.model import Noise, Verdict
from verifier.verdict.earlier import Subject

__all__ = ["Bench", "Executor"]


class Bench(Protocol):
    """A project, ready to be judged on one machine."""

    @property
    def materials(self) -> Materials:
        """What the project's record names, fetched and proven by this process."""
        ...

    @property
    def hardware_class(self) -> str:
        """Of the machine; one ASCII line."""
        ...

    @property
    def environment_digest(self) -> str:
        """SHA-256 over what runs on the machine, in hex."""
        ...

    @property
    def machine_id(self) -> str:
        """Which machine: 16 hexadecimal digits that stay the same."""
        ...

    def precheck(self, files: Mapping[str, bytes]) -> Verdict | None:
        """The source gate and the mutable surface; a verdict only where they refuse."""
        ...

    def noise(self) -> Noise:
        """The machine's calibration for this project; measured first where that was asked for.

        Raises:
            VerifierFault: there is none that holds.
            Interrupted: ``stop`` or ``kill``.
        """
        ...

    def subject(self, files: Mapping[str, bytes], noise: Noise) -> Subject:
        """What must be equal for pairs to belong to one test."""
        ...

    def judge(self, trial: Trial) -> Verdict:
        """Judge a candidate against the control, in one session.

        Raises:
            UsageError: the trial's ``earlier`` belongs to another test.
            Interrupted: ``stop`` or ``kill`` ended the session; what the keeper has is all that counts.
            VerifierFault: the machine was lost; a pair whose candidate may have started counts as begun.
        """
        ...

    def session_seconds(self, pairs: int) -> float | None:
        """Wall time, in seconds, that so many pairs are expected to take; ``None`` before it is known."""
        ...


class Executor(Protocol):
    """Machines that sessions run on. ``stop`` and ``kill`` may be called from another thread."""

    def machines(self) -> tuple[str, ...]:
        """Ids of the machines that could take a session now; none once it was stopped.

        Raises:
            VerifierFault: they are out of reach.
        """
        ...

    def prepare(
        self,
        project: Project,
        machine: str | None,
        *,
        aside: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> Bench:
        """Make a project ready.

        Args:
            machine: Where; ``None`` for any that is free.
            aside: Entered while another process does the work, which may take an hour; chain and storage of
                this one are not used inside.

        Raises:
            StorageError, ProtocolError, FormatError: what the project's record names cannot be had or read.
            VerifierFault: it cannot be run there.
        """
        ...

    def stop(self) -> None:
        """Start no further pair. A session that runs ends with ``Interrupted`` as soon as no candidate is
        under way, so that nothing which was begun is lost."""
        ...

    def kill(self) -> None:
        """End running programs now. A pair whose candidate was under way counts as interrupted."""
        ...

    def close(self) -> None:
        """Let go of everything; safe to repeat."""
        ...
