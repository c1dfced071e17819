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

UNSUPPORTED: Final = frozenset({(Outcome.UNDECIDED, Reason.UNSUPPORTED)})
FORGED: Final = frozenset({(Outcome.REFUTED, Reason.FORGED_MESSAGE)})

FINDINGS: Final = {
    "not-better": NOT_BETTER,
    "no-model": NO_MODEL,
    "looks-ahead": LOOKS_AHEAD,
    "knows-rows": KNOWS_THE_ROWS,
    "gate": GATE,
    "unsupported": UNSUPPORTED,
    "forged": FORGED,
    # For ideas that are honest once they cannot see what they were after: judged at their true score.
    "improved": frozenset({(Outcome.REPRODUCED, Reason.IMPROVEMENT_CONFIRMED)}),
}
"""What stands behind the words of a recipe's header ``verdict``."""

_BY_CLASS: Final = {
    "log": "not-better",
    "harness": "not-better",
    "model": "not-better",
    "look-ahead": "looks-ahead",
    "leak": "not-better",
    "budget": "no-model not-better",
    "hostile": "no-model not-better",
    "claim": "not-better",
    "source": "gate",
    "bundle": "gate",
}


def allowed(cheat: Variant) -> frozenset[Finding]:
    """The verdicts that are right for a cheat, each with its deciding reason."""
    if "gate" in cheat.facts:
        return GATE
    words = cheat.facts.get("verdict", _BY_CLASS[cheat.kind]).split()
    return frozenset[Finding]().union(*(FINDINGS[word] for word in words))


def decided_by_a_score(cheat: Variant) -> bool:
    """Whether the right verdict rests on scores, and not on an audit, an ending or the gate."""
    return bool(allowed(cheat) & NOT_BETTER)


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
    victim: subprocess.Popen[bytes] | None = None
    secret: bool = False

    @property
    def has_goal(self) -> bool:
        """Whether there is anything to be taken that ``taken`` can see inside."""
        return self.secret or any((self.mark, self.victim, self.listener))

    def taken(self, printed: str) -> bool:
        """Whether the cheat got at what it was after, by what it printed and by what came to us."""
        if self.mark is not None:
            return bool(processes_with(self.mark))
        if self.victim is not None:
            return self._struck(self.victim)
        if self.listener is not None:
            return self._visited()
        if self.inherited is not None:
            return self._written()
        return CANARY in printed

    @staticmethod
    def _struck(victim: subprocess.Popen[bytes]) -> bool:
        try:
            return victim.wait(0.5) is not None
        except subprocess.TimeoutExpired:
            return False

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
        trial.secret = goal in ("key-file", "environment", "proc")
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
        elif goal == "abstract":
            name = f"trial-{os.getpid()}-{time.monotonic_ns()}"
            trial.listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            trial.listener.bind(f"\0{name}")
            trial.listener.listen()
            trial.listener.settimeout(0.5)
            trial.values["SOCKET"] = name
        elif goal == "victim":
            trial.victim = stack.enter_context(_bystander())
            trial.values["VICTIM"] = str(trial.victim.pid)
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
        elif goal in ("memory", "disk"):
            trial.values["MEGABYTES"] = "320" if goal == "memory" else "16"
        yield trial


@contextlib.contextmanager
def _bystander() -> Iterator[subprocess.Popen[bytes]]:
    """Another process, whose command line is nobody's business."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", CANARY]) as other:
        try:
            yield other
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
