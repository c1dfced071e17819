"""Bounds and counts: memory, disk, processes, descriptors, the log, the clock. On both ways of counting."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path, PurePosixPath

import pytest

from armlx_chain.errors import VerifierFault
from tests.sandbox.support import python_spec, run_bare, run_inside, until
from verifier.sandbox.interface import Exit, Limits, Sandbox, SandboxSpec
from verifier.sandbox.logs import FileLog, MemoryLog

pytestmark = pytest.mark.integration

MIB = 1 << 20


def test_a_memory_bomb_in_one_process_is_killed(either: Sandbox) -> None:
    code = "b = bytearray(int(__import__('sys').argv[1])); b[::4096] = b'x' * len(b[::4096]); print('held')"
    assert "held" in run_bare(code, str(300 * MIB))
    code += "\nimport time; time.sleep(30)"
    inside = run_inside(either, code, str(300 * MIB), limits=Limits(memory_bytes=150 * MIB))
    assert inside.exit == Exit(-9, "memory")


def test_a_memory_bomb_spread_over_many_processes_is_killed(either: Sandbox) -> None:
    code = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        held = bytearray(b"x") * (40 << 20)
        time.sleep(300)
        os._exit(0)
time.sleep(300)
"""
    inside = run_inside(either, code, limits=Limits(memory_bytes=200 * MIB))
    assert inside.exit.killed_for == "memory"


def test_memory_in_a_temporary_folder_counts_where_a_control_group_counts(sandbox: Sandbox) -> None:
    code = """
import os
for number in range(3):
    with open(f"/tmp/{number}", "wb") as sink: sink.write(b"x" * (60 << 20))
print("written")
"""
    roomy = run_inside(sandbox, code, limits=Limits(memory_bytes=600 * MIB))
    assert "written" in roomy.text
    group = sandbox.start(python_spec("import time; time.sleep(9)"), MemoryLog())
    with group:
        counted = group._tree._group is not None and group._tree._group.memory is not None  # type: ignore[attr-defined]
    if not counted:
        pytest.skip("no memory control group can be written here")
    tight = run_inside(sandbox, code, limits=Limits(memory_bytes=100 * MIB))
    assert tight.exit.killed_for == "memory"


def test_filling_every_writable_place_stops_at_its_size(sandbox: Sandbox) -> None:
    code = """
import os, sys
def fill(folder):
    total = 0
    try:
        for number in range(100):
            with open(f"{folder}/{number}", "wb", buffering=0) as sink:
                for _ in range(4): total += sink.write(bytes(1 << 20))
    except OSError as error: print(type(error).__name__, error.errno, end=" ")
    print(folder, total)
for folder in sys.argv[1:]: fill(folder)
"""
    limits = Limits(scratch_bytes=10 * MIB, file_bytes=4 * MIB, memory_bytes=512 * MIB)
    places = ["/tmp", "/tmp/home", "/scratch", "/dev/shm", "/", "/dev", "/proc", "/usr"]
    inside = run_inside(sandbox, code, *places, limits=limits, scratch=[PurePosixPath("/scratch")])
    written = {line.split()[-2]: int(line.split()[-1]) for line in inside.text.splitlines()}
    assert 9 * MIB <= written["/tmp"] <= 10 * MIB
    assert written["/tmp/home"] == 0, "one folder with /tmp"
    assert 9 * MIB <= written["/scratch"] <= 10 * MIB
    assert written["/dev/shm"] <= 10 * MIB
    assert [written[name] for name in ("/", "/dev", "/proc", "/usr")] == [0, 0, 0, 0]


def test_a_fork_bomb_is_bounded_and_ends(either: Sandbox) -> None:
    code = """
import os, sys, time
made = 0
for _ in range(200):
    try: child = os.fork()
    except OSError: break
    if child == 0:
        time.sleep(2)
        os._exit(0)
    made += 1
print("made", made)
"""
    assert "made 200" in run_bare(code)
    inside = run_inside(either, code, limits=Limits(processes=20))
    made = int(inside.text.split()[-1])
    assert 10 <= made < 20
    endless = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    with either.start(python_spec(endless, limits=Limits(processes=20)), MemoryLog()) as process:
        assert process.wait(0.5) is None
        process.kill_tree()
        assert process.poll() == Exit(-9, "deadline")


def test_threads_count_as_processes(sandbox: Sandbox) -> None:
    code = """
import threading, time
made = 0
try:
    for _ in range(100):
        threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
        made += 1
except RuntimeError: pass
print(made)
"""
    inside = run_inside(sandbox, code, limits=Limits(processes=10))
    assert 5 <= int(inside.text.split()[-1]) < 10


def test_descriptors_run_out(sandbox: Sandbox) -> None:
    code = """
import os
held = []
try:
    while len(held) < 900: held.append(os.dup(1))
except OSError: pass
print("held", len(held))
"""
    assert "held 900" in run_bare(code)
    assert "held 37" in run_inside(sandbox, code, limits=Limits(open_files=40)).text


def test_no_core_file_is_written(sandbox: Sandbox) -> None:
    code = """
import os, resource, time
if os.fork() == 0:
    os.abort()
_, status = os.wait()
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
try: resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
except ValueError: print("cannot be raised")
cores = [name for name in os.listdir("/tmp") if "core" in name]
print("core" if os.WCOREDUMP(status) else "no core", cores)
"""
    assert run_inside(sandbox, code).text.splitlines() == ["cannot be raised", "no core []"]


# -- the log -------------------------------------------------------------------------------------------


def test_a_log_flood_is_killed_at_its_limit_and_the_digest_is_of_what_was_kept(
    either: Sandbox, tmp_path: Path
) -> None:
    limits = Limits(log_bytes=5 * MIB + 7)
    with FileLog(tmp_path / "log") as log:
        code = "import os\nfor n in range(10**9): os.write(1, b'%015d\\n' % n)"
        with either.start(python_spec(code, limits=limits), log) as process:
            ended = process.wait(60)
    assert ended == Exit(-9, "log")
    kept = (tmp_path / "log").read_bytes()
    assert len(kept) == log.size == 5 * MIB + 7
    assert hashlib.sha256(kept).hexdigest() == log.sha256()
    assert kept == b"".join(b"%015d\n" % n for n in range(len(kept) // 16 + 1))[: len(kept)]
    assert log.head == kept[: 1 << 16]
    assert log.tail == kept[-(1 << 16) :]


def test_a_log_of_exactly_the_limit_minus_one_is_whole(sandbox: Sandbox) -> None:
    inside = run_inside(sandbox, "print('x' * 998)", limits=Limits(log_bytes=1000))
    assert inside.exit == Exit(0, None)
    assert inside.log.size == 999


def test_what_was_written_just_before_a_kill_is_kept(sandbox: Sandbox) -> None:
    log = MemoryLog()
    code = "import os, time\nos.write(1, b'a' * 60000); os.write(2, b'end'); time.sleep(60)"
    with sandbox.start(python_spec(code), log) as process:
        until(lambda: log.size >= 60003)
        process.kill_tree()
    assert log.head.endswith(b"end")


def test_a_full_disk_is_the_verifiers_fault_and_ends_the_run(sandbox: Sandbox) -> None:
    class FullDisk:
        size = 0

        def write(self, chunk: bytes) -> None:
            raise OSError(28, "No space left on device")

    process = sandbox.start(python_spec("import time; print('x', flush=True); time.sleep(60)"), FullDisk())
    with pytest.raises(VerifierFault, match="No space left"):
        process.wait(90)


def test_closing_both_outputs_does_not_end_the_run(sandbox: Sandbox) -> None:
    code = "import os, time\nfor n in (1, 2): os.close(n)\ntime.sleep(0.4); os._exit(5)"
    inside = run_inside(sandbox, code)
    assert inside.exit == Exit(5, None)
    assert inside.usage.wall_seconds >= 0.4
    # Its own start is in it; a loop that waits busily would need as long as the wall.
    assert inside.usage.cpu_seconds < 0.3 or inside.usage.cpu_seconds < inside.usage.wall_seconds / 2


# -- the clock --------------------------------------------------------------------------------------------


def test_cpu_seconds_follow_what_the_program_used(either: Sandbox) -> None:
    code = """
import time
while True:
    print("%.6f" % time.process_time(), flush=True)
    end = time.process_time() + 0.05
    while time.process_time() < end: pass
"""
    log = MemoryLog()

    def printed() -> float:
        return float(log.head.rpartition(b"\n")[0].split()[-1])

    with either.start(python_spec(code), log) as process:
        until(lambda: b"\n" in log.head)
        for _ in range(8):
            before, measured, size = printed(), process.usage().cpu_seconds, log.size
            until(lambda: log.size > size + 10)  # noqa: B023 (called at once)
            # Whatever else the machine does: the figure lies between what the program itself saw before and
            # after. Start-up (loader, setpriv, imports) is not in the program's own first figure.
            assert before - 0.005 <= measured <= printed() + 1.0


def test_cpu_time_of_threads_and_of_children_counts(either: Sandbox) -> None:
    code = """
import os, threading, time
def burn():
    end = time.thread_time() + 0.2
    while time.thread_time() < end: pass
threads = [threading.Thread(target=burn) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
child = os.fork()
if child == 0:
    burn()
    os._exit(0)
os.waitpid(child, 0)
print("done", flush=True)
time.sleep(0.2)
"""
    used = run_inside(either, code).usage.cpu_seconds
    assert 0.55 < used < 2.5


def test_children_that_nobody_waits_for_count_where_a_control_group_counts(sandbox: Sandbox) -> None:
    code = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
reader, writer = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        end = time.process_time() + 0.15
        while time.process_time() < end: pass
        os._exit(0)
os.close(writer)
os.read(reader, 1)
"""
    with sandbox.start(python_spec("import time; time.sleep(9)"), MemoryLog()) as process:
        if process._tree._group is None or process._tree._group.cpu is None:  # type: ignore[attr-defined]
            pytest.skip("no control group that counts CPU time can be written here")
    assert run_inside(sandbox, code).usage.cpu_seconds > 0.44


def test_the_time_of_children_that_nobody_waits_for_adds_up_without_a_control_group(
    either: Sandbox,
) -> None:
    code = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(3):
    reader, writer = os.pipe()
    if os.fork() == 0:
        end = time.process_time() + 0.5
        while time.process_time() < end: pass
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)
"""
    # Three turns of half a second; of each at most the last 50 ms, or a look that came late, may be missed.
    assert run_inside(either, code).usage.cpu_seconds > 1.1


def test_reading_the_usage_is_cheap(either: Sandbox) -> None:
    with either.start(python_spec("import time; time.sleep(30)"), MemoryLog()) as process:
        process.usage()
        started = time.process_time()
        for _ in range(50):
            process.usage()
        each = (time.process_time() - started) / 50
    assert each < 0.1


def test_starting_is_cheap(sandbox: Sandbox) -> None:
    def used() -> float:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system

    before = used()
    for _ in range(9):
        with sandbox.start(SandboxSpec(argv=["/bin/true"]), MemoryLog()) as process:
            ended = process.wait(90)
        assert ended == Exit(0, None)
    # Processor time, ours and the launcher's: some 15 ms on an idle machine.
    assert (used() - before) / 9 < 0.3


def test_many_sandboxes_at_once_do_not_mix(sandbox: Sandbox) -> None:
    logs = [MemoryLog() for _ in range(6)]
    processes = [
        sandbox.start(
            python_spec(f"import time; time.sleep(0.2); print({number}); raise SystemExit({number})"), log
        )
        for number, log in enumerate(logs)
    ]
    for number, (process, log) in enumerate(zip(processes, logs, strict=True)):
        assert process.wait(60) == Exit(number, None)
        assert log.text().strip() == str(number)


def test_no_descriptor_of_the_verifier_is_lost(sandbox: Sandbox) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    run_inside(sandbox, "print(1)")
    before = count()
    for _ in range(5):
        run_inside(sandbox, "print(1)")
        with sandbox.start(python_spec("import time; time.sleep(30)"), MemoryLog()):
            pass
    assert count() == before
