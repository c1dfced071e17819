"""ProjectRegistry: anything may be published, scores only rise, unknown ids read as zeros."""

from __future__ import annotations

import pytest
from evm_contracts import ZERO, Contract, creation_code, events, transact
from evm_world import (
    BASELINE,
    BENCHMARK,
    CODE,
    FIRST_METRICS,
    MAX,
    METRICS,
    PROTOCOL,
    SNAPSHOT,
    World,
    created_address,
    refuses,
)

LOWEST, HIGHEST = -(2**255), 2**255 - 1
NONE = bytes(32)


def registry_of_a_plain_account(world: World) -> Contract:
    """A registry whose ledger is an ordinary account, so that updateBest can be called directly."""
    return Contract.deploy(world.engine, "ProjectRegistry", world.cranker, sender=world.owner)


def publish(registry: Contract, baseline: int, sender: str) -> None:
    arguments = (NONE, NONE, NONE, baseline, METRICS, "", "", 0, 0, 0)
    registry.send("createProject", *arguments, sender=sender)


def test_the_constructor_refuses_a_zero_ledger_and_emits_nothing(world: World) -> None:
    with refuses("LedgerZero"):
        transact(world.engine, world.owner, None, creation_code("ProjectRegistry", ZERO))
    assert (
        transact(world.engine, world.owner, None, creation_code("ProjectRegistry", world.stranger)).logs == ()
    )


def test_a_new_project_holds_its_arguments_and_one_event_tells_of_it(world: World) -> None:
    arguments = (PROTOCOL, SNAPSHOT, BENCHMARK, BASELINE, FIRST_METRICS, "A name", "SYM", 5, 6, 7)
    expected_token = created_address(world.projects.address, 2)
    assert world.projects.call("createProject", *arguments, sender=world.stranger) == (1, expected_token)
    receipt = world.projects.send("createProject", *arguments, sender=world.stranger)
    shown = {"projectId": 1, "creator": world.stranger, "token": expected_token, "protocolHash": PROTOCOL}
    assert events(receipt) == [("ProjectCreated", shown)]
    assert world.projects.call("getProject", 1) == {
        "protocolHash": PROTOCOL,
        "repoSnapshotHash": SNAPSHOT,
        "benchmarkHash": BENCHMARK,
        "baselineAggregateScore": BASELINE,
        "baselineMetricsHash": FIRST_METRICS,
        "currentBestCodeHash": NONE,
        "currentBestAggregateScore": BASELINE,
        "currentBestMetricsHash": FIRST_METRICS,
        "currentBestMiner": ZERO,
        "token": expected_token,
        "creator": world.stranger,
        "createdAt": receipt.timestamp,
    }
    token = world.token_of(1)
    assert [token.call(name) for name in ("name", "symbol", "basePrice", "slope", "minerPoolCap")] == [
        *("A name", "SYM", 5, 6, 7)
    ]
    assert token.call("proposalLedger") == world.ledger.address
    assert (token.call("decimals"), token.call("totalSupply"), token.call("minerPoolMinted")) == (0, 0, 0)


def test_no_argument_is_checked_and_duplicates_are_welcome(world: World) -> None:
    for baseline in (LOWEST, HIGHEST, 0, 0):
        publish(world.projects, baseline, world.stranger)
    assert world.projects.call("nextProjectId") == 5
    assert [world.projects.call("currentBestAggregateScore", i) for i in range(1, 5)] == [
        LOWEST,
        HIGHEST,
        0,
        0,
    ]
    tokens = [world.projects.call("tokenOf", i) for i in range(5)]
    assert tokens == [created_address(world.projects.address, i + 1) for i in range(5)]


@pytest.mark.parametrize("length", [15, 16, 17, 1000])
def test_long_names_survive(world: World, length: int) -> None:
    name = "ä" * length
    arguments = (NONE, NONE, NONE, 0, NONE, name, name[1:], 0, 0, 0)
    world.projects.send("createProject", *arguments, sender=world.stranger)
    assert world.token_of(1).call("name") == name
    assert world.token_of(1).call("symbol") == name[1:]


def test_unknown_ids_read_as_zeros(world: World) -> None:
    for unknown in (1, MAX):
        record = world.projects.call("getProject", unknown)
        assert not any(
            int(v, 16) if isinstance(v, str) else any(v) if isinstance(v, bytes) else v
            for v in record.values()
        )
        assert world.projects.call("tokenOf", unknown) == ZERO
        assert world.projects.call("currentBestAggregateScore", unknown) == 0


def test_update_best_refuses_in_order(world: World) -> None:
    registry = registry_of_a_plain_account(world)
    publish(registry, 100, world.stranger)
    with refuses("NotLedger"):
        registry.send("updateBest", 9, world.miner, 0, CODE, METRICS, sender=world.owner)
    with refuses("UnknownProject"):
        registry.send("updateBest", 1, world.miner, 0, CODE, METRICS, sender=world.cranker)
    for worse in (LOWEST, -100, 0, 99, 100):
        with refuses("ScoreNotImproved"):
            registry.send("updateBest", 0, world.miner, worse, CODE, METRICS, sender=world.cranker)


def test_update_best_compares_signed_and_sets_four_fields(world: World) -> None:
    registry = registry_of_a_plain_account(world)
    publish(registry, LOWEST, world.stranger)
    before = registry.call("getProject", 0)
    for score in (LOWEST + 1, -1, 0, 1, HIGHEST):
        receipt = registry.send("updateBest", 0, world.miner, score, CODE, NONE, sender=world.cranker)
        shown = {
            "projectId": 0,
            "miner": world.miner,
            "newAggregateScore": score,
            "codeHash": CODE,
            "metricsHash": NONE,
        }
        assert events(receipt) == [("BestUpdated", shown)]
        changed = {
            "currentBestAggregateScore": score,
            "currentBestCodeHash": CODE,
            "currentBestMetricsHash": NONE,
            "currentBestMiner": world.miner,
        }
        assert registry.call("getProject", 0) == before | changed
    with refuses("ScoreNotImproved"):
        registry.send("updateBest", 0, world.miner, HIGHEST, CODE, METRICS, sender=world.cranker)


def test_the_wiring_reads_back(world: World) -> None:
    assert world.projects.call("proposalLedger") == world.ledger.address
    assert world.ledger.call("registry") == world.projects.address
    assert world.ledger.call("verifierRegistry") == world.verifiers.address
