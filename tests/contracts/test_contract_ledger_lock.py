"""The ledger with tokens that no real registry would make: its lock and its checks of token answers."""

from __future__ import annotations

import pytest
from evm_contracts import EMPTY, ZERO, Contract, creation_code, events, transact
from evm_world import CODE, LOG, METRICS, WEEK, World, refuses

import contracts_abi

TRUE, FALSE, NOTHING = range(3)
REENTRANT = bytes.fromhex("3ee5aeb5")
NOT_VERIFIER = bytes.fromhex("24663556")


class Loose:
    """A ledger whose every project has one token that calls back."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.token = Contract.deploy(world.engine, "HookToken", sender=world.stranger)
        registry = Contract.deploy(world.engine, "LooseRegistry", self.token.address, sender=world.stranger)
        self.ledger = Contract.deploy(
            world.engine, "ProposalLedger", registry.address, world.verifiers.address, sender=world.stranger
        )

    def prepare(self, answer: int = TRUE, plan: bytes = b"") -> None:
        self.token.send("prepare", answer, self.ledger.address, plan, sender=self.world.stranger)

    def submit(self) -> None:
        self.ledger.send("submit", 0, CODE, LOG, 0, 10, ZERO, sender=self.world.miner)

    def review(self) -> None:
        self.submit()
        self.ledger.send("claimReview", 0, sender=self.world.reviewer)


@pytest.fixture
def loose(world: World) -> Loose:
    return Loose(world)


def test_a_token_that_answers_true_or_nothing_has_moved(loose: Loose) -> None:
    for answer in (TRUE, NOTHING):
        loose.prepare(answer)
        loose.submit()
    assert loose.ledger.call("nextProposalId") == 2


def test_a_token_that_answers_false_has_failed(loose: Loose) -> None:
    loose.prepare(FALSE)
    with refuses("SafeERC20FailedOperation", loose.token.address):
        loose.submit()
    assert loose.ledger.call("nextProposalId") == 0


def test_a_token_without_code_has_failed(world: World) -> None:
    registry = Contract.deploy(world.engine, "LooseRegistry", world.recipient, sender=world.stranger)
    arguments = (registry.address, world.verifiers.address)
    ledger = Contract.deploy(world.engine, "ProposalLedger", *arguments, sender=world.stranger)
    with refuses("SafeERC20FailedOperation", world.recipient):
        ledger.send("submit", 0, CODE, LOG, 0, 10, ZERO, sender=world.miner)


@pytest.mark.parametrize("inner", ["submit", "expire", "claimReward"])
@pytest.mark.parametrize("outer", ["submit", "approve", "reject", "expire"])
def test_locked_functions_cannot_be_entered_from_inside_one_another(
    loose: Loose, outer: str, inner: str
) -> None:
    world = loose.world
    loose.prepare()
    loose.review()
    plans = {"submit": (0, CODE, LOG, 0, 1, ZERO), "expire": (0,), "claimReward": (0,)}
    loose.prepare(plan=loose.ledger.data(inner, *plans[inner]))
    if outer == "submit":
        loose.submit()
    elif outer == "expire":
        end = loose.ledger.call("getProposal", 0)["submittedAt"] + WEEK
        loose.ledger.send("expire", 0, sender=world.cranker, at=end)
    else:
        arguments = (1, METRICS) if outer == "approve" else (METRICS,)
        loose.ledger.send(outer, 0, *arguments, sender=world.reviewer)
    assert not loose.token.call("planWorked")
    assert loose.token.call("planAnswer") == REENTRANT


@pytest.mark.parametrize(("inner", "arguments"), [("approve", (0, 1, METRICS)), ("reject", (0, METRICS))])
def test_the_verifier_check_comes_before_the_lock(
    loose: Loose, inner: str, arguments: tuple[object, ...]
) -> None:
    loose.prepare(plan=loose.ledger.data(inner, *arguments))
    loose.submit()
    assert loose.token.call("planAnswer") == NOT_VERIFIER
    loose.world.verifiers.send("addVerifier", loose.token.address, sender=loose.world.owner)
    loose.submit()
    assert loose.token.call("planAnswer") == REENTRANT


def test_taking_and_releasing_reviews_is_not_locked_and_sees_the_record_already_written(loose: Loose) -> None:
    loose.world.verifiers.send("addVerifier", loose.token.address, sender=loose.world.owner)
    loose.prepare(plan=loose.ledger.data("claimReview", 0))
    loose.submit()
    assert loose.token.call("planWorked")
    assert loose.ledger.call("getProposal", 0)["reviewer"] == loose.token.address
    loose.prepare(plan=loose.ledger.data("releaseReview", 0))
    loose.submit()
    lock_active = next(e for e in contracts_abi.errors_by_selector().values() if e.name == "LockActive")
    assert loose.token.call("planAnswer") == lock_active.selector


def test_a_paid_credit_cannot_be_claimed_again_from_inside_the_payment(loose: Loose) -> None:
    world = loose.world
    loose.prepare()
    loose.review()
    loose.ledger.send("reject", 0, METRICS, sender=world.reviewer)
    loose.prepare(plan=loose.ledger.data("claimReward", 0))
    loose.ledger.send("claimReward", 0, sender=world.reviewer)
    assert loose.token.call("planAnswer") == REENTRANT
    with refuses("NothingToClaim"):
        loose.ledger.send("claimReward", 0, sender=world.reviewer)


def test_the_ledger_itself_refuses_an_equal_score(loose: Loose) -> None:
    """The best score of the loose registry is 0, and its updateBest refuses nothing."""
    loose.review()
    for score in (-1, 0):
        with refuses("ScoreNotImproved"):
            loose.ledger.send("approve", 0, score, METRICS, sender=loose.world.reviewer)
    loose.ledger.send("approve", 0, 1, METRICS, sender=loose.world.reviewer)


def test_wiring_to_an_address_without_code_reverts_empty_when_used(world: World) -> None:
    receipt = transact(
        world.engine,
        world.stranger,
        None,
        creation_code("ProposalLedger", world.recipient, world.recipient),
    )
    assert events(receipt) == []
    assert receipt.created is not None
    ledger = Contract(world.engine, "ProposalLedger", receipt.created)
    with refuses(EMPTY):
        ledger.send("submit", 0, CODE, LOG, 0, 10, ZERO, sender=world.miner)
    with refuses(EMPTY):
        ledger.send("claimReview", 0, sender=world.reviewer)
