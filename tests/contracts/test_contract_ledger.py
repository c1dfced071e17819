"""ProposalLedger: every refusal in its order, every event in its order, every boundary to the second."""

from __future__ import annotations

import pytest
from evm_contracts import ZERO, creation_code, events, transact
from evm_engines import Receipt
from evm_world import BASELINE, BETTER, CODE, DAY, LOG, MAX, METRICS, WEEK, World, refuses

SUBMITTED, REVIEWING, APPROVED, REJECTED, EXPIRED = range(5)
NONE = bytes(32)


def test_the_constructor_refuses_zeros_in_order_and_is_silent(world: World) -> None:
    def deploy(*arguments: str) -> Receipt:
        return transact(world.engine, world.owner, None, creation_code("ProposalLedger", *arguments))

    with refuses("RegistryZero"):
        deploy(ZERO, ZERO)
    with refuses("VerifierRegistryZero"):
        deploy(world.stranger, ZERO)
    assert deploy(world.stranger, world.stranger).logs == ()


def test_the_constants_are_the_recorded_ones(world: World) -> None:
    read = {
        name: world.ledger.call(name)
        for name in (
            "REVIEW_LOCK",
            "EXPIRY_WINDOW",
            "BPS_DENOMINATOR",
            "SLASH_BPS_TO_BURN",
            "SLASH_BPS_TO_VERIFIER_POOL",
        )
    }
    assert list(read.values()) == [DAY, WEEK, 10_000, 5_000, 5_000]


def test_submitting_refuses_in_order(world: World) -> None:
    def submit(project: int, stake: int) -> None:
        world.ledger.send("submit", project, CODE, LOG, 0, stake, ZERO, sender=world.miner)

    with refuses("ZeroStake"):
        submit(7, 0)
    with refuses("UnknownProject"):
        submit(7, 1)
    with refuses("ERC20InsufficientAllowance", world.ledger.address, 0, 5):
        submit(0, 5)
    world.token.send("approve", world.ledger.address, 5, sender=world.miner)
    with refuses("ERC20InsufficientAllowance", world.ledger.address, 5, 6):
        submit(0, 6)
    with refuses("ERC20InsufficientBalance", world.miner, 0, 5):
        submit(0, 5)
    assert world.ledger.call("nextProposalId") == 0


def test_a_submission_takes_the_stake_and_stores_the_record(world: World) -> None:
    world.buy(world.miner, 12)
    world.token.send("approve", world.ledger.address, 10, sender=world.miner)
    arguments = (0, CODE, LOG, BETTER, 10, world.recipient)
    assert world.ledger.call("submit", *arguments, sender=world.miner) == 0
    receipt = world.ledger.send("submit", *arguments, sender=world.miner)
    assert events(receipt) == [
        ("Transfer", {"from": world.miner, "to": world.ledger.address, "value": 10}),
        (
            "ProposalSubmitted",
            {
                "id": 0,
                "projectId": 0,
                "miner": world.miner,
                "rewardRecipient": world.recipient,
                "codeHash": CODE,
                "claimedAggregateScore": BETTER,
                "stake": 10,
            },
        ),
    ]
    assert world.proposal(0) == {
        "projectId": 0,
        "miner": world.miner,
        "rewardRecipient": world.recipient,
        "codeHash": CODE,
        "benchmarkLogHash": LOG,
        "metricsHash": NONE,
        "claimedAggregateScore": BETTER,
        "verifiedAggregateScore": 0,
        "stake": 10,
        "submittedAt": receipt.timestamp,
        "reviewLockUntil": 0,
        "reviewer": ZERO,
        "status": SUBMITTED,
    }
    assert world.balance_of(world.ledger.address) == 10
    assert world.token.call("allowance", world.miner, world.ledger.address) == 0


def test_no_recipient_means_the_miner(world: World) -> None:
    assert world.proposal(world.submit(1, recipient=ZERO))["rewardRecipient"] == world.miner


@pytest.mark.parametrize("claim", [-(2**255), BASELINE - 1, BASELINE, 2**255 - 1])
def test_any_claim_and_any_repetition_is_taken(world: World, claim: int) -> None:
    assert [world.submit(1, claim=claim), world.submit(1, claim=claim)] == [0, 1]
    assert world.proposal(1)["claimedAggregateScore"] == claim
    assert world.proposal(0)["codeHash"] == world.proposal(1)["codeHash"]


def test_unknown_proposals_read_as_zeros_and_refuse_everything(world: World) -> None:
    for unknown in (0, MAX):
        assert world.proposal(unknown)["miner"] == ZERO
        assert world.proposal(unknown)["status"] == SUBMITTED
        for function, arguments in (
            ("claimReview", ()),
            ("releaseReview", ()),
            ("approve", (1, METRICS)),
            ("reject", (METRICS,)),
            ("expire", ()),
        ):
            with refuses("UnknownProposal"):
                world.ledger.send(function, unknown, *arguments, sender=world.reviewer)


def test_claiming_a_review_takes_the_lease_for_a_day(world: World) -> None:
    proposal = world.submit()
    with refuses("NotVerifier"):
        world.ledger.send("claimReview", 99, sender=world.stranger)
    before = world.proposal(proposal)
    receipt = world.ledger.send("claimReview", proposal, sender=world.reviewer)
    until = receipt.timestamp + DAY
    shown = {"id": proposal, "verifier": world.reviewer, "reviewLockUntil": until}
    assert events(receipt) == [("ReviewClaimed", shown)]
    taken = {"status": REVIEWING, "reviewer": world.reviewer, "reviewLockUntil": until}
    assert world.proposal(proposal) == before | taken
    for verifier in (world.reviewer, world.other_reviewer):
        with refuses("WrongStatus"):
            world.ledger.send("claimReview", proposal, sender=verifier)


def test_a_review_is_released_at_the_second_the_lock_ends_and_by_anyone(world: World) -> None:
    proposal = world.submit()
    with refuses("WrongStatus"):
        world.ledger.send("releaseReview", proposal, sender=world.reviewer)
    before = world.proposal(proposal)
    until = world.ledger.send("claimReview", proposal, sender=world.reviewer).timestamp + DAY
    for caller, moment in ((world.reviewer, until - 2), (world.stranger, until - 1)):
        with refuses("LockActive"):
            world.ledger.send("releaseReview", proposal, sender=caller, at=moment)
    receipt = world.ledger.send("releaseReview", proposal, sender=world.stranger, at=until)
    assert events(receipt) == [("ReviewReleased", {"id": proposal})]
    assert world.proposal(proposal) == before
    world.ledger.send("claimReview", proposal, sender=world.reviewer)
    assert world.proposal(proposal)["status"] == REVIEWING


def test_an_approval_returns_the_stake_and_mints_the_same_again(world: World) -> None:
    proposal = world.reviewing(10, recipient=world.recipient)
    record, project = world.proposal(proposal), world.projects.call("getProject", 0)
    reserve, supply = world.engine.balance(world.token.address), world.token.call("totalSupply")
    price = world.token.call("priceAt", supply)
    receipt = world.ledger.send("approve", proposal, BETTER, METRICS, sender=world.reviewer)
    best = {
        "projectId": 0,
        "miner": world.miner,
        "newAggregateScore": BETTER,
        "codeHash": CODE,
        "metricsHash": METRICS,
    }
    verdict = {
        "id": proposal,
        "verifier": world.reviewer,
        "verifiedAggregateScore": BETTER,
        "metricsHash": METRICS,
    }
    assert events(receipt) == [
        ("BestUpdated", best),
        ("Transfer", {"from": world.ledger.address, "to": world.miner, "value": 10}),
        ("Transfer", {"from": ZERO, "to": world.recipient, "value": 10}),
        ("MinerRewardMinted", {"miner": world.recipient, "amount": 10}),
        ("ProposalApproved", verdict),
    ]
    senders = [log.address for log in receipt.logs]
    assert senders == [world.projects.address, *[world.token.address] * 3, world.ledger.address]
    settled = {"status": APPROVED, "verifiedAggregateScore": BETTER, "metricsHash": METRICS}
    assert world.proposal(proposal) == record | settled
    assert world.projects.call("getProject", 0) == project | {
        "currentBestAggregateScore": BETTER,
        "currentBestCodeHash": CODE,
        "currentBestMetricsHash": METRICS,
        "currentBestMiner": world.miner,
    }
    holders = (world.miner, world.recipient, world.ledger.address, world.reviewer)
    assert [world.balance_of(account) for account in holders] == [10, 10, 0, 0]
    assert world.token.call("totalSupply") == supply + 10
    assert world.token.call("minerPoolMinted") == 10
    assert world.token.call("priceAt", supply + 10) - price == 10 * world.token.call("slope")
    assert world.engine.balance(world.token.address) == reserve


def test_approving_refuses_in_order(world: World) -> None:
    project = world.create(cap=9)
    proposal = world.submit(10, project=project)

    def approve(sender: str, score: int = BASELINE, number: int = proposal, at: int | None = None) -> None:
        world.ledger.send("approve", number, score, METRICS, sender=sender, at=at)

    with refuses("NotVerifier"):
        approve(world.stranger, number=99)
    with refuses("UnknownProposal"):
        approve(world.reviewer, number=99)
    with refuses("WrongStatus"):
        approve(world.other_reviewer)
    until = world.ledger.send("claimReview", proposal, sender=world.reviewer).timestamp + DAY
    for worse in (-(2**255), BASELINE - 1, BASELINE):
        with refuses("ScoreNotImproved"):
            approve(world.reviewer, worse)
    with refuses("PoolCapExceeded"):
        approve(world.reviewer, BASELINE + 1)
    with refuses("ScoreNotImproved"):
        approve(world.reviewer, at=until - 1)
    with refuses("LockExpired"):
        approve(world.reviewer, at=until)
    with refuses("WrongReviewer"):
        approve(world.other_reviewer)
    world.verifiers.send("removeVerifier", world.reviewer, sender=world.owner)
    with refuses("NotVerifier"):
        approve(world.reviewer)
    assert world.proposal(proposal)["status"] == REVIEWING
    assert world.projects.call("currentBestAggregateScore", project) == BASELINE


def test_rejecting_refuses_in_order(world: World) -> None:
    proposal = world.submit(10)

    def reject(sender: str, number: int = proposal, at: int | None = None) -> None:
        world.ledger.send("reject", number, METRICS, sender=sender, at=at)

    with refuses("NotVerifier"):
        reject(world.stranger, number=99)
    with refuses("UnknownProposal"):
        reject(world.reviewer, number=99)
    with refuses("WrongStatus"):
        reject(world.other_reviewer)
    until = world.ledger.send("claimReview", proposal, sender=world.reviewer).timestamp + DAY
    with refuses("WrongReviewer"):
        reject(world.other_reviewer)
    with refuses("LockExpired"):
        reject(world.reviewer, at=until)
    with refuses("WrongReviewer"):
        reject(world.other_reviewer)


def test_both_decisions_are_open_until_the_last_second_of_the_lock(world: World) -> None:
    for function, arguments in (("approve", (BETTER, METRICS)), ("reject", (METRICS,))):
        proposal = world.reviewing()
        last = world.proposal(proposal)["reviewLockUntil"] - 1
        world.ledger.send(function, proposal, *arguments, sender=world.reviewer, at=last)
        assert world.proposal(proposal)["status"] in (APPROVED, REJECTED)


@pytest.mark.parametrize(
    ("stake", "credit", "burned"), [(1, 0, 1), (2, 1, 1), (3, 1, 2), (7, 3, 4), (9, 4, 5), (10, 5, 5)]
)
def test_a_rejection_burns_half_and_credits_the_reviewer(
    world: World, stake: int, credit: int, burned: int
) -> None:
    proposal = world.reviewing(stake)
    record, reserve = world.proposal(proposal), world.engine.balance(world.token.address)
    receipt = world.ledger.send("reject", proposal, METRICS, sender=world.reviewer)
    assert events(receipt) == [
        ("Transfer", {"from": world.ledger.address, "to": ZERO, "value": burned}),
        ("LedgerBurned", {"amount": burned}),
        (
            "StakeSlashed",
            {"id": proposal, "beneficiary": world.reviewer, "toVerifierPool": credit, "burned": burned},
        ),
        ("ProposalRejected", {"id": proposal, "verifier": world.reviewer, "metricsHash": METRICS}),
    ]
    assert world.proposal(proposal) == record | {"status": REJECTED, "metricsHash": METRICS}
    assert world.ledger.call("claimable", 0, world.reviewer) == credit
    assert world.balance_of(world.ledger.address) == world.token.call("totalSupply") == credit
    assert world.engine.balance(world.token.address) == reserve
    assert world.projects.call("currentBestAggregateScore", 0) == BASELINE


@pytest.mark.parametrize("reviewing", [False, True])
def test_expiry_begins_at_the_second_the_window_ends_and_credits_its_caller(
    world: World, reviewing: bool
) -> None:
    proposal = world.submit(7)
    end = world.proposal(proposal)["submittedAt"] + WEEK
    if reviewing:
        # Taken one second before the end: the running lock does not protect it.
        world.ledger.send("claimReview", proposal, sender=world.reviewer, at=end - 2)
    with refuses("ExpiryNotReached"):
        world.ledger.send("expire", proposal, sender=world.cranker, at=end - 1)
    record = world.proposal(proposal)
    receipt = world.ledger.send("expire", proposal, sender=world.cranker, at=end)
    assert events(receipt) == [
        ("Transfer", {"from": world.ledger.address, "to": ZERO, "value": 4}),
        ("LedgerBurned", {"amount": 4}),
        ("StakeSlashed", {"id": proposal, "beneficiary": world.cranker, "toVerifierPool": 3, "burned": 4}),
        ("ProposalExpired", {"id": proposal, "cranker": world.cranker}),
    ]
    assert world.proposal(proposal) == record | {"status": EXPIRED}
    assert world.ledger.call("claimable", 0, world.cranker) == 3
    assert world.ledger.call("claimable", 0, world.reviewer) == 0


def test_expiry_refuses_in_order(world: World) -> None:
    proposal = world.reviewing()
    with refuses("ExpiryNotReached"):
        world.ledger.send("expire", proposal, sender=world.cranker)
    world.ledger.send("approve", proposal, BETTER, METRICS, sender=world.reviewer)
    with refuses("WrongStatus"):
        world.ledger.send("expire", proposal, sender=world.cranker)


def test_past_the_window_a_review_can_still_be_taken_and_decided(world: World) -> None:
    proposal = world.submit()
    late = world.proposal(proposal)["submittedAt"] + 3 * WEEK
    world.ledger.send("claimReview", proposal, sender=world.reviewer, at=late)
    world.ledger.send("approve", proposal, BETTER, METRICS, sender=world.reviewer)
    assert world.proposal(proposal)["status"] == APPROVED


def test_credits_add_up_per_project_and_are_paid_once(world: World) -> None:
    second = world.create()
    for stake in (10, 3):
        world.ledger.send("reject", world.reviewing(stake), METRICS, sender=world.reviewer)
    world.ledger.send("reject", world.reviewing(4, project=second), METRICS, sender=world.reviewer)
    credits = [world.ledger.call("claimable", project, world.reviewer) for project in (0, second)]
    assert credits == [6, 2]
    world.verifiers.send("removeVerifier", world.reviewer, sender=world.owner)
    assert world.ledger.call("claimReward", 0, sender=world.reviewer) == 6
    receipt = world.ledger.send("claimReward", 0, sender=world.reviewer)
    assert events(receipt) == [
        ("Transfer", {"from": world.ledger.address, "to": world.reviewer, "value": 6}),
        ("RewardClaimed", {"projectId": 0, "account": world.reviewer, "amount": 6}),
    ]
    for project in (0, 99):
        with refuses("NothingToClaim"):
            world.ledger.send("claimReward", project, sender=world.reviewer)
    assert world.ledger.call("claimable", second, world.reviewer) == 2
    with refuses("NothingToClaim"):
        world.ledger.send("claimReward", 0, sender=world.miner)


def test_verifier_miner_and_cranker_may_be_one_and_the_same(world: World) -> None:
    world.verifiers.send("addVerifier", world.miner, sender=world.owner)
    proposal = world.submit(10)
    world.ledger.send("claimReview", proposal, sender=world.miner)
    world.ledger.send("approve", proposal, BETTER, METRICS, sender=world.miner)
    assert world.balance_of(world.miner) == 20
    own = world.submit(10)
    end = world.proposal(own)["submittedAt"] + WEEK
    world.ledger.send("expire", own, sender=world.miner, at=end)
    world.ledger.send("claimReward", 0, sender=world.miner)
    assert world.balance_of(world.miner) == 25


def test_one_verifier_may_hold_many_reviews(world: World) -> None:
    held = [world.reviewing(1) for _ in range(3)]
    assert [world.proposal(p)["reviewer"] for p in held] == [world.reviewer] * 3


def test_an_overtaken_proposal_cannot_be_approved_any_more(world: World) -> None:
    first, second = world.reviewing(), world.reviewing()
    world.ledger.send("approve", first, BETTER, METRICS, sender=world.reviewer)
    with refuses("ScoreNotImproved"):
        world.ledger.send("approve", second, BETTER, METRICS, sender=world.reviewer)
    world.ledger.send("approve", second, BETTER + 1, METRICS, sender=world.reviewer)
    assert world.projects.call("currentBestAggregateScore", 0) == BETTER + 1


def test_the_largest_score_closes_a_project(world: World) -> None:
    world.ledger.send("approve", world.reviewing(), 2**255 - 1, METRICS, sender=world.reviewer)
    with refuses("ScoreNotImproved"):
        world.ledger.send("approve", world.reviewing(), 2**255 - 1, METRICS, sender=world.reviewer)


def test_a_pool_with_exactly_enough_room_pays_and_is_then_empty(world: World) -> None:
    project = world.create(cap=10)
    world.ledger.send("approve", world.reviewing(10, project=project), BETTER, METRICS, sender=world.reviewer)
    proposal = world.reviewing(1, project=project)
    with refuses("PoolCapExceeded"):
        world.ledger.send("approve", proposal, BETTER + 1, METRICS, sender=world.reviewer)
    assert world.projects.call("currentBestAggregateScore", project) == BETTER, (
        "a refused approval leaves no trace"
    )
