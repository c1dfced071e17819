"""The run folder: what a reproduction leaves behind and a submission starts from.

::

    <folder>/
      run.json           this module's document: what was measured, by root and digest
      run.log            the candidate's log, byte for byte
      control.log        the control's log of the same pair
      environment.json   where it was measured
      report.json, report.txt   the whole verdict
      candidate/         the replacement files

- Nothing in it is trusted: digests are compared with the files, and the metric is read again from each log by
  the protocol's own rule before anything is signed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path, PurePosixPath
from typing import Any

from armlx_chain.errors import ClaimRefused, FormatError, RootFormatError, UsageError
from armlx_chain.formats.bundle import CANDIDATE_LIMITS, pack_tree
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.protocol.metric import extract_metric, metric_rule
from armlx_chain.protocol.model import Direction, Protocol
from armlx_chain.storage.unverified import RUN_MARKS
from armlx_chain.types import ProjectId, Root, ScaledScore

FORMAT = "armlx-run/1"
RUN_JSON = "run.json"
RUN_LOG = "run.log"
CONTROL_LOG = "control.log"
ENVIRONMENT = "environment.json"
CANDIDATE = "candidate"
MAX_DOCUMENT_BYTES = 1 << 20
MAX_LOG_BYTES = 64 << 20
MAX_CANDIDATE_FILES = 64
MAX_CANDIDATE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What ``run.json`` states. Values are decimal text, digests hex."""

    chain_id: int
    ledger: str
    project_id: ProjectId
    protocol_root: Root
    snapshot_root: Root
    control_root: Root
    current_best: ScaledScore
    metric: str
    value: str
    control_value: str
    hardware_class: str
    environment_digest: str
    run_log_sha256: str
    control_log_sha256: str
    candidate_sha256: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run folder read from disk, digests compared."""

    path: Path
    facts: RunFacts
    run_log: bytes
    control_log: bytes
    environment: bytes
    files: Mapping[str, bytes]

    def gain(self, direction: Direction) -> Decimal:
        """What the logged pair gained, in the metric's units; positive is better."""
        difference = Decimal(self.facts.control_value) - Decimal(self.facts.value)
        return difference if direction == "minimize" else -difference


def write_run_json(folder: Path, facts: RunFacts) -> None:
    """Write ``run.json`` last, so that its presence means the folder is complete."""
    document = {
        "format": FORMAT,
        "chainId": facts.chain_id,
        "ledger": facts.ledger,
        "projectId": int(facts.project_id),
        "protocolRoot": str(facts.protocol_root),
        "snapshotRoot": str(facts.snapshot_root),
        "controlRoot": str(facts.control_root),
        "currentBest": int(facts.current_best),
        "metric": facts.metric,
        "value": facts.value,
        "controlValue": facts.control_value,
        "hardwareClass": facts.hardware_class,
        "environmentDigest": facts.environment_digest,
        "runLogSha256": facts.run_log_sha256,
        "controlLogSha256": facts.control_log_sha256,
        "candidateSha256": facts.candidate_sha256,
        "outcome": facts.outcome,
        "reason": facts.reason,
    }
    temporary = folder / (RUN_JSON + ".part")
    temporary.write_bytes(canonical_json(document))
    temporary.replace(folder / RUN_JSON)


def candidate_digest(files: Mapping[str, bytes]) -> str:
    """Digest of a candidate's files as measured, before anybody's authorship is packed with them; hex."""
    return hashlib.sha256(pack_tree(files, CANDIDATE_LIMITS)).hexdigest()


def read_run_folder(run_log: Path, protocol: Protocol) -> RunFolder:
    """Read the folder of a run log and prove that its parts belong together.

    Raises:
        UsageError: there is no such log, or no control beside it (with the command that makes one).
        ClaimRefused: a digest differs, a log does not show the value the document states, or the run is
            about another metric, or of documents that nobody could prove.
        MetricError: a log has no metric, or several.
        FormatError: ``run.json`` is damaged.
    """
    folder = _folder_of(run_log)
    _require_proven(folder)
    facts = _facts(read_limited(folder / RUN_JSON, MAX_DOCUMENT_BYTES))
    _require_metric(facts, protocol)
    run = _log(folder / RUN_LOG, facts.run_log_sha256)
    control = _log(folder / CONTROL_LOG, facts.control_log_sha256)
    _require_value(folder / RUN_LOG, run, protocol, facts.value)
    _require_value(folder / CONTROL_LOG, control, protocol, facts.control_value)
    files = _candidate_files(folder / CANDIDATE)
    if candidate_digest(files) != facts.candidate_sha256:
        raise ClaimRefused(
            f"{folder / CANDIDATE} is not the code that was measured: its files have changed since.",
            meaning="A claim about other code would be refuted or expire. Nothing was sent.",
            next_step="Run reproduce again.",
        )
    return RunFolder(
        path=folder,
        facts=facts,
        run_log=run,
        control_log=control,
        environment=read_limited(folder / ENVIRONMENT, MAX_DOCUMENT_BYTES),
        files=files,
    )


def _require_proven(folder: Path) -> None:
    """A claim has no place for a mark: a run of documents that nobody could prove makes none.

    Raises:
        ClaimRefused: the run folder is marked.
    """
    if os.path.lexists(folder / RUN_MARKS):
        raise ClaimRefused(
            f"{folder} is a run of documents that nobody could prove (see {folder / RUN_MARKS}).",
            meaning="Nothing says that they are what they were taken for. Nothing was sent.",
            next_step="Fetch them with a proof, or with a --sha256 that you trust, and reproduce again.",
        )


def run_log_of(path: Path) -> Path:
    """The run log that a person means: the file, or the one in the folder."""
    return path / RUN_LOG if path.is_dir() else path


def is_bare(run_log: Path) -> bool:
    """Whether this log is there, but no record of a reproduction beside it."""
    return run_log.is_file() and not (run_log.parent / RUN_JSON).is_file()


def read_control_log(folder: Path, facts: RunFacts) -> bytes:
    """The control's log of a run folder, its digest compared.

    Raises:
        ClaimRefused: it has changed since it was measured.
    """
    return _log(folder / CONTROL_LOG, facts.control_log_sha256)


def read_bare_log(run_log: Path) -> bytes:
    """A log by itself.

    Raises:
        UsageError: it cannot be read.
        FormatError: it is larger than a log may be.
    """
    return read_limited(run_log, MAX_LOG_BYTES)


def read_candidate_files(path: Path) -> dict[str, bytes]:
    """A candidate by itself: a folder with all its files, or one file under its own name.

    Raises:
        UsageError, ClaimRefused, FormatError: it cannot be read, is no candidate, or is larger than one.
    """
    return _candidate_files(path) if path.is_dir() else {path.name: read_limited(path, MAX_CANDIDATE_BYTES)}


def peek_facts(run_log: Path) -> RunFacts:
    """Only ``run.json``, to learn which project it is about.

    Raises:
        UsageError, FormatError: as for ``read_run_folder``.
    """
    return _facts(read_limited(_folder_of(run_log) / RUN_JSON, MAX_DOCUMENT_BYTES))


def _folder_of(run_log: Path) -> Path:
    if not run_log.is_file():
        raise UsageError(f"There is no run log at {run_log}.", next_step="Give the path of a run.log.")
    folder = run_log.parent
    if not (folder / RUN_JSON).is_file():
        raise UsageError(
            f"There is no {RUN_JSON} beside {run_log}: this run has no control.",
            meaning="A claim is a gain over a control run on the same machine; a log alone proves none.",
            next_step="Make both with: armlx-chain reproduce --project N train.py; to stake on the log alone,"
            " add --unreproduced --project N --candidate train.py",
        )
    return folder


def read_limited(path: Path, limit: int) -> bytes:
    """A file of this machine.

    Raises:
        UsageError: it cannot be read.
        FormatError: it is larger than ``limit`` bytes.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(limit + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).") from error
    if len(data) > limit:
        raise FormatError(f"{path} is larger than {limit} bytes.")
    return data


def _log(path: Path, expected_sha256: str) -> bytes:
    data = read_limited(path, MAX_LOG_BYTES)
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected_sha256:
        raise ClaimRefused(
            f"{path} has changed since it was measured (sha256 {actual[:16]}…, recorded"
            f" {expected_sha256[:16]}…).",
            meaning="A claim signs the digest of the log as the run wrote it.",
            next_step="Run reproduce again.",
        )
    return data


def _require_metric(facts: RunFacts, protocol: Protocol) -> None:
    expected = protocol.measurement.primary_metric.name
    if facts.metric != expected:
        raise ClaimRefused(
            f"This run is about {facts.metric!r}, the protocol's metric is {expected}.",
            next_step="Run reproduce again.",
        )


def _require_value(log: Path, data: bytes, protocol: Protocol, stated: str) -> None:
    found = extract_metric(data, metric_rule(protocol.measurement.primary_metric))
    if found.value != Decimal(stated):
        raise ClaimRefused(
            f"{log} shows {protocol.measurement.primary_metric.name} {found.text}, but {stated} is claimed.",
            next_step="Run reproduce again.",
        )


def _candidate_files(folder: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    total = 0
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ClaimRefused(f"{path} is neither a file nor a folder; a candidate has only those.")
        if path.is_file():
            data = read_limited(path, MAX_CANDIDATE_BYTES)
            total += len(data)
            files[str(PurePosixPath(path.relative_to(folder)))] = data
            if len(files) > MAX_CANDIDATE_FILES or total > MAX_CANDIDATE_BYTES:
                raise ClaimRefused(f"{folder} holds more than a candidate may.")
    if not files:
        raise ClaimRefused(f"{folder} holds no candidate files.", next_step="Run reproduce again.")
    return files


def _facts(data: bytes) -> RunFacts:
    document = parse_canonical(data)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise FormatError(f"{RUN_JSON} is not a document of format {FORMAT}.")
    try:
        return RunFacts(
            chain_id=_integer(document, "chainId"),
            ledger=_text(document, "ledger"),
            project_id=ProjectId(_integer(document, "projectId")),
            protocol_root=Root.parse(_text(document, "protocolRoot")),
            snapshot_root=Root.parse(_text(document, "snapshotRoot")),
            control_root=Root.parse(_text(document, "controlRoot")),
            current_best=ScaledScore(_integer(document, "currentBest")),
            metric=_text(document, "metric"),
            value=_decimal(document, "value"),
            control_value=_decimal(document, "controlValue"),
            hardware_class=_text(document, "hardwareClass"),
            environment_digest=str(Root.parse(_text(document, "environmentDigest"))),
            run_log_sha256=_text(document, "runLogSha256"),
            control_log_sha256=_text(document, "controlLogSha256"),
            candidate_sha256=_text(document, "candidateSha256"),
            outcome=_text(document, "outcome"),
            reason=_text(document, "reason"),
        )
    except KeyError as error:
        raise FormatError(f"{RUN_JSON} lacks {error}.", next_step="Run reproduce again.") from error
    except RootFormatError as error:
        raise FormatError(f"{RUN_JSON}: {error.message}", next_step="Run reproduce again.") from error


def _text(document: dict[str, Any], key: str) -> str:
    value = document[key]
    if not isinstance(value, str) or len(value) > 1000:
        raise FormatError(f"{RUN_JSON}: {key} is not a short text.")
    return value


def _integer(document: dict[str, Any], key: str) -> int:
    value = document[key]
    if not isinstance(value, int) or isinstance(value, bool):
        raise FormatError(f"{RUN_JSON}: {key} is not an integer.")
    return value


def _decimal(document: dict[str, Any], key: str) -> str:
    text = _text(document, key)
    try:
        if Decimal(text).is_finite():
            return text
    except InvalidOperation:
        pass
    raise FormatError(f"{RUN_JSON}: {key} is not a decimal number.")
