"""How ``reproduce`` goes about it: begin or go on, check what is unsupported, run, say what was found.

Order: the folder and the candidate's files are on disk before anything runs; the gate, the mutable surface
and a short run that shows whether the model can be exported come before the long runs; every finished run is
kept before the next one starts; whatever ends the work, the folder says how far it got.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from armlx_chain.claims.runfolder import CANDIDATE, RUN_LOG, candidate_digest, read_candidate_files
from armlx_chain.cli import reproduce as shared
from armlx_chain.cli.context import App
from armlx_chain.cli.foresight import how_sure, prospect_tree
from armlx_chain.cli.interrupts import interruptible
from armlx_chain.cli.marks import candidate_paths, require_verified, write_run_marks
from armlx_chain.cli.nextcommand import next_command
from armlx_chain.cli.output import emit, harmless, say
from armlx_chain.errors import EXIT_OK, EXIT_UNDECIDED, ArmlxError, Interrupted, UsageError
from armlx_chain.protocol.metric import metric_rule
from armlx_chain.protocol.score import score_text
from armlx_chain.storage.unverified import RUN_MARKS
from armlx_chain.types import ProjectId
from verifier.environments.columns import RowFacts, row
from verifier.environments.providing import PythonChoice
from verifier.following import Expectation, LiveLine
from verifier.judging import Prepared, check_materials
from verifier.live import LivePainter
from verifier.materials import Materials
from verifier.measurements import Measurements, measure
from verifier.model import Noise, Reason, RunRecord, Verdict
from verifier.report import to_text, to_tree
from verifier.reproduction import (
    CONTROL_ONLY,
    JUDGEMENT,
    Judged,
    accepted_here,
    facts_of,
    judge_session,
    measure_control,
    start_folder,
    write_candidate,
    write_control_folder,
    write_measurements,
    write_report,
    write_run_folder,
)
from verifier.resultslog import append_row, results_path, status_word
from verifier.runstate import (
    COMPLETE,
    INTERRUPTED,
    RUNNING,
    SessionKeeper,
    SessionState,
    locked,
    read_session,
    require_same,
)
from verifier.verdict.constants import MINIMUM_PAIRS
from verifier.verdict.prospect import of_verdict

__all__ = ["Wishes", "carry_out"]

CONTROL_RUNS = 3
"""Runs of the control where only it is measured and nobody said how many."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person asked for."""

    candidate: Path | None
    project_id: int | None
    out: Path | None
    resume: Path | None
    runs: int
    control_only: bool
    calibrate: str | None
    python: PythonChoice
    allow_unverified: bool
    description: str
    quiet: bool


@dataclass(slots=True)
class _Task:
    """A run folder, what runs in it, and how far it is."""

    app: App
    wishes: Wishes
    folder: Path
    files: Mapping[str, bytes]
    marks: list[dict[str, str]]
    line: LiveLine
    seed: bytes
    before: SessionState | None = None
    keeper: SessionKeeper | None = None

    @property
    def kind(self) -> str:
        return CONTROL_ONLY if self.wishes.control_only else JUDGEMENT

    @property
    def runs(self) -> int:
        return self.wishes.runs or (0 if self.before is None else self.before.runs)

    @property
    def marked(self) -> bool:
        return os.path.lexists(self.folder / RUN_MARKS)


def carry_out(app: App, wishes: Wishes) -> int:
    """Reproduce; returns the exit code.

    Raises:
        Interrupted: a person or the system stopped it; the folder says how far it got.
        ArmlxError: see the steps.
    """
    with interruptible():
        task = _resumed(app, wishes) if wishes.resume is not None else _begun(app, wishes)
        with locked(task.folder):
            try:
                if task.before is None:
                    _fill(task)
                return _run(task)
            except KeyboardInterrupt:
                raise _interrupted(task) from None
            except ArmlxError as problem:
                _say_what_is_kept(task, problem)
                raise


# --- beginning and going on ---------------------------------------------------------------------------


def _begun(app: App, wishes: Wishes) -> _Task:
    """A new run folder; nothing is in it yet, because another process may be about to take it."""
    if wishes.project_id is None:
        raise UsageError("Which project is it for?", next_step="Give --project ID, or --resume FOLDER.")
    if (wishes.candidate is None) != wishes.control_only:
        raise UsageError(
            "A reproduction needs a candidate, and --control-only takes none.",
            next_step="Give the path of a train.py or of a folder of replacement files, or --control-only.",
        )
    files: dict[str, bytes] = {}
    marks: list[dict[str, str]] = []
    if wishes.candidate is not None:
        files = shared.read_candidate_path(wishes.candidate)
        paths = candidate_paths(wishes.candidate, files)
        marks = require_verified(app.home, paths, allowed=wishes.allow_unverified)
    folder = wishes.out or Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    folder = folder.absolute()  # sandboxes have another working folder
    start_folder(folder, files)
    return _Task(app, wishes, folder, files, marks, _line(wishes), secrets.token_bytes(32))


def _fill(task: _Task) -> None:
    """Put the candidate into the new folder, which is ours alone by now."""
    start_folder(task.folder, task.files)
    write_run_marks(task.folder, task.marks)
    write_candidate(task.folder, task.files)


def _resumed(app: App, wishes: Wishes) -> _Task:
    """The folder of a session that was cut off, or that shall be measured further.

    Raises:
        UsageError: other options contradict it, or there is none.
        ClaimRefused: the candidate's files in it are none.
    """
    folder = wishes.resume
    if folder is None or wishes.candidate is not None or wishes.out is not None or wishes.control_only:
        raise UsageError(
            "--resume goes on with what the folder holds; it takes no candidate, --out or --control-only."
        )
    before = read_session(folder := folder.absolute())
    kind = before.facts.kind
    if before.state == COMPLETE and wishes.runs <= before.pairs:
        raise UsageError(
            f"{folder} is complete.",
            next_step=f"Measure further with --runs, more than {before.pairs}; or start anew.",
        )
    files = read_candidate_files(folder / CANDIDATE) if kind == JUDGEMENT else {}
    if wishes.project_id is not None and str(wishes.project_id) != before.facts.project:
        raise UsageError(f"{folder} is about project {before.facts.project}, not {wishes.project_id}.")
    wishes = replace(wishes, project_id=int(before.facts.project), control_only=kind == CONTROL_ONLY)
    return _Task(app, wishes, folder, files, [], _line(wishes), bytes.fromhex(before.facts.seed), before)


def _line(wishes: Wishes) -> LiveLine:
    return LiveLine(LivePainter(sys.stderr, quiet=wishes.quiet))


def _interrupted(task: _Task) -> Interrupted:
    """Say in the folder and to the person how far it got."""
    if task.keeper is None and task.before is None:
        return Interrupted("Stopped.", meaning="No program had been measured yet.")
    if task.keeper is not None:
        task.keeper.mark(INTERRUPTED, "stopped by a person or the system")
    return Interrupted(
        "Stopped.",
        meaning=f"{_finished_words(task)} What was running has been ended.",
        next_step=f"Go on with: {_going_on(task)}",
        details={"folder": str(task.folder), "finished": _finished(task)},
    )


def _say_what_is_kept(task: _Task, problem: ArmlxError) -> None:
    """Whatever else ended a session: the folder says so, and a person hears that nothing is lost."""
    if task.keeper is not None:
        with suppress(ArmlxError):  # the disk itself may be what failed
            task.keeper.mark(INTERRUPTED, problem.message)
        say(_once_mended(task))


def _once_mended(task: _Task) -> str:
    return f"{_finished_words(task)} Once it is mended, go on with: {_going_on(task)}"


def _finished(task: _Task) -> int:
    if task.keeper is None:
        return 0 if task.before is None else task.before.pairs
    return len(task.keeper.controls() if task.kind == CONTROL_ONLY else task.keeper.pairs())


def _finished_words(task: _Task) -> str:
    what = "runs of the control" if task.kind == CONTROL_ONLY else "pairs"
    return f"Finished {what} kept in {task.folder}: {_finished(task)}."


def _going_on(task: _Task) -> str:
    calibrate = task.wishes.calibrate
    more = [] if calibrate is None else ["--calibrate", calibrate]
    return next_command(task.app, "reproduce", "--resume", task.folder, *more)


# --- the work -----------------------------------------------------------------------------------------


def _run(task: _Task) -> int:
    app, wishes = task.app, task.wishes
    materials = shared.materials_here(app, ProjectId(wishes.project_id or 0))
    if not wishes.control_only:
        refused = check_materials(materials, task.files)
        if refused is not None:
            return _refused(task, refused)
    task.line.metric = metric_rule(materials.protocol.measurement.primary_metric)
    prepared = shared.prepare_materials(app, materials, wishes.python, task.line)
    for notice in prepared.notices:
        say(f"note: {notice}")
    keeper = task.keeper = _keeper(task, prepared)
    keeper.mark(RUNNING)
    if not wishes.control_only and task.before is None:
        unsupported = _first_look(task, prepared)
        if unsupported is not None:
            keeper.mark(COMPLETE)
            return _refused(task, unsupported)
    if wishes.control_only:
        return _control(task, prepared, keeper)
    with task.line:
        noise = shared.noise_of(prepared, calibrate=wishes.calibrate, progress=task.line.progress)
        say("judging: control and candidate in pairs, until the rule decides")
        task.line.expect(_expected(prepared, noise, task.runs, len(keeper.pairs())))
        judged = judge_session(
            prepared,
            task.files,
            noise=noise,
            keeper=keeper,
            seed=task.seed,
            runs=task.runs,
            progress=task.line.progress,
        )
    return _finish(task, prepared, judged, keeper)


def _keeper(task: _Task, prepared: Prepared) -> SessionKeeper:
    """The session's keeper; one that goes on must be about the very same things.

    Raises:
        UsageError: something changed since.
    """
    network = task.app.settings.network
    facts = facts_of(
        prepared,
        task.files,
        chain_id=network.chain_id,
        ledger=network.proposal_ledger,
        seed=task.seed,
        kind=task.kind,
    )
    if task.before is not None:
        require_same(task.before.facts, facts)
    keeper = SessionKeeper(task.folder, facts, runs=task.runs)
    keeper.place.mkdir(parents=True, exist_ok=True)
    if task.before is not None:
        done = keeper.controls() if task.kind == CONTROL_ONLY else keeper.pairs()
        say(f"going on in {task.folder}: {len(done)} finished there")
    return keeper


def _expected(prepared: Prepared, noise: Noise, runs: int, have: int) -> Expectation:
    """Runs that are likely: the rule accepts at three pairs at the earliest, and takes four on average."""
    times = sorted(noise.reference_seconds)
    pairs = max(MINIMUM_PAIRS + 1, runs, have + 1) - have
    return Expectation(2 * pairs, times[len(times) // 2], prepared.benchmark.constants.clock)


def _first_look(task: _Task, prepared: Prepared) -> Verdict | None:
    """A short run before the long ones; a verdict only where no run could ever be judged."""
    found = prepared.check_export(task.files, folder=task.folder)
    if found is None:
        return None
    say(f"first look, a short run: {found.sentence}")
    return found.verdict()


def _control(task: _Task, prepared: Prepared, keeper: SessionKeeper) -> int:
    """Only the control: what there is to beat on this machine."""
    runs = task.runs or CONTROL_RUNS
    with task.line:
        task.line.expect(Expectation(runs - len(keeper.controls()), None, prepared.benchmark.constants.clock))
        controls = measure_control(
            prepared,
            noise=None,
            keeper=keeper,
            seed=task.seed,
            runs=runs,
            progress=task.line.progress,
        )
    materials = prepared.materials
    found = measure(materials.protocol, materials.project.best_score, None, (), controls)
    write_control_folder(task.folder, prepared, controls)
    write_measurements(task.folder, found)
    keeper.mark(COMPLETE)
    added = _add_row(task, materials, found, "keep", _control_words(materials), controls)
    lines = [f"The control, {_control_words(materials)}, on this machine:", *found.lines(), *added]
    data = {"control_only": True, "folder": str(task.folder), "measurements": found.tree()}
    emit(data, lines, as_json=task.app.as_json)
    return EXIT_OK if found.control is not None else EXIT_UNDECIDED


# --- the end ------------------------------------------------------------------------------------------


def _refused(task: _Task, verdict: Verdict) -> int:
    """What is unsupported is said, kept and shown; nothing was run for it."""
    write_report(task.folder, verdict)
    _show(task, verdict, None, [], complete=False)
    return shared.EXIT_BY_OUTCOME[verdict.outcome.value]


def _finish(task: _Task, prepared: Prepared, judged: Judged, keeper: SessionKeeper) -> int:
    network, materials, verdict = task.app.settings.network, prepared.materials, judged.verdict
    complete = write_run_folder(
        task.folder, prepared, verdict, task.files, chain_id=network.chain_id, ledger=network.proposal_ledger
    )
    found = measure(
        materials.protocol,
        materials.project.best_score,
        verdict,
        judged.more,
        disadvantage=materials.disadvantage,
    )
    write_measurements(task.folder, found)
    if verdict.reason is Reason.VERIFIER_FAULT:  # nothing was decided about the candidate
        keeper.mark(INTERRUPTED, verdict.explanation)
        added = [_once_mended(task)]
    else:
        keeper.mark(COMPLETE)
        status = status_word(materials.protocol, verdict)
        added = _add_row(task, materials, found, status, task.wishes.description, ())
    lines = [*_against(materials, found), *found.lines(), *added]
    _show(task, verdict, found, lines, complete=complete and not task.marked)
    return shared.EXIT_BY_OUTCOME[verdict.outcome.value]


def _against(materials: Materials, found: Measurements) -> list[str]:
    """What the candidate was compared with, and what it would be on the ledger."""
    lines = [f"Compared with {_control_words(materials)}, measured beside it on this machine."]
    if materials.control_note is not None:
        lines.append(materials.control_note)
    if found.chained is not None:
        best = score_text(found.current_best)
        lines.append(f"Chained score: {best} → {score_text(found.chained)}, if nothing moves before that.")
    return lines


def _control_words(materials: Materials) -> str:
    if materials.control_is_baseline:
        return f"the unmodified snapshot {materials.snapshot_root}"
    return f"the current best {materials.control_root}"


def _add_row(
    task: _Task,
    materials: Materials,
    found: Measurements,
    status: str,
    description: str,
    controls: tuple[RunRecord, ...],
) -> list[str]:
    """Append the experiment to the protocol's results log beside the run folder."""
    side = found.control if controls else found.candidate
    peaks = [record.peak_memory_bytes for record in controls]
    facts = RowFacts(
        code=materials.control_root.hex if controls else candidate_digest(task.files),
        metric=None if side is None else f"{side.mean:.6f}",
        peak_memory_bytes=max(peaks, default=found.memory_bytes),
        status=status,
        description=description,
        secondary={name: f"{value:f}" for name, value in found.secondary.items()},
    )
    path = results_path(materials.protocol, task.folder.resolve().parent)
    try:
        append_row(path, materials.protocol, row(materials.protocol, facts))
    except ArmlxError as problem:
        for sentence in problem.sentences():
            say(f"warning: {sentence}")
        return []
    return [f"Added to {path}."]


def _show(
    task: _Task, verdict: Verdict, found: Measurements | None, lines: list[str], *, complete: bool
) -> None:
    view = of_verdict(verdict)
    shown = [accepted_here(verdict), *how_sure(verdict), "", to_text(verdict), *lines]
    shown.append("The seed of this judgement was local; a validator draws another.")
    if verdict.outcome.value == "reproduced" and complete:
        submit = next_command(task.app, "submit", "--run", task.folder / RUN_LOG, "--stake", "N")
        shown.append(f"Submit it with: {submit} --account NAME")
    data: dict[str, Any] = {
        "report": to_tree(verdict),
        "accepted_here": verdict.outcome.value == "reproduced",
        "prospect": None if view is None else prospect_tree(view),
        "measurements": None if found is None else found.tree(),
        "folder": str(task.folder),
        "resumed": task.before is not None,
        "submittable": complete,
    }
    emit(data, [harmless(line) for line in shown], as_json=task.app.as_json)
