"""A small world, walked completely: every ending, every set of audits, every repetition. Nothing raises, and
``refuted`` is reached by one path only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product

import pytest
from verdict_helpers import candidate, control, noise, pair_of

from verifier.model import Audit, AuditKind, Ending, Outcome, Pair, Reason, Role, RunRecord, Verdict
from verifier.verdict.case import Case, Rules, Want, next_step

pytestmark = pytest.mark.unit

Checks = tuple[Audit, ...]
KINDS = tuple(AuditKind)
EVERY_SET: tuple[Checks, ...] = tuple(
    tuple(Audit(kind, passed, {}) for kind, passed in zip(KINDS, results, strict=True) if passed is not None)
    for results in product((True, False, None), repeat=len(KINDS))
)
"""Each audit passed, failed or not made: 27 sets."""
CLEAN = tuple(Audit(kind, True, {}) for kind in KINDS)
NEARLY_CLEAN = (
    CLEAN,
    (),
    *(tuple(audit for audit in CLEAN if audit.kind is not kind) for kind in KINDS),
    *(tuple(Audit(kind, kind is not failed, {}) for kind in KINDS) for failed in KINDS),
)


def failing(kind: AuditKind) -> Checks:
    return tuple(Audit(each, each is not kind, {}) for each in KINDS)


REPEATS: tuple[tuple[RunRecord, ...], ...] = (
    (),
    *((candidate("1.5", checks=failing(kind)), control(checks=CLEAN)) for kind in KINDS),
    (candidate("1.5", checks=CLEAN), control(checks=CLEAN)),
    (candidate(None, ending=Ending.BAD_FRAME, checks=failing(AuditKind.CHANNEL)), control(checks=CLEAN)),
)


def fails(record: RunRecord, kind: AuditKind) -> bool:
    return any(audit.kind is kind and not audit.passed for audit in record.audits)


def clean(record: RunRecord, kind: AuditKind) -> bool:
    made = [audit.passed for audit in record.audits if audit.kind is kind]
    return record.ending is Ending.GRAPH and bool(made) and all(made)


def may_count(record: RunRecord, kind: AuditKind) -> bool:
    return record.ending is Ending.GRAPH or (kind is AuditKind.CHANNEL and record.ending is Ending.BAD_FRAME)


def deserves_refutation(pair: Pair, repeats: tuple[RunRecord, ...], known: tuple[AuditKind, ...]) -> bool:
    """The short list, read from the specification and not from the code."""
    if len(repeats) != 2 or any(fails(pair.control, kind) for kind in KINDS):
        return False
    second, second_control = repeats
    return any(
        kind in known
        and fails(pair.candidate, kind)
        and may_count(pair.candidate, kind)
        and clean(pair.control, kind)
        and fails(second, kind)
        and may_count(second, kind)
        and clean(second_control, kind)
        for kind in KINDS
    )


def world() -> Iterator[Pair]:
    for how, other, checks, others in product(Ending, Ending, NEARLY_CLEAN, EVERY_SET):
        yield Pair(
            control("2.0" if how is Ending.GRAPH else None, ending=how, checks=checks),
            candidate("1.5" if other is Ending.GRAPH else None, ending=other, checks=others),
        )


def test_every_pair_ends_in_a_verdict_or_a_wish_and_refuted_is_reached_by_one_path_only():
    known = noise()
    seen: Counter[Outcome | Want] = Counter()
    for pair in world():
        cheap = not any(fails(pair.candidate, kind) for kind in KINDS)
        for repeats in REPEATS[:1] if cheap else REPEATS:
            found = next_step(Case(noise=known, rules=Rules(), pairs=(pair,), repeats=repeats))
            what = found.outcome if isinstance(found, Verdict) else found
            seen[what] += 1
            refuted = what is Outcome.REFUTED
            assert refuted == deserves_refutation(pair, repeats, tuple(AuditKind))
            assert what is not Outcome.REPRODUCED
    assert set(seen) == {Outcome.REFUTED, Outcome.UNIMPROVED, Outcome.UNDECIDED, Want.PAIR, Want.REPEAT}
    assert sum(seen.values()) > 50_000


@pytest.mark.parametrize("calibrated", [(), *((kind,) for kind in KINDS)])
def test_without_calibration_of_that_very_audit_nothing_is_refuted(calibrated):
    known = noise(calibrated=calibrated)
    for others, repeats in product(EVERY_SET, REPEATS):
        for ending in (Ending.GRAPH, Ending.BAD_FRAME):
            score = "1.5" if ending is Ending.GRAPH else None
            pair = Pair(control(checks=CLEAN), candidate(score, ending=ending, checks=others))
            found = next_step(Case(noise=known, rules=Rules(), pairs=(pair,), repeats=repeats))
            refuted = isinstance(found, Verdict) and found.outcome is Outcome.REFUTED
            assert refuted == deserves_refutation(pair, repeats, calibrated)


@pytest.mark.parametrize("who", [Role.CONTROL, Role.CANDIDATE])
def test_a_disturbed_pair_is_voided_whatever_else_is_true_of_it(who):
    known = noise()
    for how, other, others in product(Ending, Ending, EVERY_SET):
        pair = Pair(
            control(ending=how, checks=CLEAN, disturbed="it slept" if who is Role.CONTROL else None),
            candidate(ending=other, checks=others, disturbed="it slept" if who is Role.CANDIDATE else None),
        )
        assert next_step(Case(noise=known, rules=Rules(), pairs=(pair,))) is Want.PAIR
        twice = next_step(Case(noise=known, rules=Rules(), pairs=(pair, pair)))
        assert isinstance(twice, Verdict)
        assert twice.outcome is Outcome.UNDECIDED


@pytest.mark.parametrize("voided", range(3))
@pytest.mark.parametrize("interrupted", range(3))
def test_voided_and_interrupted_pairs_count_together_and_one_is_allowed(voided, interrupted):
    spoiled = Pair(control(disturbed="it slept"), candidate("1.9"))
    pairs = (spoiled,) * voided + (pair_of("0.05"),) * 3
    found = next_step(Case(noise=noise(), rules=Rules(), pairs=pairs, interrupted=interrupted))
    assert isinstance(found, Verdict)
    if voided + interrupted <= 1:
        assert found.outcome is Outcome.REPRODUCED
    else:
        assert (found.outcome, found.reason) == (Outcome.UNDECIDED, Reason.TOO_NOISY)
        assert f"{voided + interrupted} pairs" in found.explanation


@pytest.mark.parametrize("how", [ending for ending in Ending if ending is not Ending.GRAPH])
def test_no_ending_without_a_model_is_ever_approved_however_good_the_other_pairs(how):
    good = (pair_of("0.05"),) * 2
    bad = Pair(control(checks=CLEAN), candidate(None, ending=how))
    for position in range(3):
        pairs = (*good[:position], bad, *good[position:], pair_of("0.05"))
        found = next_step(Case(noise=noise(), rules=Rules(), pairs=pairs))
        assert isinstance(found, Verdict)
        assert found.outcome in (Outcome.UNIMPROVED, Outcome.UNDECIDED)
