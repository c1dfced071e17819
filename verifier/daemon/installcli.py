"""``armlx-validator install``: accounts, folders and services of a validator, and the way back."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.output import emit, say
from armlx_chain.errors import EXIT_OK, KeystoreError, MachineError, UsageError

if TYPE_CHECKING:
    from verifier.daemon.install.applying import Planned
    from verifier.daemon.install.layout import Accounts, Choice, Layout
    from verifier.daemon.install.steps import Step, WriteFile
    from verifier.daemon.install.system import System

_ONE_ACCOUNT = (
    "With one account, a stranger's program that gets out of the sandbox has your key: it can sign, spend "
    "and slash. Keep that account and machine for nothing else, and send rewards to a cold address."
)

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")


@click.command()
@click.option("--print", "print_files", is_flag=True, help="Print every file it would write, and stop.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--uninstall", is_flag=True, help="Take services and files away; keys and records stay.")
@click.option("--yes", is_flag=True, envvar="ARMLX_YES", help="Go ahead without asking.")
@click.option(
    "--one-account", is_flag=True, help="One account that runs strangers' code and signs all the same."
)
@click.option(
    "--unsigned",
    metavar="ADDRESS",
    help="One account without a key: judges for this validator, and leaves its verdicts unsigned.",
)
@click.option("--account", default="validator", show_default=True, help="Name of the signer's keystore.")
@click.option(
    "--network", default="galileo", show_default=True, envvar="ARMLX_NETWORK", help="A public network."
)
@click.option(
    "--storage-url",
    envvar="ARMLX_STORAGE_URL",
    help="Storage indexers instead of the network's own; an address with a key in it as file:PATH, a file "
    "that the services' accounts can read.",
)
@click.option(
    "--program",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The armlx-validator that the services start. [default: this one]",
)
@click.option(
    "--system",
    type=click.Choice(["linux", "macos"]),
    default="macos" if sys.platform == "darwin" else "linux",
    help="With --print: for another system. [default: this one]",
)
@click.option("--json", "as_json", is_flag=True, envvar="ARMLX_JSON", help="One JSON object on stdout.")
def install(
    print_files: bool,
    dry_run: bool,
    uninstall: bool,
    yes: bool,
    one_account: bool,
    unsigned: str | None,
    account: str,
    network: str,
    storage_url: str | None,
    program: Path | None,
    system: str,
    as_json: bool,
) -> int:
    """Set up a validator: a runner without keys, a signer, and their services.

    The plan is shown first; what is there already is left alone, so that it may be run again at any time.
    No secret is asked for or written: the steps for key and passphrase are yours, and are shown.

    \b
    Examples:
      armlx-validator install --dry-run
      sudo armlx-validator install
      armlx-validator install --print --system macos
      sudo armlx-validator install --uninstall

    \b
    Exit codes:
      0 done, or nothing to do   1 a step failed; the same command goes on from there   2 usage
    """
    accounts = _accounts(one_account, unsigned)
    choice = _choice(unsigned or account, network, storage_url, program, accounts)
    layout = _layout(choice, system)
    if print_files:
        return _print_files(_files(layout, system), as_json=as_json)
    if (system == "macos") != (sys.platform == "darwin"):
        raise UsageError("Only --print knows other systems than this one.")
    from verifier.daemon.install.system import RealSystem

    machine = RealSystem()
    steps = _removal(choice, system) if uninstall else _steps(layout, system, machine)
    return _go(
        steps,
        machine,
        layout if not uninstall else None,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )


def _accounts(one_account: bool, unsigned: str | None) -> Accounts:
    from verifier.daemon.install.layout import Accounts

    if one_account and unsigned:
        raise UsageError("--one-account signs and --unsigned does not: give one of them.")
    if one_account:
        say(f"warning: {_ONE_ACCOUNT}")
        return Accounts.ONE
    if unsigned is None:
        return Accounts.TWO
    if not _ADDRESS.match(unsigned):
        raise UsageError(f"{unsigned[:60]!r} is no address.", next_step="Give 0x and 40 hex digits.")
    return Accounts.UNSIGNED


def _choice(
    account: str, network: str, storage_url: str | None, program: Path | None, accounts: Accounts
) -> Choice:
    from armlx_chain.settings import load_network
    from armlx_chain.signing.keystore import check_name
    from verifier.daemon.install.layout import Choice

    if network == "devnet":
        raise UsageError(
            "The local world has no services.", next_step="Use: armlx-validator run --network devnet"
        )
    try:
        check_name(account)
    except KeystoreError as refused:
        raise UsageError(
            refused.message,
            next_step="Give --account the name of the keystore, as armlx-chain wallet list shows it.",
        ) from refused
    known = load_network(network, home=Path("/"), storage_url=storage_url)
    bwrap = shutil.which("bwrap")
    return Choice(
        program=(program or _this_program()).absolute(),
        key=account,
        network=network,
        accounts=accounts,
        rpc_urls=known.rpc_urls,
        storage_urls=_storage_words(storage_url, known.storage_urls),
        nvidia=Path("/dev/nvidiactl").exists(),
        setuid_bwrap=bwrap is not None and bool(Path(bwrap).stat().st_mode & stat.S_ISUID),
        polkit=Path("/etc/polkit-1/rules.d").is_dir(),
    )


def _storage_words(given: str | None, named: tuple[str, ...]) -> tuple[str, ...]:
    """What of the storage's addresses stands in the services' files and command lines, which anybody reads.

    Raises:
        UsageError: an address holds what nobody else may know.
    """
    if not given:
        return ()
    if given.startswith("file:"):
        return (f"file:{Path(given.removeprefix('file:')).absolute()}",)
    if any("@" in url or "?" in url for url in named):
        raise UsageError(
            "An address of the storage holds a name, a password or a key.",
            meaning="It would stand in the services' files and in the list of processes.",
            next_step="Put it into a file that the services' accounts can read: --storage-url file:PATH",
        )
    return named


def _this_program() -> Path:
    """The console script of this environment, which a restarted service has to find again."""
    return Path(sys.executable).parent / "armlx-validator"


def _layout(choice: Choice, system: str) -> Layout:
    from verifier.daemon.install.layout import linux_layout, macos_layout

    return macos_layout(choice) if system == "macos" else linux_layout(choice)


def _files(layout: Layout, system: str) -> list[WriteFile]:
    from verifier.daemon.install import linux, macos

    return macos.files(layout) if system == "macos" else linux.files(layout)


def _steps(layout: Layout, system: str, machine: System) -> list[Step]:
    from verifier.daemon.install import linux, macos

    if system == "macos":
        return macos.macos_plan(layout, macos.free_role_id(machine))
    if machine.run(("systemctl", "--version")).code != 0:
        raise MachineError(
            "There is no systemd here.",
            next_step="See what the services need with --print, and set them up with what this system has.",
        )
    return linux.linux_plan(layout)


def _removal(choice: Choice, system: str) -> list[Step]:
    """Whatever kind of installation it was: what is not there is no step."""
    from verifier.daemon.install import linux, macos
    from verifier.daemon.install.layout import Accounts

    layout = _layout(replace(choice, accounts=Accounts.TWO, polkit=True), system)
    if system == "linux":
        return linux.linux_removal(layout)
    alone = _layout(replace(choice, accounts=Accounts.ONE), system)
    return [*macos.macos_removal(layout), *macos.macos_removal(alone)]


def _print_files(files: list[WriteFile], *, as_json: bool) -> int:
    shown = {str(step.path): step.data.decode() for step in files}
    lines = [line for path, text in shown.items() for line in (f"# ---- {path}", text)]
    emit({"files": shown}, lines, as_json=as_json)
    return EXIT_OK


def _go(
    steps: list[Step],
    machine: System,
    layout: Layout | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Show the plan, ask, carry it out, say what is left.

    Args:
        layout: What is installed; ``None`` where it is taken away.
    """
    from verifier.daemon.install.applying import carry_out, look

    planned = look(steps, machine)
    waiting = [one for one in planned if one.state == "to do"]
    hindrances = [] if layout is None else _hindrances(layout)
    for sentence in hindrances:
        say(f"warning: {sentence}")
    if waiting and not dry_run:
        for line in _lines(planned):
            say(line)
        _require(hindrances)
        if not yes and not click.confirm(f"Carry out {len(waiting)} steps?", err=True):
            raise click.Abort
        carry_out(steps, machine, say)
        planned = look(steps, machine)
    data = {
        "done": not any(one.state == "to do" for one in planned),
        "steps": [one.as_json() for one in planned],
        "hindrances": hindrances,
    }
    emit(data, _lines(planned) + _after(layout), as_json=as_json)
    return EXIT_OK


def _lines(planned: list[Planned]) -> list[str]:
    return [line for one in planned for line in one.lines()]


def _after(layout: Layout | None) -> list[str]:
    if layout is not None:
        return []
    return [
        "Keystores, guard, findings, reports, passphrase and accounts stay where they are.",
        "Export the guard before you remove them: armlx-validator guard export FILE --home HOME",
    ]


def _hindrances(layout: Layout) -> list[str]:
    import armlx_chain
    from verifier.daemon.install.reach import reach_problems

    packages = Path(armlx_chain.__file__).parent
    return reach_problems([layout.choice.program, Path(sys.executable), packages])


def _require(hindrances: list[str]) -> None:
    """Stop before anything is changed.

    Raises:
        MachineError: the services could not start the program, or others could change it.
        UsageError: only root may do it.
    """
    if hindrances:
        raise MachineError(
            "The services cannot be set up with this program: " + "; ".join(hindrances) + ".",
            meaning="It has to be readable for the accounts of the services, and writable for root alone.",
            next_step="As root: python3 -m venv /opt/armlx, install the package there, and run its own"
            " /opt/armlx/bin/armlx-validator install.",
        )
    if os.geteuid() != 0:
        raise UsageError("Accounts and services are made by root.", next_step="Run it with sudo.")
