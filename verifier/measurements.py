"""What N runs say together: means, spreads, the gain over the control, secondary metrics.

The verdict rests on the rule alone; this is for the person who wants to know how good a candidate is. Pairs
that outside measurements voided are left out, as the rule leaves them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, Final

from armlx_chain.errors import MetricError
from armlx_chain.protocol.metric import MetricRule, extract_from_file, metric_rule
from armlx_chain.protocol.model import Protocol
from armlx_chain.types import ScaledScore
from verifier.model import Bpb, Pair, RunRecord, Verdict, bpb
from verifier.report import short
from verifier.verdict.rule import chained_score, pair_gain
from verifier.verdict.statistics import PRECISION, mean, standard_deviation

__all__ = ["Measurements", "Summary", "measure", "read_secondary", "secondary_rules", "summary_of"]

FORMAT: Final = "armlx-measurements/1"


@dataclass(frozen=True, slots=True)
class Summary:
    """Some figures of one kind.

    Attributes:
        spread: Standard deviation of one figure; ``None`` for fewer than two.
        error: Standard error of the mean; ``None`` for fewer than two.
    """

    count: int
    mean: Bpb
    spread: Bpb | None
    error: Bpb | None
    least: Bpb
    greatest: Bpb

    def tree(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "mean": str(self.mean),
            "spread": None if self.spread is None else str(self.spread),
            "standardError": None if self.error is None else str(self.error),
            "least": str(self.least),
            "greatest": str(self.greatest),
        }


def summary_of(figures: Sequence[Bpb]) -> Summary | None:
    """Mean, spread and range; ``None`` of nothing."""
    if not figures:
        return None
    spread = error = None
    if len(figures) > 1:
        with localcontext() as context:
            context.prec = PRECISION
            exact = standard_deviation(figures)
            spread, error = bpb(exact), bpb(exact / Decimal(len(figures)).sqrt())
    return Summary(len(figures), mean(figures), spread, error, min(figures), max(figures))


@dataclass(frozen=True, slots=True)
class Run:
    """One run's figures, with what its log states beside the metric."""

    label: str
    record: RunRecord
    counted: bool
    secondary: Mapping[str, str]

    def tree(self) -> dict[str, Any]:
        record = self.record
        return {
            "run": self.label,
            "role": record.role.value,
            "ending": record.ending.value,
            "counted": self.counted,
            "validation": None if record.validation is None else str(record.validation),
            "fresh": None if record.fresh is None else str(record.fresh),
            "printed": record.printed_metric,
            "secondary": dict(self.secondary),
            "clock": record.clock,
            "secondsToModel": None if record.seconds_to_graph is None else f"{record.seconds_to_graph:.3f}",
            "wallSeconds": f"{record.wall_seconds:.3f}",
            "cpuSeconds": f"{record.cpu_seconds:.3f}",
            "peakMemoryBytes": record.peak_memory_bytes,
            "logSha256": record.log_sha256,
        }


@dataclass(frozen=True, slots=True)
class Measurements:
    """All runs of a session together.

    Attributes:
        candidate, control: Of the trusted validation values.
        gain: Of the pairs' gains: the smaller of validation and fresh gain of each.
        secondary: Mean of each secondary metric over the candidate's runs that state it.
        chained: The chained score that the ledger would hold now, had it accepted the verdict's lower bound.
    """

    metric: str
    runs: tuple[Run, ...]
    candidate: Summary | None
    control: Summary | None
    gain: Summary | None
    secondary: Mapping[str, Decimal]
    current_best: ScaledScore
    chained: ScaledScore | None

    @property
    def memory_bytes(self) -> int:
        """Largest peak of the candidate's runs."""
        peaks = [run.record.peak_memory_bytes for run in self.runs if run.record.role.value == "candidate"]
        return max(peaks, default=0)

    def tree(self) -> dict[str, Any]:
        """Without floats, for canonical JSON."""
        sides = {"candidate": self.candidate, "control": self.control, "gain": self.gain}
        return {
            "format": FORMAT,
            "metric": self.metric,
            **{name: None if side is None else side.tree() for name, side in sides.items()},
            "secondary": {name: f"{value:f}" for name, value in self.secondary.items()},
            "currentBest": int(self.current_best),
            "chainedScore": None if self.chained is None else int(self.chained),
            "runs": [run.tree() for run in self.runs],
        }

    def lines(self) -> list[str]:
        """A small table for a person."""
        sides = {"candidate": self.candidate, "control": self.control, "gain": self.gain}
        known = {name: side for name, side in sides.items() if side is not None}
        if not known:
            return []
        lines = [f"{'':<10} {'runs':>4} {'mean':>10} {'spread':>10} {'error':>10} {'least':>10} {'most':>10}"]
        for name, side in known.items():
            cells = (side.mean, side.spread, side.error, side.least, side.greatest)
            lines.append(f"{name:<10} {side.count:>4} " + " ".join(f"{short(cell):>10}" for cell in cells))
        if self.secondary:
            stated = ", ".join(f"{name} {value:f}" for name, value in self.secondary.items())
            lines.append(f"The candidate's logs also state, on average: {stated}.")
        return lines


def measure(
    protocol: Protocol,
    current_best: ScaledScore,
    verdict: Verdict | None,
    more: Sequence[Pair] = (),
    controls: Sequence[RunRecord] = (),
    *,
    disadvantage: Decimal = Decimal(0),
) -> Measurements:
    """Put the runs of a session together.

    Args:
        verdict: Its pairs come first; ``None`` where nothing was judged.
        more: Pairs that were run after the verdict, only to measure.
        controls: Runs of the control by itself.
        disadvantage: See ``verifier.verdict.case.Rules``.
    """
    rules = secondary_rules(protocol)
    judged = () if verdict is None else verdict.pairs
    voided = () if verdict is None else verdict.voided
    gains: list[Bpb] = []
    runs = []
    for number, record in enumerate(controls, start=1):
        counted = not record.disturbances
        runs.append(Run(f"run-{number:02d}", record, counted, read_secondary(record.log_path, rules)))
    for number, pair in enumerate((*judged, *more), start=1):
        counted = number - 1 not in voided and not (pair.control.disturbances or pair.candidate.disturbances)
        for record in (pair.control, pair.candidate):
            runs.append(Run(f"pair-{number:02d}", record, counted, read_secondary(record.log_path, rules)))
        if counted and (gain := _gain(pair, disadvantage)) is not None:
            gains.append(gain)
    lower = None if verdict is None or verdict.outcome.value != "reproduced" else verdict.lower_bound
    return Measurements(
        metric=protocol.measurement.primary_metric.name,
        runs=tuple(runs),
        candidate=summary_of(_values(runs, "candidate")),
        control=summary_of(_values(runs, "control")),
        gain=summary_of(gains),
        secondary=_means(runs),
        current_best=current_best,
        chained=None if lower is None else chained_score(current_best, lower),
    )


def secondary_rules(protocol: Protocol) -> tuple[MetricRule, ...]:
    """The rules of the secondary metrics that this build can read."""
    rules = []
    for metric in protocol.measurement.secondary_metrics:
        try:
            rules.append(metric_rule(metric))
        except MetricError:
            continue  # read by something else than a pattern; which of them are is said by the field table
    return tuple(rules)


def read_secondary(log: Path, rules: Sequence[MetricRule]) -> dict[str, str]:
    """The secondary metrics that a log states, once each."""
    found: dict[str, str] = {}
    for rule in rules:
        try:
            with log.open("rb") as stream:
                found[rule.name] = extract_from_file(stream, rule).text
        except (MetricError, OSError):
            continue
    return found


def _gain(pair: Pair, disadvantage: Decimal) -> Bpb | None:
    control, candidate = pair.control, pair.candidate
    if None in (control.validation, control.fresh, candidate.validation, candidate.fresh):
        return None
    return pair_gain(_both(control), _both(candidate), disadvantage=disadvantage)


def _both(record: RunRecord) -> tuple[Bpb, Bpb]:
    if record.validation is None or record.fresh is None:
        raise RuntimeError("Scores are asked of a run that has none.")
    return record.validation, record.fresh


def _values(runs: Sequence[Run], role: str) -> list[Bpb]:
    return [
        run.record.validation
        for run in runs
        if run.counted and run.record.role.value == role and run.record.validation is not None
    ]


def _means(runs: Sequence[Run]) -> dict[str, Decimal]:
    stated: dict[str, list[Decimal]] = {}
    for run in runs:
        if run.record.role.value == "candidate" and run.counted:
            for name, text in run.secondary.items():
                stated.setdefault(name, []).append(Decimal(text))
    return {
        name: (sum(values, Decimal(0)) / len(values)).quantize(Decimal("0.001"))
        for name, values in stated.items()
    }
