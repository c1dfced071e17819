"""What the self-check's program inside should have met: each attempt's promise, as a sentence. Pure.

The attempts are in ``verifier.sandbox.inside``. One that ended as ``"refused: …"`` met a wall; everything
else is what it got.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from verifier.sandbox.interface import Limits

_KEPT: Final = 300


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Attributes:
    name: The promise, as a sentence.
    detail: What was seen, shortened.
    group: What it is about, for showing results together.
    """

    name: str
    passed: bool
    detail: str
    group: str = ""


def result(group: str, name: str, passed: bool, detail: object) -> CheckResult:
    """``detail`` may hold a stranger's bytes: shortened, and only what can be printed."""
    text = "".join(one if one.isprintable() else " " for one in str(detail)[: _KEPT + 1])
    return CheckResult(name, passed, text if len(text) <= _KEPT else text[: _KEPT - 1] + "…", group)


CLOSED_CALLS: Final[Mapping[str, tuple[str, ...]]] = {
    "no process can be traced": ("ptrace",),
    "no other process's memory can be read": ("process_vm_readv",),
    "no other process's memory can be written": ("process_vm_writev", "process_madvise", "process_mrelease"),
    "no descriptor can be taken from another process": ("pidfd_getfd", "kcmp"),
    "performance counters are closed": ("perf_event_open",),
    "nothing can be mounted or unmounted": ("mount", "umount2"),
    "nothing can be mounted by the newer calls": (
        *("fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "move_mount", "mount_setattr"),
    ),
    "the root folder cannot be changed": ("chroot", "pivot_root"),
    "no file can be opened by its number": ("name_to_handle_at", "open_by_handle_at"),
    "the whole machine's files cannot be watched": ("fanotify_init", "fanotify_mark"),
    "no namespace can be made": ("unshare",),
    "no namespace can be joined": ("setns",),
    "the kernel's keyring is closed": ("add_key", "request_key", "keyctl"),
    "no program can be loaded into the kernel": ("bpf",),
    "no module can be loaded or removed": ("init_module", "finit_module", "delete_module"),
    "no other kernel can be started": ("kexec_load", "kexec_file_load", "reboot"),
    "the kernel's log is closed": ("syslog",),
    "the hardware's ports are closed": ("iopl", "ioperm", "modify_ldt"),
    "swap, accounting and quotas cannot be changed": ("swapon", "swapoff", "acct", "quotactl", "quotactl_fd"),
    "the clock cannot be set": ("clock_settime", "settimeofday", "adjtimex", "clock_adjtime"),
    "the machine's name cannot be set": ("sethostname", "setdomainname"),
    "the terminal cannot be hung up": ("vhangup",),
    "there is no io_uring": ("io_uring_setup", "io_uring_enter", "io_uring_register"),
    "there is no userfaultfd": ("userfaultfd",),
    "there is no clone3, whose flags no filter can read": ("clone3",),
    "there is no System V shared memory": ("shmget", "shmat", "shmctl", "shmdt"),
    "there are no System V semaphores": ("semget", "semop", "semctl", "semtimedop"),
    "there are no System V message queues": ("msgget", "msgsnd", "msgrcv", "msgctl"),
    "there are no POSIX message queues": ("mq_open", "mq_unlink"),
    "there are no memory files": ("memfd_create", "memfd_secret"),
    "pages of memory cannot be moved between nodes": ("move_pages", "migrate_pages", "vmsplice"),
    "the processors to run on cannot be chosen": ("sched_setaffinity",),
}
"""Promise -> system calls that a wall must refuse before their arguments are looked at."""

_REFUSED: Final[Mapping[str, Mapping[str, str]]] = {
    "network": {
        "tcp": "no TCP connection to the host's loopback",
        "udp": "no UDP datagram to the host's loopback",
        "tcp over IPv6": "no TCP connection over IPv6",
        "udp over IPv6": "no UDP datagram over IPv6",
        "listen": "nothing can listen",
        "raw socket": "no raw socket",
        "ping socket": "no ping",
        "netlink": "no netlink socket",
        "packet": "no packet socket",
        "kernel crypto socket": "no crypto socket of the kernel",
        "vsock": "no connection to the machine's own host",
        "field bus": "no field bus socket",
        "bluetooth": "no Bluetooth socket",
        "unix socket": "no connection to a unix socket of the host",
        "mounted socket": "no connection to a unix socket in a mounted folder",
        "mounted datagram socket": "no datagram to a unix socket in a mounted folder",
        "datagram pair": "a pair of sockets cannot be turned on another one",
        "abstract": "no connection to an abstract unix socket of the host",
        "abstract datagram": "no datagram to an abstract unix socket of the host",
        "name look-up": "no name is resolved",
    },
    "processes": {
        "parent environment": "the environment of the verifier's process is unreadable",
        "signal parent": "the verifier cannot be signalled",
        "signal the parent's group": "the verifier's process group cannot be signalled",
        "signal everything": "another process of the host cannot be killed",
        "signal the other's group": "another process group of the host cannot be killed",
        "higher priority": "the priority cannot be raised",
        "real-time": "no real-time scheduling",
        "all processors": "the processors cannot be widened",
        "more processes": "the bound of processes cannot be raised",
        "larger files": "the bound of file sizes cannot be raised",
        "larger cores": "the bound of core files cannot be raised",
        "limits of the parent": "the limits of the verifier cannot be changed",
        "out of memory order": "the order of killing for memory cannot be changed",
        "terminal device": "there is no controlling terminal to open",
    },
    "rights": {
        "become root": "nobody inside becomes root",
        "become root's group": "nobody inside gets root's group",
        "root program": "a setuid program gives nothing",
        "nested sandbox": "no sandbox within the sandbox",
        "give a capability": "no file gets a capability",
        "make a device": "no device node can be made",
        "user map": "no user can be mapped",
        "new user namespace": "no user namespace by unshare",
        "new user namespace by clone": "no user namespace by clone",
        "time namespace": "no time namespace",
        "personality": "addresses stay random (personality)",
        "push input": "no input is pushed into a terminal",
        "other numbers": "a second set of call numbers leads nowhere",
        "unknown call": "a call newer than the reviewed ones does not exist",
    },
    "proc": {
        "secret through the reaper": "the first process's root shows nothing of the host",
        "write proc/sys": "kernel settings cannot be written",
        "core pattern": "the core pattern cannot be written",
        "sysrq": "the kernel's emergency keys are closed",
        "kernel memory": "the kernel's memory is closed",
        "physical memory": "physical memory is closed",
        "kernel log": "the kernel's log device is not there",
        "launcher's program": "the launcher's program cannot be overwritten",
        "own program": "the interpreter cannot be overwritten",
        "control groups": "control groups cannot be changed",
        "sys": "the kernel's device tree is not shown",
    },
    "files": {
        "secret": "a key file of the host is unreadable",
        "closed secret": "a key file in a closed folder is unreadable",
        "secret by going up": "going up leads to no file of the host",
        "overwrite source": "the verifier's source cannot be written",
        "host temporary folder": "the host's temporary folder is not visible",
        "passwords": "the host's password file is not there",
        "machine id": "the machine's identity is not there",
        "container socket": "no container engine's socket is there",
        "write mount": "a mounted file cannot be written",
        "append to mount": "a mounted file cannot be appended to",
        "empty in mount": "a mounted file cannot be emptied",
        "new file in mount": "nothing can be made in a mounted folder",
        "rename in mount": "a mounted file cannot be renamed",
        "remove in mount": "a mounted file cannot be removed",
        "change mode in mount": "a mounted file's mode cannot be changed",
        "change times in mount": "a mounted file's times cannot be changed",
        "hard link out of mount": "a mounted file cannot be linked elsewhere",
        "reopen for writing": "a mounted file's descriptor cannot be opened again for writing",
        "move the mount": "a mounted folder cannot be moved away",
        "replace the mount": "a mounted folder cannot be replaced",
        "remove the mount": "a mounted folder cannot be removed",
        "write through a link": "a link does not make a mount writable",
        "link to secret": "a link does not lead out",
        "write system": "the system's folders cannot be written",
        "overwrite program": "the system's programs cannot be overwritten",
        "write etc": "the configuration folder cannot be written",
        "write root folder": "the root folder cannot be written",
        "write dev": "the device folder cannot be written",
        "left by another run": "nothing of another run is left",
    },
}

_DEVICES: Final = {"null", "zero", "full", "random", "urandom", "stdin", "stdout", "stderr", "fd", "shm"}


def judge_refusals(seen: Mapping[str, Any]) -> Iterator[CheckResult]:
    """Every attempt that must have failed."""
    for group, promises in _REFUSED.items():
        for attempt, promise in promises.items():
            got = seen.get(attempt, "missing")
            yield result(group, promise, _refused(got), got)
    for promise in CLOSED_CALLS:
        got = seen.get(promise, "missing")
        yield result("kernel", promise, _refused(got), got)


def judge_figures(
    seen: Mapping[str, Any], channel: int, marker: str, limits: Limits
) -> Iterator[CheckResult]:
    """What was measured inside.

    Args:
        channel: Number of the one descriptor that was handed in.
        marker: A text in the verifier's own environment.
        limits: What the program ran under.
    """
    yield from _judge_start(seen, channel, marker)
    yield from _judge_rights(seen)
    yield from _judge_places(seen)
    yield _at_most("the largest file is bounded", seen["file size"], limits.file_bytes)
    yield _at_most("a scratch folder is bounded", seen["folder size"], limits.scratch_bytes)
    yield _at_most("shared memory is bounded", seen["shared memory size"], limits.scratch_bytes)
    yield _at_most("open files are bounded", seen["descriptor count"], limits.open_files)
    yield _at_most("a thread bomb is bounded", seen["thread count"], limits.processes)
    yield _at_most("a fork bomb is bounded", seen["process count"], limits.processes, least=0)
    yield _at_most("core files are off", seen["core limit"], 1, least=0)


def _judge_start(seen: Mapping[str, Any], channel: int, marker: str) -> Iterator[CheckResult]:
    environment = seen["environment"]
    given = environment.get("GIVEN") == "value" and seen["home"] == "below the temporary folder"
    yield result("start", "the given environment arrives", given, sorted(environment))
    clean = marker not in str(environment) and marker not in str(seen["launcher's environment"])
    yield result("start", "nothing of the verifier's environment arrives", clean, sorted(environment))
    yield result("start", "the launcher's words show no path of the host", _silent(seen), seen["launcher"])
    yield result("start", "the program is not root inside", seen["uid"] != 0, seen["uid"])
    held = seen["descriptors"]
    yield result("start", "no descriptor but the named ones is open", held == [0, 1, 2, channel], held)
    yield result("start", "standard input is empty", seen["stdin"] == 0, seen["stdin"])
    yield result("start", "there is no terminal", seen["terminal"] is False, seen["terminal"])
    yield result(
        "start", "the working folder is the temporary folder", seen["cwd"] == "as given", seen["cwd"]
    )


def _silent(seen: Mapping[str, Any]) -> bool:
    """Whether the launcher names itself and no other path before it names the program to run."""
    words = str(seen["launcher"]).partition("\0--\0")[0].split("\0")
    return _refused(seen["launcher"]) or not any("/" in word for word in words[1:])


def _judge_rights(seen: Mapping[str, Any]) -> Iterator[CheckResult]:
    status = seen["status"]
    if _refused(status):
        # Only Linux has this page; elsewhere the attempts themselves must do.
        yield result("rights", "the program has no capability and gets none", sys.platform != "linux", status)
        return
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    none = not any(int(status[name], 16) for name in names)
    yield result("rights", "the program has no capability and gets none", none, status)
    yield result("rights", "no program gives new rights", status["NoNewPrivs"] == "1", status["NoNewPrivs"])
    yield result("rights", "system calls are filtered", status["Seccomp"] == "2", status["Seccomp"])
    private = seen["mounts with set-id"]
    yield result("rights", "set-id bits count on no mount", private == [], private)
    few = seen["processes"]
    yield result("processes", "only its own processes are seen", len(few) <= 4 and max(few) < 1000, few)


def _judge_places(seen: Mapping[str, Any]) -> Iterator[CheckResult]:
    yield result("files", "a mounted file can be read", seen["read mount"] == "shown", seen["read mount"])
    yield result("start", "socket pairs work", seen["socket pair"] == "hello", seen["socket pair"])
    for name in ("write tmp", "write home", "write scratch"):
        yield result("files", f"one can {name}", seen[name] == "written", seen[name])
    if sys.platform == "linux":
        faces = seen["interfaces"]
        yield result("network", "no network interface but the own loopback", faces in ([], ["lo"]), faces)
        alien = sorted(set(seen["devices"]) - _DEVICES)
        yield result("files", "only harmless devices are there", alien == [], seen["devices"])
        homes = seen["host folders"]
        yield result("files", "no folder of the host's root is there", homes == [], homes)
        name = seen["host name"]
        yield result("start", "the host's name is not shown", name == "sandbox", name)
    left = seen["core file"]
    yield result("processes", "a crash leaves no core file", left is False or _refused(left), left)


def _refused(got: object) -> bool:
    return str(got).startswith("refused: ")


def _at_most(name: str, value: object, bound: int, *, least: int = 1) -> CheckResult:
    passed = isinstance(value, int) and least <= value <= bound
    return result("limits", name, passed or (least == 0 and _refused(value)), f"{value} of at most {bound}")
