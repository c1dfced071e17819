"""How a candidate is judged against a control, whoever makes the runs.

The same for a session in this process and for one whose runs are made elsewhere: the rule, the deadline, and
what is said of the candidate besides the measurement are decided here, from records alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from verifier.copies import control_likeness, with_no_op
from verifier.environments.fields import memory_advice
from verifier.gate import check_sources
from verifier.materials import Materials
from verifier.model import Ending, Noise, Pair, Reason, Verdict
from verifier.session import Keeper, ProgressCallback, Runner, Settings, judge, precheck
from verifier.verdict.case import Rules
from verifier.verdict.constants import FIRST_LIMIT, MARGIN_LIMIT
from verifier.verdict.deadline import Deadline, deadline_from
from verifier.verdict.earlier import Earlier, Subject
from verifier.verdict.plain import without_runs
from verifier.workspace import Surface, check_candidate

__all__ = ["Contest", "Trial", "check_materials"]


def check_materials(materials: Materials, files: Mapping[str, bytes]) -> Verdict | None:
    """The source gate and the mutable surface; a verdict only where they refuse."""
    surface = Surface.of(materials.protocol)
    return precheck(
        lambda: check_candidate(surface, materials.snapshot.keys(), files),
        lambda: check_sources(files),
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate, and all that one session of its judgement is told.

    Attributes:
        files: The candidate's replacement files.
        noise: The machine's calibration.
        seed: Unknown to anybody when the candidate was fixed; ``reproduce`` uses a local one.
        run_folder: Where the session's runs and their logs go, on the machine that makes them.
        pairs: The session ends undecided after so many counted pairs.
        earlier: What an undecided test is continued with. For bare pairs the caller vouches that they
            belong to this very test; an ``Earlier`` is compared.
        keeper: Is told of a candidate's run before it starts, and of a pair before anything is concluded.
    """

    files: Mapping[str, bytes]
    noise: Noise
    seed: bytes
    run_folder: Path
    progress: ProgressCallback
    pairs: int = FIRST_LIMIT
    earlier: Sequence[Pair] | Earlier = ()
    keeper: Keeper | None = None


@dataclass(frozen=True, slots=True)
class Contest:
    """A project's control on one machine, which candidates are compared with.

    Attributes:
        hardware_class, environment: Of the machine that makes the runs.
        budget_seconds: Training time that the benchmark allows, on its own clock.
    """

    materials: Materials
    hardware_class: str
    environment: str
    budget_seconds: float

    def deadline(self, noise: Noise) -> Deadline:
        """How long any run may take, from the unmodified snapshot's own times on this machine.

        Fewer runs than the rule demands do not show the spread of start-up well enough; then the widest
        margin that the rule ever allows is taken.
        """
        found = deadline_from(noise.reference_seconds, self.budget_seconds)
        return found if noise.shortcut is None else replace(found, margin=MARGIN_LIMIT * self.budget_seconds)

    def rules(self, pairs: int = FIRST_LIMIT) -> Rules:
        """The rule as it applies to this project's control."""
        return Rules(
            pairs=pairs,
            disadvantage=self.materials.disadvantage,
            control_is_baseline=self.materials.control_is_baseline,
        )

    def subject(self, files: Mapping[str, bytes], noise: Noise) -> Subject:
        """What must be equal for pairs to belong to one test; store it with them."""
        return Subject.of(noise, self.rules(), self.materials.control_files, files)

    def judge(
        self,
        runner: Runner,
        trial: Trial,
        *,
        turn: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> Verdict:
        """Judge a candidate against the control.

        Args:
            runner: Makes the runs, on the one machine that this contest is about.
            turn: The machine for this session alone, entered only once something is run.

        Raises:
            UsageError: the trial's ``earlier`` belongs to another test.
        """
        noise = trial.noise
        refused = self._of_another_place(noise) or check_materials(self.materials, trial.files)
        if refused is not None:
            return refused
        settings = Settings(
            run_folder=trial.run_folder,
            deadline_seconds=self.deadline(noise).seconds,
            rules=self.rules(trial.pairs),
        )
        with turn():
            verdict = judge(
                runner,
                noise,
                self.materials.control_files,
                trial.files,
                seed=trial.seed,
                settings=settings,
                earlier=self._earlier(trial),
                progress=trial.progress,
                keeper=trial.keeper,
            )
        return self._annotated(verdict, trial.files)

    def _annotated(self, verdict: Verdict, files: Mapping[str, bytes]) -> Verdict:
        """With what is worth saying besides, and decides nothing."""
        notes = [verdict.explanation]
        if self.materials.control_note is not None:
            notes.append(self.materials.control_note)
        if any(pair.candidate.ending is Ending.MEMORY for pair in verdict.pairs):
            notes.append(memory_advice(self.materials.protocol))
        alike = control_likeness(files, self.materials.control_files, self.materials.snapshot)
        return with_no_op(replace(verdict, explanation=" ".join(notes)), alike)

    def _of_another_place(self, noise: Noise) -> Verdict | None:
        """Noise measured on another class or environment judges nobody here."""
        if (noise.hardware_class, noise.environment) == (self.hardware_class, self.environment):
            return None
        return without_runs(
            Reason.VERIFIER_FAULT,
            "The calibration was measured on another hardware class or environment than this one, so nothing "
            "was run. Calibrate this machine for the project.",
            noise=noise,
        )

    def _earlier(self, trial: Trial) -> Earlier | None:
        if isinstance(trial.earlier, Earlier):
            return trial.earlier
        subject = self.subject(trial.files, trial.noise)
        return Earlier(subject, tuple(trial.earlier)) if trial.earlier else None
