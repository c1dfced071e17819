"""Watches one training program from outside until its model counts, and to its end.

Invariants:

- the only clock is the sandbox's measurement of the whole process tree: wall or CPU seconds;
- before the training budget has passed on that clock a graph is monitoring, and the program learns nothing
  from the answer; the first graph afterwards is final; if the program ends by itself, with status 0 and
  without a final graph, its last one counts;
- when ``run`` returns or raises, nothing of the program is alive;
- nothing the program says but the bytes of its graph has any influence on a score;
- while a graph is scored the program stands still: it can neither slow the evaluators down nor use the time;
- a whole message of a kind that no program of this role sends is remembered as forged, whenever it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from armlx_chain.errors import ChannelError, LogitsNotFinite, ModelUnsupported, VerifierFault
from verifier.harness.channel import Channel, Frame, Kind
from verifier.harness.constants import ClockKind
from verifier.harness.runlog import RunLog, harmless
from verifier.model import Audit, AuditKind, Ending
from verifier.sandbox.interface import Exit, SandboxProcess, Usage

ANSWER_SECONDS: Final = 10.0
"""How long a program may leave an answer unread."""
DRAIN_SECONDS: Final = 10.0

Judge = Callable[[bytearray], str]
"""Scores a graph and gives the text of its value. Raises ``ModelUnsupported``."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The times of one run.

    Attributes:
        clock: What budget and deadline count.
        budget_seconds: Training budget on that clock.
        deadline_seconds: From start to the final graph, on that clock; ``None`` for no deadline.
        hard_wall_seconds: Wall time after which the run is killed, whatever the clock says.
        tail_seconds: Wall time the program has to finish after it got its value.
        poll_seconds: How often the clock is read.
    """

    clock: ClockKind
    budget_seconds: float
    deadline_seconds: float | None
    hard_wall_seconds: float
    tail_seconds: float = 30.0
    poll_seconds: float = 0.05

    def read(self, usage: Usage) -> float:
        return usage.cpu_seconds if self.clock == "cpu" else usage.wall_seconds


@dataclass(slots=True)
class Conduct:
    """What was seen of a program.

    Attributes:
        value: The text of the trusted value, if a graph counted.
        answered: Whether the program was told that value.
        messages: Whole messages that came over the channel.
        forged: The first whole message that only the verifier or another child of it sends.
        frozen_seconds: Wall time the program was stopped while its model was scored.
    """

    ending: Ending
    detail: str
    graph: bytearray | None = None
    seconds_to_graph: float | None = None
    value: str | None = None
    answered: bool = False
    monitoring_calls: int = 0
    remarks: tuple[str, ...] = ()
    messages: int = 0
    forged: str | None = None
    frozen_seconds: float = 0.0


class Supervisor:
    """Watches one program. ``run`` may be called once."""

    def __init__(
        self, process: SandboxProcess, channel: Channel, log: RunLog, rules: Rules, judge: Judge
    ) -> None:
        self._process, self._channel, self._log = process, channel, log
        self._rules, self._judge = rules, judge
        self._kept: tuple[bytearray, float] | None = None
        self._monitored = 0
        self._remarks: list[str] = []
        self._later_messages = 0
        self._forged: str | None = None
        self._frozen_seconds = 0.0

    def run(self) -> Conduct:
        """Watch to the end.

        Raises:
            VerifierFault: something on our side failed; the program is gone then too.
        """
        try:
            conduct = self._until_graph()
            if conduct.answered and conduct.value is not None:
                self._tail(conduct.value)
            if self._later_messages:
                self._remarks.append(
                    "The program handed over another model after the one that counted: "
                    f"{self._later_messages} more messages came."
                )
        finally:
            self._process.kill_tree()
        conduct.monitoring_calls = self._monitored
        conduct.remarks = tuple(self._remarks)
        conduct.messages, conduct.forged = self._channel.frames, self._forged
        conduct.frozen_seconds = self._frozen_seconds
        return conduct

    def _until_graph(self) -> Conduct:
        while True:
            # The order matters: what had been sent when the program was seen to have ended is still read.
            ended = self._process.poll()
            conduct = self._read_all(DRAIN_SECONDS) if ended else self._read_one()
            if conduct is None and ended is not None:
                conduct = self._ended(ended)
            if conduct is None:
                conduct = self._overdue()
            if conduct is not None:
                return conduct

    def _read_one(self) -> Conduct | None:
        try:
            if self._channel.closed:
                self._process.wait(self._rules.poll_seconds)
                return None
            frame = self._channel.read(self._rules.poll_seconds)
        except (ChannelError, ModelUnsupported) as problem:
            return _broken(problem)
        return self._handle(frame, waiting=True) if frame is not None else None

    def _read_all(self, seconds: float) -> Conduct | None:
        try:
            frames = self._channel.drain(seconds)
        except (ChannelError, ModelUnsupported) as problem:
            return _broken(problem)
        for frame in frames:
            conduct = self._handle(frame, waiting=False)
            if conduct is not None:
                return conduct
        return None

    def _handle(self, frame: Frame, *, waiting: bool) -> Conduct | None:
        if self._is_forged(frame):
            return Conduct(Ending.BAD_FRAME, f"On the channel for the model {self._forged} came.")
        seconds = self._rules.read(self._process.usage())
        if self._late(seconds):
            return self._deadline(seconds)
        if frame.kind is Kind.UNSUPPORTED:
            text = harmless(bytes(frame.payload).decode("utf-8", "replace"))
            return Conduct(Ending.UNSUPPORTED, f"The model cannot be exported: {text}")
        if seconds >= self._rules.budget_seconds:
            return self._accept(frame.payload, seconds, waiting=waiting)
        self._monitored += 1
        self._kept = (frame.payload, seconds)
        if waiting:
            self._channel.send(Kind.MONITOR, b"", ANSWER_SECONDS)
        return None

    def _is_forged(self, frame: Frame) -> bool:
        if self._channel.expects(frame.kind):
            return False
        self._forged = self._forged or (
            f"a whole message of the kind {frame.kind.name} with {len(frame.payload)} bytes, which no "
            "training program sends,"
        )
        return True

    def _accept(self, graph: bytearray, seconds: float, *, waiting: bool) -> Conduct:
        try:
            value = self._judged(graph)
        except LogitsNotFinite as problem:
            # No fault of the form, and nothing to score either: a diverged training ends here.
            return Conduct(Ending.NO_GRAPH, problem.message, graph, seconds)
        except ModelUnsupported as problem:
            return Conduct(Ending.UNSUPPORTED, problem.message, graph, seconds)
        answered = waiting and self._channel.send(Kind.VALUE, value.encode("ascii"), ANSWER_SECONDS)
        return Conduct(Ending.GRAPH, "The model was handed over and scored.", graph, seconds, value, answered)

    def _judged(self, graph: bytearray) -> str:
        """Have the graph scored while nothing of the program runs.

        The stop is not on the program's bill: neither clock of the budget is read again after it, and the
        time it has left to finish is counted from its end.
        """
        started = self._process.usage().wall_seconds
        try:
            self._process.freeze()
        except VerifierFault as problem:
            self._remarks.append(f"The program ran on while its model was scored: {problem.message}")
        try:
            return self._judge(graph)
        finally:
            self._process.thaw()
            self._frozen_seconds += self._process.usage().wall_seconds - started

    def _ended(self, ended: Exit) -> Conduct:
        if ended.killed_for is not None:
            return _killed(ended.killed_for)
        if ended.code != 0:
            last = self._log.last_line()
            detail = f"The program ended with status {ended.code} before its model counted."
            return Conduct(Ending.CRASH, f"{detail} Last line: {last}" if last else detail)
        if self._kept is not None:
            graph, seconds = self._kept
            conduct = self._accept(graph, seconds, waiting=False)
            if conduct.ending is Ending.GRAPH:
                conduct.detail = "The program ended without a final call; its last model was scored."
            return conduct
        half = " A message was begun and never completed." if self._channel.partial else ""
        return Conduct(Ending.NO_GRAPH, f"The program ended without handing over a model.{half}")

    def _overdue(self) -> Conduct | None:
        usage = self._process.usage()
        seconds = self._rules.read(usage)
        if self._late(seconds):
            return self._deadline(seconds)
        if usage.wall_seconds > self._rules.hard_wall_seconds:
            limit = f"{self._rules.hard_wall_seconds:.0f} s of wall time"
            return Conduct(Ending.DEADLINE, f"No final model within the hard limit of {limit}.")
        return None

    def _late(self, seconds: float) -> bool:
        return self._rules.deadline_seconds is not None and seconds > self._rules.deadline_seconds

    def _deadline(self, seconds: float) -> Conduct:
        limit = f"{self._rules.deadline_seconds:.2f} s of {self._rules.clock} time"
        return Conduct(Ending.DEADLINE, f"No final model within {limit}; stopped at {seconds:.2f} s.")

    def _tail(self, value: str) -> None:
        """Let the program print its summary. Nothing that happens here changes the score."""
        end = self._process.usage().wall_seconds + self._rules.tail_seconds
        while self._process.usage().wall_seconds < end:
            ended = self._process.poll()
            if ended is not None:
                if ended.killed_for is not None:
                    self._remarks.append(f"After its value the program was killed for {ended.killed_for}.")
                elif ended.code != 0:
                    self._remarks.append(f"After its value the program ended with status {ended.code}.")
                self._later_frames(lambda: self._channel.drain(DRAIN_SECONDS))
                return
            self._answer_again(value)
        self._remarks.append(f"The program did not end within {self._rules.tail_seconds:.0f} s of its value.")

    def _answer_again(self, value: str) -> None:
        if self._channel.closed:
            self._process.wait(self._rules.poll_seconds)
            return
        if self._later_frames(self._read_one_more):
            self._channel.send(Kind.VALUE, value.encode("ascii"), ANSWER_SECONDS)

    def _read_one_more(self) -> list[Frame]:
        frame = self._channel.read(self._rules.poll_seconds)
        return [] if frame is None else [frame]

    def _later_frames(self, read: Callable[[], list[Frame]]) -> bool:
        """Take what came after the value; whether it asks for an answer."""
        try:
            frames = read()
        except (ChannelError, ModelUnsupported) as problem:
            self._remarks.append(f"After its value the program sent what is no message: {problem.message}.")
            return False
        for frame in frames:
            if self._is_forged(frame):
                self._remarks.append(f"After its value {self._forged} came.")
                return False
        # Counted, not listed: a program can send hundreds of thousands.
        self._later_messages += len(frames)
        return bool(frames)


def channel_audit(conduct: Conduct) -> Audit:
    """Whether the program wrote in the harness's name. Every run has this audit.

    It fails on one thing only: a whole message with the right checksum, of a kind that nothing in a training
    program's copy of the harness sends. What is malformed, truncated or oversized proves nothing.
    """
    figures = {"messages": str(conduct.messages), "forged": conduct.forged or "none"}
    return Audit(AuditKind.CHANNEL, conduct.forged is None, figures)


def _broken(problem: ChannelError | ModelUnsupported) -> Conduct:
    if isinstance(problem, ModelUnsupported):
        return Conduct(Ending.UNSUPPORTED, f"The model is too large: {problem.message}.")
    return Conduct(Ending.BAD_FRAME, f"On the channel for the model {problem.message}.")


def _killed(reason: str) -> Conduct:
    if reason == "memory":
        return Conduct(Ending.MEMORY, "The program used more memory than it may.")
    if reason == "log":
        return Conduct(Ending.LOG_LIMIT, "The program printed more than a log may hold.")
    return Conduct(Ending.DEADLINE, f"The program was stopped: {reason}.")
