"""The nouns of a judgement: what a run yields and what a verdict is made of.

- A figure in bits per byte is a ``Decimal`` with nine digits after the point (``Bpb``), never a float on its
  way to the ledger.
- Who may be at fault is part of the type: an ``Ending`` that could be the validator's own never becomes
  ``refuted``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from enum import StrEnum
from pathlib import Path
from typing import NewType

from armlx_chain.types import Root

Bpb = NewType("Bpb", Decimal)
_QUANTUM = Decimal("1e-9")
_DIGITS = 330


def bpb(value: float | str | Decimal) -> Bpb:
    """Bits per byte, fixed to nine digits after the point.

    Raises:
        ValueError: if the value is not a finite number.
    """
    exact = Decimal(value)
    if not exact.is_finite():
        raise ValueError(f"{value} is no figure in bits per byte.")
    with localcontext() as context:
        context.prec = _DIGITS  # a model may be as wrong as a double allows
        return Bpb(exact.quantize(_QUANTUM, rounding=ROUND_HALF_EVEN))


class Role(StrEnum):
    """Which code a run executes."""

    CONTROL = "control"
    CANDIDATE = "candidate"
    BASELINE = "baseline"
    """The unmodified snapshot: the only source of deadlines and of noise."""


class Ending(StrEnum):
    """How a run ended. Only ``GRAPH`` gives a score."""

    GRAPH = "graph"
    DEADLINE = "deadline"
    CRASH = "crash"
    MEMORY = "memory"
    LOG_LIMIT = "log-limit"
    NO_GRAPH = "no-graph"
    """The program ended without handing over a model."""
    BAD_FRAME = "bad-frame"
    """What came over the channel was not a well-formed message."""
    UNSUPPORTED = "unsupported"
    """The model cannot be exported, uses primitives outside the list, or its graph is beyond the limits."""


class AuditKind(StrEnum):
    CAUSALITY = "causality"
    FRESH_GAP = "fresh-gap"
    CHANNEL = "channel"
    """Fails only on proof that the program itself wrote a message in the harness's name. A truncated,
    oversized or malformed message is ``Ending.BAD_FRAME`` and no audit at all."""


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit of one graph.

    Attributes:
        passed: Whether the graph is clean under this audit.
        figures: Numbers that show why, as text (``{"probes": "64", "violations": "12", …}``).
    """

    kind: AuditKind
    passed: bool
    figures: dict[str, str]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One execution under the harness, measured from outside.

    Attributes:
        role: Which code ran.
        ending: How it ended; scores exist only for ``Ending.GRAPH``.
        detail: One sentence for a person about the ending.
        validation: Trusted bits per byte on the pinned validation rows.
        fresh: The same on rows outside the benchmark.
        audits: Audits of the graph that counted.
        seconds_to_graph: On the session's outside clock, from start to the graph that counted.
        clock: ``wall`` or ``cpu``: what that clock counts.
        wall_seconds, cpu_seconds, peak_memory_bytes: of the whole process tree.
        printed_metric: What the program printed as its metric, if the protocol's rule finds one. Decides
            nothing.
        anomalies: Sentences worth a look (printed value differs from the returned one, …).
        log_path, log_sha256: The run log, byte for byte, and its digest.
        graph_sha256: Digest of the graph that counted.
        steps: Steps the log reports, if any. Decides nothing, except that the unmodified snapshot as control
            must make about as many steps as it did when this machine was calibrated.
        disturbances: What outside measurements say disturbed this run (the machine slept, grew hot, was busy
            with something else). One sentence each; any of them voids the pair, whatever it scored.
    """

    role: Role
    ending: Ending
    detail: str
    log_path: Path
    log_sha256: str
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    clock: str
    seconds_to_graph: float | None = None
    validation: Bpb | None = None
    fresh: Bpb | None = None
    audits: tuple[Audit, ...] = ()
    printed_metric: str | None = None
    steps: int | None = None
    anomalies: tuple[str, ...] = ()
    graph_sha256: str | None = None
    disturbances: tuple[str, ...] = ()


class Outcome(StrEnum):
    REPRODUCED = "reproduced"
    UNIMPROVED = "unimproved"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


class Reason(StrEnum):
    """Why a verdict is what it is. One deciding reason per verdict."""

    IMPROVEMENT_CONFIRMED = "improvement-confirmed"
    NO_IMPROVEMENT = "no-improvement"
    CLEARLY_WORSE = "clearly-worse"
    RUN_WITHOUT_MODEL = "run-without-model"
    CAUSALITY_VIOLATED = "causality-violated"
    VALIDATION_GAP = "validation-gap"
    FORGED_MESSAGE = "forged-message"
    COPIED = "copied"
    GATE = "gate"
    EVIDENCE = "evidence"
    UNSUPPORTED = "unsupported"
    CONTROL_UNAVAILABLE = "control-unavailable"
    CONTROL_FAILED = "control-failed"
    TOO_NOISY = "too-noisy"
    MORE_PAIRS_NEEDED = "more-pairs-needed"
    SEED_UNAVAILABLE = "seed-unavailable"
    VERIFIER_FAULT = "verifier-fault"
    UNREPEATED = "unrepeated"
    """An audit failed once and did not fail again when repeated."""
    UNCALIBRATED = "uncalibrated"
    """An audit failed whose threshold was never calibrated on this hardware class and environment."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The measured noise of a project on one hardware class and environment.

    Attributes:
        s: Upper 80 percent bound of the standard deviation of one run, in bits per byte.
        seed_spread: Standard deviation over baseline runs that differ only in the seed.
        runs: How many control runs the bound comes from.
        reference_seconds: Seconds to the graph of the unmodified snapshot, one figure per warm run.
        shortcut: ``None``, or the sentence that says in which way this measurement is weaker than the rule
            demands (the demonstration uses six runs).
        point: The plain standard deviation that ``s`` bounds. Shown, never used by the rule.
        scores: Validation bits per byte of every control run, in order.
        seed_scores: The same of the runs that differ only in the seed.
        control_mean: Mean of ``scores``: the centre of the band in which the snapshot as control must lie.
        steps: Steps of each control run, where the log reports them.
        calibrated_audits: Audits that were carried out, and passed, on every control run. Only these can
            lead to a refutation on this class.
        hardware_class, environment: What the measurement holds for; both must equal the session's.
    """

    s: Bpb
    seed_spread: Bpb
    runs: int
    reference_seconds: tuple[float, ...]
    shortcut: str | None = None
    point: Bpb | None = None
    scores: tuple[Bpb, ...] = ()
    seed_scores: tuple[Bpb, ...] = ()
    control_mean: Bpb | None = None
    steps: tuple[int, ...] = ()
    calibrated_audits: tuple[AuditKind, ...] = ()
    hardware_class: str = ""
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """One control and one candidate run, adjacent on one machine."""

    control: RunRecord
    candidate: RunRecord


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier found.

    Attributes:
        outcome, reason: The finding and its single deciding reason.
        explanation: A few sentences for a person.
        rule: Identifier and version of the rule that decided (``paired-sprt/2``).
        mean_gain: Mean of the unclipped paired differences, bits per byte; positive is better.
        lower_bound: L, the lower bound of the mean gain that enters the ledger.
        minimum_gain: m, the smallest gain the test is made to find.
        llr: The log-likelihood ratio at the end.
        pairs: All pairs, in order, the voided ones among them.
        voided: Positions in ``pairs`` (from 0) of those that do not count.
        gains: D of each pair that counts, in order: the smaller of validation and fresh gain.
        repeats: Further runs made to repeat a failed audit.
        evidence: Facts of the deciding reason.
        flags: Sentences worth a person's look (alike to other code, a no-op). They decide nothing.
    """

    outcome: Outcome
    reason: Reason
    explanation: str
    rule: str
    noise: Noise | None
    pairs: tuple[Pair, ...] = ()
    repeats: tuple[RunRecord, ...] = ()
    mean_gain: Bpb | None = None
    lower_bound: Bpb | None = None
    minimum_gain: Bpb | None = None
    llr: Decimal | None = None
    evidence: dict[str, str] = field(default_factory=dict)
    voided: tuple[int, ...] = ()
    gains: tuple[Bpb, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CandidateSource:
    """The replacement files of a candidate, by relative path, and the root of their bundle."""

    root: Root
    files: dict[str, bytes]
