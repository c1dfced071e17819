"""What a session in a run folder is about and how far it got; kept so that any end leaves it readable.

::

    <folder>/
      session.json                     this module's document, replaced as a whole
      session.lock                     held while a process works on the folder
      candidate/                       the replacement files, written before anything runs
      sessions/pair-01-control/        one run: run.log, record.json (written when the run has ended)
      sessions/pair-01-candidate/ …
      unfinished/01/ …                 runs that were cut off, and halves of pairs, put aside by a resumption

- ``state`` is ``running``, ``interrupted`` (by a person or the system) or ``complete``. A process that
  was killed leaves ``running`` behind; the lock tells that from one that still works.
- A pair counts only with both records, both logs and matching digests; what is left of others is put aside
  and never used: the runs of a pair are adjacent, or it is none.
- A session goes on only with the same project, control, candidate, seed, rule, class and environment.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from armlx_chain.errors import FormatError, MachineError, UsageError
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.storage.files import write_file
from verifier.model import Pair, Role, RunRecord
from verifier.records import check_log, read_record, record_tree
from verifier.session import Progress

__all__ = [
    "COMPLETE",
    "INTERRUPTED",
    "RUNNING",
    "SESSIONS",
    "SESSION_JSON",
    "SessionFacts",
    "SessionKeeper",
    "SessionState",
    "locked",
    "read_session",
]

FORMAT: Final = "armlx-session/1"
SESSION_JSON: Final = "session.json"
SESSIONS: Final = "sessions"
_LOCK: Final = "session.lock"
_RECORD: Final = "record.json"
_UNFINISHED: Final = "unfinished"
_MAX_BYTES: Final = 1 << 20
RUNNING: Final = "running"
INTERRUPTED: Final = "interrupted"
COMPLETE: Final = "complete"
_STATES: Final = (RUNNING, INTERRUPTED, COMPLETE)


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What must not change between the parts of one session. All text; digests and the seed are hex.

    Attributes:
        kind: ``judgement``, or ``control`` where only the control is measured.
    """

    kind: str
    chain: str
    ledger: str
    project: str
    snapshot: str
    benchmark: str
    control: str
    candidate: str
    hardware_class: str
    environment: str
    rule: str
    seed: str


_WORDS: Final = {
    "kind": "what is measured (candidate or control alone)",
    "chain": "the chain",
    "ledger": "the ledger",
    "project": "the project",
    "snapshot": "the project's snapshot",
    "benchmark": "the project's benchmark data",
    "control": "the control (the current best's code)",
    "candidate": "the candidate's files",
    "hardware_class": "this machine's hardware class",
    "environment": "this machine's environment (system, MLX, Python or lock)",
    "rule": "the rule",
    "seed": "the seed",
}


@dataclass(frozen=True, slots=True)
class SessionState:
    """``session.json``: the facts, how it stands, and how many runs of the candidate were asked for.

    Attributes:
        pairs: Finished pairs; finished runs where only the control is measured.
    """

    facts: SessionFacts
    state: str
    runs: int
    pairs: int
    note: str = ""

    def document(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(
            {
                "format": FORMAT,
                "state": self.state,
                "runs": self.runs,
                "pairs": self.pairs,
                "note": self.note,
                "about": {field.name: getattr(self.facts, field.name) for field in fields(SessionFacts)},
            }
        )


def read_session(folder: Path) -> SessionState:
    """The session of a run folder.

    Raises:
        UsageError: there is none.
        FormatError: its document is damaged.
    """
    path = folder / SESSION_JSON
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError as missing:
        raise UsageError(
            f"{folder} holds no session that could go on: there is no {SESSION_JSON}.",
            meaning="Its run was stopped before the first program started, or it is another folder.",
            next_step="Start anew, with another --out.",
        ) from missing
    except OSError as problem:
        raise MachineError(f"{path} cannot be read: {problem.strerror}.") from problem
    return _state(parse_canonical(data, what=SESSION_JSON))


def _state(tree: Any) -> SessionState:
    try:
        about, state = tree["about"], tree["state"]
        values = {field.name: about[field.name] for field in fields(SessionFacts)}
        whole = (tree["runs"], tree["pairs"])
        texts = (*values.values(), tree["note"])
        sound = (
            tree["format"] == FORMAT
            and state in _STATES
            and all(isinstance(text, str) for text in texts)
            and all(type(number) is int and 0 <= number <= 1000 for number in whole)
        )
    except (TypeError, KeyError) as problem:
        raise FormatError(f"{SESSION_JSON} is no document of format {FORMAT}.") from problem
    if not sound:
        raise FormatError(f"{SESSION_JSON} is no document of format {FORMAT}.")
    return SessionState(SessionFacts(**values), state, whole[0], whole[1], tree["note"])


def require_same(before: SessionFacts, now: SessionFacts) -> None:
    """Refuse to mix two sessions, naming what is another.

    Raises:
        UsageError: something differs.
    """
    differing = [
        field.name
        for field in fields(SessionFacts)
        if getattr(before, field.name) != getattr(now, field.name)
    ]
    if differing:
        raise UsageError(
            f"This session cannot go on: {'; '.join(_WORDS[name] for name in differing)} changed since.",
            meaning="Runs are pairs only with one control, candidate, seed, class and environment."
            " What was measured stays in the folder.",
            next_step="Start anew, with another --out.",
            details={"changed": differing},
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else works on this folder meanwhile. A killed process lets go of it by itself.

    Raises:
        UsageError: somebody does.
        MachineError: the lock cannot be made.
    """
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as problem:
        raise MachineError(f"{folder / _LOCK} cannot be written: {problem.strerror}.") from problem
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as busy:
            raise UsageError(
                f"Another process is at work in {folder}.", next_step="Wait for it, or stop it first."
            ) from busy
        yield
    finally:
        os.close(descriptor)


class SessionKeeper:
    """Keeps a session's records while it goes on.

    Args:
        folder: The run folder; it exists.
        runs: Runs of the candidate that were asked for; 0 leaves it to the rule.
    """

    def __init__(self, folder: Path, facts: SessionFacts, *, runs: int) -> None:
        self._folder, self._facts, self._runs = folder, facts, runs

    @property
    def place(self) -> Path:
        """Where the session's runs go."""
        return self._folder / SESSIONS

    def mark(self, state: str, note: str = "") -> None:
        """Write how the session stands.

        Raises:
            MachineError: it cannot be written.
        """
        finished = len(self.pairs()) or len(self.controls())
        document = SessionState(self._facts, state, self._runs, finished, note).document()
        write_file(self._folder / SESSION_JSON, document)

    def keep(self, progress: Progress) -> None:
        """A session's callback: the record of a run that has ended is on disk before the next one starts.

        Raises:
            MachineError: it cannot be written.
        """
        record = progress.record
        if record is not None and record.log_path.is_relative_to(self.place):
            write_file(record.log_path.parent / _RECORD, canonical_json(record_tree(record)))

    def record(self, label: str, role: Role) -> RunRecord | None:
        """A finished run, if its record and its log are there and belong together."""
        folder = self.place / f"{label}-{role.value}"
        try:
            with (folder / _RECORD).open("rb") as stream:
                tree = parse_canonical(stream.read(_MAX_BYTES + 1), what=_RECORD)
            record = read_record(tree, folder / "run.log")
            check_log(record)
        except (OSError, FormatError):
            return None
        return record if record.role is role else None

    def pairs(self) -> tuple[Pair, ...]:
        """The whole pairs from the first on, in order."""
        found: list[Pair] = []
        while True:
            label = f"pair-{len(found) + 1:02d}"
            control, candidate = self.record(label, Role.CONTROL), self.record(label, Role.CANDIDATE)
            if control is None or candidate is None:
                return tuple(found)
            found.append(Pair(control, candidate))

    def controls(self) -> tuple[RunRecord, ...]:
        """The control's runs from the first on, where only it is measured."""
        found: list[RunRecord] = []
        while (record := self.record(f"run-{len(found) + 1:02d}", Role.CONTROL)) is not None:
            found.append(record)
        return tuple(found)

    def put_aside(self, keep: int, *, prefix: str = "pair") -> list[str]:
        """Move everything but the first ``keep`` runs or pairs out of the way; the names that moved.

        Raises:
            MachineError: something cannot be moved.
        """
        good = {f"{prefix}-{number + 1:02d}" for number in range(keep)}
        try:
            places = sorted(place for place in self.place.iterdir() if place.is_dir())
            left = [
                place
                for place in places
                if place.name != "calibration" and place.name.rpartition("-")[0] not in good
            ]
            if left:
                target = self._free_place()
                for place in left:
                    place.rename(target / place.name)
        except OSError as problem:
            raise MachineError(f"{self.place} cannot be put in order: {problem.strerror}.") from problem
        return [place.name for place in left]

    def _free_place(self) -> Path:
        number = 1
        while True:
            target = self._folder / _UNFINISHED / f"{number:02d}"
            try:
                target.mkdir(parents=True)
            except FileExistsError:
                number += 1
            else:
                return target
