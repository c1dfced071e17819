"""Copies, look-alikes and no-ops, from the miner's plan to the validator's report and the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import armlx_chain.cli.reproduce
from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.claims.likeness import Likeness, fingerprint
from armlx_chain.formats.bundle import Authorship, pack_candidate
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, ProposalId
from tests.daemon.crafted import Crafted
from tests.daemon.test_pass import close_all, step_of, validate
from tests.faults import simulated
from tests.faults.tinyworld import SEED_BLOCKS, TinyWorld
from verifier.copies import MAX_FLAGS, Seen, control_likeness, copy_evidence, flags, with_no_op
from verifier.model import Outcome, Reason, Verdict
from verifier.report import to_text, to_tree

ONE, TWO = Address("0x" + "11" * 20), Address("0x" + "22" * 20)
CODE = b"LEVEL = 8.5\nvalue = LEVEL * 2\n"


# --- rules ------------------------------------------------------------------------------------------------


def seen(number: int, miner: Address, code: bytes, author: Address | None = None) -> Seen:
    files = {"train.py": code}
    bundle = pack_candidate(files, Authorship(author or miner, 0, 31337))  # type: ignore[arg-type]
    return Seen(ProposalId(number), miner, author or miner, root_of(bundle), fingerprint(files))


@pytest.mark.unit
def test_a_report_says_what_a_candidate_is_alike_to_and_whose_that_is() -> None:
    mine = seen(5, ONE, CODE)
    others = [
        seen(9, TWO, CODE + b"# later\n"),
        seen(1, TWO, CODE),
        seen(2, ONE, CODE.replace(b"value", b"worth")),
        seen(3, TWO, CODE, author=ONE),
        seen(4, TWO, b"LEVEL = 8.6\nvalue = LEVEL * 2\n"),
        mine,
    ]
    found = flags(mine, others)
    assert found == (
        f"It is the same files as the earlier proposal 1, {TWO}'s.",
        "It is the same code, but for names, as the earlier proposal 2, the same miner's.",
        f"It is the same bundle as the earlier proposal 3, {TWO}'s, which names {ONE} as its author.",
        f"It is the same code, but for comments and layout, as the later proposal 9, {TWO}'s.",
    )
    assert (
        len(flags(mine, [replace(others[1], proposal=ProposalId(n)) for n in range(100, 200)])) == MAX_FLAGS
    )


def verdict(outcome: Outcome, reason: Reason) -> Verdict:
    return Verdict(outcome=outcome, reason=reason, explanation="Found.", rule="r/1", noise=None)


@pytest.mark.unit
def test_a_no_op_that_the_test_accepts_is_not_paid_and_nothing_else_is_changed() -> None:
    lucky = verdict(Outcome.REPRODUCED, Reason.IMPROVEMENT_CONFIRMED)
    held = with_no_op(lucky, Likeness.BYTES)
    assert (held.outcome, held.reason) == (Outcome.UNDECIDED, Reason.TOO_NOISY)
    assert "byte for byte" in held.explanation
    assert "A no-op" in to_text(held)
    for likeness in (Likeness.SYNTAX, Likeness.SHAPE):
        assert with_no_op(lucky, likeness).outcome is Outcome.REPRODUCED, "equal syntax never decides"
    honest = with_no_op(verdict(Outcome.UNIMPROVED, Reason.NO_IMPROVEMENT), Likeness.BYTES)
    assert (honest.outcome, honest.reason) == (Outcome.UNIMPROVED, Reason.NO_IMPROVEMENT)
    assert to_tree(honest)["flags"] == ["A no-op: its files are the control's, byte for byte."]
    assert with_no_op(lucky, None) is lucky


@pytest.mark.unit
def test_a_candidate_is_compared_with_the_whole_tree_it_would_make() -> None:
    snapshot = {"train.py": b"x = 1\n", "model.py": b"y = 2\n", "README.md": b""}
    control = {"model.py": b"y = 3\n"}
    assert control_likeness({"train.py": b"x = 1\n"}, {}, snapshot) is Likeness.BYTES
    assert control_likeness({"train.py": b"x = 1\n"}, control, snapshot) is None
    both = {"train.py": b"x = 1\n", "model.py": b"y = 3 \n"}
    assert control_likeness(both, control, snapshot) is Likeness.SYNTAX
    assert control_likeness({"new.py": b"z = 1\n"}, {}, snapshot) is None


@pytest.mark.unit
def test_only_an_earlier_bundle_of_the_very_author_is_evidence_of_a_copy() -> None:
    packed = pack_candidate({"train.py": CODE}, Authorship(ONE, 0, 31337))  # type: ignore[arg-type]
    root, other = root_of(packed), root_of(b"other")
    author = Authorship(ONE, 0, 31337)  # type: ignore[arg-type]

    def found(proposer: Address, *earlier: tuple[int, Address, object]) -> bool:
        known = [(ProposalId(number), miner, code) for number, miner, code in earlier]
        return copy_evidence(ProposalId(5), proposer, root, author, known, confirmed=True) is not None  # type: ignore[arg-type]

    assert found(TWO, (3, ONE, root))
    assert not found(TWO, (7, ONE, root)), "a later one may have been taken from the first one's transaction"
    assert not found(TWO, (3, TWO, root))
    assert not found(TWO, (3, ONE, other))
    assert not found(ONE, (3, ONE, root)), "one's own again"


# --- the whole way ----------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, world: TinyWorld) -> Iterator[None]:
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    yield
    close_all(world)


def copied(world: TinyWorld, original: Proposal) -> Proposal:
    """Somebody else hands the published bundle in, with papers of his own that are in order."""
    from armlx_chain.types import Root

    data = world.storage().fetch(Root.zerog(original.code_hash), max_bytes=1 << 20).data
    return Crafted(world).submit(bundle=data)


def report_of(home: Path, proposal: Proposal) -> tuple[dict[str, object], str]:
    (folder,) = (home / "reports").glob(f"*/{proposal.id}")
    return json.loads((folder / "report.json").read_text()), (folder / "report.txt").read_text()


@pytest.mark.e2e
@pytest.mark.usefixtures("machine")
def test_the_bundle_of_an_earlier_proposal_handed_in_by_another_is_rejected_with_consent(
    world: TinyWorld,
) -> None:
    original = world.submitted(who="rival")
    copy = copied(world, original)
    home, nonce, supply = world.home(), world.nonce("validator"), world.token().total_supply()
    ran = validate(world, home)
    first = step_of(ran, copy)
    assert (first["step"], first["outcome"], first["reason"]) == ("waiting", "refuted", "copied")
    assert step_of(ran, original)["step"] == "approved"
    report, text = report_of(home, copy)
    assert report["pairs"] == [], "nothing was run"
    assert f"original: {original.id}" in text
    assert step_of(validate(world, home, "--auto-reject"), copy)["step"] == "rejected"
    assert world.proposal(copy.id).status is Status.REJECTED
    assert world.nonce("validator") > nonce
    assert world.token().total_supply() != supply


@pytest.mark.e2e
@pytest.mark.usefixtures("machine")
def test_a_copy_that_came_first_proves_nothing_and_harms_nobody(world: TinyWorld) -> None:
    bundle = pack_candidate({"train.py": CODE}, Authorship(world.address("rival"), 0, world.devnet.chain_id))
    copy = Crafted(world).submit(bundle=bundle)
    home, nonce = world.home(), world.nonce("validator")
    result = step_of(validate(world, home, "--auto-reject"), copy)
    assert (result["step"], result["outcome"], result["reason"]) == ("left", "undecided", "evidence")
    assert (world.nonce("validator"), world.proposal(copy.id).status) == (nonce, Status.SUBMITTED)


@pytest.mark.e2e
@pytest.mark.usefixtures("machine")
def test_reformatted_code_is_warned_of_before_it_is_submitted_and_flagged_when_it_is_judged(
    world: TinyWorld,
) -> None:
    first = world.write_run(gain="0.000001")
    train = first.parent / "candidate" / "train.py"
    number = world.ledger.proposal_count()
    assert world.submit(first, world.home(), "--despite-verdict", who="rival").code == 0
    second = world.write_run(gain="0.000001")
    other = second.parent / "candidate" / "train.py"
    assert train.read_text() != other.read_text()
    ran = world.submit(second, world.home(), "--despite-verdict")
    assert ran.code == 0, ran.err
    assert "But for comments and layout these files are known" in ran.err + ran.out
    world.devnet.mine(SEED_BLOCKS)
    home = world.home()
    results = validate(world, home)
    for proposal, whose in ((number, "the later"), (number + 1, "the earlier")):
        assert step_of(results, world.proposal(proposal))["outcome"] == "unimproved"
        report, text = report_of(home, world.proposal(proposal))
        (flag,) = report["flags"]  # type: ignore[misc]
        assert f"the same code, but for comments and layout, as {whose} proposal" in flag
        assert f"Worth a look, decides nothing: {flag}" in text
