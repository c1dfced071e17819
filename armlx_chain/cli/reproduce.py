"""``reproduce``: what a validator will do, before anything is staked."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, network_options, running_options
from armlx_chain.cli.marks import candidate_paths, require_verified, unverified_option, write_run_marks
from armlx_chain.cli.output import emit, say
from armlx_chain.errors import (
    EXIT_FINDING,
    EXIT_OK,
    EXIT_UNDECIDED,
    CandidateError,
    VerifierFault,
)

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import Project
    from verifier.controls import PastBest
    from verifier.environments.providing import PythonChoice
    from verifier.judging import Prepared
    from verifier.model import Noise, Verdict
    from verifier.session import Progress

EXIT_BY_OUTCOME = {
    "reproduced": EXIT_OK,
    "unimproved": EXIT_FINDING,
    "refuted": EXIT_FINDING,
    "undecided": EXIT_UNDECIDED,
}
QUICK_RUNS = 6
QUICK_SEED_RUNS = 2


def show_progress(progress: Progress) -> None:
    """One line per run, on stderr."""
    record = progress.record
    if record is None:
        return
    time_taken = "-" if record.seconds_to_graph is None else f"{record.seconds_to_graph:.1f} {record.clock} s"
    say(f"  {progress.message} [{time_taken}]")


def prepared_project(app: App, project_id: int, python: PythonChoice) -> Prepared:
    """Fetch and prove the project, then prepare it on this machine."""
    from armlx_chain.cli.wiring import check_wiring, open_project

    check_wiring(app)
    project, _ = open_project(app, project_id)
    return prepare_here(app, project, python)


def prepare_here(app: App, project: Project, python: PythonChoice) -> Prepared:
    """Fetch and prove what a project's record names, then prepare it in this machine's sandbox."""
    from verifier.environments.providing import provide
    from verifier.judging import Folders, prepare
    from verifier.materials import load_materials
    from verifier.sandbox.select import default_sandbox

    materials = load_materials(
        project,
        app.storage,
        data_home=app.home / "data",
        progress=say,
        earlier_bests=lambda: earlier_bests(app, project),
    )
    folders = Folders(work=app.home / "work", calibrations=app.home / "calibrations")
    sandbox = default_sandbox()
    provided = provide(
        materials.protocol, materials.snapshot, python, home=app.home, sandbox=sandbox, say=say
    )
    return prepare(
        materials,
        sandbox=sandbox,
        interpreter=provided.interpreter,
        setup=provided.facts,
        folders=folders,
    )


def earlier_bests(app: App, project: Project) -> tuple[PastBest, ...]:
    """The bests that a project's present one replaced, the latest first, as the ledger records them."""
    from armlx_chain.chain.frontier import FrontierReader
    from verifier.controls import past_bests

    network = app.settings.network
    frontier = FrontierReader(
        app.rpc,
        ledger=network.proposal_ledger,
        registry=network.project_registry,
        multicall=network.multicall3,
        depth=network.confirmations,
    )
    return past_bests(project, frontier.read().proposals.values())


def noise_of(prepared: Prepared, *, calibrate: str | None, folder: Path) -> Noise:
    """The stored calibration, or a new one where that was asked for."""
    if calibrate is None:
        return prepared.stored_noise()
    try:
        return prepared.stored_noise()
    except VerifierFault as missing:
        say(f"calibrating: {missing.message}")
    quick = calibrate == "quick"
    from verifier.verdict.constants import CALIBRATION_RUNS, SEED_RUNS

    return prepared.measure_noise(
        runs=QUICK_RUNS if quick else CALIBRATION_RUNS,
        seed_runs=QUICK_SEED_RUNS if quick else SEED_RUNS,
        shortcut=quick,
        seed=secrets.token_bytes(32),
        run_folder=folder,
        progress=show_progress,
    )


def read_candidate_path(path: Path) -> dict[str, bytes]:
    """A file is taken under its own name, a folder with all its files.

    Raises:
        CandidateError: it cannot be read as a candidate.
    """
    from verifier.workspace import read_files

    if path.is_dir():
        names = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_symlink() or p.is_file())
        if not names:
            raise CandidateError(f"{path} holds no files.")
        return read_files(path, names)
    return read_files(path.parent, [path.name])


@click.command()
@click.argument("candidate", type=click.Path(path_type=Path, exists=True))
@click.option("--project", "project_id", type=click.IntRange(min=0), required=True, help="Project id.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="The run folder. [default: runs/<time>]"
)
@unverified_option
@running_options
@network_options
def reproduce(
    app: App,
    candidate: Path,
    project_id: int,
    out: Path | None,
    calibrate: str | None,
    python: PythonChoice,
    allow_unverified: bool,
) -> int:
    """Run CANDIDATE against the current best, exactly as a validator will.

    CANDIDATE is a train.py, or a folder of replacement files.

    Nothing is staked or sent. The verdict is this machine's; the run folder can be given to "submit".

    \b
    Examples:
      armlx-chain reproduce --project 0 train.py
      armlx-chain reproduce --project 0 --calibrate quick --out runs/idea better/train.py --network devnet
    """
    from verifier.reproduction import start_folder, write_run_folder

    files = read_candidate_path(candidate)
    marks = require_verified(app.home, candidate_paths(candidate, files), allowed=allow_unverified)
    folder = out or Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    runs = start_folder(folder)
    write_run_marks(folder, marks)
    prepared = prepared_project(app, project_id, python.absolute())
    refused = prepared.precheck(files)
    if refused is None:
        noise = noise_of(prepared, calibrate=calibrate, folder=runs / "calibration")
        say("judging: control and candidate in pairs, until the rule decides")
        verdict = prepared.judge(
            files, noise=noise, seed=secrets.token_bytes(32), run_folder=runs, progress=show_progress
        )
    else:
        verdict = refused
    network = app.settings.network
    complete = write_run_folder(
        folder, prepared, verdict, files, chain_id=network.chain_id, ledger=network.proposal_ledger
    )
    _show(app, verdict, folder, complete=complete and not marks)
    return EXIT_BY_OUTCOME[verdict.outcome.value]


def _show(app: App, verdict: Verdict, folder: Path, *, complete: bool) -> None:
    from verifier.report import to_text, to_tree

    lines = [to_text(verdict), "The seed of this judgement was local; a validator draws another."]
    if verdict.outcome.value == "reproduced" and complete:
        lines.append(f"Submit it with: armlx-chain submit --run {folder / 'run.log'} --stake N")
    data = {"report": to_tree(verdict), "folder": str(folder), "submittable": complete}
    emit(data, lines, as_json=app.as_json)
