"""What is asked of a machine, and what it answers: plain trees that every way of asking has in common.

- A ``Job`` names everything by root. Whoever carries it out fetches and proves by himself.
- A ``Made`` is one run: its record and its log. The log must have the digest that the record states.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from armlx_chain.chain.contracts import Project
from armlx_chain.errors import FormatError, VerifierFault
from armlx_chain.types import Address, ProjectId, ScaledScore
from verifier.controls import PastBest
from verifier.executors.wire import number, text, to_line
from verifier.hardware import EnvironmentFacts
from verifier.materials import CANDIDATE_LIMIT_BYTES
from verifier.model import Role, RunRecord
from verifier.records import read_record, record_tree

__all__ = ["MACHINE_ID", "Facts", "Job", "LogPieces", "Made", "Order"]

MAX_LOG_BYTES: Final = 33 << 20
"""The sandbox ends a program whose log is longer than 32 MiB."""
LOG_PIECE: Final = 1 << 20
_FACTS_BYTES: Final = 64 << 10
_RECORD_BYTES: Final = 32 << 10
"""Of a run's record without its detail, so that those of a whole test fit into a verdict's bundle."""
_DETAIL_BYTES: Final = 256 << 10
"""Of the sentence about its ending, in which a program's own words may stand; a bundle holds less of it."""
_HASHES: Final = (
    "protocol_hash",
    "repo_snapshot_hash",
    "benchmark_hash",
    "baseline_metrics_hash",
    "best_code_hash",
    "best_metrics_hash",
)
MACHINE_ID: Final = re.compile(r"[0-9a-f]{16}")
_CLASS: Final = re.compile(r"[ -~]{1,200}")
"""One ASCII line: it stands in reports, and is signed."""
_ADDRESSES: Final = ("best_miner", "token", "creator")


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do for a project on one machine.

    Attributes:
        kind: ``prepare``, ``noise`` or ``session``.
        machine: Its id; empty for any that is free.
        control: Root of the control that the daemon found; empty before it is known.
        past: Replaced bests, where the best's own bytes cannot be had.
        files: The candidate's replacement files, for a session.
    """

    kind: str
    project: Project
    machine: str = ""
    control: str = ""
    past: Sequence[PastBest] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)

    def tree(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "project": _project_tree(self.project),
            "machine": self.machine,
            "control": self.control,
            "past": [{"code": best.code_hash.hex(), "score": str(int(best.score))} for best in self.past],
            "files": {name: base64.b64encode(data).decode() for name, data in self.files.items()},
        }

    def encode(self) -> bytes:
        """The job as one line of JSON."""
        return to_line(**self.tree())

    @classmethod
    def read(cls, tree: Mapping[str, Any]) -> Job:
        """The job that a message states.

        Raises:
            FormatError: it states none.
        """
        past, files = tree.get("past"), tree.get("files")
        if not isinstance(past, tuple) or not isinstance(files, dict):
            raise FormatError("The job has no files or no earlier bests.")
        found = {name: _base64(data) for name, data in files.items()}
        if sum(map(len, found.values())) > CANDIDATE_LIMIT_BYTES:
            raise FormatError("The candidate's files are larger than any candidate may be.")
        try:
            bests = tuple(
                PastBest(_hash(text(best, "code")), ScaledScore(int(text(best, "score")))) for best in past
            )
            project = _read_project(tree["project"])
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise FormatError(f"The job's project is damaged ({problem}).") from problem
        return cls(text(tree, "kind"), project, text(tree, "machine"), text(tree, "control"), bests, found)


@dataclass(frozen=True, slots=True)
class Facts:
    """A project as one machine prepared it.

    Attributes:
        environment: SHA-256 in hex.
        budget_seconds: Training time that the benchmark allows, on its own clock.
        environment_facts: What that digest is made of, where the machine states it.
    """

    machine: str
    hardware_class: str
    environment: str
    budget_seconds: float
    control: str
    notices: tuple[str, ...] = ()
    environment_facts: Mapping[str, str] = field(default_factory=dict)

    def tree(self) -> dict[str, Any]:
        return {
            "facts": dict(self.environment_facts),
            "machine": self.machine,
            "class": self.hardware_class,
            "environment": self.environment,
            "budget": repr(float(self.budget_seconds)),
            "control": self.control,
            "notices": list(self.notices),
        }

    @classmethod
    def read(cls, tree: Mapping[str, Any]) -> Facts:
        """The facts that a message states.

        Raises:
            FormatError: it states none.
        """
        notices = tree.get("notices")
        if not isinstance(notices, tuple) or not all(isinstance(notice, str) for notice in notices):
            raise FormatError("The facts have no notices.")
        _hash(text(tree, "environment"))
        if MACHINE_ID.fullmatch(text(tree, "machine")) is None:
            raise FormatError("The facts name no machine.")
        if _CLASS.fullmatch(text(tree, "class")) is None:
            raise FormatError("The facts name no hardware class.")
        budget = _finite(text(tree, "budget"))
        if budget <= 0:
            raise FormatError("A training budget is more than nothing.")
        return cls(
            machine=text(tree, "machine"),
            hardware_class=text(tree, "class"),
            environment=text(tree, "environment"),
            budget_seconds=budget,
            control=text(tree, "control"),
            notices=notices,
            environment_facts=_environment_facts(tree.get("facts", {}), text(tree, "environment")),
        )


def _environment_facts(found: object, digest: str) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise FormatError("The environment's facts are none.")
    if sum(len(name) + len(value) for name, value in found.items()) > _FACTS_BYTES:
        raise FormatError("The environment's facts are longer than those of any machine.")
    if found and EnvironmentFacts(found).digest != digest:
        raise FormatError("The environment's facts do not have the digest that is stated.")
    return found


@dataclass(frozen=True, slots=True)
class Order:
    """One run of a session.

    Attributes:
        label: ``pair-01``, ``repeat-01``: letters, digits and hyphens.
        deadline_seconds: On the session's outside clock.
    """

    role: Role
    label: str
    deadline_seconds: float | None
    seed: bytes

    def tree(self) -> dict[str, Any]:
        return {
            "role": self.role.value,
            "label": self.label,
            "deadline": "" if self.deadline_seconds is None else repr(float(self.deadline_seconds)),
            "seed": self.seed.hex(),
        }

    @classmethod
    def read(cls, tree: Mapping[str, Any]) -> Order:
        """The order that a message states.

        Raises:
            FormatError: it states none.
        """
        label, deadline = text(tree, "label"), text(tree, "deadline")
        if not (0 < len(label) <= 40 and label.isascii() and label.replace("-", "").isalnum()):
            raise FormatError("The run's label is no name of a folder.")
        try:
            role, seed = Role(text(tree, "role")), bytes.fromhex(text(tree, "seed"))
        except ValueError as problem:
            raise FormatError("The run's role or seed is none.") from problem
        return cls(role, label, _finite(deadline) if deadline else None, seed)


@dataclass(frozen=True, slots=True)
class Made:
    """One run as it was made: the record, and the log byte for byte."""

    record: Mapping[str, Any]
    log: bytes

    @classmethod
    def of(cls, record: RunRecord) -> Made:
        """A run of this machine.

        Raises:
            VerifierFault: its log is not there.
        """
        try:
            log = record.log_path.read_bytes()
        except OSError as problem:
            raise VerifierFault(
                f"The log of a run cannot be read ({problem.strerror}).", next_step="Free some space."
            ) from problem
        return cls(record_tree(record), log)

    def lines(self) -> list[bytes]:
        """As messages: the log in compressed pieces, then the record."""
        pieces = [self.log[start : start + LOG_PIECE] for start in range(0, len(self.log), LOG_PIECE)]
        logs = [to_line("log", data=base64.b64encode(zlib.compress(piece)).decode()) for piece in pieces]
        return [*logs, to_line("record", record=self.record)]

    def keep(self, order: Order, folder: Path) -> RunRecord:
        """Put the log into a run's folder and read the record, each of which must belong to the other.

        Raises:
            VerifierFault: they do not, or cannot be kept.
        """
        path = folder / "run.log"
        try:
            record = read_record(self.record, path)
        except FormatError as problem:
            raise VerifierFault(f"A machine sent what is no record of a run: {problem.message}") from problem
        if _size(replace(record, detail="")) > _RECORD_BYTES or len(record.detail) > _DETAIL_BYTES:
            raise VerifierFault("A machine sent a record that is longer than that of any run.")
        if hashlib.sha256(self.log).hexdigest() != record.log_sha256 or record.role is not order.role:
            raise VerifierFault("A machine sent the record of another run, or another log.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.log)
        except OSError as problem:
            raise VerifierFault(f"{path} cannot be written ({problem.strerror}).") from problem
        return record


def _size(record: RunRecord) -> int:
    return len(json.dumps(record_tree(record)))


class LogPieces:
    """Collects the pieces of one run's log, up to the length that a log may have."""

    def __init__(self) -> None:
        self._found = bytearray()  # a list of small pieces would take many times their length

    def add(self, message: Mapping[str, Any]) -> None:
        """One more piece.

        Raises:
            FormatError: it is none, or empty, or the log grows too long.
        """
        reader = zlib.decompressobj()
        try:
            piece = reader.decompress(_base64(message.get("data")), LOG_PIECE)
        except zlib.error as problem:
            raise FormatError("A piece of a log is not compressed as it should be.") from problem
        if not reader.eof or reader.unused_data or len(self._found) + len(piece) > MAX_LOG_BYTES:
            raise FormatError("A piece of a log is too long.")
        if not piece:
            raise FormatError("A piece of a log is empty.")
        self._found += piece

    def whole(self) -> bytes:
        return bytes(self._found)


def _project_tree(project: Project) -> dict[str, object]:
    tree: dict[str, object] = {name: getattr(project, name).hex() for name in _HASHES}
    tree |= {name: str(getattr(project, name)) for name in _ADDRESSES}
    scores = {name: str(int(getattr(project, name))) for name in ("baseline_score", "best_score")}
    return tree | scores | {"id": int(project.id), "created_at": project.created_at}


def _read_project(tree: Any) -> Project:
    if set(tree) != {known.name for known in fields(Project)}:
        raise ValueError("other members than a record's")
    members: dict[str, Any] = {name: _hash(text(tree, name)) for name in _HASHES}
    members |= {name: Address(text(tree, name)) for name in _ADDRESSES}
    return Project(
        id=ProjectId(number(tree, "id")),
        created_at=number(tree, "created_at"),
        baseline_score=ScaledScore(int(text(tree, "baseline_score"))),
        best_score=ScaledScore(int(text(tree, "best_score"))),
        **members,
    )


def _hash(value: str) -> bytes:
    try:
        found = bytes.fromhex(value)
    except ValueError as problem:
        raise FormatError("This is no hash.") from problem
    if len(found) != hashlib.sha256().digest_size:
        raise FormatError("This is no hash.")
    return found


def _base64(value: object) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else "!", validate=True)
    except ValueError as problem:  # a text beyond ASCII is not even a binascii.Error
        raise FormatError("This is no base64.") from problem


def _finite(value: str) -> float:
    try:
        found = float(value)
    except ValueError as problem:
        raise FormatError("This is no number of seconds.") from problem
    if not math.isfinite(found) or found < 0:
        raise FormatError("This is no number of seconds.")
    return found
