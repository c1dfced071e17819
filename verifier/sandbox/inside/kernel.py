"""Doors into the kernel, tried with arguments that mean nothing: a wall answers before they are read."""

import errno
import os
import signal
import sys

from verifier.sandbox.inside.tools import CONFIG, all_denied, attempt, call, denied, raw_call

_NEW_USER = 0x1000_0000
_NEW_TIME = 0x80
_NO_RANDOM_ADDRESSES = 0x0004_0000
_X32 = 0x4000_0000
_X32_GETPID = 39
_PUSH_INPUT = 0x5412


def new_user_by_clone() -> object:
    child = call("clone", _NEW_USER | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return f"process {child} has its own users"


def other_numbers() -> object:
    """The x32 numbers of x86_64 name the same calls by other numbers."""
    if os.uname().machine != "x86_64" or sys.platform != "linux":
        raise OSError(errno.ENOSYS, "this machine has one set of numbers only")
    return denied(lambda: raw_call(_X32 | _X32_GETPID))


def observe() -> None:
    for promise, names in CONFIG["closed_calls"].items():
        attempt(promise, lambda names=names: all_denied(names))  # type: ignore[misc]
    attempt("new user namespace", lambda: denied(lambda: call("unshare", _NEW_USER)))
    attempt("new user namespace by clone", lambda: denied(new_user_by_clone))
    attempt("time namespace", lambda: denied(lambda: call("unshare", _NEW_TIME)))
    attempt("personality", lambda: denied(lambda: call("personality", _NO_RANDOM_ADDRESSES)))
    attempt("push input", lambda: denied(lambda: call("ioctl", 0, _PUSH_INPUT, 0)))
    attempt("other numbers", other_numbers)
    attempt("unknown call", lambda: denied(lambda: raw_call(CONFIG["unknown_call"])))
