"""A reproduction: a candidate's session, what it leaves behind, and how it goes on after an interruption.

The logs of one pair are kept as the claim's logs: of the pairs that count, the one whose gain is the median,
so that neither a lucky nor an unlucky pair is claimed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

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
from armlx_chain.storage.files import write_file
from armlx_chain.types import Address, Root
from verifier.judgement import Trial
from verifier.judging import Prepared
from verifier.machine.reading import public_state
from verifier.machine.sensors import sensors_here
from verifier.measurements import Measurements
from verifier.model import Noise, Outcome, Pair, Reason, Role, RunRecord, Verdict
from verifier.report import to_text, to_tree
from verifier.runstate import SESSION_JSON, SESSIONS, SessionFacts, SessionKeeper
from verifier.session import Progress, ProgressCallback
from verifier.verdict.case import Case, Rules, Want, next_step
from verifier.verdict.constants import FIRST_LIMIT, LAST_LIMIT, RULE_ID

REPORT_JSON: Final = "report.json"
REPORT_TEXT: Final = "report.txt"
MEASUREMENTS: Final = "measurements.json"
JUDGEMENT: Final = "judgement"
CONTROL_ONLY: Final = "control"

_MEASURABLE: Final = (
    Reason.IMPROVEMENT_CONFIRMED,
    Reason.NO_IMPROVEMENT,
    Reason.CLEARLY_WORSE,
    Reason.TOO_NOISY,
    Reason.MORE_PAIRS_NEEDED,
)
"""After these a candidate can be measured further: it runs, and nothing was found against it."""


# --- the session --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and the pairs that were run after it only because more were asked for."""

    verdict: Verdict
    more: tuple[Pair, ...] = ()


def facts_of(
    prepared: Prepared,
    files: Mapping[str, bytes],
    *,
    chain_id: int,
    ledger: Address,
    seed: bytes,
    kind: str = JUDGEMENT,
) -> SessionFacts:
    """What a session of these files is about, here and now."""
    materials = prepared.materials
    return SessionFacts(
        kind=kind,
        chain=str(chain_id),
        ledger=str(ledger).lower(),
        project=str(int(materials.project.id)),
        snapshot=str(materials.snapshot_root),
        benchmark=str(materials.benchmark_root),
        control=str(materials.control_root),
        candidate=candidate_digest(files) if files else "",
        hardware_class=prepared.machine.hardware_class,
        environment=prepared.environment.digest,
        rule=RULE_ID,
        seed=seed.hex(),
    )


def judge_session(
    prepared: Prepared,
    files: Mapping[str, bytes],
    *,
    noise: Noise,
    keeper: SessionKeeper,
    seed: bytes,
    runs: int,
    progress: ProgressCallback,
) -> Judged:
    """Begin or continue a judgement, and measure on until the candidate has run ``runs`` times.

    The verdict rests on the pairs up to the one that decided, whatever was run afterwards: measuring longer
    must not be another way to ask the rule.
    """
    limit = min(max(FIRST_LIMIT, runs), LAST_LIMIT)
    rules = prepared.contest.rules(limit)
    have = keeper.pairs()
    judged = have[: deciding(have, noise, rules)]
    keeper.put_aside(len(have))
    verdict = prepared.judge(
        Trial(
            files,
            noise,
            seed,
            run_folder=keeper.place,
            progress=_kept(keeper, progress),
            pairs=limit,
            earlier=judged,
        )
    )
    more = list(have[len(judged) :])
    if verdict.reason in _MEASURABLE:
        lab = _Lab(prepared, files, noise, seed, keeper.place, _kept(keeper, progress))
        if len(verdict.pairs) + len(more) < runs:
            message = f"The rule has what it wants; measuring on until the candidate has run {runs} times."
            progress(Progress(message, len(verdict.pairs) + len(more)))
            with prepared.turn("measuring a candidate"):
                while len(verdict.pairs) + len(more) < runs:
                    more.append(lab.pair(len(verdict.pairs) + len(more) + 1))
    return Judged(verdict, tuple(more))


def deciding(pairs: Sequence[Pair], noise: Noise, rules: Rules) -> int:
    """How many of these pairs the rule looks at: up to the first after which it wants no other pair. Pure."""
    for count in range(1, len(pairs)):
        if next_step(Case(noise=noise, rules=rules, pairs=tuple(pairs[:count]))) is not Want.PAIR:
            return count
    return len(pairs)


def measure_control(
    prepared: Prepared,
    *,
    noise: Noise | None,
    keeper: SessionKeeper,
    seed: bytes,
    runs: int,
    progress: ProgressCallback,
) -> tuple[RunRecord, ...]:
    """Run the control by itself until there are ``runs`` runs of it."""
    have = list(keeper.controls())
    keeper.put_aside(len(have), prefix="run")
    lab = _Lab(prepared, {}, noise, seed, keeper.place, _kept(keeper, progress))
    with prepared.turn("measuring the control"):
        while len(have) < runs:
            have.append(lab.run(f"run-{len(have) + 1:02d}", Role.CONTROL, len(have) + 1))
    return tuple(have)


@dataclass(frozen=True, slots=True)
class _Lab:
    """Runs programs to measure them, under the same conditions as a judgement."""

    prepared: Prepared
    files: Mapping[str, bytes]
    noise: Noise | None
    seed: bytes
    place: Path
    progress: ProgressCallback

    def pair(self, number: int) -> Pair:
        label = f"pair-{number:02d}"
        order = (Role.CONTROL, Role.CANDIDATE) if number % 2 else (Role.CANDIDATE, Role.CONTROL)
        runs = {role: self.run(label, role, number) for role in order}
        return Pair(runs[Role.CONTROL], runs[Role.CANDIDATE])

    def run(self, label: str, role: Role, number: int) -> RunRecord:
        self.progress(Progress(f"{label}: {role} starts.", number, role))
        control = self.prepared.materials.control_files
        record = self.prepared.runner.run(
            role,
            control if role is Role.CONTROL else self.files,
            run_folder=self.place / f"{label}-{role}",
            deadline_seconds=None if self.noise is None else self.prepared.deadline(self.noise).seconds,
            seed=self.seed,
        )
        score = "no model" if record.validation is None else f"{record.validation} bits per byte"
        self.progress(Progress(f"{label}: {role} ended ({record.ending}), {score}.", number, role, record))
        return record


def _kept(keeper: SessionKeeper, progress: ProgressCallback) -> ProgressCallback:
    """First on disk, then on the screen."""

    def both(event: Progress) -> None:
        keeper.keep(event)
        progress(event)

    return both


# --- the folder ---------------------------------------------------------------------------------------


def start_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Make the run folder and return the place of its session's runs.

    Args:
        files: The candidate's.

    Raises:
        UsageError: it holds another run or another candidate already, which is never overwritten.
    """
    if (folder / RUN_JSON).exists() or (folder / REPORT_JSON).exists() or (folder / MEASUREMENTS).exists():
        raise UsageError(
            f"{folder} already holds a run.",
            next_step="Choose another folder with --out, or remove this one.",
        )
    if (folder / SESSION_JSON).exists():
        raise UsageError(
            f"{folder} holds a session that was not finished.",
            next_step=f"Go on with it: armlx-chain reproduce --resume {folder}; or choose another --out.",
        )
    held = folder / CANDIDATE
    names = (path.relative_to(held).as_posix() for path in held.rglob("*") if not path.is_dir())
    strange = sorted(set(names) - files.keys())
    if files and strange:
        raise UsageError(
            f"{held} holds files that are not of this candidate, such as {strange[0][:80]!a}.",
            meaning="They would be taken for a part of it.",
            next_step="Choose another folder with --out, or remove them.",
        )
    runs = folder / SESSIONS
    runs.mkdir(parents=True, exist_ok=True)
    return runs


def write_candidate(folder: Path, files: Mapping[str, bytes]) -> None:
    """Keep the candidate's files before anything runs."""
    for name, data in files.items():
        path = folder / CANDIDATE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data)


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
    write_report(folder, verdict)
    write_file(folder / ENVIRONMENT, environment_record(prepared))
    write_candidate(folder, files)
    pair = median_pair(verdict)
    if pair is None:
        return False
    shutil.copyfile(pair.candidate.log_path, folder / RUN_LOG)
    shutil.copyfile(pair.control.log_path, folder / CONTROL_LOG)
    write_run_json(folder, _facts(folder, prepared, verdict, files, chain_id, ledger))
    return True


def write_report(folder: Path, verdict: Verdict) -> None:
    """``report.json`` and ``report.txt``."""
    tree = json.dumps(to_tree(verdict), indent=1, sort_keys=True) + "\n"
    write_file(folder / REPORT_JSON, tree.encode())
    write_file(folder / REPORT_TEXT, to_text(verdict).encode())


def write_measurements(folder: Path, measurements: Measurements) -> None:
    """``measurements.json``, canonical."""
    write_file(folder / MEASUREMENTS, canonical_json(measurements.tree()))


def write_control_folder(folder: Path, prepared: Prepared, controls: Sequence[RunRecord]) -> None:
    """What a measurement of the control alone leaves: its last scored log and where it was measured."""
    write_file(folder / ENVIRONMENT, environment_record(prepared))
    scored = [record for record in controls if record.validation is not None]
    if scored:
        shutil.copyfile(scored[-1].log_path, folder / CONTROL_LOG)


def environment_record(prepared: Prepared) -> bytes:
    """Where it was measured, as a canonical document."""
    return canonical_json(
        {
            "format": "armlx-environment/1",
            "hardwareClass": prepared.machine.hardware_class,
            "environmentDigest": prepared.environment.digest,
            "facts": dict(prepared.environment.facts),
            "state": public_state(sensors_here(prepared.machine.backend).read()),
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


def accepted_here(verdict: Verdict) -> str:
    """In one sentence: would this be accepted on this machine?"""
    match verdict.outcome:
        case Outcome.REPRODUCED:
            return "Would be accepted on this machine: yes, by the same rule that a validator applies."
        case Outcome.UNDECIDED:
            return f"Would be accepted on this machine: not as it stands; it is undecided ({verdict.reason})."
    return f"Would be accepted on this machine: no ({verdict.outcome}, {verdict.reason})."


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
