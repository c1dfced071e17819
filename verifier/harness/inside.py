"""How a Python program is shown inside a sandbox: paths, environment, limits."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Final

from verifier.harness.accelerator import KernelCache, Start
from verifier.sandbox.interface import Limits, LogSink, Mount, Sandbox, SandboxProcess, SandboxSpec

CHILD_FOLDER: Final = Path(__file__).parent / "child"
HARNESS: Final = PurePosixPath("/armlx/harness")
WORKSPACE: Final = PurePosixPath("/armlx/workspace")
HOME: Final = PurePosixPath("/armlx/home")
CACHE: Final = HOME / ".cache" / "autoresearch"

DESCRIPTOR_VARIABLE: Final = "ARMLX_HARNESS_FD"
GRAPH_LIMIT_VARIABLE: Final = "ARMLX_HARNESS_GRAPH_BYTES"
LOGITS_VARIABLE: Final = "ARMLX_HARNESS_LOGITS_FD"

_ENVIRONMENT: Final = {
    "HOME": str(HOME),
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",  # noqa: S108 (a path inside the sandbox)
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}


class Kernels(Enum):
    """What a run does with compiled kernels."""

    NONE = "none"
    FILL = "fill"
    """Runs of the unmodified snapshot only."""
    READ = "read"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that runs inside.

    Attributes:
        executable: Path of the interpreter, in a virtual environment with MLX and what the benchmark imports.
        environment: Variables beyond the minimal set. On the CPU backend MLX must not compile kernels: it
            would call a compiler that is not there (``MLX_DISABLE_COMPILE=1``).
        devices: Device nodes of the accelerator to show inside, all below ``/dev``.
        libraries: Folders of the host shown read-only at their own paths: what the accelerator's libraries
            need beyond the environment and the system.
        kernels: Where kernels compiled at run time are kept, on a backend that does so.
    """

    executable: Path
    environment: Mapping[str, str] = field(default_factory=lambda: {"MLX_DISABLE_COMPILE": "1"})
    devices: tuple[Path, ...] = ()
    libraries: tuple[Path, ...] = ()
    kernels: KernelCache | None = None

    @property
    def root(self) -> Path:
        """The virtual environment, or the installation, that the executable belongs to."""
        return self.executable.parent.parent


def start_python(
    sandbox: Sandbox,
    interpreter: Interpreter,
    arguments: Sequence[str],
    *,
    child_end: socket.socket,
    log: LogSink,
    mounts: Sequence[Mount] = (),
    cwd: PurePosixPath = WORKSPACE,
    environment: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    kernels: Kernels = Kernels.NONE,
    further_fds: Sequence[int] = (),
) -> SandboxProcess:
    """Start ``python -s -B <arguments>`` inside and close our copy of the child's end of its channel.

    Args:
        further_fds: Descriptors the child keeps beside its channel.
        kernels: What this run may do with the interpreter's kernel cache.
    """
    shown = [Mount(folder, PurePosixPath(folder)) for folder in interpreter.libraries]
    start = _kernels(interpreter, kernels, (str(interpreter.executable), "-s", "-B", *arguments))
    spec = SandboxSpec(
        argv=start.argv,
        env={
            **_ENVIRONMENT,
            **interpreter.environment,
            **start.environment,
            **(environment or {}),
            DESCRIPTOR_VARIABLE: str(child_end.fileno()),
        },
        cwd=cwd,
        mounts=[Mount(CHILD_FOLDER, HARNESS), *shown, *start.mounts, *mounts],
        scratch=[HOME],
        pass_fds=[child_end.fileno(), *further_fds],
        python=[interpreter.root],
        devices=interpreter.devices,
        limits=limits or Limits(),
    )
    try:
        return sandbox.start(spec, log)
    finally:
        child_end.close()


def _kernels(interpreter: Interpreter, use: Kernels, argv: tuple[str, ...]) -> Start:
    cache = interpreter.kernels
    if cache is not None and use is Kernels.FILL and not cache.filled:
        return cache.filling(argv)
    if cache is not None and use is not Kernels.NONE and cache.filled:
        return cache.reading(argv)
    return Start((), {}, argv)
