"""Continuing a test: only the same one, with everything that happened in it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_helpers import BETTER, candidate, control, noise, pair_of, quiet
from verdict_helpers import settings as session_settings

from armlx_chain.errors import FormatError, UsageError
from verifier.judgement import Contest, Trial
from verifier.model import Outcome, Pair, Reason, Verdict, bpb
from verifier.session import judge, may_start_over
from verifier.simulate import SimRunner
from verifier.verdict.case import Rules
from verifier.verdict.constants import FIRST_LIMIT, LAST_LIMIT
from verifier.verdict.earlier import Earlier, Subject, files_digest

pytestmark = pytest.mark.unit

SUBJECT = Subject.of(noise(), Rules(), {}, BETTER)
UNDECIDED = (pair_of("0.015"),) * FIRST_LIMIT


def session(earlier: Earlier, runner: SimRunner | None = None, **more: object) -> Verdict:
    options = {"pairs": LAST_LIMIT} | more
    return judge(
        runner or quiet(0.015),
        noise(),
        {},
        BETTER,
        seed=b"s",
        settings=session_settings(**options),
        earlier=earlier,
    )


def test_the_same_test_is_continued_and_decides():
    verdict = session(Earlier(SUBJECT, UNDECIDED))
    assert verdict.outcome is Outcome.REPRODUCED
    assert verdict.pairs[:FIRST_LIMIT] == UNDECIDED


@pytest.mark.parametrize("name", [field.name for field in fields(Subject)])
def test_pairs_of_another_subject_are_refused_by_name_and_nothing_runs(name):
    runner = quiet(0.015)
    with pytest.raises(UsageError) as found:
        session(Earlier(replace(SUBJECT, **{name: "other"}), UNDECIDED), runner)
    assert found.value.details["differs"] == [name]
    assert runner.calls == []


def test_what_makes_another_subject():
    others = [
        Subject.of(noise("0.02"), Rules(), {}, BETTER),
        Subject.of(noise(seed_spread="0.02"), Rules(), {}, BETTER),
        Subject.of(noise(), Rules(disadvantage=bpb("0.001")), {}, BETTER),
        Subject.of(noise(), Rules(project_minimum=bpb("0.05")), {}, BETTER),
        Subject.of(replace(noise(), environment="cd" * 32), Rules(), {}, BETTER),
        Subject.of(replace(noise(), hardware_class="metal"), Rules(), {}, BETTER),
        Subject.of(noise(), Rules(), {"train.py": b"best"}, BETTER),
        Subject.of(noise(), Rules(), {}, {"train.py": b"better "}),
        Subject.of(noise(), Rules(), {}, {"train2.py": b"better"}),
        Subject.of(noise(), Rules(), BETTER, {}),
    ]
    assert len({SUBJECT, *others}) == 1 + len(others)
    # How many pairs a session may run is no part of the test.
    assert Subject.of(noise(), Rules(pairs=24), {}, dict(BETTER)) == SUBJECT


@given(
    st.dictionaries(st.text(max_size=5), st.binary(max_size=6), max_size=3),
    st.dictionaries(st.text(max_size=5), st.binary(max_size=6), max_size=3),
)
def test_files_have_one_digest_exactly_if_they_are_byte_equal(first, second):
    assert (files_digest(first) == files_digest(second)) == (first == second)


def test_names_and_contents_cannot_be_shifted_into_each_other():
    assert files_digest({"ab": b"c"}) != files_digest({"a": b"bc"})
    assert files_digest({"a": b"", "b": b""}) != files_digest({"a": b"b"})


def test_a_stored_subject_is_read_back_and_a_damaged_one_is_refused():
    assert Subject.read(SUBJECT.text()) == SUBJECT
    for text in ("", "{}", "[]", SUBJECT.text().replace("rule", "ruler"), SUBJECT.text()[:-1], "null"):
        with pytest.raises(FormatError):
            Subject.read(text)


def test_a_voided_pair_of_an_earlier_session_is_not_forgiven_again():
    spoiled = Pair(control(disturbed="it slept"), candidate("1.9"))
    kept = (spoiled, *UNDECIDED)
    once = session(Earlier(SUBJECT, kept))
    assert once.outcome is Outcome.REPRODUCED
    assert once.voided == (0,)
    twice = session(Earlier(SUBJECT, (*kept, spoiled)))
    assert (twice.outcome, twice.reason) == (Outcome.UNDECIDED, Reason.TOO_NOISY)


def test_a_pair_that_never_ended_counts_like_a_voided_one():
    spoiled = Pair(control(disturbed="it slept"), candidate("1.9"))
    assert session(Earlier(SUBJECT, UNDECIDED, interrupted=1)).outcome is Outcome.REPRODUCED
    for earlier in (
        Earlier(SUBJECT, UNDECIDED, interrupted=2),
        Earlier(SUBJECT, (spoiled, *UNDECIDED), interrupted=1),
    ):
        runner = quiet(0.015)
        verdict = session(earlier, runner)
        assert (verdict.outcome, verdict.reason) == (Outcome.UNDECIDED, Reason.TOO_NOISY)
        assert runner.calls == []
    with pytest.raises(UsageError):
        session(Earlier(SUBJECT, UNDECIDED, interrupted=-1))


def test_a_decided_test_is_not_measured_further():
    runner = quiet(0.05)
    verdict = session(Earlier(SUBJECT, (pair_of("0.05"),) * 5), runner)
    assert verdict.outcome is Outcome.REPRODUCED
    assert len(verdict.gains) == 3
    assert runner.calls == []


def test_the_order_of_runs_goes_on_where_it_stopped():
    runner = quiet(0.015)
    session(Earlier(SUBJECT, UNDECIDED[:3]), runner, pairs=4)
    assert [name for _, name, _ in runner.calls] == ["pair-04-candidate", "pair-04-control"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-30, 60), min_size=24, max_size=24), st.integers(1, 23), st.integers(1, 23))
def test_a_test_cut_anywhere_and_continued_decides_as_one_that_was_not_stopped(thousandths, one, two):
    class Scripted(SimRunner):
        """Gives pair number n the n-th gain, whoever asks for it."""

        def run(self, role, files, *, run_folder, deadline_seconds, seed):
            number = int(run_folder.name.split("-")[1]) - 1
            gains = {"better": thousandths[number] / 1000}
            inner = SimRunner(quiet().machine, gains=gains)
            return inner.run(role, files, run_folder=run_folder, deadline_seconds=deadline_seconds, seed=seed)

    whole = judge(Scripted(), noise(), {}, BETTER, seed=b"s", settings=session_settings(pairs=24))
    pairs: tuple[Pair, ...] = ()
    for limit in (*sorted((one, two)), 24):
        found = session(Earlier(SUBJECT, pairs), Scripted(), pairs=limit)
        if found.reason is not Reason.MORE_PAIRS_NEEDED:
            break
        pairs = found.pairs
    assert (found.outcome, found.reason, found.gains) == (whole.outcome, whole.reason, whole.gains)


def test_what_disturbed_the_candidates_run_alone_gives_no_second_first_pair():
    heated = Pair(control(), candidate("1.9", disturbed="the machine grew hot"))
    asleep = Pair(control(disturbed="it slept"), candidate("1.9", disturbed="it slept"))
    undecided = session(Earlier(SUBJECT, (asleep, asleep)))
    assert undecided.voided == (0, 1)
    assert may_start_over(undecided)
    assert not may_start_over(session(Earlier(SUBJECT, (asleep, heated))))


@pytest.mark.parametrize("change", [{"hardware_class": "metal, other"}, {"environment": "cd" * 32}, {}])
def test_a_noise_of_another_class_or_environment_judges_nobody(change):
    contest = Contest(
        materials=SimpleNamespace(),  # type: ignore[arg-type]
        hardware_class=noise().hardware_class,
        environment=noise().environment,
        budget_seconds=3.0,
    )

    def attempt() -> Verdict:
        return contest.judge(
            SimpleNamespace(),  # type: ignore[arg-type]
            Trial(BETTER, replace(noise(), **change), b"s", Path("simulated"), lambda _: None),
        )

    if change:
        assert (attempt().outcome, attempt().reason) == (Outcome.UNDECIDED, Reason.VERIFIER_FAULT)
    else:
        with pytest.raises(AttributeError):  # it goes on, to materials that are not there
            attempt()
