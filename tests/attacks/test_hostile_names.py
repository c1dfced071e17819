"""Names that a creator put on the chain, as holders and miners see them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from eth_abi import encode
from eth_account import Account

import contracts_abi
from armlx_chain.chain.contracts import ProjectToken
from armlx_chain.chain.rpc import Rpc
from armlx_chain.devnet.accounts import derive_accounts
from armlx_chain.devnet.rpc.embedded import EmbeddedChain
from armlx_chain.errors import WrongChain
from armlx_chain.types import Address, Wei

pytestmark = pytest.mark.integration

CHAIN_ID = 31337
(CREATOR,) = derive_accounts(1)


@pytest.fixture(scope="module")
def rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rpc]:
    balances = {bytes.fromhex(CREATOR.address[2:]): Wei(10**22)}
    chain = EmbeddedChain(tmp_path_factory.mktemp("chain"), chain_id=CHAIN_ID, balances=balances)
    yield Rpc(chain.url, expected_chain_id=CHAIN_ID)
    chain.stop()


def token_called(rpc: Rpc, name: bytes, symbol: bytes) -> ProjectToken:
    """A token whose strings are any bytes: that is all the constructor's encoding asks for."""
    types = ["bytes", "bytes", "uint256", "uint256", "uint256", "address"]
    fields = encode(types, [name, symbol, 10**15, 10**12, 10**6, CREATOR.address])
    signed = Account.sign_transaction(
        {
            "nonce": rpc.w3.eth.get_transaction_count(CREATOR.address),
            "chainId": CHAIN_ID,
            "gas": 5_000_000,
            "gasPrice": 10**10,
            "value": 0,
            "data": contracts_abi.bytecode("ProjectToken") + fields,
        },
        CREATOR.private_key_hex,
    )
    receipt = rpc.receipt(rpc.send_raw(bytes(signed.raw_transaction)))
    assert receipt is not None
    return ProjectToken(rpc, Address(receipt["contractAddress"]))


def test_a_token_called_test_is_called_test(rpc: Rpc) -> None:
    token = token_called(rpc, b"Test token", "Tëst".encode())
    assert (token.name(), token.symbol()) == ("Test token", "Tëst")


@pytest.mark.parametrize(
    "name",
    [
        b"\x1b[2J\x1b]0;stake 0\x07Gold",
        b"Gold\nyou pay: nothing\r",
        "\u202eneedlog\u2066".encode(),
        b"\xff\xfe\x00 not text",
        b"x" * 2_000,
        b"",
        b"  ",
    ],
)
def test_a_name_made_to_mislead_is_shown_as_one_short_line(name: bytes, rpc: Rpc) -> None:
    token = token_called(rpc, name, name)
    for shown in (token.name(), token.symbol()):
        assert shown.isprintable()
        assert shown.strip()
        assert len(shown) <= 64


def test_an_address_without_a_token_is_no_crash(rpc: Rpc) -> None:
    with pytest.raises(WrongChain, match="no such contract"):
        ProjectToken(rpc, CREATOR.address).name()
