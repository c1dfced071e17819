"""Stopping a whole tree, letting it go on, and killing it while it stands still."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from armlx_chain.errors import VerifierFault
from tests.sandbox.support import python_spec, until
from verifier.sandbox.interface import Sandbox
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.proctable import FollowedTree
from verifier.sandbox.stopping import signal_all, stop_all

pytestmark = pytest.mark.integration

TICKING = """
import os, time
mine = b"a"
if os.fork() == 0:
    os.setsid()
    mine = b"b" if os.fork() else b"c"
while True:
    os.write(1, mine)
    time.sleep(0.001)
"""


def still(log: MemoryLog) -> bool:
    """Whether nothing more is written: what was in the pipe has arrived, and then nothing."""
    before = -1
    while before != log.size:
        before = log.size
        time.sleep(0.2)
    time.sleep(0.3)
    return log.size == before


def test_a_frozen_tree_writes_nothing_and_goes_on_when_thawed(any_way: Sandbox) -> None:
    log = MemoryLog()
    with any_way.start(python_spec(TICKING), log) as process:
        until(lambda: set(log.head + log.tail) >= set(b"abc"))
        for _ in range(2):
            process.freeze()
            process.freeze()
            assert still(log)
            used = process.usage().cpu_seconds
            time.sleep(0.1)
            assert process.usage().cpu_seconds == used
            assert process.poll() is None
            stopped_at = log.size
            process.thaw()
            process.thaw()
            until(lambda: log.size > stopped_at + 100)  # noqa: B023 (called at once)


def test_a_frozen_tree_is_killed_like_any_other(any_way: Sandbox) -> None:
    log = MemoryLog()
    with any_way.start(python_spec(TICKING), log) as process:
        until(lambda: log.size > 0)
        process.freeze()
        process.kill_tree()
        ended = process.poll()
        process.freeze()
        process.thaw()
    assert ended is not None
    assert ended.killed_for == "deadline"


def test_a_tree_that_forks_all_the_time_is_frozen_whole(any_way: Sandbox) -> None:
    code = """
import os, time
print("up", flush=True)
while True:
    if os.fork() == 0:
        if os.fork() == 0: time.sleep(0.002)
        os.write(1, b".")
        os._exit(0)
    os.wait()
"""
    log = MemoryLog()
    with any_way.start(python_spec(code), log) as process:
        until(lambda: log.size > 50)
        process.freeze()
        assert still(log)


def test_a_number_that_passed_to_a_stranger_is_not_signalled() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as stranger:
        asked: list[int] = []

        def belongs(pid: int) -> bool:
            asked.append(pid)
            return False

        signal_all([stranger.pid], signal.SIGKILL, belongs)
        assert asked == [stranger.pid]
        stranger.communicate(b"", timeout=60)
    assert stranger.returncode == 0


def test_leaving_the_context_ends_a_frozen_tree(any_way: Sandbox) -> None:
    with any_way.start(python_spec("import time; time.sleep(300)"), MemoryLog()) as process:
        process.freeze()
    ended = process.poll()
    assert ended is not None
    assert ended.code < 0


def test_a_verifier_killed_while_its_sandbox_is_frozen_leaves_nothing_after_the_next_start(
    sandbox: Sandbox,
) -> None:
    code = f"""
import time
from tests.sandbox.support import python_spec
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.select import default_sandbox
process = default_sandbox().start(python_spec({TICKING!r}), MemoryLog())
process.freeze()
print(*process.host_pids(), flush=True)
time.sleep(300)
"""
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root) as verifier:
        assert verifier.stdout is not None
        pids = [int(text) for text in verifier.stdout.readline().split()]
        verifier.kill()
        verifier.wait()
    assert pids
    from verifier.sandbox.bubblewrap import BubblewrapSandbox

    BubblewrapSandbox()  # the next start
    until(lambda: not any(_runs_or_stands(pid) for pid in pids))


def _runs_or_stands(pid: int) -> bool:
    from verifier.sandbox.procfs import is_zombie

    return Path(f"/proc/{pid}").exists() and not is_zombie(pid)


def test_a_followed_tree_is_frozen_and_goes_on(tmp_path: Path) -> None:
    ticks = tmp_path / "ticks"
    with ticks.open("wb") as sink:
        popen = subprocess.Popen([sys.executable, "-c", TICKING], stdout=sink, start_new_session=True)
    tree = FollowedTree(popen.pid, uid=None, memory_bytes=1 << 30)
    try:
        until(lambda: set(ticks.read_bytes()) >= set(b"abc") and len(tree.pids()) == 3)
        tree.freeze()
        size = ticks.stat().st_size
        time.sleep(0.2)
        assert ticks.stat().st_size == size
        tree.thaw()
        until(lambda: ticks.stat().st_size > size)
        tree.freeze()
        tree.kill()
        popen.wait(60)
        assert tree.wait_gone(60)
    finally:
        tree.kill()
        popen.wait()


@pytest.mark.unit
def test_what_never_stops_is_a_fault_and_everything_goes_on_then() -> None:
    child = subprocess.Popen(["/bin/sleep", "300"])
    try:
        with pytest.raises(VerifierFault, match="could not be stopped"):
            stop_all(lambda: [child.pid], lambda pid: False, seconds=0.05)
        os.kill(child.pid, signal.SIGTERM)  # would stay pending in a stopped one
        assert child.wait(60) == -signal.SIGTERM
    finally:
        child.kill()
        child.wait()
