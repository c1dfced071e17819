"""Recorded demonstrations on the original contracts, played again on ours."""

from __future__ import annotations

from evm_contracts import Contract, events
from evm_world import BASE, METRICS, WEEK, World, created_address, refuses


def test_rewards_without_backing_drain_other_holders(world: World) -> None:
    """An honest 1000 and an attacker's 1000, one approval, and the honest holder can sell nothing."""
    engine, token, attacker, honest = world.engine, world.token, world.miner, world.recipient
    assert world.buy(honest, 1000) == 15 * BASE * 100
    assert world.buy(attacker, 1000) == 25 * BASE * 100
    token.send("approve", world.ledger.address, 1000, sender=attacker)
    claim = -2_213_267
    receipt = world.ledger.send("submit", 0, METRICS, METRICS, claim, 1000, attacker, sender=attacker)
    proposal = events(receipt)[-1][1]["id"]
    world.ledger.send("claimReview", proposal, sender=world.reviewer)
    world.ledger.send("approve", proposal, claim, METRICS, sender=world.reviewer)
    assert (world.balance_of(attacker), token.call("totalSupply")) == (2000, 3000)
    assert engine.balance(token.address) == 4 * 10**18
    assert token.call("priceAt", 3000) == 4 * BASE
    assert token.call("quoteSell", 2000) == 6 * 10**18
    with refuses("EthPayoutFailed"):
        token.send("sell", 2000, sender=attacker)
    assert events(token.send("sell", 1171, sender=attacker))[1][1]["ethOut"] == 3_998_379_500_000_000_000
    assert engine.balance(token.address) == 1_620_500_000_000_000
    with refuses("EthPayoutFailed"):
        token.send("sell", 1, sender=honest)


def test_slashing_strands_the_reserve(world: World) -> None:
    proposal = world.reviewing(10)
    world.ledger.send("reject", proposal, METRICS, sender=world.reviewer)
    world.ledger.send("claimReward", 0, sender=world.reviewer)
    world.token.send("sell", 5, sender=world.reviewer)
    assert world.token.call("totalSupply") == 0
    assert world.engine.balance(world.token.address) == 5_037_500_000_000_000


def test_the_live_project_with_its_positive_baseline(world: World) -> None:
    """Every figure of project #1's page; and no lower metric can ever be approved there, a worse one can."""
    project = world.create(cap=10**24, baseline=2_213_268)
    token = world.token_of(project)
    world.buy(world.miner, 11, token)
    proposal = world.submit(1, project=project)
    world.ledger.send("claimReview", proposal, sender=world.reviewer)

    def approve(score: int, number: int = proposal) -> None:
        world.ledger.send("approve", number, score, METRICS, sender=world.reviewer)

    for better_in_truth in (2_213_267, 1_807_902, 1, -1_807_902, 2_213_268):
        with refuses("ScoreNotImproved"):
            approve(better_in_truth)
    approve(4_138_928)
    assert world.projects.call("currentBestAggregateScore", project) - 2_213_268 == 1_925_660
    assert (token.call("totalSupply"), token.call("minerPoolMinted")) == (13, 1)
    assert token.call("priceAt", 13) == 1_013_000_000_000_000
    assert world.engine.balance(token.address) == 12_072_000_000_000_000
    assert token.call("costBetween", 0, 13) == 13_084_500_000_000_000
    token.send("sell", 11, sender=world.miner)
    with refuses("EthPayoutFailed"):
        token.send("sell", 2, sender=world.miner)


def test_a_worse_value_is_accepted_on_a_positive_baseline(world: World) -> None:
    project = world.create(baseline=2_213_268)
    proposal = world.reviewing(1, project=project)
    world.ledger.send("approve", proposal, 2_213_269, METRICS, sender=world.reviewer)
    assert world.projects.call("currentBestAggregateScore", project) == 2_213_269


def test_a_negated_score_accepts_only_lower_metrics(world: World) -> None:
    proposal = world.reviewing(1)
    for not_better in (-2_213_268, -2_213_269):
        with refuses("ScoreNotImproved"):
            world.ledger.send("approve", proposal, not_better, METRICS, sender=world.reviewer)
    world.ledger.send("approve", proposal, -1_981_456, METRICS, sender=world.reviewer)
    assert world.projects.call("currentBestAggregateScore", 0) == -1_981_456


def test_holding_a_review_for_a_week_and_expiring_it_pays_the_holder(world: World) -> None:
    proposal = world.reviewing(10)
    end = world.proposal(proposal)["submittedAt"] + WEEK
    for _ in range(6):
        until = world.proposal(proposal)["reviewLockUntil"]
        world.ledger.send("releaseReview", proposal, sender=world.reviewer, at=until)
        world.ledger.send("claimReview", proposal, sender=world.reviewer)
    world.ledger.send("expire", proposal, sender=world.reviewer, at=end)
    assert world.ledger.call("claimable", 0, world.reviewer) == 5


def test_tokens_sent_straight_to_the_ledger_are_lost_and_pay_nobody(world: World) -> None:
    world.buy(world.stranger, 5)
    world.token.send("transfer", world.ledger.address, 5, sender=world.stranger)
    with refuses("NothingToClaim"):
        world.ledger.send("claimReward", 0, sender=world.stranger)
    world.ledger.send("approve", world.reviewing(3), -1, METRICS, sender=world.reviewer)
    assert world.balance_of(world.ledger.address) == 5


def test_ledger_and_registry_may_be_deployed_in_either_order(world: World) -> None:
    engine, deployer = world.engine, world.engine.accounts[8]  # has sent nothing yet
    ledger_at = created_address(deployer, 1)
    projects = Contract.deploy(engine, "ProjectRegistry", ledger_at, sender=deployer)
    arguments = (projects.address, world.verifiers.address)
    ledger = Contract.deploy(engine, "ProposalLedger", *arguments, sender=deployer)
    assert ledger.address == ledger_at == projects.call("proposalLedger")
    assert ledger.call("registry") == projects.address
