"""What a verdict leaves behind replays on another machine, and nothing of it can be changed unnoticed."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from armlx_chain.errors import FormatError
from armlx_chain.formats.attestation import Attestation, SignedAttestation
from armlx_chain.formats.bundle import pack_tree, unpack_tree
from armlx_chain.formats.canonical import canonical_json
from armlx_chain.formats.verdictcase import MAX_LOG_BYTES, VerdictCase
from armlx_chain.formats.verdictpack import BUNDLE_LIMITS, VerdictBundle, VerdictPack, parse_report
from armlx_chain.protocol.score import chained_score
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, ProposalId, ScaledScore
from tests.daemon.verdicts import VALIDATOR, Bench, Desk, dossier_of
from verifier.gate import check_sources
from verifier.model import AuditKind, Ending, Outcome, Reason, RunRecord, bpb
from verifier.replay import BUNDLE_FACT, BUNDLE_SIZE_FACT, Holds, Replayed, bindings, replay
from verifier.replayrule import measured, replay_rule
from verifier.session import precheck
from verifier.simulate import Machine
from verifier.verdict.plain import CopyEvidence, judge_copy, without_runs

pytestmark = pytest.mark.unit


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One signed pack, for tests that only read it."""
    return Desk(tmp_path_factory.mktemp("signed")).signed()


def replayed(pack: bytes | VerdictPack) -> Replayed:
    return replay(VerdictPack.parse(pack) if isinstance(pack, bytes) else pack)


def failed(found: Replayed) -> set[str]:
    return {check.name for check in found.checks if check.holds is Holds.NO}


def left_open(found: Replayed) -> set[str]:
    return {check.name for check in found.checks if check.holds is Holds.OPEN}


# --- every verdict replays ----------------------------------------------------------------------------


def test_a_signed_improvement_replays_in_every_step(signed: bytes) -> None:
    found = replayed(signed)
    assert (found.outcome, found.is_sound, found.is_signed) == (Outcome.REPRODUCED, True, True)
    assert left_open(found) == set(), "nothing is left to belief"
    attestation = found.attestation
    assert attestation is not None
    assert attestation.lower_bound is not None
    assert found.score == chained_score(attestation.current_best, attestation.lower_bound)
    assert found.signed_root == root_of(VerdictPack.parse(signed).attestation or b"")


def _looks_ahead(record: RunRecord, _before: int) -> RunRecord:
    audits = tuple(
        replace(audit, passed=False) if audit.kind is AuditKind.CAUSALITY else audit
        for audit in record.audits
    )
    return replace(record, audits=audits)


def _once(record: RunRecord, before: int) -> RunRecord:
    return record if before else _looks_ahead(record, before)


def _crashes(record: RunRecord, _before: int) -> RunRecord:
    detail = "It ended with \x1b[31mcode 1\x07." + "y" * 5000
    return replace(
        record, ending=Ending.CRASH, detail=detail, validation=None, fresh=None, audits=(), graph_sha256=None
    )


def _unsupported(record: RunRecord, before: int) -> RunRecord:
    return replace(_crashes(record, before), ending=Ending.UNSUPPORTED, detail="z\n" * 40_000)


def _disturbed(record: RunRecord, before: int) -> RunRecord:
    return record if before else replace(record, disturbances=("The machine slept for 3 s.",))


def _wavers(record: RunRecord, before: int) -> RunRecord:
    score = bpb(Decimal("2.03") if before % 2 else Decimal("1.97"))
    return replace(record, validation=score, fresh=score)


CANDIDATE = "candidate"


KINDS: dict[Reason, dict[str, Any]] = {
    Reason.IMPROVEMENT_CONFIRMED: {"gain": 0.1, "interrupted": 1},
    Reason.NO_IMPROVEMENT: {"gain": 0.0, "twists": {CANDIDATE: _disturbed}},
    Reason.CLEARLY_WORSE: {"gain": -0.2},
    Reason.MORE_PAIRS_NEEDED: {"gain": 0.006, "pairs": 4},
    Reason.CAUSALITY_VIOLATED: {"gain": 0.1, "twists": {CANDIDATE: _looks_ahead}},
    Reason.UNREPEATED: {"gain": 0.1, "twists": {CANDIDATE: _once}},
    Reason.RUN_WITHOUT_MODEL: {"gain": 0.1, "twists": {CANDIDATE: _crashes}},
    Reason.UNSUPPORTED: {"gain": 0.1, "twists": {CANDIDATE: _unsupported}},
    Reason.TOO_NOISY: {"gain": 0.0, "twists": {CANDIDATE: _wavers}},
}


@pytest.mark.parametrize("reason", KINDS)
def test_a_verdict_of_any_kind_follows_from_its_bundle(desk: Desk, reason: Reason) -> None:
    found = replayed(desk.unsigned(**KINDS[reason]))
    assert found.reason is reason
    assert found.is_sound, failed(found)
    assert left_open(found) == {"signature"}


def test_a_test_whose_pairs_were_all_interrupted_replays(desk: Desk) -> None:
    found = replayed(desk.unsigned(0.1, interrupted=2))
    assert (found.reason, found.bundle.case.pairs) == (Reason.TOO_NOISY, ())
    assert found.is_sound, failed(found)
    few = VerdictBundle.parse(VerdictPack.parse(desk.pack()).bundle)
    few = replace(few, case=replace(few.case, interrupted=1))
    told = replay_rule(few, measured(few), parse_report(VerdictPack.parse(desk.pack()).report))
    assert told.mismatch is not None


def test_a_rejection_is_signed_and_replays(desk: Desk) -> None:
    found = replayed(desk.signed(0.1, twists={CANDIDATE: _looks_ahead}))
    assert (found.outcome, found.is_sound, found.is_signed) == (Outcome.REFUTED, True, True)
    assert found.score is None
    assert [log.name for log in found.bundle.case.logs][-2:] == ["repeat-01-candidate", "repeat-01-control"]


@pytest.mark.parametrize("has_papers", [True, False])
def test_a_verdict_without_runs_says_what_only_the_machine_knew(desk: Desk, *, has_papers: bool) -> None:
    fault = without_runs(Reason.VERIFIER_FAULT, "The sandbox broke.")
    desk.noted(fault, dossier_of({"train.py": b"x"}) if has_papers else None, Bench() if has_papers else None)
    found = replayed(desk.pack())
    assert (found.outcome, found.is_sound) == (Outcome.UNDECIDED, True)
    assert "candidate" in left_open(found) or has_papers


def test_a_refusal_by_the_source_gate_is_found_again(desk: Desk) -> None:
    papers = dossier_of({"train.py": b"# /// script\n# dependencies = []\n# ///\n"})
    refused = precheck(lambda: check_sources(papers.files))
    assert refused is not None
    desk.noted(refused, papers, Bench())
    found = replayed(desk.pack())
    (rule,) = [check for check in found.checks if check.name == "rule"]
    assert found.is_sound
    assert "asked again" in rule.sentence


def _copy(author: Address) -> CopyEvidence:
    papers = dossier_of({"train.py": b"stolen"}, author=VALIDATOR)
    return CopyEvidence(
        proposal=papers.proposal.id,
        proposer=papers.proposal.miner,
        candidate_root=papers.candidate_root,
        author=author,
        original=ProposalId(3),
        original_proposer=author,
        original_root=papers.candidate_root,
        confirmed=True,
    )


def test_a_proven_copy_replays_from_the_bundle_that_names_its_author(desk: Desk) -> None:
    papers = dossier_of({"train.py": b"stolen"}, author=VALIDATOR)
    desk.noted(judge_copy(_copy(VALIDATOR.address)), papers, Bench())
    found = replayed(desk.pack())
    assert (found.reason, found.is_sound) == (Reason.COPIED, True), failed(found)


def test_a_copy_that_the_bundle_does_not_show_is_a_mismatch(desk: Desk) -> None:
    papers = dossier_of({"train.py": b"stolen"})  # names its own miner
    desk.noted(judge_copy(_copy(VALIDATOR.address)), papers, Bench())
    assert "rule" in failed(replayed(desk.pack()))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gain=st.floats(-0.05, 0.05), spread=st.sampled_from([0.001, 0.004, 0.01]), pairs=st.integers(8, 12))
def test_whatever_was_measured_the_replay_agrees_with_the_session(
    tmp_path_factory: pytest.TempPathFactory, gain: float, spread: float, pairs: int
) -> None:
    desk = Desk(tmp_path_factory.mktemp("any"))
    found = replayed(desk.unsigned(gain, machine=Machine(noise=spread), pairs=pairs))
    assert found.is_sound, (found.reason, failed(found))


# --- logs ---------------------------------------------------------------------------------------------


def test_long_logs_are_left_out_and_said_to_be(desk: Desk) -> None:
    found = replayed(desk.unsigned(0.1, chatter=MAX_LOG_BYTES))
    assert found.is_sound
    assert "logs left out" in left_open(found)
    assert {log.why for log in found.bundle.case.logs} == {"too-long"}


def test_a_log_that_is_gone_or_changed_is_never_passed_off_as_the_run_s(desk: Desk) -> None:
    verdict, papers, bench = desk.judged(0.1)
    verdict.pairs[0].control.log_path.unlink()
    verdict.pairs[1].candidate.log_path.write_bytes(b"val_bpb:          0.000001\n")
    desk.noted(verdict, papers, bench)
    found = replayed(desk.pack())
    whys = {log.name: log.why for log in found.bundle.case.logs if log.why is not None}
    assert whys == {"pair-01-control": "missing", "pair-02-candidate": "changed"}
    assert found.is_sound


# --- changes ------------------------------------------------------------------------------------------


def noticed(data: bytes) -> bool:
    """Whether a pack is refused, or what its signature covers is not this."""
    try:
        return any(check.holds is not Holds.YES for check in bindings(VerdictPack.parse(data)))
    except FormatError:
        return True


def test_a_flipped_byte_anywhere_in_a_signed_pack_is_noticed(signed: bytes) -> None:
    draw = random.Random(7)
    assert not noticed(signed)
    for place in draw.sample(range(len(signed)), 200):
        changed = bytearray(signed)
        changed[place] ^= 1 << draw.randrange(8)
        assert noticed(bytes(changed)), place


def test_a_cut_or_longer_pack_is_noticed(signed: bytes) -> None:
    for changed in (signed[:-1], signed[:-512], signed + b"\0", signed + bytes(512), b"", signed[512:]):
        assert noticed(changed)


def test_an_unsigned_pack_with_a_changed_byte_is_noticed_or_says_that_nobody_signed(desk: Desk) -> None:
    data = desk.unsigned(0.0)
    draw = random.Random(8)
    for place in draw.sample(range(len(data)), 30):
        changed = bytearray(data)
        changed[place] ^= 1 << draw.randrange(8)
        try:
            found = replayed(bytes(changed))
        except FormatError:
            continue
        assert not found.is_sound or not found.is_signed
        assert not found.is_signed


Parts = tuple[VerdictBundle, dict[str, Any], Attestation]
Forgery = Callable[[VerdictBundle, dict[str, Any], Attestation], Parts]


def resigned(signed: bytes, forge: Forgery) -> Replayed:
    """What a validator with its key can do: everything consistent again, and signed."""
    pack = VerdictPack.parse(signed)
    bundle, report = VerdictBundle.parse(pack.bundle), parse_report(pack.report)
    attestation = SignedAttestation.parse(pack.attestation or b"").attestation
    bundle, report, attestation = forge(bundle, report, attestation)
    data = bundle.encode()
    named = {BUNDLE_FACT: str(root_of(data)), BUNDLE_SIZE_FACT: str(len(data))}
    report = {**report, "evidence": {**report["evidence"], **named}}
    written = canonical_json(report)
    attestation = replace(attestation, report_root=root_of(written))
    signature = VALIDATOR._sign_digest(attestation.digest())
    forged = VerdictPack(written, data, SignedAttestation(attestation, signature).encode())
    found = replayed(forged.encode())
    assert found.is_signed
    return found


def _case(bundle: VerdictBundle, **changes: Any) -> VerdictBundle:
    return replace(bundle, case=replace(bundle.case, **changes))


def _record(bundle: VerdictBundle, **changes: Any) -> VerdictBundle:
    first, *others = bundle.case.pairs
    pair = {**first, "candidate": {**first["candidate"], **changes}}
    return _case(bundle, pairs=(pair, *others))


def _inflated(a: Attestation) -> Attestation:
    lower = (a.lower_bound or Decimal(0)) + Decimal("0.05")
    return replace(a, lower_bound=lower, verified_score=chained_score(a.current_best, lower))


def _noise(bundle: VerdictBundle, **changes: Any) -> VerdictBundle:
    return _case(bundle, noise={**(bundle.case.noise or {}), **changes})


def _rules(bundle: VerdictBundle, **changes: Any) -> VerdictBundle:
    assert bundle.case.rules is not None
    return _case(bundle, rules=replace(bundle.case.rules, **changes))


def _swapped(bundle: VerdictBundle) -> VerdictBundle:
    return replace(bundle, logs={**bundle.logs, "pair-01-candidate": bundle.logs["pair-02-candidate"]})


def _facts(report: dict[str, Any], **changes: str) -> dict[str, Any]:
    return {**report, "evidence": {**report["evidence"], **changes}}


OTHER = dossier_of({"train.py": b"other"})
NOWHERE = "0g:0x" + "00" * 32
FAILED = [{"kind": "causality", "passed": False, "figures": {}}]

IN_THE_BUNDLE: dict[str, tuple[Callable[[VerdictBundle], VerdictBundle], str]] = {
    "a-better-score": (lambda b: _record(b, validation="0.500000000"), "report"),
    "a-failed-audit": (lambda b: _record(b, audits=FAILED), "rule"),
    "another-printed-metric": (lambda b: _record(b, printedMetric="0.100000"), "printed metrics"),
    "a-smaller-noise": (lambda b: _noise(b, s="0.000100000"), "noise"),
    "noise-of-another-class": (lambda b: _noise(b, hardware_class="cpu, other"), "noise"),
    "another-log": (_swapped, "logs"),
    "another-candidate": (lambda b: replace(b, candidate=OTHER.bundle), "candidate"),
    "another-claim": (lambda b: replace(b, evidence=OTHER.evidence), "claim"),
    "another-environment": (lambda b: replace(b, environment={"system": "other"}), "environment"),
    "more-interrupted-pairs": (lambda b: _case(b, interrupted=2), "rule"),
    "a-no-op": (lambda b: _case(b, no_op="bytes"), "rule"),
    "a-pair-left-out": (lambda b: _case(b, pairs=b.case.pairs[:2], logs=b.case.logs[:4]), "rule"),
    "a-disadvantage": (lambda b: _rules(b, disadvantage=Decimal("0.2")), "rule"),
    "another-minimum": (lambda b: _rules(b, project_minimum=Decimal("0.05")), "rule"),
}
IN_THE_REPORT: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "another-figure": (lambda r: {**r, "llr": "99.000000000"}, "report"),
    "a-further-member": (lambda r: {**r, "bonus": "1"}, "report"),
    "another-explanation": (lambda r: {**r, "explanation": "Because."}, "report"),
    "another-outcome": (lambda r: {**r, "outcome": "refuted", "reason": "validation-gap"}, "rule"),
    "another-control": (lambda r: _facts(r, **{"control-root": NOWHERE}), "circumstances"),
}
IN_THE_ATTESTATION: dict[str, tuple[Callable[[Attestation], Attestation], str]] = {
    "a-higher-lower-bound": (_inflated, "score"),
    "another-order-of-samples": (lambda a: replace(a, samples=a.samples[::-1]), "attestation"),
    "another-class": (lambda a: replace(a, hardware_class="metal, Apple M9"), "attestation"),
    "another-seed": (lambda a: replace(a, evaluation_seed=b"\x06" * 32), "attestation"),
    "another-proposal": (lambda a: replace(a, proposal_id=ProposalId(8)), "attestation"),
    "another-genesis": (lambda a: replace(a, genesis_hash=b"\x12" * 32), "attestation"),
    "another-noise": (lambda a: replace(a, noise=Decimal("0.001")), "attestation"),
    "another-best": (
        lambda a: replace(
            a,
            current_best=ScaledScore(a.current_best + 5),
            verified_score=ScaledScore((a.verified_score or 0) + 5),
        ),
        "attestation",
    ),
}


@pytest.mark.parametrize("name", [*IN_THE_BUNDLE, *IN_THE_REPORT, *IN_THE_ATTESTATION])
def test_a_validator_that_signs_what_does_not_follow_is_found_out(signed: bytes, name: str) -> None:
    def forge(b: VerdictBundle, r: dict[str, Any], a: Attestation) -> Parts:
        if name in IN_THE_BUNDLE:
            b = IN_THE_BUNDLE[name][0](b)
            kept = {log.name for log in b.case.logs}
            b = replace(b, logs={key: data for key, data in b.logs.items() if key in kept})
        elif name in IN_THE_REPORT:
            r = IN_THE_REPORT[name][0](r)
        else:
            a = IN_THE_ATTESTATION[name][0](a)
        return b, r, a

    found = resigned(signed, forge)
    where = {**IN_THE_BUNDLE, **IN_THE_REPORT, **IN_THE_ATTESTATION}[name][1]
    assert not found.is_sound
    assert where in failed(found), failed(found)


def test_resigning_what_was_not_changed_is_sound(signed: bytes) -> None:
    """The tests above fail for the one change each makes."""
    assert resigned(signed, lambda b, r, a: (b, r, a)).is_sound


def test_a_lower_bound_below_what_the_pairs_give_is_sound_and_said(signed: bytes) -> None:
    def lower(b: VerdictBundle, r: dict[str, Any], a: Attestation) -> Parts:
        least = (a.lower_bound or Decimal(0)) - Decimal("0.01")
        score = chained_score(a.current_best, least)
        return b, r, replace(a, lower_bound=least, verified_score=score)

    found = resigned(signed, lower)
    (score,) = [check for check in found.checks if check.name == "score"]
    assert found.is_sound
    assert "lowest of several machines" in score.sentence


def test_a_decided_verdict_without_measurements_is_a_mismatch(signed: bytes) -> None:
    found = resigned(
        signed,
        lambda b, r, a: (replace(_case(b, pairs=(), logs=(), rules=None, noise=None), logs={}), r, a),
    )
    assert "rule" in failed(found)


@pytest.mark.parametrize(
    "noise", [{"s": "-1"}, {"s": "1e300"}, {"runs": 10**15}, {"steps": ["9" * 5000]}, {"scores": ["nan"]}]
)
def test_hostile_figures_end_in_one_kind_of_error_or_a_mismatch(signed: bytes, noise: dict[str, Any]) -> None:
    def forge(b: VerdictBundle, r: dict[str, Any], a: Attestation) -> Parts:
        return _noise(b, **noise), r, a

    with contextlib.suppress(FormatError):
        assert not resigned(signed, forge).is_sound


def test_a_verdict_by_another_rule_is_not_replayed(signed: bytes) -> None:
    with pytest.raises(FormatError, match="paired-sprt/9"):
        resigned(signed, lambda b, r, a: (b, {**r, "rule": "paired-sprt/9"}, a))


def test_a_bundle_holds_what_its_case_lists_and_nothing_else(signed: bytes) -> None:
    bundle = VerdictBundle.parse(VerdictPack.parse(signed).bundle)
    with pytest.raises(FormatError, match="missing"):
        replace(bundle, logs={}).encode()
    with pytest.raises(FormatError, match="one entry for each run"):
        _case(bundle, logs=bundle.case.logs[:-1]).encode()
    files = unpack_tree(bundle.encode(), BUNDLE_LIMITS)
    with pytest.raises(FormatError, match="does not list"):
        VerdictBundle.parse(pack_tree({**files, "logs/more.log": b""}, BUNDLE_LIMITS))


def test_a_case_survives_writing_and_reading(signed: bytes) -> None:
    case = VerdictBundle.parse(VerdictPack.parse(signed).bundle).case
    assert VerdictCase.parse(case.encode()) == case
