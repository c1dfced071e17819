"""The two accounts of a validator: is the runner there, and does it hold no key."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from armlx_chain.cli.doctoring.findings import Check, Finding

if TYPE_CHECKING:
    from armlx_chain.cli.context import App

_SIGNER_HOMES: Final = (
    Path("/var/lib/armlx-signer"),
    Path("/etc/armlx-validator"),
    Path("/usr/local/var/armlx-validator/signer"),
    Path("/usr/local/var/armlx-validator/settings"),
)
"""Where an installation keeps what the runner must not read."""
_SECRET_VARIABLES: Final = ("ETH_PASSWORD", "ETH_KEYSTORE", "ETH_KEYSTORE_ACCOUNT", "ETH_RPC_URL")
_CLOCK_SECONDS: Final = 10.0


def runner_checks(socket: Path) -> list[Check]:
    """The runner as the signer sees it.

    Args:
        socket: Its socket.
    """
    return [Check("Runner", "the runner", lambda: _reach(socket))]


def keyless_checks(app: App, env: Mapping[str, str] | None = None) -> list[Check]:
    """The runner's own account: nothing in it that a stranger could want."""
    found = os.environ if env is None else env
    return [Check("Runner", "what this account holds", lambda: _keyless(app, found))]


def host_checks() -> list[Check]:
    """What the services need of the system."""
    return [
        Check("Machine", "staying awake", _awake),
        Check("Machine", "the clock's source", _synchronised),
    ]


def _reach(socket: Path) -> Iterator[Finding]:
    from verifier.executors.remote import RemoteExecutor, connect_to

    executor = RemoteExecutor(connect_to(socket), load=_no_project)
    machines = executor.machines()
    count = len(machines)
    if count:
        yield Finding("runner", "ok", f"{socket} answers; {count} free: {', '.join(machines)[:80]}")
    else:
        yield Finding("runner", "note", f"{socket} answers; every machine is busy now", "Look again later.")
    owner = socket.stat()
    if owner.st_uid == os.geteuid():
        step = "Install two accounts (armlx-validator install), or start the daemon with --one-account."
        seen = "it runs under this account: whoever gets out of the sandbox has the key"
        yield Finding("separation", "note", seen, step)
    elif stat.S_IMODE(owner.st_mode) & 0o007:
        step = f"chmod o= {socket}; start it as armlx-validator install does."
        yield Finding("separation", "fault", "everybody on this machine may give it orders", step)
    else:
        yield Finding("separation", "ok", f"it runs under another account (user {owner.st_uid})")


def _no_project(_: object) -> NoReturn:
    raise RuntimeError("nothing is prepared here")


def _keyless(app: App, env: Mapping[str, str]) -> Iterator[Finding]:
    from armlx_chain.cli.keys import foundry
    from armlx_chain.signing.accounts import list_accounts

    accounts = list_accounts(app.home / "keystores", foundry())
    for account in accounts:
        step = "Move it to the signer's account; strangers' code runs under this one."
        yield Finding("key", "fault", f"{account.path} is a keystore", step)
    if not accounts:
        yield Finding("keys", "ok", "this account holds none")
    readable = [folder for folder in _SIGNER_HOMES if os.access(folder, os.R_OK | os.X_OK)]
    for folder in readable:
        step = f"chmod 700 {folder}; it must belong to the signer, or to root."
        yield Finding("signer's folder", "fault", f"this account can read {folder}", step)
    named = [name for name in _SECRET_VARIABLES if env.get(name)]
    if named:
        step = "Take them out of the runner's environment; it needs none of them."
        yield Finding("environment", "note", f"it names {', '.join(named)}", step)


def _awake() -> Iterator[Finding]:
    from verifier.machine.awake import command_for

    if command_for("looking") is None:
        step = "Turn sleep off in the system's settings; a run during which the machine sleeps is void."
        yield Finding("sleep", "note", "nothing here keeps the machine awake during runs", step)
    else:
        yield Finding("sleep", "ok", "it is kept off while runs go on")


def _synchronised(
    which: Callable[[str], str | None] = shutil.which,
) -> Iterator[Finding]:
    tool = which("timedatectl")
    if tool is None:
        yield Finding("time service", "skipped", "this system does not say; the chain's clock is compared")
        return
    try:
        asked = [tool, "show", "--property=NTPSynchronized", "--value"]
        done = subprocess.run(asked, capture_output=True, timeout=_CLOCK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        yield Finding("time service", "skipped", "the system does not answer")
        return
    if done.returncode != 0:
        yield Finding("time service", "skipped", "the system does not say")
    elif done.stdout.strip() == b"yes":
        yield Finding("time service", "ok", "the clock follows the network's time")
    else:
        step = "timedatectl set-ntp true"
        yield Finding("time service", "note", "the clock does not follow the network's time", step)
