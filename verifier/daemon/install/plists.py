"""launchd's files: the signer as a daemon, the runner as an agent of a session that sees Metal. Pure.

- Metal needs a session with a window server, which only a logged-in account has. So the runner is an agent
  that launchd starts in the graphical (``Aqua``) session of its own account, and nowhere else.
- The signer is a daemon under a hidden account without a login. Nothing secret stands in its file: launchd
  has no credentials of a service, so the two files lie in a folder that only this account can open.
- ``ProcessType`` keeps the system from saving power at the cost of a run. Sleep itself is kept off by the
  runner, for as long as a session goes on (``verifier.machine.awake``).
"""

from __future__ import annotations

import plistlib
from pathlib import PurePosixPath
from typing import Any, Final

from verifier.daemon.install.layout import DRAIN_SECONDS, Account, Layout

__all__ = ["RUNNER_LABEL", "SIGNER_LABEL", "log_files", "newsyslog", "runner_plist", "signer_plist"]

RUNNER_LABEL: Final = "org.armlx.runner"
SIGNER_LABEL: Final = "org.armlx.validator"
_PATH: Final = "/usr/bin:/bin:/usr/sbin:/sbin"
_AGAIN_SECONDS: Final = 15
_SEES_METAL: Final = {"LimitLoadToSessionType": "Aqua", "ProcessType": "Interactive"}


def signer_plist(layout: Layout) -> bytes:
    """The daemon's property list; with one account, which runs candidates too, an agent's."""
    tree = _common(layout, SIGNER_LABEL, layout.signer_command(str(layout.settings)), layout.signer.home)
    # launchd ends with force what takes longer; the daemon itself drains sooner.
    tree |= {"Umask": 0o077, "ExitTimeOut": DRAIN_SECONDS + 60}
    if layout.is_split:
        tree |= {"UserName": layout.signer.name, "GroupName": layout.group, "InitGroups": True}
    else:
        tree |= _SEES_METAL
    return _encode(tree)


def runner_plist(layout: Layout) -> bytes:
    """The agent's property list: no key, no passphrase, no endpoint of the chain."""
    tree = _common(layout, RUNNER_LABEL, layout.runner_command(), layout.runner.home)
    # The socket is for the group: the signer is its only other member.
    tree |= {"Umask": 0o007, "ExitTimeOut": DRAIN_SECONDS + 60}
    return _encode(tree | _SEES_METAL)


def _common(layout: Layout, label: str, command: list[str], home: PurePosixPath) -> dict[str, Any]:
    name = label.rpartition(".")[2]
    return {
        "Label": label,
        "ProgramArguments": command,
        "WorkingDirectory": str(home),
        "EnvironmentVariables": {"PATH": _PATH},
        "RunAtLoad": True,
        # Ended by itself with 0 it stays ended; anything else starts it again.
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": _AGAIN_SECONDS,
        "StandardOutPath": str(_logs(layout) / f"{name}.out"),
        "StandardErrorPath": str(_logs(layout) / f"{name}.log"),
    }


def _encode(tree: dict[str, Any]) -> bytes:
    return plistlib.dumps(tree, fmt=plistlib.FMT_XML, sort_keys=True)


def _logs(layout: Layout) -> PurePosixPath:
    return layout.logs or layout.settings / "logs"


def newsyslog(layout: Layout) -> str:
    """Logs are turned over at 10 MB, eight of them kept packed."""
    lines = ["# Written by armlx-validator install", "# file  owner:group  mode  count  size  when  flags"]
    for path, account in log_files(layout):
        if path.suffix == ".log":
            lines.append(f"{path}  {account.name}:  640  8  10240  *  JN")
    return "\n".join(lines) + "\n"


def log_files(layout: Layout) -> list[tuple[PurePosixPath, Account]]:
    """What the services write to, and who; made beforehand, as their folder is root's."""
    services = [(SIGNER_LABEL, layout.signer)] + [(RUNNER_LABEL, layout.runner)] * layout.is_split
    names = [(label.rpartition(".")[2], account) for label, account in services]
    return [(_logs(layout) / f"{name}.{end}", account) for name, account in names for end in ("log", "out")]
