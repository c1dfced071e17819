"""The ERC-20 part, and what only the ledger may do."""

from __future__ import annotations

import pytest
from evm_contracts import ZERO, Contract, events
from evm_world import MAX, World, refuses


@pytest.fixture
def token(world: World) -> Contract:
    """A token whose ledger is an ordinary account, with a pool of 100; the miner holds 10 of it."""
    made = Contract.deploy(
        world.engine, "ProjectToken", "Name", "SYM", 1, 2, 100, world.cranker, sender=world.stranger
    )
    made.send("mintMinerReward", world.miner, 10, sender=world.cranker)
    return made


def moved(source: str, target: str, value: int) -> tuple[str, dict[str, object]]:
    return ("Transfer", {"from": source, "to": target, "value": value})


def test_the_parameters_read_back_and_construction_is_silent(world: World, token: Contract) -> None:
    read = [token.call(name) for name in ("name", "symbol", "decimals", "basePrice", "slope", "minerPoolCap")]
    assert read == ["Name", "SYM", 0, 1, 2, 100]
    assert token.call("proposalLedger") == world.cranker
    assert token.call("balanceOf", world.stranger) == token.call("allowance", ZERO, ZERO) == 0


def test_transfers_move_tokens_and_refuse_in_order(world: World, token: Contract) -> None:
    with refuses("ERC20InvalidReceiver", ZERO):
        token.send("transfer", ZERO, 11, sender=world.miner)
    with refuses("ERC20InsufficientBalance", world.miner, 10, 11):
        token.send("transfer", world.recipient, 11, sender=world.miner)
    assert token.call("transfer", world.recipient, 3, sender=world.miner) is True
    receipt = token.send("transfer", world.recipient, 3, sender=world.miner)
    assert events(receipt) == [moved(world.miner, world.recipient, 3)]
    assert [world.balance_of(account, token) for account in (world.miner, world.recipient)] == [7, 3]


def test_nothing_oneself_and_the_token_itself_are_fine_receivers(world: World, token: Contract) -> None:
    assert events(token.send("transfer", world.recipient, 0, sender=world.stranger)) == [
        moved(world.stranger, world.recipient, 0)
    ]
    token.send("transfer", world.miner, 10, sender=world.miner)
    assert world.balance_of(world.miner, token) == 10
    token.send("transfer", token.address, 4, sender=world.miner)
    assert world.balance_of(token.address, token) == 4


def test_approve_sets_and_refuses_zero(world: World, token: Contract) -> None:
    with refuses("ERC20InvalidSpender", ZERO):
        token.send("approve", ZERO, 1, sender=world.miner)
    for value in (5, 3, 0, MAX):
        receipt = token.send("approve", world.stranger, value, sender=world.miner)
        assert events(receipt) == [
            ("Approval", {"owner": world.miner, "spender": world.stranger, "value": value})
        ]
        assert token.call("allowance", world.miner, world.stranger) == value


def test_spending_an_allowance_refuses_in_order_and_emits_no_approval(world: World, token: Contract) -> None:
    spender = world.stranger
    token.send("approve", spender, 11, sender=world.miner)
    with refuses("ERC20InsufficientAllowance", spender, 11, 12):
        token.send("transferFrom", world.miner, ZERO, 12, sender=spender)
    with refuses("ERC20InsufficientAllowance", spender, 0, 1):
        token.send("transferFrom", ZERO, ZERO, 1, sender=spender)
    with refuses("ERC20InvalidApprover", ZERO):
        token.send("transferFrom", ZERO, ZERO, 0, sender=spender)
    with refuses("ERC20InvalidReceiver", ZERO):
        token.send("transferFrom", world.miner, ZERO, 11, sender=spender)
    with refuses("ERC20InsufficientBalance", world.miner, 10, 11):
        token.send("transferFrom", world.miner, world.recipient, 11, sender=spender)
    assert token.call("transferFrom", world.miner, world.recipient, 4, sender=spender) is True
    receipt = token.send("transferFrom", world.miner, world.recipient, 4, sender=spender)
    assert events(receipt) == [moved(world.miner, world.recipient, 4)]
    assert token.call("allowance", world.miner, spender) == 7


def test_an_unlimited_allowance_is_never_used_up(world: World, token: Contract) -> None:
    token.send("approve", world.stranger, MAX, sender=world.miner)
    token.send("transferFrom", world.miner, world.recipient, 4, sender=world.stranger)
    assert token.call("allowance", world.miner, world.stranger) == MAX
    token.send("approve", world.stranger, MAX - 1, sender=world.miner)
    token.send("transferFrom", world.miner, world.recipient, 4, sender=world.stranger)
    assert token.call("allowance", world.miner, world.stranger) == MAX - 5


def test_rewards_are_for_the_ledger_to_mint_within_the_cap(world: World, token: Contract) -> None:
    mint, ledger = token.send, world.cranker
    with refuses("NotLedger"):
        mint("mintMinerReward", ZERO, MAX, sender=world.miner)
    with refuses("Panic", 0x11):
        mint("mintMinerReward", ZERO, MAX - 9, sender=ledger)
    with refuses("PoolCapExceeded"):
        mint("mintMinerReward", ZERO, MAX - 10, sender=ledger)
    with refuses("PoolCapExceeded"):
        mint("mintMinerReward", ZERO, 91, sender=ledger)
    with refuses("ERC20InvalidReceiver", ZERO):
        mint("mintMinerReward", ZERO, 90, sender=ledger)
    receipt = mint("mintMinerReward", world.recipient, 90, sender=ledger)
    assert events(receipt) == [
        moved(ZERO, world.recipient, 90),
        ("MinerRewardMinted", {"miner": world.recipient, "amount": 90}),
    ]
    assert (token.call("minerPoolMinted"), token.call("totalSupply")) == (100, 100)
    assert events(mint("mintMinerReward", world.recipient, 0, sender=ledger))[0] == moved(
        ZERO, world.recipient, 0
    )


def test_only_the_ledger_burns_and_only_its_own(world: World, token: Contract) -> None:
    with refuses("NotLedger"):
        token.send("burnFromLedger", 1, sender=world.miner)
    with refuses("ERC20InsufficientBalance", world.cranker, 0, 1):
        token.send("burnFromLedger", 1, sender=world.cranker)
    token.send("transfer", world.cranker, 6, sender=world.miner)
    receipt = token.send("burnFromLedger", 4, sender=world.cranker)
    assert events(receipt) == [moved(world.cranker, ZERO, 4), ("LedgerBurned", {"amount": 4})]
    assert (world.balance_of(world.cranker, token), token.call("totalSupply")) == (2, 6)
    assert token.call("minerPoolMinted") == 10, "burning gives no room back to the pool"
    assert events(token.send("burnFromLedger", 0, sender=world.cranker))[1] == ("LedgerBurned", {"amount": 0})


def test_a_supply_that_would_overflow_panics(world: World) -> None:
    made = Contract.deploy(
        world.engine, "ProjectToken", "", "", 1, 0, MAX, world.cranker, sender=world.stranger
    )
    world.buy(world.miner, 1, made)
    with refuses("Panic", 0x11):
        made.send("mintMinerReward", world.miner, MAX, sender=world.cranker)
    made.send("mintMinerReward", world.miner, MAX - 1, sender=world.cranker)
    assert made.call("totalSupply") == MAX


def test_a_token_without_a_ledger_works_as_a_token(world: World) -> None:
    made = Contract.deploy(world.engine, "ProjectToken", "", "", 1, 0, 5, ZERO, sender=world.stranger)
    world.buy(world.miner, 2, made)
    with refuses("NotLedger"):
        made.send("mintMinerReward", world.miner, 1, sender=world.miner)
    assert made.call("proposalLedger") == ZERO
