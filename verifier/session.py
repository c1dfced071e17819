"""A session: control and candidate in interleaved pairs on one machine, until the rule decides.

Steps, in order:

1. Run a pair. Odd pairs run the control first, even pairs the candidate: A B, B A, A B, … so that a machine
   that slowly changes disturbs both alike.
2. Ask the rule (``verifier.verdict.case``), which sees all records so far and nothing else.
3. If it wants another pair, go on with 1. If an audit failed, run candidate and control once more and ask
   again.
4. Whatever fails on the verifier's own side ends in ``undecided``.

What the caller still owes: the checks before a run (``precheck``), a seed that nobody knew before the
candidate was fixed, a noise measured on this machine's class and environment, and the decision what to do
with the verdict. The same seed and the same records give the same verdict.

::

    verdict = judge(runner, noise, control, candidate, seed=seed, settings=Settings(run_folder=folder))
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from armlx_chain.errors import CandidateError, UsageError, VerifierFault
from verifier.model import Ending, Noise, Outcome, Pair, Reason, Role, RunRecord, Verdict
from verifier.verdict.case import Case, Rules, Want, next_step
from verifier.verdict.constants import LAST_LIMIT
from verifier.verdict.earlier import Earlier, Subject
from verifier.verdict.plain import without_runs

log = logging.getLogger(__name__)

Files = Mapping[str, bytes]
"""Replacement files by relative path; an empty mapping is the unmodified snapshot."""


class Runner(Protocol):
    """Runs one program under the harness; ``HarnessRunner`` is the real one, ``SimRunner`` a simulator."""

    def run(
        self, role: Role, files: Files, *, run_folder: Path, deadline_seconds: float | None, seed: bytes
    ) -> RunRecord:
        """Run the snapshot with these files replaced and measure it from outside.

        Args:
            run_folder: Where log and records of this run go; the runner creates it.
            deadline_seconds: On the session's outside clock, from start to graph; ``None`` for no other limit
                than the protocol's.
            seed: From it probes and fresh rows are drawn. All runs of a session get the same, so that
                control and candidate are compared on the same rows.

        Raises:
            VerifierFault: for anything that is not the program's doing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What a session needs besides programs and noise.

    Attributes:
        run_folder: The session's folder; each run gets its own below it.
        deadline_seconds: See ``verifier.verdict.deadline``.
        rules: What may differ between cases under the same rule.
    """

    run_folder: Path
    deadline_seconds: float | None = None
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True)
class Progress:
    """One thing that happened, for a person who waits.

    Attributes:
        message: A sentence.
        number: The pair's number from 1; repeats continue the count.
        role: Which run it is about, if one.
        record: The run's record once it has ended.
    """

    message: str
    number: int
    role: Role | None = None
    record: RunRecord | None = None


ProgressCallback = Callable[[Progress], None]


class Keeper(Protocol):
    """Keeps what a session measures as soon as it is measured, so that a killed one loses no counted pair."""

    def began(self, number: int) -> None:
        """The candidate's run of a pair starts, or that of a repeat, which has the next pair's number.

        A pair that got here and never ends was interrupted, and is not run again unnoticed. One that broke
        off before, in the control's run, tells nothing of the candidate.
        """
        ...

    def ended(self, number: int, pair: Pair) -> None:
        """Both runs of the pair are over, before anything is concluded from them."""
        ...

    def repeated(self, number: int) -> None:
        """Both runs of the repeat that began under this number are over."""
        ...


class _Nobody:
    def began(self, number: int) -> None:
        return None

    def ended(self, number: int, pair: Pair) -> None:
        return None

    def repeated(self, number: int) -> None:
        return None


def _silent(_: Progress) -> None:
    return None


def judge(
    runner: Runner,
    noise: Noise,
    control_files: Files,
    candidate_files: Files,
    *,
    seed: bytes,
    settings: Settings,
    earlier: Earlier | None = None,
    progress: ProgressCallback = _silent,
    keeper: Keeper | None = None,
) -> Verdict:
    """Judge a candidate against a control on this machine.

    Args:
        noise: Of this project on this hardware class and environment.
        control_files: The current best's replacement files; empty for the unmodified snapshot.
        candidate_files: The candidate's replacement files, already checked.
        seed: Unknown to anybody when the candidate was fixed.
        earlier: What an undecided test is continued with; see ``verifier.verdict.earlier``.

    Raises:
        UsageError: if more pairs are asked for than the rule allows, or ``earlier`` belongs to another test.
    """
    if not 1 <= settings.rules.pairs <= LAST_LIMIT:
        raise UsageError(f"A test runs 1 to {LAST_LIMIT} pairs, not {settings.rules.pairs}.")
    session = _Session(runner, control_files, candidate_files, seed, settings, progress, keeper or _Nobody())
    case = Case(noise=noise, rules=settings.rules)
    if earlier is not None:
        earlier.require(Subject.of(noise, settings.rules, control_files, candidate_files))
        case = replace(case, pairs=tuple(earlier.pairs), interrupted=earlier.interrupted)
    try:
        while True:
            step = next_step(case)
            if isinstance(step, Verdict):
                progress(Progress(f"Verdict: {step.outcome} ({step.reason}).", len(case.pairs)))
                return step
            case = session.extend(case, step)
    except _Unplaceable as place:
        verdict = without_runs(place.reason, " ".join(place.refusal.sentences()), noise=noise)
        return replace(verdict, pairs=session.pairs or case.pairs)
    except VerifierFault as fault:
        log.warning("The session ended with a fault on this side: %s", fault)
        verdict = without_runs(Reason.VERIFIER_FAULT, " ".join(fault.sentences()), noise=noise)
        return replace(verdict, pairs=session.pairs or case.pairs)


def precheck(*checks: Callable[[], object]) -> Verdict | None:
    """Run the checks that come before any run; a candidate that breaks one is not run, sent or slashed.

    Returns:
        ``None`` if all passed, else an ``undecided`` verdict with reason ``gate``.
    """
    for check in checks:
        try:
            check()
        except CandidateError as refusal:
            return without_runs(Reason.GATE, " ".join(refusal.sentences()))
    return None


class _Unplaceable(Exception):
    """A program's files cannot be put into the snapshot."""

    def __init__(self, role: Role, refusal: CandidateError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.reason = Reason.GATE if role is Role.CANDIDATE else Reason.CONTROL_UNAVAILABLE


class _Session:
    """Runs what the rule wants, in the order that is fair."""

    def __init__(
        self,
        runner: Runner,
        control: Files,
        candidate: Files,
        seed: bytes,
        settings: Settings,
        progress: ProgressCallback,
        keeper: Keeper,
    ) -> None:
        self._keeper = keeper
        self._runner = runner
        self._files = {Role.CONTROL: control, Role.CANDIDATE: candidate}
        self._seed = seed
        self._settings = settings
        self._progress = progress
        self.pairs: tuple[Pair, ...] = ()

    def extend(self, case: Case, want: Want) -> Case:
        """The case with one more pair, or with the repeats of a failed audit."""
        number = len(case.pairs) + 1
        if want is Want.PAIR:
            # A B, B A, A B, …: a steady drift of the machine cancels over two pairs.
            control_first = number % 2 == 1
            runs = self._both(f"pair-{number:02d}", number, control_first=control_first)
            pair = Pair(control=runs[Role.CONTROL], candidate=runs[Role.CANDIDATE])
            self._keeper.ended(number, pair)
            self.pairs = (*case.pairs, pair)
            return replace(case, pairs=self.pairs)
        self._progress(
            Progress("An audit failed: candidate and control run once more to confirm it.", number)
        )
        # The control runs last: a machine that broke for good after the first control shows it here.
        runs = self._both("repeat-01", number, control_first=False)
        self._keeper.repeated(number)
        return replace(case, repeats=(runs[Role.CANDIDATE], runs[Role.CONTROL]))

    def _both(self, label: str, number: int, *, control_first: bool) -> dict[Role, RunRecord]:
        order = (Role.CONTROL, Role.CANDIDATE) if control_first else (Role.CANDIDATE, Role.CONTROL)
        runs = {}
        for role in order:
            if role is Role.CANDIDATE:
                self._keeper.began(number)
            runs[role] = self._run(role, label, number)
        return runs

    def _run(self, role: Role, label: str, number: int) -> RunRecord:
        self._progress(Progress(f"{label}: {role} starts.", number, role))
        try:
            record = self._runner.run(
                role,
                self._files[role],
                run_folder=self._settings.run_folder / f"{label}-{role}",
                deadline_seconds=self._settings.deadline_seconds,
                seed=self._seed,
            )
        except CandidateError as refusal:
            raise _Unplaceable(role, refusal) from refusal
        score = "no model" if record.validation is None else f"{record.validation} bits per byte"
        self._progress(Progress(f"{label}: {role} ended ({record.ending}), {score}.", number, role, record))
        return record


def is_final(verdict: Verdict) -> bool:
    """Whether running the same candidate again on this machine could not change the verdict."""
    return verdict.outcome is not Outcome.UNDECIDED or verdict.reason in (Reason.GATE, Reason.UNSUPPORTED)


def may_start_over(verdict: Verdict) -> bool:
    """Whether the same machine may judge the same candidate afresh.

    Only where no pair counted yet, and none was voided by what disturbed the candidate's own run alone. A
    test begun anew after its pairs decided nothing would be another draw of the same lottery, as often as its
    author likes: a program that spreads its own scores on purpose, or heats the machine or brings about a
    fault whenever its loss looks poor, would pass in the end. Such a test is continued with the pairs it has
    (``earlier``), or left to other machines.
    """
    counted = len(verdict.pairs) > len(verdict.voided)
    own_doing = any(
        pair.candidate.disturbances and not pair.control.disturbances and pair.control.ending is Ending.GRAPH
        for pair in verdict.pairs
    )
    return not (is_final(verdict) or counted or own_doing or verdict.repeats)
