"""``armlx-chain``: the entry point, the one place that turns errors into exit codes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from types import ModuleType

import click

from armlx_chain import __version__
from armlx_chain.cli.output import show_error, show_json_error
from armlx_chain.errors import EXIT_ERROR, EXIT_INTERRUPTED, ArmlxError, MachineError, UsageError

_COMMANDS = {
    "fetch": "armlx_chain.cli.fetch:fetch",
    "upload": "armlx_chain.cli.upload:upload",
    "cache": "armlx_chain.cli.cache:cache",
    "decrypt": "armlx_chain.cli.stored:decrypt",
    "join": "armlx_chain.cli.stored:join",
    "root": "armlx_chain.cli.root:root",
    "verify": "armlx_chain.cli.root:verify",
    "environment": "armlx_chain.cli.environment:environment",
    "snapshot": "armlx_chain.cli.snapshot:snapshot",
    "calibrate": "armlx_chain.cli.calibrate:calibrate",
    "reproduce": "armlx_chain.cli.reproduce:reproduce",
    "submit": "armlx_chain.cli.submit:submit",
    "abandon": "armlx_chain.cli.abandon:abandon",
    "status": "armlx_chain.cli.status:status",
    "proposals": "armlx_chain.cli.proposals:proposals",
    "watch": "armlx_chain.cli.watch:watch",
    "expire": "armlx_chain.cli.expire:expire",
    "claim-reward": "armlx_chain.cli.expire:claim_reward",
    "policy": "armlx_chain.cli.policy:policy",
    "baseline": "armlx_chain.cli.baseline:baseline",
    "publish": "armlx_chain.cli.publish:publish",
    "validate": "armlx_chain.cli.validate:validate",
    "verify-verdict": "armlx_chain.cli.verifyverdict:verify_verdict",
    "price": "armlx_chain.cli.market:price",
    "buy": "armlx_chain.cli.trading:buy",
    "sell": "armlx_chain.cli.trading:sell",
    "position": "armlx_chain.cli.market:position",
    "wallet": "armlx_chain.cli.wallet:wallet",
    "doctor": "armlx_chain.cli.doctor:doctor",
    "devnet": "armlx_chain.cli.devnet:devnet",
    "demo": "armlx_chain.cli.demo:demo",
}

EPILOG = """\b
Examples:
  armlx-chain devnet up                     start the local world
  armlx-chain fetch 0xe4c1…b6b3             fetch a protocol and prove its bytes
  armlx-chain root train.parquet            the content address of a file
  armlx-chain reproduce --project 0 train.py
  armlx-chain submit --run runs/better/run.log --stake 10
  armlx-chain price --project 0 --count 10

\b
Exit codes:
  0 done or reproduced   1 error   2 usage   3 a finding (unimproved, refuted, hash mismatch)
  4 key or passphrase    5 undecided   6 transaction reverted   75 try again later   130 interrupted
"""


class LazyGroup(click.Group):
    """Imports a command's module only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="armlx-chain")
@click.option("-v", "--verbose", count=True, help="More talk on stderr; twice for everything.")
def cli(verbose: int) -> None:
    """Verified training-recipe benchmarks: fetch, reproduce, claim, validate, trade."""
    start_talking(verbose)


def start_talking(verbose: int) -> None:
    """Log to stderr: warnings; more with one ``-v``, everything with two.

    The library below our clients names the paths that it asks for, and a path of an endpoint may be a key: it
    is never heard.
    """
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def run(command: click.Command, arguments: Sequence[str], *, name: str) -> int:
    """Run a command and return its exit code; every domain error is shown, none escapes."""
    _show_whatever_can_be_shown()
    as_json = "--json" in arguments or os.environ.get("ARMLX_JSON", "") not in ("", "0")
    try:
        result = command.main(args=list(arguments), prog_name=name, standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        stopped = ArmlxError("Stopped; nothing further was done.")
        show_error(stopped, as_json=as_json, exit_code=EXIT_INTERRUPTED)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        if as_json:
            show_json_error(UsageError(error.format_message()), error.exit_code)
        error.show()
        return error.exit_code
    except ArmlxError as error:
        show_error(error, as_json=as_json)
        return error.exit_code
    except BrokenPipeError:
        return EXIT_ERROR
    except _machine_errors() as error:
        show_error(MachineError(f"A file or database on this machine fails: {error}."), as_json=as_json)
        return EXIT_ERROR
    return result if isinstance(result, int) else 0


def _show_whatever_can_be_shown() -> None:
    """A terminal of another encoding, or a file name that is no text, must not lose the result of hours."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _machine_errors() -> tuple[type[Exception], ...]:
    """What files and databases of this machine raise; evaluated only when something was raised."""
    from sqlite3 import Error

    return OSError, Error


def keep_plugins_out() -> None:
    """No foreign code in the reader of hostile documents.

    The switch that pydantic has for this still imports the machinery that looks for plugins, a sixth of the
    time in which a protocol is shown. So its finder is replaced by one that finds none; whatever else is
    wanted of that module comes from the real one.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    name = "pydantic.plugin._loader"
    empty = ModuleType(name)

    def real(attribute: str) -> object:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        sys.modules.pop(name, None)
        return getattr(import_module(name), attribute)

    empty.__dict__.update(get_plugins=tuple, __getattr__=real)
    sys.modules.setdefault(name, empty)


def main() -> None:
    """Console script."""
    keep_plugins_out()
    sys.exit(run(cli, sys.argv[1:], name="armlx-chain"))
