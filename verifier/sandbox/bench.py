"""A back-end, an interpreter, and short programs to run with both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from verifier.sandbox.interface import Exit, Mount, Sandbox, SandboxProcess, SandboxSpec, Usage
from verifier.sandbox.logs import MemoryLog

PATIENCE: Final = 60.0
"""Seconds after which a program that should have ended, or said something, never will."""
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What MLX needs inside beyond its own files; nothing for Metal and the CPU.

    Attributes:
        devices: Device nodes, as ``SandboxSpec`` takes them.
        libraries: Folders of the host shown read-only at their own paths.
        environment: Variables.
        memory_bytes: Bound of resident memory: drivers hold more than a small program.
    """

    devices: Sequence[Path] = ()
    libraries: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 8 << 30


@dataclass(frozen=True, slots=True)
class Run:
    exit: Exit
    usage: Usage
    log: MemoryLog
    seconds: float


@dataclass(frozen=True, slots=True)
class Bench:
    """A back-end and the interpreter that the attempts run with."""

    sandbox: Sandbox
    python: Path

    def spec(self, code: str, *arguments: str, **changes: Any) -> SandboxSpec:
        argv = [str(self.python), "-I", "-c", code, *arguments]
        return SandboxSpec(argv=argv, python=[self.python], **changes)

    def run(self, code: str, *arguments: str, **changes: Any) -> Run:
        """One program to its end, or to a kill after ``PATIENCE``."""
        log = MemoryLog()
        started = time.monotonic()
        with self.sandbox.start(self.spec(code, *arguments, **changes), log) as process:
            ended = process.wait(PATIENCE)
            if ended is None:
                process.kill_tree()
                ended = process.poll() or Exit(0, "deadline")
        return Run(ended, process.usage(), log, time.monotonic() - started)

    def begin(self, code: str, *arguments: str, **changes: Any) -> tuple[SandboxProcess, MemoryLog]:
        """A program that has said something and still runs. The caller ends it."""
        log = MemoryLog()
        process = self.sandbox.start(self.spec(code, *arguments, **changes), log)
        until(lambda: log.size > 0 or process.poll() is not None)
        return process, log


def until(condition: Callable[[], bool]) -> bool:
    """Wait for something, with patience; whether it came."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def shown_at_own_paths(folders: Sequence[Path]) -> list[Mount]:
    from pathlib import PurePosixPath

    return [Mount(folder, PurePosixPath(folder)) for folder in folders]
