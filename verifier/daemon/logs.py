"""Logs for machines: one JSON object a line, with the cycle and the proposal it belongs to, and no secrets.

- Members: ``time`` (UTC), ``level``, ``logger``, ``cycle``, ``proposal``, ``project``, ``message`` and
  ``fields``; and ``error`` and ``trace`` where an exception is part of the event.
- Cycle and proposal are context variables, so that the lines of lanes that run side by side stay apart.
- Everything goes through a ``Redactor`` before it is encoded: known secrets, keys of the accounts in use,
  whatever looks like a credential, and all of an address but its scheme, host and port.
- Words of strangers cannot forge a line: control characters and everything beyond ASCII leave escaped.

::

    log.info("session ended", extra={"fields": {"pairs": 8}})
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any, Final

from verifier.daemon.observer import CycleOutcome
from verifier.daemon.redaction import Redactor
from verifier.daemon.results import Result
from verifier.daemon.sorting import Sorted, Weight
from verifier.model import Role, RunRecord

__all__ = ["JsonLines", "LogObserver", "RedactingFilter", "about", "start_logging"]

_MOST_TEXT: Final = 8_000
"""Characters of one member. What strangers wrote may be as long as they like."""
_cycle: ContextVar[str | None] = ContextVar("cycle", default=None)
_proposal: ContextVar[int | None] = ContextVar("proposal", default=None)
_project: ContextVar[int | None] = ContextVar("project", default=None)

log = logging.getLogger("armlx.validator")


@contextmanager
def about(*, cycle: str | None = None, proposal: int | None = None) -> Iterator[None]:
    """Within the block, lines of this thread belong to a cycle and a proposal."""
    tokens = _cycle.set(cycle), _proposal.set(proposal)
    try:
        yield
    finally:
        _cycle.reset(tokens[0])
        _proposal.reset(tokens[1])


class RedactingFilter(logging.Filter):
    """Takes secrets out of a record before any formatter sees it, its trace included."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redactor.clean(_message_of(record)), None
        fields = getattr(record, "fields", None)
        if fields is not None:
            record.fields = self._redactor.clean_tree(fields)
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = self._redactor.clean("".join(traceback.format_exception(*record.exc_info)))
            record.error = record.exc_info[0].__name__
            record.exc_info = None
        if record.stack_info:
            record.stack_info = self._redactor.clean(record.stack_info)
        return True


class JsonLines(logging.Formatter):
    """A record as one line of JSON in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        members: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "cycle": _cycle.get(),
            "proposal": _proposal.get(),
            "project": _project.get(),
            "message": _bounded(_message_of(record)),
            "fields": _bounded_tree(getattr(record, "fields", None) or {}),
        }
        if getattr(record, "error", None) is not None:
            members["error"] = record.error  # type: ignore[attr-defined]
        if record.exc_text:
            members["trace"] = _bounded(record.exc_text)
        return json.dumps(members, default=str, ensure_ascii=True)


def _message_of(record: logging.LogRecord) -> str:
    """A record's message; one whose arguments do not fit its text is still worth a line."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)


def _bounded(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"


def _bounded_tree(value: Any) -> Any:
    """Only what is clean already is cut: half a secret would not be recognised."""
    if isinstance(value, dict):
        return {name: _bounded_tree(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_bounded_tree(member) for member in value]
    return _bounded(value) if isinstance(value, str) else value


def start_logging(
    redactor: Redactor, *, stream: IO[str] | None = None, as_json: bool = True, level: int = logging.INFO
) -> None:
    """From here on this process logs to ``stream`` (stderr), redacted; defects that nobody catches, too."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(redactor))
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if as_json else plain)
    root = logging.getLogger()
    for before in root.handlers[:]:
        root.removeHandler(before)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = _log_defect
    threading.excepthook = _log_defect_of_thread


def _log_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        log.warning("interrupted")
        return
    log.critical("a defect of this program ends it", exc_info=(kind, error, trace))


def _log_defect_of_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        _log_defect(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)


class LogObserver:
    """Says in the log what a daemon does; binds the lines of each thread to what it works on."""

    def __init__(self) -> None:
        self._running: str | None = None

    def cycle_began(self, cycle_id: str) -> None:
        self._running = cycle_id
        _cycle.set(cycle_id)
        log.info("cycle began")

    def cycle_ended(self, cycle_id: str, outcome: str, seconds: float, results: Sequence[Result]) -> None:
        level = logging.ERROR if outcome == CycleOutcome.STOPPED else logging.INFO
        facts = {"outcome": str(outcome), "seconds": round(seconds, 3), "proposals": len(results)}
        log.log(level, "cycle ended", extra={"fields": facts})
        self._running = None
        _cycle.set(None)

    def proposal_began(self, proposal_id: int, project_id: int) -> None:
        _cycle.set(self._running)  # a lane's thread has a context of its own
        _proposal.set(int(proposal_id))
        _project.set(int(project_id))
        log.info("proposal began")

    def proposal_ended(self, result: Result, seconds: float) -> None:
        facts = {
            "step": result.step.value,
            "outcome": result.outcome,
            "reason": result.reason,
            "sentence": result.sentence,
            "seconds": round(seconds, 3),
        }
        _proposal.set(int(result.proposal_id))
        log.info("proposal ended", extra={"fields": facts})
        _proposal.set(None)
        _project.set(None)

    def run_ended(self, role: Role, record: RunRecord, seconds: float) -> None:
        facts = {
            "role": role.value,
            "ending": record.ending.value,
            "validation": None if record.validation is None else str(record.validation),
            "seconds": round(seconds, 3),
            "cpu_seconds": round(record.cpu_seconds, 3),
            "peak_memory_bytes": record.peak_memory_bytes,
            "disturbances": len(record.disturbances),
        }
        log.info("run ended", extra={"fields": facts})

    def fault(self, sorted_: Sorted, /) -> None:
        level = logging.ERROR if sorted_.weight is Weight.STOP else logging.WARNING
        facts = {
            "weight": sorted_.weight.value,
            "kind": sorted_.kind.value,
            "error": sorted_.code,
            "said": sorted_.message,
        }
        log.log(level, sorted_.sentence, extra={"fields": facts})

    def alarm(self, name: str, sentence: str) -> None:
        log.error("alarm: %s", sentence, extra={"fields": {"alarm": str(name)}})
