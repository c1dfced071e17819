"""kill -9 at every step of a purchase and of a sale: the same command finishes it, once, without a gap."""

from __future__ import annotations

from typing import Any

import pytest

from armlx_chain.chain.contracts import ProjectToken
from tests.faults.fixtures import launcher
from tests.faults.processes import Job, Launcher
from tests.market.kill_campaign import campaign
from tests.market.marketworld import MarketWorld

__all__ = ["launcher"]

pytestmark = pytest.mark.integration

BOOK = "armlx_chain.market.orderbook:"
STEPS: dict[str, dict[str, Any]] = {
    "the order is written": {"call": f"{BOOK}OrderBook._write", "when": "after", "number": 1},
    "signed": {"event": "signed", "number": 1},
    "broadcast": {"event": "broadcast", "number": 1},
    "mined": {"event": "mined", "number": 1},
    "the result is told": {"call": "armlx_chain.cli.trading:_report", "when": "after", "number": 1},
    "the order is about to end": {"call": f"{BOOK}OpenOrder.close", "when": "before", "number": 1},
}


def arguments(world: MarketWorld, command: str, token: ProjectToken, who: str, *more: object) -> list[str]:
    given = [command, "--project", world.number_of(token), *more, *world.key(who), "--yes", "--json"]
    return [*map(str, given), "--network", "devnet", "--home", str(world.home)]


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_purchase_buys_once(world: MarketWorld, launcher: Launcher, step: str) -> None:
    token, who = world.project(), world.address("buyer")
    nonce = world.rpc.nonce(who, pending=True)
    given = arguments(world, "buy", token, "buyer", "--count", 5)
    (killed,) = launcher.run(Job(given, stop=STEPS[step]))
    assert killed.was_killed, killed.text
    (finished,) = launcher.run(Job(given))
    assert finished.code == 0, finished.text
    assert (token.balance_of(who), token.total_supply()) == (5, 5)
    assert world.rpc.nonce(who, pending=True) == nonce + 1
    assert list((world.home / "orders").iterdir()) == []


@pytest.mark.parametrize(("step", "number"), [("broadcast", 1), ("mined", 2)])
def test_a_killed_sale_sells_every_part_once(
    world: MarketWorld, launcher: Launcher, step: str, number: int
) -> None:
    token, who = world.project(), world.address("seller")
    world.buy("seller", token, 9)
    nonce = world.rpc.nonce(who, pending=True)
    given = arguments(world, "sell", token, "seller", "--all", "--parts", 3)
    (killed,) = launcher.run(Job(given, stop={"event": step, "number": number}))
    assert killed.was_killed, killed.text
    (finished,) = launcher.run(Job(given))
    assert finished.code == 0, finished.text
    assert (token.balance_of(who), token.reserve()) == (0, 0)
    assert world.rpc.nonce(who, pending=True) == nonce + 3


def test_of_two_equal_purchases_at_the_same_moment_one_is_refused(
    world: MarketWorld, launcher: Launcher
) -> None:
    token, who = world.project(), world.address("buyer")
    given = arguments(world, "buy", token, "buyer", "--count", 5)
    (paused,) = launcher.run(Job(given, stop={"event": "signed", "number": 1, "pause": True}))
    assert paused.paused, paused.text
    (refused,) = launcher.run(Job(given))
    assert refused.code == 75, refused.text
    assert "Another process is sending" in refused.text
    ended = launcher.resume(paused)
    assert ended.code == 0, ended.text
    assert (token.balance_of(who), token.total_supply()) == (5, 5)


def test_trades_killed_at_random_points_neither_repeat_nor_vanish(
    world: MarketWorld, launcher: Launcher
) -> None:
    """The short form of scripts/campaigns/trades."""
    found = campaign(world, launcher, rounds=3, seed=1)
    assert found.wrong == []
    assert found.rounds == 3
