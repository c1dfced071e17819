"""A validator that doctors its records and recomputes every layer over them: what a replay still finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.errors import FormatError
from armlx_chain.formats.attestation import SignedAttestation
from armlx_chain.formats.canonical import canonical_json
from armlx_chain.formats.verdictpack import VerdictBundle, VerdictPack, parse_report
from armlx_chain.protocol.score import chained_score
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import ProjectId
from tests.daemon.verdicts import CONTROL, VALIDATOR, Bench, Desk, dossier_of
from verifier.model import Outcome, Reason, Verdict
from verifier.replay import BUNDLE_FACT, BUNDLE_SIZE_FACT, Holds, Replayed, replay
from verifier.replayrule import measured, replay_rule
from verifier.report import absolute_means, to_tree
from verifier.samples import samples_of, statable
from verifier.verdict.plain import without_runs

pytestmark = pytest.mark.unit

Change = Callable[[VerdictBundle], VerdictBundle]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> VerdictPack:
    return VerdictPack.parse(Desk(tmp_path_factory.mktemp("signed")).signed())


def held(found: Replayed, holds: Holds) -> set[str]:
    return {check.name for check in found.checks if check.holds is holds}


def forged(pack: VerdictPack, change: Change, facts: Mapping[str, str] | None = None) -> Replayed:
    """The pack of a validator whose report and attestation follow from records that it doctored."""
    bundle = change(VerdictBundle.parse(pack.bundle))
    stated = parse_report(pack.report)
    told = replay_rule(bundle, measured(bundle), stated).verdict
    data = bundle.encode()
    named = {BUNDLE_FACT: str(root_of(data)), BUNDLE_SIZE_FACT: str(len(data))}
    evidence = {**stated["evidence"], **(facts or {}), **named}
    report = {**stated, "evidence": evidence} if told is None else to_tree(replace(told, evidence=evidence))
    written = canonical_json(report)
    attestation = SignedAttestation.parse(pack.attestation or b"").attestation
    attestation = replace(attestation, report_root=root_of(written))
    if told is not None:
        attestation = replace(attestation, **_figures(told, attestation.current_best))
    signature = VALIDATOR._sign_digest(attestation.digest())
    found = replay(VerdictPack(written, data, SignedAttestation(attestation, signature).encode()))
    assert found.is_signed
    return found


def _figures(told: Verdict, best: Any) -> dict[str, Any]:
    control, candidate = absolute_means(told)
    samples = samples_of(told)
    return {
        "samples": samples,
        "pairs": len(samples),
        "mean_control": statable(control),
        "mean_candidate": statable(candidate),
        "mean_gain": told.mean_gain,
        "lower_bound": told.lower_bound,
        "verified_score": chained_score(best, told.lower_bound or Decimal(0)),
        "noise": None if told.noise is None else told.noise.s,
    }


def _case(bundle: VerdictBundle, **changes: Any) -> VerdictBundle:
    changed = replace(bundle, case=replace(bundle.case, **changes))
    kept = {log.name for log in changed.case.logs if log.why is None}
    return replace(changed, logs={name: data for name, data in changed.logs.items() if name in kept})


def _noise(bundle: VerdictBundle, **changes: Any) -> VerdictBundle:
    return _case(bundle, noise={**(bundle.case.noise or {}), **changes})


def _rules(bundle: VerdictBundle, **changes: Any) -> VerdictBundle:
    assert bundle.case.rules is not None
    return _case(bundle, rules=replace(bundle.case.rules, **changes))


def _about(bundle: VerdictBundle, **changes: Any) -> VerdictBundle:
    return _case(bundle, about=replace(bundle.case.about, **changes))


def _handicap(bundle: VerdictBundle) -> VerdictBundle:
    """A no-op, to which a control that is worse than nothing gives a gain."""
    even = tuple(
        {**p, "candidate": {**p["candidate"], **{k: p["control"][k] for k in ("validation", "fresh")}}}
        for p in bundle.case.pairs
    )
    return _rules(_case(bundle, pairs=even), disadvantage=Decimal("-0.2"))


def _copied_pair(bundle: VerdictBundle, into: int) -> VerdictBundle:
    """The first pair once more: in the place of another, or behind the last."""
    pairs, logs, files = list(bundle.case.pairs), list(bundle.case.logs), dict(bundle.logs)
    pairs[into : into + 1] = [pairs[0]]
    entries = [replace(log, name=log.name.replace("01", f"{into + 1:02d}")) for log in logs[:2]]
    logs[2 * into : 2 * into + 2] = entries
    files |= {new.name: files[old.name] for new, old in zip(entries, bundle.case.logs, strict=False)}
    return _case(replace(bundle, logs=files), pairs=tuple(pairs), logs=tuple(logs))


def _without_papers(bundle: VerdictBundle) -> VerdictBundle:
    logs = tuple(replace(log, why="missing") for log in bundle.case.logs)
    return replace(_case(bundle, logs=logs), candidate=None)


DOCTORED: dict[str, tuple[Change, str]] = {
    "a-handicap-in-its-favour": (_handicap, "rule"),
    "more-pairs-than-any-test-has": (lambda b: _rules(b, pairs=60), "rule"),
    "no-pairs-at-all-allowed": (lambda b: _rules(b, pairs=0), "rule"),
    "a-smallest-gain-of-its-own": (lambda b: _rules(b, project_minimum=Decimal("0.02")), "rule"),
    "a-band-around-its-own-control": (lambda b: _rules(b, control_is_baseline=False), "rule"),
    "a-pair-after-the-end": (lambda b: _copied_pair(b, len(b.case.pairs)), "rule"),
    "repeats-that-nobody-asked-for": (
        lambda b: _case(
            b,
            repeats=(b.case.pairs[0]["candidate"], b.case.pairs[0]["control"]),
            logs=(
                *b.case.logs,
                *(
                    replace(b.case.logs[0], name=f"repeat-01-{role}", why="missing")
                    for role in ("candidate", "control")
                ),
            ),
        ),
        "rule",
    ),
    "the-control-itself": (lambda b: _about(b, control_root=b.case.about.candidate_root), "rule"),
    "a-pair-counted-twice": (lambda b: _copied_pair(b, 1), "runs"),
    "noise-of-unlisted-runs": (lambda b: _noise(b, scores=[]), "noise"),
    "noise-of-few-runs": (
        lambda b: _noise(b, runs=2, scores=["2.000000000"] * 2, control_mean="2.000000000"),
        "noise",
    ),
    "noise-of-few-seeds": (lambda b: _noise(b, seed_scores=["2.000000000"]), "noise"),
    "a-seed-spread-below-its-scores": (lambda b: _noise(b, seed_scores=["2.0", "2.1"] * 4), "noise"),
    "no-candidate": (_without_papers, "candidate"),
    "no-claim": (lambda b: replace(b, evidence=None), "claim"),
    "another-project": (lambda b: _about(b, project_id=ProjectId(2)), "claim"),
}


@pytest.mark.parametrize("name", DOCTORED)
def test_records_that_no_honest_session_leaves_are_found_out(signed: VerdictPack, name: str) -> None:
    change, where = DOCTORED[name]
    found = forged(signed, change, {"control-disadvantage": "-0.200000000"} if "handicap" in name else None)
    assert not found.is_sound
    assert where in held(found, Holds.NO)


def test_recomputing_what_was_not_doctored_is_sound(signed: VerdictPack) -> None:
    """The tests above fail for the one change each makes."""
    found = forged(signed, lambda bundle: bundle)
    assert (found.is_sound, held(found, Holds.OPEN)) == (True, set())


def _seconds(bundle: VerdictBundle, seconds: str) -> VerdictBundle:
    pairs = tuple(
        {**pair, "candidate": {**pair["candidate"], "secondsToGraph": seconds}} for pair in bundle.case.pairs
    )
    return _case(bundle, pairs=pairs)


def _same_model(bundle: VerdictBundle) -> VerdictBundle:
    pairs = tuple(
        {**pair, "candidate": {**pair["candidate"], "graphSha256": "7" * 64}} for pair in bundle.case.pairs
    )
    return _case(bundle, pairs=pairs)


def test_a_model_that_came_late_is_named(signed: VerdictPack) -> None:
    found = forged(signed, lambda bundle: _seconds(bundle, "3.5"))
    assert (found.is_sound, held(found, Holds.OPEN)) == (True, {"deadline"})


def test_equal_models_are_counted_and_no_proof(signed: VerdictPack) -> None:
    found = forged(signed, _same_model)
    (runs,) = [check for check in found.checks if check.name == "runs"]
    assert (found.is_sound, held(found, Holds.OPEN)) == (True, set())
    assert "2 left a model that an earlier one left" in runs.sentence


def test_runs_of_a_candidate_that_the_gate_refuses_are_named(tmp_path: Path) -> None:
    papers = dossier_of({"train.py": b"# coding: latin-1\n"})
    found = replay(VerdictPack.parse(Desk(tmp_path).unsigned(0.0, dossier=papers)))
    assert "source gate" in held(found, Holds.OPEN)


def test_a_candidate_packed_for_another_project_is_no_lie_of_the_validator_that_refused_it(
    tmp_path: Path,
) -> None:
    desk, papers = Desk(tmp_path), dossier_of({"train.py": b"x"}, packed_for=9)
    desk.noted(without_runs(Reason.EVIDENCE, "It was packed for another project."), papers, Bench())
    found = replay(VerdictPack.parse(desk.pack()))
    assert found.is_sound, held(found, Holds.NO)


@pytest.mark.parametrize("member", ["reason", "outcome", "rule", "pairs", "explanation"])
def test_a_report_that_lacks_a_member_is_refused_or_a_mismatch(signed: VerdictPack, member: str) -> None:
    report = {key: value for key, value in parse_report(signed.report).items() if key != member}
    try:
        found = replay(replace(signed, report=canonical_json(report)))
    except FormatError:
        return
    assert not found.is_sound


def test_the_baseline_is_the_control_of_these_verdicts(signed: VerdictPack) -> None:
    about = VerdictBundle.parse(signed.bundle).case.about
    assert about.control_root == about.snapshot_root == CONTROL
    assert replay(signed).outcome is Outcome.REPRODUCED


@pytest.mark.parametrize("shortcut", [False, 0, [], {}])
def test_a_noise_whose_shortcut_is_no_text_is_no_noise_and_no_crash(
    signed: VerdictPack, shortcut: object
) -> None:
    with pytest.raises(FormatError, match="noise"):
        forged(signed, lambda bundle: _noise(bundle, shortcut=shortcut))
