"""Buying and selling: refusals in order, refunds, the lock, payers made of code, and the reserve."""

from __future__ import annotations

import pytest
from eth_utils import to_canonical_address
from evm_contracts import ZERO, Contract, creation_code, events, own_artifact, transact
from evm_world import BASE, CAP, MAX, World, refuses

import contracts_abi

ACCEPT, REFUSE, SWALLOW, PROPAGATE = range(4)
FIRST = 1_000_500_000_000_000
REENTRANT = contracts_abi.errors_by_selector()[bytes.fromhex("3ee5aeb5")]


def actor(world: World, coins: int = 10**18) -> Contract:
    """An account made of code, with money to spend."""
    made = Contract.deploy(world.engine, "Actor", sender=world.stranger)
    made.send("prepare", ACCEPT, ZERO, b"", b"", sender=world.stranger)
    transact(world.engine, world.stranger, made.address, b"", coins)
    return made


def act(world: World, made: Contract, function: str, *arguments: int, value: int = 0) -> None:
    data = world.token.data(function, *arguments)
    made.send("execute", world.token.address, value, data, sender=world.stranger)


def mood(world: World, made: Contract, kind: int, plan: bytes = b"", look: bytes = b"") -> None:
    made.send("prepare", kind, world.token.address, plan, look, sender=world.stranger)


def test_buying_mints_refunds_the_rest_and_tells_the_net_price(world: World) -> None:
    token, buyer = world.token, world.miner
    receipt = token.send("buy", sender=buyer, value=FIRST)
    assert events(receipt) == [
        ("Transfer", {"from": ZERO, "to": buyer, "value": 1}),
        ("Bought", {"buyer": buyer, "ethSpent": FIRST, "tokensOut": 1}),
    ]
    assert token.call("buy", sender=buyer, value=10**16) == 9
    before = world.engine.balance(buyer)
    receipt = token.send("buy", sender=buyer, value=10**16)
    assert events(receipt) == [
        ("Transfer", {"from": ZERO, "to": buyer, "value": 9}),
        ("Bought", {"buyer": buyer, "ethSpent": 9_049_500_000_000_000, "tokensOut": 9}),
    ]
    assert before - world.engine.balance(buyer) == 10**16 - 950_500_000_000_000
    assert world.engine.balance(token.address) == 10_050_000_000_000_000


def test_selling_burns_and_pays_back_along_the_same_curve(world: World) -> None:
    token, seller = world.token, world.miner
    world.buy(seller, 10)
    quotes = [token.call("quoteSell", n) for n in (1, 5, 10)]
    assert quotes == [1_009_500_000_000_000, 5_037_500_000_000_000, 10_050_000_000_000_000]
    with refuses("OverSupply"):
        token.call("quoteSell", 11)
    assert token.call("sell", 3, sender=seller) == 3_025_500_000_000_000
    for amount, paid in ((3, 3_025_500_000_000_000), (7, 7_024_500_000_000_000)):
        before = world.engine.balance(seller)
        receipt = token.send("sell", amount, sender=seller)
        assert events(receipt) == [
            ("Transfer", {"from": seller, "to": ZERO, "value": amount}),
            ("Sold", {"seller": seller, "tokensIn": amount, "ethOut": paid}),
        ]
        assert world.engine.balance(seller) - before == paid
    assert (world.engine.balance(token.address), token.call("totalSupply")) == (0, 0)


def test_buying_refuses_in_order(world: World) -> None:
    with refuses("ZeroAmount"):
        world.token.send("buy", sender=world.miner)
    for short in (1, FIRST - 1):
        with refuses("InsufficientPayment"):
            world.token.send("buy", sender=world.miner, value=short)
    assert world.token.call("totalSupply") == 0


def test_selling_refuses_in_order(world: World) -> None:
    world.buy(world.miner, 5)
    world.buy(world.stranger, 5)
    with refuses("ZeroAmount"):
        world.token.send("sell", 0, sender=world.miner)
    with refuses("OverSupply"):
        world.token.send("sell", 11, sender=world.miner)
    with refuses("OverSupply"):
        world.token.send("sell", MAX, sender=world.miner)
    with refuses("ERC20InsufficientBalance", world.miner, 5, 6):
        world.token.send("sell", 6, sender=world.miner)
    assert world.balance_of(world.miner) == 5


def test_a_payer_that_refuses_payments_may_buy_exactly_but_gets_no_change_and_cannot_sell(
    world: World,
) -> None:
    made = actor(world)
    mood(world, made, REFUSE)
    act(world, made, "buy", value=FIRST)
    assert world.balance_of(made.address) == 1
    with refuses("EthRefundFailed"):
        act(world, made, "buy", value=10**16)
    with refuses("EthPayoutFailed"):
        act(world, made, "sell", 1)
    assert (world.balance_of(made.address), world.token.call("totalSupply")) == (1, 1)


def test_a_reserve_that_is_too_small_fails_the_payout(world: World) -> None:
    arguments = ("n", "s", BASE, 0, MAX, world.cranker)
    token = Contract.deploy(world.engine, "ProjectToken", *arguments, sender=world.stranger)
    world.buy(world.miner, 2, token)
    token.send("mintMinerReward", world.stranger, 1, sender=world.cranker)
    token.send("transfer", world.miner, 1, sender=world.stranger)
    assert token.call("quoteSell", 3) == 3 * BASE > world.engine.balance(token.address)
    with refuses("EthPayoutFailed"):
        token.send("sell", 3, sender=world.miner)
    token.send("sell", 2, sender=world.miner)
    with refuses("EthPayoutFailed"):
        token.send("sell", 1, sender=world.miner)
    assert world.balance_of(world.miner, token) == 1


@pytest.mark.parametrize("inner", ["buy", "sell"])
@pytest.mark.parametrize("outer", ["buy", "sell"])
def test_trading_during_a_payment_is_refused_and_the_outer_trade_stands_if_that_is_swallowed(
    world: World, outer: str, inner: str
) -> None:
    made = actor(world)
    act(world, made, "buy", value=FIRST)
    plan = world.token.data(inner, *([1] if inner == "sell" else []))
    mood(world, made, SWALLOW, plan)
    if outer == "buy":
        act(world, made, "buy", value=10**16)
    else:
        act(world, made, "sell", 1)
    assert not made.call("planWorked")
    assert made.call("planAnswer") == REENTRANT.selector
    assert world.balance_of(made.address) == (10 if outer == "buy" else 0)
    # The lock is open again afterwards.
    world.buy(world.miner, 1)


@pytest.mark.parametrize(("outer", "error"), [("buy", "EthRefundFailed"), ("sell", "EthPayoutFailed")])
def test_a_receiver_that_passes_the_refusal_on_fails_the_outer_trade(
    world: World, outer: str, error: str
) -> None:
    made = actor(world)
    act(world, made, "buy", value=FIRST)
    mood(world, made, PROPAGATE, world.token.data("buy"))
    with refuses(error):
        if outer == "buy":
            act(world, made, "buy", value=10**16)
        else:
            act(world, made, "sell", 1)


def test_during_the_callback_supply_and_balances_are_already_the_new_ones(world: World) -> None:
    made = actor(world)
    mood(world, made, ACCEPT, look=world.token.data("totalSupply"))
    act(world, made, "buy", value=10**16)
    assert int.from_bytes(made.call("lookAnswer"), "big") == 9
    mood(world, made, ACCEPT, look=world.token.data("balanceOf", made.address))
    act(world, made, "sell", 4)
    assert int.from_bytes(made.call("lookAnswer"), "big") == 5


def test_plain_transfers_are_not_locked_during_a_callback(world: World) -> None:
    made = actor(world)
    mood(world, made, SWALLOW, world.token.data("transfer", world.recipient, 2))
    act(world, made, "buy", value=10**16)
    assert made.call("planWorked")
    assert (world.balance_of(made.address), world.balance_of(world.recipient)) == (7, 2)


def test_no_payment_is_made_when_there_is_no_change(world: World) -> None:
    made = actor(world)
    before = made.call("payments")
    act(world, made, "buy", value=FIRST)
    assert made.call("payments") == before


def test_coins_forced_upon_the_token_are_not_noticed(world: World) -> None:
    world.buy(world.miner, 3)
    before = [world.token.call("quoteBuy", 10**16), world.token.call("quoteSell", 3)]
    # PUSH20 token, SELFDESTRUCT: a payment nobody can refuse.
    transact(
        world.engine, world.stranger, None, b"\x73" + to_canonical_address(world.token.address) + b"\xff", 777
    )
    assert [world.token.call("quoteBuy", 10**16), world.token.call("quoteSell", 3)] == before
    world.token.send("sell", 3, sender=world.miner)
    assert world.engine.balance(world.token.address) == 777


def test_a_sandwich_takes_what_the_missing_minimum_leaves_open(world: World) -> None:
    """The figures of the recorded demonstration: the victim's 1.0 gets 504 tokens instead of 732."""
    assert world.token.call("quoteBuy", 10**18) == 732
    start = world.engine.balance(world.stranger)
    world.token.send("buy", sender=world.stranger, value=10**18)
    receipt = world.token.send("buy", sender=world.miner, value=10**18)
    assert events(receipt)[1][1] == {
        "buyer": world.miner,
        "ethSpent": 999_936_000_000_000_000,
        "tokensOut": 504,
    }
    world.token.send("sell", 732, sender=world.stranger)
    assert world.engine.balance(world.stranger) - start == 368_928_000_000_000_000


def test_a_purchase_beyond_the_largest_supply_panics(world: World) -> None:
    arguments = ("n", "s", 1, 0, MAX, world.cranker)
    token = Contract.deploy(world.engine, "ProjectToken", *arguments, sender=world.stranger)
    token.send("mintMinerReward", world.miner, MAX, sender=world.cranker)
    with refuses("Panic", 0x11):
        token.send("buy", sender=world.stranger, value=1)


@pytest.mark.unit
def test_the_tests_own_contracts_are_compiled_like_the_real_ones() -> None:
    settings = own_artifact("Actor")["compiler"]["settings"]
    assert (settings["viaIR"], settings["optimizer"]["runs"], settings["evmVersion"]) == (True, 200, "cancun")
    assert len(creation_code("ProjectToken", "n", "s", 1, 1, CAP, ZERO)) > 4000
