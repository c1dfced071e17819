"""Follows a session for a person who waits: which run, how far, what it uses, how long it still takes.

Nothing here can change what is measured: the log's bytes are handed on as copies, processes are only asked
what they use, and whatever the log says is shown by ``verifier.live`` as bounded numbers.

::

    line = LiveLine(LivePainter(sys.stderr))
    prepared = prepare(materials, sandbox=line.observe(default_sandbox()), on_log=line.on_log, …)
    with line:
        prepared.judge(Trial(files, …, progress=line.progress))
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from armlx_chain.errors import VerifierFault
from armlx_chain.protocol.metric import MetricRule
from verifier.harness.inside import WORKSPACE
from verifier.harness.staging import TRAIN
from verifier.live import LogReader, Outside, Painter, RunFrame, frame_text, span
from verifier.model import Role, RunRecord
from verifier.report import plain
from verifier.sandbox.interface import LogSink, Sandbox, SandboxProcess, SandboxSpec
from verifier.session import Progress

__all__ = ["Expectation", "LiveLine"]

_PROGRAM: Final = str(WORKSPACE / TRAIN)
_TICK_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is known before a session.

    Attributes:
        runs: Runs that it is likely to take; ``None``: unknown.
        reference_seconds: From start to model of the unmodified snapshot, on ``clock``; ``None``: unknown.
    """

    runs: int | None = None
    reference_seconds: float | None = None
    clock: str = "wall"


@dataclass(slots=True)
class _Current:
    """The run under way."""

    number: int
    role: Role
    reader: LogReader
    began: float
    program: SandboxProcess | None = None
    scoring_began: float | None = None


@dataclass(slots=True)
class _Observed:
    """A sandbox that tells which processes it starts; everything else is the inner one's."""

    inner: Sandbox
    started: Callable[[SandboxSpec, SandboxProcess], None]

    @property
    def name(self) -> str:
        return self.inner.name

    def check(self) -> None:
        self.inner.check()

    def start(self, spec: SandboxSpec, log: LogSink) -> SandboxProcess:
        process = self.inner.start(spec, log)
        self.started(spec, process)
        return process


@dataclass(slots=True)
class LiveLine:
    """The live line of a session; as a context manager it is repainted by a thread of its own.

    Attributes:
        metric: The protocol's rule for its metric, which the log reader follows.
        scoring_seconds: Wall time from the first evaluator's start to the end of the last run; ``None``
            where none started. The program's own last words are in it.
    """

    painter: Painter
    metric: MetricRule | None = None
    clock: Callable[[], float] = time.monotonic
    scoring_seconds: float | None = None
    _expected: Expectation = field(default_factory=Expectation)
    _run: _Current | None = None
    _count: int = 0
    _seconds: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def expect(self, expectation: Expectation) -> None:
        """A new session begins: its runs are counted from one."""
        self._expected, self._count, self._seconds = expectation, 0, []

    def observe(self, sandbox: Sandbox) -> Sandbox:
        """The same sandbox, whose programs this line follows."""
        return _Observed(sandbox, self._started)

    def on_log(self, chunk: bytes) -> None:
        """The next bytes of the run's log; called from another thread."""
        run = self._run
        if run is not None:
            run.reader.feed(chunk)

    def progress(self, progress: Progress) -> None:
        """A session's callback: a run started, or ended, or something else is worth a sentence."""
        if progress.record is not None:
            self._ended(progress, progress.record)
        elif progress.role is not None:
            self._count += 1
            self._run = _Current(self._count, progress.role, LogReader(self.metric), self.clock())
            self.painter.clear()
            self.refresh(force=True)
        else:
            self.say(f"  {progress.message}")

    def say(self, text: str) -> None:
        """A sentence that stays; the line is drawn again below it."""
        self.painter.say(plain(text))

    def refresh(self, *, force: bool = False) -> None:
        """Show how things stand."""
        frame = self.frame()
        if frame is not None:
            self.painter.paint(frame_text(frame), force=force)

    def frame(self) -> RunFrame | None:
        """How the run under way stands; ``None`` between runs."""
        run = self._run
        if run is None:
            return None
        elapsed = self.clock() - run.began
        return RunFrame(
            number=run.number,
            role=run.role,
            reading=run.reader.reading,
            outside=_outside(run.program, self._expected.clock),
            expected=None if self._expected.runs is None else max(self._expected.runs, run.number),
            reference_seconds=self._expected.reference_seconds,
            clock=self._expected.clock,
            wall_seconds=elapsed,
            left_seconds=self._left(run.number, elapsed),
            phase="" if run.scoring_began is None else "scoring",
        )

    def _left(self, number: int, elapsed: float) -> float | None:
        """By the mean of the runs so far; before the first has ended by the reference, if it is wall time."""
        if self._expected.runs is None:
            return None
        if self._seconds:
            each = sum(self._seconds) / len(self._seconds)
        elif self._expected.reference_seconds is not None and self._expected.clock == "wall":
            each = self._expected.reference_seconds
        else:
            return None
        return max(0.0, each - elapsed) + each * max(0, self._expected.runs - number)

    def _started(self, spec: SandboxSpec, process: SandboxProcess) -> None:
        run = self._run
        if run is None:
            return
        if _PROGRAM in spec.argv:
            run.program = process
        elif run.program is not None and run.scoring_began is None:
            run.scoring_began = self.clock()

    def _ended(self, progress: Progress, record: RunRecord) -> None:
        run, self._run = self._run, None
        now = self.clock()
        taken = 0.0 if run is None else now - run.began
        began = None if run is None else run.scoring_began
        self.scoring_seconds = None if began is None else now - began
        scored = "" if self.scoring_seconds is None else f" scored in {span(self.scoring_seconds)};"
        self._seconds.append(taken)
        self.painter.clear()
        self.say(f"  {progress.message} [{_used(record)};{scored} {span(taken)} in all]")

    def __enter__(self) -> Self:
        self._stop.clear()
        self._thread = threading.Thread(target=self._repaint, name="live-line", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._run = None
        self.painter.clear()

    def _repaint(self) -> None:
        while not self._stop.wait(_TICK_SECONDS):
            self.refresh()


def _outside(program: SandboxProcess | None, clock: str) -> Outside | None:
    if program is None:
        return None
    try:
        usage = program.usage()
    except (VerifierFault, OSError):
        return None  # the session itself finds out; a line on a screen ends no run
    return Outside(usage.cpu_seconds if clock == "cpu" else usage.wall_seconds, usage.peak_memory_bytes)


def _used(record: RunRecord) -> str:
    if record.seconds_to_graph is None:
        return "no model"
    return f"model after {record.seconds_to_graph:.1f} {'CPU ' if record.clock == 'cpu' else ''}s"
