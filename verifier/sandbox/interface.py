"""One interface for every sandbox back-end.

Invariants every back-end keeps, and ``selfcheck`` proves:

- the child never runs with the verifier's user id where the verifier is root, and never with capabilities;
- it sees only the mounts of its ``SandboxSpec``, the read-only system and fresh, bounded temporary folders;
- it has no network of any kind unless ``network`` asks for it (and then no ``pass_fds``); its only way out is
  its log and the descriptors of ``pass_fds``;
- when ``kill_tree`` returns, no process of the sandbox exists any more, whatever it forked or daemonised;
- no path that the child could write is ever opened by the verifier while the child lives, and none of a
  writable mount is ever opened by following a link.

::

    with backend.start(spec, log) as process:
        process.wait(timeout_seconds=30.0)
        process.kill_tree()
        print(process.usage().cpu_seconds)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final, Protocol, Self

INSIDE_TMP: Final = PurePosixPath("/tmp")  # noqa: S108 (a path inside the sandbox)
INSIDE_HOME: Final = INSIDE_TMP / "home"
"""Always there and writable; ``HOME`` points to it unless the specification says otherwise."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the host shown inside, read-only unless ``writable``.

    Where the verifier is root the child is another user, so what is shown must be readable for others (files
    0644, folders 0755). The folders above it may stay closed.

    Attributes:
        writable: A real folder of the host that the child may change, for a snapshot's own setup steps and
            never for a candidate. While the child lives everything in it belongs to the child's user;
            afterwards it is the verifier's again, readable for others, without set-id bits. Nothing bounds
            its size. Whoever opens something there later must not follow links: what lies there is a
            stranger's.
    """

    source: Path
    target: PurePosixPath
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use. All are enforced by the kernel or by polling and killing."""

    memory_bytes: int = 4 << 30
    """Resident memory of the whole tree."""
    processes: int = 64
    open_files: int = 256
    file_bytes: int = 64 << 20
    """Largest single file it may write."""
    scratch_bytes: int = 256 << 20
    """Size of each writable temporary folder (``/tmp`` and its HOME)."""
    files: int = 200_000
    """Files and folders in all writable temporary folders together: each costs kernel memory even when empty.
    Too many count as too much memory."""
    log_bytes: int = 32 << 20
    """The tree is killed once its log has reached this size; what came beyond it is dropped."""
    address_space_bytes: int | None = None
    """Virtual memory of one process; by default far more than it may use, and unbounded where ``devices`` are
    given (CUDA maps all of the GPU's memory and the host's before it uses any)."""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One program to run inside.

    Attributes:
        argv: Program and arguments, as seen inside.
        env: The whole environment; nothing is inherited.
        cwd: Working directory inside. It must be a mount, or lie in one, or be scratch.
        mounts: What is shown. Later mounts may lie over earlier ones.
        scratch: Further fresh writable folders (tmpfs), each of ``limits.scratch_bytes``.
        pass_fds: Host descriptors the child keeps, under the same number.
        python: Interpreters or virtual environments to show inside at their own paths, with what they need
            (base installation, shared libraries). A mount must not lie over or above one of them.
        network: Share the host's network, loopback included: for a snapshot's own setup steps, never where a
            candidate runs. Refused together with ``pass_fds``.
        devices: Device nodes of the accelerator, shown at their own paths, all below ``/dev``.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: PurePosixPath = INSIDE_TMP
    mounts: Sequence[Mount] = ()
    scratch: Sequence[PurePosixPath] = ()
    pass_fds: Sequence[int] = ()
    python: Sequence[Path] = ()
    limits: Limits = field(default_factory=Limits)
    network: bool = False
    devices: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What the tree used so far; the outside clock reads it."""

    cpu_seconds: float
    peak_memory_bytes: int
    wall_seconds: float


@dataclass(frozen=True, slots=True)
class Exit:
    """How the child ended.

    Attributes:
        code: Exit status, or minus the signal's number. (A program that itself ends with 128 + n looks like
            one that died of signal n.)
        killed_for: ``None``, or which limit made *us* kill it: ``memory``, ``log``, ``deadline``.
    """

    code: int
    killed_for: str | None


class LogSink(Protocol):
    """Receives the child's stdout and stderr, byte for byte, in order."""

    def write(self, chunk: bytes) -> None: ...

    @property
    def size(self) -> int: ...


class SandboxProcess(Protocol):
    """A running child and all it started."""

    def wait(self, timeout_seconds: float | None = None) -> Exit | None:
        """Wait for the first process inside to end; ``None`` if it still runs after the timeout."""
        ...

    def poll(self) -> Exit | None: ...

    def kill_tree(self, reason: str = "deadline") -> None:
        """Kill everything inside and return only when it is seen to be gone.

        Raises:
            VerifierFault: if something survives.
        """
        ...

    def freeze(self) -> None:
        """Stop everything inside and return when nothing of it runs; nothing happens after the end.

        The program's clocks go on. ``kill_tree`` works on a frozen tree; limits hold on.

        Raises:
            VerifierFault: if something would not stop. Nothing inside is left half stopped.
        """
        ...

    def thaw(self) -> None:
        """Let everything inside go on; nothing happens if it was not frozen."""
        ...

    def usage(self) -> Usage:
        """Usage of the whole tree, ended processes included; still answers after the end.

        Where a control group counts, CPU time is exact. Where none can be had, it comes from the processes'
        clocks: exact while they live, up to 50 ms short after the end, and up to 50 ms short for each child
        that a parent has disowned (SIGCHLD ignored).
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kills the tree if it still runs."""
        ...


class Sandbox(Protocol):
    """A back-end."""

    @property
    def name(self) -> str: ...

    def check(self) -> None:
        """Prove quickly that this back-end works here.

        Raises:
            SandboxUnavailable: with what is missing and the command that installs it. There is no
                silent fall-back to running bare.
        """
        ...

    def start(self, spec: SandboxSpec, log: LogSink) -> SandboxProcess:
        """Start a child.

        Raises:
            SandboxUnavailable: the back-end cannot start it. A failing *program* is not an error here.
            VerifierFault: something that is to be shown does not exist.
            ValueError: a specification that makes no sense.
        """
        ...
