"""Scoring, probes, gaps, draws, constants, primitives: pure rules on small numbers."""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.errors import LogitsNotFinite, ModelUnsupported, VerifierFault
from verifier.harness.constants import read_constants
from verifier.harness.draw import Draw
from verifier.harness.evaluator import listing_of
from verifier.harness.gap import GapScores, fresh_gap_audit
from verifier.harness.primitives import ALLOWED, check_primitives
from verifier.harness.probes import TOLERANCE, ProbeTally, draw_probes, movement
from verifier.harness.runlog import RunLog, harmless
from verifier.harness.scoring import RowScores, log_normalisers, row_score

pytestmark = pytest.mark.unit

TABLE = np.array([0, 1, 2, 3], dtype=np.int32)


def scores(nats: list[float], sizes: list[int]) -> RowScores:
    return RowScores(np.array(nats, dtype=np.float64), np.array(sizes, dtype=np.int64))


# ----- scoring


def test_a_uniform_guess_costs_the_logarithm_of_the_vocabulary() -> None:
    nats, size = row_score(np.zeros((3, 4), dtype=np.float32), np.array([1, 2, 3], dtype=np.int32), TABLE)
    assert math.isclose(nats, 3 * math.log(4))
    assert size == 6
    assert scores([nats], [size]).bits_per_byte() == Decimal("1.000000000")


def test_tokens_that_stand_for_no_bytes_count_in_neither_sum() -> None:
    logits = np.zeros((2, 4), dtype=np.float32)
    logits[0] = [-100.0, 0.0, 0.0, 0.0]
    nats, size = row_score(logits, np.array([0, 1], dtype=np.int32), TABLE)
    assert math.isclose(nats, math.log(4))
    assert size == 1


def test_adding_a_constant_to_all_logits_changes_nothing() -> None:
    logits = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    targets = np.array([1, 2, 3, 1, 2], dtype=np.int32)
    plain, _ = row_score(logits, targets, TABLE)
    raised, _ = row_score(logits + np.float32(64.0), targets, TABLE)
    assert abs(plain - raised) < 1e-4


def test_huge_logits_do_not_overflow() -> None:
    logits = np.array([[3e38, -3e38, 0.0, 0.0]], dtype=np.float32)
    nats, _ = row_score(logits, np.array([1], dtype=np.int32), TABLE)
    assert math.isfinite(nats)
    assert nats > 5e38


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_one_logit_that_is_no_number_is_enough_to_refuse(number: float) -> None:
    logits = np.zeros((300, 4), dtype=np.float32)
    logits[299, 3] = number
    with pytest.raises(LogitsNotFinite):
        log_normalisers(logits)


def test_rows_without_any_text_have_no_score() -> None:
    with pytest.raises(ModelUnsupported):
        scores([1.0], [0]).bits_per_byte()


# ----- probes


def test_a_probe_keeps_its_prefix_and_differs_at_its_position() -> None:
    rows = np.random.default_rng(2).integers(0, 5, (20, 16)).astype(np.int32)
    probes = draw_probes(rows, 100, Draw(b"s", "probes"))
    assert len(probes) == 100
    for probe in probes:
        assert 1 <= probe.position < 16
        assert np.array_equal(probe.tokens[: probe.position], rows[probe.row, : probe.position])
        assert probe.tokens[probe.position] != rows[probe.row, probe.position]
        suffix = probe.tokens[probe.position :]
        assert any(np.array_equal(suffix, row[probe.position :]) for row in rows)


def test_no_row_gets_a_second_probe_before_all_have_one() -> None:
    rows = np.random.default_rng(3).integers(0, 50, (10, 16)).astype(np.int32)
    counts = np.bincount([probe.row for probe in draw_probes(rows, 25, Draw(b"s", "probes"))], minlength=10)
    assert counts.min() == 2
    assert counts.max() == 3


def test_rows_that_cannot_be_altered_give_no_probes() -> None:
    assert draw_probes(np.ones((4, 8), dtype=np.int32), 10, Draw(b"s", "probes")) == []


def test_movement_looks_only_before_the_position_and_ignores_shifts() -> None:
    original = np.random.default_rng(4).normal(size=(6, 5)).astype(np.float32)
    altered = original.copy()
    altered[3:] += np.arange(5, dtype=np.float32)
    assert movement(original, altered, 3) == 0.0
    assert movement(original, altered, 4) > 1.0
    assert movement(original, original + np.float32(2.0), 6) < 1e-5


def test_a_probe_at_the_tolerance_passes_and_one_beyond_it_does_not() -> None:
    [probe] = draw_probes(np.arange(16, dtype=np.int32).reshape(2, 8), 1, Draw(b"s", "x"))
    tally = ProbeTally()
    tally.add(probe, TOLERANCE)
    assert tally.violations == 0
    tally.add(probe, TOLERANCE * 1.001)
    assert tally.figures()["violations"] == "1"
    assert tally.figures()["first-violation"] == f"row {probe.row}, position {probe.position}"


def test_a_model_that_looks_ahead_anywhere_is_seen_by_some_probe_exactly_there() -> None:
    """A model in numpy that peeks at one position: only a probe right behind that position moves it."""
    rows = np.random.default_rng(6).integers(0, 5, (30, 8)).astype(np.int32)

    def model(row: np.ndarray) -> np.ndarray:
        logits = np.zeros((8, 5), dtype=np.float32)
        logits[4, row[5]] = 3.0
        return logits

    for probe in draw_probes(rows, 200, Draw(b"s", "probes")):
        moved = movement(model(rows[probe.row]), model(probe.tokens), probe.position)
        assert (moved > TOLERANCE) == (probe.position == 5)


# ----- the gap between validation and fresh rows


def gap_scores(validation: np.ndarray, fresh: np.ndarray) -> GapScores:
    sizes = np.full(validation.size, 100, dtype=np.int64)
    others = np.full(fresh.size, 100, dtype=np.int64)
    return GapScores(RowScores(validation, sizes), RowScores(fresh, others), tuple(range(fresh.size)))


def rows_around(mean: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean * 100 * math.log(2), 10.0, 200)


def test_knowledge_of_the_validation_rows_that_does_not_carry_over_fails() -> None:
    audit = fresh_gap_audit(gap_scores(rows_around(0.5, 1), rows_around(1.0, 2)), None)
    assert not audit.passed
    assert float(audit.figures["gap-bpb"]) == pytest.approx(0.5, abs=0.05)
    assert float(audit.figures["z"]) > 8


def test_a_small_gap_passes_however_certain_it_is() -> None:
    fixed = np.full(200, 50.0)
    audit = fresh_gap_audit(gap_scores(fixed, fixed * 1.05), None)
    assert float(audit.figures["gap-bpb"]) < 0.1
    assert audit.passed


def test_a_large_but_uncertain_gap_passes() -> None:
    generator = np.random.default_rng(3)
    wild = [generator.normal(70.0, 60.0, 20), generator.normal(85.0, 60.0, 20)]
    audit = fresh_gap_audit(gap_scores(*wild), None)
    assert float(audit.figures["z"]) < 8
    assert audit.passed


def test_what_makes_rows_hard_for_everyone_cancels_against_the_control() -> None:
    control = gap_scores(rows_around(1.0, 1), rows_around(1.3, 2))
    own = gap_scores(control.validation.nats - 5.0, control.fresh.nats - 5.0)
    assert not fresh_gap_audit(own, None).passed
    against = fresh_gap_audit(own, control)
    assert against.passed
    assert against.figures["against"] == "control"
    assert float(against.figures["gap-bpb"]) == pytest.approx(0.0, abs=1e-9)
    assert float(against.figures["own-gap-bpb"]) > 0.2


def test_only_fresh_rows_that_the_control_saw_too_are_compared_with_it() -> None:
    control, own = (
        gap_scores(rows_around(1.0, 1), rows_around(1.0, 2)),
        gap_scores(rows_around(1.0, 1), rows_around(1.0, 2)),
    )
    moved = GapScores(own.validation, own.fresh, tuple(range(150, 350)))
    assert fresh_gap_audit(moved, control).figures["shared-fresh-rows"] == "50"
    apart = GapScores(own.validation, own.fresh, tuple(range(1000, 1200)))
    assert fresh_gap_audit(apart, control).figures["against"] == "none"


# ----- draws


def test_a_draw_is_pinned_to_the_bit() -> None:
    assert Draw(b"seed", "rows").permutation(8) == PINNED
    assert Draw(b"seed", "other").permutation(8) != PINNED
    assert Draw(b"seee", "rows").permutation(8) != PINNED


PINNED = [2, 5, 1, 6, 7, 0, 3, 4]


@given(st.binary(max_size=40), st.integers(1, 300))
def test_a_permutation_holds_every_number_once(seed: bytes, count: int) -> None:
    assert sorted(Draw(seed, "x").permutation(count)) == list(range(count))


@given(st.integers(1, 1 << 64))
def test_draws_stay_below_their_bound(bound: int) -> None:
    draw = Draw(b"s", "x")
    assert all(0 <= draw.below(bound) < bound for _ in range(5))


def test_draws_are_even() -> None:
    draw = Draw(b"s", "even")
    counts = np.bincount([draw.below(6) for _ in range(6000)], minlength=6)
    assert counts.min() > 880
    assert counts.max() < 1120


# ----- constants


def test_constants_are_read_without_running_anything() -> None:
    source = b"import nothing_there\nMAX_SEQ_LEN = 2048\nTIME_BUDGET = 300\nEVAL_TOKENS = 3 * 524288\n1 / 0\n"
    constants = read_constants(source)
    assert (constants.sequence_length, constants.budget_seconds, constants.rows) == (2048, 300.0, 768)
    assert constants.clock == "wall"


def test_earlier_constants_may_be_used_and_the_clock_named() -> None:
    constants = read_constants(
        b"MAX_SEQ_LEN = 2**6\nTIME_BUDGET = 1.5\nEVAL_TOKENS = MAX_SEQ_LEN * 4\nBUDGET_CLOCK = 'cpu'"
    )
    assert (constants.rows, constants.clock, constants.budget_seconds) == (4, "cpu", 1.5)


@pytest.mark.parametrize(
    "source",
    [
        b"MAX_SEQ_LEN = ",
        b"MAX_SEQ_LEN = 64\nTIME_BUDGET = 3",
        b"MAX_SEQ_LEN = int('64')\nTIME_BUDGET = 3\nEVAL_TOKENS = 6400",
        b"MAX_SEQ_LEN = 64\nTIME_BUDGET = -1\nEVAL_TOKENS = 6400",
        b"MAX_SEQ_LEN = 64\nTIME_BUDGET = 3\nEVAL_TOKENS = 63",
        b"MAX_SEQ_LEN = 64\nTIME_BUDGET = 3\nEVAL_TOKENS = 9**9**9**9",
        b"MAX_SEQ_LEN = True\nTIME_BUDGET = 3\nEVAL_TOKENS = 6400",
        b"MAX_SEQ_LEN = 64\nTIME_BUDGET = 3\nEVAL_TOKENS = 6400\nBUDGET_CLOCK = 'moon'",
        b"\x00",
    ],
)
def test_a_prepare_without_sound_constants_judges_nobody(source: bytes) -> None:
    with pytest.raises(VerifierFault):
        read_constants(source)


# ----- primitives, logs


def test_variants_of_an_allowed_primitive_are_allowed_and_kernels_are_not() -> None:
    check_primitives(["Scatter Sum", "Matmul", "SliceUpdate Max"])
    with pytest.raises(ModelUnsupported, match="CustomKernel"):
        check_primitives(["Matmul", "CustomKernel"])
    assert "Compiled" not in ALLOWED


def test_a_listing_gives_names_and_outputs() -> None:
    told = bytearray(b'{"names": ["Add", "Exp"], "outputs": 512}')
    assert listing_of(told) == (("Add", "Exp"), 512)


@given(
    st.binary(max_size=60)
    | st.sampled_from(
        [
            b"[]",
            b'{"names": ["Add"]}',
            b'{"names": ["Add"], "outputs": true}',
            b'{"names": ["Add"], "outputs": 5.0}',
            b'{"names": [7], "outputs": 512}',
            b'{"names": "Add", "outputs": 512}',
            b'{"names": null, "outputs": 512}',
            b"[" * 50_000,
            b'{"names": ' * 50_000,
        ]
    )
)
def test_a_listing_that_makes_no_sense_is_the_graphs_doing(told: bytes) -> None:
    with pytest.raises(ModelUnsupported):
        listing_of(bytearray(told))


def test_a_strangers_text_is_made_harmless_and_short() -> None:
    shown = harmless("a\x1b[31mb\u202ec\nd" + "e" * 500)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert len(shown) <= 300


def test_the_log_keeps_every_byte_and_its_digest(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run.log")
    for piece in (b"one\r", b"two\n", b"\x00\xff" * 3000, b"\nlast line  \n\n"):
        log.write(piece)
    log.close()
    log.write(b"too late")
    content = (tmp_path / "run.log").read_bytes()
    assert log.size == len(content)
    assert log.sha256 == hashlib.sha256(content).hexdigest()
    assert log.last_line() == "last line"


def test_a_listener_hears_every_byte_in_order(tmp_path: Path) -> None:
    heard: list[bytes] = []
    log = RunLog(tmp_path / "run.log", heard.append)
    pieces = [b"one\r", b"two\n", b"\x00\xff"]
    for piece in pieces:
        log.write(piece)
    log.close()
    log.write(b"too late")
    assert heard == pieces


@pytest.mark.parametrize("problem", [ValueError("display"), KeyboardInterrupt(), SystemExit(3)])
def test_a_listener_that_fails_loses_nothing_of_the_log_and_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, problem: BaseException
) -> None:
    calls = 0

    def failing(_: bytes) -> None:
        nonlocal calls
        calls += 1
        raise problem

    log = RunLog(tmp_path / "run.log", failing)
    log.write(b"one ")
    log.write(b"two")
    log.close()
    assert (tmp_path / "run.log").read_bytes() == b"one two"
    assert calls == 1
    assert len(caplog.records) == 1
