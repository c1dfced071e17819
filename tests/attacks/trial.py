"""How each cheat is shown to work where nothing stops it, and which verdicts are right for it.

A trial prepares what its cheat wants to reach (a key, a listener, another process), runs it, and says whether
the cheat got there. The same trial is used for the bare run and for the run under the verifier.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.attacks.load import Variant
from verifier.model import Outcome, Reason

Finding = tuple[Outcome, Reason]
CANARY: Final = "the secret of this trial"
CANARY_VARIABLE: Final = "ARMLX_TRIAL_SECRET"

NOT_BETTER: Final = frozenset(
    {
        (Outcome.UNIMPROVED, Reason.NO_IMPROVEMENT),
        (Outcome.UNIMPROVED, Reason.CLEARLY_WORSE),
        (Outcome.UNDECIDED, Reason.MORE_PAIRS_NEEDED),
        (Outcome.UNDECIDED, Reason.TOO_NOISY),
    }
)
NO_MODEL: Final = frozenset({(Outcome.UNIMPROVED, Reason.RUN_WITHOUT_MODEL)})
LOOKS_AHEAD: Final = frozenset({(Outcome.REFUTED, Reason.CAUSALITY_VIOLATED)})
GATE: Final = frozenset({(Outcome.UNDECIDED, Reason.GATE)})
KNOWS_THE_ROWS: Final = frozenset({(Outcome.REFUTED, Reason.VALIDATION_GAP)})
TOO_LATE_OR_NOT_BETTER: Final = NO_MODEL | NOT_BETTER

_BY_CLASS: Final = {
    "log": NOT_BETTER,
    "harness": NOT_BETTER,
    "model": NOT_BETTER,
    "look-ahead": LOOKS_AHEAD,
    "leak": NOT_BETTER,
    "budget": TOO_LATE_OR_NOT_BETTER,
    "hostile": TOO_LATE_OR_NOT_BETTER,
    "claim": NOT_BETTER,
}
_BY_NAME: Final[dict[str, frozenset[Finding]]] = {
    "log_invented": NO_MODEL,
    "log_flood": NO_MODEL | NOT_BETTER,  # the value may be read before the flood reaches its limit
    "model_infinite": NO_MODEL,
    "leak_literal": GATE,
    "hostile_inline_requirements": GATE,
    "leak_split_literal": KNOWS_THE_ROWS | NOT_BETTER,
    # Counts what follows what in the decoy, which is training text: an honest idea, and judged as one.
    "leak_val_table": NOT_BETTER | {(Outcome.REPRODUCED, Reason.IMPROVEMENT_CONFIRMED)},
    "leak_shard_replaced": NOT_BETTER | NO_MODEL,
    "hostile_channel_forged": NO_MODEL,
    "hostile_channel_huge": NO_MODEL,
    "hostile_crash": NO_MODEL,
    "hostile_never_ends": NO_MODEL,
    "hostile_memory_bomb": NO_MODEL,
}


def allowed(cheat: Variant) -> frozenset[Finding]:
    """The verdicts that are right for a cheat, each with its deciding reason."""
    return _BY_NAME.get(cheat.name, _BY_CLASS[cheat.facts["class"]])


@dataclass
class Trial:
    """What a cheat finds, and what it took.

    Attributes:
        values: Parameters for the cheat's text.
        environment: What the process that runs it has in its environment.
        descriptors: Sockets it inherits in a bare run.
    """

    values: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    descriptors: list[int] = field(default_factory=list)
    listener: socket.socket | None = None
    mark: str | None = None
    inherited: socket.socket | None = None

    def taken(self, printed: str) -> bool:
        """Whether the cheat got at what it was after, by what it printed and by what came to us."""
        if self.mark is not None:
            return bool(processes_with(self.mark))
        if self.listener is not None:
            return self._visited()
        if self.inherited is not None:
            return self._written()
        return CANARY in printed

    def _visited(self) -> bool:
        assert self.listener is not None
        try:
            connection, _ = self.listener.accept()
        except TimeoutError:
            return False
        with connection:
            connection.settimeout(5)
            return connection.recv(100).startswith(b"taken out by")

    def _written(self) -> bool:
        assert self.inherited is not None
        self.inherited.setblocking(False)
        try:
            return bool(self.inherited.recv(1 << 16))
        except BlockingIOError:
            return False


@contextlib.contextmanager
def prepared_trial(cheat: Variant, folder: Path) -> Iterator[Trial]:
    """Lay out what the cheat is after; take it away again."""
    with contextlib.ExitStack() as stack:
        trial = Trial()
        goal = cheat.facts.get("escape") or cheat.facts.get("shows")
        if goal == "key-file":
            key = folder / "key.json"
            key.write_text(CANARY)
            key.chmod(0o600)
            trial.values["KEY_FILE"] = str(key)
        elif goal == "environment":
            trial.environment[CANARY_VARIABLE] = CANARY
        elif goal == "network":
            trial.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            trial.listener.settimeout(0.5)
            trial.values["PORT"] = str(trial.listener.getsockname()[1])
        elif goal == "proc":
            stack.enter_context(_bystander())
        elif goal == "survivor":
            trial.mark = f"survivor-{os.getpid()}-{time.monotonic_ns()}"
            trial.values["MARK"] = trial.mark
            stack.callback(_end, trial.mark)
        elif goal == "channel":
            ours, theirs = socket.socketpair()
            trial.inherited = stack.enter_context(ours)
            trial.descriptors = [stack.enter_context(theirs).fileno()]
        elif goal == "memory":
            trial.values["MEGABYTES"] = "320"
        yield trial


@contextlib.contextmanager
def _bystander() -> Iterator[None]:
    """Another process, whose command line is nobody's business."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", CANARY]) as other:
        try:
            yield
        finally:
            other.kill()


def _end(mark: str) -> None:
    for process in processes_with(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def processes_with(mark: str) -> list[int]:
    """Processes that have ``mark`` as a word of their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def replaced(text: str, old: str, new: str) -> str:
    """``text`` with ``old``, which must stand in it exactly once, replaced."""
    if text.count(old) != 1:
        raise ValueError(f"{old!r} stands {text.count(old)} times in the text")
    return text.replace(old, new)
