"""The score codec and the orientation table."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.errors import MetricError
from armlx_chain.protocol.model import Direction
from armlx_chain.protocol.orientation import OrientationKind, classify_orientation
from armlx_chain.protocol.score import chained_score, claimed_score, decode_score, encode_score, score_text
from armlx_chain.types import ScaledScore

pytestmark = pytest.mark.unit
BOTH = st.sampled_from(["minimize", "maximize"])
METRICS = st.decimals(min_value=0, max_value=999, places=9)


@pytest.mark.parametrize(
    ("value", "direction", "score"),
    [
        ("2.213268", "minimize", -2213268),
        ("1.981456", "minimize", -1981456),
        ("2.2132680", "minimize", -2213268),
        ("2.2132681", "minimize", -2213269),
        ("2.2132689", "minimize", -2213269),
        ("2.2132689", "maximize", 2213268),
        ("0", "minimize", 0),
        ("1E+2", "maximize", 100_000_000),
    ],
)
def test_encoding(value: str, direction: Direction, score: int) -> None:
    assert encode_score(Decimal(value), direction) == score


@given(value=METRICS, direction=BOTH)
def test_digits_beyond_the_scale_never_help(value: Decimal, direction: Direction) -> None:
    decoded = decode_score(encode_score(value, direction), direction)
    worse_by = decoded - value if direction == "minimize" else value - decoded
    assert 0 <= worse_by < Decimal("0.000001")


@given(one=METRICS, other=METRICS, direction=BOTH)
def test_a_greater_score_is_never_a_worse_metric(one: Decimal, other: Decimal, direction: Direction) -> None:
    if encode_score(one, direction) > encode_score(other, direction):
        assert one < other if direction == "minimize" else one > other


@pytest.mark.parametrize(
    "text", ["NaN", "sNaN", "Infinity", "-Infinity", "1E+999999999", "1E-999999999", "1E+75"]
)
def test_values_without_a_score_are_refused(text: str) -> None:
    with pytest.raises(MetricError):
        encode_score(Decimal(text), "maximize")
    with pytest.raises(MetricError):
        chained_score(ScaledScore(0), Decimal(text))


def test_a_context_of_few_digits_does_not_round() -> None:
    from decimal import localcontext

    with localcontext(prec=3):
        assert encode_score(Decimal("123.456789"), "maximize") == 123456789
        assert decode_score(-123456789, "minimize") == Decimal("123.456789")


@pytest.mark.parametrize(
    ("bound", "step"), [("0.0123459", 12345), ("0.000001", 1), ("0.0000009", 1), ("0", 1), ("-3", 1)]
)
def test_an_approval_moves_the_score_by_the_bound_but_at_least_by_one(bound: str, step: int) -> None:
    assert chained_score(ScaledScore(-2213268), Decimal(bound)) == -2213268 + step


def test_a_claim_moves_the_score_by_the_gain_and_a_loss_does_not_pass_for_one() -> None:
    assert claimed_score(ScaledScore(-2213268), Decimal("0.011868")) == -2201400
    assert claimed_score(ScaledScore(10), Decimal("-0.0000001")) == 9


def test_the_ledgers_integers_end_at_256_bits() -> None:
    top = ScaledScore(2**255 - 1)
    with pytest.raises(MetricError):
        chained_score(top, Decimal(0))
    assert claimed_score(top, Decimal(0)) == top


def test_scores_are_shown_with_all_their_digits() -> None:
    assert [score_text(n) for n in (4138928, -5, 0, -2213268)] == [
        "4.138928", "-0.000005", "0.000000", "-2.213268",
    ]  # fmt: skip


def classify(
    baseline: int, best: int, *, value: str | None = None, direction: Direction | None = "minimize"
) -> tuple[OrientationKind, bool, str]:
    found = classify_orientation(
        direction=direction,
        baseline_value=None if value is None else Decimal(value),
        baseline=baseline,
        best=best,
        metric="val_bpb",
    )
    return found.kind, found.stop, " ".join(found.sentences)


@pytest.mark.parametrize("value", [None, "2.213268"])
def test_project_one_was_published_with_the_wrong_sign(value: str | None) -> None:
    kind, stop, text = classify(2213268, 4138928, value=value)
    assert (kind, stop) == (OrientationKind.WRONG_SIGN, True)
    for part in ("wrong sign", "2.213268 (raw 2213268)", "above 4.138928 (raw 4138928)", "-2213268",
                 "worse than the baseline", "published again", "stake"):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize(
    ("baseline", "best", "value", "direction", "kind"),
    [
        (-2213268, -2213268, "2.213268", "minimize", OrientationKind.CONSISTENT),
        (2213268, 4138928, "2.213268", "maximize", OrientationKind.CONSISTENT),
        (-2213268, -2000000, None, "minimize", OrientationKind.SIGN_ONLY),
        (-2213, -2213, "2.213", "minimize", OrientationKind.OTHER_SCALE),
        (2213000000, 2213000000, "2.213", "minimize", OrientationKind.OTHER_SCALE),
        (-2213269, -2213269, "2.213268", "minimize", OrientationKind.MISMATCH),
        (2534001, 4138928, "2.213268", "minimize", OrientationKind.MISMATCH),
        (-2213268, 0, "2.213268", "maximize", OrientationKind.MISMATCH),
        (0, 0, "2.213268", "minimize", OrientationKind.MISMATCH),
        (0, 0, None, "minimize", OrientationKind.MISMATCH),
        (-1, -1, None, "maximize", OrientationKind.MISMATCH),
        (1, 1, None, "maximize", OrientationKind.SIGN_ONLY),
        (2213268, 4138928, "2.213268", None, OrientationKind.UNKNOWN_DIRECTION),
        (-2213268, -2213268, None, None, OrientationKind.UNKNOWN_DIRECTION),
    ],
)
def test_the_orientation_table(
    baseline: int, best: int, value: str | None, direction: Direction | None, kind: OrientationKind
) -> None:
    found, stop, text = classify(baseline, best, value=value, direction=direction)
    assert found is kind
    assert stop is (kind not in (OrientationKind.CONSISTENT, OrientationKind.SIGN_ONLY))
    assert str(baseline) in text


def test_an_unknown_direction_warns_only_where_a_minimised_metric_could_not_win() -> None:
    assert "no improvement can ever be approved" in classify(5, 5, direction=None)[2]
    assert "no improvement can ever be approved" not in classify(-5, -5, direction=None)[2]


def test_a_hostile_metric_name_cannot_write_into_the_sentences() -> None:
    found = classify_orientation(
        direction="minimize", baseline_value=None, baseline=1, best=1, metric="x\x1b[2J\nAll is well."
    )
    assert all(sentence.isprintable() for sentence in found.sentences)
