"""From records to verdicts: every outcome, every reason, and whose fault can never be whose."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from verdict_helpers import audits, candidate, control, noise, pair_of

from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.types import Address, ProposalId, Root
from verifier.model import Audit, AuditKind, Bpb, Ending, Outcome, Pair, Reason, Role, RunRecord, Verdict, bpb
from verifier.report import to_text, to_tree
from verifier.simulate import record
from verifier.verdict.case import Case, Rules, Want, next_step, passes
from verifier.verdict.constants import RULE_ID
from verifier.verdict.plain import WITHOUT_RUNS, CopyEvidence, judge_copy, without_runs
from verifier.verdict.words import WORDS

pytestmark = pytest.mark.unit

T = TypeVar("T")
REFUTING = {Reason.CAUSALITY_VIOLATED, Reason.VALIDATION_GAP, Reason.FORGED_MESSAGE}
LOOKS_AHEAD = audits(causality=False)
NO_GRAPH = [ending for ending in Ending if ending is not Ending.GRAPH]
ENDED = [ending for ending in NO_GRAPH if ending is not Ending.UNSUPPORTED]


def step(
    *pairs: Pair, repeats: tuple[RunRecord, ...] = (), rules: Rules | None = None, **more: object
) -> Verdict | Want:
    known = noise(**more)  # type: ignore[arg-type]
    return next_step(Case(noise=known, rules=rules or Rules(), pairs=pairs, repeats=repeats))


def verdict(*pairs: Pair, **more: object) -> Verdict:
    found = step(*pairs, **more)  # type: ignore[arg-type]
    assert isinstance(found, Verdict)
    return found


def ending(*pairs: Pair, **more: object) -> tuple[Outcome, Reason]:
    found = verdict(*pairs, **more)
    return found.outcome, found.reason


def cheating(**results: bool) -> Pair:
    return Pair(control(), candidate("1.5", checks=audits(**results)))


def test_nothing_measured_yet_wants_a_pair():
    assert step() is Want.PAIR
    assert step(pair_of("0.03")) is Want.PAIR


def test_four_pairs_of_three_s_are_reproduced_with_all_figures():
    found = verdict(*[pair_of("0.03")] * 4)
    assert (found.outcome, found.reason) == (Outcome.REPRODUCED, Reason.IMPROVEMENT_CONFIRMED)
    assert (found.mean_gain, found.lower_bound) == (bpb("0.03"), bpb("0.022928932"))
    assert (found.llr, found.minimum_gain, found.rule) == (8, bpb("0.02"), RULE_ID)
    assert found.gains == (bpb("0.03"),) * 4


def test_no_gain_is_unimproved():
    assert ending(*[pair_of("0")] * 3) == (Outcome.UNIMPROVED, Reason.NO_IMPROVEMENT)


def test_a_bad_first_pair_is_unimproved():
    assert ending(pair_of("-0.021")) == (Outcome.UNIMPROVED, Reason.CLEARLY_WORSE)


def test_a_gain_on_the_public_rows_only_is_no_gain():
    smuggled = Pair(control(), candidate("1.000000", fresh="2.000000"))
    assert ending(smuggled, smuggled, smuggled) == (Outcome.UNIMPROVED, Reason.NO_IMPROVEMENT)


def test_eight_pairs_without_a_decision_ask_for_more():
    assert ending(*[pair_of("0.015")] * 8) == (Outcome.UNDECIDED, Reason.MORE_PAIRS_NEEDED)


def test_twenty_four_pairs_without_a_decision_are_too_noisy():
    rules = Rules(pairs=24)
    assert step(*[pair_of("0.0125")] * 23, rules=rules) is Want.PAIR
    assert ending(*[pair_of("0.0125")] * 24, rules=rules) == (Outcome.UNDECIDED, Reason.TOO_NOISY)


def test_a_spread_beyond_its_bound_is_too_noisy():
    pairs = [pair_of(gain) for gain in ("0.04", "0.122", "0.022", "0.06")]
    assert step(*pairs) is Want.PAIR
    assert ending(*pairs, *pairs) == (Outcome.UNDECIDED, Reason.TOO_NOISY)


def test_the_disadvantage_of_an_earlier_control_is_taken_from_each_pair():
    rules = Rules(disadvantage=bpb("0.03"))
    assert ending(*[pair_of("0.03")] * 3, rules=rules) == (Outcome.UNIMPROVED, Reason.NO_IMPROVEMENT)


@pytest.mark.parametrize("how", ENDED)
def test_a_candidate_that_ends_without_a_model_beside_a_good_control_is_unimproved(how):
    pairs = (pair_of("0.05"), Pair(control(), candidate(None, ending=how)))
    assert ending(*pairs) == (Outcome.UNIMPROVED, Reason.RUN_WITHOUT_MODEL)


def test_crashing_on_bad_luck_does_not_turn_a_no_op_into_a_lottery():
    # Two lucky pairs, then the run that would have shown the truth is aborted by the candidate.
    pairs = (pair_of("0.05"), pair_of("0.05"), Pair(control(), candidate(None, ending=Ending.CRASH)))
    assert ending(*pairs)[0] is Outcome.UNIMPROVED


def test_an_unsupported_model_is_undecided_and_no_fault():
    found = verdict(Pair(control(), candidate(None, ending=Ending.UNSUPPORTED)))
    assert (found.outcome, found.reason) == (Outcome.UNDECIDED, Reason.UNSUPPORTED)


@pytest.mark.parametrize("how", NO_GRAPH)
@pytest.mark.parametrize("other", NO_GRAPH)
def test_a_failure_the_control_shares_voids_the_pair_and_twice_is_undecided(how, other):
    shared = Pair(control(None, ending=how), candidate(None, ending=other))
    assert step(shared) is Want.PAIR
    assert ending(shared, shared) == (Outcome.UNDECIDED, Reason.CONTROL_FAILED)


def test_a_missed_deadline_is_undecided_if_a_control_of_the_session_missed_its_own():
    missed = Pair(control(None, ending=Ending.DEADLINE), candidate("1.9"))
    late = Pair(control(), candidate(None, ending=Ending.DEADLINE))
    assert ending(late) == (Outcome.UNIMPROVED, Reason.RUN_WITHOUT_MODEL)
    assert ending(missed, late) == (Outcome.UNDECIDED, Reason.CONTROL_FAILED)


@pytest.mark.parametrize(
    "spoiled",
    [
        Pair(control(disturbed="the machine slept"), candidate("1.9")),
        Pair(control(), candidate("1.9", disturbed="the machine grew hot")),
        Pair(control("2.060001"), candidate("1.9")),
        Pair(control("1.939999"), candidate("1.9")),
    ],
)
def test_one_voided_pair_is_forgiven_and_two_are_not(spoiled):
    assert step(spoiled) is Want.PAIR
    found = verdict(spoiled, *[pair_of("0.03")] * 4)
    assert (found.outcome, found.voided, len(found.gains)) == (Outcome.REPRODUCED, (0,), 4)
    assert ending(spoiled, pair_of("0.03"), spoiled) == (Outcome.UNDECIDED, Reason.TOO_NOISY)


def test_a_control_at_the_edge_of_its_band_counts():
    assert verdict(*[pair_of("0.03", level="2.06")] * 4).voided == ()


def test_a_pair_is_voided_whatever_the_candidate_would_have_scored():
    for score in ("1.0", "3.0"):
        spoiled = Pair(control(disturbed="the machine slept"), candidate(score))
        assert step(spoiled) is Want.PAIR


def test_a_cheat_in_a_voided_pair_is_not_held_against_the_candidate():
    spoiled = Pair(control(disturbed="the machine slept"), candidate("1.0", checks=LOOKS_AHEAD))
    assert step(spoiled) is Want.PAIR


def test_the_band_of_another_control_than_the_snapshot_is_around_its_first_score():
    rules = Rules(control_is_baseline=False)
    first = pair_of("0.03", level="1.5")
    assert step(first, rules=rules) is Want.PAIR
    found = verdict(first, *[pair_of("0.03", level="1.55")] * 3, rules=rules)
    assert (found.outcome, found.voided) == (Outcome.REPRODUCED, ())
    drifted = step(first, pair_of("0.03", level="1.561"), pair_of("0.03", level="1.4"), rules=rules)
    assert isinstance(drifted, Verdict)
    assert drifted.reason is Reason.TOO_NOISY


def test_the_snapshot_must_make_its_usual_number_of_steps():
    usual = (100, 100, 101, 99, 100)

    def with_steps(count: int) -> Pair:
        return Pair(control(steps=count), candidate("1.97", steps=5))

    assert ending(with_steps(96), with_steps(104), steps=usual) == (Outcome.UNDECIDED, Reason.TOO_NOISY)
    assert step(with_steps(97), with_steps(103), steps=usual) is Want.PAIR


def test_steps_printed_by_another_control_decide_nothing():
    odd = Pair(control(steps=5), candidate("1.97"))
    assert step(odd, odd, steps=(100, 100, 100), rules=Rules(control_is_baseline=False)) is Want.PAIR


REFUTATIONS = [
    ({"causality": False}, Reason.CAUSALITY_VIOLATED),
    ({"fresh_gap": False}, Reason.VALIDATION_GAP),
    ({"channel": False}, Reason.FORGED_MESSAGE),
]


def checks_for(results: dict[str, bool]) -> tuple[Audit, ...]:
    return audits(**dict.fromkeys(results, True))


@pytest.mark.parametrize(("results", "reason"), REFUTATIONS)
def test_an_audit_failed_twice_beside_a_clean_control_is_refuted(results, reason):
    clean = checks_for(results)
    first = Pair(control(checks=clean), candidate("1.5", checks=audits(**results)))
    assert step(first) is Want.REPEAT
    again = (candidate("1.5", checks=audits(**results)), control(checks=clean))
    found = verdict(first, repeats=again)
    assert (found.outcome, found.reason) == (Outcome.REFUTED, reason)
    assert found.evidence["first-probes"] == "64"
    assert found.evidence["second-graph"] == "1" * 64


@pytest.mark.parametrize(("results", "reason"), REFUTATIONS)
def test_an_audit_that_does_not_fail_again_is_unrepeated(results, reason):
    clean = checks_for(results)
    first = Pair(control(checks=clean), candidate("1.5", checks=audits(**results)))
    bad = audits(**results)
    for again in (
        (candidate("1.5", checks=clean), control(checks=clean)),
        (candidate("1.5", checks=bad), control(checks=bad)),
        (candidate("1.5", checks=bad), control(checks=())),
        (candidate("1.5", checks=bad), control(None, ending=Ending.CRASH, checks=clean)),
        (candidate("1.5", checks=bad, disturbed="it slept"), control(checks=clean)),
        (candidate("1.5", checks=bad), control(checks=clean, disturbed="it slept")),
        (candidate(None, ending=Ending.DEADLINE, checks=bad), control(checks=clean)),
        (candidate("1.5", checks=bad),),
    ):
        assert ending(first, repeats=again) == (Outcome.UNDECIDED, Reason.UNREPEATED)


def test_another_audit_failing_in_the_second_run_is_no_repetition():
    first = cheating(causality=False)
    again = (candidate("1.5", checks=audits(fresh_gap=False)), control())
    assert ending(first, repeats=again) == (Outcome.UNDECIDED, Reason.UNREPEATED)


def test_an_uncalibrated_threshold_proves_nothing():
    assert ending(cheating(causality=False), calibrated=()) == (Outcome.UNDECIDED, Reason.UNCALIBRATED)
    only_gap = (AuditKind.FRESH_GAP,)
    assert ending(cheating(causality=False), calibrated=only_gap)[1] is Reason.UNCALIBRATED


def test_a_control_that_fails_the_audit_too_leaves_the_candidate_alone():
    both = Pair(control(checks=LOOKS_AHEAD), candidate("1.5", checks=LOOKS_AHEAD))
    assert ending(both) == (Outcome.UNDECIDED, Reason.CONTROL_FAILED)


@pytest.mark.parametrize("results", [{"causality": False}, {"fresh_gap": False}, {"channel": False}])
def test_a_control_that_fails_an_audit_judges_nobody_however_clean_the_candidate(results):
    broken = Pair(control(checks=audits(**results)), candidate("1.9"))
    assert ending(broken) == (Outcome.UNDECIDED, Reason.CONTROL_FAILED)


def test_a_control_that_was_not_audited_leaves_the_candidate_alone():
    bare = Pair(control(checks=()), candidate("1.5", checks=LOOKS_AHEAD))
    assert ending(bare) == (Outcome.UNDECIDED, Reason.CONTROL_FAILED)


def test_two_results_of_one_audit_that_contradict_each_other_pass_nothing():
    mixed = (*audits(), *LOOKS_AHEAD)
    assert not passes(control(checks=mixed), AuditKind.CAUSALITY)


@pytest.mark.parametrize(
    "how", [Ending.DEADLINE, Ending.CRASH, Ending.MEMORY, Ending.LOG_LIMIT, Ending.BAD_FRAME]
)
def test_a_failed_audit_of_a_run_without_a_model_is_not_believed(how):
    first = Pair(control(), candidate(None, ending=how, checks=LOOKS_AHEAD))
    assert ending(first) == (Outcome.UNIMPROVED, Reason.RUN_WITHOUT_MODEL)


@pytest.mark.parametrize("lacking", ["causality", "fresh-gap"])
def test_a_graph_that_was_not_audited_is_never_approved(lacking):
    left = tuple(audit for audit in audits() if audit.kind != lacking)
    for pair in (
        Pair(control(), candidate("1.9", checks=left)),
        Pair(control(checks=left), candidate("1.9")),
    ):
        assert ending(pair) == (Outcome.UNDECIDED, Reason.VERIFIER_FAULT)


def test_a_model_without_scores_is_the_verifiers_own_fault():
    for broken in (
        Pair(control(), replace(candidate(), fresh=None)),
        Pair(control(), replace(candidate(), validation=None)),
        Pair(replace(control(), fresh=None), candidate()),
        Pair(control(), replace(candidate(), validation=Bpb(Decimal("NaN")))),
    ):
        assert ending(broken) == (Outcome.UNDECIDED, Reason.VERIFIER_FAULT)


@pytest.mark.parametrize("reason", sorted(WITHOUT_RUNS))
def test_what_stops_a_judgement_before_it_starts_is_undecided(reason):
    found = without_runs(reason, "Because.", evidence={"what": "why"})
    assert (found.outcome, found.reason, found.pairs) == (Outcome.UNDECIDED, reason, ())


@pytest.mark.parametrize("reason", sorted(set(Reason) - WITHOUT_RUNS))
def test_a_reason_that_needs_measurements_cannot_be_claimed_without_them(reason):
    with pytest.raises(ValueError, match="without a run"):
        without_runs(reason, "Because.")


COPY = CopyEvidence(
    proposal=ProposalId(9),
    proposer=Address("0x" + "1" * 40),
    candidate_root=Root.zerog(b"\1" * 32),
    author=Address("0x" + "2" * 40),
    original=ProposalId(4),
    original_proposer=Address("0x" + "2" * 40),
    original_root=Root.zerog(b"\1" * 32),
    confirmed=True,
)


def test_an_earlier_miners_own_bundle_is_a_proven_copy():
    found = judge_copy(COPY)
    assert (found.outcome, found.reason) == (Outcome.REFUTED, Reason.COPIED)
    assert found.evidence["original"] == "4"


@pytest.mark.parametrize(
    "doubt",
    [
        {"confirmed": False},
        {"original": ProposalId(10)},
        {"author": COPY.proposer},
        {"author": Address("0x" + "3" * 40)},
        {"original_root": Root.zerog(b"\2" * 32)},
    ],
)
def test_a_copy_with_any_doubt_is_undecided(doubt):
    assert judge_copy(replace(COPY, **doubt)).outcome is Outcome.UNDECIDED


# --- properties over arbitrary records ------------------------------------------------------------------


def mostly(common: st.SearchStrategy[T], rare: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """Rarely the one, else the other: everything odd at once would leave nothing to decide."""
    return st.integers(0, 11).flatmap(lambda number: rare if number == 11 else common)


scores = mostly(
    st.sampled_from(["1.9", "1.95", "2.0"]).map(bpb), st.sampled_from([None, bpb("1.5"), bpb("2.5")])
)
odd_audits = st.lists(
    st.builds(Audit, st.sampled_from(list(AuditKind)), st.booleans(), st.just({"probes": "1"})), max_size=4
).map(tuple)
all_audits = audits(channel=True)
guilty_audits = st.sampled_from([audits(**{name: False}) for name in ("causality", "fresh_gap", "channel")])


def records(role: Role, checks: st.SearchStrategy[tuple[Audit, ...]]) -> st.SearchStrategy[RunRecord]:
    return st.builds(
        lambda how, validation, fresh, results, disturbed, steps: replace(
            record(role, ending=how, audits=results, disturbances=disturbed, steps=steps),
            validation=validation,
            fresh=fresh,
        ),
        mostly(st.just(Ending.GRAPH), st.sampled_from(list(Ending))),
        scores,
        scores,
        mostly(checks, odd_audits),
        mostly(st.just(()), st.just(("it slept",))),
        mostly(st.sampled_from([None, 100]), st.just(50)),
    )


controls = records(Role.CONTROL, st.just(all_audits))
candidates = records(Role.CANDIDATE, st.just(all_audits))
cheats = records(Role.CANDIDATE, guilty_audits)
cases = st.builds(
    Case,
    noise=st.builds(
        lambda kinds, steps: noise(calibrated=kinds, steps=steps),
        mostly(st.just(tuple(AuditKind)), st.sampled_from([(), (AuditKind.CAUSALITY,)])),
        st.sampled_from([(), (100, 101, 99)]),
    ),
    rules=st.builds(Rules, pairs=st.integers(1, 24), control_is_baseline=st.booleans()),
    pairs=st.lists(st.builds(Pair, controls, st.one_of(candidates, candidates, cheats)), max_size=6).map(
        tuple
    ),
    repeats=mostly(
        st.one_of(st.just(()), st.tuples(cheats, controls)), st.lists(candidates, max_size=3).map(tuple)
    ),
)


def fails(run: RunRecord, kind: AuditKind) -> bool:
    return any(audit.kind is kind and not audit.passed for audit in run.audits)


@settings(max_examples=300, deadline=None)
@given(cases)
def test_refuted_implies_the_short_list_a_clean_control_a_repetition_and_calibration(case):
    found = next_step(case)
    if not isinstance(found, Verdict) or found.outcome is not Outcome.REFUTED:
        return
    assert found.reason in REFUTING
    kind = AuditKind(found.evidence["audit"])
    assert kind in case.noise.calibrated_audits
    second, second_control = case.repeats
    assert fails(second, kind)
    assert passes(second_control, kind)
    assert second_control.ending is Ending.GRAPH
    believable = {Ending.GRAPH} | ({Ending.BAD_FRAME} if kind is AuditKind.CHANNEL else set())
    assert second.ending in believable
    guilty = [
        pair
        for index, pair in enumerate(case.pairs)
        if index not in found.voided and fails(pair.candidate, kind) and pair.candidate.ending in believable
    ]
    assert any(passes(pair.control, kind) and pair.control.ending is Ending.GRAPH for pair in guilty)
    runs = [guilty[0].control, guilty[0].candidate, second, second_control]
    assert not any(run.disturbances for run in runs)


@settings(max_examples=300, deadline=None)
@given(cases)
def test_no_case_ends_otherwise_than_in_a_verdict_or_a_wish_and_approval_needs_clean_graphs(case):
    found = next_step(case)
    if not isinstance(found, Verdict):
        assert found in (Want.PAIR, Want.REPEAT)
        return
    if found.outcome is Outcome.REPRODUCED:
        counted = [pair for index, pair in enumerate(case.pairs) if index not in found.voided]
        assert len(found.gains) >= 3
        assert len(found.voided) <= 1
        for pair in counted[: len(found.gains)]:
            for run in (pair.control, pair.candidate):
                assert run.ending is Ending.GRAPH
                assert passes(run, AuditKind.CAUSALITY)
                assert passes(run, AuditKind.FRESH_GAP)


@settings(max_examples=300, deadline=None)
@given(cases)
def test_without_a_failed_audit_nothing_is_ever_refuted(case):
    def honest(run: RunRecord) -> RunRecord:
        return replace(run, audits=tuple(replace(audit, passed=True) for audit in run.audits))

    pairs = tuple(Pair(honest(pair.control), honest(pair.candidate)) for pair in case.pairs)
    found = next_step(replace(case, pairs=pairs, repeats=tuple(map(honest, case.repeats))))
    assert not isinstance(found, Verdict) or found.outcome is not Outcome.REFUTED


def test_a_claim_of_any_size_is_no_part_of_a_case():
    """A shortfall against the claim can be no fault: the rule never sees what was claimed."""
    assert set(Case.__dataclass_fields__) == {"noise", "rules", "pairs", "repeats", "interrupted"}
    assert not any("claim" in name for name in Rules.__dataclass_fields__)


def outcome_of(case: Case) -> Outcome | None:
    found = next_step(case)
    return found.outcome if isinstance(found, Verdict) else None


@pytest.mark.parametrize("outcome", [*Outcome, None])
def test_the_arbitrary_cases_reach_every_outcome(outcome):
    """Else the properties above would hold of nothing."""
    search = settings(max_examples=20_000, deadline=None, database=None, phases=[Phase.generate])
    pairs = st.lists(
        st.builds(
            lambda gain, cheats: Pair(
                control(), candidate(str(Decimal(2) - gain), checks=LOOKS_AHEAD if cheats else audits())
            ),
            st.sampled_from([Decimal("0"), Decimal("0.05")]),
            st.booleans(),
        ),
        max_size=4,
    ).map(tuple)
    again = st.sampled_from([(), (candidate("1.5", checks=LOOKS_AHEAD), control())])
    small = st.builds(Case, noise=st.just(noise()), rules=st.just(Rules()), pairs=pairs, repeats=again)
    assert (
        outcome_of(find(small | cases, lambda case: outcome_of(case) is outcome, settings=search)) is outcome
    )


def guilty(**results: bool) -> Verdict:
    clean = audits(**dict.fromkeys(results, True))
    first = Pair(control(checks=clean), candidate("1.5", checks=audits(**results)))
    return verdict(first, repeats=(candidate("1.5", checks=audits(**results)), control(checks=clean)))


def every_kind_of_verdict() -> list[Verdict]:
    """One verdict for each reason, reached from measurements wherever the reason can be."""
    crashed = Pair(control(None, ending=Ending.CRASH), candidate("1.5"))
    unrepeated = (candidate("1.9"), control())
    return [
        verdict(*[pair_of("0.03")] * 4),
        verdict(*[pair_of("0")] * 3),
        verdict(pair_of("-0.5")),
        verdict(Pair(control(), candidate(None, ending=Ending.MEMORY))),
        verdict(Pair(control(), candidate(None, ending=Ending.UNSUPPORTED))),
        verdict(crashed, crashed),
        verdict(*[pair_of(gain) for gain in ("0.04", "0.122", "0.022", "0.06") * 2]),
        verdict(*[pair_of("0.015")] * 8),
        verdict(cheating(causality=False), calibrated=()),
        verdict(cheating(causality=False), repeats=unrepeated),
        verdict(Pair(control(checks=()), candidate("1.9"))),
        guilty(causality=False),
        guilty(fresh_gap=False),
        guilty(channel=False),
        judge_copy(COPY),
        *(without_runs(reason, "Because.") for reason in sorted(WITHOUT_RUNS)),
    ]


def test_every_outcome_and_every_reason_is_reached():
    found = every_kind_of_verdict()
    assert {one.reason for one in found} == set(Reason)
    assert {one.outcome for one in found} == set(Outcome)


def test_only_the_short_list_is_refuted():
    refuted = {one.reason for one in every_kind_of_verdict() if one.outcome is Outcome.REFUTED}
    assert refuted == REFUTING | {Reason.COPIED}


def test_every_verdict_has_a_report_in_text_and_as_canonical_json():
    for one in every_kind_of_verdict():
        tree = to_tree(one)
        assert parse_canonical(canonical_json(tree))["reason"] == one.reason.value
        text = to_text(one)
        assert one.outcome.value.upper() in text
        assert "Not proven" in text
        assert "What would change this verdict" in text
        assert "What to do next" in text
        assert (one.outcome is Outcome.REPRODUCED) == ("produced within the deadline" in text)


@pytest.mark.parametrize("reason", sorted(Reason))
def test_every_reason_says_what_it_means_what_to_do_and_what_would_change_it(reason):
    words = WORDS[reason]
    for sentence in (words.means, words.next_step, words.change):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert 8 < len(sentence) < 300
        assert sentence.isprintable()
    assert len({words.means, words.next_step, words.change}) == 3
    tree = next(to_tree(one) for one in every_kind_of_verdict() if one.reason is reason)
    assert (tree["means"], tree["next_step"], tree["would_change"]) == (
        words.means,
        words.next_step,
        words.change,
    )


def test_no_reason_that_may_be_the_verifiers_doing_blames_the_miner():
    for one in every_kind_of_verdict():
        if one.outcome is not Outcome.REFUTED:
            text = to_text(one).lower()
            assert not any(word in text for word in ("cheat", "fraud", "dishonest", "guilty"))


def test_a_refutation_shows_both_runs_both_controls_and_the_audits_figures():
    text = to_text(guilty(causality=False))
    for name in ("first-probes", "first-control-probes", "second-probes", "second-control-probes"):
        assert f"{name}: 64" in text
    assert "failed: causality on a candidate run (probes 64)" in text
    assert "passed: causality, 2 times" in text
