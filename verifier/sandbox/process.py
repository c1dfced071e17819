"""A running child under supervision, the same for every back-end.

Invariants:

- one thread per child starts it, drains its log, watches its limits and reaps it. The thread lives until the
  child is gone, because the kernel ends a child with the *thread* that started it (parent-death signal);
- the log is read with bounded memory, never beyond ``limits.log_bytes``, and its end is never waited for;
- an :class:`Exit` exists only after the whole tree was seen to be gone.
"""

from __future__ import annotations

import os
import select
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from armlx_chain.errors import SandboxUnavailable, VerifierFault
from verifier.sandbox.interface import Exit, Limits, LogSink, Usage

_CHUNK: Final = 1 << 16
_WATCH_SECONDS: Final = 0.05
"""How often memory is looked at, and the longest that the loop sleeps."""
_POLL_SECONDS: Final = 0.01
"""The same where the end of a process gives no descriptor to wait for."""
_GONE_SECONDS: Final = 20.0
_SIGNALLED: Final = 128


@dataclass(frozen=True, slots=True)
class Sample:
    cpu_seconds: float
    peak_memory_bytes: int


class Tree(Protocol):
    """All processes of one run, as a back-end finds and ends them."""

    def kill(self) -> None:
        """Tell everything to end at once. May be called again, and from any thread."""
        ...

    def wait_gone(self, seconds: float) -> bool:
        """Whether nothing is left, waiting at most so long."""
        ...

    def freeze(self) -> None:
        """Stop all of them and see that none runs.

        Raises:
            VerifierFault: if something would not stop; all go on then.
        """
        ...

    def thaw(self) -> None:
        """Let all of them go on."""
        ...

    def sample(self) -> Sample: ...

    def pids(self) -> list[int]:
        """The host's process ids of everything alive in it."""
        ...

    def over_memory(self) -> bool:
        """Whether the tree has passed its memory bound."""
        ...

    def never_ran(self) -> bool:
        """After the end: whether the launcher failed before the program's first instruction."""
        ...

    def close(self) -> None:
        """Let go of what the back-end holds for this run."""
        ...


@dataclass(frozen=True, slots=True)
class Started:
    popen: subprocess.Popen[bytes]
    tree: Tree


Launch = Callable[[int, int], Started]
"""Starts the child; given the read end (for the back-end's own complaints) and the write end of its log."""


class SupervisedProcess:
    """See :class:`verifier.sandbox.interface.SandboxProcess`."""

    def __init__(
        self,
        launch: Launch,
        log: LogSink,
        limits: Limits,
        clock: Callable[[], float],
        *,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_gone`` is called once, when nothing is left alive and before anybody hears of the end."""
        self._on_gone = on_gone
        self._log = log
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._reason: str | None = None
        self._exit: Exit | None = None
        self._fault: VerifierFault | None = None
        self._final: Usage | None = None
        self._killed = False
        self._frozen = False
        self._logged = 0
        ready: Future[Started] = Future()
        self._started_at = clock()
        threading.Thread(target=self._supervise, args=(launch, ready), name="sandbox", daemon=True).start()
        self._tree = ready.result().tree

    # -- the interface ------------------------------------------------------------------------------------

    def wait(self, timeout_seconds: float | None = None) -> Exit | None:
        self._done.wait(timeout_seconds)
        return self.poll()

    def poll(self) -> Exit | None:
        if not self._done.is_set():
            return None
        if self._fault is not None:
            raise self._fault
        return self._exit

    def kill_tree(self, reason: str = "deadline") -> None:
        with self._lock:
            if self._final is None:
                self._reason = self._reason or reason
                self._measure()
                self._kill(self._tree)
        if not self._done.wait(_GONE_SECONDS + 5):
            raise VerifierFault(
                "The sandboxed program was killed and its supervision did not end.",
                next_step="Look for a blocked disk or a stopped process; then run again.",
            )
        self.poll()

    def freeze(self) -> None:
        # Under the lock, so that no kill can come between and then wait for something frozen.
        with self._lock:
            if not self._killed and not self._frozen:
                self._tree.freeze()
                self._frozen = True

    def thaw(self) -> None:
        with self._lock:
            if self._frozen and not self._killed:
                self._tree.thaw()
            self._frozen = False

    def host_pids(self) -> list[int]:
        """Process ids, as the host sees them, of everything alive inside; empty after the end."""
        with self._lock:
            return [] if self._final else self._tree.pids()

    def usage(self) -> Usage:
        with self._lock:
            return self._final or self._measure()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._done.is_set():
            self.kill_tree("left")

    # -- the supervising thread ---------------------------------------------------------------------------

    def _supervise(self, launch: Launch, ready: Future[Started]) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        try:
            try:
                started = launch(reader, writer)
            except BaseException as error:  # noqa: BLE001 (raised again by the thread that waits for it)
                self._settle()
                ready.set_exception(error)
                return
            finally:
                os.close(writer)
            ready.set_result(started)
            self._tree = started.tree
            try:
                self._watch(started, reader)
            finally:
                self._finish(started, reader)
        finally:
            os.close(reader)
            self._done.set()

    def _watch(self, started: Started, reader: int) -> None:
        """Until the first process has ended."""
        poller = select.poll()
        poller.register(reader, select.POLLIN)
        ended = os.pidfd_open(started.popen.pid) if hasattr(os, "pidfd_open") else None
        try:
            if ended is not None:
                poller.register(ended, select.POLLIN)
            pause = _WATCH_SECONDS if ended is not None else _POLL_SECONDS
            looked = self._clock()
            while started.popen.poll() is None:
                events = {descriptor for descriptor, _ in poller.poll(pause * 1000)}
                if reader in events and not self._take(reader):
                    poller.unregister(reader)
                if self._clock() - looked >= _WATCH_SECONDS:
                    looked = self._clock()
                    self.usage()  # where nothing counts for us, the last look is what remains after the end
                    if started.tree.over_memory():
                        self._stop("memory")
        finally:
            if ended is not None:
                os.close(ended)

    def _finish(self, started: Started, reader: int) -> None:
        """End what is left, see that it is gone, and take the last figures."""
        with self._lock:
            self._kill(started.tree)
        gone = started.tree.wait_gone(_GONE_SECONDS)
        if gone:
            code = started.popen.wait()
            self._settle()
            while self._take(reader, at_end=True):
                pass
            if self._reason is None and started.tree.over_memory():
                self._reason = "memory"
            if self._fault is None and self._reason is None and code and started.tree.never_ran():
                self._fault = SandboxUnavailable(
                    f"The sandbox failed before its program started (status {code}); its log says why."
                )
            self._exit = Exit(*self._ending(code))
        else:
            self._fault = VerifierFault(
                "A sandboxed process survived its kill.",
                meaning="Nothing that this machine measures now can be trusted.",
                next_step="Find and end it (see the process list for an unknown user id), then restart.",
            )
        with self._lock:
            self._final = self._measure()
            started.tree.close()

    def _settle(self) -> None:
        try:
            self._on_gone()
        except VerifierFault as fault:
            self._fault = fault

    def _ending(self, code: int) -> tuple[int, str | None]:
        """Exit status and reason. A launcher reports death by signal n as 128 + n, like a shell."""
        status = _SIGNALLED - code if code > _SIGNALLED else code
        by_us = status < 0 or self._reason in ("memory", "log")
        return status, self._reason if by_us else None

    def _stop(self, reason: str) -> None:
        with self._lock:
            self._reason = self._reason or reason
            self._kill(self._tree)

    def _kill(self, tree: Tree) -> None:
        self._killed = True
        tree.kill()

    def _take(self, reader: int, *, at_end: bool = False) -> bool:
        """Move one piece of the log to its sink; ``False`` when there is nothing more to come."""
        room = self._limits.log_bytes - self._logged
        if room <= 0:
            return False
        try:
            chunk = os.read(reader, min(_CHUNK, room))
        except BlockingIOError:
            return not at_end
        if not chunk:
            return False
        try:
            self._log.write(chunk)
        except OSError as error:
            self._fault = VerifierFault(f"The run log could not be stored: {error}.")
            self._stop("fault")
            return False
        self._logged += len(chunk)
        if self._logged >= self._limits.log_bytes:
            self._stop("log")
            return False
        return True

    def _measure(self) -> Usage:
        sample = self._tree.sample()
        return Usage(sample.cpu_seconds, sample.peak_memory_bytes, self._clock() - self._started_at)
