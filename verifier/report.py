"""A verdict for machines and for people. Pure.

- ``to_tree`` has no floats: figures are text, so the tree can be written as canonical JSON and signed.
- Text that came from a stranger (a log's metric, an ending's detail) is shown in ASCII and cut.
- Every report says what was *not* proven and what would change the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from verifier.model import Audit, Bpb, Noise, Outcome, Pair, Reason, RunRecord, Verdict
from verifier.verdict.constants import ACCEPT_AT, MINIMUM_PAIRS, REJECT_AT
from verifier.verdict.statistics import mean

_NOT_PROVEN: Final = (
    "Not proven: that the miner ran anything, that the result carries over to other hardware, that the idea "
    "is new, that no prior knowledge below the size limit is in the source, that this verifier is honest."
)
_FOUND: Final = {
    Outcome.REPRODUCED: (
        "Proven: code with this root, given only the training data, produced within the deadline on this "
        "machine a fixed function of a bounded window of tokens, causal but for a bounded fraction of "
        "positions, whose normalised scores on the pinned rows and on fresh rows are the ones shown."
    ),
    Outcome.UNIMPROVED: (
        "Found: on this machine the candidate is not better than the control by more than noise. That is no "
        "fault of the miner's, and nothing is sent."
    ),
    Outcome.REFUTED: "Proven: the fault named above, twice and independently, and nothing else.",
    Outcome.UNDECIDED: "Proven: nothing about the candidate. Nothing is sent, and others may try.",
}

_ROOM_FOR_CHANGE: Final = {
    Reason.IMPROVEMENT_CONFIRMED: "A control or current best that moves before settlement supersedes it.",
    Reason.NO_IMPROVEMENT: "Only a changed candidate: its gain is below the smallest one the test looks for.",
    Reason.CLEARLY_WORSE: "Only a changed candidate.",
    Reason.RUN_WITHOUT_MODEL: "A candidate that hands over its model in every run, within the deadline.",
    Reason.CAUSALITY_VIOLATED: "Evidence that one of the two failed audits or their controls was in error.",
    Reason.VALIDATION_GAP: "Evidence that one of the two failed audits or their controls was in error.",
    Reason.FORGED_MESSAGE: "Evidence that one of the two failed audits or their controls was in error.",
    Reason.COPIED: "Proof that the other proposal was not earlier, or its bundle not this one.",
    Reason.GATE: "A candidate that keeps to the mutable surface and the source rules.",
    Reason.EVIDENCE: "Complete evidence that matches its digests and signature.",
    Reason.UNSUPPORTED: "A model that can be exported as a graph of the supported primitives.",
    Reason.CONTROL_UNAVAILABLE: "A provable copy of the current best's code.",
    Reason.CONTROL_FAILED: "A machine on which the control runs and passes its audits.",
    Reason.TOO_NOISY: "A quieter machine, or a new calibration.",
    Reason.MORE_PAIRS_NEEDED: "More pairs on this machine, up to 24.",
    Reason.SEED_UNAVAILABLE: "The block from whose hash the rows are drawn, once it is final.",
    Reason.VERIFIER_FAULT: "A repaired verifier.",
    Reason.UNREPEATED: "A new session: the audit failed in one run and not in another.",
    Reason.UNCALIBRATED: "A calibration of the audit's threshold on this hardware class.",
}


def to_tree(verdict: Verdict) -> dict[str, Any]:
    """The verdict as text, integers, lists and mappings."""
    control, candidate = absolute_means(verdict)
    return {
        "rule": verdict.rule,
        "outcome": verdict.outcome.value,
        "reason": verdict.reason.value,
        "explanation": verdict.explanation,
        "evidence": dict(sorted(verdict.evidence.items())),
        "flags": [plain(flag) for flag in verdict.flags],
        "noise": None if verdict.noise is None else _noise_tree(verdict.noise),
        "test": {
            "minimum_gain": _figure(verdict.minimum_gain),
            "accept_at": str(ACCEPT_AT),
            "reject_at": str(REJECT_AT),
            "minimum_pairs": MINIMUM_PAIRS,
        },
        "gains": [str(gain) for gain in verdict.gains],
        "mean_gain": _figure(verdict.mean_gain),
        "lower_bound": _figure(verdict.lower_bound),
        "llr": _figure(verdict.llr),
        "control_mean": _figure(control),
        "candidate_mean": _figure(candidate),
        "pairs": [_pair_tree(verdict, index, pair) for index, pair in enumerate(verdict.pairs)],
        "repeats": [_run_tree(record) for record in verdict.repeats],
        "limits": list(limits_of(verdict)),
        "would_change": _ROOM_FOR_CHANGE[verdict.reason],
    }


def limits_of(verdict: Verdict) -> tuple[str, str]:
    """What the verdict proves, and what no verdict of this rule proves."""
    return _FOUND[verdict.outcome], _NOT_PROVEN


def absolute_means(verdict: Verdict) -> tuple[Bpb | None, Bpb | None]:
    """Mean validation bits per byte of control and candidate over the pairs that count."""
    counted = [pair for index, pair in enumerate(verdict.pairs) if index not in verdict.voided]
    control = [pair.control.validation for pair in counted if pair.control.validation is not None]
    candidate = [pair.candidate.validation for pair in counted if pair.candidate.validation is not None]
    return (mean(control) if control else None, mean(candidate) if candidate else None)


def _figure(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _noise_tree(noise: Noise) -> dict[str, Any]:
    return {
        "s": str(noise.s),
        "point_estimate": _figure(noise.point),
        "seed_spread": str(noise.seed_spread),
        "runs": noise.runs,
        "scores": [str(score) for score in noise.scores],
        "seed_scores": [str(score) for score in noise.seed_scores],
        "reference_seconds": [_seconds(value) for value in noise.reference_seconds],
        "calibrated_audits": [kind.value for kind in noise.calibrated_audits],
        "hardware_class": noise.hardware_class,
        "environment": noise.environment,
        "shortcut": noise.shortcut,
    }


def _pair_tree(verdict: Verdict, index: int, pair: Pair) -> dict[str, Any]:
    return {
        "number": index + 1,
        "voided": index in verdict.voided,
        "control": _run_tree(pair.control),
        "candidate": _run_tree(pair.candidate),
    }


def _run_tree(record: RunRecord) -> dict[str, Any]:
    return {
        "role": record.role.value,
        "ending": record.ending.value,
        "detail": plain(record.detail),
        "validation": _figure(record.validation),
        "fresh": _figure(record.fresh),
        "audits": [_audit_tree(audit) for audit in record.audits],
        "clock": record.clock,
        "seconds_to_graph": _seconds(record.seconds_to_graph),
        "wall_seconds": _seconds(record.wall_seconds),
        "cpu_seconds": _seconds(record.cpu_seconds),
        "peak_memory_bytes": record.peak_memory_bytes,
        "printed_metric": None if record.printed_metric is None else plain(record.printed_metric, 64),
        "steps": None if record.steps is None else str(record.steps),
        "anomalies": [plain(text) for text in record.anomalies],
        "disturbances": [plain(text) for text in record.disturbances],
        "log_sha256": record.log_sha256,
        "graph_sha256": record.graph_sha256,
    }


def _audit_tree(audit: Audit) -> dict[str, Any]:
    figures = {plain(name, 64): plain(value, 200) for name, value in sorted(audit.figures.items())}
    return {"kind": audit.kind.value, "passed": audit.passed, "figures": figures}


def plain(text: str, limit: int = 500) -> str:
    """A stranger's text without anything that moves a cursor, and of bounded length."""
    printable = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"


def to_text(verdict: Verdict) -> str:
    """A report for a person, some thirty lines."""
    return "\n".join(_lines(verdict)) + "\n"


def _lines(verdict: Verdict) -> Iterator[str]:
    yield f"Verdict: {verdict.outcome.value.upper()} ({verdict.reason.value})"
    yield plain(verdict.explanation, 1000)
    yield ""
    yield f"Rule {verdict.rule}: accept at llr {ACCEPT_AT} and {MINIMUM_PAIRS} pairs, refuse at {REJECT_AT}."
    if verdict.noise is not None:
        yield from _noise_lines(verdict.noise)
    if verdict.minimum_gain is not None:
        yield f"Smallest gain the test looks for: m = {short(verdict.minimum_gain)} bits per byte."
    if verdict.pairs:
        yield ""
        yield from _pair_lines(verdict)
    if verdict.mean_gain is not None and verdict.llr is not None:
        yield (
            f"Mean gain {short(verdict.mean_gain)}, lower bound {short(verdict.lower_bound)}, "
            f"llr {short(verdict.llr)} after {len(verdict.gains)} pairs."
        )
    yield from _audit_lines(verdict)
    yield from (f"Worth a look, decides nothing: {plain(flag)}" for flag in verdict.flags)
    if verdict.outcome is Outcome.REFUTED:
        yield ""
        yield "Evidence:"
        yield from (f"  {name}: {plain(value, 200)}" for name, value in sorted(verdict.evidence.items()))
    yield ""
    yield from limits_of(verdict)
    yield f"What would change this verdict: {_ROOM_FOR_CHANGE[verdict.reason]}"


def _noise_lines(noise: Noise) -> Iterator[str]:
    if noise.hardware_class:
        yield f"Machine: {noise.hardware_class}; environment {noise.environment[:16]}."
    yield (
        f"Noise: s = {short(noise.s)} (upper 80 percent bound from {noise.runs} control runs), seed spread "
        f"{short(noise.seed_spread)}, bits per byte."
    )
    if noise.shortcut:
        yield f"Weaker than the rule demands: {noise.shortcut}"


def _pair_lines(verdict: Verdict) -> Iterator[str]:
    yield f"{'pair':>4}  {'control':>20}  {'candidate':>20}  {'D':>10}"
    yield f"{'':>4}  {'validation':>10} {'fresh':>9}  {'validation':>10} {'fresh':>9}"
    gains = iter(verdict.gains)
    for index, pair in enumerate(verdict.pairs):
        voided = index in verdict.voided
        gain = "voided" if voided else short(next(gains, None))
        yield f"{index + 1:>4}  {_cells(pair.control)}  {_cells(pair.candidate)}  {gain:>10}"
    for record in verdict.repeats:
        yield f"repeat of the {record.role.value}: {_cells(record)}"


def _cells(record: RunRecord) -> str:
    if record.validation is None:
        return f"{record.ending.value:>20}"
    return f"{short(record.validation):>10} {short(record.fresh):>9}"


def _audit_lines(verdict: Verdict) -> Iterator[str]:
    records = [run for pair in verdict.pairs for run in (pair.control, pair.candidate)] + list(
        verdict.repeats
    )
    total = sum(len(record.audits) for record in records)
    failed = [(record, audit) for record in records for audit in record.audits if not audit.passed]
    if total:
        yield f"Audits: {total} carried out, {len(failed)} failed."
    for record, audit in failed:
        figures = ", ".join(f"{plain(name, 64)} {plain(value, 80)}" for name, value in audit.figures.items())
        yield f"  failed: {audit.kind.value} on a {record.role.value} run ({figures})"
    yield from _oddities(records)


def _oddities(records: Sequence[RunRecord]) -> Iterator[str]:
    for record in records:
        for text in (*record.anomalies, *record.disturbances):
            yield f"  note on a {record.role.value} run: {plain(text, 200)}"


def short(value: Decimal | None) -> str:
    """Six digits after the point, for people."""
    return "-" if value is None else f"{value:.6f}"
