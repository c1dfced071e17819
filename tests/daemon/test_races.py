"""The world moves while a validator judges: others settle, expire, improve, or strike it off.

Each test stops a real daemon in the middle of a run, changes the ledger, and lets it go on.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.chain.contracts import Proposal, Status, VerifierRegistry
from armlx_chain.chain.journal import State
from armlx_chain.chain.sender import Intent
from tests.daemon.settling import Settling
from tests.faults.processes import Ended, Job, Launcher
from tests.faults.tinyworld import STAKE, TinyWorld

pytestmark = pytest.mark.e2e

DAY = 86_400
IN_A_RUN = {"call": "verifier.simulate:SimRunner.run", "when": "before", "number": 4, "pause": True}
"""In the middle of the second pair."""


@pytest.fixture(autouse=True)
def tidy(world: TinyWorld) -> Iterator[None]:
    """Later tests meet no open proposal of this one."""
    yield
    waiting = [proposal for proposal in world.proposals() if proposal.is_open]
    if waiting:
        world.devnet.advance_time(8 * DAY)
        for proposal in waiting:
            world.send("stranger", "expire", int(proposal.id))


@pytest.fixture(scope="module")
def second(world: TinyWorld) -> str:
    """A second account on the allow-list."""
    world.register("second")
    return "second"


def daemon(world: TinyWorld, home: Path, *extra: str, who: str = "validator", stop: Any = None) -> Job:
    """A daemon of one cycle."""
    given = ["run", "--cycles", "1", "--no-health", "--despite-lost-verdicts", *extra]
    return Job(world.signed(given, home, who), validator=True, simulate=True, stop=stop)


def events(ended: Ended) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.text.splitlines() if line.startswith('{"time"')]


def ends(ended: Ended, proposal: Proposal) -> dict[str, Any]:
    """What the daemon's log says came of a proposal."""
    assert ended.code == 0, ended.text
    (found,) = [
        line["fields"]
        for line in events(ended)
        if line["message"] == "proposal ended" and line["proposal"] == proposal.id
    ]
    return dict(found)


def guarded(home: Path) -> int:
    if not (home / "guard.sqlite").exists():
        return 0
    connection = sqlite3.connect(home / "guard.sqlite")
    try:
        return int(connection.execute("SELECT COUNT(*) FROM verdicts").fetchone()[0])
    finally:
        connection.close()


# --- two daemons, one proposal ------------------------------------------------------------------------


def test_two_daemons_that_judge_one_proposal_at_once_settle_it_once(
    world: TinyWorld, launcher: Launcher, second: str
) -> None:
    proposal = world.submitted()
    token, homes = world.token(), {who: world.home() for who in ("validator", second)}
    supply, minted = token.total_supply(), token.pool_minted()
    both = launcher.run(*(daemon(world, home, who=who) for who, home in homes.items()))
    assert {ended.code for ended in both} == {0}, [ended.text for ended in both]
    after = world.proposal(proposal.id)
    assert after.status is Status.APPROVED
    assert (token.total_supply(), token.pool_minted()) == (supply + STAKE, minted + STAKE)
    winner = next(who for who in homes if world.address(who) == after.reviewer)
    for who, home in homes.items():
        attempts = world.journal(who, home)._all()
        settled = [a for a in attempts if a.key.startswith("approve/") and a.state is State.MINED]
        assert len(settled) == int(who == winner)
        # A claim that was sent while the other's was in the pool reverts: its gas is lost, nothing else.
        assert {a.key.split("/")[0] for a in attempts if a.state is State.REVERTED} <= {"claim"}
        assert {a.state for a in attempts} <= {State.MINED, State.CANCELLED, State.REVERTED}
        assert guarded(home) <= 1


# --- the week ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--claim-first",)], ids=["decide-first", "claim-first"])
def test_a_review_that_others_expire_during_the_run_ends_without_a_signature(
    world: TinyWorld, launcher: Launcher, options: tuple[str, ...]
) -> None:
    proposal, home = world.submitted(), world.home()
    (asleep,) = launcher.run(daemon(world, home, *options, stop=IN_A_RUN))
    assert asleep.paused, asleep.text
    held = world.proposal(proposal.id).status
    assert held is (Status.REVIEWING if options else Status.SUBMITTED)
    nonce = world.nonce("validator")
    world.devnet.advance_time(7 * DAY + 1)
    world.send("stranger", "expire", int(proposal.id))
    ended = launcher.resume(asleep)
    found = ends(ended, proposal)
    assert found["step"] in ("superseded", "left")
    assert world.nonce("validator") == nonce, "nothing was sent"
    assert guarded(home) == 0, "nothing was signed"
    assert world.proposal(proposal.id).status is Status.EXPIRED
    assert "refuted" not in str(found)


# --- the best moves -----------------------------------------------------------------------------------


def test_a_best_that_moves_during_the_run_supersedes_and_the_next_cycle_judges_anew(
    world: TinyWorld, launcher: Launcher
) -> None:
    proposal, home = world.submitted(gain="0.500000"), world.home()
    (asleep,) = launcher.run(daemon(world, home, stop=IN_A_RUN))
    assert asleep.paused, asleep.text
    nonce = world.nonce("validator")
    world.move_best()
    moved = world.registry.find_project(proposal.project_id)
    assert moved is not None
    ended = launcher.resume(asleep)
    found = ends(ended, proposal)
    assert (found["step"], found["outcome"]) == ("superseded", "reproduced")
    assert (world.nonce("validator"), guarded(home)) == (nonce, 0), "nothing was signed or sent"
    (anew,) = launcher.run(daemon(world, home))
    assert ends(anew, proposal)["step"] == "approved"
    runs = [line for line in events(anew) if line["message"] == "run ended"]
    assert len(runs) >= 4, "judged anew against the new best"
    after = world.registry.find_project(proposal.project_id)
    assert after is not None
    assert after.best_score > moved.best_score
    assert guarded(home) == 1


# --- struck off ---------------------------------------------------------------------------------------


def strike_off(world: TinyWorld, who: str) -> None:
    verifiers = VerifierRegistry(world.rpc, world.devnet.addresses.verifier_registry)  # type: ignore[arg-type]
    data = verifiers.encode("removeVerifier", world.address(who))
    world.sender("deployer").execute(Intent(key=f"remove/{who}", to=verifiers.address, data=data))


def test_a_verifier_struck_off_during_the_run_signs_nothing_until_it_is_listed_again(
    world: TinyWorld, launcher: Launcher
) -> None:
    settling = Settling.begin(world, looks_ahead=True)
    home, proposal = settling.home, settling.proposal
    (asleep,) = launcher.run(daemon(world, home, "--auto-reject", stop=IN_A_RUN))
    assert asleep.paused, asleep.text
    strike_off(world, "validator")
    try:
        found = ends(launcher.resume(asleep), proposal)
        assert found["step"] == "waiting"
        assert "allow-list" in found["sentence"]
        assert (world.nonce("validator"), guarded(home)) == (settling.nonce, 0)
        assert world.proposal(proposal.id).status is Status.SUBMITTED
    finally:
        world.register("validator")
    (done,) = launcher.run(daemon(world, home, "--auto-reject"))
    assert ends(done, proposal)["step"] == "rejected"
    assert not [line for line in events(done) if line["message"] == "run ended"], "the verdict is kept"
    settling.require_settled_once()
