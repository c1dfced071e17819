"""``armlx-validator``: the validator's command line."""

from __future__ import annotations

import sys

import click

from armlx_chain import __version__
from armlx_chain.cli.calibrate import calibrate as calibrate_command
from armlx_chain.cli.main import keep_plugins_out, start_talking
from armlx_chain.cli.main import run as run_command
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

EPILOG = """\b
Examples:
  armlx-validator doctor --account validator              is this machine fit for it?
  armlx-validator calibrate --project 0                   measure its noise
  armlx-validator once --account validator --dry          judge what is open; sign and send nothing
  armlx-validator gold --project 0 --account validator    before going live
  armlx-validator run --account validator --go-live       the service
  armlx-validator status                                  what it is about

\b
Exit codes:
  0 done   1 error, a person must act   2 usage   3 a finding (doctor, gold, guard import)
  4 key or passphrase, or the guard refuses   5 it could not be judged here
  75 try again later   130 interrupted
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
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
    keep_plugins_out()
    sys.exit(run_command(cli, sys.argv[1:], name="armlx-validator"))
