"""Transactions on both engines: the chain id, the types, refusals, failures, order."""

from __future__ import annotations

import pytest
from devnet_tools import GWEI, Play, Wire, calldata, hexed
from eth_utils import keccak

from armlx_chain.errors import DevnetRpcError

FRESH = "0x00000000000000000000000000000000000a11ce"


def test_the_chain_id_is_the_same_in_every_answer(play: Play, wire: Wire) -> None:
    assert wire.number("eth_chainId") == play.devnet.chain_id == int(wire("net_version"))
    for kind in (1, 2):
        tx_hash = play.sender(4).send(type=kind, to=FRESH, value=1)
        wire.receipt(tx_hash)
        assert int(wire("eth_getTransactionByHash", tx_hash)["chainId"], 16) == play.devnet.chain_id
    # CHAINID; PUSH0 MSTORE; return 32 bytes
    assert wire.number("eth_call", {"data": "0x465f5260205ff3"}, "latest") == play.devnet.chain_id


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("foreign", [16602, 1, 31338])
def test_a_transaction_for_another_chain_is_refused_and_changes_nothing(
    play: Play, wire: Wire, kind: int, foreign: int
) -> None:
    sender = play.sender(4)
    height, nonce = wire("eth_blockNumber"), sender.nonce()
    with pytest.raises(DevnetRpcError, match="invalid chain id for signer"):
        sender.send(type=kind, chainId=foreign, to=FRESH, value=1)
    assert (wire("eth_blockNumber"), sender.nonce()) == (height, nonce)


def test_a_transaction_without_replay_protection_is_refused_and_changes_nothing(
    play: Play, wire: Wire
) -> None:
    sender = play.sender(4)
    height, nonce = wire("eth_blockNumber"), sender.nonce()
    with pytest.raises(DevnetRpcError, match="replay-protected") as refusal:
        sender.send(type=0, chainId=None, to=FRESH, value=1)
    assert refusal.value.rpc_code == -32000
    assert (wire("eth_blockNumber"), sender.nonce()) == (height, nonce)


def test_a_blob_transaction_is_refused(play: Play, wire: Wire) -> None:
    with pytest.raises(DevnetRpcError):
        wire("eth_sendRawTransaction", "0x03" + play.sender(4).sign(to=FRESH)[4:])


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_each_type_is_mined_and_paid_as_eip_1559_says(play: Play, wire: Wire, kind: int) -> None:
    sender = play.sender(4)
    before = wire.number("eth_getBalance", sender.address, "latest")
    raw = sender.sign(type=kind, to=FRESH, value=7)
    tx_hash = wire("eth_sendRawTransaction", raw)
    assert tx_hash == hexed(keccak(hexstr=raw))
    receipt = wire.receipt(tx_hash)
    transaction = wire("eth_getTransactionByHash", tx_hash)
    base_fee = int(wire.block(int(receipt["blockNumber"], 16))["baseFeePerGas"], 16)
    price = int(receipt["effectiveGasPrice"], 16)
    assert int(receipt["type"], 16) == int(transaction["type"], 16) == kind
    assert price == (base_fee + GWEI if kind == 2 else int(transaction["gasPrice"], 16))
    assert int(receipt["gasUsed"], 16) == 21_000
    paid = before - wire.number("eth_getBalance", sender.address, "latest")
    assert paid == 21_000 * price + 7
    assert (transaction["from"], transaction["to"]) == (sender.address.lower(), FRESH)
    assert transaction["blockHash"] == receipt["blockHash"]
    assert ("accessList" in transaction) == (kind != 0)


def test_every_transaction_gets_a_block_of_its_own(play: Play, wire: Wire) -> None:
    sender = play.sender(4)
    height = wire.number("eth_blockNumber")
    hashes = []
    for _ in range(3):
        hashes.append(sender.send(to=FRESH, value=1))
        wire.receipt(hashes[-1])
    assert wire.number("eth_blockNumber") == height + 3
    assert [wire.block(height + step)["transactions"] for step in (1, 2, 3)] == [[one] for one in hashes]


def test_a_failing_transaction_is_mined_with_status_0_and_pays(play: Play, wire: Wire) -> None:
    stranger = play.sender(5)
    nonce, before = stranger.nonce(), wire.number("eth_getBalance", stranger.address, "latest")
    payload = calldata("addVerifier(address)", stranger.address)
    receipt = wire.receipt(stranger.send(to=play.devnet.addresses.verifier_registry, data=payload))
    assert receipt["status"] == "0x0"
    assert receipt["logs"] == []
    assert stranger.nonce() == nonce + 1
    paid = before - wire.number("eth_getBalance", stranger.address, "latest")
    assert paid == int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16) > 0


def test_a_transaction_that_runs_out_of_gas_burns_all_of_it(play: Play, wire: Wire) -> None:
    # JUMPDEST PUSH0 JUMP: an endless loop.
    code = bytes.fromhex("5b5f56")
    init = bytes.fromhex("6003600c60003960036000f3") + code
    contract = play.sender(4).execute(data=init)["contractAddress"]
    receipt = wire.receipt(play.sender(4).send(to=contract, gas=60_000))
    assert (receipt["status"], int(receipt["gasUsed"], 16)) == ("0x0", 60_000)


def test_a_used_nonce_is_too_low_also_for_the_very_same_bytes(play: Play, wire: Wire) -> None:
    sender = play.sender(4)
    raw = sender.sign(to=FRESH, value=1)
    wire.receipt(wire("eth_sendRawTransaction", raw))
    height = wire("eth_blockNumber")
    for again in (raw, sender.sign(to=FRESH, value=2, nonce=sender.nonce() - 1)):
        with pytest.raises(DevnetRpcError, match="nonce too low"):
            wire("eth_sendRawTransaction", again)
    assert wire("eth_blockNumber") == height


def test_an_account_that_cannot_pay_is_told_so(play: Play, wire: Wire) -> None:
    sender = play.sender(4)
    balance = wire.number("eth_getBalance", sender.address, "latest")
    with pytest.raises(DevnetRpcError, match=r"(?i)insufficient funds for gas \* price \+ value"):
        sender.send(to=FRESH, value=balance)


def test_too_little_gas_and_a_tip_above_the_cap_are_refused(play: Play) -> None:
    sender = play.sender(4)
    with pytest.raises(DevnetRpcError, match="intrinsic gas too low"):
        sender.send(to=FRESH, gas=20_999)
    with pytest.raises(DevnetRpcError, match="max priority fee per gas higher than max fee per gas"):
        sender.send(to=FRESH, maxFeePerGas=GWEI, maxPriorityFeePerGas=2 * GWEI)
    with pytest.raises(DevnetRpcError, match=r"(?i)gas limit|intrinsic gas too high"):
        sender.send(to=FRESH, gas=30_000_001)


def test_a_tampered_signature_never_moves_money_of_the_signer(play: Play, wire: Wire) -> None:
    sender = play.sender(4)
    raw = bytearray.fromhex(sender.sign(to=FRESH, value=1)[2:])
    nonce = sender.nonce()
    raw[-1] ^= 1
    with pytest.raises(DevnetRpcError):
        wire("eth_sendRawTransaction", hexed(bytes(raw)))
    assert sender.nonce() == nonce


def test_a_later_nonce_waits_and_is_mined_after_the_missing_one(play: Play, wire: Wire) -> None:
    sender = play.sender(6)
    nonce = sender.nonce()
    later = sender.send(nonce=nonce + 1, to=FRESH, value=1)
    assert sender.nonce("pending") == nonce
    assert wire("eth_getTransactionReceipt", later) is None
    assert wire("eth_getTransactionByHash", later)["blockNumber"] is None
    first = sender.send(nonce=nonce, to=FRESH, value=1)
    numbers = [int(wire.receipt(one)["blockNumber"], 16) for one in (first, later)]
    assert numbers == sorted(numbers)
    assert sender.nonce() == nonce + 2


@pytest.mark.usefixtures("manual_mining")
def test_pending_counts_what_waits_and_a_replacement_must_pay_more(play: Play, wire: Wire) -> None:
    sender = play.sender(6)
    nonce = sender.nonce()
    fees = {"maxFeePerGas": 20 * GWEI, "maxPriorityFeePerGas": 2 * GWEI}
    raw = sender.sign(to=FRESH, value=1, nonce=nonce, **fees)
    first = wire("eth_sendRawTransaction", raw)
    assert (sender.nonce(), sender.nonce("pending")) == (nonce, nonce + 1)
    with pytest.raises(DevnetRpcError, match=r"already (known|imported)"):
        wire("eth_sendRawTransaction", raw)
    with pytest.raises(DevnetRpcError, match="replacement transaction underpriced"):
        sender.send(to=FRESH, value=2, nonce=nonce, **fees)
    more = {"maxFeePerGas": 22 * GWEI, "maxPriorityFeePerGas": 2 * GWEI + GWEI // 5}
    second = sender.send(to=FRESH, value=3, nonce=nonce, **more)
    wire("evm_mine")
    assert wire.receipt(second)["status"] == "0x1"
    assert wire("eth_getTransactionByHash", first) is None
    assert sender.nonce() == sender.nonce("pending") == nonce + 1


@pytest.mark.usefixtures("manual_mining")
def test_several_transactions_share_a_block_when_it_is_mined_by_hand(play: Play, wire: Wire) -> None:
    sender = play.sender(6)
    nonce = sender.nonce()
    hashes = [sender.send(to=FRESH, value=1, nonce=nonce + step) for step in range(3)]
    wire("evm_mine")
    receipts = [wire.receipt(one) for one in hashes]
    assert len({receipt["blockHash"] for receipt in receipts}) == 1
    assert [int(receipt["transactionIndex"], 16) for receipt in receipts] == [0, 1, 2]
    assert [int(receipt["cumulativeGasUsed"], 16) for receipt in receipts] == [21_000, 42_000, 63_000]
    assert wire.block(receipts[0]["blockNumber"])["transactions"] == hashes


def test_there_are_no_unlocked_accounts_and_no_back_doors(wire: Wire) -> None:
    assert wire("eth_accounts") == []
    for method in ("eth_sendTransaction", "anvil_impersonateAccount", "anvil_setBalance", "eth_sign"):
        with pytest.raises(DevnetRpcError) as refusal:
            wire(method, {})
        assert refusal.value.rpc_code == -32601
