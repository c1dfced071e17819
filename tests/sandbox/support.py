"""One program in the sandbox, and the same program bare."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

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


PREAMBLE = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def got(what): print("GOT", what, flush=True)
def refused(why): print("REFUSED", why, flush=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
def syscall(number, *arguments):
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def attack(): pass
"""
ENDING = """
try: got(attack())
except (OSError, MemoryError) as error: refused(repr(error))
"""


def program(body: str) -> str:
    return PREAMBLE + body + ENDING


def try_both(sandbox: Sandbox, body: str, *arguments: str, root_only: bool = False) -> None:
    """The attack works bare and fails inside; where even root may not, there is nothing to show."""
    bare = run_bare(program(body), *arguments)
    if "GOT" not in bare:
        if root_only and not AS_ROOT:
            assert "REFUSED" in bare, bare
        else:
            pytest.skip(f"this machine refuses it to everybody: {bare.strip()[-200:]}")
    inside = run_inside(sandbox, program(body), *arguments)
    assert "REFUSED" in inside.text, inside.text
    assert "GOT" not in inside.text


def until(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@contextlib.contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["/bin/sleep", "300"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()
