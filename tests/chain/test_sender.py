"""Transactions happen exactly once on a real EVM, whatever stops the process in between."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_utils import keccak

import contracts_abi
from armlx_chain.chain.contracts import ProjectToken
from armlx_chain.chain.fees import Fees
from armlx_chain.chain.journal import Attempt, Journal, State
from armlx_chain.chain.lifecycle import Patience
from armlx_chain.chain.rawtx import Plain, unsigned
from armlx_chain.chain.rpc import Rpc
from armlx_chain.chain.sender import Intent, TxSender
from armlx_chain.devnet.accounts import derive_accounts
from armlx_chain.devnet.rpc.embedded import EmbeddedChain
from armlx_chain.errors import (
    ContractRevert,
    InsufficientFunds,
    JournalError,
    PreconditionFailed,
    RpcUnavailable,
    WrongChain,
)
from armlx_chain.types import Address, TxHash, Wei

pytestmark = pytest.mark.integration

CHAIN_ID = 31337
QUICK = Patience(lost=0.2, behind=0.3, poll_first=0.05)
ACCOUNTS = derive_accounts(3)


@dataclass
class PlainSigner:
    """A key in memory: the sender's tests need no keystore."""

    key: str

    @property
    def address(self) -> Address:
        return Address(Account.from_key(self.key).address)

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        return bytes(Account.sign_transaction(transaction, self.key).raw_transaction)


class Stopped(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


class StopAt:
    """A hook that stops the process at its n-th event of a kind."""

    def __init__(self, event: str) -> None:
        self.event = event

    def __call__(self, event: str, _attempt: Attempt) -> None:
        if event == self.event:
            raise Stopped


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedChain]:
    balances = {bytes.fromhex(a.address[2:]): Wei(10**22) for a in ACCOUNTS[:2]}
    running = EmbeddedChain(tmp_path_factory.mktemp("chain"), chain_id=CHAIN_ID, balances=balances)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def rpc(chain: EmbeddedChain) -> Rpc:
    return Rpc(chain.url, expected_chain_id=CHAIN_ID)


@pytest.fixture(scope="module")
def token(rpc: Rpc) -> ProjectToken:
    deployer = PlainSigner(ACCOUNTS[0].private_key_hex)
    contract = rpc.w3.eth.contract(
        abi=contracts_abi.abi("ProjectToken"), bytecode=contracts_abi.bytecode("ProjectToken")
    )
    fields = contract.constructor("Test", "TST", 10**15, 10**12, 10**6, deployer.address).build_transaction(
        {"from": deployer.address, "nonce": 0, "chainId": CHAIN_ID}
    )
    sent = rpc.send_raw(deployer.sign_transaction(dict(fields)))
    receipt = rpc.receipt(sent)
    assert receipt is not None
    return ProjectToken(rpc, Address(receipt["contractAddress"]))


class World:
    """One account's sender over a journal that outlives it."""

    def __init__(self, rpc: Rpc, folder: Path, account: int = 1) -> None:
        self.rpc = rpc
        self.signer = PlainSigner(ACCOUNTS[account].private_key_hex)
        self.journal = Journal(folder / "j.sqlite", chain="31337:test", account=self.signer.address)

    def sender(self, **options: Any) -> TxSender:
        return TxSender(
            rpc=self.rpc, signer=self.signer, journal=self.journal, **{"patience": QUICK, **options}
        )


@pytest.fixture
def world(rpc: Rpc, tmp_path: Path) -> World:
    return World(rpc, tmp_path)


def buy(token: ProjectToken, key: str, value: int = 2 * 10**15, **extra: Any) -> Intent:
    return Intent(
        key=key, to=token.address, data=token.encode("buy"), value=Wei(value), what="buying", **extra
    )


def test_the_same_key_is_carried_out_once(world: World, token: ProjectToken) -> None:
    before = token.balance_of(world.signer.address)
    first = world.sender().execute(buy(token, "once"))
    again = world.sender().execute(buy(token, "once"))
    assert first.tx_hash == again.tx_hash
    assert token.balance_of(world.signer.address) == before + int(token.event(first, "Bought")["tokensOut"])


@pytest.mark.parametrize("event", ["signed", "broadcast", "mined"])
def test_stopped_at_any_step_nothing_is_lost_or_doubled(
    world: World, token: ProjectToken, event: str
) -> None:
    nonce = world.rpc.nonce(world.signer.address, pending=False)
    before = token.balance_of(world.signer.address)
    with pytest.raises(Stopped):
        world.sender(hook=StopAt(event)).execute(buy(token, "stopped"))
    receipt = world.sender().execute(buy(token, "stopped"))
    assert world.rpc.nonce(world.signer.address, pending=False) == nonce + 1
    assert token.balance_of(world.signer.address) == before + int(token.event(receipt, "Bought")["tokensOut"])
    assert [a.state for a in world.journal.attempts("stopped")] == [State.MINED]


def test_the_identical_bytes_go_out_again(world: World, token: ProjectToken) -> None:
    with pytest.raises(Stopped):
        world.sender(hook=StopAt("signed")).execute(buy(token, "same-bytes"))
    (waiting,) = world.journal.unfinished()
    receipt = world.sender().execute(buy(token, "same-bytes", value=5 * 10**15))
    assert receipt.tx_hash == waiting.tx_hash


def test_another_intent_first_finishes_what_was_left(world: World, token: ProjectToken) -> None:
    with pytest.raises(Stopped):
        world.sender(hook=StopAt("signed")).execute(buy(token, "left"))
    world.sender().execute(buy(token, "next"))
    assert [a.state for a in world.journal.attempts("left")] == [State.MINED]


def test_a_call_that_would_revert_is_never_sent(world: World, token: ProjectToken) -> None:
    nonce = world.rpc.nonce(world.signer.address, pending=True)
    with pytest.raises(ContractRevert, match="does not cover a single token") as caught:
        world.sender().execute(buy(token, "too-little", value=1))
    assert caught.value.details["error"] == "InsufficientPayment"
    assert world.rpc.nonce(world.signer.address, pending=True) == nonce
    assert world.journal.attempts("too-little") == []


def test_an_account_without_funds_is_told_before_anything_is_signed(
    rpc: Rpc, token: ProjectToken, tmp_path: Path
) -> None:
    poor = World(rpc, tmp_path, account=2)
    with pytest.raises(InsufficientFunds, match="holds 0 wei"):
        poor.sender().execute(buy(token, "poor"))
    assert poor.journal.attempts("poor") == []


def test_a_failed_precondition_stops_a_fresh_intent(world: World, token: ProjectToken) -> None:
    nonce = world.rpc.nonce(world.signer.address, pending=True)
    sender = world.sender(check_precondition=lambda facts: facts["best"] == 1)
    with pytest.raises(PreconditionFailed):
        sender.execute(buy(token, "stale", precondition={"best": 2}))
    assert world.rpc.nonce(world.signer.address, pending=True) == nonce


def test_a_precondition_that_failed_after_signing_cancels_the_nonce(
    world: World, token: ProjectToken
) -> None:
    before = token.balance_of(world.signer.address)
    nonce = world.rpc.nonce(world.signer.address, pending=False)
    intent = buy(token, "moved", precondition={"best": 1})
    with pytest.raises(Stopped):
        world.sender(check_precondition=lambda _: True, hook=StopAt("signed")).execute(intent)
    with pytest.raises(PreconditionFailed, match="nonce was cancelled"):
        world.sender(check_precondition=lambda _: False).execute(intent)
    assert token.balance_of(world.signer.address) == before
    assert world.rpc.nonce(world.signer.address, pending=False) == nonce + 1
    assert world.journal.unfinished() == []


def test_a_precondition_that_failed_after_mining_keeps_the_receipt(world: World, token: ProjectToken) -> None:
    intent = buy(token, "mined-then-moved", precondition={"best": 1})
    with pytest.raises(Stopped):
        world.sender(check_precondition=lambda _: True, hook=StopAt("broadcast")).execute(intent)
    receipt = world.sender(check_precondition=lambda _: False).execute(intent)
    assert receipt.raw["status"] == 1


def test_a_nonce_used_by_another_program_is_noticed(world: World, token: ProjectToken) -> None:
    with pytest.raises(Stopped):
        world.sender(hook=StopAt("signed")).execute(buy(token, "rival"))
    (waiting,) = world.journal.unfinished()
    other = {
        "type": 2, "chainId": CHAIN_ID, "nonce": waiting.nonce, "to": world.signer.address, "value": 0,
        "data": "0x", "gas": 21000, "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 2 * 10**9,
    }  # fmt: skip
    sent = world.rpc.send_raw(world.signer.sign_transaction(other))
    with pytest.raises(JournalError, match=f"transaction {sent}, which we did not make") as caught:
        world.sender().execute(buy(token, "rival"))
    assert caught.value.details == {"nonce": waiting.nonce, "tx_hash": sent}


def test_another_chain_id_is_refused_before_anything_is_signed(chain: EmbeddedChain, tmp_path: Path) -> None:
    wrong = World(Rpc(chain.url, expected_chain_id=16602), tmp_path)
    with pytest.raises(WrongChain, match="31337"):
        wrong.sender().execute(Intent(key="k", to=wrong.signer.address, data=b""))
    assert wrong.journal.unfinished() == []


def test_an_endpoint_that_is_down_is_a_try_later(tmp_path: Path) -> None:
    down = World(Rpc("http://127.0.0.1:9", expected_chain_id=CHAIN_ID), tmp_path)
    with pytest.raises(RpcUnavailable) as caught:
        down.sender().execute(Intent(key="k", to=down.signer.address, data=b""))
    assert caught.value.exit_code == 75


def test_a_transaction_that_reverts_when_it_is_mined_is_explained(world: World, token: ProjectToken) -> None:
    plain = Plain(to=token.address, value=1, data="0x" + token.encode("buy").hex(), gas=200_000)
    fees = Fees(Wei(10**11), Wei(2 * 10**9))
    nonce = world.rpc.nonce(world.signer.address, pending=False)
    fields = unsigned(plain, chain_id=CHAIN_ID, nonce=nonce, fees=fees)
    raw = world.signer.sign_transaction(fields)
    tx_hash = TxHash("0x" + keccak(raw).hex())
    world.journal.record(key="reverts", nonce=nonce, tx_hash=tx_hash, raw=raw, precondition=None)
    with pytest.raises(ContractRevert, match="does not cover a single token"):
        world.sender().execute(buy(token, "reverts"))
    assert [attempt.state for attempt in world.journal.attempts("reverts")] == [State.REVERTED]


def test_a_reset_chain_is_noticed(world: World, token: ProjectToken) -> None:
    attempt = world.journal.record(
        key="ghost",
        nonce=10_000,
        tx_hash=token.address,
        raw=b"",
        precondition=None,  # type: ignore[arg-type]
    )
    world.journal.settle(attempt, State.MINED)
    with pytest.raises(JournalError, match="counts only"):
        world.sender().execute(buy(token, "after-reset"))
