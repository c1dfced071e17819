"""Several processes, other people's trades and a best that moves, in the middle of a submission."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from armlx_chain.chain.journal import State
from tests.faults.processes import Job, Launcher
from tests.faults.submitting import Submitting
from tests.faults.tinyworld import STAKE, TinyWorld

pytestmark = pytest.mark.e2e


@pytest.fixture
def submitting(world: TinyWorld) -> Submitting:
    return Submitting.begin(world)


def test_two_submissions_of_one_run_at_the_same_moment_make_one_proposal(
    submitting: Submitting, launcher: Launcher
) -> None:
    both = launcher.run(submitting.job, submitting.job)
    assert {ended.code for ended in both} <= {0, 3, 75}
    assert 0 in {ended.code for ended in both}, both
    refused = [ended.text for ended in both if ended.code == 75]
    assert all("Another process is sending transactions" in text for text in refused)
    submitting.require_done_once()
    submitting.require_refused_again()


def test_while_one_process_submits_another_with_its_key_is_refused(
    submitting: Submitting, launcher: Launcher
) -> None:
    (first,) = launcher.run(submitting.job_until(event="mined", number=1, pause=True))
    assert first.paused, first.text
    other = Submitting.begin(submitting.world)
    (same,) = launcher.run(submitting.job)
    (another,) = launcher.run(Job(submitting.world.submit_arguments(other.run_log, submitting.home)))
    for refused in (same, another):
        assert refused.code == 75
        assert "Another process is sending transactions" in refused.text
    assert submitting.world.nonce() == submitting.nonce + 1
    assert launcher.resume(first).code == 0
    submitting.require_done_once()


def test_a_process_that_wakes_up_after_another_has_submitted_buys_nothing_more(
    submitting: Submitting, launcher: Launcher
) -> None:
    asleep = submitting.job_until(
        call="armlx_chain.claims.submit:stake_and_submit", when="before", number=1, pause=True
    )
    (first,) = launcher.run(asleep)
    assert first.paused, first.text
    assert launcher.run(submitting.job)[0].code == 0
    late = launcher.resume(first)
    assert late.code == 0, late.text
    submitting.require_done_once()


def test_when_others_trade_in_between_no_more_is_spent_than_was_agreed(
    submitting: Submitting, launcher: Launcher
) -> None:
    world = submitting.world
    (first,) = launcher.run(submitting.job_until(event="signed", number=1, pause=True))
    world.buy("rival", 500)
    ended = launcher.resume(first)
    assert ended.code == 1
    assert "more than the bound of" in ended.text
    assert world.nonce() == submitting.nonce + 1, "only the purchase that was agreed to was sent"
    bought = world.token().balance_of(world.address("miner")) - submitting.balance
    assert 0 < bought < STAKE
    bounded = world.submit(submitting.run_log, submitting.home, "--max-spend", "0.01og")
    assert bounded.code == 0, bounded.err
    proposal = world.proposal(submitting.count)
    assert proposal.stake == STAKE
    assert world.token().balance_of(world.address("miner")) == submitting.balance


def test_a_bound_holds_for_all_purchases_of_a_submission_together(
    submitting: Submitting, launcher: Launcher
) -> None:
    world = submitting.world
    (first,) = launcher.run(submitting.job_until(event="signed", number=1, pause=True))
    world.buy("rival", 500)
    launcher.resume(first)
    (attempt,) = world.journal("miner", submitting.home)._all()
    receipt = world.rpc.receipt(attempt.tx_hash)
    assert receipt is not None
    tokens_left = STAKE - (world.token().balance_of(world.address("miner")) - submitting.balance)
    one_more = world.token().base_price() * 3  # enough for what is missing, not for it and the past
    assert tokens_left <= 2
    refused = world.submit(submitting.run_log, submitting.home, "--max-spend", one_more, "--json")
    assert refused.code == 1
    assert refused.error["code"] == "MarketError"
    assert world.nonce() == submitting.nonce + 1
    assert world.submit(submitting.run_log, submitting.home, "--max-spend", 10**17).code == 0


@pytest.fixture(scope="module")
def moving(world: TinyWorld) -> Iterator[int]:
    """A project of its own whose best these tests move."""
    return int(world.publish(symbol="MOVING").project_id)


@pytest.mark.parametrize(("number", "step"), [(1, "buy"), (2, "approve"), (3, "submit")])
def test_a_step_signed_before_the_best_moved_is_never_sent_afterwards(
    world: TinyWorld, launcher: Launcher, moving: int, number: int, step: str
) -> None:
    run_log, home = world.write_run(project_id=moving), world.home()
    nonce, token = world.nonce(), world.token(moving)
    tokens = token.balance_of(world.address("miner"))
    arguments = world.submit_arguments(run_log, home)
    (killed,) = launcher.run(Job(arguments, stop={"event": "signed", "number": number}))
    assert killed.was_killed, killed.text
    world.move_best(moving)
    count, supply = world.ledger.proposal_count(), token.total_supply()
    again = world.submit(run_log, home, "--json")
    assert again.code == 3
    assert "best moved" in again.error["message"]
    assert world.ledger.proposal_count() == count
    assert token.total_supply() == supply
    assert token.balance_of(world.address("miner")) == tokens + (STAKE if number > 1 else 0)
    attempts = world.journal("miner", home)._all()
    stale = [attempt for attempt in attempts if attempt.key.endswith(f"/{step}") or "buy/1" in attempt.key]
    assert stale
    assert attempts[number - 1].state is State.CANCELLED
    assert attempts[-1].key.startswith("cancel/")
    assert world.nonce() == nonce + number, "the nonce of the stale step is spent on its cancellation"
    third = world.submit(run_log, home, "--json")
    assert (third.code, world.nonce()) == (3, nonce + number)
    _sell_all(world, moving)


def _sell_all(world: TinyWorld, project_id: int) -> None:
    """Leave no tokens of this test to the next."""
    from armlx_chain.market import trade

    token = world.token(project_id)
    left = token.balance_of(world.address("miner"))
    if left:
        trade.sell(world.sender("miner"), token, left, key="sell")
