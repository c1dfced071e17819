"""The interface is the one recorded from the network, name by name and bit by bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from eth_utils import is_checksum_address, keccak
from evm_contracts import EMPTY, Contract, creation_code, transact
from evm_world import World, created_address, refuses

import contracts_abi

FACTS: dict[str, Any] = json.loads((Path(__file__).parent / "facts" / "abi-facts.json").read_text())
CONTRACTS = sorted(FACTS["contracts"])
KINDS = [("function", "functions"), ("event", "events"), ("error", "errors")]
# Recorded beside each entry, but not part of an ABI.
DERIVED = {"signature", "selector", "topic0"}


def differences(ours: Any, recorded: Any, path: str) -> list[str]:
    """Where a recorded fact is missing from our ABI or has another value."""
    if isinstance(recorded, dict):
        return [
            line
            for key, value in recorded.items()
            if key not in DERIVED
            for line in (
                differences(ours[key], value, f"{path}.{key}") if key in ours else [f"{path}.{key} missing"]
            )
        ]
    if isinstance(recorded, list):
        if len(ours) != len(recorded):
            return [f"{path}: {len(ours)} entries, recorded {len(recorded)}"]
        pairs = zip(ours, recorded, strict=True)
        return [line for i, (a, b) in enumerate(pairs) for line in differences(a, b, f"{path}[{i}]")]
    return [] if ours == recorded else [f"{path}: {ours!r}, recorded {recorded!r}"]


def entries(name: str, kind: str) -> dict[str, dict[str, Any]]:
    return {contracts_abi.signature(e): e for e in contracts_abi.abi(name) if e["type"] == kind}


@pytest.mark.unit
@pytest.mark.parametrize("name", CONTRACTS)
@pytest.mark.parametrize(("kind", "key"), KINDS)
def test_the_abi_has_exactly_the_recorded_entries(name: str, kind: str, key: str) -> None:
    ours = entries(name, kind)
    recorded = {entry["signature"]: entry for entry in FACTS["contracts"][name][key]}
    assert set(ours) == set(recorded)
    assert [line for s, entry in recorded.items() for line in differences(ours[s], entry, s)] == []


@pytest.mark.unit
@pytest.mark.parametrize("name", CONTRACTS)
def test_the_constructor_is_the_recorded_one_and_nothing_takes_plain_payments(name: str) -> None:
    abi = contracts_abi.abi(name)
    (constructor,) = [entry for entry in abi if entry["type"] == "constructor"]
    assert differences(constructor, FACTS["contracts"][name]["constructor"], name) == []
    assert {entry["type"] for entry in abi} == {"constructor", "function", "event", "error"}


@pytest.mark.unit
@pytest.mark.parametrize("name", CONTRACTS)
def test_selectors_and_topics_are_the_recorded_ones(name: str) -> None:
    facts = FACTS["contracts"][name]
    code = contracts_abi.runtime_bytecode(name)
    for entry in facts["functions"]:
        selector = contracts_abi.function_selector(name, entry["signature"].split("(")[0])
        assert "0x" + selector.hex() == entry["selector"]
        assert b"\x63" + selector in code, f"{entry['signature']} is not dispatched"
    for entry in facts["events"]:
        topic = contracts_abi.event_topic(name, entry["signature"].split("(")[0])
        assert "0x" + topic.hex() == entry["topic0"]
        assert topic in code
    for entry in facts["errors"]:
        error = contracts_abi.errors_by_selector()[bytes.fromhex(entry["selector"][2:])]
        assert error.signature == entry["signature"]
        assert list(error.input_names) == [item["name"] for item in entry["inputs"]]


@pytest.mark.unit
def test_the_builtin_errors_are_in_the_union() -> None:
    for entry in FACTS["builtinErrors"]:
        assert (
            contracts_abi.errors_by_selector()[bytes.fromhex(entry["selector"][2:])].signature
            == entry["signature"]
        )


@pytest.mark.unit
def test_the_flow_has_the_selectors_topic_and_error_of_0g_storage() -> None:
    recorded = {
        "submit": "bc8c11f8",
        "batchSubmit": "49aa3395",
        "market": "80f55605",
        "tree": "fd54b228",
        "submissionIndex": "b8a409ac",
        "numSubmissions": "77e19824",
        "paused": "5c975abb",
    }
    assert {name: contracts_abi.function_selector("Flow", name).hex() for name in recorded} == recorded
    assert contracts_abi.function_selector("Market", "pricePerSector").hex() == "61ec5082"
    topic = "167ce04d2aa1981994d3a31695da0d785373335b1078cec239a1a3a2c7675555"
    assert contracts_abi.event_topic("Flow", "Submit").hex() == topic
    assert contracts_abi.errors_by_selector()[bytes.fromhex("f85c6482")].name == "NotEnoughFee"


@pytest.mark.unit
def test_galileo_is_the_recorded_deployment() -> None:
    galileo, facts = contracts_abi.deployment("galileo"), FACTS["deployment"]
    assert galileo.chain_id == facts["chainId"] == 16602
    assert galileo.rpc_urls == (facts["rpcUrl"],)
    assert galileo.verifier_registry == facts["VerifierRegistry"]
    assert galileo.proposal_ledger == facts["ProposalLedger"]
    assert galileo.project_registry == facts["ProjectRegistry"]
    assert galileo.multicall3 == facts["multicall3"]
    assert (galileo.explorer_url, galileo.indexer_url) == (facts["explorer"], facts["storageIndexer"])
    addresses = (galileo.verifier_registry, galileo.proposal_ledger, galileo.project_registry, galileo.flow)
    assert all(address is not None and is_checksum_address(address) for address in addresses)
    assert set(galileo.runtime_hashes) == {"VerifierRegistry", "ProposalLedger", "ProjectRegistry"}


@pytest.mark.unit
def test_the_local_deployment_is_what_the_first_test_account_makes() -> None:
    """VerifierRegistry, ProposalLedger, ProjectRegistry, Market, Flow: its transactions 0 to 4."""
    local, deployer = contracts_abi.deployment("local"), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    recorded = [local.verifier_registry, local.proposal_ledger, local.project_registry, local.flow]
    assert recorded == [created_address(deployer, nonce) for nonce in (0, 1, 2, 4)]
    assert (local.chain_id, local.rpc_urls) == (31337, ())
    assert contracts_abi.deployments() == ("galileo", "local")


@pytest.mark.unit
def test_unknown_names_are_key_errors_and_handed_out_abis_are_copies() -> None:
    with pytest.raises(KeyError):
        contracts_abi.abi("../../etc/passwd")
    with pytest.raises(KeyError):
        contracts_abi.deployment("mainnet")
    contracts_abi.abi("Market").clear()
    assert contracts_abi.abi("Market")


@pytest.mark.unit
def test_loading_the_abis_imports_no_chain_library() -> None:
    check = (
        "import sys, contracts_abi as c; [c.bytecode(n) for n in c.names()]; c.errors_by_selector();"
        "sys.exit(bool({'web3', 'eth', 'requests', 'eth_account'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_deployed_code_is_recognised_and_foreign_code_is_not(world: World) -> None:
    for contract in (world.verifiers, world.ledger, world.projects, world.token):
        code = world.engine.code(contract.address)
        assert contracts_abi.runtime_matches(contract.name, code)
        assert not contracts_abi.runtime_matches(contract.name, code[:-1])
        assert not contracts_abi.runtime_matches(contract.name, code[:-1] + bytes([code[-1] ^ 1]))
        assert not contracts_abi.runtime_matches("Flow", code)


def test_code_that_differs_only_in_constructor_constants_has_another_hash(world: World) -> None:
    other = world.token_of(world.create(base=7))
    codes = [world.engine.code(token.address) for token in (world.token, other)]
    assert keccak(codes[0]) != keccak(codes[1])
    assert all(contracts_abi.runtime_matches("ProjectToken", code) for code in codes)


def test_plain_payments_unknown_selectors_and_unwanted_value_end_in_an_empty_revert(world: World) -> None:
    words = bytes(32 * 12)
    for contract in (world.verifiers, world.ledger, world.projects, world.token):
        for data, value in ((b"", 1), (b"", 0), (b"\xde\xad\xbe\xef", 0), (b"\xde\xad\xbe\xef" + words, 1)):
            with refuses(EMPTY):
                transact(world.engine, world.stranger, contract.address, data, value)
        for entry in FACTS["contracts"][contract.name]["functions"]:
            if entry["stateMutability"] != "payable":
                with refuses(EMPTY):
                    selector = bytes.fromhex(entry["selector"][2:])
                    transact(world.engine, world.stranger, contract.address, selector + words, 1)


def test_constructors_take_no_value(world: World) -> None:
    engine, person = world.engine, world.stranger
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("VerifierRegistry", (person,)),
        ("ProposalLedger", (person, person)),
        ("ProjectRegistry", (person,)),
        ("ProjectToken", ("n", "s", 1, 1, 1, person)),
    ]
    for name, arguments in calls:
        with refuses(EMPTY):
            transact(engine, person, None, creation_code(name, *arguments), 1)
        assert Contract.deploy(engine, name, *arguments, sender=person).address
