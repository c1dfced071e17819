"""Keeping the machine awake while runs go on.

A machine that sleeps all the same voids the pair; this only keeps that from happening. It is a courtesy of
the system: where there is no such tool, or it refuses, runs go on without.

::

    with awake("reproducing a candidate"):
        …
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

_END_SECONDS: Final = 10.0

Which = Callable[[str], str | None]


def command_for(why: str, *, system: str = sys.platform, which: Which = shutil.which) -> list[str] | None:
    """The command that keeps this machine awake until its standard input ends; ``None`` if there is none."""
    if system == "darwin":
        tool = which("caffeinate")
        return [tool, "-i", "-m", "-s", "/bin/cat"] if tool else None
    tool, cat = which("systemd-inhibit"), which("cat")
    if not (tool and cat):
        return None
    return [tool, "--what=sleep:idle", "--who=armlx-chain", f"--why={why}", "--mode=block", cat]


@contextmanager
def awake(why: str, *, command: Sequence[str] | None = None) -> Iterator[bool]:
    """Keep the machine awake inside the block.

    The tool waits for the end of a pipe that only this process holds: if this process is killed, the machine
    may sleep again.

    Yields:
        Whether the tool was started.
    """
    argv = list(command) if command is not None else command_for(why)
    holder = _start(argv) if argv else None
    try:
        yield holder is not None
    finally:
        if holder is not None:
            _end(holder)


def _start(argv: list[str]) -> subprocess.Popen[bytes] | None:
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return None


def _end(holder: subprocess.Popen[bytes]) -> None:
    if holder.stdin is not None:
        holder.stdin.close()
    try:
        holder.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        holder.kill()
        holder.wait()
