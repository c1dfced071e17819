"""``baseline``: measure an unmodified snapshot, before there is a project."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, network_options, running_options, waits
from armlx_chain.cli.output import emit, say, table
from armlx_chain.cli.publish import data_options, read_tree_option
from armlx_chain.errors import UsageError

if TYPE_CHECKING:
    from armlx_chain.formats.manifest import BenchmarkManifest
    from verifier.environments.providing import PythonChoice
    from verifier.model import Noise


@dataclass(frozen=True, slots=True)
class Amount:
    """How many runs a measurement takes; fewer than the rule demands only as a shortcut by name."""

    runs: int
    seed_runs: int
    shortcut: bool


def measure_snapshot(
    snapshot: Mapping[str, bytes],
    data: Path,
    manifest: BenchmarkManifest,
    amount: Amount,
    *,
    python: Path,
    place: Path,
) -> Noise:
    """Run the unmodified snapshot in this machine's sandbox again and again; scores and their spread.

    Args:
        data: The benchmark's files, under the manifest's paths.
        place: Gets the folders ``work`` and ``calibration``.

    Raises:
        VerifierFault: this machine cannot run it.
        UsageError: fewer runs than bound anything.
    """
    from armlx_chain.cli.reproduce import show_progress
    from verifier import calibration
    from verifier.hardware import Machine, environment
    from verifier.judging import LOCK_FILE, interpreter_here
    from verifier.machine.monitor import MachineWatch
    from verifier.machine.sensors import sensors_here
    from verifier.machine.turn import Turn
    from verifier.rerun import Benchmark, HarnessRunner
    from verifier.sandbox.select import default_sandbox

    sandbox, interpreter = default_sandbox(), interpreter_here(python)
    sandbox.check()
    benchmark = Benchmark.prepare(
        snapshot, data, manifest.entries, sandbox=sandbox, interpreter=interpreter, work=place / "work"
    )
    lock, settings = snapshot.get(LOCK_FILE, b""), dict(interpreter.environment)
    machine, clock = Machine.here(), benchmark.constants.clock
    plan = calibration.Plan(
        run_folder=place / "calibration",
        hardware_class=machine.hardware_class,
        environment=environment(lock=lock, settings=settings).digest,
        runs=amount.runs,
        seed_runs=amount.seed_runs,
        shortcut=amount.shortcut,
    )
    watch = MachineWatch(sensors_here(machine.backend), clock=clock, say=say)
    with Turn(machine.backend, clock, wait=waits(), say=say)("measuring a baseline"):
        return calibration.measure_noise(
            HarnessRunner(benchmark, sandbox, watch=watch),
            snapshot[plan.train_path],
            plan=plan,
            seed=secrets.token_bytes(32),
            progress=show_progress,
        )


@click.command()
@click.argument("snapshot", type=click.Path(path_type=Path, exists=True, file_okay=False))
@data_options
@click.option("--metric", default="val_bpb", show_default=True, help="Name of the primary metric.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where baseline.json goes, with every run's log.",
)
@running_options
@network_options
def baseline(
    app: App,
    snapshot: Path,
    revision: str | None,
    data: Path,
    roles: list[tuple[str, str]],
    metric: str,
    out: Path,
    calibrate: str | None,
    python: PythonChoice,
) -> int:
    """Measure the repository SNAPSHOT as it is, in the sandbox: what "publish --baseline-run" takes.

    Full as the rule demands it is 28 runs; --calibrate quick takes 8. The value is the mean of the trusted
    scores, on this machine.

    \b
    Example:
      armlx-chain baseline repo --data cache --role train='data/train_*.parquet' --role … --out runs/first
    """
    from armlx_chain.claims.projectfiles import BASELINE_JSON, measured_baseline, read_data
    from armlx_chain.cli.reproduce import QUICK_RUNS, QUICK_SEED_RUNS
    from armlx_chain.formats.bundle import pack_tree
    from armlx_chain.storage.zerog.merkle import root_of
    from armlx_chain.types import Root
    from verifier.model import bpb
    from verifier.verdict.constants import CALIBRATION_RUNS, SEED_RUNS

    out, data = out.absolute(), data.absolute()  # sandboxes have another working folder
    if (out / BASELINE_JSON).exists():
        raise UsageError(f"{out} already holds a baseline.", next_step="Choose another folder with --out.")
    tree = read_tree_option(snapshot, revision)
    manifest, _ = read_data(data, roles)
    quick = calibrate == "quick"
    amount = (
        Amount(QUICK_RUNS, QUICK_SEED_RUNS, True) if quick else Amount(CALIBRATION_RUNS, SEED_RUNS, False)
    )
    plain = {path: content for path, (content, _) in tree.items()}
    out.mkdir(parents=True, exist_ok=True)
    noise = measure_snapshot(plain, data, manifest, amount, python=python.ready(), place=out)
    snapshot_root = root_of(pack_tree(tree))
    found = measured_baseline(
        metric,
        str(bpb(noise.control_mean or 0)),
        [str(score) for score in noise.scores],
        noise.hardware_class,
        str(Root("sha256", bytes.fromhex(noise.environment))),
        snapshot_root,
    )
    temporary = out / (BASELINE_JSON + ".part")
    temporary.write_bytes(found.record)
    temporary.replace(out / BASELINE_JSON)
    say(f"spread of one run: {noise.point} (upper bound {noise.s})")
    facts = {
        "folder": str(out),
        "metric": metric,
        "value": found.text,
        "runs": len(noise.scores),
        "hardware_class": noise.hardware_class,
        "snapshot_root": str(snapshot_root),
    }
    emit(facts, table(list(facts.items())), as_json=app.as_json)
    return 0
