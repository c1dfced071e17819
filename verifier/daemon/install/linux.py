"""The plan for a Linux machine with systemd, and the way back."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from verifier.daemon.install import units
from verifier.daemon.install.layout import Layout
from verifier.daemon.install.steps import Command, Person, Remove, Step, WriteFile
from verifier.daemon.install.system import System

__all__ = ["files", "linux_plan", "linux_removal"]

_UNITS: Final = PurePosixPath("/etc/systemd/system")
_SYSUSERS: Final = PurePosixPath("/etc/sysusers.d/armlx-validator.conf")
_TMPFILES: Final = PurePosixPath("/etc/tmpfiles.d/armlx-validator.conf")
_POLKIT: Final = PurePosixPath("/etc/polkit-1/rules.d/50-armlx-validator.rules")


def _services(layout: Layout) -> tuple[str, ...]:
    return (units.RUNNER_UNIT, units.SIGNER_UNIT) if layout.is_split else (units.SIGNER_UNIT,)


def files(layout: Layout) -> list[WriteFile]:
    """Every file that the plan writes; no secret is in any."""
    wanted = [
        (_SYSUSERS, units.sysusers(layout), "accounts without shell or password"),
        (_TMPFILES, units.tmpfiles(layout), "folders that are their owner's alone"),
        (_UNITS / units.SIGNER_UNIT, units.signer_unit(layout), "the service that holds the key"),
    ]
    if layout.is_split:
        unit = units.runner_unit(layout)
        wanted.append((_UNITS / units.RUNNER_UNIT, unit, "the service that runs candidates, without a key"))
    if layout.choice.polkit:
        wanted.append((_POLKIT, units.polkit_rules(layout), "no sleep while a run goes on"))
    return [WriteFile(path, text.encode(), why) for path, text, why in wanted]


def linux_plan(layout: Layout) -> list[Step]:
    """Accounts, folders, services; then what only a person can do."""
    written = {step.path: step for step in files(layout)}
    accounts, folders = written.pop(_SYSUSERS), written.pop(_TMPFILES)
    return [
        accounts,
        Command(
            "make the accounts",
            ("systemd-sysusers", str(_SYSUSERS)),
            "keys and strangers' code live under different accounts",
            unless=lambda system: _has_accounts(layout, system),
        ),
        folders,
        Command(
            "make the folders",
            ("systemd-tmpfiles", "--create", str(_TMPFILES)),
            "neither account can read the other's",
            unless=lambda system: _has_folders(layout, system),
        ),
        WriteFile(
            layout.endpoints,
            endpoints_text(layout),
            "the chain's endpoints, which often hold a key: put your own there, two of different operators",
            mode=0o600,
            keep=True,
        ),
        *written.values(),
        Command(
            "let systemd read the services",
            ("systemctl", "daemon-reload"),
            "it keeps what it read before",
            unless=lambda system: all(_is_read(unit, system) for unit in _services(layout)),
        ),
        Command(
            "start the services with the machine",
            ("systemctl", "enable", *_services(layout)),
            "from the next start of the machine on",
            unless=lambda system: all(_says(system, "is-enabled", unit) for unit in _services(layout)),
        ),
        *_persons(layout),
    ]


def doctor_command(layout: Layout) -> str:
    """How the signer's account is examined."""
    command = f"sudo -u {layout.signer.name} {layout.choice.program} doctor --home {layout.signer.home}"
    if layout.signs:
        command += f" --account {layout.choice.key}"
    return command if layout.socket is None else f"{command} --runner {layout.socket}"


def starting_words(layout: Layout, start: str) -> tuple[str, tuple[str, ...], str]:
    """What a person does at last: title, commands, and why."""
    look = doctor_command(layout)
    if not layout.signs:
        why = "it judges and reports, and has no key to sign with"
        return "put your endpoints into the file, start, look", (start, look), why
    return (
        "put your endpoints into the file, start, look, reproduce a baseline, go live",
        (start, look, f"{look} --gold --go-live --project N"),
        "the daemon starts in dry mode: it judges and reports, signs and sends nothing",
    )


def _persons(layout: Layout) -> list[Step]:
    home, passphrase = layout.signer.home, layout.passphrase
    chain = layout.choice.program.with_name("armlx-chain")
    signer, key = layout.signer.name, layout.choice.key
    steps: list[Step] = []
    if layout.signs:
        steps += [
            Person(
                "make the key, and keep a copy of its file elsewhere",
                (f"sudo -u {signer} {chain} wallet new {key} --home {home}",),
                "its address has to be put on the verifiers' list and given some coin for gas",
                unless=lambda system: system.exists(home / "keystores" / f"{key}.json"),
            ),
            Person(
                "put its passphrase where only root reads it",
                (f"sudo sh -c 'umask 077; cat > {passphrase}'", "(type it, then Enter and Ctrl-D)"),
                "systemd hands it to the signer alone, in memory",
                unless=lambda system: system.exists(passphrase),
            ),
        ]
    start = f"sudo systemctl start {' '.join(_services(layout))}"
    steps.append(
        Person(
            *starting_words(layout, start),
            unless=lambda system: all(_says(system, "is-active", unit) for unit in _services(layout)),
        )
    )
    return steps


def linux_removal(layout: Layout) -> list[Step]:
    """The way back: services and files of the installation. Accounts, keys, guard and findings stay."""
    services = _services(layout)
    return [
        *(_stopping(unit) for unit in reversed(services)),
        *(Remove(step.path, step.why) for step in reversed(files(layout))),
        Command(
            "let systemd forget the services",
            ("systemctl", "daemon-reload"),
            "it keeps what it read before",
            unless=lambda system: not any(_is_loaded(unit, system) for unit in services),
        ),
    ]


def _stopping(unit: str) -> Command:
    return Command(
        f"stop {unit}",
        ("systemctl", "disable", "--now", unit),
        "a pair of runs that goes on may end first",
        unless=lambda system: not (_says(system, "is-active", unit) or _says(system, "is-enabled", unit)),
    )


def endpoints_text(layout: Layout) -> bytes:
    """The first content of the file of endpoints."""
    lines = [
        "# One endpoint of the chain a line, in order of preference. Two or three of different operators:"
    ]
    lines += ["# what decides about money has to be told alike by two of them.", *layout.choice.rpc_urls]
    return ("\n".join(lines) + "\n").encode()


def _has_accounts(layout: Layout, system: System) -> bool:
    if not all(system.account(one.name) for one in (layout.signer, layout.runner)):
        return False
    return not layout.is_split or layout.signer.name in (system.members(layout.group) or ())


def _has_folders(layout: Layout, system: System) -> bool:
    wanted = {one.home: (one.name, one.name, 0o700) for one in (layout.signer, layout.runner)}
    wanted |= {layout.settings: ("root", "root", 0o700), PurePosixPath(units.LOCKS): ("root", "root", 0o1777)}
    return all(system.folder(path) == facts for path, facts in wanted.items())


def _is_read(unit: str, system: System) -> bool:
    ran = system.run(("systemctl", "show", "--property=LoadState,NeedDaemonReload", unit))
    return ran.code == 0 and {"LoadState=loaded", "NeedDaemonReload=no"} <= set(ran.output.split())


def _is_loaded(unit: str, system: System) -> bool:
    ran = system.run(("systemctl", "show", "--property=LoadState", unit))
    return ran.code == 0 and "LoadState=loaded" in ran.output.split()


def _says(system: System, question: str, unit: str) -> bool:
    return system.run(("systemctl", "--quiet", question, unit)).code == 0
