"""VerifierRegistry: one owner, an allow-list, removal by swap with the last."""

from __future__ import annotations

from evm_contracts import EMPTY, ZERO, Contract, creation_code, events, transact
from evm_world import World, refuses


def listed(world: World) -> list[str]:
    return [world.verifiers.call("verifiers", i) for i in range(world.verifiers.call("verifierCount"))]


def test_the_constructor_names_the_owner_in_an_event_and_refuses_zero(world: World) -> None:
    with refuses("OwnableInvalidOwner", ZERO):
        transact(world.engine, world.owner, None, creation_code("VerifierRegistry", ZERO))
    receipt = transact(world.engine, world.owner, None, creation_code("VerifierRegistry", world.stranger))
    assert events(receipt) == [("OwnershipTransferred", {"previousOwner": ZERO, "newOwner": world.stranger})]


def test_adding_appends_and_refuses_in_order(world: World) -> None:
    add = world.verifiers.send
    with refuses("OwnableUnauthorizedAccount", world.stranger):
        add("addVerifier", ZERO, sender=world.stranger)
    with refuses("ZeroAddress"):
        add("addVerifier", ZERO, sender=world.owner)
    with refuses("AlreadyRegistered"):
        add("addVerifier", world.reviewer, sender=world.owner)
    receipt = add("addVerifier", world.stranger, sender=world.owner)
    assert events(receipt) == [("VerifierAdded", {"v": world.stranger})]
    assert listed(world) == [world.reviewer, world.other_reviewer, world.stranger]


def test_removing_puts_the_last_entry_into_the_gap(world: World) -> None:
    v, w, x = world.reviewer, world.other_reviewer, world.stranger
    world.verifiers.send("addVerifier", x, sender=world.owner)
    receipt = world.verifiers.send("removeVerifier", v, sender=world.owner)
    assert events(receipt) == [("VerifierRemoved", {"v": v})]
    assert listed(world) == [x, w]
    world.verifiers.send("addVerifier", v, sender=world.owner)
    assert listed(world) == [x, w, v]
    world.verifiers.send("removeVerifier", v, sender=world.owner)
    assert listed(world) == [x, w]
    world.verifiers.send("removeVerifier", x, sender=world.owner)
    assert listed(world) == [w]
    world.verifiers.send("removeVerifier", w, sender=world.owner)
    assert listed(world) == []
    assert not any(world.verifiers.call("isVerifier", account) for account in (v, w, x))


def test_removing_refuses_strangers_first_and_then_the_unlisted(world: World) -> None:
    with refuses("OwnableUnauthorizedAccount", world.reviewer):
        world.verifiers.send("removeVerifier", world.stranger, sender=world.reviewer)
    for unlisted in (world.stranger, ZERO, world.owner):
        with refuses("NotRegistered"):
            world.verifiers.send("removeVerifier", unlisted, sender=world.owner)


def test_membership_is_false_for_the_owner_and_for_zero(world: World) -> None:
    assert world.verifiers.call("isVerifier", world.reviewer)
    assert not world.verifiers.call("isVerifier", world.owner)
    assert not world.verifiers.call("isVerifier", ZERO)


def test_a_position_past_the_end_is_an_empty_revert(world: World) -> None:
    for position in (2, 2**256 - 1):
        with refuses(EMPTY):
            world.verifiers.call("verifiers", position)


def test_ownership_moves_in_one_step_and_the_old_owner_loses_it(world: World) -> None:
    for function, arguments in (("transferOwnership", (ZERO,)), ("renounceOwnership", ())):
        with refuses("OwnableUnauthorizedAccount", world.stranger):
            world.verifiers.send(function, *arguments, sender=world.stranger)
    with refuses("OwnableInvalidOwner", ZERO):
        world.verifiers.send("transferOwnership", ZERO, sender=world.owner)
    receipt = world.verifiers.send("transferOwnership", world.stranger, sender=world.owner)
    assert events(receipt) == [
        ("OwnershipTransferred", {"previousOwner": world.owner, "newOwner": world.stranger})
    ]
    with refuses("OwnableUnauthorizedAccount", world.owner):
        world.verifiers.send("addVerifier", world.owner, sender=world.owner)
    world.verifiers.send("addVerifier", world.owner, sender=world.stranger)
    assert world.verifiers.call("isVerifier", world.owner)


def test_a_renounced_list_is_frozen(world: World) -> None:
    receipt = world.verifiers.send("renounceOwnership", sender=world.owner)
    assert events(receipt) == [("OwnershipTransferred", {"previousOwner": world.owner, "newOwner": ZERO})]
    assert world.verifiers.call("owner") == ZERO
    with refuses("OwnableUnauthorizedAccount", world.owner):
        world.verifiers.send("addVerifier", world.stranger, sender=world.owner)


def test_two_registries_keep_their_own_lists(world: World) -> None:
    second = Contract.deploy(world.engine, "VerifierRegistry", world.owner, sender=world.owner)
    assert second.call("verifierCount") == 0
    assert not second.call("isVerifier", world.reviewer)
