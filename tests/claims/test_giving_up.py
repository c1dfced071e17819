"""Giving up a submission: nothing of it is sent any more, and the ledger may take nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from armlx_chain.chain.journal import State
from armlx_chain.claims.submission import SubmissionStore
from armlx_chain.market import trade
from tests.faults.processes import Job, Launcher
from tests.faults.submitting import Submitting
from tests.faults.tinyworld import STAKE, Ran, TinyWorld, call

pytestmark = pytest.mark.e2e
_SIGNED = {"event": "signed", "number": 1}


@pytest.fixture
def submitting(world: TinyWorld) -> Submitting:
    """A submission that has to buy its whole stake."""
    left = world.token().balance_of(world.address("miner"))
    if left:
        trade.sell(world.sender("miner"), world.token(), left, key="sell")
    return Submitting.begin(world)


def abandon(world: TinyWorld, run_log: Path, home: Path, *extra: object) -> Ran:
    return call(world.signed(["abandon", "--run", run_log, "--yes", "--json", *extra], home, "miner"))


@pytest.mark.parametrize(("number", "event"), [(1, "signed"), (2, "mined"), (3, "signed")])
def test_before_the_proposal_is_mined(
    submitting: Submitting, launcher: Launcher, number: int, event: str
) -> None:
    world, token = submitting.world, submitting.world.token()
    (killed,) = launcher.run(submitting.job_until(event=event, number=number))
    assert killed.was_killed, killed.text
    status = call(world.unsigned(["status", "--account", "miner", "--json"], submitting.home)).document
    assert len(status["unfinished_submissions"]) == 1
    assert len(status["pending"]) == (1 if event == "signed" else 0)
    nonce = world.nonce()
    dry = abandon(world, submitting.run_log, submitting.home, "--dry-run")
    assert (dry.code, world.nonce()) == (0, nonce)
    given_up = abandon(world, submitting.run_log, submitting.home)
    assert given_up.code == 0, given_up.err
    assert given_up.document["allowance_reset"] is (number > 1)
    assert token.allowance(world.address("miner"), world.ledger.address) == 0
    assert world.ledger.proposal_count() == submitting.count
    assert token.balance_of(world.address("miner")) == submitting.balance + (STAKE if number > 1 else 0)
    attempts = world.journal("miner", submitting.home)._all()
    assert all(attempt.state is not State.SIGNED for attempt in attempts), "nothing is left on its way"
    again = world.submit(submitting.run_log, submitting.home, "--json")
    assert (again.code, again.error["code"]) == (3, "ClaimRefused")
    assert "given up" in again.error["message"]
    assert abandon(world, submitting.run_log, submitting.home).code == 0, "twice does no harm"
    assert world.ledger.proposal_count() == submitting.count


def test_once_it_is_on_the_ledger_it_cannot_be_given_up(submitting: Submitting, launcher: Launcher) -> None:
    world = submitting.world
    launcher.run(submitting.job_until(event="broadcast", number=3))
    refused = abandon(world, submitting.run_log, submitting.home)
    assert (refused.code, refused.error["code"]) == (3, "ClaimRefused")
    assert "on the ledger already" in refused.error["message"]
    assert world.submit(submitting.run_log, submitting.home).code == 0, "and is finished as ever"
    submitting.require_done_once()


def test_a_proposal_on_the_ledger_is_finished_even_if_giving_it_up_was_cut_short(
    submitting: Submitting, launcher: Launcher
) -> None:
    world = submitting.world
    launcher.run(submitting.job_until(event="mined", number=3))
    store = SubmissionStore(submitting.home / "submissions")
    (begun,) = store.unfinished()
    store.abandon(begun.id)  # as far as an abandon came that was killed right then
    refused = world.submit(submitting.run_log, submitting.home, "--json")
    assert (refused.code, refused.error["code"]) == (3, "ClaimRefused")
    assert "abandon" in refused.error["next"]
    refused = abandon(world, submitting.run_log, submitting.home)
    assert (refused.code, refused.error["code"]) == (3, "ClaimRefused")
    assert "on the ledger already" in refused.error["message"]
    assert world.submit(submitting.run_log, submitting.home).code == 0
    submitting.require_done_once()


def test_giving_one_up_leaves_another_that_was_begun_able_to_go_on(
    submitting: Submitting, launcher: Launcher
) -> None:
    world = submitting.world
    launcher.run(submitting.job_until(event="mined", number=2))
    other = Submitting.begin(world)
    assert other.run_log != submitting.run_log
    launcher.run(Job(world.submit_arguments(other.run_log, submitting.home), stop=_SIGNED))
    assert abandon(world, other.run_log, submitting.home).code == 0
    assert world.token().allowance(world.address("miner"), world.ledger.address) == 0
    went_on = world.submit(submitting.run_log, submitting.home, "--json")
    assert went_on.code == 0, went_on.err
    assert world.ledger.proposal_count() == submitting.count + 1
    assert world.proposal(submitting.count).stake == STAKE


def test_what_was_never_begun(world: TinyWorld) -> None:
    refused = abandon(world, world.write_run(), world.home())
    assert (refused.code, refused.error["code"]) == (2, "UsageError")
