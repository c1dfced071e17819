"""A clock beside a request: when its time is up, its sockets are shut down, whoever keeps them busy."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

__all__ = ["Watch"]

_IDLE = 60.0
"""Seconds the watchdog sleeps when nothing is under way."""


class Watch:
    """Shuts down every socket of one request when its time is up.

    Args:
        seconds: From now.

    Attributes:
        expired: Its time was up.
        end: When it is up, by the monotonic clock.
    """

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self.end = time.monotonic() + max(seconds, 0.001)
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def adopt(self, sock: socket.socket) -> None:
        """Watch ``sock``. A duplicate is kept: TLS wrapping and closing leave it usable."""
        with self._lock:
            copy = socket.socket(fileno=socket.dup(sock.fileno()))
            self._sockets.append(copy)
            if self.expired:
                self._shut(copy)

    def expire(self) -> None:
        """Its time is up."""
        with self._lock:
            self.expired = True
            for sock in self._sockets:
                self._shut(sock)

    @staticmethod
    def _shut(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # already closed by the peer
            sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Watch:
        _watchdog.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        _watchdog.remove(self)
        with self._lock:
            for sock in self._sockets:
                sock.close()
            self._sockets.clear()


class _Watchdog:
    """One thread that expires every watch in time: a thread per request would cost more than the request."""

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._changed = threading.Condition()
        self._wakes = 0.0
        self._thread: threading.Thread | None = None

    def add(self, watch: Watch) -> None:
        with self._changed:
            self._watches.add(watch)
            if self._thread is None or not self._thread.is_alive():  # a forked process has no threads
                self._wakes = watch.end
                self._thread = threading.Thread(target=self._run, name="http-watchdog", daemon=True)
                self._thread.start()
            elif watch.end < self._wakes:
                self._changed.notify()

    def remove(self, watch: Watch) -> None:
        with self._changed:
            self._watches.discard(watch)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                due = [watch for watch in self._watches if watch.end <= now]
                self._watches.difference_update(due)
                if not due:
                    self._wakes = min((watch.end for watch in self._watches), default=now + _IDLE)
                    self._changed.wait(self._wakes - now)
            for watch in due:
                watch.expire()


_watchdog = _Watchdog()
