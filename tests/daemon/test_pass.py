"""One pass of a validator over proposals that are in order, out of order, late, or somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import armlx_chain.cli.reproduce
import armlx_chain.settings
from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.chain.journal import State
from armlx_chain.formats.bundle import Authorship, pack_candidate
from tests.daemon.crafted import Crafted
from tests.daemon.settling import BROADCASTS, Settling
from tests.faults import simulated
from tests.faults.processes import Job, Launcher
from tests.faults.tinyworld import SEED_BLOCKS, STAKE, Ran, TinyWorld, call

pytestmark = pytest.mark.e2e

HOUR, DAY = 3600, 86_400
CLAIM, SETTLEMENT = (BROADCASTS.index(name) + 1 for name in ("claim", "settlement"))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validators of this process judge on the simulated machine."""
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    simulated.runs.clear()


@pytest.fixture(autouse=True)
def tidy(world: TinyWorld) -> Iterator[None]:
    """Later tests meet no open proposal of this one."""
    yield
    close_all(world)


def close_all(world: TinyWorld) -> None:
    waiting = [proposal for proposal in world.proposals() if proposal.is_open]
    if waiting:
        world.devnet.advance_time(8 * DAY)
        for proposal in waiting:
            world.send("stranger", "expire", int(proposal.id))


def validate(world: TinyWorld, home: Any, *extra: str, who: str = "validator") -> Ran:
    return call(world.validate_arguments(home, "--json", *extra, who=who), validator=True)


def step_of(ran: Ran, proposal: Proposal) -> dict[str, Any]:
    assert ran.code == 0, ran.err
    (found,) = [entry for entry in ran.document["proposals"] if entry["proposal"] == proposal.id]
    return dict(found)


def judged() -> int:
    """How many runs were made in this process."""
    return sum(len(runner.calls) for runner in simulated.runs)


# --- the best moves -----------------------------------------------------------------------------------


def test_a_best_that_moved_between_signature_and_broadcast_supersedes_the_verdict(
    world: TinyWorld, launcher: Launcher
) -> None:
    settling = Settling.begin(world, looks_ahead=False)
    killed = settling.run(launcher, event="signed", number=SETTLEMENT)
    assert killed.was_killed, killed.text
    world.move_best()
    nonce = world.nonce("validator")
    result = step_of(validate(world, settling.home), settling.proposal)
    assert (result["step"], result["outcome"]) == ("superseded", "reproduced")
    after = world.proposal(settling.proposal.id)
    assert (after.status, after.verified_score) == (Status.REVIEWING, 0), "nothing was approved"
    attempts = world.journal("validator", settling.home)._all()
    assert [a.state for a in attempts if a.key.startswith("approve/")] == [State.CANCELLED]
    assert attempts[-1].key.startswith("cancel/")
    assert world.nonce("validator") == nonce + 1, "its nonce is spent on the cancellation"
    again = step_of(validate(world, settling.home), settling.proposal)
    assert again["step"] == "known"
    assert world.nonce("validator") == nonce + 1
    assert len(settling.rows("guard.sqlite", "verdicts")) == 1


def test_a_stale_approval_whose_nonce_another_program_used_ends_at_once(
    world: TinyWorld, launcher: Launcher
) -> None:
    settling = Settling.begin(world, looks_ahead=False)
    killed = settling.run(launcher, event="signed", number=SETTLEMENT)
    assert killed.was_killed, killed.text
    world.buy("validator", 1)  # from another home: another program with the same key
    world.move_best()
    result = step_of(validate(world, settling.home), settling.proposal)
    assert result["step"] == "superseded"
    assert {a.state for a in world.journal("validator", settling.home)._all()[SETTLEMENT - 1 :]} == {
        State.CANCELLED
    }
    assert world.proposal(settling.proposal.id).status is Status.REVIEWING


def test_a_best_that_moved_before_the_signature_is_judged_anew(world: TinyWorld, launcher: Launcher) -> None:
    run_log = world.write_run(gain="0.500000")
    proposal_id = world.ledger.proposal_count()
    assert world.submit(run_log, world.home()).code == 0
    world.devnet.mine(SEED_BLOCKS)
    home = world.home()
    stop = {"call": "verifier.daemon.store:FindingStore.judged", "when": "after", "number": 1}
    (killed,) = launcher.run(Job(world.validate_arguments(home), validator=True, simulate=True, stop=stop))
    assert killed.was_killed, killed.text
    world.move_best()
    nonce, proposal = world.nonce("validator"), world.proposal(proposal_id)
    first = step_of(validate(world, home), proposal)
    assert first["step"] == "superseded"
    assert world.nonce("validator") == nonce, "nothing was signed or sent"
    assert not (home / "guard.sqlite").exists() or judged() == 0
    second = step_of(validate(world, home), proposal)
    assert second["step"] == "approved", second
    assert judged() > 0
    assert world.proposal(proposal_id).status is Status.APPROVED


def test_a_best_that_moved_between_guard_and_signature_ends_that_verdict_and_stops_nobody(
    world: TinyWorld, launcher: Launcher
) -> None:
    settling = Settling.begin(world, looks_ahead=False)
    killed = settling.run(
        launcher, call="armlx_chain.signing.guard:SingleSignGuard.check_and_insert", when="after", number=1
    )
    assert killed.was_killed, killed.text
    world.move_best()
    nonce = world.nonce("validator")
    result = step_of(validate(world, settling.home), settling.proposal)
    assert result["step"] == "superseded"
    assert world.nonce("validator") == nonce
    later = world.submitted()
    ran = validate(world, settling.home)
    assert step_of(ran, settling.proposal)["step"] == "known"
    assert step_of(ran, later)["step"] == "approved"


def test_a_signed_verdict_is_not_given_up_for_what_a_reorganisation_may_take_back(
    world: TinyWorld, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    settling = Settling.begin(world, looks_ahead=False)
    killed = settling.run(launcher, call="verifier.daemon.store:FindingStore.signed", when="after", number=1)
    assert killed.was_killed, killed.text
    world.move_best()
    nonce, local = world.nonce("validator"), armlx_chain.settings._devnet
    monkeypatch.setattr(armlx_chain.settings, "_devnet", lambda at: replace(local(at), confirmations=1))
    waits = step_of(validate(world, settling.home), settling.proposal)
    assert (waits["step"], "not settled on the chain yet" in waits["sentence"]) == ("waiting", True)
    world.devnet.mine(1)
    assert step_of(validate(world, settling.home), settling.proposal)["step"] == "superseded"
    monkeypatch.undo()
    assert world.nonce("validator") == nonce, "nothing is sent either way"


# --- other verifiers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def second_verifier(world: TinyWorld) -> str:
    """A second account on the allow-list."""
    world.register("second")
    return "second"


def test_a_review_that_another_verifier_holds_is_left_alone(world: TinyWorld, second_verifier: str) -> None:
    proposal = world.submitted()
    world.send(second_verifier, "claimReview", int(proposal.id))
    home, nonce = world.home(), world.nonce("validator")
    result = step_of(validate(world, home), proposal)
    assert result["step"] == "left"
    assert world.address(second_verifier) in result["sentence"]
    assert (world.nonce("validator"), judged()) == (nonce, 0)


@pytest.mark.parametrize("is_signed", [False, True], ids=["judged", "signed"])
def test_a_review_taken_by_another_after_the_verdict_is_waited_for_not_fought_over(
    world: TinyWorld, launcher: Launcher, second_verifier: str, is_signed: bool
) -> None:
    settling = Settling.begin(world, looks_ahead=False)
    moment = "signed" if is_signed else "judged"
    killed = settling.run(
        launcher, call=f"verifier.daemon.store:FindingStore.{moment}", when="after", number=1
    )
    assert killed.was_killed, killed.text
    world.send(second_verifier, "claimReview", int(settling.proposal.id))
    held = step_of(validate(world, settling.home), settling.proposal)
    assert (held["step"], world.nonce("validator")) == ("left", settling.nonce)
    world.devnet.advance_time(DAY)
    world.send("stranger", "releaseReview", int(settling.proposal.id))
    assert step_of(validate(world, settling.home), settling.proposal)["step"] == "approved"
    assert judged() == 0, "the recorded verdict is used"
    settling.require_settled_once()


def test_a_claim_signed_before_another_took_the_review_is_cancelled(
    world: TinyWorld, launcher: Launcher, second_verifier: str
) -> None:
    settling = Settling.begin(world, looks_ahead=True)
    killed = settling.run(launcher, "--auto-reject", event="signed", number=CLAIM)
    assert killed.was_killed, killed.text
    world.send(second_verifier, "claimReview", int(settling.proposal.id))
    held = step_of(validate(world, settling.home, "--auto-reject"), settling.proposal)
    assert held["step"] == "left"
    attempts = world.journal("validator", settling.home)._all()
    assert [a.state for a in attempts if a.key.startswith("claim/")] == [State.CANCELLED]
    world.send(second_verifier, "reject", int(settling.proposal.id), b"\x02" * 32)
    lost = step_of(validate(world, settling.home, "--auto-reject"), settling.proposal)
    assert lost["step"] == "superseded"
    assert world.proposal(settling.proposal.id).metrics_hash == b"\x02" * 32
    assert validate(world, settling.home).document["proposals"] == []


def test_a_proposal_that_others_settled_is_not_run_again_because_it_was_undecided_here(
    world: TinyWorld, second_verifier: str
) -> None:
    proposal = Crafted(world).submit(signature=b"\x01" * 65)
    home = world.home()
    assert step_of(validate(world, home), proposal)["reason"] == "evidence"
    world.send(second_verifier, "claimReview", int(proposal.id))
    world.send(second_verifier, "reject", int(proposal.id), b"\x02" * 32)
    assert validate(world, home).document["proposals"] == []


def test_a_lease_that_ran_out_is_renewed_and_the_recorded_verdict_settled(
    world: TinyWorld, launcher: Launcher
) -> None:
    settling = Settling.begin(world, looks_ahead=False)
    killed = settling.run(launcher, event="mined", number=CLAIM)
    assert killed.was_killed, killed.text
    lock = world.proposal(settling.proposal.id).review_lock_until
    now = world.rpc.block("latest").timestamp
    world.devnet.advance_time(lock - 300 - now)
    ending = step_of(validate(world, settling.home), settling.proposal)
    assert (ending["step"], world.nonce("validator")) == ("waiting", settling.nonce + CLAIM)
    world.devnet.advance_time(300)
    done = step_of(validate(world, settling.home), settling.proposal)
    assert done["step"] == "approved", done
    keys = [a.key.split("/")[0] for a in world.journal("validator", settling.home)._all()]
    assert keys == ["flow", "flow", "flow", "claim", "release", "claim", "approve"]
    assert world.proposal(settling.proposal.id).status is Status.APPROVED
    assert len(settling.rows("guard.sqlite", "verdicts")) == 1


def test_an_approval_signed_before_its_lease_ran_out_is_cancelled_then_done_anew(
    world: TinyWorld, launcher: Launcher
) -> None:
    settling = Settling.begin(world, looks_ahead=False)
    killed = settling.run(launcher, event="signed", number=SETTLEMENT)
    assert killed.was_killed, killed.text
    world.devnet.advance_time(DAY + 1)
    assert step_of(validate(world, settling.home), settling.proposal)["step"] == "approved"
    states = [a.state for a in world.journal("validator", settling.home)._all() if "approve/" in a.key]
    assert states == [State.CANCELLED, State.MINED, State.MINED], "approve, its cancellation, approve"
    assert world.token().pool_minted() == settling.minted + STAKE


# --- two processes ------------------------------------------------------------------------------------


def test_of_two_validators_with_one_key_one_is_refused_and_nothing_is_doubled(
    world: TinyWorld, launcher: Launcher
) -> None:
    settling = Settling.begin(world, looks_ahead=False)
    first = settling.run(
        launcher, call="verifier.daemon.store:FindingStore.judged", when="after", number=1, pause=True
    )
    assert first.paused, first.text
    second = validate(world, settling.home)
    assert second.code == 75
    assert second.error["code"] == "AccountBusy"
    assert (judged(), world.nonce("validator")) == (0, settling.nonce)
    assert launcher.resume(first).code == 0
    settling.require_settled_once()


def test_two_accounts_in_one_home_do_not_carry_on_each_others_verdicts(
    world: TinyWorld, launcher: Launcher, second_verifier: str
) -> None:
    settling = Settling.begin(world, looks_ahead=False)
    killed = settling.run(launcher, call="verifier.daemon.store:FindingStore.signed", when="after", number=1)
    assert killed.was_killed, killed.text
    other = step_of(validate(world, settling.home, who=second_verifier), settling.proposal)
    assert other["step"] == "approved"
    assert world.proposal(settling.proposal.id).reviewer == world.address(second_verifier)
    lost = step_of(validate(world, settling.home), settling.proposal)
    assert lost["step"] == "superseded"
    assert world.nonce("validator") == settling.nonce


# --- consent ------------------------------------------------------------------------------------------


def test_a_rejection_without_consent_waits_and_is_not_run_again(world: TinyWorld) -> None:
    settling = Settling.begin(world, looks_ahead=True)
    first = step_of(validate(world, settling.home), settling.proposal)
    runs = judged()
    assert (first["step"], first["outcome"]) == ("waiting", "refuted")
    assert "consent" in first["sentence"]
    assert runs > 0
    second = step_of(validate(world, settling.home), settling.proposal)
    assert (second["step"], judged()) == ("waiting", runs)
    assert world.nonce("validator") == settling.nonce, "nothing was sent"
    assert not (settling.home / "guard.sqlite").exists() or not settling.rows("guard.sqlite", "verdicts")
    assert world.proposal(settling.proposal.id).status is Status.SUBMITTED
    third = step_of(validate(world, settling.home, "--auto-reject"), settling.proposal)
    assert (third["step"], judged()) == ("rejected", runs)
    settling.require_settled_once()


# --- papers -------------------------------------------------------------------------------------------


def test_missing_artifacts_are_waited_for_and_later_proposals_only_for_an_hour(world: TinyWorld) -> None:
    late = Crafted(world).submit(publish=False)
    honest = world.submitted()
    home, nonce = world.home(), world.nonce("validator")
    ran = validate(world, home)
    assert step_of(ran, late)["step"] == "waiting"
    assert "not there yet" in step_of(ran, late)["sentence"]
    assert step_of(ran, honest)["step"] == "waiting"
    assert "an earlier proposal" in step_of(ran, honest)["sentence"]
    assert (judged(), world.nonce("validator")) == (0, nonce)
    world.devnet.advance_time(HOUR + 1)
    ran = validate(world, home)
    assert step_of(ran, late)["step"] == "waiting", "never a fault"
    assert step_of(ran, honest)["step"] == "approved"
    assert world.proposal(late.id).status is Status.SUBMITTED


def other_log(crafted: Crafted) -> Proposal:
    return crafted.submit(run_log=b"another log\nval_bpb:          1.000000\n")


def other_log_with_the_same_value(crafted: Crafted) -> Proposal:
    return crafted.submit(run_log=crafted.honest_log + b"one line more\n")


def log_states_otherwise(crafted: Crafted) -> Proposal:
    return crafted.submit(claim={"metric_value": "0.100000"})


def wrong_signature(crafted: Crafted) -> Proposal:
    return crafted.submit(signature=bytes(64) + b"\x1b")


def signed_by_another(crafted: Crafted) -> Proposal:
    return crafted.submit(signer="rival")


def claim_of_another_miner(crafted: Crafted) -> Proposal:
    return crafted.submit(claim={"miner": crafted.world.address("rival")}, signer="rival")


def bundle_of_another_miner(crafted: Crafted) -> Proposal:
    author = Authorship(crafted.world.address("rival"), crafted.project_id, crafted.world.devnet.chain_id)
    return crafted.submit(bundle=pack_candidate({"train.py": b"LEVEL = 1.0\n"}, author))


def bundle_that_the_claim_does_not_name(crafted: Crafted) -> Proposal:
    author = Authorship(crafted.world.address("miner"), crafted.project_id, crafted.world.devnet.chain_id)
    return crafted.submit(ledger_bundle=pack_candidate({"train.py": b"LEVEL = 1.0\n"}, author))


def another_recipient(crafted: Crafted) -> Proposal:
    return crafted.submit(recipient=crafted.world.address("rival"))


def another_score(crafted: Crafted) -> Proposal:
    return crafted.submit(score_above=1)


def no_document(crafted: Crafted) -> Proposal:
    return crafted.submit(evidence=b"this is no evidence")


def no_bundle(crafted: Crafted) -> Proposal:
    return crafted.submit(bundle=b"this is no bundle")


CONTRADICTIONS = (
    other_log, other_log_with_the_same_value, log_states_otherwise, wrong_signature, signed_by_another,
    claim_of_another_miner, bundle_of_another_miner, bundle_that_the_claim_does_not_name,
    another_recipient, another_score, no_document, no_bundle,
)  # fmt: skip


def test_papers_that_contradict_themselves_are_undecided_and_nothing_is_sent(world: TinyWorld) -> None:
    crafted = Crafted(world)
    found = {papers.__name__: papers(crafted) for papers in CONTRADICTIONS}
    home, nonce = world.home(), world.nonce("validator")
    ran = validate(world, home, "--auto-reject")
    for name, proposal in found.items():
        result = step_of(ran, proposal)
        assert (result["step"], result["outcome"], result["reason"]) == ("left", "undecided", "evidence"), (
            name
        )
        assert world.proposal(proposal.id).status is Status.SUBMITTED
    sentences = {step_of(ran, proposal)["sentence"] for proposal in found.values()}
    assert len(sentences) >= len(found) - 2, "each is told by its own sentence"
    assert (judged(), world.nonce("validator")) == (0, nonce)


def test_the_crafted_papers_are_in_order_where_nothing_is_changed(world: TinyWorld) -> None:
    """The negative tests above fail for the one reason each names."""
    proposal = Crafted(world).submit()
    assert step_of(validate(world, world.home()), proposal)["step"] == "approved"


# --- hostile projects ---------------------------------------------------------------------------------


def test_a_project_whose_protocol_does_not_parse_stops_nobody(world: TinyWorld) -> None:
    broken = Crafted.on_broken_project(world)
    honest = world.submitted()
    nonce = world.nonce("validator")
    ran = validate(world, world.home())
    left = step_of(ran, broken)
    assert (left["step"], left["reason"]) == ("left", "control-unavailable")
    assert step_of(ran, honest)["step"] == "approved"
    assert world.nonce("validator") == nonce + SETTLEMENT, "only the honest one cost anything"


def test_a_project_published_the_wrong_way_round_is_not_reviewed(world: TinyWorld) -> None:
    proposal = Crafted.on_wrong_sign(world)
    result = step_of(validate(world, world.home()), proposal)
    assert result["step"] == "left"
    assert "lower" in result["sentence"] or "down" in result["sentence"]
    assert judged() == 0


def test_a_reward_that_the_pool_cannot_pay_is_left_to_expire(world: TinyWorld) -> None:
    published = world.publish(symbol="SMALLPOOL", pool=STAKE)
    first = world.write_run(project_id=published.project_id)
    count = world.ledger.proposal_count()
    assert world.submit(first, world.home()).code == 0
    extra = Crafted(world, int(published.project_id)).careless(above=10**6)
    ran = validate(world, world.home())
    assert step_of(ran, world.proposal(count))["step"] == "approved"
    left = step_of(ran, extra)
    assert left["step"] == "left"
    assert "no room for its reward" in left["sentence"]
