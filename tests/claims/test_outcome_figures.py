"""What the plan says about each outcome is what the chain then does, token by token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.chain.sender import Intent
from armlx_chain.claims.outcomes import cranker_credit, outcomes
from tests.faults.tinyworld import Ran, TinyWorld, call

WEEK = 604_800
STAKES = (1, 2, 10)


@dataclass
class Staked:
    """A proposal, what its plan said, and who had what just before the stake was taken."""

    world: TinyWorld
    home: Path
    plan: dict[str, Any]
    proposal: Proposal
    before: dict[str, int]

    def change(self, who: str) -> int:
        return self.world.token().balance_of(self.world.address(who)) - self.before[who]

    def stated(self, outcome: str) -> dict[str, Any]:
        (found,) = [entry for entry in self.plan["outcomes"] if entry["outcome"] == outcome]
        return dict(found)


@pytest.fixture(scope="module")
def plans(world: TinyWorld) -> dict[int, dict[str, Any]]:
    """What ``submit --dry-run`` says, by stake; and for one of them, what really submitting it says."""
    found = {stake: _plan(world, stake, "--dry-run") for stake in STAKES}
    coins = world.rpc.balance(world.address("miner"))
    done = _plan(world, STAKES[-1])
    spent = coins - world.rpc.balance(world.address("miner"))
    assert 0 < spent <= int(done["costs_wei"]["total"]), "the plan's costs are an upper bound"
    assert int(done["costs_wei"]["purchase"]) < spent
    assert done["outcomes"] == found[STAKES[-1]]["outcomes"]
    assert world.proposal(done["proposal"]).stake == STAKES[-1]
    return found


def _plan(world: TinyWorld, stake: int, *extra: object) -> dict[str, Any]:
    given = ["submit", "--run", world.write_run(unique=False), "--stake", stake, "--yes", "--despite-open",
             "--accept-total-loss", "--reward-recipient", world.address("second"), "--json"]  # fmt: skip
    ran = call(world.signed([*given, *extra], world.home(), "miner"))
    assert ran.code == 0, ran.err
    return ran.document


@pytest.fixture(params=STAKES)
def staked(world: TinyWorld, plans: dict[int, dict[str, Any]], request: pytest.FixtureRequest) -> Staked:
    stake, token, sender = request.param, world.token(), world.sender("miner")
    world.buy("miner", stake)
    before = {who: int(token.balance_of(world.address(who))) for who in ("miner", "second", "validator")}
    allow = token.encode("approve", world.ledger.address, stake)
    sender.execute(Intent(key="allow", to=token.address, data=allow))
    number = world.ledger.proposal_count()
    roots, to = (number.to_bytes(32, "big"), b"\x01" * 32), world.address("second")
    submit = world.ledger.encode("submit", 0, *roots, -1, stake, to)
    sender.execute(Intent(key="submit", to=world.ledger.address, data=submit))
    return Staked(world, world.home(), plans[stake], world.proposal(number), before)


@pytest.mark.e2e
def test_approved(staked: Staked) -> None:
    world, stated = staked.world, staked.stated("approved")
    score = world.registry.find_project(0).best_score + 1  # type: ignore[union-attr]
    world.send("judge", "claimReview", int(staked.proposal.id))
    world.send("judge", "approve", int(staked.proposal.id), score, b"\x01" * 32)
    assert staked.change("miner") == stated["returned"] - staked.proposal.stake == 0
    assert staked.change("second") == stated["minted"]
    assert staked.change("miner") + staked.change("second") == stated["change"] == staked.proposal.stake


@pytest.mark.e2e
def test_rejected(staked: Staked) -> None:
    world, stated = staked.world, staked.stated("rejected")
    world.send("judge", "claimReview", int(staked.proposal.id))
    world.send("judge", "reject", int(staked.proposal.id), b"\x01" * 32)
    assert staked.change("miner") == stated["change"] == -staked.proposal.stake
    assert staked.change("second") == 0


@pytest.mark.e2e
def test_expired_by_the_miner(staked: Staked) -> None:
    world, stated = staked.world, staked.stated("expired by you")
    world.devnet.advance_time(WEEK)
    ran = _expire(staked, "miner")
    assert ran.code == 0, ran.err
    assert ran.document["credited"] == ran.document["claimed"] == stated["credited"]
    assert ran.document["burned"] == staked.proposal.stake - stated["credited"]
    assert world.proposal(staked.proposal.id).status is Status.EXPIRED
    assert staked.change("miner") == stated["change"]


@pytest.mark.e2e
def test_expired_by_somebody_else(staked: Staked) -> None:
    staked.world.devnet.advance_time(WEEK)
    ran = _expire(staked, "validator")
    assert ran.code == 0, ran.err
    assert staked.change("miner") == staked.stated("expired by others")["change"] == -staked.proposal.stake
    assert staked.change("validator") == cranker_credit(staked.proposal.stake)


def _expire(staked: Staked, who: str) -> Ran:
    given = ["expire", int(staked.proposal.id), "--claim", "--anyway", "--yes", "--json"]
    return call(staked.world.signed(given, staked.world.home(), who))


@pytest.mark.unit
@given(stake=st.integers(1, 1 << 200))
def test_no_token_is_made_or_lost_but_by_mint_and_burn(stake: int) -> None:
    approved, rejected, mine, others = outcomes(stake)
    assert (approved.returned, approved.minted, approved.change) == (stake, stake, stake)
    assert rejected.change == others.change == -stake
    assert mine.credited == stake // 2
    assert mine.change == mine.credited - stake
    assert all(end.change == end.returned + end.minted + end.credited - stake for end in outcomes(stake))
