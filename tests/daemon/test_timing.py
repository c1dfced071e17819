"""When a session may begin and when the next cycle does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.daemon.timing import SETTLING_SECONDS, UNMEASURED_SECONDS, Pace, Term, no_time

pytestmark = pytest.mark.unit

SECONDS = st.integers(0, 10**6)
DRAWS = st.floats(0, 1)


@given(now=SECONDS, left=SECONDS, expected=st.floats(0, 10**6))
def test_a_session_begins_only_where_it_and_its_settlement_end_in_time(
    now: int, left: int, expected: float
) -> None:
    fits = expected + SETTLING_SECONDS <= left
    assert (no_time(now, expected, Term("its week", now + left)) is None) is fits


@given(now=SECONDS, week=SECONDS, lease=SECONDS, expected=st.none() | st.floats(0, 10**6))
def test_of_two_terms_the_earlier_one_counts(now: int, week: int, lease: int, expected: float | None) -> None:
    terms = Term("its week", now + week), Term("the lease", now + lease)
    found = no_time(now, expected, *terms)
    assert found == no_time(now, expected, min(terms, key=lambda term: term.ends))
    assert found == no_time(now, expected, *reversed(terms)) or week == lease


def test_what_nobody_measured_needs_an_hour() -> None:
    needed = UNMEASURED_SECONDS + SETTLING_SECONDS
    assert no_time(100, None, Term("its week", 100 + needed)) is None
    late = no_time(100, None, Term("its week", 100 + needed - 1))
    assert late is not None
    assert "nobody has measured" in late


def test_the_sentence_says_what_ends_and_what_is_over() -> None:
    assert no_time(100, 5.0, Term("the lease", 100)) == "the lease is over"
    late = no_time(100, 5000.0, Term("the lease", 4100))
    assert late is not None
    assert "4000 s are left" in late
    assert "5000 s" in late


@given(draw=DRAWS, failures=st.integers(0, 10**6), idle=st.integers(0, 10**6), waits=st.booleans())
def test_no_rest_is_longer_than_the_longest_or_shorter_than_the_shortest(
    draw: float, failures: int, idle: int, waits: bool
) -> None:
    pace = Pace(poll=60, soon=5, most=120, jitter=0.25)
    rest = pace.rest(failures=failures, idle=idle, is_waiting=waits, draw=draw)
    assert 5 * 0.75 <= rest <= (120 if failures else 60) * 1.25


@given(draw=DRAWS, failures=st.integers(1, 1000))
def test_after_each_failure_it_rests_at_least_as_long_as_before(draw: float, failures: int) -> None:
    pace = Pace()
    rests = [
        pace.rest(failures=number, idle=0, is_waiting=True, draw=draw) for number in (failures, failures + 1)
    ]
    assert rests[0] <= rests[1]


def test_what_is_not_there_yet_is_looked_for_sooner_and_then_less_and_less_often() -> None:
    pace = Pace(poll=300, soon=20, jitter=0)
    rests = [pace.rest(failures=0, idle=idle, is_waiting=True, draw=0.5) for idle in range(6)]
    assert rests == [20, 40, 80, 160, 300, 300]
    assert pace.rest(failures=0, idle=0, is_waiting=False, draw=0.5) == 300
