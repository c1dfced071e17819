"""The soak's short form; ``scripts/campaigns/soak`` plays a month."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.daemon.soak.ledger import APPROVED, EXPIRED, NO_ROW, REJECTED, Row
from tests.daemon.soak.miners import Kind, Truth
from tests.daemon.soak.model import Model, Settled, Standard, Story
from tests.daemon.soak.soak import STORMY, Plan, soak
from tests.daemon.soak.timeline import Timeline
from verifier.daemon.store import FindingStore

SHORT = Plan(days=1, per_day=10, projects=2, validators=2, poll=43_200.0, seed=5, traced=False)
HARSH = replace(STORMY, sandbox=0.02, kill=0.003)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What was broken on purpose need not be logged."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.integration
def test_a_day_with_everything_going_wrong_ends_as_the_model_says() -> None:
    report = soak(replace(SHORT, rates=HARSH))
    assert report.findings == []
    assert report.judgement.findings == []
    assert report.proposals >= 8
    assert sum(report.judgement.ends.values()) == report.proposals
    assert any(name.endswith(": approved") for name in report.judgement.ends)
    for kind in ("cycles done", "killed", "reorganisation", "storage unavailable"):
        assert report.tally[kind] > 0, kind


@pytest.mark.integration
def test_the_soak_finds_a_validator_that_does_not_note_what_it_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FindingStore, "move", lambda self, number, state: None)
    report = soak(replace(SHORT, per_day=4, projects=1, validators=1, seed=6))
    assert any("findings and ledger differ" in text for text in report.findings)


# --- the model itself -------------------------------------------------------------------------------------

OURS, STRANGER = "0xaa", "0xbb"
BEST = Standard(0, -9_000_000, Decimal("9.0"))


def row(number: int, status: int, *, claimed: int = -8_960_000) -> Row:
    return replace(
        NO_ROW, evidence=bytes([number]) * 32, claimed=claimed, submitted_at=100, status=status, stake=1
    )


def judged(
    kind: Kind, status: int, *events: Settled, level: str = "8.96", claimed: int = -8_960_000
) -> list[str]:
    truths = {
        bytes([number]) * 32: Truth(kind, 0, b"", bytes([number]) * 32, Decimal(text), claimed)
        for number, text in enumerate((level, "8.96"))
    }
    model = Model(truths=truths, ours={OURS}, standards={0: BEST}, lost={}, ended=10**9)
    rows = {0: row(0, status, claimed=claimed)}
    if any(event.proposal == 1 for event in events):
        rows[1] = row(1, APPROVED)
    return model.judge(Story(rows, events)).findings


def approved(number: int = 0, score: int = -8_970_000, who: str = OURS) -> Settled:
    return Settled(number, APPROVED, who, score, 200)


@pytest.mark.unit
def test_the_model_agrees_with_what_is_right() -> None:
    assert judged(Kind.GAIN, APPROVED, approved()) == []
    assert judged(Kind.CHEAT, REJECTED, Settled(0, REJECTED, OURS, None, 200)) == []
    assert judged(Kind.NONE, EXPIRED, Settled(0, EXPIRED, STRANGER, None, 200)) == []
    assert judged(Kind.GAIN, REJECTED, Settled(0, REJECTED, STRANGER, None, 200)) == []


@pytest.mark.unit
@pytest.mark.parametrize(
    ("kind", "status", "events"),
    [
        pytest.param(Kind.GAIN, EXPIRED, (), id="a gain that was not paid"),
        pytest.param(Kind.CHEAT, APPROVED, (approved(),), id="a cheat that was paid"),
        pytest.param(
            Kind.GAIN, REJECTED, (Settled(0, REJECTED, OURS, None, 9),), id="a gain that was slashed"
        ),
        pytest.param(Kind.GAIN, APPROVED, (approved(score=-8_000_000),), id="more than was gained"),
        pytest.param(Kind.GAIN, APPROVED, (approved(score=-9_000_000),), id="no more than the best"),
        pytest.param(Kind.GAIN, APPROVED, (approved(), approved()), id="settled twice"),
        pytest.param(Kind.NONE, 0, (), id="never ended"),
    ],
)
def test_the_model_names_what_is_wrong(kind: Kind, status: int, events: tuple[Settled, ...]) -> None:
    assert len(judged(kind, status, *events)) >= 1


@pytest.mark.unit
def test_what_was_overtaken_may_expire_and_only_that() -> None:
    overtaking = approved(1, score=-8_950_000, who=STRANGER)
    assert judged(Kind.GAIN, EXPIRED, overtaking) == []
    harmless = approved(1, score=-8_999_999, who=STRANGER)
    assert len(judged(Kind.GAIN, EXPIRED, harmless, level="8.90", claimed=-8_900_000)) == 1


# --- simulated time ---------------------------------------------------------------------------------------


@pytest.mark.unit
def test_actors_wake_in_the_order_of_time_and_one_at_a_time() -> None:
    timeline, seen = Timeline(0.0), list[tuple[str, float]]()

    def act(name: str, every: float) -> None:
        while True:
            timeline.sleep(every)
            seen.append((name, timeline.now))

    timeline.spawn("slow", lambda: act("slow", 3.0))
    timeline.spawn("quick", lambda: act("quick", 2.0))
    timeline.run_until(6.0)
    timeline.stop()
    assert seen == [("quick", 2.0), ("slow", 3.0), ("quick", 4.0), ("slow", 6.0), ("quick", 6.0)]
    assert timeline.failures == []


@pytest.mark.unit
def test_an_actor_that_fails_is_reported_and_holds_nobody_up() -> None:
    timeline = Timeline(0.0)
    timeline.spawn("broken", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    timeline.spawn("whole", lambda: timeline.sleep(5.0))
    timeline.run_until(10.0)
    timeline.stop()
    assert [(name, type(error)) for name, error in timeline.failures] == [("broken", ZeroDivisionError)]
