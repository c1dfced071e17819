"""``armlx-validator doctor``: does everything that a validator needs work here?"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, SignerChoice, network_options, running_options, signer_options
from armlx_chain.cli.output import emit, say
from armlx_chain.errors import EXIT_FINDING, EXIT_OK, UsageError

if TYPE_CHECKING:
    from armlx_chain.cli.doctoring.findings import Check, Finding, Report
    from armlx_chain.cli.doctoring.operator import Who
    from verifier.environments.providing import PythonChoice


@click.command()
@click.option("--project", "project_id", type=click.IntRange(min=0), help="Look at this project here, too.")
@click.option(
    "--runner",
    type=click.Path(path_type=Path),
    help="Socket of the runner's account: candidates run there, and the machine is examined there.",
)
@click.option(
    "--keyless",
    is_flag=True,
    help="Examine the runner's account: the machine and its sandbox, and that no key lies there.",
)
@click.option("--quick", is_flag=True, help="Start the sandbox once instead of trying every promise.")
@click.option("--offline", is_flag=True, help="Ask no chain and no storage.")
@click.option(
    "--gold",
    is_flag=True,
    help="Reproduce the project's published baseline here and note how it ended: before going live.",
)
@click.option("--go-live", is_flag=True, help="With --gold: leave dry mode if it passed.")
@running_options
@signer_options
@network_options
def doctor(
    app: App,
    key: SignerChoice,
    python: PythonChoice,
    project_id: int | None,
    runner: Path | None,
    keyless: bool,
    quick: bool,
    offline: bool,
    gold: bool,
    go_live: bool,
    calibrate: str | None,
) -> int:
    """Look at a validator and say what does not work, each with a next step.

    What armlx-chain doctor looks at, and: whether the endpoints agree and the contracts have every function,
    registration, coin for gas, the guard (whole, writable, and beside the ledger), databases, policy, mode,
    calibrations and their age, and the runner. No key is opened, nothing is sent. Only --gold runs something
    and notes how it ended.

    \b
    Examples:
      armlx-validator doctor --account validator
      armlx-validator doctor --account validator --runner /run/armlx-runner/runner.sock
      armlx-validator doctor --keyless --home /var/lib/armlx-runner
      armlx-validator doctor --account validator --gold --project 0 --calibrate full --go-live

    \b
    Exit codes:
      0 a validator works here (notes may remain)   3 something must be mended, or the gold run failed
    """
    if gold and (project_id is None or offline or keyless):
        raise UsageError("--gold reproduces a project's baseline: give --project N, and the account.")
    if go_live and not gold:
        raise UsageError("Going live takes a gold run: give --gold --project N, too.")
    if keyless and runner is not None:
        raise UsageError("--keyless examines the runner's account from inside, --runner from outside.")
    from armlx_chain.cli.doctoring.operator import who_signs

    who = who_signs(app, key)
    checks = _checks(app, who, python, project_id, runner, keyless=keyless, quick=quick, offline=offline)
    report = _examine(checks)
    if gold and not report.faults:
        found = _gold(app, who, python, runner, int(project_id or 0), calibrate)
        report.add("Gold run", [found])
        if go_live and found.state == "ok":
            report.add("Gold run", [_live(app, who)])
    elif gold:
        say("The gold run waits until the faults below are mended.")
    faults = len(report.faults)
    emit(report.as_json(), report.lines(), as_json=app.as_json)
    if faults:
        things = "thing" if faults == 1 else "things"
        say(f"{faults} {things} must be mended before this validator can be relied on.")
    return EXIT_FINDING if faults else EXIT_OK


def _checks(
    app: App,
    who: Who,
    python: PythonChoice,
    project_id: int | None,
    runner: Path | None,
    *,
    keyless: bool,
    quick: bool,
    offline: bool,
) -> list[Check]:
    """All that applies to the account that looks, machine first."""
    from armlx_chain.cli.doctoring.account import account_checks
    from armlx_chain.cli.doctoring.keeping import keeping_checks
    from armlx_chain.cli.doctoring.machine import home_checks, machine_checks
    from armlx_chain.cli.doctoring.network import network_checks, skipped_network, storage_checks
    from armlx_chain.cli.doctoring.operator import operator_checks
    from armlx_chain.cli.doctoring.project import project_checks
    from armlx_chain.cli.doctoring.runner import host_checks, keyless_checks, runner_checks

    runs_here = runner is None
    checks = machine_checks(app.home, python.ready(), quick=quick) if runs_here else home_checks(app.home)
    checks += [*host_checks(), *(runner_checks(runner) if runner is not None else [])]
    if keyless:
        checks += keyless_checks(app)
        checks += skipped_network() if offline else storage_checks(app)
    else:
        checks += account_checks(app)
        checks += skipped_network() if offline else [*network_checks(app), *operator_checks(app, who)]
    online = not (offline or keyless)
    checks += keeping_checks(
        app, who, records=not keyless, chain=online, calibrations=runs_here, wall=time.time
    )
    if project_id is not None and runs_here:
        checks += project_checks(app, project_id, python)
    return checks


def _examine(checks: list[Check]) -> Report:
    from armlx_chain.cli.doctoring.findings import run_checks

    def begun(title: str) -> None:
        if sys.stderr.isatty():
            say(f"looking at {title} …")

    return run_checks(checks, begun=begun)


def _live(app: App, who: Who) -> Finding:
    """Leave dry mode; a daemon that runs goes by it from its next verdict on."""
    from armlx_chain.cli.doctoring.findings import Finding
    from verifier.daemon.goldcli import modes_of

    if who.address is None:
        raise UsageError("No validator was named: give --account NAME.")
    modes = modes_of(app, who.address)
    modes.go_live()
    return Finding("mode", "ok", f"{modes.current().value}: {modes.why()}")


def _gold(
    app: App,
    who: Who,
    python: PythonChoice,
    runner: Path | None,
    project_id: int,
    calibrate: str | None,
) -> Finding:
    """Reproduce the published baseline, and note how it ended for ``--go-live``."""
    from armlx_chain.cli.doctoring.findings import Finding, of_error
    from armlx_chain.errors import ArmlxError, Interrupted
    from verifier.daemon.building import executor_here
    from verifier.daemon.goldcli import gold_run

    if who.address is None:
        raise UsageError("A gold run is noted for a validator, and none was named: give --account NAME.")
    executor = executor_here(app, python.absolute(), calibrate, runner=runner)
    try:
        found = gold_run(app, who.address, project_id, executor)
    except Interrupted:
        raise
    except ArmlxError as error:
        return of_error("gold run", error)
    finally:
        executor.close()
    rows = tuple(f"{score} bits per byte" for score in found.scores)
    if found.passed:
        return Finding("gold run", "ok", found.sentence, details=rows)
    step = "armlx-validator calibrate --project N at rest, then again. The validator is dry until one passes."
    return Finding("gold run", "fault", found.sentence, step, rows)
