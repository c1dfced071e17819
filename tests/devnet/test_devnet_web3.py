"""web3.py 8, unmodified, against both engines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from devnet_tools import Play
from eth_account import Account
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractCustomError, ContractLogicError, Web3RPCError
from web3.logs import DISCARD

from contracts_abi import abi


@pytest.fixture
def web3(play: Play) -> Iterator[Web3]:
    provider = HTTPProvider(play.devnet.rpc_url)
    yield Web3(provider)
    for session in provider._request_session_manager.session_cache._data.values():
        session.close()


def _contract(web3: Web3, address: str, name: str) -> Any:
    return web3.eth.contract(address=Web3.to_checksum_address(address), abi=abi(name))


def _transact(web3: Web3, key: str, function: Any, **fields: Any) -> Any:
    """What a client does: build (estimate, fees, nonce), sign, send, wait."""
    account = Account.from_key(key)
    nonce = web3.eth.get_transaction_count(account.address, "pending")
    transaction = function.build_transaction({"from": account.address, "nonce": nonce, **fields})
    signed = account.sign_transaction(transaction)
    receipt = web3.eth.wait_for_transaction_receipt(
        web3.eth.send_raw_transaction(signed.raw_transaction), timeout=30, poll_latency=0.02
    )
    assert receipt["status"] == 1
    return receipt


def test_a_project_is_created_bought_into_and_read_back(web3: Web3, play: Play) -> None:
    creator, miner = play.devnet.accounts[1], play.devnet.accounts[2]
    registry = _contract(web3, play.devnet.addresses.project_registry, "ProjectRegistry")
    words = [bytes([index]) * 32 for index in range(4)]
    function = registry.functions.createProject(
        words[0], words[1], words[2], -7, words[3], "Web", "WEB", 10**15, 10**12, 1000
    )
    receipt = _transact(web3, creator.private_key_hex, function)
    (event,) = registry.events.ProjectCreated().process_receipt(receipt)
    project = registry.functions.getProject(event["args"]["projectId"]).call()
    assert (project[0], project[6], project[10]) == (words[0], -7, creator.address)
    token = _contract(web3, event["args"]["token"], "ProjectToken")
    value = token.functions.costBetween(0, 3).call()
    bought = _transact(web3, miner.private_key_hex, token.functions.buy(), value=value)
    (purchase,) = token.events.Bought().process_receipt(bought, errors=DISCARD)
    assert token.functions.balanceOf(miner.address).call() == purchase["args"]["tokensOut"] == 3
    assert token.functions.balanceOf(miner.address).call(block_identifier=bought["blockNumber"] - 1) == 0
    assert web3.eth.get_balance(token.address) == value
    found = registry.events.ProjectCreated().get_logs(from_block=receipt["blockNumber"])
    assert [log["transactionHash"] for log in found] == [receipt["transactionHash"]]


def test_reverts_reach_the_client_as_its_own_exceptions(web3: Web3, play: Play) -> None:
    registry = _contract(web3, play.devnet.addresses.verifier_registry, "VerifierRegistry")
    outsider = play.devnet.accounts[5].address
    with pytest.raises(ContractCustomError) as custom:
        registry.functions.addVerifier(outsider).call({"from": outsider})
    assert outsider[2:].lower() in str(custom.value.data)
    with pytest.raises(ContractCustomError):
        registry.functions.addVerifier(outsider).estimate_gas({"from": outsider})
    _, token = play.create_project()
    with pytest.raises(ContractLogicError, match="BAD_RANGE"):
        _contract(web3, token, "ProjectToken").functions.costBetween(2, 1).call()


def test_refused_transactions_reach_the_client_as_rpc_errors(web3: Web3, play: Play) -> None:
    account = Account.from_key(play.devnet.accounts[4].private_key_hex)
    signed = account.sign_transaction(
        {
            "to": account.address,
            "value": 0,
            "gas": 21_000,
            "nonce": web3.eth.get_transaction_count(account.address),
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 10**9,
            "chainId": 16602,
        }
    )
    with pytest.raises(Web3RPCError, match="invalid chain id"):
        web3.eth.send_raw_transaction(signed.raw_transaction)


def test_fees_and_the_rest_of_a_clients_first_questions_are_answered(web3: Web3, play: Play) -> None:
    assert web3.is_connected(show_traceback=True)
    assert web3.eth.chain_id == play.devnet.chain_id
    assert web3.eth.syncing is False
    assert list(web3.eth.accounts) == []
    assert web3.eth.gas_price > web3.eth.max_priority_fee > 0
    history = web3.eth.fee_history(2, "latest", [50])
    assert len(history["baseFeePerGas"]) == 3
    pending = web3.eth.get_block("pending")
    assert pending["number"] == web3.eth.block_number + 1
    full = web3.eth.get_block("latest", full_transactions=True)
    assert full["number"] == web3.eth.block_number
