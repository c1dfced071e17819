"""Other processes, one's own rights, and what /proc gives away."""

import ctypes
import os
import resource
import subprocess
import sys
from pathlib import Path

from verifier.sandbox.inside.tools import CONFIG, RESULTS, attempt, open_for_writing, write_file

_REALTIME = 1  # SCHED_FIFO
_CORE_SIZE = 1 << 30
_STATUS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")


def setuid_program() -> str:
    done = subprocess.run(["/usr/bin/passwd", "--status", "root"], capture_output=True, text=True, timeout=10)
    if done.returncode:
        raise PermissionError(done.stderr.strip()[:100] or str(done.returncode))
    return done.stdout


def nested_sandbox() -> str:
    done = subprocess.run(
        ["/usr/bin/bwrap", "--unshare-all", "--ro-bind", "/", "/", "/bin/true"],
        capture_output=True,
        timeout=10,
    )
    if done.returncode:
        raise PermissionError(done.stderr.decode("utf-8", "replace").strip()[:100])
    return "made"


def realtime() -> str:
    os.sched_setscheduler(0, _REALTIME, os.sched_param(1))
    return "granted"


def all_processors() -> str:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(1024))
    return f"from {len(before)} to {len(os.sched_getaffinity(0))}"


def raise_limit(kind: int, by: int = 1) -> str:
    _, hard = resource.getrlimit(kind)
    try:
        resource.setrlimit(kind, (hard + by, hard + by))
    except ValueError as error:  # Python's word for EPERM here
        raise PermissionError(str(error)) from error
    return "raised"


def crash() -> object:
    """Whether a crash left a core file; it may name a program to pipe to, outside."""
    child = os.fork()
    if child == 0:
        ctypes.string_at(0)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WCOREDUMP(status)


def status() -> dict[str, str]:
    rows = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    pairs = (row.partition(":") for row in rows)
    return {name: value.strip() for name, _, value in pairs if name in _STATUS}


def _names(folder: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]


def seen_processes() -> list[int]:
    return sorted(int(name) for name in _names("/proc") if name.isdecimal())


def open_descriptors() -> list[int]:
    # fstat, since a listing of /proc or /dev/fd would add its own.
    found = []
    for number in range(1024):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    return found


def observe_first() -> None:
    """Before anything is opened or started."""
    RESULTS["descriptors"] = open_descriptors()
    RESULTS["uid"] = os.getuid()
    RESULTS["environment"] = dict(os.environ)
    RESULTS["cwd"] = "as given" if Path.cwd() == Path(CONFIG["tmp"]) else str(Path.cwd())
    below = Path(os.environ.get("HOME", "/")).is_relative_to(CONFIG["tmp"])
    RESULTS["home"] = "below the temporary folder" if below else os.environ.get("HOME")
    RESULTS["stdin"] = len(sys.stdin.buffer.read())
    RESULTS["terminal"] = any(os.isatty(number) for number in (0, 1, 2))
    attempt("status", status)


def observe() -> None:
    _observe_others()
    _observe_rights()
    _observe_proc()


def _observe_others() -> None:
    pid, victim = CONFIG["pid"], CONFIG["victim"]
    attempt("parent environment", lambda: Path(f"/proc/{pid}/environ").read_bytes().decode()[:50])
    attempt("signal parent", lambda: os.kill(pid, 0))
    attempt("signal the parent's group", lambda: os.killpg(CONFIG["group"], 0))
    attempt("signal everything", lambda: os.kill(victim, 9))
    attempt("signal the other's group", lambda: os.killpg(victim, 9))
    attempt("processes", seen_processes)
    attempt("launcher", lambda: Path("/proc/1/cmdline").read_bytes().decode())
    attempt("launcher's environment", lambda: Path("/proc/1/environ").read_bytes().decode())


def _observe_rights() -> None:
    attempt("become root", lambda: os.setuid(0))
    attempt("become root's group", lambda: os.setgid(0))
    attempt("root program", setuid_program)
    attempt("nested sandbox", nested_sandbox)
    attempt("higher priority", lambda: os.nice(-5))
    attempt("real-time", realtime)
    attempt("all processors", all_processors)
    attempt("more processes", lambda: raise_limit(resource.RLIMIT_NPROC))
    attempt("larger files", lambda: raise_limit(resource.RLIMIT_FSIZE))
    attempt("larger cores", lambda: raise_limit(resource.RLIMIT_CORE, _CORE_SIZE))
    attempt("limits of the parent", lambda: resource.prlimit(CONFIG["pid"], resource.RLIMIT_NOFILE))
    attempt("core file", crash)
    attempt("terminal device", lambda: os.open("/dev/tty", os.O_RDWR))


def _observe_proc() -> None:
    attempt("write proc/sys", lambda: write_file("/proc/sys/kernel/domainname"))
    attempt("core pattern", lambda: write_file("/proc/sys/kernel/core_pattern"))
    attempt("sysrq", lambda: open_for_writing("/proc/sysrq-trigger"))
    attempt("kernel memory", lambda: os.open("/proc/kcore", os.O_RDONLY))
    attempt("physical memory", lambda: os.open("/dev/mem", os.O_RDONLY))
    attempt("kernel log", lambda: os.open("/dev/kmsg", os.O_RDONLY))
    attempt("launcher's program", lambda: open_for_writing("/proc/1/exe"))
    attempt("own program", lambda: open_for_writing("/proc/self/exe"))
    attempt("user map", lambda: Path("/proc/self/uid_map").write_text("0 0 1"))
    attempt("out of memory order", lambda: Path("/proc/self/oom_score_adj").write_text("-1000"))
    attempt("control groups", lambda: Path("/sys/fs/cgroup/cgroup.procs").write_text("0"))
    attempt("sys", lambda: str(_names("/sys/kernel")))
