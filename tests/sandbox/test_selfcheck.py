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
from armlx_chain.errors import SandboxUnavailable
from tests.sandbox.support import AS_ROOT
from verifier.sandbox import layout, outside, outside_trees
from verifier.sandbox.bench import Bench
from verifier.sandbox.interface import Sandbox
from verifier.sandbox.python_env import running_interpreter
from verifier.sandbox.seccomp import RET_ALLOW
from verifier.sandbox.selfcheck import run_selfcheck

pytestmark = pytest.mark.integration

SYSTEM_PYTHON = Path("/usr/bin/python3")
AS_ORDINARY_USER = """
import sys
from pathlib import Path
from verifier.sandbox.bubblewrap import BubblewrapSandbox
from verifier.sandbox.selfcheck import run_selfcheck
results = run_selfcheck(BubblewrapSandbox())
print(len(results), "checks")
for result in results:
    if not result.passed:
        print("FAILED", result)
"""


def test_every_promise_holds(sandbox: Sandbox) -> None:
    results = run_selfcheck(sandbox)
    assert [result for result in results if not result.passed] == []
    assert len({result.name for result in results}) == len(results) >= 150
    assert {result.group for result in results} >= {
        *("network", "processes", "rights", "proc", "files", "kernel", "limits", "log", "end", "setup")
    }


def test_what_control_groups_do_elsewhere_holds_without_them_too(sandbox: Sandbox) -> None:
    from verifier.sandbox.bubblewrap import BubblewrapSandbox

    bench = Bench(BubblewrapSandbox(use_cgroups=False), running_interpreter())
    checks = (
        *(outside._memory_bomb, outside._memory_across_processes, outside._file_flood),
        *(outside._cpu_of_children, outside._usage_while_running),
        *(outside_trees._survivor, outside_trees._frozen, outside_trees._frozen_killed),
    )
    assert [result for check in checks if not (result := check(bench)).passed] == []


def seen_from_inside(sandbox: Sandbox) -> dict[str, str]:
    """The names of the promises that do not hold, with what was seen."""
    from verifier.sandbox.selfcheck import _seen_from_inside

    results = _seen_from_inside(Bench(sandbox, running_interpreter()))
    return {result.name: result.detail for result in results if not result.passed}


def test_the_check_notices_a_network_and_a_missing_filter(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifier.sandbox import bubblewrap

    allow_all = struct.pack("<HBBI", 0x06, 0, 0, RET_ALLOW)
    monkeypatch.setattr(bubblewrap, "filter_program", lambda machine, **allowed: allow_all)
    honest = layout.options
    monkeypatch.setattr(
        bubblewrap, "options", lambda *given: [one for one in honest(*given) if one != "--unshare-net"]
    )
    failed = seen_from_inside(sandbox)
    assert set(failed) >= {
        "no TCP connection to the host's loopback",
        "no UDP datagram to the host's loopback",
        "nothing can listen",
        "no connection to an abstract unix socket of the host",
        "no datagram to an abstract unix socket of the host",
        "no connection to a unix socket in a mounted folder",
        "a pair of sockets cannot be turned on another one",
        "no netlink socket",
        "no process can be traced",
        "there is no System V shared memory",
        "there are no memory files",
        "the processors to run on cannot be chosen",
    }
    # What the filter has nothing to do with still holds.
    assert not {name for name in failed if "mounted file" in name or "key file" in name or "bounded" in name}
    assert all(not detail.startswith("refused: ") for detail in failed.values())


def test_mounts_that_can_be_written_are_noticed_where_nothing_else_protects_them(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifier.sandbox import bubblewrap

    honest = layout.options
    weak = {"--ro-bind": "--bind"}
    monkeypatch.setattr(bubblewrap, "options", lambda *given: [weak.get(one, one) for one in honest(*given)])
    failed = set(seen_from_inside(sandbox))
    # Started by root, the child is a user of its own: the files' modes hold without the mount's.
    assert failed == set() if AS_ROOT else "a mounted file cannot be written" in failed


def test_a_sandbox_without_processes_of_its_own_is_not_believed(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifier.sandbox import bubblewrap

    honest = layout.options
    monkeypatch.setattr(
        bubblewrap, "options", lambda *given: [one for one in honest(*given) if one != "--unshare-pid"]
    )
    with pytest.raises(SandboxUnavailable):
        run_selfcheck(sandbox)


def test_the_check_notices_host_folders_and_a_leaking_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifier.sandbox import bubblewrap

    honest = layout.options
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
    failed = set(seen_from_inside(sandbox))
    assert failed == {"the verifier's source is not visible", "nothing of the verifier's environment arrives"}


def test_every_promise_holds_for_an_ordinary_user(sandbox: Sandbox, open_folder: Path) -> None:
    if not AS_ROOT:
        pytest.skip("the other tests already run as an ordinary user")
    if sys.version_info < (3, 11) or not _usable(SYSTEM_PYTHON):
        pytest.skip("no system Python of 3.11 or later that another user could run")
    root = Path(verifier.__file__).parent.parent
    for package in ("verifier/sandbox", "verifier/sandbox/inside", "armlx_chain"):
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
    assert "FAILED" not in done.stdout, done.stdout
    assert done.stdout.count("checks") == 1


def _usable(python: Path) -> bool:
    code = "import sys; sys.exit(sys.version_info < (3, 11))"
    return python.exists() and subprocess.run([python, "-c", code], check=False).returncode == 0
