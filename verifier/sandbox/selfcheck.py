"""Does a back-end keep the interface's promises here? Some forty behaviours, really tried.

Any back-end can be put through it; ``doctor`` and the tests do. It takes a few seconds and leaves nothing
behind.

::

    for result in run_selfcheck(default_sandbox()):
        print("ok  " if result.passed else "FAIL", result.name, result.detail)
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from verifier.sandbox.bait import surroundings
from verifier.sandbox.interface import (
    INSIDE_HOME,
    INSIDE_TMP,
    Exit,
    Limits,
    Mount,
    Sandbox,
    SandboxSpec,
    Usage,
)
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.python_env import running_interpreter

_PATIENCE: Final = 60.0
_MIB: Final = 1 << 20
_PROBE_LIMITS: Final = Limits(
    processes=24, open_files=96, file_bytes=4 * _MIB, scratch_bytes=12 * _MIB, memory_bytes=512 * _MIB
)
_SCRATCH: Final = PurePosixPath("/scratch")
_MOUNTED: Final = PurePosixPath("/shown")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Attributes:
    name: The promise, as a sentence.
    detail: What was seen, shortened.
    """

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class _Run:
    exit: Exit
    usage: Usage
    log: MemoryLog
    seconds: float


@dataclass(frozen=True, slots=True)
class _Bench:
    """A back-end and the interpreter that the attempts run with."""

    sandbox: Sandbox
    python: Path

    def spec(self, code: str, *arguments: str, **changes: Any) -> SandboxSpec:
        argv = [str(self.python), "-I", "-c", code, *arguments]
        return SandboxSpec(argv=argv, python=[self.python], **changes)

    def run(self, code: str, *arguments: str, **changes: Any) -> _Run:
        log = MemoryLog()
        started = time.monotonic()
        with self.sandbox.start(self.spec(code, *arguments, **changes), log) as process:
            ended = process.wait(_PATIENCE)
            if ended is None:
                process.kill_tree()
                ended = process.poll() or Exit(0, "deadline")
        return _Run(ended, process.usage(), log, time.monotonic() - started)


def run_selfcheck(sandbox: Sandbox, *, python: Path | None = None) -> list[CheckResult]:
    """Try everything. A promise that does not hold is a result, not an error.

    Args:
        python: Interpreter for the attempts; by default the one that runs this.

    Raises:
        SandboxUnavailable: the back-end does not start at all.
    """
    bench = _Bench(sandbox, python or running_interpreter())
    sandbox.check()
    return [*_seen_from_inside(bench), *_seen_from_outside(bench)]


# -- what a program inside can do ---------------------------------------------------------------------------


def _seen_from_inside(bench: _Bench) -> Iterator[CheckResult]:
    with surroundings() as config:
        ours, theirs = socket.socketpair()
        marker = secrets.token_hex(8)
        config |= {"channel": theirs.fileno(), "tmp": str(INSIDE_TMP), "scratch": str(_SCRATCH)}
        config |= {"mounted": str(_MOUNTED / "file"), "file_bytes": _PROBE_LIMITS.file_bytes}
        code = Path(__file__).with_name("probe.py").read_text(encoding="utf-8")
        os.environ["ARMLX_SELFCHECK_SECRET"] = marker
        try:
            with ours, theirs:
                ours.sendall(b"ping")
                run = bench.run(
                    code,
                    json.dumps(config),
                    env={"GIVEN": "value"},
                    mounts=[Mount(Path(config["shown"]), _MOUNTED)],
                    scratch=[_SCRATCH],
                    pass_fds=[theirs.fileno()],
                    limits=_PROBE_LIMITS,
                )
                ours.settimeout(5)
                echoed = ours.recv(64) if run.exit.code == 0 else b""
        finally:
            del os.environ["ARMLX_SELFCHECK_SECRET"]
        seen = _probe_results(run.log)
        yield _result(
            "the probe inside runs to its end", run.exit.code == 0 and bool(seen), run.log.text()[-500:]
        )
        if not seen:
            return
        yield from _judge_refusals(seen)
        yield from _judge_figures(seen, config, marker)
        yield _result("an inherited socket works under its number", echoed == b"PING", repr(echoed))
        untouched = Path(config["secret"]).read_text(encoding="utf-8")
        yield _result("the host's files are as before", untouched == config["secret_text"], untouched)
        shown = sorted(path.name for path in Path(config["shown"]).iterdir())
        yield _result("the mounted folder is as before", shown == ["file"], str(shown))


_REFUSED: Final[Mapping[str, str]] = {
    "become root": "nobody inside becomes root",
    "root program": "a setuid program gives nothing",
    "secret": "a key file of the host is unreadable",
    "closed secret": "a key file in a closed folder is unreadable",
    "source": "the verifier's source is not visible",
    "overwrite source": "the verifier's source cannot be written",
    "parent environment": "the environment of the verifier's process is unreadable",
    "signal parent": "the verifier cannot be signalled",
    "signal everything": "another process of the host cannot be killed",
    "tcp": "no TCP connection to the host's loopback",
    "udp": "no UDP datagram to the host's loopback",
    "unix socket": "no connection to a unix socket of the host",
    "abstract": "no connection to an abstract unix socket of the host",
    "name look-up": "no name is resolved",
    "host temporary folder": "the host's temporary folder is not visible",
    "write mount": "a mounted file cannot be written",
    "new file in mount": "nothing can be made in a mounted folder",
    "rename in mount": "a mounted file cannot be renamed",
    "remove in mount": "a mounted file cannot be removed",
    "change mode in mount": "a mounted file's mode cannot be changed",
    "write through a link": "a link does not make a mount writable",
    "link to secret": "a link does not lead out",
    "write system": "the system's folders cannot be written",
    "write etc": "the configuration folder cannot be written",
    "write root folder": "the root folder cannot be written",
    "left by another run": "nothing of another run is left",
}


def _judge_refusals(seen: Mapping[str, Any]) -> Iterator[CheckResult]:
    for attempt, promise in _REFUSED.items():
        got = seen.get(attempt, "missing")
        yield _result(promise, str(got).startswith("refused: "), str(got))


def _judge_figures(seen: Mapping[str, Any], config: Mapping[str, Any], marker: str) -> Iterator[CheckResult]:
    environment = seen["environment"]
    given = environment.get("GIVEN") == "value" and environment.get("HOME") == str(INSIDE_HOME)
    yield _result("the given environment arrives", given, str(sorted(environment)))
    yield _result("nothing of the verifier's environment arrives", marker not in str(environment), "")
    yield _result("the program is not root inside", seen["uid"] != 0, str(seen["uid"]))
    held = seen["descriptors"]
    yield _result("no descriptor but the named ones is open", held == [0, 1, 2, config["channel"]], str(held))
    yield _result("standard input is empty", seen["stdin"] == 0, str(seen["stdin"]))
    yield _result("there is no terminal", seen["terminal"] is False, str(seen["terminal"]))
    yield _result("the working folder is the temporary folder", seen["cwd"] == str(INSIDE_TMP), seen["cwd"])
    yield _result("a mounted file can be read", seen["read mount"] == "shown", str(seen["read mount"]))
    yield _result("socket pairs work", seen["socket pair"] == "hello", str(seen["socket pair"]))
    for name in ("write tmp", "write home", "write scratch"):
        yield _result(f"one can {name}", seen[name] == "written", str(seen[name]))
    yield _at_most("the largest file is bounded", seen["file size"], _PROBE_LIMITS.file_bytes)
    yield _at_most("a scratch folder is bounded", seen["folder size"], _PROBE_LIMITS.scratch_bytes)
    yield _at_most("open files are bounded", seen["descriptor count"], _PROBE_LIMITS.open_files)
    yield _at_most("a fork bomb is bounded", seen["process count"], _PROBE_LIMITS.processes, least=0)
    yield _at_most("core files are off", seen["core limit"], 1, least=0)


def _probe_results(log: MemoryLog) -> dict[str, Any]:
    for line in log.text().splitlines():
        if line.startswith("PROBE "):
            found: dict[str, Any] = json.loads(line.removeprefix("PROBE "))
            return found
    return {}


# -- what the verifier sees and does ------------------------------------------------------------------------


def _seen_from_outside(bench: _Bench) -> Iterator[CheckResult]:
    checks: Sequence[Callable[[_Bench], CheckResult]] = (
        _log_is_complete,
        _exit_status,
        _death_by_signal,
        _missing_program,
        _host_user,
        _log_flood,
        _memory_bomb,
        _deadline,
        _survivor,
        _pipe_held,
        _nothing_shared,
        _cpu_of_children,
        _usage_while_running,
    )
    for check in checks:
        yield check(bench)


def _log_is_complete(bench: _Bench) -> CheckResult:
    code = "import os\nfor n in range(2000): os.write(1 + n % 2, b'%06d\\n' % n)"
    run = bench.run(code)
    expected = hashlib.sha256(b"".join(b"%06d\n" % number for number in range(2000))).hexdigest()
    return _result(
        "both outputs arrive byte for byte, in order", run.log.sha256() == expected, run.log.text()[:80]
    )


def _exit_status(bench: _Bench) -> CheckResult:
    run = bench.run("raise SystemExit(7)")
    return _result("the exit status arrives", run.exit == Exit(7, None), str(run.exit))


def _death_by_signal(bench: _Bench) -> CheckResult:
    run = bench.run("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    return _result("death by a signal arrives", run.exit == Exit(-15, None), str(run.exit))


def _missing_program(bench: _Bench) -> CheckResult:
    log = MemoryLog()
    with bench.sandbox.start(SandboxSpec(argv=["/no/such/program"]), log) as process:
        ended = process.wait(_PATIENCE)
    failed = ended is not None and ended.code != 0
    return _result("a program that does not exist is a failed program", failed, f"{ended} {log.text()[:80]}")


def _host_user(bench: _Bench) -> CheckResult:
    """The reaper with pid 1 inside may be the verifier's; whatever runs the program may not."""
    log = MemoryLog()
    with bench.sandbox.start(
        bench.spec("import time; print('up', flush=True); time.sleep(60)"), log
    ) as process:
        deadline = time.monotonic() + _PATIENCE
        while not log.size and time.monotonic() < deadline:
            time.sleep(0.005)
        lister = getattr(process, "host_pids", None)
        pids = lister() if lister else []
        shown = {pid: _owner_and_command(pid) for pid in pids}
    programs = [owner for owner, command in shown.values() if "bwrap" not in command]
    good = bool(programs) and 0 not in programs
    return _result("the program is not root on the host", good, str(shown)[:300])


def _owner_and_command(pid: int) -> tuple[int, str]:
    done = subprocess.run(
        ["/bin/ps", "-o", "uid=,comm=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    fields = done.stdout.split(None, 1)
    return (int(fields[0]), fields[1].strip()) if len(fields) == 2 else (-1, "gone bwrap")


def _log_flood(bench: _Bench) -> CheckResult:
    limits = Limits(log_bytes=3 * _MIB)
    run = bench.run("import os\nwhile True: os.write(1, b'x' * 65536)", limits=limits)
    expected = hashlib.sha256(b"x" * (3 * _MIB)).hexdigest()
    good = run.exit.killed_for == "log" and run.log.size == 3 * _MIB and run.log.sha256() == expected
    return _result("a flood of output ends at its limit", good, f"{run.exit} {run.log.size} bytes")


def _memory_bomb(bench: _Bench) -> CheckResult:
    code = "held = []\nwhile True: held.append(bytearray(b'x') * (1 << 22))"
    run = bench.run(code, limits=Limits(memory_bytes=192 * _MIB))
    detail = f"{run.exit} peak {run.usage.peak_memory_bytes}"
    good = run.exit.killed_for == "memory" and run.usage.peak_memory_bytes < 2 * 1024 * _MIB
    return _result("a memory bomb is killed for memory", good, detail)


_STUBBORN: Final = """
import os, signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
os.write(1, b"up")
while True: time.sleep(1)
"""


def _deadline(bench: _Bench) -> CheckResult:
    log = MemoryLog()
    with bench.sandbox.start(bench.spec(_STUBBORN), log) as process:
        early = process.wait(0.3)
        started = time.monotonic()
        process.kill_tree()
        took = time.monotonic() - started
        ended = process.poll()
    good = early is None and ended is not None and ended.killed_for == "deadline" and took < 5
    return _result("a program that ignores every signal is killed", good, f"{ended} after {took:.3f} s")


_DAEMON: Final = """
import os, sys, time
channel = int(sys.argv[1])
try:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(channel, b"daemon")
            while True: time.sleep(1)
        os._exit(0)
except OSError:
    os.write(channel, b"denied")
if sys.argv[2] == "stay":
    while True: time.sleep(1)
time.sleep(0.2)
"""


def _survivor(bench: _Bench) -> CheckResult:
    """A daemon keeps its end of a socket open for as long as it lives: the end of file proves its death."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            spec = bench.spec(_DAEMON, str(theirs.fileno()), "stay", pass_fds=[theirs.fileno()])
            process = bench.sandbox.start(spec, MemoryLog())
        ours.settimeout(_PATIENCE)
        with process:
            said = ours.recv(16)
            process.kill_tree()
            ours.settimeout(1)
            rest = _rest(ours)
    return _result("a daemon in its own session dies with the rest", rest == b"", f"{said!r} then {rest!r}")


def _rest(channel: socket.socket) -> bytes:
    try:
        return channel.recv(16)
    except TimeoutError:
        return b"still open"


def _pipe_held(bench: _Bench) -> CheckResult:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        run = bench.run(_DAEMON, str(theirs.fileno()), "leave", pass_fds=[theirs.fileno()])
    good = run.exit == Exit(0, None) and run.seconds < 10
    return _result(
        "a daemon that holds the log's pipe keeps nobody waiting", good, f"{run.exit} {run.seconds:.2f} s"
    )


def _nothing_shared(bench: _Bench) -> CheckResult:
    code = "import os; p = '/tmp/trace'; print(os.path.exists(p)); open(p, 'w').write('x')"
    texts = [bench.run(code).log.text().strip() for _ in range(2)]
    return _result("two runs share no writable folder", texts == ["False", "False"], str(texts))


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
"""


def _cpu_of_children(bench: _Bench) -> CheckResult:
    run = bench.run(_BUSY)
    used = run.usage.cpu_seconds
    return _result(
        "CPU time of ended children is counted", 0.3 < used < 1.5, f"{used:.3f} s for 0.4 s of work"
    )


def _usage_while_running(bench: _Bench) -> CheckResult:
    log = MemoryLog()
    code = "import time\nprint(time.process_time(), flush=True)\nwhile True: pass"
    with bench.sandbox.start(bench.spec(code), log) as process:
        deadline = time.monotonic() + _PATIENCE
        while not log.size and time.monotonic() < deadline:
            time.sleep(0.002)
        first = process.usage()
        time.sleep(0.25)
        second = process.usage()
        process.kill_tree()
        last = process.usage()
    grown = second.cpu_seconds - first.cpu_seconds
    good = 0.02 < grown < 0.5 and last.cpu_seconds >= second.cpu_seconds and last.wall_seconds > 0.25
    return _result("usage can be read while it runs and after the end", good, f"{first} {second} {last}")


def _result(name: str, passed: bool, detail: str) -> CheckResult:
    return CheckResult(name, passed, detail if len(detail) <= 300 else detail[:297] + "…")


def _at_most(name: str, value: object, bound: int, *, least: int = 1) -> CheckResult:
    passed = isinstance(value, int) and least <= value <= bound
    refused = least == 0 and str(value).startswith("refused: ")
    return _result(name, passed or refused, f"{value} of at most {bound}")
