"""The keyless process's side of the wire: one conversation a connection, on a private Unix socket.

A conversation, as the daemon leads it::

    machines  →  machines
    prepare   →  say* facts
    noise     →  say* noise
    session   →  say* open ; run → log* record | error ; … ; end

While a job is carried out ``alive`` is said now and then, between any two of these. Whatever goes wrong is
answered with ``error``. When the daemon hangs up, what runs for it is ended.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from armlx_chain.errors import ArmlxError, FormatError, MachineError, UsageError, VerifierFault
from verifier.calibrationfile import encode_noise
from verifier.executors.jobs import Job, Order
from verifier.executors.site import Backend, Work
from verifier.executors.stopping import Brake
from verifier.executors.wire import BEAT_SECONDS, SILENCE_SECONDS, Line, error_tree

__all__ = ["Server", "listen", "serve_one"]

log = logging.getLogger(__name__)

MAX_CONVERSATIONS: Final = 64
_END: Final[dict[str, Any]] = {"kind": "end"}


def listen(path: Path, *, group: bool = False) -> socket.socket:
    """A Unix socket that only this account, or its group, can open.

    Raises:
        UsageError: something else is there, or the path is too long for a socket.
        MachineError: it cannot be made.
    """
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117 if group else 0o177)
    try:
        _clear(path)
        found.bind(str(path))
        found.listen(MAX_CONVERSATIONS)
    except OSError as problem:
        found.close()
        if problem.errno == errno.ENAMETOOLONG or "too long" in str(problem):
            raise UsageError(f"{path} is too long for a socket.", next_step="Choose a shorter one.") from None
        raise MachineError(f"The socket {path} cannot be made: {problem}.") from problem
    except BaseException:
        found.close()
        raise
    finally:
        os.umask(before)
    return found


def _clear(path: Path) -> None:
    """Remove a socket that a dead process left."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise UsageError(f"{path} exists and is no socket.", next_step="Choose another path.")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()
            return
    raise UsageError(
        f"Another process serves {path} already.",
        next_step="Let it work, or end it first; a second worker needs another --socket and --home.",
    )


class Server:
    """Answers conversations until it is closed.

    Args:
        listening: From ``listen``; closed with the server.
    """

    def __init__(self, listening: socket.socket, backend: Backend) -> None:
        self._listening = listening
        self._backend = backend
        self._slots = threading.BoundedSemaphore(MAX_CONVERSATIONS)
        self._lines: set[Line] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def run(self) -> None:
        """Serve until ``close``."""
        while True:
            self._slots.acquire()
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """End every conversation, and with it what runs for it."""
        with self._lock:
            self._is_closed, lines = True, list(self._lines)
        try:
            self._listening.shutdown(socket.SHUT_RDWR)
        except OSError:
            log.debug("the socket was not listening any more")
        self._listening.close()
        for line in lines:
            line.hang_up()

    def _serve(self, connection: socket.socket) -> None:
        line = Line(connection)
        try:
            with self._lock:
                self._lines.add(line)
                if self._is_closed:
                    return
            serve_one(line, self._backend)
        finally:
            with self._lock:
                self._lines.discard(line)
            line.close()
            self._slots.release()


def serve_one(line: Line, backend: Backend, *, beat: float = BEAT_SECONDS) -> None:
    """Lead one conversation to its end; nothing is raised.

    Args:
        beat: Seconds between two signs of life.
    """
    try:
        line.bound(SILENCE_SECONDS)  # whoever asks nothing holds no place
        asked = line.receive()
        line.bound(0)
        if asked["kind"] == "machines":
            line.send("machines", machines=[{"id": name, "free": free} for name, free in backend.machines()])
        else:
            _Conversation(line, backend, Job.read(asked), beat).lead()
    except ArmlxError as problem:
        log.info("a conversation ended with: %s", problem.message)
        _answer(line, problem)


def _answer(line: Line, problem: ArmlxError) -> None:
    try:
        line.send("error", error=error_tree(problem))
    except ArmlxError:
        log.debug("nobody is there any more to be told")


class _Conversation:
    """A job, and a thread that listens for orders and for the end while it is carried out."""

    def __init__(self, line: Line, backend: Backend, job: Job, beat: float) -> None:
        self._line = line
        self._backend = backend
        self._job = job
        self._orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._brake = Brake()
        self._beat = beat
        self._is_over = threading.Event()

    def lead(self) -> None:
        """Carry the job out.

        Raises:
            ArmlxError: what it met.
        """
        threading.Thread(target=self._listen, daemon=True).start()
        steps: dict[str, Callable[[], None]] = {
            "prepare": self._prepare,
            "noise": self._noise,
            "session": self._session,
        }
        step = steps.get(self._job.kind)
        if step is None:
            raise FormatError("This is no job.")
        threading.Thread(target=self._live, daemon=True).start()
        try:
            step()
        finally:
            self._is_over.set()

    def _live(self) -> None:
        try:
            while not self._is_over.wait(self._beat):
                self._line.send("alive")
        except ArmlxError as gone:
            log.debug("nobody hears that this is alive: %s", gone.message)

    def _listen(self) -> None:
        try:
            while (message := self._line.receive())["kind"] == "run":
                self._orders.put(message)
        except ArmlxError as gone:
            log.debug("the daemon hung up: %s", gone.message)
        self._orders.put(_END)
        try:
            self._brake.kill()
        except VerifierFault as survives:
            log.warning("what ran could not be ended: %s", survives.message)

    def _say(self, sentence: str) -> None:
        self._line.send("say", text=sentence[:2000])

    def _prepare(self) -> None:
        self._line.send("facts", facts=self._backend.prepare(self._job, self._say, self._brake).tree())

    def _noise(self) -> None:
        noise = self._backend.noise(self._job, self._say, self._brake)
        self._line.send("noise", noise=encode_noise(noise))

    def _session(self) -> None:
        work = self._backend.open(self._job, self._say, self._brake)
        try:
            killed = _Kills(work)
            self._brake.reach(killed)
            self._line.send("open")
            while (order := self._orders.get())["kind"] == "run":
                self._run(work, Order.read(order))
        finally:
            work.close()

    def _run(self, work: Work, order: Order) -> None:
        try:
            made = work.run(order)
        except ArmlxError as problem:
            self._line.send("error", error=error_tree(problem))
            return
        for line in made.lines():
            self._line.send_line(line)


class _Kills:
    def __init__(self, work: Work) -> None:
        self._work = work

    def kill_tree(self, reason: str = "deadline") -> None:
        self._work.kill()
