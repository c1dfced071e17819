"""When a review is claimed, and which sessions are never begun because they could not end in time."""

from __future__ import annotations

import pytest

from armlx_chain.chain.contracts import Status
from tests.daemon.servicing import DAY, daemon, judged, machine, once, queue_of, step_of, tidy
from tests.faults.tinyworld import TinyWorld
from verifier.daemon.timing import SETTLING_SECONDS
from verifier.executors.local import LocalBench

pytestmark = pytest.mark.e2e

__all__ = ["machine", "tidy"]


def takes(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """A session is expected to take so long, however many pairs it has."""
    monkeypatch.setattr(LocalBench, "session_seconds", lambda self, pairs: seconds)


def deeds(world: TinyWorld, home: object) -> list[str]:
    return [attempt.key.split("/")[0] for attempt in world.journal("validator", home)._all()]  # type: ignore[arg-type]


def test_claimed_first_an_unimproved_one_is_handed_back_once_its_lease_is_over(world: TinyWorld) -> None:
    proposal, home = world.submitted(gain="0.000001"), world.home()
    result = step_of(once(world, home, "--claim-first"), proposal)
    assert (result["step"], result["outcome"]) == ("left", "unimproved")
    assert world.proposal(proposal.id).status is Status.REVIEWING, "a lease cannot be handed back for a day"
    world.devnet.advance_time(DAY)
    assert daemon(world, home, "--cycles", "1").code == 0
    assert world.proposal(proposal.id).status is Status.SUBMITTED


def test_a_proposal_whose_lease_ran_out_is_not_claimed_first_again(world: TinyWorld) -> None:
    proposal, home = world.submitted(gain="0.015000"), world.home()
    first = step_of(once(world, home, "--claim-first"), proposal)
    assert (first["step"], first["reason"]) == ("left", "more-pairs-needed")
    assert deeds(world, home) == ["claim"]
    world.devnet.advance_time(DAY)
    assert step_of(once(world, home, "--claim-first"), proposal)["step"] == "approved"
    found = deeds(world, home)
    assert found[-2:] == ["claim", "approve"], "until its verdict was published others could review it"


def test_claimed_first_no_session_begins_that_cannot_end_inside_the_lease(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = world.submitted(), world.home()
    nonce = world.nonce("validator")
    takes(monkeypatch, DAY - SETTLING_SECONDS + 60)
    late = step_of(once(world, home, "--claim-first"), proposal)
    assert (late["step"], judged()) == ("left", 0)
    assert "the lease is nearly over" in late["sentence"]
    assert world.nonce("validator") == nonce, "and the review is not claimed either"
    assert step_of(once(world, home), proposal)["step"] == "approved", "without a lease the week counts"
    found = deeds(world, home)
    assert (found[0], found[-2:]) == ("flow", ["claim", "approve"]), "and it is claimed when all is published"


def test_claimed_first_a_session_begins_that_can_just_end_and_the_review_is_ours_before_it(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = world.submitted(), world.home()
    takes(monkeypatch, DAY - SETTLING_SECONDS - 60)
    assert step_of(once(world, home, "--claim-first"), proposal)["step"] == "approved"
    found = deeds(world, home)
    assert (found[0], found[-1], found.count("claim")) == ("claim", "approve", 1)
    assert world.proposal(proposal.id).status is Status.APPROVED


def test_a_lease_that_is_held_already_counts_by_what_is_left_of_it(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = world.submitted(), world.home()
    world.send("validator", "claimReview", int(proposal.id))
    world.devnet.advance_time(DAY - 7200)
    takes(monkeypatch, 7200.0)
    late = step_of(once(world, home, "--claim-first"), proposal)
    assert (late["step"], judged()) == ("left", 0)
    takes(monkeypatch, 3600.0)
    assert step_of(once(world, home, "--claim-first"), proposal)["step"] == "approved"
    assert "claim" not in deeds(world, home), "it was ours already"


def test_no_session_begins_that_cannot_end_before_the_week_is_over(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, home = world.submitted(), world.home()
    world.devnet.advance_time(6 * DAY)
    takes(monkeypatch, DAY + 0.0)
    late = step_of(once(world, home), proposal)
    assert (late["step"], judged()) == ("left", 0)
    assert "its week is nearly over" in late["sentence"]
    assert queue_of(home)[int(proposal.id)][0] == "left"
    takes(monkeypatch, DAY / 2)
    assert step_of(once(world, home), proposal)["step"] == "approved"
