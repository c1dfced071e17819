"""``armlx-validator``: the validator's command line."""

from __future__ import annotations

import sys

import click

from armlx_chain import __version__
from armlx_chain.cli.calibrate import calibrate as calibrate_command
from armlx_chain.cli.main import run as run_command
from armlx_chain.cli.main import start_talking
from verifier.daemon.doctorcli import doctor as doctor_command
from verifier.daemon.goldcli import gold as gold_command
from verifier.daemon.guardcli import guard as guard_group
from verifier.daemon.installcli import install as install_command
from verifier.daemon.monitorcli import monitoring as monitoring_command
from verifier.daemon.rejectcli import confirm as confirm_command
from verifier.daemon.rejectcli import pending as pending_command
from verifier.daemon.runcli import once as once_command
from verifier.daemon.runcli import run as run_validator
from verifier.daemon.statuscli import status as status_command
from verifier.executors.workercli import certificates as certificates_command
from verifier.executors.workercli import scheduler as scheduler_command
from verifier.executors.workercli import worker as worker_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="armlx-validator")
@click.option("-v", "--verbose", count=True, help="More talk on stderr; twice for everything.")
def cli(verbose: int) -> None:
    """Re-run other miners' submissions and approve or reject them."""
    start_talking(verbose)


cli.add_command(run_validator)
cli.add_command(once_command)
cli.add_command(status_command)
cli.add_command(monitoring_command)
cli.add_command(pending_command)
cli.add_command(confirm_command)
cli.add_command(guard_group)
cli.add_command(calibrate_command)
cli.add_command(gold_command)
cli.add_command(install_command)
cli.add_command(doctor_command)
cli.add_command(worker_command)
cli.add_command(scheduler_command)
cli.add_command(certificates_command)


def main() -> None:
    """Console script."""
    sys.exit(run_command(cli, sys.argv[1:], name="armlx-validator"))
