"""The plan for a Mac, and the way back."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from verifier.daemon.install import plists
from verifier.daemon.install.layout import Layout
from verifier.daemon.install.linux import endpoints_text, starting_words
from verifier.daemon.install.steps import Command, Folder, Person, Remove, Step, WriteFile
from verifier.daemon.install.system import System

__all__ = ["files", "macos_plan", "macos_removal"]

_DAEMONS: Final = PurePosixPath("/Library/LaunchDaemons")
_NEWSYSLOG: Final = PurePosixPath("/etc/newsyslog.d/armlx-validator.conf")
_ROLE_IDS: Final = range(399, 299, -1)
"""Ids of accounts without a login: what the system's own tool allows for them, from the end that Apple's own
accounts do not use."""


def _signer_path(layout: Layout) -> PurePosixPath:
    """A daemon where it only signs; an agent of a session where it runs candidates itself."""
    return (_DAEMONS if layout.is_split else _agents(layout)) / f"{plists.SIGNER_LABEL}.plist"


def _agents(layout: Layout) -> PurePosixPath:
    """The runner's own folder of agents: one for all accounts would start it in every session."""
    return PurePosixPath("/Users") / layout.runner.name / "Library" / "LaunchAgents"


def files(layout: Layout) -> list[WriteFile]:
    """Every file that the plan writes; no secret is in any."""
    wanted = [
        WriteFile(_signer_path(layout), plists.signer_plist(layout), "the service that holds the key"),
        WriteFile(_NEWSYSLOG, plists.newsyslog(layout).encode(), "logs are turned over"),
    ]
    if layout.is_split:
        path = _agents(layout) / f"{plists.RUNNER_LABEL}.plist"
        why = "the service that runs candidates, without a key, in a session that sees Metal"
        wanted.append(WriteFile(path, plists.runner_plist(layout), why))
    return wanted


def macos_plan(layout: Layout, role_id: int) -> list[Step]:
    """Accounts, folders, services; then what only a person can do.

    Args:
        role_id: A free id for the signer's account (``free_role_id``).
    """
    daemon, rotation, *agent = files(layout)
    steps: list[Step] = [_group(layout.group), _signer_account(layout, role_id)]
    if layout.is_split:
        steps += [_member(layout), *_runner_account(layout)]
    else:
        steps.append(_agents_folder(layout))
    steps += _folders(layout)
    endpoints = WriteFile(
        layout.endpoints,
        endpoints_text(layout),
        "the chain's endpoints, which often hold a key: put your own there, two of different operators",
        mode=0o600,
        keep=True,
        owner=layout.signer.name,
    )
    return [*steps, endpoints, rotation, *agent, daemon, *_persons(layout)]


def _group(name: str) -> Command:
    return Command(
        f"make the group {name}",
        ("dseditgroup", "-o", "create", name),
        "its members may talk to the runner's socket",
        unless=lambda system: system.members(name) is not None,
    )


def _signer_account(layout: Layout, role_id: int) -> Command:
    account = layout.signer
    argv = ["sysadminctl", "-addUser", account.name, "-fullName", account.about, "-home", str(account.home)]
    if layout.is_split:
        argv += ["-UID", str(role_id), "-shell", "/usr/bin/false", "-roleAccount"]
        why = "an account that nobody logs in to keeps the key"
    else:
        argv += ["-password", "-"]
        why = "an account that holds nothing else; it has to be logged in to see Metal"
    return Command(
        f"make the account {account.name}",
        tuple(argv),
        why,
        unless=lambda system: system.account(account.name),
        asks=not layout.is_split,
    )


def _member(layout: Layout) -> Command:
    name = layout.signer.name
    return Command(
        f"put {name} into {layout.group}",
        ("dseditgroup", "-o", "edit", "-a", name, "-t", "user", layout.group),
        "the signer may talk to the runner; nobody else may",
        unless=lambda system: name in (system.members(layout.group) or ()),
    )


def _runner_account(layout: Layout) -> list[Step]:
    account = layout.runner
    make = ("sysadminctl", "-addUser", account.name, "-fullName", account.about, "-password", "-")
    join = ("dseditgroup", "-o", "edit", "-a", account.name, "-t", "user", layout.group)
    return [
        Command(
            f"make the account {account.name}",
            make,
            "strangers' code runs under an account that holds nothing; its password is asked for",
            unless=lambda system: system.account(account.name),
            asks=True,
        ),
        Command(
            f"put {account.name} into {layout.group}",
            join,
            "its socket belongs to that group",
            unless=lambda system: account.name in (system.members(layout.group) or ()),
        ),
        Command(
            f"make the home of {account.name}",
            ("createhomedir", "-c", "-u", account.name),
            "its agent's file lies there",
            unless=lambda system: system.exists(PurePosixPath("/Users") / account.name / "Library"),
        ),
        _agents_folder(layout),
    ]


def _agents_folder(layout: Layout) -> Command:
    """Made by the account itself: a link that it put there would have root give away what it leads to."""
    path, name = _agents(layout), layout.runner.name

    def is_there(system: System) -> bool:
        found = system.folder(path)
        return found is not None and found[0] == name

    return Command(
        f"make {path}",
        ("sudo", "-u", name, "mkdir", "-p", "-m", "0700", str(path)),
        "where a session looks for its agents",
        unless=is_there,
    )


def _folders(layout: Layout) -> list[Step]:
    signer, runner = layout.signer, layout.runner
    steps: list[Step] = [
        Folder(layout.settings.parent, "root", "wheel", 0o755, "everything of the validator lies here"),
        Folder(signer.home, signer.name, layout.group, 0o700, "nobody else reads it"),
        Folder(layout.settings, signer.name, layout.group, 0o700, "passphrase and endpoints"),
    ]
    if layout.socket is not None:
        steps += [
            Folder(runner.home, runner.name, layout.group, 0o700, "nobody else reads it"),
            Folder(layout.socket.parent, runner.name, layout.group, 0o750, "the runner's socket"),
        ]
    if layout.logs is not None:
        # Root turns the logs over: who could put a link here would have it read and give away any file.
        steps.append(Folder(layout.logs, "root", layout.group, 0o750, "logs"))
        steps += [
            WriteFile(path, b"", "its account writes here", mode=0o640, keep=True, owner=account.name)
            for path, account in plists.log_files(layout)
        ]
    return steps


def _persons(layout: Layout) -> list[Step]:
    signer, key, home = layout.signer.name, layout.choice.key, layout.signer.home
    chain = layout.choice.program.with_name("armlx-chain")
    steps: list[Step] = []
    if layout.signs:
        write = f"sudo -u {signer} sh -c 'umask 077; cat > {layout.passphrase}'"
        steps += [
            Person(
                "make the key, and keep a copy of its file elsewhere",
                (f"sudo -u {signer} {chain} wallet new {key} --home {home}",),
                "its address has to be put on the verifiers' list and given some coin for gas",
                unless=lambda system: system.exists(home / "keystores" / f"{key}.json"),
            ),
            Person(
                "put its passphrase where only the signer reads it",
                (write, "(type it, then Enter and Ctrl-D)"),
                "launchd has no credentials of a service, so it is a file of the signer's alone",
                unless=lambda system: system.exists(layout.passphrase),
            ),
        ]
    if layout.is_split:
        steps.append(
            Person(
                f"log in as {layout.runner.name} once after each start of the machine, or by itself",
                ("System Settings > Users & Groups > Automatically log in (needs FileVault off)",),
                "Metal is seen in a graphical session only; the agent starts with it",
                unless=lambda system: layout.socket is not None and system.exists(layout.socket),
            )
        )
    start = f"sudo launchctl bootstrap {_domain(layout)} {_signer_path(layout)}"
    steps.append(
        Person(
            *starting_words(layout, start),
            unless=lambda system: _is_loaded(_target(layout), system),
        )
    )
    return steps


def macos_removal(layout: Layout) -> list[Step]:
    """The way back: services and files of the installation. Accounts, keys, guard and findings stay."""
    steps: list[Step] = []
    if layout.is_split:
        steps.append(_stopping(_target(layout)))
        steps.append(
            Person(
                "log the runner out",
                (f"log out as {layout.runner.name}, or restart once this is through",),
                "its agent ends with its session",
                unless=lambda system: layout.socket is None or not system.exists(layout.socket),
            )
        )
    return [*steps, *(Remove(step.path, step.why) for step in reversed(files(layout)))]


def _domain(layout: Layout) -> str:
    return "system" if layout.is_split else f"gui/$(id -u {layout.runner.name})"


def _target(layout: Layout) -> str:
    return f"{_domain(layout)}/{plists.SIGNER_LABEL}"


def _stopping(target: str) -> Command:
    return Command(
        "stop the signer",
        ("launchctl", "bootout", target),
        "a pair of runs that goes on may end first",
        unless=lambda system: not _is_loaded(target, system),
    )


def _is_loaded(target: str, system: System) -> bool:
    return system.run(("launchctl", "print", target)).code == 0


def free_role_id(system: System) -> int:
    """An id for an account without a login that nobody has.

    Raises:
        ValueError: none is free.
    """
    listed = system.run(("dscl", ".", "-list", "/Users", "UniqueID")).output.split()
    taken = {int(word) for word in listed if word.lstrip("-").isdigit()}
    return next(number for number in _ROLE_IDS if number not in taken)
