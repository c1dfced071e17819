"""Processes of these tests: machines, each with a home of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tests.executors.places import Place, Shelf
from verifier.executors.local import machine_id
from verifier.executors.remote import RemoteExecutor, connect_to

Process = subprocess.Popen[bytes]


def until(is_so: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it should have happened by now"
        time.sleep(0.02)


def behind(socket: Path, place: Place) -> RemoteExecutor:
    """A daemon's executor at a socket."""
    return RemoteExecutor(connect_to(socket), load=lambda project: (place.load(project), ()))


class Member:
    """A machine's process."""

    def __init__(self, shelf: Shelf, home: Path, *where: object, seconds: float) -> None:
        home.mkdir(exist_ok=True)
        self.home, self.machine = home, machine_id(home)
        with (home / "said").open("w") as said:
            self.process = self._started(shelf, seconds, where, said)

    def _started(self, shelf: Shelf, seconds: float, where: tuple[object, ...], said: IO[str]) -> Process:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.executors.member", "--shelf", str(shelf.folder)),
                *("--home", str(self.home), "--seconds", str(seconds), *map(str, where)),
            ],
            stderr=said,
        )

    def started(self) -> list[str]:
        """Which runs began there."""
        path = self.home / "started"
        return path.read_text().splitlines() if path.exists() else []

    def said(self) -> str:
        return (self.home / "said").read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(120)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)
