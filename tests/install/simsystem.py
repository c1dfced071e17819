"""A machine for trying installations on: files, accounts and both service managers, as far as plans use them.

Commands change it as the real ones would, and fail where the real ones would (a service that was never read
cannot be enabled, a folder cannot be given to an account that is not there). ``fails_after`` makes the n-th
change fail, for kills in the middle.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from armlx_chain.errors import MachineError
from verifier.daemon.install.system import FileFacts, Ran

UNITS = PurePosixPath("/etc/systemd/system")


class Killed(Exception):
    """The installation was killed here."""


@dataclass
class SimSystem:
    """See the module."""

    files: dict[PurePosixPath, tuple[bytes, int]] = field(default_factory=dict)
    folders: dict[PurePosixPath, tuple[str, str, int]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=lambda: {"root": [], "wheel": [], "staff": []})
    accounts: set[str] = field(default_factory=lambda: {"root"})
    loaded: dict[str, bytes] = field(default_factory=dict)
    enabled: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    jobs: set[str] = field(default_factory=set)
    ran: list[tuple[str, ...]] = field(default_factory=list)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    fails_after: int | None = None

    # -- looking --------------------------------------------------------------------------------------

    def file(self, path: PurePosixPath) -> FileFacts | None:
        if path in self.folders:
            raise MachineError(f"{path} is no plain file.")
        found = self.files.get(path)
        return None if found is None else FileFacts(hashlib.sha256(found[0]).digest(), found[1])

    def exists(self, path: PurePosixPath) -> bool:
        return path in self.files or path in self.folders

    def folder(self, path: PurePosixPath) -> tuple[str, str, int] | None:
        return self.folders.get(path)

    def account(self, name: str) -> bool:
        return name in self.accounts

    def members(self, group: str) -> tuple[str, ...] | None:
        found = self.groups.get(group)
        return None if found is None else tuple(found)

    # -- changing -------------------------------------------------------------------------------------

    def _change(self) -> None:
        if self.fails_after is not None:
            self.fails_after -= 1
            if self.fails_after < 0:
                raise Killed

    def write(
        self, path: PurePosixPath, data: bytes, mode: int, owner: str | None, group: str | None
    ) -> None:
        self._change()
        assert owner is None or owner in self.accounts, f"{path} for {owner}, who is not there"
        self.files[path] = (data, mode)

    def remove(self, path: PurePosixPath) -> None:
        self._change()
        self.files.pop(path, None)

    def run(self, argv: Sequence[str], *, asks: bool = False) -> Ran:
        words = tuple(argv)
        self.ran.append(words)
        if asks:
            self.asked.append(words)
        name = words[0].replace("-", "_")
        answer = getattr(self, f"_{name}")(words[1:])
        return answer if isinstance(answer, Ran) else Ran(0 if answer else 1, "")

    def _install(self, words: tuple[str, ...]) -> bool:
        self._change()
        _, _, owner, _, group, _, mode, path = words
        if owner not in self.accounts or group not in self.groups:
            return False
        self.folders[PurePosixPath(path)] = (owner, group, int(mode, 8))
        return True

    def _lines(self, path: str) -> list[list[str]]:
        text = self.files[PurePosixPath(path)][0].decode()
        return [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]

    def _systemd_sysusers(self, words: tuple[str, ...]) -> bool:
        self._change()
        for kind, name, group, *_ in self._lines(words[0]):
            if kind == "u":
                self.accounts.add(name)
                self.groups.setdefault(name, [])
            elif name not in self.groups[group]:
                self.groups[group].append(name)
        return True

    def _systemd_tmpfiles(self, words: tuple[str, ...]) -> bool:
        self._change()
        for kind, path, mode, owner, group, _ in self._lines(words[1]):
            if kind != "d" or owner not in self.accounts or group not in self.groups:
                return False
            self.folders[PurePosixPath(path)] = (owner, group, int(mode, 8))
        return True

    def _systemctl(self, words: tuple[str, ...]) -> bool | Ran:
        units = {path.name: data for path, (data, _) in self.files.items() if path.parent == UNITS}
        match words:
            case ("--version",):
                return True
            case ("show", _, unit):
                state = "loaded" if unit in self.loaded else "not-found"
                stale = "yes" if self.loaded.get(unit) != units.get(unit) else "no"
                return Ran(0, f"LoadState={state}\nNeedDaemonReload={stale}\n")
            case ("--quiet", "is-enabled", unit):
                return unit in self.enabled
            case ("--quiet", "is-active", unit):
                return unit in self.active
        self._change()
        match words:
            case ("daemon-reload",):
                self.loaded = units
                return True
            case ("enable", *names):
                if not set(names) <= set(self.loaded):
                    return Ran(1, "Failed to enable unit: it does not exist")
                self.enabled |= set(names)
                return True
            case ("disable", "--now", name):
                self.enabled.discard(name)
                self.active.discard(name)
                return True
        raise AssertionError(f"systemctl {words} is not simulated")

    def _dscl(self, words: tuple[str, ...]) -> Ran:
        return Ran(0, "root 0\ndaemon 1\nnobody -2\n_applesomething 399\nme 501\n")

    def _dseditgroup(self, words: tuple[str, ...]) -> bool:
        self._change()
        if words[1] == "create":
            self.groups.setdefault(words[2], [])
            return True
        _, _, _, account, _, _, group = words
        if account not in self.accounts or group not in self.groups:
            return False
        self.groups[group].append(account)
        return True

    def _sysadminctl(self, words: tuple[str, ...]) -> bool:
        self._change()
        name = words[1]
        if "-roleAccount" in words:
            number = int(words[words.index("-UID") + 1])
            if not name.startswith("_") or not 200 <= number <= 400 or number == 399:
                return False
        self.accounts.add(name)
        return True

    def _createhomedir(self, words: tuple[str, ...]) -> bool:
        self._change()
        name = words[-1]
        self.folders[PurePosixPath("/Users") / name / "Library"] = (name, "staff", 0o700)
        return name in self.accounts

    def _sudo(self, words: tuple[str, ...]) -> bool:
        self._change()
        _, name, _, _, _, mode, path = words
        if name not in self.accounts:
            return False
        self.folders.setdefault(PurePosixPath(path), (name, "staff", int(mode, 8)))
        return True

    def _launchctl(self, words: tuple[str, ...]) -> bool:
        if words[0] == "print":
            return words[1] in self.jobs
        self._change()
        self.jobs.discard(words[1])
        return True

    def state(self) -> tuple[object, ...]:
        """Everything durable, to compare."""
        groups = {name: sorted(members) for name, members in self.groups.items()}
        return self.files, self.folders, groups, self.accounts, self.loaded, self.enabled
