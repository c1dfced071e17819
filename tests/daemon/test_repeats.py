"""The repeat of a failed audit is not drawn as often as a cheat can bring the machine down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.daemon.test_continuing import BEGAN, machine, pair, report_of, runs_made, store_at
from tests.daemon.test_pass import step_of, validate
from tests.daemon.test_redraw import Failing, prepared_with
from tests.faults.processes import Job, Launcher
from tests.faults.tinyworld import TinyWorld
from verifier.judging import Prepared
from verifier.model import Role

__all__ = ["machine"]


@pytest.mark.unit
def test_a_repeat_is_open_until_it_has_ended(tmp_path: Path) -> None:
    log = store_at(tmp_path).tests
    log.begin(7, "s", "c")
    log.session(7)
    log.began(7, 1)
    log.ended(7, 1, pair("1.9"))
    log.keeper(7).began(2)
    found = log.find(7)
    assert found is not None
    assert (found.interrupted, len(found.pairs)) == (1, 1)
    assert log.session(7) == 2
    log.keeper(7).began(2)
    log.keeper(7).repeated(2)
    found = log.find(7)
    assert found is not None
    assert (found.interrupted, len(found.pairs)) == (1, 1), "the first counts once, the second ended"


@pytest.mark.e2e
def test_a_repeat_that_breaks_off_twice_leaves_the_candidate_undecided_for_good(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = world.submitted(looks_ahead=True), world.home()
    healthy = [1]  # candidate runs that the first session makes before the machine fails

    def fail(prepared: Prepared) -> Prepared:
        after = healthy.pop() if healthy else 0
        return replace(prepared, runner=Failing(prepared.runner, Role.CANDIDATE, after=after))

    prepared_with(monkeypatch, fail)
    assert step_of(validate(world, home), proposal)["reason"] == "verifier-fault"
    assert step_of(validate(world, home), proposal)["reason"] == "verifier-fault"
    made = runs_made()
    last = step_of(validate(world, home), proposal)
    assert (last["step"], last["outcome"], last["reason"]) == ("left", "undecided", "too-noisy"), last
    assert step_of(validate(world, home), proposal)["step"] == "known"
    assert runs_made() == made, "nothing is run any more"


@pytest.mark.e2e
def test_a_repeat_that_broke_off_once_is_made_again_and_refutes(world: TinyWorld, launcher: Launcher) -> None:
    proposal, home = world.submitted(looks_ahead=True), world.home()
    stop = {"call": BEGAN, "when": "after", "number": 2}
    arguments = world.validate_arguments(home, "--json")
    (ended,) = launcher.run(Job(arguments, validator=True, simulate=True, stop=stop))
    assert ended.was_killed, ended.text
    found = step_of(validate(world, home), proposal)
    assert (found["step"], found["outcome"]) == ("waiting", "refuted"), found
    assert len(report_of(home, proposal)["repeats"]) == 2
