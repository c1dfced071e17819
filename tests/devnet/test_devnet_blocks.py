"""Blocks, logs, fees and time on both engines."""

from __future__ import annotations

from typing import Any

import pytest
import rlp
from devnet_tools import (
    PROJECT_CREATED,
    PROPOSAL_SUBMITTED,
    TRANSFER,
    Play,
    Wire,
    calldata,
    hexed,
)
from eth_utils import keccak

from armlx_chain.errors import DevnetRpcError

HEADER_FIELDS = (
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
)
NUMBERS = {
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "baseFeePerGas",
    "blobGasUsed",
    "excessBlobGas",
}
DAY, WEEK = 86_400, 604_800


def _header_hash(block: dict[str, Any]) -> str:
    """keccak256 of the RLP of a cancun header (EIP-1559, 4895, 4844 and 4788), from the JSON alone."""
    fields = [
        int(block[name], 16) if name in NUMBERS else bytes.fromhex(block[name][2:]) for name in HEADER_FIELDS
    ]
    return hexed(keccak(rlp.encode(fields)))


def _timestamp(wire: Wire) -> int:
    return int(wire.block()["timestamp"], 16)


# -- blocks ------------------------------------------------------------------------------------------------


def test_every_blocks_hash_follows_from_the_header_fields_that_the_node_shows(play: Play, wire: Wire) -> None:
    play.create_project()
    wire("evm_mine")
    height = wire.number("eth_blockNumber")
    for number in range(height + 1):
        block = wire.block(number)
        assert _header_hash(block) == block["hash"]
        if number:
            parent = wire.block(number - 1)
            assert block["parentHash"] == parent["hash"]
            assert int(block["timestamp"], 16) >= int(parent["timestamp"], 16)


def test_blocks_by_number_by_hash_and_with_full_transactions_agree(play: Play, wire: Wire) -> None:
    receipt = play.sender(4).execute(to=play.sender(5).address, value=1)
    number, block_hash = receipt["blockNumber"], receipt["blockHash"]
    short = wire("eth_getBlockByNumber", number, False)
    assert short == wire("eth_getBlockByHash", block_hash, False)
    full = wire("eth_getBlockByNumber", number, True)
    assert full == wire("eth_getBlockByHash", block_hash, True)
    assert [transaction["hash"] for transaction in full["transactions"]] == short["transactions"]
    assert full["transactions"][0] == wire("eth_getTransactionByHash", receipt["transactionHash"])


def test_latest_safe_and_finalized_are_one_and_pending_is_the_next(wire: Wire) -> None:
    wire("evm_mine")
    head = wire.block()
    assert wire.block("safe") == wire.block("finalized") == head
    assert wire.block("earliest")["number"] == "0x0"
    pending = wire.block("pending")
    assert int(pending["number"], 16) == int(head["number"], 16) + 1
    assert pending["parentHash"] == head["hash"]


def test_the_base_fee_moves_as_eip_1559_says_and_fee_history_tells_it(play: Play, wire: Wire) -> None:
    play.create_project()
    wire("evm_mine")
    height = wire.number("eth_blockNumber")
    history = wire("eth_feeHistory", "0x4", "latest", [10, 90])
    blocks = [wire.block(number) for number in range(height - 3, height + 1)]
    assert int(history["oldestBlock"], 16) == height - 3
    assert history["baseFeePerGas"][:4] == [block["baseFeePerGas"] for block in blocks]
    assert len(history["gasUsedRatio"]) == len(history["reward"]) == 4
    for block, ratio in zip(blocks, history["gasUsedRatio"], strict=True):
        assert ratio == pytest.approx(int(block["gasUsed"], 16) / int(block["gasLimit"], 16))
    wire("evm_mine")
    assert history["baseFeePerGas"][4] == wire.block()["baseFeePerGas"]
    parent = blocks[-1]
    fee, used, target = (int(parent[key], 16) for key in ("baseFeePerGas", "gasUsed", "gasLimit"))
    target //= 2
    assert int(wire.block()["baseFeePerGas"], 16) == fee - fee * (target - used) // target // 8


def test_the_suggested_price_is_enough_for_the_next_block(play: Play, wire: Wire) -> None:
    price = wire.number("eth_gasPrice")
    receipt = play.sender(4).execute(type=0, to=play.sender(5).address, value=1, gasPrice=price)
    assert int(receipt["effectiveGasPrice"], 16) == price
    assert wire.number("eth_maxPriorityFeePerGas") > 0


# -- logs --------------------------------------------------------------------------------------------------


def test_logs_are_found_by_address_topic_alternatives_and_range(play: Play, wire: Wire) -> None:
    addresses = play.devnet.addresses
    start = hex(wire.number("eth_blockNumber") + 1)
    project, token = play.create_project()
    play.fund_miner(token)
    proposal = play.submit(project)
    end = wire("eth_blockNumber")

    def topics_of(**wanted: Any) -> list[str]:
        logs = wire("eth_getLogs", {"fromBlock": start, "toBlock": end, **wanted})
        assert all(log["removed"] is False for log in logs)
        return [log["topics"][0] for log in logs]

    miner = "0x" + play.sender(2).address[2:].lower().rjust(64, "0")
    everything = topics_of()
    assert everything.count(TRANSFER) == 2  # the purchase and the stake
    assert topics_of(address=token) == [
        one for one in everything if one not in (PROJECT_CREATED, PROPOSAL_SUBMITTED)
    ]
    assert topics_of(address=[addresses.project_registry, addresses.proposal_ledger]) == [
        PROJECT_CREATED,
        PROPOSAL_SUBMITTED,
    ]
    assert topics_of(topics=[[PROJECT_CREATED, PROPOSAL_SUBMITTED]]) == [PROJECT_CREATED, PROPOSAL_SUBMITTED]
    assert topics_of(topics=[TRANSFER, miner]) == [TRANSFER]
    assert topics_of(topics=[None, None, miner]) == [TRANSFER]
    assert topics_of(topics=[None, [f"0x{proposal:064x}"], None, miner]) == [PROPOSAL_SUBMITTED]
    assert topics_of(address=addresses.verifier_registry) == []


def test_logs_of_one_block_by_its_hash_equal_those_of_its_receipts(play: Play, wire: Wire) -> None:
    project, token = play.create_project()
    play.fund_miner(token)
    receipt = play.sender(2).execute(**play.submission(project))
    logs = wire("eth_getLogs", {"blockHash": receipt["blockHash"]})
    assert [log["topics"][0] for log in logs] == [TRANSFER, PROPOSAL_SUBMITTED]
    assert [log["logIndex"] for log in logs] == ["0x0", "0x1"]
    for mine, theirs in zip(logs, receipt["logs"], strict=True):
        assert {key: mine[key] for key in mine if key != "blockTimestamp"} == {
            key: theirs[key] for key in theirs if key != "blockTimestamp"
        }


def test_log_indexes_run_on_through_the_block(play: Play, wire: Wire) -> None:
    project, token = play.create_project()
    play.fund_miner(token, tokens=20)
    miner = play.sender(2)
    nonce = miner.nonce()
    wire("evm_setAutomine", False)
    try:
        hashes = [
            miner.send(nonce=nonce + step, gas=600_000, **play.submission(project)) for step in range(3)
        ]
        wire("evm_mine")
    finally:
        wire("evm_setAutomine", True)
    receipts = [wire.receipt(one) for one in hashes]
    assert len({receipt["blockNumber"] for receipt in receipts}) == 1
    indexes = [[int(log["logIndex"], 16) for log in receipt["logs"]] for receipt in receipts]
    assert indexes == [[0, 1], [2, 3], [4, 5]]
    logs = wire("eth_getLogs", {"blockHash": receipts[0]["blockHash"]})
    assert [int(log["logIndex"], 16) for log in logs] == list(range(6))
    assert [log["transactionHash"] for log in logs] == [one for one in hashes for _ in range(2)]


@pytest.mark.parametrize(
    "wanted",
    [
        {"blockHash": "0x" + "11" * 32},
        {"blockHash": "0x" + "11" * 32, "fromBlock": "0x0"},
        {"address": "0x1234"},
        {"topics": ["0x1234"]},
        {"topics": [None] * 5},
        {"fromBlock": "yesterday"},
    ],
)
def test_an_impossible_log_filter_is_refused(wire: Wire, wanted: dict[str, Any]) -> None:
    with pytest.raises(DevnetRpcError) as refusal:
        wire("eth_getLogs", wanted)
    assert refusal.value.rpc_code in (-32602, -32000)


# -- time --------------------------------------------------------------------------------------------------


def test_time_moves_forward_by_at_least_what_was_asked_and_never_back(play: Play, wire: Wire) -> None:
    before = _timestamp(wire)
    assert play.devnet.advance_time(DAY) == _timestamp(wire) >= before + DAY
    play.devnet.mine(3)
    assert _timestamp(wire) >= before + DAY
    exact = _timestamp(wire) + 12_345
    wire("evm_setNextBlockTimestamp", exact)
    wire("evm_mine")
    assert _timestamp(wire) == exact
    with pytest.raises(DevnetRpcError):
        wire("evm_setNextBlockTimestamp", exact - 1)
    wire("evm_mine")
    assert exact <= _timestamp(wire) <= exact + 60


def _at(play: Play, when: int, sender: int, signature: str, proposal: int) -> str:
    """Run a call of the ledger in a block with exactly this timestamp; returns the status."""
    play.wire("evm_setNextBlockTimestamp", when)
    tx_hash = play.sender(sender).send(
        to=play.devnet.addresses.proposal_ledger, data=calldata(signature, proposal), gas=500_000
    )
    receipt = play.wire.receipt(tx_hash)
    assert int(play.wire.block(receipt["blockNumber"])["timestamp"], 16) == when
    return str(receipt["status"])


def _proposal_word(play: Play, proposal: int, index: int) -> int:
    question = {
        "to": play.devnet.addresses.proposal_ledger,
        "data": hexed(calldata("getProposal(uint256)", proposal)),
    }
    answer = play.wire("eth_call", question, "latest")[2:]
    return int(answer[64 * index : 64 * (index + 1)], 16)


def test_the_review_lock_ends_on_its_second(play: Play) -> None:
    project, token = play.create_project()
    play.fund_miner(token)
    proposal = play.submit(project)
    claimed = play.sender(3).execute(
        to=play.devnet.addresses.proposal_ledger, data=calldata("claimReview(uint256)", proposal)
    )
    lock = int(play.wire.block(claimed["blockNumber"])["timestamp"], 16) + DAY
    assert _proposal_word(play, proposal, 10) == lock
    assert _at(play, lock - 1, 4, "releaseReview(uint256)", proposal) == "0x0"
    assert _at(play, lock, 4, "releaseReview(uint256)", proposal) == "0x1"
    assert _proposal_word(play, proposal, 12) == 0


def test_the_expiry_window_ends_on_its_second(play: Play) -> None:
    project, token = play.create_project()
    play.fund_miner(token)
    proposal = play.submit(project)
    due = _proposal_word(play, proposal, 9) + WEEK
    assert _at(play, due - 1, 4, "expire(uint256)", proposal) == "0x0"
    assert _at(play, due, 4, "expire(uint256)", proposal) == "0x1"
    assert _proposal_word(play, proposal, 12) == 4


def test_a_snapshot_brings_state_and_height_back_once(play: Play, wire: Wire) -> None:
    sender = play.sender(7)
    head, nonce = wire.block(), sender.nonce()
    snapshot = wire("evm_snapshot")
    receipt = sender.execute(to=play.sender(8).address, value=5)
    assert wire("evm_revert", snapshot) is True
    assert wire.block() == head
    assert sender.nonce() == nonce
    assert wire("eth_getTransactionReceipt", receipt["transactionHash"]) is None
    assert wire("eth_getBlockByHash", receipt["blockHash"], False) is None
    assert wire("evm_revert", snapshot) is False
