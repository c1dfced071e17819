"""The next step of a case: a pure function from everything measured so far to a verdict or a wish.

- No clock, no file, no randomness: the same records always give the same answer, a year later too.
- Whatever could be the verifier's own fault ends in ``undecided``. ``refuted`` needs an audit on the short
  list that the candidate failed in two independent runs, that the control beside each of them passed, and
  that was calibrated on this class. Time, memory, crashes, broken frames and unsupported graphs are never
  refuted.
- A pair is voided by outside measurements and the control alone, before the candidate's score is looked at.

::

    case = Case(noise=noise, rules=Rules(), pairs=(...), repeats=())
    match next_step(case):
        case Verdict() as verdict: ...
        case Want.PAIR: ...      # run another pair and ask again
        case Want.REPEAT: ...    # run candidate and control once more, for the audit that failed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final

from verifier.model import (
    Audit,
    AuditKind,
    Bpb,
    Ending,
    Noise,
    Outcome,
    Pair,
    Reason,
    RunRecord,
    Verdict,
    bpb,
)
from verifier.verdict.constants import ALLOWED_VOIDS, FIRST_LIMIT, LAST_LIMIT, MINIMUM_GAIN, RULE_ID
from verifier.verdict.rule import Decision, State, Test, assess, pair_gain
from verifier.verdict.voiding import Band, control_failures, void_reason

REQUIRED_AUDITS: Final = (AuditKind.CAUSALITY, AuditKind.FRESH_GAP)
"""Every candidate graph that counts is probed and scored on fresh rows."""

_REFUTES: Final = {
    AuditKind.CHANNEL: (Reason.FORGED_MESSAGE, frozenset({Ending.GRAPH, Ending.BAD_FRAME})),
    AuditKind.CAUSALITY: (Reason.CAUSALITY_VIOLATED, frozenset({Ending.GRAPH})),
    AuditKind.FRESH_GAP: (Reason.VALIDATION_GAP, frozenset({Ending.GRAPH})),
}
"""The short list: which audit refutes, for which reason, and after which endings it can be believed."""

_MEANING: Final = {
    Reason.FORGED_MESSAGE: "the program wrote messages to the verifier in the harness's name",
    Reason.CAUSALITY_VIOLATED: "the model's predictions change when only later tokens change",
    Reason.VALIDATION_GAP: "the model knows the public validation rows far better than rows of the same kind",
}


class Want(StrEnum):
    """What must be run before the case can be decided."""

    PAIR = "pair"
    REPEAT = "repeat"


@dataclass(frozen=True, slots=True)
class Rules:
    """What may differ between two cases under the same rule.

    Attributes:
        pairs: Counted pairs after which the test ends undecided: 8, at most 24 on the same machine.
        project_minimum: The smallest gain the project pays for, bits per byte; can only raise m.
        disadvantage: Chained difference between the best on the ledger and an earlier control.
        control_is_baseline: The control is the unmodified snapshot, so the calibrated band holds for it.
    """

    pairs: int = FIRST_LIMIT
    project_minimum: Decimal = MINIMUM_GAIN
    disadvantage: Decimal = Decimal(0)
    control_is_baseline: bool = True


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that was measured so far.

    Attributes:
        repeats: Runs made because an audit failed: a candidate run, then a control run.
        interrupted: Pairs of earlier sessions that were begun and never ended; each counts as voided.
    """

    noise: Noise
    rules: Rules
    pairs: tuple[Pair, ...] = ()
    repeats: tuple[RunRecord, ...] = ()
    interrupted: int = 0


def next_step(case: Case) -> Verdict | Want:
    """The verdict, or what to run next."""
    test = Test.of(case.noise, project_minimum=case.rules.project_minimum)
    view = _View(case, test, _voids(case, test))
    if len(view.voids) + case.interrupted > ALLOWED_VOIDS:
        return view.too_many_voids()
    gains: list[Bpb] = []
    for index, pair in enumerate(case.pairs):
        if index in view.voids:
            continue
        found = view.look_at(pair)
        if found is not None:
            return found
        gains.append(view.gain(pair))
    state = assess(test, gains, limit=case.rules.pairs)
    if state.decision is Decision.CONTINUE:
        return Want.PAIR
    return view.decided(state, gains)


def voided(case: Case) -> int:
    """How many of the pairs do not count."""
    return len(_voids(case, Test.of(case.noise, project_minimum=case.rules.project_minimum)))


def failed_audits(record: RunRecord) -> list[Audit]:
    """The audits this run failed."""
    return [audit for audit in record.audits if not audit.passed]


def passes(record: RunRecord, kind: AuditKind) -> bool:
    """Whether the audit was carried out on this run, at least once, and every time with a clean result."""
    results = [audit.passed for audit in record.audits if audit.kind is kind]
    return bool(results) and all(results)


def _voids(case: Case, test: Test) -> dict[int, str]:
    band = Band.of(case.noise, test, case.pairs, control_is_baseline=case.rules.control_is_baseline)
    reasons = ((index, void_reason(pair, band)) for index, pair in enumerate(case.pairs))
    return {index: reason for index, reason in reasons if reason is not None}


@dataclass(frozen=True, slots=True)
class _View:
    """A case with its test and its voided pairs, and every verdict that can be reached from it."""

    case: Case
    test: Test
    voids: Mapping[int, str]

    def verdict(
        self, outcome: Outcome, reason: Reason, explanation: str, evidence: Mapping[str, str] | None = None
    ) -> Verdict:
        facts = {f"voided-pair-{index + 1}": text for index, text in self.voids.items()}
        return Verdict(
            outcome=outcome,
            reason=reason,
            explanation=explanation,
            rule=RULE_ID,
            noise=self.case.noise,
            pairs=self.case.pairs,
            repeats=self.case.repeats,
            minimum_gain=bpb(self.test.m),
            evidence=facts | dict(evidence or {}),
            voided=tuple(sorted(self.voids)),
        )

    def undecided(self, reason: Reason, explanation: str) -> Verdict:
        return self.verdict(Outcome.UNDECIDED, reason, explanation)

    def too_many_voids(self) -> Verdict:
        failed = any(self.case.pairs[index].control.ending is not Ending.GRAPH for index in self.voids)
        broken = self.case.interrupted
        cut = f"{broken} of them began and never ended. " if broken else ""
        return self.undecided(
            Reason.CONTROL_FAILED if failed else Reason.TOO_NOISY,
            f"{len(self.voids) + broken} pairs had to be voided by outside measurements, where one is "
            f"allowed, so this machine cannot judge the candidate now. {cut}{' '.join(self.voids.values())}",
        )

    def look_at(self, pair: Pair) -> Verdict | Want | None:
        """What this pair alone settles, if anything; ``None`` if its difference enters the test."""
        candidate, control = pair.candidate, pair.control
        if candidate.ending is Ending.UNSUPPORTED:
            return self.undecided(
                Reason.UNSUPPORTED,
                f"The candidate's model cannot be judged under this rule: {candidate.detail} This is final "
                "for the rule and no fault; the control beside it was judged.",
            )
        broken = failed_audits(control)
        if broken:
            return self.control_failed_audit(broken)
        failed = [audit.kind for audit in failed_audits(candidate) if _believable(candidate, audit.kind)]
        if failed:
            return self.audit_failed(pair, failed)
        if candidate.ending is not Ending.GRAPH:
            return self.without_graph(candidate)
        missing = _missing(control) or _missing(candidate)
        if missing:
            return self.undecided(
                Reason.VERIFIER_FAULT,
                f"A run handed over a model, but the verifier's record of it lacks {missing}.",
            )
        return None

    def control_failed_audit(self, broken: Sequence[Audit]) -> Verdict:
        names = ", ".join(sorted({audit.kind.value for audit in broken}))
        return self.undecided(
            Reason.CONTROL_FAILED,
            f"The control itself failed an audit ({names}): either the control is at fault or this verifier "
            "is, and in both cases the candidate cannot be judged against it.",
        )

    def audit_failed(self, pair: Pair, failed: Sequence[AuditKind]) -> Verdict | Want:
        """Refute only what the control passes, what was calibrated and what fails again."""
        names = ", ".join(sorted(set(failed)))
        clean = [kind for kind in _REFUTES if kind in failed and passes(pair.control, kind)]
        if not clean:
            return self.undecided(
                Reason.CONTROL_FAILED,
                f"The candidate failed an audit ({names}) that was not carried out on the control beside it.",
            )
        known = [kind for kind in clean if kind in self.case.noise.calibrated_audits]
        if not known:
            return self.undecided(
                Reason.UNCALIBRATED,
                f"The candidate failed an audit ({names}) whose threshold was never calibrated on this "
                "hardware class and environment. That proves nothing; it is not approved either.",
            )
        if not self.case.repeats:
            return Want.REPEAT
        again = [kind for kind in known if _fails_again(self.case.repeats, kind)]
        if not again:
            return self.undecided(
                Reason.UNREPEATED,
                f"The candidate failed an audit ({names}) once, and a second independent run did not "
                "confirm it.",
            )
        return self.refuted(pair, again[0])

    def refuted(self, pair: Pair, kind: AuditKind) -> Verdict:
        reason = _REFUTES[kind][0]
        second, second_control = self.case.repeats
        runs = {
            "first": pair.candidate,
            "first-control": pair.control,
            "second": second,
            "second-control": second_control,
        }
        evidence = {"audit": kind.value}
        for name, record in runs.items():
            evidence |= _audit_facts(name, record, kind)
        text = (
            f"In two independent runs {_MEANING[reason]}; the control passed the same audit beside each of "
            "them, and its threshold is calibrated on this hardware class and environment."
        )
        return self.verdict(Outcome.REFUTED, reason, text, evidence)

    def without_graph(self, candidate: RunRecord) -> Verdict:
        if candidate.ending is Ending.DEADLINE and control_failures(self.case.pairs):
            return self.undecided(
                Reason.CONTROL_FAILED,
                "The candidate had no model ready by the deadline, but neither had a control of this "
                "session: the machine may be too slow today.",
            )
        return self.verdict(
            Outcome.UNIMPROVED,
            Reason.RUN_WITHOUT_MODEL,
            f"A run of the candidate ended without a model ({candidate.ending}), and the control beside it "
            f"did not: {candidate.detail}",
            {"ending": candidate.ending.value},
        )

    def gain(self, pair: Pair) -> Bpb:
        disadvantage = self.case.rules.disadvantage
        return pair_gain(_scores(pair.control), _scores(pair.candidate), disadvantage=disadvantage)

    def decided(self, state: State, gains: Sequence[Bpb]) -> Verdict:
        outcome, reason, text = self.words(state)
        evidence = {}
        if state.spread is not None and state.spread_bound is not None:
            evidence = {"spread": str(state.spread), "spread-bound": str(state.spread_bound)}
        return replace(
            self.verdict(outcome, reason, text, evidence),
            mean_gain=state.mean_gain,
            lower_bound=state.lower_bound,
            llr=state.llr,
            gains=tuple(gains[: state.used]),
        )

    def words(self, state: State) -> tuple[Outcome, Reason, str]:
        gain = f"a mean gain of {state.mean_gain} bits per byte over {state.used} pairs"
        if state.decision is Decision.ACCEPT:
            text = (
                f"Better than the control on this machine: {gain}, with {state.lower_bound} as lower bound."
            )
            return Outcome.REPRODUCED, Reason.IMPROVEMENT_CONFIRMED, text
        if state.decision is Decision.REJECT:
            text = f"No improvement of {self.test.m} bits per byte or more: {gain}."
            return Outcome.UNIMPROVED, Reason.NO_IMPROVEMENT, text
        if state.decision is Decision.CLEARLY_WORSE:
            text = f"The first pair is worse than the control by more than the noise explains: {gain}."
            return Outcome.UNIMPROVED, Reason.CLEARLY_WORSE, text
        if state.decision is Decision.TOO_NOISY:
            text = (
                f"The differences spread by {state.spread} bits per byte, more than the {state.spread_bound} "
                "that this machine's calibrated noise explains."
            )
            return Outcome.UNDECIDED, Reason.TOO_NOISY, text
        if state.used >= LAST_LIMIT:
            text = f"{state.used} pairs, the most the rule allows, did not decide: {gain}."
            return Outcome.UNDECIDED, Reason.TOO_NOISY, text
        text = f"{state.used} pairs did not decide: {gain}. The same machine may continue the same test."
        return Outcome.UNDECIDED, Reason.MORE_PAIRS_NEEDED, text


def _believable(record: RunRecord, kind: AuditKind) -> bool:
    return record.ending in _REFUTES[kind][1]


def _fails_again(repeats: Sequence[RunRecord], kind: AuditKind) -> bool:
    if len(repeats) != 2 or any(record.disturbances for record in repeats):
        return False
    candidate, control = repeats
    return (
        _believable(candidate, kind)
        and any(audit.kind is kind for audit in failed_audits(candidate))
        and control.ending is Ending.GRAPH
        and passes(control, kind)
    )


def _audit_facts(name: str, record: RunRecord, kind: AuditKind) -> dict[str, str]:
    facts = {"graph": record.graph_sha256} if record.graph_sha256 else {}
    for audit in record.audits:
        if audit.kind is kind:
            facts |= audit.figures
    return {f"{name}-{key}": value for key, value in facts.items()}


def _missing(record: RunRecord) -> str | None:
    if record.validation is None or not record.validation.is_finite():
        return "a score on validation rows"
    if record.fresh is None or not record.fresh.is_finite():
        return "a score on fresh rows"
    for kind in REQUIRED_AUDITS:
        if not passes(record, kind):
            return f"the {kind} audit"
    return None


def _scores(record: RunRecord) -> tuple[Bpb, Bpb]:
    if record.validation is None or record.fresh is None:
        raise RuntimeError("Scores are asked of a run that has none.")
    return record.validation, record.fresh
