"""A bare log: a run that was never reproduced, with a record that says so.

Its printed value is the raw metric. There is no control, so the value that the project's best stands for
takes its place, under a log that says in words that no control was run. The folder made from it is kept in
the home: a submission that was interrupted finds the same bytes again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from armlx_chain.chain.contracts import Project
from armlx_chain.claims.preflight import UNREPRODUCED
from armlx_chain.claims.runfolder import (
    CANDIDATE,
    CONTROL_LOG,
    ENVIRONMENT,
    RUN_JSON,
    RUN_LOG,
    RunFacts,
    candidate_digest,
    write_run_json,
)
from armlx_chain.errors import ClaimRefused, MetricError
from armlx_chain.formats.canonical import canonical_json
from armlx_chain.protocol.metric import check_metric_text, extract_metric, metric_rule
from armlx_chain.protocol.model import Protocol
from armlx_chain.protocol.score import decode_score
from armlx_chain.types import Address, Root

__all__ = ["BareRun", "folders_of", "keep_bare_run"]

_NO_CONTROL = (
    b"No control was run. This log was not reproduced; the line below states the value\n"
    b"that the project's best stands for on the ledger, in place of a measured one.\n"
)


@dataclass(frozen=True, slots=True)
class BareRun:
    """A log, the code it is said to come from, and what it is about."""

    chain_id: int
    ledger: Address
    project: Project
    protocol: Protocol
    control_root: Root
    log: bytes
    files: Mapping[str, bytes]

    @property
    def key(self) -> str:
        """Names the log, the code and the project, whatever its best is; 32 hex digits."""
        parts = (
            str(self.chain_id),
            self.ledger.lower(),
            str(self.project.id),
            hashlib.sha256(self.log).hexdigest(),
            candidate_digest(self.files),
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def folders_of(run: BareRun, home: Path) -> list[Path]:
    """The complete folders made from this log before, one for each best it was compared with."""
    return sorted(path.parent for path in (home / run.key).glob(f"*/{RUN_JSON}"))


def keep_bare_run(run: BareRun, home: Path) -> Path:
    """Write the run folder of a bare log, against the project's present best; returns its ``run.log``.

    Raises:
        MetricError: the log has no metric, or several.
        ClaimRefused: the best stands for no value that a log could state.
    """
    folder = home / run.key / str(run.project.best_score)
    if (folder / RUN_JSON).exists():
        return folder / RUN_LOG
    rule = metric_rule(run.protocol.measurement.primary_metric)
    found = extract_metric(run.log, rule)
    control, control_log = _control(run, found.text, found.line)
    environment = canonical_json(
        {
            "format": "armlx-environment/1",
            "hardwareClass": UNREPRODUCED,
            "environmentDigest": hashlib.sha256(b"").hexdigest(),
            "facts": {},
        }
    )
    for name, data in run.files.items():
        path = folder / CANDIDATE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for name, data in ((RUN_LOG, run.log), (CONTROL_LOG, control_log), (ENVIRONMENT, environment)):
        (folder / name).write_bytes(data)
    write_run_json(folder, _facts(run, found.text, control, control_log))
    return folder / RUN_LOG


def _control(run: BareRun, value: str, line: int) -> tuple[str, bytes]:
    """The best's value as a metric, and a log that states it in the run's own way of printing."""
    metric = run.protocol.measurement.primary_metric
    text = f"{decode_score(run.project.best_score, metric.direction):.6f}"
    printed = run.log.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[line - 1].rstrip()
    log = _NO_CONTROL + printed.removesuffix(value.encode()) + text.encode() + b"\n"
    try:
        check_metric_text(text, metric.name)
        if extract_metric(log, metric_rule(metric)).value == Decimal(text):
            return text, log
    except MetricError:
        pass
    raise ClaimRefused(
        f"The project's best, {run.project.best_score}, stands for {text}, which is no {metric.name}"
        " that a log could state.",
        meaning="Without a control there is nothing to compare this log with. Nothing was sent.",
        next_step="Make a control with: armlx-chain reproduce",
    )


def _facts(run: BareRun, value: str, control: str, control_log: bytes) -> RunFacts:
    return RunFacts(
        chain_id=run.chain_id,
        ledger=run.ledger,
        project_id=run.project.id,
        protocol_root=Root.zerog(run.project.protocol_hash),
        snapshot_root=Root.zerog(run.project.repo_snapshot_hash),
        control_root=run.control_root,
        current_best=run.project.best_score,
        metric=run.protocol.measurement.primary_metric.name,
        value=value,
        control_value=control,
        hardware_class=UNREPRODUCED,
        environment_digest=str(Root("sha256", hashlib.sha256(b"").digest())),
        run_log_sha256=hashlib.sha256(run.log).hexdigest(),
        control_log_sha256=hashlib.sha256(control_log).hexdigest(),
        candidate_sha256=candidate_digest(run.files),
        outcome=UNREPRODUCED,
        reason="no-control",
    )
