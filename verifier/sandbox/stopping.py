"""Stopping and continuing a set of processes by signals, where no control group can freeze them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Final

from armlx_chain.errors import VerifierFault

FREEZE_SECONDS: Final = 10.0
"""Longest wait for a tree to stand still. A process can be stuck in the kernel (a slow disk) for a while."""
_LOOK_SECONDS: Final = 0.002


def _anybody(_pid: int) -> bool:
    return True


def signal_all(
    pids: Iterable[int], number: signal.Signals, belongs: Callable[[int], bool] = _anybody
) -> None:
    """The same signal to each; those that are gone are no matter.

    Args:
        belongs: Whether a number is still that of a member. It is asked once the process is held on to, so
            that a number which passed to a stranger meanwhile is not signalled (Linux).
    """
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            _signal(pid, number, belongs)


def _signal(pid: int, number: signal.Signals, belongs: Callable[[int], bool]) -> None:
    if sys.platform != "linux":
        if belongs(pid):
            os.kill(pid, number)
        return
    held = os.pidfd_open(pid)
    try:
        if belongs(pid):
            signal.pidfd_send_signal(held, number)
    finally:
        os.close(held)


def stop_all(
    members: Callable[[], list[int]],
    stopped: Callable[[int], bool],
    *,
    belongs: Callable[[int], bool] = _anybody,
    seconds: float = FREEZE_SECONDS,
) -> None:
    """SIGSTOP to everybody until two looks in a row find nobody new and nobody running.

    One look is not enough: what was forked meanwhile is not in it, and a member may have continued another
    one before it was stopped itself.

    Args:
        members: Living members at this moment.
        stopped: Whether no thread of a process can run.
        belongs: As for ``signal_all``.

    Raises:
        VerifierFault: when somebody still runs after that time; all go on then.
    """
    deadline = time.monotonic() + seconds
    before: list[int] | None = None
    while True:
        now = sorted(members())
        if now == before and all(stopped(pid) for pid in now):
            return
        before = now if all(stopped(pid) for pid in now) else None
        if time.monotonic() > deadline:
            signal_all(now, signal.SIGCONT, belongs)
            raise never_stopped()
        signal_all((pid for pid in now if not stopped(pid)), signal.SIGSTOP, belongs)
        time.sleep(_LOOK_SECONDS)


def never_stopped() -> VerifierFault:
    return VerifierFault(
        "A sandboxed program could not be stopped.",
        meaning="The accelerator may be in use where it must be idle; this run cannot be measured.",
        next_step="Look for a process that waits for a disk or a driver; then run again.",
    )
