"""A validator's rules of service on a real ledger, through its own commands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import armlx_chain.cli.reproduce
from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.formats.bundle import Authorship, pack_candidate
from armlx_chain.formats.policy import SignedPolicy
from armlx_chain.formats.typed import Domain
from tests.daemon.crafted import Crafted
from tests.daemon.test_pass import DAY, HOUR, close_all, judged, step_of, validate
from tests.faults import simulated
from tests.faults.tinyworld import STAKE, Ran, TinyWorld, call
from verifier.daemon.admission import unlimited
from verifier.daemon.store import FindingStore
from verifier.daemon.usage import Usage, day_of

pytestmark = pytest.mark.e2e

BIG = 60
"""A stake whose half sells for more than ten times the gas of collecting it."""


@pytest.fixture(autouse=True)
def machine(world: TinyWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Validators of this process judge on the simulated machine; later tests meet no open proposal."""
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    simulated.runs.clear()
    yield
    close_all(world)


@pytest.fixture
def crafted(world: TinyWorld) -> Crafted:
    """Papers against the best of now."""
    return Crafted(world)


def with_program(crafted: Crafted, text: bytes) -> Proposal:
    """A proposal with papers in order, whatever its program is worth."""
    author = Authorship(crafted.world.address("miner"), crafted.project_id, crafted.world.devnet.chain_id)
    return crafted.submit(bundle=pack_candidate({"train.py": text}, author))


def cheat(crafted: Crafted, name: str) -> Proposal:
    return with_program(crafted, simulated.program("8.0", name, looks_ahead=True))


def ask(world: TinyWorld, home: Path, *words: object) -> Ran:
    """A command that needs no key."""
    return call(world.unsigned([*words, "--json"], home), validator=True)


def own_policy(world: TinyWorld, home: Path, **stated: Any) -> None:
    signer = world.signer("validator")
    domain = Domain(world.devnet.chain_id, world.ledger.address)
    made = replace(unlimited(domain, signer.address), **stated)
    (home / "policies").mkdir(exist_ok=True)
    data = SignedPolicy(made, signer.sign_typed_data(made.typed_data())).encode()
    (home / "policies" / "own.json").write_bytes(data)


def status_of(world: TinyWorld, proposal: Proposal) -> Status:
    return world.proposal(proposal.id).status


# --- rejections and mode ------------------------------------------------------------------------------


def test_a_rejection_waits_for_a_person_a_day_takes_so_many_and_the_third_in_a_row_ends_live_mode(
    world: TinyWorld, crafted: Crafted, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = cheat(crafted, "one"), cheat(crafted, "two")
    world.devnet.advance_time(HOUR + 1)  # neither waits for the other
    home, nonce = world.home(), world.nonce("validator")
    limit = ("--max-rejections", "1")
    ran = validate(world, home, *limit)
    assert [step_of(ran, p)["step"] for p in (first, second)] == ["waiting", "waiting"]
    listed = ask(world, home, "pending").document["rejections"]
    assert [(e["proposal"], e["stake"], e["answer"]) for e in listed] == [
        (int(first.id), STAKE, "waiting"),
        (int(second.id), STAKE, "waiting"),
    ]
    assert Path(listed[0]["report"], "report.txt").exists()
    assert ask(world, home, "confirm", int(first.id) + 7, "--yes").code == 2
    unasked = ask(world, home, "confirm", first.id)
    assert unasked.code == 2, "nobody is there to say yes"
    assert "--dry-run" in unasked.err, "which there is:"
    tried = ask(world, home, "confirm", first.id, "--dry-run", "--json")
    assert (tried.code, tried.document["answer"]) == (0, "waiting")
    for proposal in (first, second):
        answered = ask(world, home, "confirm", proposal.id, "--yes")
        assert (answered.code, answered.document["answer"]) == (0, "confirmed")
    assert world.nonce("validator") == nonce, "a confirmation sends nothing"
    ran, runs = validate(world, home, *limit), judged()
    assert (step_of(ran, first)["step"], step_of(ran, second)["step"]) == ("rejected", "waiting")
    assert "tomorrow" in step_of(ran, second)["sentence"]
    assert (status_of(world, first), status_of(world, second)) == (Status.REJECTED, Status.SUBMITTED)
    assert ask(world, home, "confirm", first.id, "--decline", "--yes").code == 2, "it is done"
    assert ask(world, home, "confirm", second.id, "--decline", "--yes").code == 0

    third = cheat(crafted, "three")
    world.devnet.advance_time(HOUR + 1)
    nonce = world.nonce("validator")
    ran = validate(world, home, "--auto-reject")
    assert "dry mode" in step_of(ran, second)["sentence"] or "declined" in step_of(ran, second)["sentence"]
    assert step_of(ran, third)["step"] == "left"
    assert "in a row were refuted" in step_of(ran, third)["sentence"]
    assert judged() > runs
    refused = validate(world, home, "--auto-reject", "--go-live")
    assert (refused.code, world.nonce("validator")) == (2, nonce), "not without a gold run"
    gold = ("gold", "--project", crafted.project_id, "--account", "validator")
    with monkeypatch.context() as worse:
        worse.setattr(simulated, "BASELINE", "9.500000")  # everything scores worse for a while
        failed = ask(world, home, *gold)
        assert (failed.code, failed.document["passed"]) == (3, False), failed.err
    passed = ask(world, home, *gold)
    assert (passed.code, passed.document["passed"], passed.document["mode"]) == (0, True, "dry"), passed.err
    assert world.nonce("validator") == nonce, "nothing is sent in dry mode"
    runs = judged()
    ran = validate(world, home, "--auto-reject", "--go-live")
    assert step_of(ran, third)["step"] == "rejected"
    assert "declined" in step_of(ran, second)["sentence"]
    assert (status_of(world, second), status_of(world, third)) == (Status.SUBMITTED, Status.REJECTED)
    assert judged() == runs, "the verdict of the dry days is used"
    assert ask(world, home, "pending").document["rejections"] == []


# --- what is not run ----------------------------------------------------------------------------------


def test_the_published_policy_says_what_is_not_run_and_a_day_of_machine_time_ends(
    world: TinyWorld,
) -> None:
    proposal = world.submitted()
    home = world.home()
    own_policy(world, home, minimum_stake=STAKE + 1, issued_at=1)
    left = step_of(validate(world, home), proposal)
    assert (left["step"], left["outcome"]) == ("left", None)
    assert "published policy" in left["sentence"]
    assert (judged(), status_of(world, proposal)) == (0, Status.SUBMITTED)
    own_policy(world, home, machine_seconds=3600, issued_at=2)
    chain = f"{world.devnet.chain_id}:{world.rpc.genesis_hash.hex()}"
    account = world.address("validator")
    store = FindingStore(home / "findings.sqlite", chain=chain, ledger=world.ledger.address, account=account)
    today = day_of(time.time())
    for day in (today, today + 1):  # midnight may come in between
        Usage(store.database, store.where).charge(int(proposal.project_id), day=day, seconds=3600)
    store.close()
    spent = step_of(validate(world, home), proposal)
    assert (spent["step"], judged()) == ("left", 0)
    assert "3600 s today" in spent["sentence"]
    (home / "policies" / "own.json").write_bytes(b"{}")
    assert validate(world, home).code == 2, "never without the policy that the operator wrote"


# --- chores -------------------------------------------------------------------------------------------


def test_leases_that_ran_out_are_handed_back_but_not_in_dry_mode(world: TinyWorld) -> None:
    proposal = Crafted(world).submit(publish=False)
    home = world.home()
    world.send("validator", "claimReview", int(proposal.id))
    world.devnet.advance_time(DAY)
    validate(world, home, "--dry")
    assert status_of(world, proposal) is Status.REVIEWING
    validate(world, home)
    assert status_of(world, proposal) is Status.SUBMITTED
    keys = [attempt.key.split("/")[0] for attempt in world.journal("validator", home)._all()]
    assert keys == ["release"]


def test_a_hopeless_first_pair_ends_the_matter_and_only_strangers_proposals_are_expired_a_day_late(
    world: TinyWorld,
) -> None:
    hopeless = with_program(Crafted(world), simulated.program("9.5", "much worse"))
    home, account = world.home(), world.address("validator")
    result = step_of(validate(world, home), hopeless)
    assert (result["outcome"], result["reason"]) == ("unimproved", "clearly-worse")
    assert judged() == 2, "one control run and one of the candidate"
    unwanted = Crafted(world).submit(publish=False)
    own_policy(world, home, minimum_stake=STAKE + 1, issued_at=1)
    ran = validate(world, home)
    assert (step_of(ran, hopeless)["step"], step_of(ran, unwanted)["step"]) == ("known", "left")
    assert judged() == 2, "and it is never run again"
    number = world.ledger.proposal_count()
    assert world.submit(world.write_run(), world.home(), stake=BIG).code == 0
    strange = world.proposal(number)
    world.send("judge", "claimReview", number)  # another verifier holds it, all the week long

    def expired(*options: str) -> list[bool]:
        validate(world, home, *options)
        return [status_of(world, p) is Status.EXPIRED for p in (strange, hopeless, unwanted)]

    now = world.rpc.block("latest").timestamp
    world.devnet.advance_time(strange.submitted_at + 8 * DAY - now - 300)
    assert expired("--expire-others") == [False, False, False], "the miner's day"
    world.devnet.advance_time(HOUR)
    assert expired() == [False, False, False], "not unless switched on"
    token, before = world.token(), world.token().balance_of(account)
    assert expired("--expire-others") == [True, False, False]
    assert token.balance_of(account) - before >= BIG // 2, "the credit is worth its gas, and collected"
    assert world.ledger.claimable(strange.project_id, account) == 0
