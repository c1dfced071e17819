"""What a run and its model may take, and what the supervisor makes of any course of events: laws."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.errors import LogitsNotFinite, ModelUnsupported, VerifierFault
from verifier.harness import bounds
from verifier.harness.bounds import candidate_limits, run_rules
from verifier.harness.channel import HEADER, MAGIC, Channel, Kind, checksum
from verifier.harness.constants import Constants
from verifier.harness.evaluation import Cost
from verifier.harness.evaluator import EvaluatorLimits
from verifier.harness.runlog import RunLog
from verifier.harness.supervise import Conduct, Rules, Supervisor, channel_audit
from verifier.model import Ending
from verifier.sandbox.interface import Exit, Usage

pytestmark = pytest.mark.unit

# ----- limits of a graph

costs = st.builds(
    Cost, st.floats(0, 1e5), st.integers(0, 1 << 42), st.integers(0, 1 << 34), st.just(0.0), st.just(0.0)
)
limits = st.builds(EvaluatorLimits, st.floats(1, 1e5), st.integers(1 << 20, 1 << 42), st.integers(1, 1 << 34))


def test_a_first_run_has_the_operators_limits() -> None:
    assert candidate_limits(EvaluatorLimits(), None) == EvaluatorLimits()


@given(limits, costs)
def test_a_graph_that_costs_what_the_control_did_is_within_its_limits(
    base: EvaluatorLimits, usual: Cost
) -> None:
    """Where the control was within the operator's limits, so is whoever costs the same."""
    found = candidate_limits(base, usual)
    assert found.seconds >= min(usual.seconds, base.seconds)
    assert found.memory_bytes >= min(usual.memory_bytes, base.memory_bytes)
    assert found.graph_bytes >= usual.graph_bytes


@given(limits, costs)
def test_time_and_memory_are_bounded_by_the_multiple_or_the_floor_and_by_the_operator(
    base: EvaluatorLimits, usual: Cost
) -> None:
    found = candidate_limits(base, usual)
    assert found.seconds <= base.seconds
    assert found.memory_bytes <= base.memory_bytes
    assert found.seconds <= max(bounds.LEAST_SECONDS, 4 * usual.seconds)
    assert found.memory_bytes <= max(bounds.LEAST_MEMORY, 2 * usual.memory_bytes)
    assert found.graph_bytes == max(base.graph_bytes, 4 * usual.graph_bytes)


# ----- times of a run

seconds = st.floats(0.5, 3600)
benchmarks = st.builds(
    Constants, st.just(64), seconds, st.just(6400), st.sampled_from(["wall", "cpu"])
)  # fmt: skip


@given(benchmarks, st.none() | seconds, st.none() | seconds, st.none() | seconds)
def test_the_hard_limit_leaves_an_honest_run_its_deadline_and_is_never_beyond_what_was_said(
    constants: Constants, deadline: float | None, hard: float | None, protocol: float | None
) -> None:
    rules = run_rules(
        constants, deadline_seconds=deadline, hard_wall_seconds=hard, protocol_wall_seconds=protocol
    )
    assert (rules.clock, rules.budget_seconds) == (constants.clock, constants.budget_seconds)
    assert rules.deadline_seconds == deadline
    for said in (hard, protocol):
        assert said is None or rules.hard_wall_seconds <= said
    if hard is None and protocol is None:
        assert rules.hard_wall_seconds > (deadline or constants.budget_seconds)
        assert rules.hard_wall_seconds <= 20 * 3 * 3600 + 3600 + 120


# ----- the supervisor, on a clock of its own

What = Literal["graph", "unsupported", "forged", "garbage"]
FRAMES: Mapping[What, Kind | None] = {
    "graph": Kind.GRAPH,
    "unsupported": Kind.UNSUPPORTED,
    "forged": Kind.VALUE,
    "garbage": None,
}


class Acted:
    """A program that does what a script says at each tick of its clock; nothing is ever really run."""

    def __init__(self, theirs: socket.socket, script: Mapping[int, What], end: int, code: int) -> None:
        self.tick, self.frozen, self.gone = 0, False, False
        self.froze = self.thawed = 0
        self._theirs, self._script, self._end, self._code = theirs, script, end, code

    def poll(self) -> Exit | None:
        if self.tick < self._end and not self.frozen:
            self.tick += 1
            self._act(self._script.get(self.tick))
        return Exit(self._code, None) if self.tick >= self._end else None

    def _act(self, what: What | None) -> None:
        if what is None:
            return
        kind, payload = FRAMES[what], str(self.tick).encode()
        try:
            if kind is None:
                self._theirs.sendall(b"x" * HEADER.size)
            else:
                self._theirs.sendall(
                    HEADER.pack(MAGIC, kind, len(payload), checksum(kind, payload)) + payload
                )
        except OSError:
            pass

    def wait(self, timeout_seconds: float | None = None) -> Exit | None:
        return self.poll()

    def usage(self) -> Usage:
        return Usage(float(self.tick), 0, float(self.tick))

    def freeze(self) -> None:
        self.frozen, self.froze = True, self.froze + 1

    def thaw(self) -> None:
        self.frozen, self.thawed = False, self.thawed + 1

    def kill_tree(self, reason: str = "deadline") -> None:
        self.gone = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_tree()


def acted(
    script: Mapping[int, What], end: int, code: int, rules: Rules, judge: object = None
) -> tuple[Conduct, Acted, list[bytes]]:
    """The conduct, the program, and every graph that was scored."""
    channel, theirs = Channel.open({Kind.GRAPH: 100, Kind.UNSUPPORTED: 100})
    scored: list[bytes] = []
    program = Acted(theirs, script, end, code)

    def score(graph: bytearray) -> str:
        assert program.frozen
        scored.append(bytes(graph))
        if isinstance(judge, Exception):
            raise judge
        return "1.0"

    with channel, theirs:
        conduct = Supervisor(program, channel, RunLog(None), rules, score).run()
    assert program.gone
    assert not program.frozen
    return conduct, program, scored


def expected(
    script: Mapping[int, What], end: int, code: int, rules: Rules
) -> tuple[Ending, int | None, int | None]:
    """Ending, tick of the graph that counts, tick of the forged message: the rule, written a second time."""
    kept = None
    for tick in range(1, end + 1):
        what = script.get(tick)
        late = rules.deadline_seconds is not None and tick > rules.deadline_seconds
        if what == "garbage":
            return Ending.BAD_FRAME, None, None
        if what == "forged":
            return Ending.BAD_FRAME, None, tick
        if late and (what is not None or tick < end):
            return Ending.DEADLINE, None, None
        if what == "unsupported":
            return Ending.UNSUPPORTED, None, None
        if what == "graph" and tick >= rules.budget_seconds:
            return Ending.GRAPH, tick, None
        if what == "graph":
            kept = tick
        if tick == end:
            break
        if tick > rules.hard_wall_seconds:
            return Ending.DEADLINE, None, None
    if code != 0:
        return Ending.CRASH, None, None
    return (Ending.GRAPH, kept, None) if kept is not None else (Ending.NO_GRAPH, None, None)


courses = st.dictionaries(st.integers(1, 14), st.sampled_from(list(FRAMES)), max_size=4)
timed = st.builds(
    lambda budget, deadline, hard: Rules("wall", budget, deadline, hard, tail_seconds=3, poll_seconds=0.0),
    st.integers(1, 10),
    st.none() | st.integers(1, 14),
    st.integers(1, 14),
)


@settings(deadline=None, max_examples=400)
@given(courses, st.integers(1, 15), st.sampled_from([0, 0, 0, 1, -9]), timed)
def test_any_course_of_events_ends_as_the_rule_says(
    script: Mapping[int, What], end: int, code: int, rules: Rules
) -> None:
    ending, tick, forged = expected(script, end, code, rules)
    conduct, _, scored = acted(script, end, code, rules)
    assert conduct.ending is ending
    assert scored == ([] if tick is None else [str(tick).encode()])
    assert conduct.seconds_to_graph == tick
    assert (conduct.value is None) == (ending is not Ending.GRAPH)
    if ending is not Ending.GRAPH:
        assert (conduct.forged is not None) == (forged is not None)
    assert channel_audit(conduct).passed == (conduct.forged is None)


@settings(deadline=None, max_examples=200)
@given(courses, st.integers(1, 15), timed)
def test_no_graph_counts_before_it_came_or_after_the_deadline_and_the_program_stood_still_for_it(
    script: Mapping[int, What], end: int, rules: Rules
) -> None:
    conduct, program, scored = acted(script, end, 0, rules)
    assert program.froze == program.thawed == len(scored)
    if conduct.ending is Ending.GRAPH:
        assert conduct.seconds_to_graph is not None
        assert script[int(conduct.seconds_to_graph)] == "graph"
        assert rules.deadline_seconds is None or conduct.seconds_to_graph <= rules.deadline_seconds


@settings(deadline=None, max_examples=100)
@given(courses, timed, st.integers(1, 15))
def test_what_is_forged_after_the_value_fails_the_audit_and_changes_no_score(
    script: Mapping[int, What], rules: Rules, later: int
) -> None:
    first = max(script, default=0) + 1
    whole = {**{tick: what for tick, what in script.items() if what == "graph"}, first: "graph"}
    rules = Rules("wall", 1, None, 100, tail_seconds=30, poll_seconds=0.0)
    honest, _, _ = acted(whole, first + later + 1, 0, rules)
    forging, _, _ = acted({**whole, first + later: "forged"}, first + later + 1, 0, rules)
    assert (honest.ending, honest.value, honest.graph) == (forging.ending, forging.value, forging.graph)
    assert channel_audit(honest).passed
    assert not channel_audit(forging).passed


@pytest.mark.parametrize(
    ("problem", "ending"),
    [(LogitsNotFinite("not finite"), Ending.NO_GRAPH), (ModelUnsupported("no"), Ending.UNSUPPORTED)],
)
def test_a_graph_that_cannot_be_scored_leaves_nothing_stopped_and_nothing_running(
    problem: Exception, ending: Ending
) -> None:
    rules = Rules("wall", 1, None, 100, poll_seconds=0.0)
    conduct, program, _ = acted({2: "graph"}, 9, 0, rules, problem)
    assert conduct.ending is ending
    assert program.froze == program.thawed == 1


def test_a_fault_of_ours_while_scoring_is_raised_and_leaves_nothing_running() -> None:
    rules = Rules("wall", 1, None, 100, poll_seconds=0.0)
    with pytest.raises(VerifierFault):
        acted({2: "graph"}, 9, 0, rules, VerifierFault("ours"))
