"""Trying something and writing down what came of it."""

import ctypes
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = json.loads(sys.argv[1])
# Paths come as arguments of their own: a back-end without mounts puts the real places there.
CONFIG |= dict(zip(("probe", "tmp", "scratch", "mounted"), sys.argv[2:6], strict=True))
RESULTS: dict[str, object] = {}

REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EAFNOSUPPORT)
"""What a wall answers. Anything else (EFAULT, EINVAL, EBADF) means that the kernel looked at the request."""


def attempt(name: str, action: Callable[[], object]) -> None:
    """Run it; an error of the kinds that a wall gives is a refusal."""
    try:
        RESULTS[name] = action()
    except (OSError, MemoryError, RuntimeError, ImportError, subprocess.SubprocessError) as error:
        RESULTS[name] = f"refused: {type(error).__name__}: {error}"


def number_of(name: str) -> int:
    """A system call's number here.

    Raises:
        OSError: there is none of that name on this system.
    """
    number = CONFIG["system_calls"].get(name)
    if number is None or sys.platform != "linux":
        raise OSError(errno.ENOSYS, "there is no such call on this system")
    return int(number)


def call(name: str, *arguments: int) -> int:
    """One system call by name, with integers as arguments.

    Raises:
        OSError: with what the kernel, or the filter before it, answered.
    """
    return raw_call(number_of(name), *arguments)


def raw_call(number: int, *arguments: int) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    result = int(library.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments)))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def denied(action: Callable[[], object]) -> object:
    """What a call with useless arguments gives: refused by a wall, or looked at by the kernel."""
    try:
        got = action()
    except OSError as error:
        if error.errno in REFUSALS:
            raise
        return f"reached the kernel: {error}"
    return f"went through: {got}"


def all_denied(names: list[str]) -> str:
    """Every one of these calls is refused; the first that is not decides.

    Raises:
        OSError: all were refused.
    """
    refusals = []
    for name in names:
        try:
            got = denied(lambda name=name: call(name, -1, -1, -1, -1, -1, -1))  # type: ignore[misc]
        except OSError as error:
            refusals.append(f"{name} {errno.errorcode.get(error.errno or 0, '?')}")
            continue
        return f"{name}: {got}"
    raise OSError(errno.EPERM, ", ".join(refusals))


def write_file(path: str | Path) -> str:
    Path(path).write_bytes(b"changed")
    return "written"


def open_for_writing(path: str | Path) -> str:
    os.close(os.open(path, os.O_WRONLY))
    return "opened"
