"""What a submission is measured against is confirmed; while it moves, nothing is decided."""

from pathlib import Path

import pytest
from ledger_world import REVIEWER, LedgerWorld

from armlx_chain.cli import wiring
from armlx_chain.cli.context import App
from armlx_chain.errors import RpcUnavailable, WrongChain
from armlx_chain.settings import Settings
from armlx_chain.types import Address, ProposalId, ScaledScore

pytestmark = pytest.mark.integration


def app_on(world: LedgerWorld, folder: Path, **change: object) -> App:
    app = App("test", folder, None, None, as_json=False)
    app.__dict__["settings"] = Settings(network=world.network(**change), home=folder)
    return app


def test_a_best_that_has_just_moved_is_waited_for(ledger_world: LedgerWorld, tmp_path: Path) -> None:
    world = ledger_world
    number = world.project()
    app = app_on(world, tmp_path, confirmations=3)
    with pytest.raises(RpcUnavailable, match="changed in the last 3 blocks"):
        wiring.settled_project(app, number)
    assert wiring.open_project(app, number)[0].id == number, "to look at it is fine"
    world.devnet.mine(3)
    before, _ = wiring.settled_project(app, number)
    world.stock(number)
    proposal = ProposalId(world.propose(number))
    world.act(REVIEWER, world.ledger.claim_review_data(proposal))
    world.act(REVIEWER, world.ledger.approve_data(proposal, ScaledScore(-2_000_000), b"\x01" * 32))
    with pytest.raises(RpcUnavailable, match="changed in the last 3 blocks") as caught:
        wiring.settled_project(app, number)
    assert caught.value.exit_code == 75
    world.devnet.mine(3)
    after, _ = wiring.settled_project(app, number)
    assert (before.best_score, after.best_score) == (-2_213_268, -2_000_000)


def test_nothing_is_signed_on_a_deployment_that_is_not_what_it_should_be(
    ledger_world: LedgerWorld, tmp_path: Path
) -> None:
    class Unused:
        address = Address("0x" + "11" * 20)

    wrong = app_on(ledger_world, tmp_path, project_registry=ledger_world.verifiers.address)
    with pytest.raises(WrongChain, match="is not the ProjectRegistry that is known"):
        wrong.sender(Unused())  # type: ignore[arg-type]
    assert not (tmp_path / "journal.sqlite").exists()


def test_proposals_of_a_project_come_from_one_look_with_few_questions(
    ledger_world: LedgerWorld, tmp_path: Path
) -> None:
    world = ledger_world
    number = world.project()
    world.stock(number)
    mine = [world.propose(number) for _ in range(3)]
    app = app_on(world, tmp_path)
    before = app.rpc.pool.round_trips
    assert [int(p.id) for p in wiring.open_proposals(app, number)] == mine
    assert app.rpc.pool.round_trips - before <= 4
    held = {h.project_id: h for h in wiring.holdings_of(app, world.address(2))}
    assert held[number].tokens == 70  # type: ignore[index]
    assert [report.fault for report in app.rpc.endpoints()] == [None]
