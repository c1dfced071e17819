"""A test that wants more pairs goes on with the pairs it has, killed or not, and is never begun anew."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import armlx_chain.cli.reproduce
from armlx_chain.chain.contracts import Proposal, Status
from tests.daemon.test_pass import close_all, step_of, validate
from tests.faults import simulated
from tests.faults.processes import Job, Launcher
from tests.faults.tinyworld import SEED_BLOCKS, TinyWorld
from verifier.daemon.store import FindingState, FindingStore
from verifier.model import Pair, Role, bpb
from verifier.simulate import record

ENDED = "verifier.daemon.testlog:TestLog.ended"
BEGAN = "verifier.daemon.testlog:TestLog.began"
SLOW, NEVER = "0.015000", "0.010000"
"""Gains that the simulated machine accepts after 14 pairs, and never: m is 0.02, so m/2 says nothing."""


# --- the log ----------------------------------------------------------------------------------------------


def pair(level: str) -> Pair:
    return Pair(
        record(Role.CONTROL, validation=bpb("2.0"), fresh=bpb("2.1"), run_folder=Path("a")),
        record(Role.CANDIDATE, validation=bpb(level), fresh=bpb(level), run_folder=Path("b")),
    )


def store_at(folder: Path) -> FindingStore:
    return FindingStore(folder / "findings.sqlite", chain="1:ab", ledger="0xL", account="0xA")


@pytest.mark.unit
def test_pairs_come_back_as_they_were_and_a_number_is_given_once(tmp_path: Path) -> None:
    log = store_at(tmp_path).tests
    log.begin(7, "subject", "conditions")
    assert log.session(7) == 1
    for number, level in enumerate(("1.9", "1.800000001"), start=1):
        log.keeper(7).began(number)
        log.keeper(7).ended(number, pair(level))
    with pytest.raises(sqlite3.IntegrityError):
        log.ended(7, 2, pair("1.0"))
    found = store_at(tmp_path).tests.find(7)
    assert found is not None
    assert found.pairs == (pair("1.9"), pair("1.800000001"))
    assert (found.subject, found.conditions, found.sessions, found.interrupted) == (
        "subject", "conditions", 1, 0,
    )  # fmt: skip


@pytest.mark.unit
def test_a_pair_that_began_and_never_ended_was_interrupted(tmp_path: Path) -> None:
    log = store_at(tmp_path).tests
    log.begin(7, "s", "c")
    log.session(7)
    log.began(7, 1)
    found = log.find(7)
    assert found is not None
    assert (found.interrupted, found.pairs) == (1, ())
    assert log.session(7) == 2
    log.began(7, 1)
    log.ended(7, 1, pair("1.9"))
    found = log.find(7)
    assert found is not None
    assert (found.interrupted, len(found.pairs)) == (1, 1)


@pytest.mark.unit
def test_findings_of_the_earlier_version_are_kept_when_tests_are_added(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "findings.sqlite")) as old:
        old.executescript(
            "CREATE TABLE finding (chain TEXT NOT NULL, ledger TEXT NOT NULL, account TEXT NOT NULL,"
            " proposal INTEGER NOT NULL, state TEXT NOT NULL, report TEXT NOT NULL, draft BLOB,"
            " attestation BLOB, metrics_root TEXT, PRIMARY KEY (chain, ledger, account, proposal));"
            "INSERT INTO finding VALUES ('1:ab', '0xl', '0xa', 3, 'closed', '{}', NULL, NULL, NULL);"
            "PRAGMA user_version = 1;"
        )
    store = store_at(tmp_path)
    finding = store.find(3)
    assert finding is not None
    assert finding.state is FindingState.CLOSED
    assert store.tests.find(3) is None
    store.tests.begin(3, "s", "c")
    assert store.tests.find(3) is not None


# --- the pass ---------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    simulated.runs.clear()
    yield
    if "world" in request.fixturenames:
        close_all(request.getfixturevalue("world"))


def submitted(world: TinyWorld, gain: str) -> Proposal:
    number = world.ledger.proposal_count()
    ran = world.submit(world.write_run(gain=gain, unique=False), world.home())
    assert ran.code == 0, ran.err
    world.devnet.mine(SEED_BLOCKS)
    return world.proposal(number)


def runs_made() -> int:
    return sum(len(runner.calls) for runner in simulated.runs)


def kept(home: Path, proposal: Proposal) -> list[tuple[int, str]]:
    """Number and session of every pair."""
    with closing(sqlite3.connect(home / "findings.sqlite")) as database:
        rows = database.execute(
            "SELECT number, record FROM pair WHERE proposal = ? ORDER BY number", (int(proposal.id),)
        ).fetchall()
    return [(number, Path(json.loads(text)["logs"]["control"]).parts[-3]) for number, text in rows]


def report_of(home: Path, proposal: Proposal) -> dict[str, Any]:
    (path,) = (home / "reports").glob(f"*/{proposal.id}/report.json")
    return dict(json.loads(path.read_text()))


@pytest.mark.e2e
def test_an_undecided_test_is_continued_by_the_next_pass_with_the_pairs_it_has(world: TinyWorld) -> None:
    proposal, home = submitted(world, SLOW), world.home()
    first = step_of(validate(world, home), proposal)
    assert (first["step"], first["outcome"], first["reason"]) == ("left", "undecided", "more-pairs-needed")
    assert runs_made() == 16
    assert world.proposal(proposal.id).status is Status.SUBMITTED
    second = step_of(validate(world, home), proposal)
    assert (second["step"], second["outcome"]) == ("approved", "reproduced"), second
    assert runs_made() == 2 * 14, "no pair was run twice"
    assert kept(home, proposal) == [(n, "001") for n in range(1, 9)] + [(n, "002") for n in range(9, 15)]
    report = report_of(home, proposal)
    assert len(report["pairs"]) == len(report["gains"]) == 14


@pytest.mark.e2e
def test_with_a_higher_limit_one_pass_goes_all_the_way_and_24_pairs_are_the_end(world: TinyWorld) -> None:
    proposal, home = submitted(world, NEVER), world.home()
    nonce = world.nonce("validator")
    first = step_of(validate(world, home, "--pairs", "24"), proposal)
    assert (first["step"], first["outcome"], first["reason"]) == ("left", "undecided", "too-noisy")
    assert runs_made() == 48
    again = step_of(validate(world, home, "--pairs", "24"), proposal)
    assert (again["step"], runs_made(), world.nonce("validator")) == ("known", 48, nonce)


@pytest.mark.e2e
def test_killed_at_any_pair_nothing_that_counted_is_lost_or_repeated(
    world: TinyWorld, launcher: Launcher
) -> None:
    proposal, home = submitted(world, SLOW), world.home()

    def killed(call: str, when: str, number: int) -> None:
        stop = {"call": call, "when": when, "number": number}
        arguments = world.validate_arguments(home, "--json")
        (ended,) = launcher.run(Job(arguments, validator=True, simulate=True, stop=stop))
        assert ended.was_killed, ended.text

    killed(ENDED, "after", 1)
    assert len(kept(home, proposal)) == 1
    killed(ENDED, "after", 3)
    assert len(kept(home, proposal)) == 4
    killed(BEGAN, "before", 3)
    assert len(kept(home, proposal)) == 6
    killed(BEGAN, "after", 1)  # the seventh pair was under way: it counts as the one voided pair
    killed("verifier.daemon.store:FindingStore.judged", "before", 1)
    assert len(kept(home, proposal)) == 8
    assert step_of(validate(world, home), proposal)["reason"] == "more-pairs-needed"
    assert step_of(validate(world, home), proposal)["step"] == "approved"
    sessions = [session for _, session in kept(home, proposal)]
    assert [number for number, _ in kept(home, proposal)] == list(range(1, 15))
    assert sessions == sorted(sessions)
    assert len(set(sessions)) >= 4


@pytest.mark.e2e
def test_a_second_interrupted_pair_leaves_the_candidate_undecided_for_good(
    world: TinyWorld, launcher: Launcher
) -> None:
    proposal, home = submitted(world, "0.500000"), world.home()
    for number in (2, 1):
        stop = {"call": BEGAN, "when": "after", "number": number}
        arguments = world.validate_arguments(home, "--json")
        (ended,) = launcher.run(Job(arguments, validator=True, simulate=True, stop=stop))
        assert ended.was_killed, ended.text
    result = step_of(validate(world, home), proposal)
    assert (result["step"], result["outcome"], result["reason"]) == ("left", "undecided", "too-noisy")
    assert "never ended" in result["sentence"]
    assert runs_made() == 0
    assert step_of(validate(world, home), proposal)["step"] == "known"


@pytest.mark.e2e
def test_a_first_pair_that_is_interrupted_twice_is_not_drawn_a_third_time(
    world: TinyWorld, launcher: Launcher
) -> None:
    proposal, home = submitted(world, "0.500000"), world.home()
    for _ in range(2):
        stop = {"call": BEGAN, "when": "after", "number": 1}
        arguments = world.validate_arguments(home, "--json")
        (ended,) = launcher.run(Job(arguments, validator=True, simulate=True, stop=stop))
        assert ended.was_killed, ended.text
    assert step_of(validate(world, home), proposal)["reason"] == "too-noisy"
    waiting = step_of(validate(world, home), proposal)
    assert (waiting["step"], runs_made()) == ("left", 0)
    assert "fresh calibration" in waiting["sentence"]


@pytest.mark.e2e
def test_a_test_in_which_pairs_counted_is_not_begun_anew_under_another_calibration(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = submitted(world, SLOW), world.home()
    assert step_of(validate(world, home), proposal)["reason"] == "more-pairs-needed"
    fresh = lambda prepared, **_: replace(simulated.noise(prepared), point=bpb("0.007"))  # noqa: E731
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", fresh)
    result = step_of(validate(world, home), proposal)
    assert (result["step"], result["outcome"], runs_made()) == ("left", "undecided", 16)
    assert "never begins anew" in result["sentence"]


@pytest.mark.e2e
def test_where_every_pair_was_voided_only_a_fresh_calibration_begins_anew(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = submitted(world, "0.500000"), world.home()
    off = lambda prepared, **_: replace(simulated.noise(prepared), control_mean=bpb("3.0"))  # noqa: E731
    if world.registry.find_project(proposal.project_id).has_accepted:  # type: ignore[union-attr]
        world_project = world.publish(symbol="VOIDS")
        number = world.ledger.proposal_count()
        run = world.write_run(gain="0.500000", project_id=world_project.project_id)
        assert world.submit(run, world.home()).code == 0
        world.devnet.mine(SEED_BLOCKS)
        proposal = world.proposal(number)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", off)
    first = step_of(validate(world, home), proposal)
    assert (first["outcome"], first["reason"]) == ("undecided", "too-noisy")
    made = runs_made()
    second = step_of(validate(world, home), proposal)
    assert (second["step"], runs_made()) == ("left", made)
    assert "fresh calibration" in second["sentence"]
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    assert step_of(validate(world, home), proposal)["step"] == "approved"
