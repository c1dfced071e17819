"""``price``, ``position``, ``buy`` and ``sell`` through the real command line, and the example scripts."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.chain.contracts import ProjectToken
from armlx_chain.cli import main
from armlx_chain.cli.output import coin
from armlx_chain.cli.trading import TRADE_GAS
from armlx_chain.cli.wiring import chain_key
from armlx_chain.market.orderbook import OrderBook
from armlx_chain.market.orders import BuyOrder, carry_out_purchase
from armlx_chain.types import Address, Tokens, Wei
from tests.market.marketworld import MarketWorld

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def token(world: MarketWorld) -> ProjectToken:
    return world.project()


def test_the_price_says_what_buying_selling_and_redeeming_means(
    world: MarketWorld, token: ProjectToken
) -> None:
    world.buy("rival", token, 12)
    number = world.number_of(token)
    answer = world.run("price", "--project", number, "--count", 10)
    curve = [token.price_at(12), token.cost_between(12, 13), token.cost_between(12, 22), token.quote_sell(10)]
    asked = ("spot_price_wei", "next_token_wei", "buy_cost_wei", "sell_proceeds_wei")
    assert [answer[name] for name in asked] == curve
    assert (answer["supply"], answer["reserve_wei"], answer["shortfall_wei"]) == (12, 12072000000000000, 0)
    assert (answer["impact_ppm"], answer["redeemable"]) == (10 * 10**6 // 1012, 12)
    budget = world.run("price", "--project", number, "--budget", "0.01og")
    assert budget["count"] == token.quote_buy(Wei(10**16))
    world.run("price", "--project", number, "--budget", 10, code=1)
    world.run("price", "--project", number, "--budget", 10, "--count", 1, code=2)


def test_the_history_follows_every_trade_reward_and_burn(world: MarketWorld, token: ProjectToken) -> None:
    number = world.number_of(token)
    world.buy("seller", token, 20)
    world.settle(world.stake("seller", token, 6, 5), 5)
    world.settle(world.stake("seller", token, 4, 9), None)
    world.act("seller", token.address, token.encode("sell", 3))
    moves = world.run("price", "--project", number, "--since-creation")["history"]
    assert [(move["kind"], move["tokens"], move["supply_after"]) for move in moves] == [
        ("bought", 20, 20), ("reward", 6, 26), ("burned", 2, 24), ("sold", 3, 21),
    ]  # fmt: skip
    assert [move["price_after_wei"] for move in moves] == [token.price_at(n) for n in (20, 26, 24, 21)]
    assert moves[0]["wei"] == token.cost_between(0, 20)
    recent = world.run("price", "--project", number, "--history", "--blocks", 1)["history"]
    assert [move["kind"] for move in recent] == ["sold"]


def test_a_position_accounts_for_everything(world: MarketWorld, token: ProjectToken) -> None:
    number, cost = world.number_of(token), token.cost_between(0, 20)
    world.buy("miner", token, 20)
    world.settle(world.stake("miner", token, 6, 5), 5)
    world.settle(world.stake("miner", token, 4, 9), None)
    world.stake("miner", token, 5, 12)
    world.act("miner", token.address, token.encode("transfer", world.address("rival"), 2))
    found = world.run("position", "--project", number, "--account", "miner")
    assert (found["balance"], found["staked"], found["claimable"]) == (20 + 6 - 4 - 5 - 2, 5, 0)
    basis = found["basis"]
    assert (basis["spent_wei"], basis["rewarded"], basis["lost"], basis["given"]) == (cost, 6, 4, 2)
    kept = basis["cost_wei"] + basis["staked_cost_wei"] + basis["lost_cost_wei"]
    assert cost - kept == pytest.approx(cost * 2 // 26, abs=2 * 10**14)
    assert found["proceeds_wei"] == token.quote_sell(found["sellable"])
    judge = world.run(
        "position", "--project", number, "--account", world.address("validator"), "--no-history"
    )
    assert (judge["claimable"], judge["balance"], judge["basis"]) == (2, 0, None)
    world.run("position", "--project", number, code=2)


def test_buying_shows_a_plan_first_and_sends_nothing_on_a_dry_run(
    world: MarketWorld, token: ProjectToken
) -> None:
    number = world.number_of(token)
    dry = world.run("buy", "--project", number, "--count", 10, *world.key("buyer"), "--dry-run")
    assert dry["payment_wei"] == token.cost_between(0, 10)
    assert "sent at most" in world.said
    assert "no minimum-out" in world.said
    assert "at most about" in world.said
    assert token.total_supply() == 0
    assert not (world.home / "orders").exists() or not any((world.home / "orders").iterdir())


def test_a_buyer_with_too_much_on_a_hot_key_is_told(
    world: MarketWorld, token: ProjectToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["buy", "--project", world.number_of(token), "--count", 1, *world.key("buyer"), "--dry-run"]
    world.run(*given)
    assert "hot key" not in world.said
    monkeypatch.setenv("ARMLX_HOT_CEILING", "1og")
    world.run(*given)
    assert "is a hot key and holds" in world.said


def test_buying_and_selling_end_to_end(world: MarketWorld, token: ProjectToken) -> None:
    number = world.number_of(token)
    bought = world.run("buy", "--project", number, "--count", 10, *world.key("buyer"), "--yes")
    assert (bought["tokens"], bought["spent_wei"]) == (10, 10050000000000000)
    by_budget = world.run("buy", "--project", number, "--budget", "0.01og", *world.key("buyer"), "--yes")
    assert by_budget["tokens"] == token.balance_of(world.address("buyer")) - 10
    sold = world.run("sell", "--project", number, "--all", "--parts", 3, *world.key("buyer"), "--yes")
    assert len(sold["tx_hashes"]) == 3
    assert sold["received_wei"] == bought["spent_wei"] + by_budget["spent_wei"]
    assert (token.reserve(), token.total_supply()) == (0, 0)
    assert list((world.home / "orders").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (["buy"], 2),
        (["buy", "--count", 1, "--budget", "1og"], 2),
        (["buy", "--budget", "1og", "--max-spend", "1og"], 2),
        (["buy", "--count", 2, "--min-tokens", 3], 2),
        (["buy", "--count", 2, "--max-spend", 1], 1),
        (["buy", "--budget", 1], 1),
        (["buy", "--count", 10, "--max-spend", "0.005og", "--min-tokens", 6], 1),
        (["sell"], 2),
        (["sell", "--count", 1, "--all"], 2),
        (["sell", "--count", 1], 1),
        (["sell", "--all"], 1),
    ],
)
def test_what_cannot_be_done_is_refused_with_nothing_sent(
    world: MarketWorld, token: ProjectToken, given: list[Any], code: int
) -> None:
    nonce = world.rpc.nonce(world.address("buyer"), pending=True)
    command, *options = given
    number = world.number_of(token)
    answer = world.run(command, "--project", number, *options, *world.key("buyer"), "--yes", code=code)
    assert answer["ok"] is False
    assert world.rpc.nonce(world.address("buyer"), pending=True) == nonce


def test_an_interrupted_purchase_is_finished_by_the_same_command_and_not_repeated(
    world: MarketWorld, token: ProjectToken
) -> None:
    number, who = world.number_of(token), world.address("buyer")
    book = OrderBook(world.home / "orders", chain=chain_key(world.settings, world.rpc))
    asked = {"project": number, "count": 5, "tolerate": 0, "rounds": 3}
    order = book.open("buy", who, token.address, asked, {"max_spend": 10**18, "min_tokens": 5})
    bounds = BuyOrder(Tokens(5), Wei(10**18), Tokens(5))
    carry_out_purchase(world.sender("buyer"), token, number, bounds, order_id=order.id)
    # Killed here: everything is bought, the order's file is still there.
    other = world.run("buy", "--project", number, "--count", 6, *world.key("buyer"), "--yes", code=2)
    assert "begun and not finished" in other["error"]["message"]
    again = world.run("buy", "--project", number, "--count", 5, *world.key("buyer"), "--yes")
    assert (again["tokens"], again["resumed"]) == (5, True)
    assert "carries on" in world.said
    assert (token.total_supply(), order.path.exists()) == (5, False)
    fresh = world.run("buy", "--project", number, "--count", 5, *world.key("buyer"), "--yes")
    assert (fresh["resumed"], token.total_supply()) == (False, 10)


def test_an_interrupted_order_can_be_given_up(world: MarketWorld, token: ProjectToken) -> None:
    number, who = world.number_of(token), world.address("seller")
    book = OrderBook(world.home / "orders", chain=chain_key(world.settings, world.rpc))
    book.open("sell", who, token.address, {"project": number}, {})
    assert world.run("sell", "--project", number, "--abandon", *world.key("seller"))["abandoned"] is True
    assert world.run("sell", "--project", number, "--abandon", *world.key("seller"))["abandoned"] is False
    assert book.find("sell", who, token.address) is None


def test_a_token_without_a_price_is_shown_and_cannot_be_bought(world: MarketWorld) -> None:
    number = world.number_of(world.project(base=0, slope=0))
    shown = world.run("price", "--project", number)
    assert (shown["next_token_wei"], shown["buy_cost_wei"]) == (None, None)
    world.run("buy", "--project", number, "--count", 1, *world.key("buyer"), "--yes", code=1)


def script(world: MarketWorld, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)],
        env={**os.environ, "ARMLX_HOME": str(world.home), "ARMLX_NETWORK": "devnet"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_example_scripts_say_and_do_what_the_commands_do(world: MarketWorld, token: ProjectToken) -> None:
    number = world.number_of(token)
    shown = script(world, "price.py", "--project", number, "--count", 10, "--json")
    assert json.loads(shown.stdout)["payment_wei"] == token.cost_between(0, 10), shown.stderr
    options = ["--project", number, "--count", 10, *world.key("buyer"), "--yes", "--json"]
    bought = script(world, "buy.py", *options, "--max-spend", "0.011og")
    assert (bought.returncode, json.loads(bought.stdout)["tokens"]) == (0, 10), bought.stderr
    assert token.balance_of(world.address("buyer")) == 10


def test_the_example_script_carries_on_what_was_interrupted_and_repeats_nothing(
    world: MarketWorld, token: ProjectToken
) -> None:
    number, who = world.number_of(token), world.address("buyer")
    book = OrderBook(world.home / "orders", chain=chain_key(world.settings, world.rpc))
    bound = 11 * 10**15
    asked = {"project": number, "count": 10, "max_spend": bound, "tolerate": 0, "rounds": 3}
    order = book.open("buy", who, token.address, asked, {"max_spend": bound, "min_tokens": 10})
    held = token.balance_of(who)
    bounds = BuyOrder(Tokens(10), Wei(bound), Tokens(10))
    carry_out_purchase(world.sender("buyer"), token, number, bounds, order_id=order.id)
    # Killed here, before it was said. The price is above the bound by now, and nothing needs to be bought.
    options = ["--project", number, "--count", 10, *world.key("buyer"), "--yes", "--json"]
    again = script(world, "buy.py", *options, "--max-spend", "0.011og")
    assert (again.returncode, json.loads(again.stdout)["tokens"]) == (0, 10), again.stderr
    assert (token.balance_of(who), order.path.exists()) == (held + 10, False)


def test_coins_of_the_local_world_need_no_name_of_a_network(world: MarketWorld) -> None:
    who = "0x00000000000000000000000000000000000000AA"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        ended = main.run(main.cli, ["devnet", "fund", who, "--home", str(world.home)], name="armlx-chain")
    assert (ended, world.rpc.balance(Address(who))) == (0, 100 * 10**18)


def test_the_gas_of_a_plan_is_bounded_by_the_fee_that_the_person_set(
    world: MarketWorld, token: ProjectToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMLX_MAX_FEE_GWEI", "2")
    number = world.number_of(token)
    world.run("buy", "--project", number, "--count", 1, *world.key("buyer"), "--dry-run")
    assert f"at most about {coin(TRADE_GAS * 2 * 10**9)} for" in world.said


def test_credits_that_do_not_pay_are_not_in_the_plan(world: MarketWorld, token: ProjectToken) -> None:
    cheap = world.project(base=1, slope=1)
    for traded in (token, cheap):
        world.buy("miner", traded, 40)
        world.settle(world.stake("miner", traded, 40, 5), None)
    world.run("claim-reward", *world.key("validator"), "--dry-run")
    planned = [line.split()[1] for line in world.said.splitlines() if line.startswith("  project ")]
    assert str(world.number_of(token)) in planned
    assert str(world.number_of(cheap)) not in planned


@pytest.mark.parametrize("name", ["price", "buy"])
def test_the_example_scripts_explain_themselves(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = runpy.run_path(str(ROOT / "scripts" / f"{name}.py"))[name]
    assert command.main(["--help"], standalone_mode=False) in (0, None)
    told = capsys.readouterr().out
    assert "Examples:" in told
    assert "Exit codes:" in told
