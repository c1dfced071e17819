"""Nothing that a miner or a fault can bring about gives a second draw, stops the pass, or loses a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import armlx_chain.cli.reproduce
from armlx_chain.chain.contracts import Status
from armlx_chain.errors import VerifierFault
from armlx_chain.types import Root
from tests.daemon.settling import Settling
from tests.daemon.test_continuing import SLOW, kept, pair, report_of, runs_made, submitted
from tests.daemon.test_pass import close_all, step_of, validate
from tests.faults import simulated
from tests.faults.processes import Launcher
from tests.faults.tinyworld import TinyWorld
from verifier.daemon.store import Finding, FindingState
from verifier.daemon.testing import _counted as counted_pairs
from verifier.daemon.testlog import Test
from verifier.judging import Prepared
from verifier.model import Pair, Reason, Role, RunRecord
from verifier.report import to_tree
from verifier.verdict.plain import without_runs


@pytest.fixture(autouse=True)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    simulated.runs.clear()
    yield
    if "world" in request.fixturenames:
        close_all(request.getfixturevalue("world"))


def prepared_with(monkeypatch: pytest.MonkeyPatch, change: Callable[[Prepared], Prepared]) -> None:
    """From here on projects are prepared on a machine that is changed so."""

    def prepare(*arguments: Any) -> Prepared:
        return change(simulated.prepare(*arguments))

    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", prepare)


class Failing:
    """A runner that fails, on the verifier's side, in every run of one role."""

    def __init__(self, runner: Any, role: Role, *, after: int = 0) -> None:
        self._runner, self._role, self._after = runner, role, after
        self.tries = 0

    def run(self, role: Role, *arguments: Any, **more: Any) -> RunRecord:
        if role is self._role and self.tries == self._after:
            raise VerifierFault("The disk is full.")
        self.tries += role is self._role
        found: RunRecord = self._runner.run(role, *arguments, **more)
        return found


@pytest.mark.e2e
def test_a_best_whose_bytes_come_and_go_gives_its_challenger_no_second_draw(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = submitted(world, SLOW), world.home()
    assert step_of(validate(world, home), proposal)["reason"] == "more-pairs-needed"
    stated = report_of(home, proposal)["evidence"]
    best = world.registry.find_project(proposal.project_id)
    assert best is not None
    assert stated["current-best"] == str(int(best.best_score)), "a verdict that is never signed says on what"
    assert {"control-root", "evaluation-root", "evaluation-seed", "evaluation-block"} <= stated.keys()

    def fall_back(prepared: Prepared) -> Prepared:
        other = Root.zerog(b"\x33" * 32)
        return replace(
            prepared,
            materials=replace(prepared.materials, control_root=other, disadvantage=Decimal("0.001")),
        )

    prepared_with(monkeypatch, fall_back)
    left = step_of(validate(world, home), proposal)
    assert (left["step"], runs_made()) == ("left", 16), left
    assert "control" in left["sentence"]
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    assert step_of(validate(world, home), proposal)["step"] == "approved", "the kept test goes on"
    assert runs_made() == 28


@pytest.mark.e2e
@pytest.mark.parametrize(("role", "tries"), [(Role.CANDIDATE, 2), (Role.CONTROL, 4)])
def test_a_fault_in_the_candidates_first_run_is_forgiven_once(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch, role: Role, tries: int
) -> None:
    proposal, home = submitted(world, "0.500000"), world.home()
    fail = lambda prepared: replace(prepared, runner=Failing(prepared.runner, role))  # noqa: E731
    prepared_with(monkeypatch, fail)
    said = [step_of(validate(world, home), proposal)["sentence"] for _ in range(4)]
    assert sum("The disk is full" in sentence for sentence in said) == tries
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    last = step_of(validate(world, home), proposal)
    assert last["step"] == ("approved" if role is Role.CONTROL else "left"), last


@pytest.mark.e2e
def test_after_a_fault_a_test_goes_on_with_its_pairs_and_a_second_one_ends_it(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = submitted(world, SLOW), world.home()
    fail = lambda prepared: replace(prepared, runner=Failing(prepared.runner, Role.CANDIDATE, after=2))  # noqa: E731
    prepared_with(monkeypatch, fail)
    assert step_of(validate(world, home), proposal)["reason"] == "verifier-fault"
    assert [number for number, _ in kept(home, proposal)] == [1, 2]
    assert step_of(validate(world, home), proposal)["reason"] == "verifier-fault"
    assert [number for number, _ in kept(home, proposal)] == [1, 2, 3, 4]
    last = step_of(validate(world, home), proposal)
    assert (last["reason"], "never ended" in last["sentence"]) == ("too-noisy", True), last
    assert step_of(validate(world, home), proposal)["step"] == "known"


@pytest.mark.e2e
def test_a_cheat_whose_score_no_document_can_hold_is_refuted_and_stops_nobody(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = world.submitted(looks_ahead=True), world.home()
    honest = simulated.level_of
    monkeypatch.setattr(
        simulated, "level_of", lambda source: "2e6" if "LOOKAHEAD = True" in source else honest(source)
    )
    found = step_of(validate(world, home, "--auto-reject"), proposal)
    assert (found["step"], found["outcome"]) == ("rejected", "refuted"), found
    assert world.proposal(proposal.id).status is Status.REJECTED
    (first, *_) = report_of(home, proposal)["pairs"]
    assert Decimal(first["candidate"]["validation"]) == 2_000_000


@pytest.mark.e2e
def test_a_verdict_that_the_guard_refuses_is_left_and_stops_nobody(
    world: TinyWorld, launcher: Launcher
) -> None:
    settling = Settling.begin(world, looks_ahead=False)
    killed = settling.run(launcher, call="verifier.daemon.store:FindingStore.signed", when="before", number=1)
    assert killed.was_killed, killed.text
    for path in settling.home.glob("findings.sqlite*"):
        path.unlink()
    world.devnet.advance_time(5)  # another verdict states another time
    later = world.submitted()
    ran = validate(world, settling.home)
    left = step_of(ran, settling.proposal)
    assert (left["step"], "guard" in left["sentence"]) == ("left", True), left
    assert world.proposal(settling.proposal.id).status is Status.SUBMITTED
    assert step_of(ran, later)["step"] == "approved"


@pytest.mark.e2e
def test_a_fault_while_settling_leaves_the_verdicts_report_as_it_is(
    world: TinyWorld, launcher: Launcher
) -> None:
    settling = Settling.begin(world, looks_ahead=False)
    killed = settling.run(launcher, call="verifier.daemon.store:FindingStore.signed", when="after", number=1)
    assert killed.was_killed, killed.text
    before = report_of(settling.home, settling.proposal)
    (bundle,) = (settling.home / "reports").glob(f"*/{settling.proposal.id}/candidate.tar")
    bundle.rename(bundle.with_name("aside"))
    stopped = step_of(validate(world, settling.home), settling.proposal)
    assert (stopped["step"], stopped["outcome"]) == ("waiting", "reproduced")
    assert "candidate.tar" in stopped["sentence"]
    assert report_of(settling.home, settling.proposal) == before
    bundle.with_name("aside").rename(bundle)
    assert step_of(validate(world, settling.home), settling.proposal)["step"] == "approved"
    settling.require_settled_once()


def finding_of(*pairs: Pair, voided: tuple[int, ...]) -> Finding:
    verdict = replace(without_runs(Reason.VERIFIER_FAULT, "x"), pairs=pairs, voided=voided)
    return Finding(1, FindingState.JUDGED, to_tree(verdict), None, None, None)


@pytest.mark.unit
def test_voided_pairs_of_an_earlier_test_say_nothing_of_pairs_measured_since(tmp_path: Path) -> None:
    old, new = pair("1.9"), pair("1.8")
    assert counted_pairs(Test("s", "c", 1, 0, (old,)), finding_of(old, voided=(0,))) == 0
    assert counted_pairs(Test("s", "c", 1, 0, (new,)), finding_of(old, voided=(0,))) == 1
    assert counted_pairs(Test("s", "c", 1, 0, (old, new)), finding_of(old, voided=(0,))) == 2
    assert counted_pairs(Test("s", "c", 1, 0, (old,)), None) == 1
