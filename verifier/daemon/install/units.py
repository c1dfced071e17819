"""systemd's files: two services, accounts, folders, and who may keep the machine awake. Pure text.

What the runner is *not* denied, and why (``scripts/campaigns/install --each`` tries each on a real systemd):

- ``ProtectHostname``, ``RestrictNamespaces=yes``, ``ProcSubset``: with any of them bubblewrap cannot start,
  because the sandbox has namespaces and a name of its own and reads ``/proc/sys``;
- ``SystemCallArchitectures=native``: it kills where the sandbox's own filter refuses, so that nobody could
  tell a wall from a crash;
- ``ProtectControlGroups``: a run is bounded, stopped and ended by a group below the service's own; without
  it the sandbox works and only polls;
- ``ProtectKernelTunables``, ``ProtectKernelLogs``, ``ProtectProc``: they cover parts of ``/proc``. That was
  harmless where it was tried, but a kernel may refuse a fresh ``/proc`` beside covered ones, as it does in
  many containers. The sandbox shows candidates a ``/proc`` of its own in any case;
- ``MemoryDenyWriteExecute`` (both services): LLVM and Metal compile at run time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Final

from verifier.daemon.install.layout import DRAIN_SECONDS, Layout

__all__ = [
    "RUNNER_UNIT",
    "SIGNER_UNIT",
    "polkit_rules",
    "runner_unit",
    "signer_unit",
    "sysusers",
    "tmpfiles",
]

RUNNER_UNIT: Final = "armlx-runner.service"
SIGNER_UNIT: Final = "armlx-validator.service"
CREDENTIALS: Final = "${CREDENTIALS_DIRECTORY}"
"""systemd fills it in: a folder that holds the two files in memory, for this service alone."""
LOCKS: Final = "/tmp/armlx-chain-locks"  # noqa: S108 (one place for all accounts of the machine)
"""Where processes of all accounts take turns on an accelerator (``verifier.machine.exclusive``)."""

_EVERYONE: Final = (
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "LockPersonality=yes",
    "ProtectClock=yes",
    "ProtectHome=yes",
    "ProtectKernelModules=yes",
    "ProtectSystem=strict",
    "RemoveIPC=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallErrorNumber=EPERM",
    "KeyringMode=private",
    "LimitCORE=0",
)
_SIGNER: Final = (
    "NoNewPrivileges=yes",
    "PrivateDevices=yes",
    "PrivateTmp=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @debug @keyring @mount @obsolete",
    "UMask=0077",
)
_RUNNER: Final = (
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=user mnt pid net ipc uts cgroup",
    "SystemCallFilter=@system-service @mount seccomp sethostname",
    "PrivateTmp=yes",
    f"BindPaths={LOCKS}",
    "Delegate=yes",
    "OOMPolicy=continue",
)
_HEAD: Final = "# Written by armlx-validator install; change it with: systemctl edit UNIT\n"


def runner_unit(layout: Layout) -> str:
    """The service that runs strangers' code. It is told of no key, no passphrase and no endpoint."""
    unit = (
        "Description=ARMLX validator: runner without keys",
        "Documentation=man:systemd.exec(5)",
        "Wants=network-online.target",
        "After=network-online.target",
        "StartLimitIntervalSec=0",
    )
    service = (
        "Type=exec",
        _start(layout.runner_command()),
        *_identity(layout.runner.name, layout.group),
        f"StateDirectory={layout.runner.home.name}",
        "StateDirectoryMode=0700",
        f"RuntimeDirectory={_runtime(layout)}",
        "RuntimeDirectoryMode=0750",
        # The socket is for the group: the signer is its only other member.
        "UMask=0007",
        *_life(),
        *_run_here(layout),
        # Its programs may eat what they are given; the signer must live.
        "OOMScoreAdjust=500",
    )
    return _text(unit, service)


def signer_unit(layout: Layout) -> str:
    """The service that decides, signs and sends; with one account, the only one, which also runs."""
    unit = [
        "Description=ARMLX validator" + (": keeper of the key" if layout.is_split else ""),
        "Wants=network-online.target" + (f" {RUNNER_UNIT}" if layout.is_split else ""),
        "After=network-online.target time-sync.target" + (f" {RUNNER_UNIT}" if layout.is_split else ""),
        # Without them it would start, fail and start again for ever.
        *(f"ConditionPathExists={path}" for path in _credentials(layout)),
        "StartLimitIntervalSec=0",
    ]
    service = [
        "Type=exec",
        _start(layout.signer_command(CREDENTIALS)),
        *_identity(layout.signer.name, layout.signer.name),
        *(f"LoadCredential={path.name}:{path}" for path in _credentials(layout)),
        f"StateDirectory={layout.signer.home.name}",
        "StateDirectoryMode=0700",
        *_life(),
    ]
    if layout.is_split:
        service += [f"SupplementaryGroups={layout.group}", f"InaccessiblePaths=-{layout.runner.home}"]
        service += [*_SIGNER, *_EVERYONE]
    else:
        service += ["UMask=0077", *_run_here(layout)]
    return _text(unit, service)


def _credentials(layout: Layout) -> list[PurePosixPath]:
    return [layout.endpoints, layout.passphrase] if layout.signs else [layout.endpoints]


def _run_here(layout: Layout) -> list[str]:
    """What a service may and may not do that runs candidates itself."""
    choice = layout.choice
    lines = [*_RUNNER, *_EVERYONE]
    if choice.setuid_bwrap:
        # A set-uid bubblewrap takes its rights from its file; these would take them away again.
        lines = [
            line for line in lines if not line.startswith(("CapabilityBoundingSet=", "RestrictSUIDSGID="))
        ]
        lines.append("NoNewPrivileges=no")
    else:
        lines.append("NoNewPrivileges=yes")
    if choice.nvidia:
        nodes = ("nvidia", "nvidiactl", "nvidia-uvm", "nvidia-caps")
        lines += ["DevicePolicy=closed", *(f"DeviceAllow=char-{node} rw" for node in nodes)]
    else:
        lines.append("PrivateDevices=yes")
    return lines


def _start(command: Sequence[str]) -> str:
    """Nothing in a command can hold a blank or a quote (``require_plain``), so it needs none of systemd's."""
    return "ExecStart=" + " ".join(command)


def _identity(user: str, group: str) -> tuple[str, ...]:
    return f"User={user}", f"Group={group}"


def _life() -> tuple[str, ...]:
    return (
        "Restart=on-failure",
        # 2, 4: a wrong option or passphrase is as wrong the next time.
        "RestartPreventExitStatus=2 4",
        "RestartSec=15",
        # Only the daemon is told to end; what it runs is ended by it, and by force if it does not.
        "KillMode=mixed",
        f"TimeoutStopSec={DRAIN_SECONDS + 60}",
    )


def _runtime(layout: Layout) -> str:
    return "" if layout.socket is None else layout.socket.parent.name


def _text(unit: Iterable[str], service: Iterable[str]) -> str:
    sections = {"Unit": unit, "Service": service, "Install": ("WantedBy=multi-user.target",)}
    return _HEAD + "\n".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items())


def sysusers(layout: Layout) -> str:
    """Accounts as ``systemd-sysusers`` makes them: no shell, no password, no home to log in to."""
    accounts = {layout.runner.name: layout.runner, layout.signer.name: layout.signer}
    lines = ["# Written by armlx-validator install"]
    lines += [f'u {one.name} - "{one.about}" {one.home} -' for one in accounts.values()]
    if layout.is_split:
        lines.append(f"m {layout.signer.name} {layout.group}")
    return "\n".join(lines) + "\n"


def tmpfiles(layout: Layout) -> str:
    """Folders as ``systemd-tmpfiles`` makes them: homes that are their owner's alone, the settings root's."""
    accounts = {layout.runner.name: layout.runner, layout.signer.name: layout.signer}
    lines = ["# Written by armlx-validator install"]
    lines += [f"d {one.home} 0700 {one.name} {one.name} -" for one in accounts.values()]
    lines += [f"d {layout.settings} 0700 root root -", f"d {LOCKS} 1777 root root -"]
    return "\n".join(lines) + "\n"


def polkit_rules(layout: Layout) -> str:
    """Lets the account that runs candidates keep the machine awake while it does, and nothing else."""
    return (
        "// Written by armlx-validator install: no sleep while a run goes on.\n"
        "polkit.addRule(function (action, subject) {\n"
        f'  if (subject.user == "{layout.runner.name}" &&\n'
        '      (action.id == "org.freedesktop.login1.inhibit-block-sleep" ||\n'
        '       action.id == "org.freedesktop.login1.inhibit-block-idle")) {\n'
        "    return polkit.Result.YES;\n"
        "  }\n"
        "});\n"
    )
