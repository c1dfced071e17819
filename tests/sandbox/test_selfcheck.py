"""The whole self-check, on every way in which this back-end can run here."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import verifier
from tests.sandbox.support import AS_ROOT
from verifier.sandbox.interface import Sandbox
from verifier.sandbox.seccomp import RET_ALLOW
from verifier.sandbox.selfcheck import run_selfcheck

pytestmark = pytest.mark.integration

SYSTEM_PYTHON = Path("/usr/bin/python3")
AS_ORDINARY_USER = """
import sys
from pathlib import Path
from verifier.sandbox.bubblewrap import BubblewrapSandbox
from verifier.sandbox.selfcheck import run_selfcheck
for use_cgroups in (True, False):
    results = run_selfcheck(BubblewrapSandbox(use_cgroups=use_cgroups))
    print(len(results), "checks")
    for result in results:
        if not result.passed:
            print("FAILED", result)
"""


def test_every_promise_holds(either: Sandbox) -> None:
    results = run_selfcheck(either)
    assert [result for result in results if not result.passed] == []
    assert len({result.name for result in results}) >= 50


def test_the_check_notices_a_network_and_a_missing_filter(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifier.sandbox import bubblewrap

    allow_all = struct.pack("<HBBI", 0x06, 0, 0, RET_ALLOW)
    monkeypatch.setattr(bubblewrap, "filter_program", lambda machine: allow_all)
    honest = bubblewrap.options
    monkeypatch.setattr(
        bubblewrap, "options", lambda *given: [one for one in honest(*given) if one != "--unshare-net"]
    )
    failed = {result.name for result in run_selfcheck(sandbox) if not result.passed}
    assert failed == {
        "no TCP connection to the host's loopback",
        "no UDP datagram to the host's loopback",
        "no connection to an abstract unix socket of the host",
    } | (failed & {"no name is resolved"})


def test_the_check_notices_host_folders_and_a_leaking_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifier.sandbox import bubblewrap

    honest = bubblewrap.options
    source = str(Path(verifier.__file__).parent)

    def weak(*given: Any) -> list[str]:
        leaks = (
            ["--setenv", "LEAK", os.environ["ARMLX_SELFCHECK_SECRET"]]
            if "ARMLX_SELFCHECK_SECRET" in os.environ
            else []
        )
        found = list(honest(*given))
        end = found.index("--remount-ro")
        ways = [
            part
            for parent in reversed(Path(source).parents[:-1])
            for part in ("--perms", "0755", "--dir", str(parent))
        ]
        return [*found[:end], *ways, "--ro-bind", source, source, *found[end:], *leaks]

    monkeypatch.setattr(bubblewrap, "options", weak)
    failed = {result.name for result in run_selfcheck(sandbox) if not result.passed}
    assert failed == {"the verifier's source is not visible", "nothing of the verifier's environment arrives"}


def test_every_promise_holds_for_an_ordinary_user(sandbox: Sandbox, open_folder: Path) -> None:
    if not AS_ROOT:
        pytest.skip("the other tests already run as an ordinary user")
    if sys.version_info < (3, 11) or not _usable(SYSTEM_PYTHON):
        pytest.skip("no system Python of 3.11 or later that another user could run")
    root = Path(verifier.__file__).parent.parent
    for package in ("verifier/sandbox", "armlx_chain"):
        (open_folder / package).mkdir(parents=True)
        for source in (root / package).glob("*.py"):
            shutil.copy(source, open_folder / package)
    (open_folder / "verifier" / "__init__.py").touch()
    subprocess.run(["chmod", "-R", "a+rX", str(open_folder)], check=True)
    done = subprocess.run(
        [
            "setpriv",
            "--reuid",
            "12345",
            "--regid",
            "12345",
            "--clear-groups",
            SYSTEM_PYTHON,
            "-c",
            AS_ORDINARY_USER,
        ],
        env={
            "PYTHONPATH": str(open_folder),
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/nowhere",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stdout
    assert done.stdout.count("checks") == 2


def _usable(python: Path) -> bool:
    code = "import sys; sys.exit(sys.version_info < (3, 11))"
    return python.exists() and subprocess.run([python, "-c", code], check=False).returncode == 0
