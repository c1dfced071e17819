"""The Linux back-end: bubblewrap, a system-call filter of our own, resource limits and control groups.

Invariants beyond the interface's:

- started by root, bubblewrap makes the namespaces without a new user namespace (so that it can show folders
  that lie under a 0700 home), and ``setpriv`` then becomes a user id that only this run has, with no
  capability left and none to be had (bounding set empty, no_new_privs). The reaper with pid 1 inside stays
  uid 0 without any capability; nothing inside can signal, trace or open it;
- started by an ordinary user, the child is that user in a new user namespace, without capabilities;
- the program is held back until its limits and its control group are in force;
- the command line and the environment of the launcher hold nothing that must not be seen inside.

::

    process = BubblewrapSandbox().start(SandboxSpec(argv=["/usr/bin/id"]), log)
    exit = process.wait(timeout_seconds=10.0)
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import select
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from armlx_chain.errors import SandboxUnavailable, VerifierFault
from verifier.sandbox.cgroups import Hierarchy, create_group, find_hierarchies, remove_stale
from verifier.sandbox.identity import INSIDE_ID, Identity, choose_identity
from verifier.sandbox.interface import INSIDE_HOME, INSIDE_TMP, Limits, LogSink, SandboxSpec
from verifier.sandbox.layout import Descriptors, check_spec, options
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.namespace import NamespaceTree
from verifier.sandbox.ownership import give, take_back
from verifier.sandbox.process import Launch, Started, SupervisedProcess
from verifier.sandbox.procfs import PidNamespace, parent_pid, pid_namespace
from verifier.sandbox.python_env import PythonFiles, python_files
from verifier.sandbox.seccomp import filter_program

if sys.platform != "linux":
    raise ImportError("this back-end is for Linux; ask verifier.sandbox.select for the right one")

INSTALL_HINT: Final = (
    "Install bubblewrap: apt-get install bubblewrap (Debian, Ubuntu), dnf install bubblewrap (Fedora)."
)
_SETUP_SECONDS: Final = 30.0
_LOG_PIPE_BYTES: Final = 1 << 18
_ADDRESS_SPACE_FLOOR: Final = 64 << 30
"""Numerical libraries map far more than they use; resident memory is bounded by other means."""
_OWN_PROCESSES: Final = 2
"""The reaper, and setpriv before it becomes the program, in the process bound of a control group."""


class BubblewrapSandbox:
    """See :class:`verifier.sandbox.interface.Sandbox`.

    Args:
        clock: Seconds of a clock that never goes back.
        use_cgroups: ``False`` polls ``/proc`` for memory and CPU time, as where no group can be written.
        search_path: Where ``bwrap`` and ``setpriv`` are looked for; ``PATH`` and the system's by default.
    """

    name = "bubblewrap"

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        use_cgroups: bool = True,
        search_path: str | None = None,
    ) -> None:
        self._clock = clock
        self._search_path = search_path or f"{os.environ.get('PATH', '')}:/usr/bin:/bin"
        self._hierarchies = _own_hierarchies() if use_cgroups else []
        remove_stale(self._hierarchies, now=time.time())

    def check(self) -> None:
        log = MemoryLog()
        spec = SandboxSpec(argv=["/bin/cat", "/proc/self/status"])
        with self.start(spec, log) as process:
            ended = process.wait(_SETUP_SECONDS)
        text = log.text()
        fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        if ended is None or ended.code != 0 or "CapEff" not in fields:
            raise _unavailable(text or "the first program inside did not run")
        capabilities = [int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")]
        uids = fields["Uid"].split()
        if (
            any(capabilities)
            or "0" in uids
            or fields["NoNewPrivs"].strip() != "1"
            or fields["Seccomp"].strip() != "2"
        ):
            raise SandboxUnavailable(
                f"The sandbox does not confine as it must: {fields['Uid']=}, {capabilities=}."
            )

    def start(self, spec: SandboxSpec, log: LogSink) -> SupervisedProcess:
        bwrap = self._find("bwrap", INSTALL_HINT)
        identity = choose_identity()
        pythons = [python_files(path, for_others=identity.dedicated) for path in spec.python]
        for mount in spec.mounts:
            if not mount.source.exists():
                raise VerifierFault(f"{mount.source} is to be shown in the sandbox and does not exist.")
        _check_devices(spec.devices, for_others=identity.dedicated)
        check_spec(spec)
        writable = [mount.source for mount in spec.mounts if mount.writable]
        if identity.dedicated:
            for folder in writable:
                give(folder, identity.uid)
        launch = self._launcher(spec, identity, pythons, bwrap)
        return SupervisedProcess(launch, log, spec.limits, self._clock, on_gone=partial(_take_back, writable))

    def _find(self, program: str, hint: str) -> str:
        found = shutil.which(program, path=self._search_path)
        if found is None:
            raise SandboxUnavailable(
                f"{program} was not found.", meaning="Nothing is ever run without a sandbox.", next_step=hint
            )
        return found

    def _program(self, spec: SandboxSpec, identity: Identity) -> list[str]:
        setpriv = self._find("setpriv", "Install util-linux: apt-get install util-linux.")
        if not identity.dedicated:
            # Nothing to give up. It is here so that a missing program fails as a program, not as a sandbox.
            return [setpriv, "--no-new-privs", "--", *spec.argv]
        number = str(identity.uid)
        change = ["--reuid", number, "--regid", number, "--clear-groups"]
        return [
            setpriv,
            *change,
            "--inh-caps=-all",
            "--ambient-caps=-all",
            "--bounding-set=-all",
            "--",
            *spec.argv,
        ]

    def _launcher(
        self, spec: SandboxSpec, identity: Identity, pythons: Sequence[PythonFiles], bwrap: str
    ) -> Launch:
        program = self._program(spec, identity)

        def launch(log_reader: int, log_writer: int) -> Started:
            with contextlib.ExitStack() as stack:
                ours, theirs = socket.socketpair()
                stack.enter_context(ours)
                status_reader, status_writer = os.pipe()
                stack.callback(os.close, status_reader)  # the tree has a copy of its own
                # What only bwrap keeps must be closed here, else its end would not be seen.
                with contextlib.ExitStack() as given:
                    given.enter_context(theirs)
                    given.callback(os.close, status_writer)
                    descriptors = _descriptors(given, spec, identity, status_writer, theirs.fileno())
                    texts = options(spec, identity, pythons, descriptors)
                    arguments = _memory_file(given, b"".join(text.encode() + b"\0" for text in texts))
                    popen = subprocess.Popen(
                        [bwrap, "--args", str(arguments), "--", *program],
                        stdin=subprocess.DEVNULL,
                        stdout=log_writer,
                        stderr=log_writer,
                        # Its first environment stays readable in /proc for as long as it lives.
                        env={"PATH": "/usr/bin:/bin"},
                        cwd="/",
                        start_new_session=True,
                        pass_fds=[*spec.pass_fds, arguments, *descriptors.numbers()],
                    )
                failed = stack.push(contextlib.ExitStack())
                failed.callback(popen.wait)
                failed.callback(popen.kill)
                try:
                    started = self._release(popen, spec, identity, ours, status_reader)
                except _SetupFailed:
                    popen.kill()
                    popen.wait()
                    raise _unavailable(_complaint(log_reader)) from None
                failed.pop_all()
                return started

        return launch

    def _release(
        self,
        popen: subprocess.Popen[bytes],
        spec: SandboxSpec,
        identity: Identity,
        gate: socket.socket,
        status: int,
    ) -> Started:
        """Put limits on the held-back child, then let it go.

        The gate closes when bwrap has read our byte, which it does after all mounts are made; if it ends
        before, the unread byte turns the close into a reset.
        """
        limits = spec.limits
        init = _child_pid(status)
        try:
            descriptor = os.pidfd_open(init)
        except ProcessLookupError as error:  # it failed while it made the mounts, and has said why
            raise _SetupFailed from error
        # While bwrap lives and is the parent, the number cannot have passed to another process.
        inode = pid_namespace(init)
        if parent_pid(init) != popen.pid or inode is None or inode == pid_namespace(os.getpid()):
            os.close(descriptor)
            raise _SetupFailed
        group = create_group(
            memory_bytes=limits.memory_bytes,
            processes=limits.processes + _OWN_PROCESSES,
            hierarchies=self._hierarchies,
        )
        namespace = PidNamespace(inode, identity.uid if identity.dedicated else None)
        folders = (INSIDE_TMP, *spec.scratch)
        tree = NamespaceTree(init, descriptor, os.dup(status), namespace, group, limits, folders)
        try:
            if group is not None:
                group.add(init)
            _limit(init, limits, _address_space(spec))
            gate.settimeout(_SETUP_SECONDS)
            gate.send(b"1")
            gate.recv(1)
        except OSError as error:
            tree.kill()
            popen.wait()
            tree.close()
            raise _SetupFailed from error
        return Started(popen, tree)


class _SetupFailed(Exception):
    """bwrap gave up before the program started; the reason is in its output."""


def _address_space(spec: SandboxSpec) -> int:
    if spec.limits.address_space_bytes is not None:
        return spec.limits.address_space_bytes
    if spec.devices:
        return resource.RLIM_INFINITY
    return max(_ADDRESS_SPACE_FLOOR, 16 * spec.limits.memory_bytes)


def _limit(pid: int, limits: Limits, space: int) -> None:
    """Resource limits of a process that is held back; its descendants inherit them."""
    wanted = {
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_NPROC: limits.processes,
        # One byte, not zero: that stops core files as well, and also a core pattern that pipes to a program.
        resource.RLIMIT_CORE: 1,
        resource.RLIMIT_AS: space,
        resource.RLIMIT_MEMLOCK: 1 << 20,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 1024,
        resource.RLIMIT_RTPRIO: 0,
        resource.RLIMIT_NICE: 0,
    }
    for kind, value in wanted.items():
        _, hard = resource.prlimit(pid, kind)
        if resource.RLIM_INFINITY not in (hard, value):
            value = min(value, hard)
        elif value == resource.RLIM_INFINITY:
            value = hard
        resource.prlimit(pid, kind, (value, value))
    # Under memory pressure the host gives up the stranger first.
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("800", encoding="ascii")


def _check_devices(devices: Sequence[Path], *, for_others: bool) -> None:
    for node in devices:
        try:
            found = node.stat(follow_symlinks=False)
        except OSError as error:
            raise VerifierFault(
                f"{node} is to be shown in the sandbox and cannot be had: {error}."
            ) from error
        if not stat.S_ISCHR(found.st_mode):
            raise VerifierFault(f"{node} is to be shown in the sandbox and is no character device.")
        if for_others and found.st_mode & 0o006 != 0o006:
            raise SandboxUnavailable(
                f"{node} may not be used by everybody, and the sandboxed program runs as another user.",
                next_step=f"chmod a+rw {node}, or run the verifier as an ordinary user of the node's group.",
            )


def _take_back(folders: Sequence[Path]) -> None:
    for folder in folders:
        take_back(folder)


def _child_pid(status: int) -> int:
    """The host pid of the namespace's first process, from bwrap's status stream."""
    poller = select.poll()
    poller.register(status, select.POLLIN)
    received = b""
    while b"\n" not in received:
        chunk = os.read(status, 4096) if poller.poll(_SETUP_SECONDS * 1000) else b""
        if not chunk:
            raise _SetupFailed
        received += chunk
    try:
        return int(json.loads(received.partition(b"\n")[0])["child-pid"])
    except (ValueError, KeyError) as error:
        raise _SetupFailed from error


def _complaint(reader: int) -> str:
    try:
        return os.read(reader, 4096).decode("utf-8", "replace").strip()
    except BlockingIOError:
        return ""


def _unavailable(complaint: str) -> SandboxUnavailable:
    hints = {
        "uid map": "Allow unprivileged user namespaces: an AppArmor profile for bwrap, or "
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0.",
        "No permissions to create": "Allow unprivileged user namespaces: "
        "sysctl kernel.unprivileged_userns_clone=1.",
        "Creating new namespace failed": "Allow user namespaces for this account, or give the container "
        "CAP_SYS_ADMIN and a seccomp profile that allows unshare and mount.",
        "Unknown option": "Install a newer bubblewrap (0.8 or later).",
    }
    hint = next((text for sign, text in hints.items() if sign in complaint), None)
    return SandboxUnavailable(
        f"bubblewrap could not start the sandbox: {complaint or 'no reason given'}",
        meaning="Nothing is ever run without a sandbox.",
        next_step=hint
        or "Run `bwrap --unshare-user --ro-bind / / true` as this user to see the system's answer.",
    )


def _memory_file(stack: contextlib.ExitStack, data: bytes) -> int:
    descriptor = os.memfd_create("sandbox")
    stack.callback(os.close, descriptor)
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _descriptors(
    stack: contextlib.ExitStack, spec: SandboxSpec, identity: Identity, status: int, block: int
) -> Descriptors:
    allowed = filter_program(platform.machine(), network=spec.network, devices=bool(spec.devices))
    inside = identity.uid if identity.dedicated else INSIDE_ID
    return Descriptors(
        seccomp=_memory_file(stack, allowed),
        status=status,
        block=block,
        passwd=_memory_file(stack, f"run:x:{inside}:{inside}::{INSIDE_HOME}:/bin/sh\n".encode()),
        group=_memory_file(stack, f"run:x:{inside}:\n".encode()),
    )


def _own_hierarchies() -> list[Hierarchy]:
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    except OSError:
        return []
    return find_hierarchies(mounts, groups)
