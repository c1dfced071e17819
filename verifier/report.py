"""A verdict for machines and for people. Pure.

- The chances of a fresh session (``verifier.verdict.prospect``) and the interval of the gain are shown with
  it; neither decides anything.
- ``to_tree`` has no floats: figures are text, so the tree can be written as canonical JSON and signed.
- Text that came from a stranger (a log's metric, an ending's detail) is shown in ASCII and cut.
- Every report says what was *not* proven and what would change the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from verifier.model import Audit, AuditKind, Bpb, Noise, Outcome, Pair, RunRecord, Verdict
from verifier.verdict.constants import ACCEPT_AT, FIRST_LIMIT, LAST_LIMIT, MINIMUM_PAIRS, REJECT_AT
from verifier.verdict.prospect import Chances, Prospect, of_verdict
from verifier.verdict.statistics import mean
from verifier.verdict.words import FOUND, NOT_PROVEN, WORDS

_LIMITS: Final = {
    AuditKind.CAUSALITY: "largest-move-nats",
    AuditKind.FRESH_GAP: "z",
}
"""The figure by which the least clean of several passed audits is chosen for the text."""


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
        "prospect": _prospect_tree(of_verdict(verdict)),
        "accepted_here": verdict.outcome is Outcome.REPRODUCED,
        "limits": list(limits_of(verdict)),
        "means": WORDS[verdict.reason].means,
        "next_step": WORDS[verdict.reason].next_step,
        "would_change": WORDS[verdict.reason].change,
    }


def _prospect_tree(view: Prospect | None) -> dict[str, Any] | None:
    if view is None:
        return None
    return {
        "pairs": view.pairs,
        "gain_interval": {
            "low": str(view.gain.low),
            "high": str(view.gain.high),
            "confidence": str(view.gain.confidence),
            "formula": view.gain.formula,
        },
        "fresh_session": _chances_tree(view.fresh, FIRST_LIMIT),
        "fresh_session_continued": _chances_tree(view.continued, LAST_LIMIT),
        "more_pairs_expected": str(view.more_pairs),
    }


def _chances_tree(chances: Chances, limit: int) -> dict[str, Any]:
    return {
        "up_to_pairs": limit,
        "reproduced": str(chances.reproduced),
        "unimproved": str(chances.unimproved),
        "undecided": str(chances.undecided),
        "pairs_expected": str(chances.pairs),
    }


def limits_of(verdict: Verdict) -> tuple[str, str]:
    """What the verdict proves, and what no verdict of this rule proves."""
    return FOUND[verdict.outcome], NOT_PROVEN


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
    yield WORDS[verdict.reason].means
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
    yield from _prospect_lines(verdict)
    yield from _audit_lines(verdict)
    yield from (f"Worth a look, decides nothing: {plain(flag)}" for flag in verdict.flags)
    if verdict.outcome is Outcome.REFUTED:
        yield ""
        yield "Evidence:"
        yield from (f"  {name}: {plain(value, 200)}" for name, value in sorted(verdict.evidence.items()))
    yield ""
    yield from limits_of(verdict)
    yield f"What would change this verdict: {WORDS[verdict.reason].change}"
    yield f"What to do next: {WORDS[verdict.reason].next_step}"


def _prospect_lines(verdict: Verdict) -> Iterator[str]:
    view = of_verdict(verdict)
    accepted = "yes" if verdict.outcome is Outcome.REPRODUCED else "no"
    if view is None:
        if verdict.pairs:
            yield f"Accepted on this machine: {accepted}."
        return
    gain, fresh = view.gain, view.fresh
    yield (
        f"The true gain lies between {short(gain.low)} and {short(gain.high)} "
        f"({gain.confidence:.0%} interval, {gain.formula}, with s and n as above)."
    )
    yield (
        f"Accepted on this machine: {accepted}. A fresh session here would approve it with about "
        f"{_percent(fresh.reproduced)} percent, call it unimproved with {_percent(fresh.unimproved)} and "
        f"decide nothing with {_percent(fresh.undecided)}, in {fresh.pairs} pairs on average."
    )
    if view.more_pairs:
        yield (
            f"Continued to {LAST_LIMIT} pairs at most, this test is expected to take {view.more_pairs} more; "
            f"a fresh one of that length approves with about {_percent(view.continued.reproduced)} percent."
        )


def _percent(share: Decimal) -> str:
    """A chance in whole percent, never rounded to certainty."""
    whole = round(100 * share)
    if 0 < whole < 100:
        return str(whole)
    return "less than 1" if whole == 0 else "more than 99"


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
    made = [(record, audit) for record in records for audit in record.audits]
    failed = [(record, audit) for record, audit in made if not audit.passed]
    if made:
        yield f"Audits: {len(made)} carried out, {len(failed)} failed."
    for record, audit in failed:
        yield f"  failed: {audit.kind.value} on a {record.role.value} run ({_figures_of(audit)})"
    for kind in AuditKind:
        passed = [audit for record, audit in made if audit.kind is kind and audit.passed]
        if passed:
            worst = max(passed, key=lambda audit: _size(audit.figures.get(_LIMITS.get(kind, ""), "")))
            yield f"  passed: {kind.value}, {len(passed)} times, at the closest with {_figures_of(worst)}"
    yield from _oddities(records)


def _figures_of(audit: Audit) -> str:
    return ", ".join(f"{plain(name, 64)} {plain(value, 80)}" for name, value in audit.figures.items())


def _size(figure: str) -> Decimal:
    """A figure's number for comparing; what is none counts least."""
    try:
        number = Decimal(figure)
    except InvalidOperation:
        return Decimal(-1)
    return number if number.is_finite() else Decimal(-1)


def _oddities(records: Sequence[RunRecord]) -> Iterator[str]:
    for record in records:
        for text in (*record.anomalies, *record.disturbances):
            yield f"  note on a {record.role.value} run: {plain(text, 200)}"


def short(value: Decimal | None) -> str:
    """Six digits after the point, for people."""
    return "-" if value is None else f"{value:.6f}"
