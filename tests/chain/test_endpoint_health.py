"""Who is asked and who is set aside: rules, with a clock that steps."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.chain.health import (
    FIRST_SECONDS,
    LONGEST_SECONDS,
    NEVER_LAST_RESORT,
    Fault,
    Head,
    HealthBoard,
    judge_heads,
    majority,
)

pytestmark = pytest.mark.unit
TROUBLE = sorted(set(Fault) - NEVER_LAST_RESORT)


@pytest.mark.parametrize("fault", TROUBLE)
def test_a_fault_sets_an_endpoint_aside_for_its_time_and_not_longer(fault: Fault) -> None:
    board = HealthBoard(["a", "b"])
    board.fault("a", fault, "did it", now=100.0)
    end = 100.0 + FIRST_SECONDS[fault]
    assert board.healthy(now=end - 0.01) == ["b"]
    assert board.last_resort(now=end - 0.01) == ["a"]
    assert board.healthy(now=end) == ["a", "b"]


def test_each_repetition_doubles_the_time_up_to_a_bound_and_one_good_answer_forgives() -> None:
    board, now, waits = HealthBoard(["a"]), 0.0, []
    for _ in range(12):
        board.fault("a", Fault.SERVER, "fails", now=now)
        (report,) = board.report(now=now)
        waits.append(report.seconds_left)
        now += report.seconds_left
    assert waits[:4] == [5.0, 10.0, 20.0, 40.0]
    assert waits[-1] == LONGEST_SECONDS
    board.good("a", now=now)
    board.fault("a", Fault.SERVER, "fails", now=now)
    assert board.report(now=now)[0].seconds_left == 5.0


def test_an_endpoint_that_names_its_own_time_is_left_alone_for_it_but_not_for_ever() -> None:
    board = HealthBoard(["a", "b"])
    board.fault("a", Fault.LIMITED, "limits", now=0.0, retry_after=60.0)
    board.fault("b", Fault.LIMITED, "limits", now=0.0, retry_after=10.0**6)
    assert [report.seconds_left for report in board.report(now=0.0)] == [60.0, LONGEST_SECONDS]


def test_a_wrong_chain_is_for_good_and_a_liar_is_no_last_resort() -> None:
    board = HealthBoard(["a", "b"])
    board.fault("a", Fault.WRONG_CHAIN, "serves chain 1", now=0.0)
    board.fault("b", Fault.LYING, "contradicts", now=0.0)
    assert board.healthy(now=1.0) == board.last_resort(now=1.0) == []
    board.good("a", now=10.0**9)
    board.fault("a", Fault.SLOW, "slow", now=10.0**9)
    assert board.healthy(now=10.0**9) == ["b"]
    assert math.isinf(board.report(now=10.0**9)[0].seconds_left)


def test_trouble_does_not_shorten_the_time_of_a_liar_and_good_answers_do_not_wash_it_clean() -> None:
    board = HealthBoard(["a"])
    board.fault("a", Fault.LYING, "contradicts", now=0.0)
    board.fault("a", Fault.UNREACHABLE, "away", now=1.0)
    board.good("a", now=2.0)
    assert board.healthy(now=800.0) == []
    assert "contradicts" in board.report(now=800.0)[0].sentence()


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(list(Fault)), st.floats(0, 500)),
        max_size=30,
    )
)
def test_whatever_happens_every_endpoint_is_healthy_or_waiting_or_banned_and_the_order_holds(
    events: list[tuple[str, Fault, float]],
) -> None:
    board, now = HealthBoard(["a", "b", "c"]), 0.0
    for name, fault, step in events:
        now += step
        board.fault(name, fault, "x", now=now)
    healthy, waiting = board.healthy(now=now), board.last_resort(now=now)
    banned = [r.name for r in board.report(now=now) if r.fault in NEVER_LAST_RESORT]
    assert healthy == sorted(healthy)
    assert sorted(healthy + waiting + banned) == ["a", "b", "c"]


def test_an_endpoint_far_behind_is_stale_and_one_slightly_behind_is_fine() -> None:
    heads = {"a": Head(100, 0), "b": Head(96, 0), "c": Head(90, 0)}
    found = judge_heads(heads, now=None, max_lag=5, max_age=None)
    assert set(found) == {"c"}
    assert found["c"][0] is Fault.STALE
    assert "10 blocks behind" in found["c"][1]


def test_one_that_alone_claims_to_be_far_ahead_of_two_others_does_not_make_them_stale() -> None:
    heads = {"a": Head(10**6, 0), "b": Head(100, 0), "c": Head(99, 0)}
    found = judge_heads(heads, now=None, max_lag=5, max_age=None)
    assert {name: fault for name, (fault, _) in found.items()} == {"a": Fault.LYING}


def test_old_heads_are_stale_and_heads_from_the_future_are_lies() -> None:
    heads = {"old": Head(100, 1_000), "new": Head(101, 9_990), "prophet": Head(102, 20_000)}
    found = judge_heads(heads, now=10_000.0, max_lag=5, max_age=300.0)
    assert {name: fault for name, (fault, _) in found.items()} == {"old": Fault.STALE, "prophet": Fault.LYING}
    assert judge_heads(heads, now=None, max_lag=5, max_age=None) == {}


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 3), max_size=6))
def test_a_majority_is_more_than_half_and_names_exactly_the_others(answers: dict[str, int]) -> None:
    found = majority(answers)
    counts = [list(answers.values()).count(value) for value in answers.values()]
    if found is None:
        assert not any(2 * count > len(answers) for count in counts)
    else:
        value, others = found
        assert 2 * (len(answers) - len(others)) > len(answers)
        assert {name for name in answers if answers[name] != value} == set(others)
