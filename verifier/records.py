"""Runs as documents: what was measured, kept so that it can be read again and continued with.

- A tree has no floats: figures are text, so it can be written as canonical JSON.
- Nothing is lost: ``read_record(record_tree(record))`` is the record, but for the place of its log, which
  the reader names.
- A document is believed only with its log: ``check_log`` compares the digest.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from decimal import InvalidOperation
from pathlib import Path
from typing import Any, Final

from armlx_chain.errors import FormatError
from verifier.model import Audit, AuditKind, Bpb, Ending, Pair, Role, RunRecord, bpb

__all__ = ["RECORD_FORMAT", "check_log", "pair_tree", "read_pair", "read_record", "record_tree"]

RECORD_FORMAT: Final = "armlx-run-record/1"
_CHUNK: Final = 1 << 20
_TOO_MANY: Final = 1 << 63


def record_tree(record: RunRecord) -> dict[str, Any]:
    """A run as text, integers, lists and mappings."""
    return {
        "format": RECORD_FORMAT,
        "role": record.role.value,
        "ending": record.ending.value,
        "detail": record.detail,
        "logSha256": record.log_sha256,
        "wallSeconds": repr(float(record.wall_seconds)),
        "cpuSeconds": repr(float(record.cpu_seconds)),
        "peakMemoryBytes": record.peak_memory_bytes,
        "clock": record.clock,
        "secondsToGraph": None if record.seconds_to_graph is None else repr(float(record.seconds_to_graph)),
        "validation": None if record.validation is None else str(record.validation),
        "fresh": None if record.fresh is None else str(record.fresh),
        "audits": [
            {"kind": audit.kind.value, "passed": audit.passed, "figures": dict(sorted(audit.figures.items()))}
            for audit in record.audits
        ],
        "printedMetric": record.printed_metric,
        "steps": None if record.steps is None else str(record.steps),
        "anomalies": list(record.anomalies),
        "graphSha256": record.graph_sha256,
        "disturbances": list(record.disturbances),
    }


def pair_tree(pair: Pair) -> dict[str, Any]:
    """A control run and the candidate run beside it."""
    return {"control": record_tree(pair.control), "candidate": record_tree(pair.candidate)}


def read_record(tree: object, log_path: Path) -> RunRecord:
    """The run that a document states.

    Args:
        log_path: Where its log lies now.

    Raises:
        FormatError: it is no such document.
    """
    if not isinstance(tree, Mapping) or tree.get("format") != RECORD_FORMAT:
        raise FormatError(f"This is not a document of format {RECORD_FORMAT}.")
    try:
        return RunRecord(
            role=Role(tree["role"]),
            ending=Ending(tree["ending"]),
            detail=_text(tree["detail"]),
            log_path=log_path,
            log_sha256=_hex(tree["logSha256"]),
            wall_seconds=_seconds(tree["wallSeconds"]),
            cpu_seconds=_seconds(tree["cpuSeconds"]),
            peak_memory_bytes=_count(tree["peakMemoryBytes"]),
            clock=_text(tree["clock"]),
            seconds_to_graph=None if tree["secondsToGraph"] is None else _seconds(tree["secondsToGraph"]),
            validation=_figure(tree["validation"]),
            fresh=_figure(tree["fresh"]),
            audits=tuple(_audit(audit) for audit in tree["audits"]),
            printed_metric=None if tree["printedMetric"] is None else _text(tree["printedMetric"]),
            steps=None if tree["steps"] is None else _count(int(_text(tree["steps"]))),
            anomalies=tuple(_text(text) for text in tree["anomalies"]),
            graph_sha256=None if tree["graphSha256"] is None else _hex(tree["graphSha256"]),
            disturbances=tuple(_text(text) for text in tree["disturbances"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, InvalidOperation) as problem:
        raise FormatError(f"The record of a run is damaged ({problem}).") from problem


def read_pair(tree: object, control_log: Path, candidate_log: Path) -> Pair:
    """The pair that a document states.

    Raises:
        FormatError: it is no such document, or its runs are not of a control and a candidate.
    """
    if not isinstance(tree, Mapping) or set(tree) != {"control", "candidate"}:
        raise FormatError("This is not the record of a pair.")
    pair = Pair(read_record(tree["control"], control_log), read_record(tree["candidate"], candidate_log))
    if (pair.control.role, pair.candidate.role) != (Role.CONTROL, Role.CANDIDATE):
        raise FormatError("The runs of a pair's record are not those of a control and a candidate.")
    return pair


def check_log(record: RunRecord) -> None:
    """Compare a record with the log that it is about.

    Raises:
        FormatError: the log is missing, or is another.
    """
    digest = hashlib.sha256()
    try:
        with record.log_path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as problem:
        raise FormatError(f"{record.log_path} cannot be read ({problem.strerror}).") from problem
    if digest.hexdigest() != record.log_sha256:
        raise FormatError(f"{record.log_path} is not the log that its record is about.")


def _audit(tree: Mapping[str, Any]) -> Audit:
    passed = tree["passed"]
    if not isinstance(passed, bool):
        raise TypeError("an audit neither passed nor failed")
    figures = {_text(name): _text(value) for name, value in tree["figures"].items()}
    return Audit(AuditKind(tree["kind"]), passed, figures)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _hex(value: object) -> str:
    text = _text(value)
    if len(bytes.fromhex(text)) != hashlib.sha256().digest_size:
        raise ValueError(f"{text!r} is not a digest")
    return text


def _count(value: object) -> int:
    """What fits into a database and a float: a machine that lies must not bring its reader down."""
    if type(value) is not int or not 0 <= value < _TOO_MANY:
        raise ValueError("a count that nothing has")
    return value


def _seconds(value: object) -> float:
    seconds = float(_text(value))
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{value!r} is no time")
    return seconds


def _figure(value: object) -> Bpb | None:
    return None if value is None else bpb(_text(value))
