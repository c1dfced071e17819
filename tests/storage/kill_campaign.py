"""Downloads that are killed (SIGKILL) again and again until they are done; used by a test and by a script.

The server decides when: it counts the segments it served and lets the process be killed after so many, so
that nothing here depends on speed. Between two runs a byte of the unfinished file may be changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage_sims import SEGMENT, SimStorage

from armlx_chain.storage.zerog.merkle import FileTree
from armlx_chain.storage.zerog.partfile import part_paths

PROVEN = "zgs_downloadSegmentWithProofByTxSeq"
WORKERS = 4
_CHILD = """
import sys
from pathlib import Path
from armlx_chain.storage.zerog.client import Endpoint, ZeroGStorage
from armlx_chain.types import Root
storage = ZeroGStorage([Endpoint(sys.argv[1])], workers=int(sys.argv[4]))
storage.download(Root.parse(sys.argv[2]), Path(sys.argv[3]), max_bytes=1 << 30)
"""


@dataclass
class Outcome:
    """What a campaign did.

    Attributes:
        segments: Of the file.
        kills: Processes that were killed.
        damaged: Segments that were changed between two runs.
        served: Segments served over all runs.
        allowed: Most that may be served: each once, those in flight at each kill, and those damaged again.
        problems: What must not happen and did.
    """

    segments: int
    kills: int = 0
    damaged: int = 0
    served: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def allowed(self) -> int:
        return self.segments + self.kills * WORKERS + self.damaged


class _Server:
    """Serves the file; after ``fuse`` segments of a run it tells that it is time, and serves on."""

    def __init__(self, data: bytes) -> None:
        self.sim = SimStorage(data)
        self.served = 0
        self.due = threading.Event()
        self._fuse = 0
        self._lock = threading.Lock()
        self.sim.hooks[PROVEN] = self._serve

    def light(self, fuse: int) -> None:
        with self._lock:
            self._fuse = fuse
            self.due.clear()

    def _serve(self, _: list[Any], honest: Any) -> Any:
        with self._lock:
            self.served += 1
            self._fuse -= 1
            if self._fuse == 0:
                self.due.set()
        return honest


def campaign(folder: Path, *, segments: int, kills: int, damage: float, seed: int) -> Outcome:
    """Download a file of so many segments, killed at most so many times, into ``folder``.

    Args:
        damage: How often a byte of what is there is changed after a kill, 0 to 1.
    """
    dice = random.Random(seed)
    data = dice.randbytes((segments - 1) * SEGMENT + 777)
    server = _Server(data)
    outcome = Outcome(segments)
    destination = folder / "f"
    command = [
        sys.executable,
        "-c",
        _CHILD,
        server.sim.url,
        FileTree.of(data).root.hex,
        str(destination),
        str(WORKERS),
    ]
    try:
        while True:
            may_kill = outcome.kills < kills
            server.light(dice.randint(1, max(2, segments // 4)) if may_kill else -1)
            done = _run(command, server, may_kill=may_kill)
            if done == 0:
                break
            if done != -signal.SIGKILL:
                outcome.problems.append(f"the process ended with {done}")
                break
            outcome.kills += 1
            if destination.exists():
                outcome.problems.append("the final name was there before the end")
            if dice.random() < damage:
                outcome.damaged += _damage(destination, dice)
        if not destination.exists() or destination.read_bytes() != data:
            outcome.problems.append("the file is not the file")
        if sorted(os.listdir(folder)) != ["f"]:
            outcome.problems.append(f"left behind: {os.listdir(folder)}")
    finally:
        server.sim.stop()
    outcome.served = server.served
    if outcome.served > outcome.allowed:
        outcome.problems.append(f"{outcome.served} segments were served where {outcome.allowed} are enough")
    return outcome


def _run(command: list[str], server: _Server, *, may_kill: bool) -> int:
    """One process: its exit status, negative if it was killed."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while may_kill and process.poll() is None:
            if server.due.wait(0.02):
                process.kill()
                break
        return process.wait(300)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


def _damage(destination: Path, dice: random.Random) -> int:
    """Turn a bit of a segment that is noted as proven; 1 if there was one."""
    content, state = part_paths(destination)
    noted = (
        [state.read_bytes()[at : at + 8] for at in range(64, state.stat().st_size - 39, 40)]
        if state.exists()
        else []
    )
    if not noted:
        return 0
    at = int.from_bytes(dice.choice(noted), "big") * SEGMENT + dice.randrange(700)
    with content.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 16]))
    return 1


def as_json(outcome: Outcome) -> str:
    return json.dumps({**outcome.__dict__, "allowed": outcome.allowed})
