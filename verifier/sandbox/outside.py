"""What the verifier sees of a run and does to it: the self-check's second half."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from verifier.sandbox.bench import MIB, PATIENCE, Bench
from verifier.sandbox.interface import Exit, Limits, SandboxSpec
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.outside_trees import TREE_CHECKS
from verifier.sandbox.promises import CheckResult, result

_SCRATCH: Final = PurePosixPath("/scratch")


def observe(bench: Bench) -> Iterator[CheckResult]:
    """Some thirty short runs."""
    for check in (*_CHECKS, *TREE_CHECKS):
        yield check(bench)


# -- the log ----------------------------------------------------------------------------------------------


def _log_is_complete(bench: Bench) -> CheckResult:
    code = "import os\nfor n in range(2000): os.write(1 + n % 2, b'%06d\\n' % n)"
    run = bench.run(code)
    expected = hashlib.sha256(b"".join(b"%06d\n" % number for number in range(2000))).hexdigest()
    name = "both outputs arrive byte for byte, in order"
    return result("log", name, run.log.sha256() == expected, run.log.text()[:80])


def _log_flood(bench: Bench) -> CheckResult:
    limits = Limits(log_bytes=3 * MIB)
    run = bench.run("import os\nwhile True: os.write(1, b'x' * 65536)", limits=limits)
    expected = hashlib.sha256(b"x" * (3 * MIB)).hexdigest()
    good = run.exit.killed_for == "log" and run.log.size == 3 * MIB and run.log.sha256() == expected
    return result("log", "a flood of output ends at its limit", good, f"{run.exit} {run.log.size} bytes")


def _huge_line(bench: Bench) -> CheckResult:
    size = 6 * MIB
    run = bench.run(f"import os\nfor _ in range({size // 65536}): os.write(1, b'y' * 65536)")
    kept = len(run.log.text())
    good = run.log.size == size and run.log.sha256() == hashlib.sha256(b"y" * size).hexdigest()
    detail = f"{run.log.size} bytes in one line, {kept} kept"
    return result("log", "a huge line is counted whole and kept in part", good and kept < MIB, detail)


def _terminal_escapes(bench: Bench) -> CheckResult:
    hostile = "\x1b[2J\x1b]0;title\x07\rval_bpb: 0.1\x9b5A\u202eabc\x08\x00"
    run = bench.run(f"import os\nos.write(1, {hostile.encode()!r} + bytes(range(256)))")
    shown = run.log.shown()
    arrived = run.log.head.startswith(hostile.encode())
    good = arrived and all(one in "\n\t" or one.isprintable() for one in shown)
    return result("log", "escape sequences arrive and are harmless when shown", good, repr(shown[:60]))


def _closed_outputs(bench: Bench) -> CheckResult:
    run = bench.run("import os, time\nos.close(1); os.close(2); time.sleep(0.2)\nraise SystemExit(5)")
    return result("log", "closing both outputs ends nothing", run.exit == Exit(5, None), run.exit)


# -- the end ----------------------------------------------------------------------------------------------


def _exit_status(bench: Bench) -> CheckResult:
    run = bench.run("raise SystemExit(7)")
    return result("end", "the exit status arrives", run.exit == Exit(7, None), run.exit)


def _death_by_signal(bench: Bench) -> CheckResult:
    run = bench.run("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    return result("end", "death by a signal arrives", run.exit == Exit(-15, None), run.exit)


def _missing_program(bench: Bench) -> CheckResult:
    log = MemoryLog()
    with bench.sandbox.start(SandboxSpec(argv=["/no/such/program"]), log) as process:
        ended = process.wait(PATIENCE)
    failed = ended is not None and ended.code != 0
    return result(
        "end", "a program that does not exist is a failed program", failed, f"{ended} {log.shown()}"
    )


def _host_user(bench: Bench) -> CheckResult:
    """The reaper with pid 1 inside may be the verifier's; whatever runs the program may not."""
    process, _ = bench.begin("import time; print('up', flush=True); time.sleep(60)")
    with process:
        lister = getattr(process, "host_pids", None)
        pids = lister() if lister else []
        shown = {pid: _owner_and_command(pid) for pid in pids}
    programs = [owner for owner, command in shown.values() if "bwrap" not in command]
    good = bool(programs) and 0 not in programs
    return result("rights", "the program is not root on the host", good, shown)


def _owner_and_command(pid: int) -> tuple[int, str]:
    done = subprocess.run(
        ["/bin/ps", "-o", "uid=,comm=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    fields = done.stdout.split(None, 1)
    return (int(fields[0]), fields[1].strip()) if len(fields) == 2 else (-1, "gone bwrap")


# -- memory and time --------------------------------------------------------------------------------------


def _memory_bomb(bench: Bench) -> CheckResult:
    code = "held = []\nwhile True: held.append(bytearray(b'x') * (1 << 22))"
    run = bench.run(code, limits=Limits(memory_bytes=192 * MIB))
    detail = f"{run.exit} peak {run.usage.peak_memory_bytes}"
    good = run.exit.killed_for == "memory" and run.usage.peak_memory_bytes < 2 * 1024 * MIB
    return result("limits", "a memory bomb is killed for memory", good, detail)


_MANY_HOLDERS: Final = """
import os, time
for _ in range(7):
    try:
        if os.fork() == 0: break
    except OSError: break
held = bytearray(b"x") * (48 << 20)
time.sleep(60)
"""


def _memory_across_processes(bench: Bench) -> CheckResult:
    """Each holds far less than the bound, all together far more. Where nobody may fork there is only one."""
    run = bench.run(_MANY_HOLDERS + "\n", limits=Limits(memory_bytes=160 * MIB))
    name = "memory is bounded for all processes together"
    return result(
        "limits", name, run.exit.killed_for == "memory", f"{run.exit} {run.usage.peak_memory_bytes}"
    )


_MANY_FILES: Final = """
import os
os.chdir(os.environ["TMPDIR"])
made = 0
try:
    while made < 400_000:
        os.close(os.open(f"f{made}", os.O_CREAT | os.O_WRONLY))
        made += 1
except OSError: pass
print("MADE", made, flush=True)
"""


def _file_flood(bench: Bench) -> CheckResult:
    run = bench.run(_MANY_FILES, limits=Limits(memory_bytes=96 * MIB, files=20_000))
    good = run.exit.killed_for == "memory" or 0 < _made(run.log) < 400_000
    name = "a flood of empty files is ended"
    return result("limits", name, good, f"{run.exit} {run.log.shown()}")


def _made(log: MemoryLog) -> int:
    words = log.text().split()
    return int(words[1]) if words[:1] == ["MADE"] else 0


_BUSY: Final = """
import os, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
try:
    if os.fork() == 0:
        burn(0.2)
        os._exit(0)
    os.wait()
except OSError:
    burn(0.2)
burn(0.2)
print("burnt", flush=True)
time.sleep(60)
"""


def _cpu_of_children(bench: Bench) -> CheckResult:
    # It is read while the program lives: what a program used after the last look counts only where a
    # control group counts it, and on a busy machine that look can be long before the end.
    process, _ = bench.begin(_BUSY)
    with process:
        used = process.usage().cpu_seconds
        process.kill_tree()
        last = process.usage().cpu_seconds
    name = "CPU time of ended children is counted"
    good = 0.35 < used < 3.0 and last >= used
    return result("limits", name, good, f"{used:.3f} s, then {last:.3f} s, for 0.4 s of work and a start")


def _usage_while_running(bench: Bench) -> CheckResult:
    process, _ = bench.begin("print('up', flush=True)\nwhile True: pass")
    with process:
        first = process.usage()
        time.sleep(0.1)
        deadline = time.monotonic() + PATIENCE
        # Other programs may keep the processor for a while; what counts is that the figures grow.
        while process.usage().cpu_seconds - first.cpu_seconds < 0.02 and time.monotonic() < deadline:
            time.sleep(0.01)
        second = process.usage()
        process.kill_tree()
        last = process.usage()
    grown = second.cpu_seconds - first.cpu_seconds
    passed = second.wall_seconds - first.wall_seconds
    good = 0.02 <= grown <= passed + 0.05 and last.cpu_seconds >= second.cpu_seconds
    return result(
        "limits", "usage can be read while it runs and after the end", good, f"{first} {second} {last}"
    )


def _nothing_shared(bench: Bench) -> CheckResult:
    code = """
import os, pathlib
for folder in (os.environ["TMPDIR"], os.environ["HOME"], os.environ["SCRATCH"], "/dev/shm"):
    trace = pathlib.Path(folder, "trace")
    print(trace.exists())
    try: trace.write_text("left")
    except OSError: pass
"""
    changes = {"scratch": [_SCRATCH], "env": {"SCRATCH": str(_SCRATCH)}}
    texts = [bench.run(code, **changes).log.text().split() for _ in range(2)]
    good = texts == [["False"] * 4] * 2
    return result("files", "two runs share no writable folder and no shared memory", good, texts)


def _own_clean_environment(bench: Bench) -> CheckResult:
    """Nothing of a run stays on the host: no folder, no launcher."""
    token = f"armlx-trace-{os.urandom(8).hex()}"
    bench.run("import os, sys, pathlib; pathlib.Path(os.environ['TMPDIR'], sys.argv[1]).touch()", token)
    found = [str(path) for root in ("/tmp", "/var/tmp", "/dev/shm") for path in Path(root).glob(token)]  # noqa: S108
    return result("files", "nothing of a run stays on the host", not found, found)


_CHECKS: Final[Sequence[Callable[[Bench], CheckResult]]] = (
    _log_is_complete,
    _log_flood,
    _huge_line,
    _terminal_escapes,
    _closed_outputs,
    _exit_status,
    _death_by_signal,
    _missing_program,
    _host_user,
    _memory_bomb,
    _memory_across_processes,
    _file_flood,
    _cpu_of_children,
    _usage_while_running,
    _nothing_shared,
    _own_clean_environment,
)
