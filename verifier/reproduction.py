"""What a reproduction leaves behind: the run folder that a submission starts from.

The logs of one pair are kept as the claim's logs: of the pairs that count, the one whose gain is the median,
so that neither a lucky nor an unlucky pair is claimed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

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
from armlx_chain.errors import UsageError
from armlx_chain.formats.canonical import canonical_json
from armlx_chain.protocol.metric import extract_metric, metric_rule
from armlx_chain.types import Address, Root
from verifier.judging import Prepared
from verifier.model import Pair, Verdict
from verifier.report import to_text, to_tree

REPORT_JSON = "report.json"
REPORT_TEXT = "report.txt"
_RUNS = "sessions"


def start_folder(folder: Path) -> Path:
    """Make the run folder and return the place of its session's runs.

    Raises:
        UsageError: it holds another run already, which is never overwritten.
    """
    if (folder / RUN_JSON).exists() or (folder / REPORT_JSON).exists():
        raise UsageError(
            f"{folder} already holds a run.",
            next_step="Choose another folder with --out, or remove this one.",
        )
    runs = folder / _RUNS
    runs.mkdir(parents=True, exist_ok=True)
    return runs


def write_run_folder(
    folder: Path,
    prepared: Prepared,
    verdict: Verdict,
    files: Mapping[str, bytes],
    *,
    chain_id: int,
    ledger: Address,
) -> bool:
    """Write report, environment, candidate and, where a pair has two scores, logs and ``run.json``.

    Returns:
        Whether the folder can be submitted.
    """
    (folder / REPORT_JSON).write_text(json.dumps(to_tree(verdict), indent=1, sort_keys=True) + "\n")
    (folder / REPORT_TEXT).write_text(to_text(verdict))
    (folder / ENVIRONMENT).write_bytes(environment_record(prepared))
    for name, data in files.items():
        path = folder / CANDIDATE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    pair = median_pair(verdict)
    if pair is None:
        return False
    shutil.copyfile(pair.candidate.log_path, folder / RUN_LOG)
    shutil.copyfile(pair.control.log_path, folder / CONTROL_LOG)
    write_run_json(folder, _facts(folder, prepared, verdict, files, chain_id, ledger))
    return True


def environment_record(prepared: Prepared) -> bytes:
    """Where it was measured, as a canonical document."""
    return canonical_json(
        {
            "format": "armlx-environment/1",
            "hardwareClass": prepared.machine.hardware_class,
            "environmentDigest": prepared.environment.digest,
            "facts": dict(prepared.environment.facts),
        }
    )


def median_pair(verdict: Verdict) -> Pair | None:
    """Of the counted pairs with four scores and both metrics printed, the one whose gain is the median."""
    scored: list[tuple[Decimal, int, Pair]] = []
    for index, pair in enumerate(verdict.pairs):
        control, candidate = pair.control, pair.candidate
        if index in verdict.voided or control.validation is None or candidate.validation is None:
            continue
        if control.printed_metric is None or candidate.printed_metric is None:
            continue
        scored.append((Decimal(control.validation) - Decimal(candidate.validation), index, pair))
    scored.sort(key=lambda entry: entry[:2])
    return scored[(len(scored) - 1) // 2][2] if scored else None


def _facts(
    folder: Path,
    prepared: Prepared,
    verdict: Verdict,
    files: Mapping[str, bytes],
    chain_id: int,
    ledger: Address,
) -> RunFacts:
    materials = prepared.materials
    rule = metric_rule(materials.protocol.measurement.primary_metric)
    run, control = (folder / RUN_LOG).read_bytes(), (folder / CONTROL_LOG).read_bytes()
    return RunFacts(
        chain_id=chain_id,
        ledger=ledger,
        project_id=materials.project.id,
        protocol_root=materials.protocol_root,
        snapshot_root=materials.snapshot_root,
        control_root=materials.control_root,
        current_best=materials.project.best_score,
        metric=rule.name,
        value=extract_metric(run, rule).text,
        control_value=extract_metric(control, rule).text,
        hardware_class=prepared.machine.hardware_class,
        environment_digest=str(Root("sha256", bytes.fromhex(prepared.environment.digest))),
        run_log_sha256=hashlib.sha256(run).hexdigest(),
        control_log_sha256=hashlib.sha256(control).hexdigest(),
        candidate_sha256=candidate_digest(files),
        outcome=verdict.outcome.value,
        reason=verdict.reason.value,
    )
