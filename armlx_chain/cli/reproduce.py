"""``reproduce``: what a validator will do, before anything is staked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, network_options, running_options, waits
from armlx_chain.cli.marks import unverified_option
from armlx_chain.cli.output import say
from armlx_chain.errors import (
    EXIT_FINDING,
    EXIT_OK,
    EXIT_UNDECIDED,
    CandidateError,
    VerifierFault,
)

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import Project
    from armlx_chain.types import ProjectId
    from verifier.controls import PastBest
    from verifier.environments.providing import PythonChoice
    from verifier.executors.stopping import Brake
    from verifier.following import LiveLine
    from verifier.judging import Prepared
    from verifier.materials import Materials
    from verifier.model import Noise
    from verifier.session import Progress, ProgressCallback

EXIT_BY_OUTCOME = {
    "reproduced": EXIT_OK,
    "unimproved": EXIT_FINDING,
    "refuted": EXIT_FINDING,
    "undecided": EXIT_UNDECIDED,
}
QUICK_RUNS = 6
QUICK_SEED_RUNS = 2


def show_progress(progress: Progress) -> None:
    """One line per run, and what there is to say before the first, on stderr."""
    record = progress.record
    if record is None:
        if progress.number == 0:  # not about a run
            say(f"  {progress.message}")
        return
    time_taken = "-" if record.seconds_to_graph is None else f"{record.seconds_to_graph:.1f} {record.clock} s"
    say(f"  {progress.message} [{time_taken}]")


def prepare_here(app: App, project: Project, python: PythonChoice, brake: Brake | None = None) -> Prepared:
    """Fetch and prove what a project's record names, then prepare it in this machine's sandbox."""
    return prepare_materials(app, load_here(app, project), python, brake=brake)


def materials_here(app: App, project_id: ProjectId) -> Materials:
    """Everything a judgement of a project needs, fetched and proven; nothing is run."""
    from armlx_chain.cli.wiring import check_wiring, open_project

    check_wiring(app)
    project, _ = open_project(app, project_id)
    return load_here(app, project)


def load_here(app: App, project: Project, *, with_data: bool = True) -> Materials:
    """What a project's record names, fetched and proven; the benchmark's files where runs are made here."""
    from verifier.environments.shards import local_folder
    from verifier.materials import load_materials

    return load_materials(
        project,
        app.storage,
        data_home=app.home / "data",
        progress=say,
        local_data=local_folder(os.environ),
        earlier_bests=lambda: earlier_bests(app, project),
        with_data=with_data,
    )


def prepare_materials(
    app: App,
    materials: Materials,
    python: PythonChoice,
    line: LiveLine | None = None,
    brake: Brake | None = None,
) -> Prepared:
    """Prepare a project in this machine's sandbox; ``line`` follows what runs there, ``brake`` ends it."""
    from verifier.environments.providing import provide
    from verifier.judging import Folders, prepare
    from verifier.sandbox.select import default_sandbox

    sandbox = default_sandbox() if brake is None else brake.sandbox(default_sandbox())
    provided = provide(
        materials.protocol, materials.snapshot, python, home=app.home, sandbox=sandbox, say=say
    )
    return prepare(
        materials,
        sandbox=sandbox if line is None else line.observe(sandbox),
        interpreter=provided.interpreter,
        setup=provided.facts,
        folders=Folders(work=app.home / "work", calibrations=app.home / "calibrations"),
        on_log=None if line is None else line.on_log,
        say=say if line is None else line.say,
        wait=waits(),
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


def noise_of(
    prepared: Prepared, *, calibrate: str | None, progress: ProgressCallback = show_progress
) -> Noise:
    """The stored calibration, or a new one where that was asked for; one that was cut off goes on."""
    if calibrate is None:
        return prepared.stored_noise()
    quick = calibrate == "quick"
    return stored_for(prepared, quick=quick) or measure_here(prepared, quick=quick, progress=progress)


def stored_for(prepared: Prepared, *, quick: bool) -> Noise | None:
    """The stored calibration if it is good enough; says why if it is not.

    Args:
        quick: Whether a shortcut is good enough.
    """
    try:
        noise = prepared.stored_noise()
    except VerifierFault as missing:
        say(f"calibrating: {missing.message}")
        return None
    if noise.shortcut is not None and not quick:
        say("calibrating: what is stored is a shortcut, so it is measured in full.")
        return None
    return noise


def measure_here(
    prepared: Prepared, *, quick: bool, again: bool = False, progress: ProgressCallback = show_progress
) -> Noise:
    """Calibrate, in full or by the shortcut."""
    from verifier.verdict.constants import CALIBRATION_RUNS, SEED_RUNS

    return prepared.measure_noise(
        runs=QUICK_RUNS if quick else CALIBRATION_RUNS,
        seed_runs=QUICK_SEED_RUNS if quick else SEED_RUNS,
        shortcut=quick,
        progress=progress,
        again=again,
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
@click.argument("candidate", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--project", "project_id", type=click.IntRange(min=0), help="Project id.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="The run folder. [default: runs/<time>]"
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Go on with this run folder's session, which was cut off, or measure it further with --runs.",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 24),
    default=None,
    help="Run the candidate at least so often, each time beside a control. [default: until the rule decides]",
)
@click.option("--control-only", is_flag=True, help="Only measure the control: what there is to beat here.")
@click.option("--description", default="", help="Words for the row in the results log.")
@click.option("--quiet", is_flag=True, envvar="ARMLX_QUIET", help="No live line.")
@unverified_option
@running_options
@network_options
def reproduce(
    app: App,
    candidate: Path | None,
    project_id: int | None,
    out: Path | None,
    resume: Path | None,
    runs: int | None,
    control_only: bool,
    description: str,
    quiet: bool,
    calibrate: str | None,
    python: PythonChoice,
    allow_unverified: bool,
) -> int:
    """Run CANDIDATE against the current best, exactly as a validator will.

    CANDIDATE is a train.py, or a folder of replacement files.

    Nothing is staked or sent. The verdict is this machine's; the run folder can be given to "submit".
    Ctrl-C once ends the running program and keeps what was finished; --resume goes on. Twice stops at once.

    \b
    Examples:
      armlx-chain reproduce --project 0 train.py
      armlx-chain reproduce --project 0 --runs 10 --description "wider MLP" train.py
      armlx-chain reproduce --project 0 --control-only
      armlx-chain reproduce --resume runs/20260504-101500
      armlx-chain reproduce --project 0 --calibrate quick --out runs/idea better/train.py --network devnet

    \b
    Exit codes: 0 reproduced (or measured), 3 unimproved or refuted, 5 undecided, 130 interrupted.
    """
    from armlx_chain.cli.reproducing import Wishes, carry_out

    wishes = Wishes(
        candidate=candidate,
        project_id=project_id,
        out=out,
        resume=resume,
        runs=runs or 0,
        control_only=control_only,
        calibrate=calibrate,
        python=python,
        allow_unverified=allow_unverified,
        description=description,
        quiet=quiet,
    )
    return carry_out(app, wishes)
