"""Watching: what changed between two looks; a live look at the ledger; expiry at the exact second."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.chain.sender import Intent
from armlx_chain.claims.watching import Change, ChangeKind, View, changes
from armlx_chain.cli.expire import wait_for_block
from armlx_chain.cli.watch import MAX_FAILURES, follow
from armlx_chain.errors import RpcUnavailable
from armlx_chain.types import Address, ProjectId, ProposalId, ScaledScore, Tokens
from tests.faults.processes import Job, Launcher
from tests.faults.refusal import Refusal
from tests.faults.tinyworld import STAKE, Ran, TinyWorld, call

WEEK = 604_800
WHO = Address("0x" + "11" * 20)
WAITING = Proposal(
    id=ProposalId(3), project_id=ProjectId(0), miner=WHO, reward_recipient=WHO, code_hash=b"c" * 32,
    evidence_hash=b"e" * 32, metrics_hash=bytes(32), claimed_score=ScaledScore(-90),
    verified_score=ScaledScore(0), stake=Tokens(4), submitted_at=1_000, review_lock_until=0,
    reviewer=Address("0x" + "00" * 20), status=Status.SUBMITTED,
)  # fmt: skip
REVIEWED = replace(WAITING, status=Status.REVIEWING, reviewer=WHO, review_lock_until=90_000)


def view(*proposals: Proposal, now: int = 2_000, best: int = -100) -> View:
    return View(now, WEEK, {p.id: p for p in proposals}, {ProjectId(0): ScaledScore(best)})


def kinds(before: View | None, after: View) -> list[str]:
    return [change.kind.value for change in changes(before, after)]


# --- rules --------------------------------------------------------------------------------------------


@pytest.mark.unit
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, view(WAITING), ["watching"]),
        (view(WAITING), view(WAITING), []),
        (view(), view(WAITING), ["submitted"]),
        (view(), view(replace(WAITING, status=Status.REJECTED)), ["submitted", "rejected"]),
        (view(WAITING), view(REVIEWED), ["claimed"]),
        (view(REVIEWED), view(WAITING), ["released"]),
        (view(REVIEWED), view(replace(REVIEWED, review_lock_until=180_000)), ["released", "claimed"]),
        (view(REVIEWED), view(replace(REVIEWED, status=Status.APPROVED)), ["approved"]),
        (view(REVIEWED), view(replace(REVIEWED, status=Status.REJECTED)), ["rejected"]),
        (view(WAITING), view(replace(WAITING, status=Status.EXPIRED)), ["expired"]),
        (view(WAITING), view(WAITING, best=-91), ["best"]),
        (view(WAITING), view(WAITING, best=-90), ["best", "overtaken"]),
        (view(WAITING, best=-90), view(WAITING, best=-80), ["best"]),
        (view(WAITING), view(WAITING, now=1_000 + WEEK - 1), []),
        (view(WAITING), view(WAITING, now=1_000 + WEEK), ["expirable"]),
        (view(WAITING, now=1_000 + WEEK), view(WAITING, now=2_000 + WEEK), []),
        (None, view(WAITING, now=1_000 + WEEK, best=-1), ["watching", "overtaken", "expirable"]),
    ],
)
def test_what_changed(before: View | None, after: View, expected: list[str]) -> None:
    assert kinds(before, after) == expected


@pytest.mark.unit
def test_settled_means_that_nothing_watched_is_open() -> None:
    assert view().settled
    assert not view(WAITING, replace(WAITING, id=ProposalId(4), status=Status.EXPIRED)).settled
    assert view(replace(REVIEWED, status=Status.APPROVED)).settled


@pytest.mark.unit
def test_every_change_has_a_sentence_that_names_what_it_is_about() -> None:
    seen = set()
    for change in changes(None, view(WAITING, now=1_000 + WEEK, best=-1)) + changes(view(), view(REVIEWED)):
        assert "proposal 3" in change.sentence
        assert change.to_json()["event"] == change.kind.value
        seen.add(change.kind)
    assert ChangeKind.EXPIRABLE in seen


class Looks:
    """A scripted chain: views, and errors in between."""

    def __init__(self, *looks: View | Exception) -> None:
        self.left = list(looks)

    def __call__(self) -> View:
        found = self.left.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found


def following(looks: Callable[[], View], **options: Any) -> tuple[int, list[Change]]:
    shown: list[Change] = []
    code = follow(looks, shown.append, every=1.0, sleep=lambda _: None, **options)
    return code, shown


@pytest.mark.unit
def test_following_ends_when_everything_is_settled_and_survives_a_chain_out_of_reach() -> None:
    down = RpcUnavailable("no")
    looks = Looks(view(WAITING), down, down, view(REVIEWED), view(replace(REVIEWED, status=Status.APPROVED)))
    code, shown = following(looks, until=True)
    assert (code, [change.kind.value for change in shown]) == (0, ["watching", "claimed", "approved"])


@pytest.mark.unit
def test_following_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert following(Looks(view()), until=True) == (0, [])
    assert "Nothing to watch" in capsys.readouterr().err


@pytest.mark.unit
def test_following_gives_up_on_a_chain_that_stays_out_of_reach() -> None:
    with pytest.raises(RpcUnavailable):
        following(Looks(view(WAITING), *[RpcUnavailable("no")] * MAX_FAILURES), until=True)
    with pytest.raises(RpcUnavailable):
        following(Looks(RpcUnavailable("no")), until=True)


@pytest.mark.unit
def test_ctrl_c_ends_it_cleanly() -> None:
    looks = Looks(view(WAITING), KeyboardInterrupt())  # type: ignore[arg-type]
    code, shown = following(looks, until=False)
    assert (code, len(shown)) == (130, 1)


@pytest.mark.unit
@pytest.mark.parametrize("poll", [0.1, 2.0])
def test_waiting_ends_with_the_first_block_that_is_late_enough(poll: float) -> None:
    now, slept = [1_000.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    wait_for_block(lambda: int(now[0]), 1_100, poll=poll, sleep=sleep)
    assert 1_100 <= now[0] <= 1_100 + max(poll, 2)
    assert max(slept) <= 60


# --- on the ledger ------------------------------------------------------------------------------------


@pytest.fixture
def waiting(world: TinyWorld) -> Proposal:
    """A proposal of the miner that nobody has looked at."""
    sender, number = world.sender("miner"), world.ledger.proposal_count()
    return world.stake(sender, 0, number.to_bytes(32, "big"), b"\x01" * 32, -1_000, sender.address)


def expire(world: TinyWorld, proposal: Proposal, *extra: object, who: str = "miner") -> list[str]:
    given = ["expire", int(proposal.id), "--yes", "--json", *extra]
    return world.signed(given, world.home(), who)


def set_block_time(world: TinyWorld, second: int) -> None:
    """The next block, empty, is of exactly this second."""
    world.devnet._rpc.call("evm_setNextBlockTimestamp", second)
    world.devnet._rpc.call("evm_mine")
    assert world.rpc.block("latest").timestamp == second


@pytest.mark.e2e
def test_expiry_is_offered_at_the_exact_second_of_the_blocks_and_refused_before(
    world: TinyWorld, waiting: Proposal
) -> None:
    due = waiting.submitted_at + WEEK
    set_block_time(world, due - 1)
    refusal = Refusal(world, world.home())
    given = ["expire", int(waiting.id), "--yes", *refusal.key("miner")]
    found = refusal.require(given, 75, "TooEarly", str(due), "1 s before that", "--wait")
    assert found["details"] == {"proposal": int(waiting.id), "due": due, "now": due - 1}
    set_block_time(world, due)
    ran = call(expire(world, waiting))
    assert ran.code == 0, ran.err
    assert (ran.document["credited"], ran.document["burned"]) == (STAKE // 2, STAKE - STAKE // 2)
    assert world.proposal(waiting.id).status is Status.EXPIRED


@pytest.mark.e2e
def test_waiting_for_it_sends_it_once_the_chain_is_there(
    world: TinyWorld, launcher: Launcher, waiting: Proposal
) -> None:
    set_block_time(world, waiting.submitted_at + WEEK - 60)
    reached = {"call": "armlx_chain.cli.expire:wait_for_block", "when": "before", "number": 1, "pause": True}
    (asleep,) = launcher.run(Job(expire(world, waiting, "--wait", "--claim"), stop=reached))
    assert asleep.paused, asleep.text
    assert world.proposal(waiting.id).status is Status.SUBMITTED
    set_block_time(world, waiting.submitted_at + WEEK)
    ended = launcher.resume(asleep)
    assert ended.code == 0, ended.text
    assert world.proposal(waiting.id).status is Status.EXPIRED
    assert world.ledger.claimable(0, world.address("miner")) == 0, "collected too"


@pytest.mark.e2e
@pytest.mark.parametrize("event", ["signed", "broadcast", "mined"])
def test_expiring_and_collecting_killed_anywhere_happen_once(
    world: TinyWorld, launcher: Launcher, waiting: Proposal, event: str
) -> None:
    world.devnet.advance_time(WEEK)
    token, who = world.token(), world.address("second")
    before, nonce = token.balance_of(who), world.nonce("second")
    arguments = expire(world, waiting, "--claim", "--anyway", who="second")
    for _ in range(2):
        (killed,) = launcher.run(Job(arguments, stop={"event": event, "number": 1}))
        if not killed.was_killed:
            assert killed.code == 0, killed.text
    (ended,) = launcher.run(Job(arguments))
    assert ended.code == 0, ended.text
    given = ["claim-reward", "--yes", "--anyway", "--json"]
    assert call(world.signed(given, Path(arguments[-1]), "second")).code == 0
    assert token.balance_of(who) == before + STAKE // 2
    assert world.nonce("second") == nonce + 2


@pytest.mark.e2e
def test_what_does_not_pay_is_said_and_not_sent(world: TinyWorld) -> None:
    token, sender, number = world.token(), world.sender("miner"), world.ledger.proposal_count()
    world.buy("miner", 1)
    allow, roots = token.encode("approve", world.ledger.address, 1), (b"\x31" * 32, b"\x32" * 32)
    sender.execute(Intent(key="allow", to=token.address, data=allow))
    submit = world.ledger.encode("submit", 0, *roots, -1, 1, sender.address)
    sender.execute(Intent(key="submit", to=world.ledger.address, data=submit))
    world.devnet.advance_time(WEEK)
    refusal = Refusal(world, world.home())
    given = ["expire", number, "--yes", *refusal.key("miner")]
    found = refusal.require(given, 3, "ClaimRefused", "does not pay", "--anyway")
    assert (found["details"]["credit"], found["details"]["value_wei"]) == (0, "0")
    nothing = refusal.run(["claim-reward", "--yes", *refusal.key("rival"), "--json"])
    assert (nothing.code, nothing.document["claimed"]) == (0, [])


@pytest.mark.e2e
def test_a_settled_proposal_does_not_expire(world: TinyWorld, waiting: Proposal) -> None:
    world.send("judge", "claimReview", int(waiting.id))
    world.send("judge", "reject", int(waiting.id), b"\x01" * 32)
    refusal = Refusal(world, world.home())
    given = ["expire", int(waiting.id), "--yes", *refusal.key("miner")]
    assert "rejected" in refusal.require(given, 3, "ClaimRefused", "only an open one")["message"]


@pytest.mark.e2e
def test_watching_a_proposal_to_its_end(world: TinyWorld, launcher: Launcher, waiting: Proposal) -> None:
    given = ["watch", "--proposal", int(waiting.id), "--until", "settled", "--every", 0.05, "--json"]
    second = {"call": "armlx_chain.cli.watch:_Look.__call__", "when": "before", "number": 2, "pause": True}
    (asleep,) = launcher.run(Job(world.unsigned(given, world.home()), stop=second))
    assert asleep.paused, asleep.text
    world.send("judge", "claimReview", int(waiting.id))
    world.send("judge", "reject", int(waiting.id), b"\x01" * 32)
    ended = launcher.resume(asleep)
    assert ended.code == 0, ended.text
    lines = [json.loads(line) for line in ended.text.splitlines()]
    assert [(line["event"], line["proposal"]) for line in lines] == [
        ("watching", int(waiting.id)), ("rejected", int(waiting.id)),
    ]  # fmt: skip


@pytest.mark.e2e
def test_one_screen_shows_what_is_mine(world: TinyWorld, waiting: Proposal) -> None:
    home = world.home()
    world.buy("miner", 1)
    shown: Ran = call(world.unsigned(["status", "--account", "miner", "--json"], home))
    assert shown.code == 0, shown.err
    document = shown.document
    assert document["account"] == world.address("miner")
    assert int(document["balance_wei"]) == world.rpc.balance(world.address("miner"))
    mine = [proposal.id for proposal in world.proposals() if proposal.miner == world.address("miner")]
    assert [entry["proposal"] for entry in document["proposals"]] == mine
    (held,) = [entry for entry in document["projects"] if entry["project"] == 0]
    assert held["tokens"] == world.token().balance_of(world.address("miner"))
    assert held["credit"] == world.ledger.claimable(0, world.address("miner"))
    assert (document["pending"], document["unfinished_submissions"]) == ([], [])
    assert not (home / "journal.sqlite").exists(), "looking makes nothing"
    words = call(world.unsigned(["status", "--address", world.address("miner")], home)).out
    assert f"proposal {waiting.id}" in words
