"""Calls, estimates, revert data and past states on both engines."""

from __future__ import annotations

import pytest
from devnet_tools import Play, Wire, calldata, hexed
from eth_abi import decode
from eth_utils import keccak

from armlx_chain.errors import DevnetRpcError

OUTSIDER = "0x00000000000000000000000000000000000a11ce"


def _refused(wire: Wire, method: str, transaction: dict[str, object]) -> DevnetRpcError:
    with pytest.raises(DevnetRpcError) as refusal:
        wire(method, transaction, "latest")
    return refusal.value


@pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
def test_a_custom_error_comes_back_whole_with_code_3(play: Play, wire: Wire, method: str) -> None:
    stranger = play.sender(5)
    payload = hexed(calldata("addVerifier(address)", stranger.address))
    transaction = {"from": stranger.address, "to": play.devnet.addresses.verifier_registry, "data": payload}
    error = _refused(wire, method, transaction)
    assert error.rpc_code == 3
    assert error.message.startswith("execution reverted")
    data = bytes.fromhex((error.rpc_data or "")[2:])
    assert data[:4] == keccak(text="OwnableUnauthorizedAccount(address)")[:4]
    assert decode(["address"], data[4:]) == (stranger.address.lower(),)


@pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
def test_a_reason_string_is_in_the_message_and_in_the_data(play: Play, wire: Wire, method: str) -> None:
    _, token = play.create_project()
    error = _refused(
        wire, method, {"to": token, "data": hexed(calldata("costBetween(uint256,uint256)", 2, 1))}
    )
    assert (error.rpc_code, error.message) == (3, "execution reverted: BAD_RANGE")
    data = bytes.fromhex((error.rpc_data or "")[2:])
    assert decode(["string"], data[4:]) == ("BAD_RANGE",)


def test_an_overflow_comes_back_as_a_panic(play: Play, wire: Wire) -> None:
    _, token = play.create_project()
    error = _refused(wire, "eth_call", {"to": token, "data": hexed(calldata("priceAt(uint256)", 2**256 - 1))})
    assert error.rpc_code == 3
    assert error.rpc_data == hexed(calldata("Panic(uint256)", 0x11))


@pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
def test_an_empty_revert_has_code_3_and_empty_data(play: Play, wire: Wire, method: str) -> None:
    transaction = {"to": play.devnet.addresses.proposal_ledger, "data": "0xdeadbeef"}
    error = _refused(wire, method, transaction)
    assert (error.rpc_code, error.rpc_data) == (3, "0x")


def test_an_estimate_suffices_and_is_not_far_too_high(play: Play, wire: Wire) -> None:
    play.create_project()  # the first project pays for storage that later ones find initialised
    sender = play.sender(1)
    arguments = (b"\1" * 32, b"\2" * 32, b"\3" * 32, -5, b"\4" * 32, "Demo", "DMO", 10**15, 10**12, 10)
    signature = "createProject(bytes32,bytes32,bytes32,int256,bytes32,string,string,uint256,uint256,uint256)"
    payload = calldata(signature, *arguments)
    registry = play.devnet.addresses.project_registry
    estimate = wire.number(
        "eth_estimateGas", {"from": sender.address, "to": registry, "data": hexed(payload)}
    )
    receipt = sender.execute(to=registry, data=payload, gas=estimate)
    used = int(receipt["gasUsed"], 16)
    assert used <= estimate <= used * 1.06


def test_a_plain_transfer_is_estimated_at_21000(play: Play, wire: Wire) -> None:
    assert (
        wire.number("eth_estimateGas", {"from": play.sender(4).address, "to": OUTSIDER, "value": "0x1"})
        == 21_000
    )


def test_a_call_leaves_nothing_behind(play: Play, wire: Wire) -> None:
    deployer, registry = play.sender(0), play.devnet.addresses.verifier_registry
    height = wire("eth_blockNumber")
    payload = hexed(calldata("addVerifier(address)", OUTSIDER))
    assert wire("eth_call", {"from": deployer.address, "to": registry, "data": payload}, "latest") == "0x"
    question = {"to": registry, "data": hexed(calldata("isVerifier(address)", OUTSIDER))}
    assert wire.number("eth_call", question, "latest") == 0
    assert wire("eth_blockNumber") == height


def test_the_past_stays_readable(play: Play, wire: Wire) -> None:
    deployer, registry = play.sender(0), play.devnet.addresses.verifier_registry
    newcomer = "0x" + keccak(text=f"newcomer {wire('eth_blockNumber')}").hex()[:40]
    before = wire.block()
    deployer.execute(to=registry, data=calldata("addVerifier(address)", newcomer))
    question = {"to": registry, "data": hexed(calldata("isVerifier(address)", newcomer))}
    assert wire.number("eth_call", question, "latest") == 1
    assert wire.number("eth_call", question, before["number"]) == 0
    assert wire.number("eth_call", question, {"blockHash": before["hash"]}) == 0
    assert wire.number("eth_getTransactionCount", deployer.address, before["number"]) == deployer.nonce() - 1
    assert wire("eth_getCode", registry, "0x0") == "0x" != wire("eth_getCode", registry, "latest")
    assert wire.number("eth_getBalance", play.sender(9).address, "0x0") == 10_000 * 10**18


def test_a_call_sees_the_block_it_is_made_on(wire: Wire) -> None:
    wire("anvil_mine", "0x2")
    head = wire.block()
    # TIMESTAMP / NUMBER; PUSH0 MSTORE; return 32 bytes
    assert wire("eth_call", {"data": "0x425f5260205ff3"}, "latest") == f"0x{int(head['timestamp'], 16):064x}"
    assert wire("eth_call", {"data": "0x435f5260205ff3"}, "latest") == f"0x{int(head['number'], 16):064x}"


def test_storage_can_be_read_by_short_and_by_padded_slot(play: Play, wire: Wire) -> None:
    registry = play.devnet.addresses.verifier_registry
    owner_word = "0x" + play.sender(0).address[2:].lower().rjust(64, "0")
    words = {wire("eth_getStorageAt", registry, slot, "latest") for slot in ("0x0", "0x" + "0" * 64)}
    assert words == {owner_word}


def test_a_block_that_does_not_exist_is_an_error_for_state_and_null_for_blocks(wire: Wire) -> None:
    beyond = hex(wire.number("eth_blockNumber") + 1000)
    with pytest.raises(DevnetRpcError):
        wire("eth_call", {"data": "0x"}, beyond)
    assert wire("eth_getBlockByNumber", beyond, False) is None
    assert wire("eth_getBlockByHash", "0x" + "11" * 32, False) is None
    assert wire("eth_getTransactionByHash", "0x" + "11" * 32) is None


def test_a_contract_that_calls_itself_to_the_bottom_does_not_break_the_node(play: Play, wire: Wire) -> None:
    # code: CALL(gas, address, 0, 0, 0, 0, 0); STOP
    code = bytes.fromhex("60006000600060006000305af100")
    init = bytes.fromhex("600e600c600039600e6000f3") + code
    contract = play.sender(4).execute(data=init)["contractAddress"]
    assert wire("eth_call", {"to": contract, "gas": hex(30_000_000)}, "latest") == "0x"
    assert play.sender(4).execute(to=contract, gas=30_000_000)["status"] == "0x1"
