"""Everything in one pid namespace: followed, counted, stopped and ended together (Linux)."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Sequence
from pathlib import PurePosixPath

from verifier.sandbox.cgroups import ControlGroup
from verifier.sandbox.interface import Limits
from verifier.sandbox.process import Sample
from verifier.sandbox.procfs import CpuMeter, PidNamespace, is_stopped, resident_bytes
from verifier.sandbox.stopping import signal_all, stop_all


class NamespaceTree:
    """See :class:`verifier.sandbox.process.Tree`."""

    def __init__(
        self,
        pid: int,
        init: int,
        status: int,
        namespace: PidNamespace,
        group: ControlGroup | None,
        limits: Limits,
        folders: Sequence[PurePosixPath] = (),
    ) -> None:
        """``folders`` are the temporary ones that it may write, each a file system of its own."""
        self._pid = pid
        self._init = init
        self._status = status
        self._namespace = namespace
        self._group = group
        self._limits = limits
        self._folders = [f"/proc/{pid}/root{folder}" for folder in folders]
        self._meter = CpuMeter()
        self._cpu = 0.0
        self._peak = 0

    def kill(self) -> None:
        # The kernel kills a pid namespace with its first process.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._init, signal.SIGKILL)
        if self._group is not None:
            self._group.kill()

    def freeze(self) -> None:
        if self._group is not None and self._group.freezer is not None:
            self._group.freeze()
        else:
            stop_all(self._namespace.members, is_stopped, belongs=self._namespace.holds)

    def thaw(self) -> None:
        if self._group is not None and self._group.freezer is not None:
            self._group.thaw()
        else:
            signal_all(self._namespace.members(), signal.SIGCONT, self._namespace.holds)

    def wait_gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        poller = select.poll()
        poller.register(self._init, select.POLLIN)
        # The first process of a namespace ends only after all others have been reaped.
        poller.poll(seconds * 1000)
        while self._namespace.members():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        # Its own parent is often gone by now; where we inherited it (as pid 1 of a container), we bury it.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, os.WNOHANG)
        return True

    def sample(self) -> Sample:
        counted = self._group.cpu_seconds() if self._group else None
        if counted is None:
            counted = self._meter.read(self._namespace.members())
        self._cpu = max(self._cpu, counted)
        peak = self._group.memory_peak() if self._group else None
        self._peak = max(self._peak, self._resident() if peak is None else peak)
        return Sample(self._cpu, self._peak)

    def pids(self) -> list[int]:
        return self._namespace.members()

    def over_memory(self) -> bool:
        if self._files() > self._limits.files:
            return True
        if self._group is not None and self._group.memory is not None:
            return self._group.out_of_memory()
        self._peak = max(self._peak, self._resident())
        return self._peak > self._limits.memory_bytes

    def _resident(self) -> int:
        return sum(resident_bytes(pid) for pid in self._namespace.members())

    def _files(self) -> int:
        """Files in the temporary folders: the kernel's memory for each is in no size of theirs.

        Their file systems are asked, by way of the first process; nothing in them is opened. A folder that
        is a file system's root cannot be replaced by a link.
        """
        total = 0
        for folder in self._folders:
            with contextlib.suppress(OSError):
                found = os.statvfs(folder)
                total += found.f_files - found.f_ffree
        return total

    def never_ran(self) -> bool:
        """bwrap reports an exit status only of a program that it started."""
        os.set_blocking(self._status, False)
        try:
            return b"exit-code" not in os.read(self._status, 4096)
        except BlockingIOError:
            return True

    def close(self) -> None:
        os.close(self._init)
        os.close(self._status)
        if self._group is not None:
            self._group.close()
