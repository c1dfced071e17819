"""Who the child is on the host, and that nothing of it survives."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.sandbox.support import AS_ROOT, python_spec, run_inside, try_both, until
from verifier.sandbox.interface import Limits, Sandbox
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.procfs import all_pids, status_fields

pytestmark = pytest.mark.integration

# -- who it is, seen from outside -------------------------------------------------------------------


def test_on_the_host_nothing_that_runs_the_program_is_root_or_has_a_capability(sandbox: Sandbox) -> None:
    log = MemoryLog()
    code = "import os, time; os.fork(); print('up', flush=True); time.sleep(60)"
    with sandbox.start(python_spec(code), log) as process:
        until(lambda: log.size >= 6)
        pids = process.host_pids()  # type: ignore[attr-defined]
        fields = {pid: status_fields(pid) for pid in pids}
    programs = [found for found in fields.values() if found["Name"].startswith("python")]
    assert len(programs) == 2
    for found in programs:
        assert "0" not in found["Uid"].split()
        assert "0" not in found["Gid"].split()
        assert (found["Groups"] == "") == AS_ROOT
        assert found["NoNewPrivs"] == "1"
        assert found["Seccomp"] == "2"
    # The reaper too has nothing but its number.
    capabilities = {
        found[name] for found in fields.values() for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")
    }
    assert capabilities == {"0" * 16}
    if AS_ROOT:
        assert {found["CapBnd"] for found in programs} == {"0" * 16}


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user has one id only")
def test_two_runs_have_different_user_ids_on_the_host(sandbox: Sandbox) -> None:
    uids = {run_inside(sandbox, "import os; print(os.getuid())").text for _ in range(3)}
    assert len(uids) == 3
    assert all(int(uid) >= 0x7000_0000 for uid in uids)


def test_clocks_tell_the_hosts_time_and_cannot_be_set(sandbox: Sandbox) -> None:
    before = time.time()
    inside = run_inside(sandbox, "import time; print(time.time())")
    assert before <= float(inside.text) <= time.time()
    body = "import time\ndef attack(): time.clock_settime(time.CLOCK_REALTIME, time.time()); return 'set'\n"
    try_both(sandbox, body, root_only=True)


# -- survivors --------------------------------------------------------------------------------------

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        print("daemon", flush=True)
        time.sleep(300)
    os._exit(0)
os.wait()
time.sleep(300 if sys.argv[2] == "stay" else 0.3)
"""


def _alive(token: str) -> list[int]:
    found = []
    for pid in all_pids():
        with contextlib.suppress(OSError):
            if token.encode() in Path(f"/proc/{pid}/cmdline").read_bytes() and pid != os.getpid():
                found.append(pid)
    return found


def test_a_daemon_outlives_a_bare_run_but_not_a_killed_sandbox(sandbox: Sandbox) -> None:
    token = f"bare-{secrets.token_hex(8)}"
    # A pipe would keep run_bare waiting for the daemon, which is the point of the next test.
    subprocess.run(
        [sys.executable, "-I", "-c", DAEMON, token, "leave"],
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
    survivors = _alive(token)
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    assert survivors

    token = f"inside-{secrets.token_hex(8)}"
    log = MemoryLog()
    with sandbox.start(python_spec(DAEMON, token, "stay"), log) as process:
        until(lambda: b"daemon" in log.head)
        assert len(_alive(token)) >= 2
        process.kill_tree()
        assert _alive(token) == []
        ended = process.poll()
    assert ended is not None
    assert ended.killed_for == "deadline"


def test_the_end_of_the_first_process_ends_its_daemons_and_nobody_waits_for_their_pipe(
    sandbox: Sandbox,
) -> None:
    token = secrets.token_hex(8)
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-I", "-c", DAEMON, token, "leave"],
            stdout=subprocess.PIPE,
            timeout=2,
            check=True,
        )
    for pid in _alive(token):
        os.kill(pid, signal.SIGKILL)
    inside = run_inside(sandbox, DAEMON, token, "leave")
    assert inside.exit.code == 0
    assert inside.exit.killed_for is None
    assert "daemon" in inside.text
    assert _alive(token) == []


def test_a_verifier_that_is_killed_takes_its_sandboxes_along(sandbox: Sandbox) -> None:
    token = secrets.token_hex(8)
    code = f"""
import sys, threading, time
from verifier.sandbox.select import default_sandbox
from verifier.sandbox.logs import MemoryLog
from tests.sandbox.support import python_spec
process = default_sandbox().start(python_spec({DAEMON!r}, {token!r}, "stay"), MemoryLog())
print("started", flush=True)
time.sleep(300)
"""
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root) as verifier:
        assert verifier.stdout is not None
        assert verifier.stdout.readline() == b"started\n"
        until(lambda: len(_alive(token)) >= 3)
        verifier.kill()
        verifier.wait()
        until(lambda: _alive(token) == [])


def test_the_sandbox_outlives_the_thread_that_asked_for_it(sandbox: Sandbox) -> None:
    processes = []
    thread = threading.Thread(
        target=lambda: processes.append(
            sandbox.start(python_spec("import time; time.sleep(0.5)"), MemoryLog())
        )
    )
    thread.start()
    thread.join()
    with processes[0] as process:
        ended = process.wait(90)
    assert ended is not None
    assert ended.code == 0


def test_nothing_of_a_run_names_another_limit_than_its_own(sandbox: Sandbox) -> None:
    limits = Limits(processes=9, open_files=33, file_bytes=1 << 20)
    inside = run_inside(sandbox, "print(open('/proc/self/limits').read())", limits=limits)
    rows = dict(re.findall(r"^(Max [a-z ]+?)\s+(\d+|unlimited)\s", inside.text, re.M))
    assert rows["Max processes"] == "9"
    assert rows["Max open files"] == "33"
    assert rows["Max file size"] == str(1 << 20)
    assert rows["Max core file size"] == "1"
