"""launchd's files, as text and rules: nobody has loaded them on a Mac for this project yet."""

from __future__ import annotations

import plistlib
from pathlib import Path
from typing import Any

import pytest

from verifier.daemon.install import plists
from verifier.daemon.install.layout import Accounts, Choice, macos_layout

pytestmark = pytest.mark.unit

SECRET = "https://rpc.example/v3/0123456789abcdef"
_TYPES: dict[str, type | tuple[type, ...]] = {
    "Label": str,
    "ProgramArguments": list,
    "WorkingDirectory": str,
    "EnvironmentVariables": dict,
    "RunAtLoad": bool,
    "KeepAlive": (bool, dict),
    "ThrottleInterval": int,
    "StandardOutPath": str,
    "StandardErrorPath": str,
    "UserName": str,
    "GroupName": str,
    "InitGroups": bool,
    "Umask": int,
    "ExitTimeOut": int,
    "LimitLoadToSessionType": str,
    "ProcessType": str,
}
"""Keys of launchd.plist(5) that are used, with their types: a misspelt one would be ignored in silence."""


def layout_of(accounts: Accounts) -> Any:
    program = Path("/opt/armlx/bin/armlx-validator")
    return macos_layout(Choice(program, rpc_urls=(SECRET,), accounts=accounts))


def documents() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for accounts in Accounts:
        layout = layout_of(accounts)
        found.append((f"signer {accounts}", plistlib.loads(plists.signer_plist(layout))))
        if layout.is_split:
            found.append(("runner", plistlib.loads(plists.runner_plist(layout))))
    return found


@pytest.mark.parametrize(("name", "tree"), documents(), ids=[name for name, _ in documents()])
def test_every_document_is_one_that_launchd_takes(name: str, tree: dict[str, Any]) -> None:
    for key, value in tree.items():
        assert isinstance(value, _TYPES[key]), key
    assert all(isinstance(word, str) and word for word in tree["ProgramArguments"])
    assert tree["ProgramArguments"][0].startswith("/")
    assert tree["ExitTimeOut"] > 600
    assert SECRET not in str(tree)
    assert set(tree["EnvironmentVariables"]) == {"PATH"}


def test_what_runs_candidates_runs_in_a_session_that_sees_metal_and_the_rest_does_not() -> None:
    metal = {name for name, tree in documents() if tree.get("LimitLoadToSessionType") == "Aqua"}
    assert metal == {"runner", "signer unsigned", "signer one-account"}
    for name, tree in documents():
        # launchd starts an agent as its session's account, and refuses one that names another.
        assert ("UserName" in tree) == (name not in metal)
        assert (tree.get("ProcessType") == "Interactive") == (name in metal)


def test_the_runner_is_told_of_no_key() -> None:
    words = " ".join(dict(documents())["runner"]["ProgramArguments"])
    for word in ("passphrase", "--account", "rpc", "settings", "signer"):
        assert word not in words


def test_the_socket_is_short_enough_for_a_mac() -> None:
    socket = layout_of(Accounts.TWO).socket
    assert len(str(socket).encode()) < 104


def test_logs_are_turned_over_as_their_writers() -> None:
    text = plists.newsyslog(layout_of(Accounts.TWO))
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert [(row[1], row[2]) for row in rows] == [("_armlxsigner:", "640"), ("armlx-runner:", "640")]
    written = {tree["StandardErrorPath"] for name, tree in documents() if name in ("runner", "signer two")}
    assert {row[0] for row in rows} == written
