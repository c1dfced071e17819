"""The self-check's look at whole trees: survivors, stopping, and what setup steps get beyond a candidate."""

from __future__ import annotations

import os
import secrets
import socket
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from verifier.sandbox.bait import open_folder
from verifier.sandbox.bench import PATIENCE, Bench, until
from verifier.sandbox.interface import Exit, Mount
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.promises import CheckResult, result

_STUBBORN: Final = """
import os, signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
os.write(1, b"up")
while True: time.sleep(1)
"""


def _deadline(bench: Bench) -> CheckResult:
    process, _ = bench.begin(_STUBBORN)
    with process:
        early = process.poll()
        process.kill_tree()
        ended = process.poll()
    good = early is None and ended is not None and ended.killed_for == "deadline"
    return result("end", "a program that ignores every signal is killed", good, ended)


def _stops_itself(bench: Bench) -> CheckResult:
    process, _ = bench.begin("import os, signal; os.write(1, b'up'); os.kill(os.getpid(), signal.SIGSTOP)")
    with process:
        process.kill_tree()
        ended = process.poll()
    good = ended is not None and ended.killed_for == "deadline"
    return result("end", "a program that stops itself is killed", good, ended)


def _killed_twice(bench: Bench) -> CheckResult:
    process, _ = bench.begin(_STUBBORN)
    with process:
        process.kill_tree()
        process.kill_tree("again")
        process.freeze()
        process.thaw()
        ended = process.poll()
    good = ended is not None and ended.killed_for == "deadline"
    return result("end", "killing, stopping and continuing after the end do nothing", good, ended)


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


def _survivor(bench: Bench) -> CheckResult:
    """A daemon keeps its end of a socket open for as long as it lives: the end of file proves its death."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            spec = bench.spec(_DAEMON, str(theirs.fileno()), "stay", pass_fds=[theirs.fileno()])
            process = bench.sandbox.start(spec, MemoryLog())
        ours.settimeout(PATIENCE)
        with process:
            said = ours.recv(16)
            process.kill_tree()
            ours.settimeout(1)
            rest = _rest(ours)
    return result("end", "a daemon in its own session dies with the rest", rest == b"", f"{said!r} {rest!r}")


def _rest(channel: socket.socket) -> bytes:
    try:
        return channel.recv(16)
    except TimeoutError:
        return b"still open"


def _pipe_held(bench: Bench) -> CheckResult:
    """It would hold the pipe for ever; so ending at all is the proof."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        run = bench.run(_DAEMON, str(theirs.fileno()), "leave", pass_fds=[theirs.fileno()])
    name = "a daemon that holds the log's pipe keeps nobody waiting"
    return result("end", name, run.exit == Exit(0, None), f"{run.exit} {run.seconds:.2f} s")


_SESSIONS: Final = """
import os, time
for _ in range(3):
    try:
        if os.fork() == 0:
            os.setsid()
            os.setpgid(0, 0) if os.getpgid(0) != os.getpid() else None
            if os.fork() == 0: os.setsid()
            break
    except OSError: break
os.write(1, b"x")
while True: time.sleep(1)
"""


def _left_context(bench: Bench) -> CheckResult:
    process, log = bench.begin(_SESSIONS)
    with process:
        until(lambda: log.size >= 7 or process.poll() is not None)
        lister = getattr(process, "host_pids", None)
        pids = lister() if lister else []
    alive = [pid for pid in pids if _runs(pid)]
    name = "processes in sessions of their own are gone when the run is left"
    return result("end", name, bool(pids) and not alive, f"{len(pids)} before, {alive} after")


def _runs(pid: int) -> bool:
    """Whether a process of that number can still do something (a zombie cannot)."""
    from verifier.sandbox.proctable import read_table

    return any(row.pid == pid and not row.zombie for row in read_table())


def _neighbours(bench: Bench) -> CheckResult:
    first, _ = bench.begin(_STUBBORN)
    with first:
        lister = getattr(first, "host_pids", None)
        pids = lister() if lister else []
        code = """
import os, sys
for pid in map(int, sys.argv[1:]):
    for path in (f"/proc/{pid}/environ", f"/proc/{pid}/root/tmp"):
        if os.path.exists(path): print("sees", path)
    try: os.kill(pid, 9); print("signals", pid)
    except OSError: pass
"""
        # Low numbers exist in every namespace of its own, so only the others' are tried.
        run = bench.run(code, *(str(pid) for pid in pids if pid > 100))
        alive = first.poll() is None
    good = alive and run.log.size == 0 and run.exit.code == 0
    return result("processes", "two runs at once neither see nor signal each other", good, run.log.shown())


# -- stopping ---------------------------------------------------------------------------------------------

_TICKING: Final = """
import os, time
try: os.fork()
except OSError: pass
while True:
    os.write(1, b".")
    time.sleep(0.001)
"""


def _frozen(bench: Bench) -> CheckResult:
    process, log = bench.begin(_TICKING)
    with process:
        process.freeze()
        _drained(log)
        before, used = log.size, process.usage().cpu_seconds
        time.sleep(0.1)
        still = log.size == before and process.usage().cpu_seconds == used
        process.thaw()
        goes_on = until(lambda: log.size > before)
    good = still and goes_on
    return result("end", "a stopped tree does nothing and goes on when told to", good, f"{still=} {goes_on=}")


def _drained(log: MemoryLog) -> None:
    """Wait until what was already in the pipe has arrived."""
    before = -1
    while before != log.size:
        before = log.size
        time.sleep(0.2)


def _frozen_killed(bench: Bench) -> CheckResult:
    process, _ = bench.begin(_TICKING)
    with process:
        process.freeze()
        process.kill_tree()
        ended = process.poll()
    good = ended is not None and ended.killed_for == "deadline"
    return result("end", "a stopped tree is killed like any other", good, ended)


# -- setup steps ------------------------------------------------------------------------------------------

_BUILD: Final = PurePosixPath("/build")
_FILL: Final = """
import os, socket, sys
os.chdir(sys.argv[1])
open("made", "w").write("made")
os.chmod("made", 0o700)
for make in (
    lambda: os.symlink(sys.argv[2], "link"),
    lambda: os.symlink("..", "up"),
    lambda: os.mkfifo("fifo"),
    lambda: os.mkdir("closed", 0),
): make()
for path in ("../beside", "/usr/beside", sys.argv[2]):
    try: open(path, "w").write("x")
    except OSError: pass
"""


def _writable_mount(bench: Bench) -> CheckResult:
    with open_folder("armlx-selfcheck-") as folder:
        given, secret = folder / "given", folder / "secret"
        given.mkdir(mode=0o755)
        secret.write_text("as before", encoding="utf-8")
        secret.chmod(0o600)
        mounts = [Mount(given, _BUILD, writable=True)]
        runs = [bench.run(_FILL, str(_BUILD), str(secret), mounts=mounts)]
        runs.append(
            bench.run("import sys; open(sys.argv[1], 'a').write('!')", f"{_BUILD}/made", mounts=mounts)
        )
        found = (given / "made").lstat()
        ours = found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o5 == 0o5
        content = (given / "made").read_text(encoding="utf-8")
        beside = {path.name for path in folder.iterdir()} == {"given", "secret"}
        kept = secret.read_text(encoding="utf-8") == "as before" and secret.stat().st_mode & 0o777 == 0o600
        detail = (
            f"{[run.exit.code for run in runs]} {content} {ours=} {beside=} {kept=} {runs[0].log.shown()}"
        )
    good = content == "made!" and ours and beside and kept and all(run.exit.code == 0 for run in runs)
    return result("setup", "a writable mount stays inside itself, whatever links it holds", good, detail)


_REACH: Final = """
import os, socket, sys
def reach(name, family, kind, address):
    try:
        with socket.socket(family, kind) as one:
            one.settimeout(20)
            one.connect(address)
        print(name)
    except OSError: pass
reach("tcp", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", int(sys.argv[1])))
reach("abstract", socket.AF_UNIX, socket.SOCK_STREAM, "\\0" + sys.argv[2])
reach("raw", socket.AF_INET, socket.SOCK_RAW, ("127.0.0.1", 0))
try: socket.socket(17, socket.SOCK_RAW, 0x0300); print("packet")
except OSError: pass
if os.path.exists(f"/proc/{sys.argv[3]}/environ"): print("processes")
"""


def _network_asked(bench: Bench) -> CheckResult:
    name = f"armlx-{secrets.token_hex(6)}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        if os.uname().sysname == "Linux":
            abstract.bind("\0" + name)
            abstract.listen(1)
        arguments = (str(tcp.getsockname()[1]), name, str(os.getpid()))
        texts = [bench.run(_REACH, *arguments, network=asked).log.text().split() for asked in (False, True)]
    promise = "the network is there only when asked for, and then no other wall falls"
    return result("setup", promise, texts == [[], ["tcp"]], texts)


def _network_no_channel(bench: Bench) -> CheckResult:
    ours, theirs = socket.socketpair()
    promise = "nobody gets the network and a channel to the verifier"
    with ours, theirs:
        spec = bench.spec("pass", pass_fds=[theirs.fileno()], network=True)
        try:
            with bench.sandbox.start(spec, MemoryLog()):
                return result("setup", promise, passed=False, detail="it was started")
        except ValueError as refusal:
            return result("setup", promise, passed=True, detail=refusal)


def _link_as_mount(bench: Bench) -> CheckResult:
    from armlx_chain.errors import VerifierFault

    promise = "a link is not taken for a writable folder"
    with open_folder("armlx-selfcheck-") as folder:
        (folder / "real").mkdir()
        Path(folder, "link").symlink_to("real")
        spec = bench.spec("pass", mounts=[Mount(folder / "link", _BUILD, writable=True)])
        try:
            with bench.sandbox.start(spec, MemoryLog()):
                return result("setup", promise, passed=False, detail="it was started")
        except VerifierFault as refusal:
            return result("setup", promise, passed=True, detail=refusal.message)


TREE_CHECKS: Final[Sequence[Callable[[Bench], CheckResult]]] = (
    _deadline,
    _stops_itself,
    _killed_twice,
    _survivor,
    _pipe_held,
    _left_context,
    _neighbours,
    _frozen,
    _frozen_killed,
    _writable_mount,
    _link_as_mount,
    _network_asked,
    _network_no_channel,
)
