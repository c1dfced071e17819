"""``calibrate``: how noisy a project is on this machine; one command for miners and validators."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from armlx_chain.cli.context import App, network_options, no_wait_option, setup_options
from armlx_chain.cli.output import emit, say, table
from armlx_chain.errors import VerifierFault
from armlx_chain.types import ProjectId

if TYPE_CHECKING:
    from verifier.calibrationfile import Stored
    from verifier.environments.providing import PythonChoice
    from verifier.judging import Prepared


@click.command()
@click.option("--project", "project_id", type=click.IntRange(min=0), required=True, help="Project id.")
@click.option(
    "--quick",
    is_flag=True,
    help="6 control and 2 seed runs instead of 20 and 8: a shortcut for practice, which every report shows.",
)
@click.option("--again", is_flag=True, help="Measure anew, although a calibration holds or was cut off.")
@click.option("--show", is_flag=True, help="Show what is stored for the project; run nothing.")
@no_wait_option
@setup_options
@network_options
def calibrate(app: App, project_id: int, quick: bool, again: bool, show: bool, python: PythonChoice) -> int:
    """Measure how far identical runs of a project differ on this machine, before anything is judged.

    The unmodified snapshot runs 20 times, and 8 times with other seeds, in the sandbox. Interrupted, the same
    command goes on: finished runs are not made again. The result holds for this project, hardware class and
    environment; a change of system, driver, MLX, Python or lock file ends it, and so does its age.

    \b
    Examples:
      armlx-chain calibrate --project 0
      armlx-chain calibrate --project 0 --quick --network devnet
      armlx-chain calibrate --project 0 --show --json

    \b
    Exit codes: 0 measured or still valid, 5 it cannot be measured here (--show: nothing is stored),
    75 another process uses the GPU (--no-wait), 130 interrupted.
    """
    from armlx_chain.cli.reproduce import materials_here, prepare_materials

    if show:
        return _show(app, project_id)
    prepared = prepare_materials(app, materials_here(app, ProjectId(project_id)), python)
    for notice in prepared.notices:
        say(notice)
    sensors = _sensors(prepared)
    say("watched during runs: " + "; ".join(f"{name} {value}" for name, value in sensors.items()))
    _measure(prepared, quick=quick, again=again)
    stored = _stored(prepared)
    tree = _tree(stored, project_id) | {
        "facts": dict(prepared.environment.facts),
        "budget_seconds": repr(float(prepared.benchmark.constants.budget_seconds)),
        "deadline_seconds": f"{prepared.deadline(stored.noise).seconds:.3f}",
        "sensors": sensors,
    }
    emit(tree, _lines(tree), as_json=app.as_json)
    return 0


def _sensors(prepared: Prepared) -> dict[str, str]:
    from verifier.machine.reading import describe
    from verifier.machine.sensors import sensors_here

    return describe(sensors_here(prepared.machine.backend).read())


def _measure(prepared: Prepared, *, quick: bool, again: bool) -> None:
    from armlx_chain.cli.reproduce import measure_here, stored_for

    if not again and stored_for(prepared, quick=quick) is not None:
        say("A calibration holds already; --again measures anew.")
        return
    try:
        measure_here(prepared, quick=quick, again=again)
    except KeyboardInterrupt:
        say("Interrupted. Finished runs are kept for a day; the same command, without --again, goes on.")
        raise


def _stored(prepared: Prepared) -> Stored:
    from verifier.calibrationfile import find

    return find(
        prepared.folders.calibrations,
        prepared.project_key,
        hardware_class=prepared.machine.hardware_class,
        environment=prepared.environment.digest,
    )


def _show(app: App, project_id: int) -> int:
    from armlx_chain.cli.wiring import check_wiring, open_project
    from armlx_chain.types import Root
    from verifier.calibrationfile import stored_for
    from verifier.judging import project_key

    check_wiring(app)
    project, _ = open_project(app, project_id)
    key = project_key(Root.zerog(project.repo_snapshot_hash), Root.zerog(project.benchmark_hash))
    found = stored_for(app.home / "calibrations", key)
    if not found:
        raise VerifierFault(
            f"This machine has no calibration for project {project_id}.",
            next_step=f"Measure it: armlx-chain calibrate --project {project_id}",
        )
    trees = [_tree(stored, project_id) for stored in found]
    lines = [line for tree in trees for line in [*_lines(tree), ""]]
    emit({"calibrations": trees}, lines[:-1], as_json=app.as_json)
    return 0


def _tree(stored: Stored, project_id: int) -> dict[str, Any]:
    """A calibration for ``--json``; figures in bits per byte and seconds are text."""
    from verifier.calibration import drift_of

    noise, drift = stored.noise, drift_of(stored.noise.scores)
    warm, problem = noise.reference_seconds, stored.age_problem(datetime.now(tz=UTC))
    return {
        "project": project_id,
        "hardware_class": noise.hardware_class,
        "environment": noise.environment,
        "measured_at": f"{stored.measured_at:%Y-%m-%dT%H:%M:%SZ}",
        "ends_at": f"{stored.ends_at:%Y-%m-%dT%H:%M:%SZ}",
        "problem": problem,
        "shortcut": noise.shortcut,
        "runs": noise.runs,
        "seed_runs": len(noise.seed_scores),
        "s": str(noise.s),
        "point": None if noise.point is None else str(noise.point),
        "seed_spread": str(noise.seed_spread),
        "control_mean": None if noise.control_mean is None else str(noise.control_mean),
        "scores": [str(score) for score in noise.scores],
        "seed_scores": [str(score) for score in noise.seed_scores],
        "warm_seconds": f"{statistics.median(warm):.3f}",
        "warm_spread_seconds": f"{statistics.stdev(warm):.3f}",
        "cold_seconds": [f"{seconds:.3f}" for seconds in stored.cold_seconds],
        "steps": list(noise.steps),
        "calibrated_audits": [kind.value for kind in noise.calibrated_audits],
        "drift": None
        if drift is None
        else {
            "bpb_per_run": f"{drift.slope:.6f}",
            "standard_error": f"{drift.error:.6f}",
            "significant": drift.significant,
        },
    }


def _lines(tree: dict[str, Any]) -> list[str]:
    return table([(name, value) for name, value in _rows(tree) if value is not None])


def _rows(tree: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    yield "project", str(tree["project"])
    yield "machine", tree["hardware_class"]
    yield "environment", tree["environment"][:16] + "…"
    yield "measured", f"{tree['measured_at']}, holds until {tree['ends_at']} if nothing changes"
    yield "problem", tree["problem"]
    yield "shortcut", tree["shortcut"]
    yield "noise of a run", f"s = {tree['s']} bpb (upper 80 percent bound; {tree['point']} measured)"
    yield "runs", f"{tree['runs']} control, mean {tree['control_mean']}, and {tree['seed_runs']} seed"
    yield "spread of seeds", f"{tree['seed_spread']} bpb"
    yield "drift", _drift_words(tree["drift"])
    cold = ", ".join(f"{seconds} s" for seconds in tree["cold_seconds"]) or "not measured"
    yield "start to model", f"warm {tree['warm_seconds']} s ± {tree['warm_spread_seconds']}; cold {cold}"
    if "deadline_seconds" in tree:
        yield "deadline", f"{tree['deadline_seconds']} s, for a budget of {tree['budget_seconds']} s"
    steps = tree["steps"]
    yield "steps", f"{min(steps)} to {max(steps)} in the budget" if steps else "the log reports none"
    yield "audits", ", ".join(tree["calibrated_audits"]) or "none was passed by every run"


def _drift_words(drift: dict[str, Any] | None) -> str:
    if drift is None:
        return "too few runs to say"
    figures = f"{drift['bpb_per_run']} ± {drift['standard_error']} bpb per run"
    if not drift["significant"]:
        return f"none beyond chance ({figures})"
    return (
        f"SIGNIFICANT: {figures}. The machine changed while it was measured; s holds all of it, so "
        "only larger gains can be found. Measure again at rest with --again."
    )
