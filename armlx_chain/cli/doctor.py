"""``doctor``: does everything that a miner needs work on this machine? It changes nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, network_options, setup_options
from armlx_chain.cli.output import emit, say
from armlx_chain.errors import EXIT_FINDING, EXIT_OK

if TYPE_CHECKING:
    from armlx_chain.cli.doctoring.findings import Report
    from verifier.environments.providing import PythonChoice


@click.command()
@click.option("--project", "project_id", type=click.IntRange(min=0), help="Look at this project here, too.")
@click.option("--quick", is_flag=True, help="Start the sandbox once instead of trying every promise.")
@click.option("--offline", is_flag=True, help="Ask no chain and no storage.")
@setup_options
@network_options
def doctor(app: App, python: PythonChoice, project_id: int | None, quick: bool, offline: bool) -> int:
    """Look at this machine and say what does not work, each with a next step.

    The sandbox is tried promise by promise, MLX computes inside it, and the network's chain, clock and
    storage are asked. Nothing is changed, no key is opened.

    \b
    Examples:
      armlx-chain doctor
      armlx-chain doctor --offline --json
      armlx-chain doctor --network devnet --project 0

    \b
    Exit codes:
      0 everything a miner needs works (notes may remain)   3 something must be mended
    """
    report = examine(app, python, project_id=project_id, quick=quick, offline=offline)
    faults = len(report.faults)
    emit(report.as_json(), report.lines(), as_json=app.as_json)
    if faults:
        say(f"{faults} thing{'s' if faults > 1 else ''} must be mended before this machine can be relied on.")
    return EXIT_FINDING if faults else EXIT_OK


def examine(app: App, python: PythonChoice, *, project_id: int | None, quick: bool, offline: bool) -> Report:
    """All of a miner's checks, with a line of talk before each slow one."""
    from armlx_chain.cli.doctoring.account import account_checks
    from armlx_chain.cli.doctoring.findings import run_checks
    from armlx_chain.cli.doctoring.machine import machine_checks
    from armlx_chain.cli.doctoring.network import network_checks, skipped_network
    from armlx_chain.cli.doctoring.project import project_checks

    checks = machine_checks(app.home, python.ready(), quick=quick)
    checks += account_checks(app)
    checks += skipped_network() if offline else network_checks(app)
    if project_id is not None:
        checks += project_checks(app, project_id, python)
    return run_checks(checks, begun=_say_on_terminal)


def _say_on_terminal(title: str) -> None:
    if sys.stderr.isatty():
        say(f"looking at {title} …")
