"""One program in the sandbox, and the same program bare."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from verifier.sandbox.interface import Exit, Sandbox, SandboxSpec, Usage
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.python_env import running_interpreter

AS_ROOT = os.geteuid() == 0


@dataclass(frozen=True)
class Ran:
    exit: Exit
    usage: Usage
    log: MemoryLog

    @property
    def text(self) -> str:
        return self.log.text()


def python_spec(code: str, *arguments: str, **changes: Any) -> SandboxSpec:
    interpreter = running_interpreter()
    return SandboxSpec(argv=[str(interpreter), "-I", "-c", code, *arguments], python=[interpreter], **changes)


def run_inside(sandbox: Sandbox, code: str, *arguments: str, **changes: Any) -> Ran:
    """One Python program in the sandbox, to its end or a kill after 60 seconds."""
    log = MemoryLog()
    with sandbox.start(python_spec(code, *arguments, **changes), log) as process:
        ended = process.wait(60.0)
        if ended is None:
            process.kill_tree()
            ended = process.poll()
    assert ended is not None
    return Ran(ended, process.usage(), log)


def run_bare(code: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> str:
    """The same program without a sandbox."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        pass_fds=pass_fds,
    )
    return done.stdout + done.stderr
