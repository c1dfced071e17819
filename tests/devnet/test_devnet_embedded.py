"""The embedded engine alone: geth's rules where anvil has its own, the journal, gas against anvil."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from devnet_tools import GWEI, TRANSFER, Play, Wire, calldata, require_anvil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from armlx_chain.devnet.accounts import INITIAL_BALANCE, check_chain_id, derive_accounts
from armlx_chain.devnet.node.clock import ChainClock
from armlx_chain.devnet.node.engine import Engine
from armlx_chain.devnet.node.journal import Journal
from armlx_chain.devnet.node.transactions import decode_transaction
from armlx_chain.devnet.rpc.jsonrpc import answer
from armlx_chain.devnet.rpc.methods import METHODS
from armlx_chain.devnet.world import Devnet
from armlx_chain.errors import DevnetError, DevnetRpcError

FRESH = "0x00000000000000000000000000000000000A11CE"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    with Devnet.start(tmp_path_factory.mktemp("embedded"), with_storage=False) as devnet:
        yield Play(devnet, Wire(devnet.rpc_url))


# -- geth's rules ------------------------------------------------------------------------------------------


@pytest.mark.integration
def test_refusals_have_geths_code_and_words(embedded: Play) -> None:
    sender = embedded.sender(4)
    nonce = sender.nonce()
    later = sender.sign(nonce=nonce + 1, to=FRESH)
    embedded.wire("eth_sendRawTransaction", later)
    cases = {
        "already known": later,
        "replacement transaction underpriced": sender.sign(nonce=nonce + 1, to=FRESH, value=1),
        f"nonce too low: next nonce {nonce}, tx nonce {nonce - 1}": sender.sign(nonce=nonce - 1, to=FRESH)
        if nonce
        else None,
        "insufficient funds for gas * price + value: balance": sender.sign(to=FRESH, value=10**23),
        "invalid chain id for signer: have 16602 want 31337": sender.sign(to=FRESH, chainId=16602),
        "exceeds block gas limit": sender.sign(to=FRESH, gas=30_000_001),
        "max initcode size exceeded": sender.sign(data=b"\0" * 49_153, gas=5_000_000),
        "oversized data": sender.sign(to=FRESH, data=b"\0" * 131_072, gas=5_000_000),
    }
    for words, raw in cases.items():
        if raw is None:
            continue
        with pytest.raises(DevnetRpcError) as refusal:
            embedded.wire("eth_sendRawTransaction", raw)
        assert refusal.value.message.startswith(words)
        assert refusal.value.rpc_code == -32000
    sender.execute(nonce=nonce, to=FRESH)
    assert sender.nonce() == nonce + 2


@pytest.mark.integration
def test_a_fee_below_the_base_fee_waits_until_it_is_replaced_by_a_tenth_more(embedded: Play) -> None:
    sender = embedded.sender(5)
    nonce = sender.nonce()
    low = sender.send(nonce=nonce, to=FRESH, maxFeePerGas=1000, maxPriorityFeePerGas=1000)
    assert embedded.wire("eth_getTransactionReceipt", low) is None
    assert (sender.nonce(), sender.nonce("pending")) == (nonce, nonce + 1)
    with pytest.raises(DevnetRpcError, match="replacement transaction underpriced"):
        sender.send(nonce=nonce, to=FRESH, maxFeePerGas=1099, maxPriorityFeePerGas=1099)
    sender.send(nonce=nonce, to=FRESH, maxFeePerGas=1100, maxPriorityFeePerGas=1100)
    assert embedded.wire("eth_getTransactionByHash", low) is None
    assert sender.execute(nonce=nonce, to=FRESH)["status"] == "0x1"


@pytest.mark.integration
def test_a_log_filter_longer_than_the_topics_admits_nothing(embedded: Play) -> None:
    _, token = embedded.create_project()
    embedded.fund_miner(token)
    everything = {"fromBlock": "0x0", "toBlock": "latest", "address": token}
    assert embedded.wire("eth_getLogs", {**everything, "topics": [TRANSFER]})
    assert embedded.wire("eth_getLogs", {**everything, "topics": [TRANSFER, None, None, None]}) == []


@pytest.mark.integration
def test_a_log_filter_that_ends_beyond_the_head_ends_there(embedded: Play) -> None:
    project, token = embedded.create_project()
    embedded.fund_miner(token)
    receipt = embedded.sender(2).execute(**embedded.submission(project))
    head = int(receipt["blockNumber"], 16)
    beyond = {"fromBlock": hex(head), "toBlock": hex(head + 50)}
    assert len(embedded.wire("eth_getLogs", beyond)) == len(receipt["logs"]) == 2
    assert embedded.wire("eth_getLogs", {"fromBlock": hex(head + 1), "toBlock": hex(head + 50)}) == []
    assert embedded.wire("eth_getLogs", {"fromBlock": hex(head), "toBlock": hex(head - 1)}) == []


@pytest.mark.integration
def test_a_call_or_estimate_beyond_the_senders_means_is_refused(embedded: Play) -> None:
    for method in ("eth_call", "eth_estimateGas"):
        with pytest.raises(DevnetRpcError, match="insufficient funds"):
            embedded.wire(method, {"from": FRESH, "to": FRESH, "value": "0x1"}, "latest")


@pytest.mark.peer
def test_both_engines_use_the_same_gas_for_the_same_transactions(
    embedded: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_anvil(monkeypatch)

    def run(play: Play) -> list[tuple[str, str, int]]:
        project, token = play.create_project()
        play.fund_miner(token)
        proposal = play.submit(project)
        ledger = play.devnet.addresses.proposal_ledger
        play.sender(3).execute(to=ledger, data=calldata("claimReview(uint256)", proposal))
        approve = calldata("approve(uint256,int256,bytes32)", proposal, -1_000_000, b"\7" * 32)
        play.sender(3).execute(to=ledger, data=approve)
        play.wire.receipt(play.sender(3).send(to=ledger, data=approve))
        play.sender(2).execute(type=1, to=token, data=calldata("sell(uint256)", 2))
        blocks = [play.wire.block(number) for number in range(1, play.wire.number("eth_blockNumber") + 1)]
        receipts = [play.wire.receipt(one) for block in blocks for one in block["transactions"]]
        return [(one["status"], str(one["contractAddress"]), int(one["gasUsed"], 16)) for one in receipts]

    with (
        Devnet.start(tmp_path / "a", engine="embedded", with_storage=False) as ours,
        Devnet.start(tmp_path / "b", engine="anvil", with_storage=False) as theirs,
    ):
        first, second = (run(Play(devnet, Wire(devnet.rpc_url))) for devnet in (ours, theirs))
        assert ours.addresses == theirs.addresses
    assert first == second
    assert len(first) == 14
    assert {status for status, _, _ in first} == {"0x0", "0x1"}


# -- the journal -------------------------------------------------------------------------------------------


def _balances() -> dict[bytes, int]:
    return {bytes.fromhex(account.address[2:]): INITIAL_BALANCE for account in derive_accounts()}


def _open(path: Path, wall: Callable[[], float] = lambda: 1_800_000_000.0, chain_id: int = 31337) -> Engine:
    return Engine.open(Journal(path), chain_id=chain_id, balances=_balances(), wall=wall)


def _hashes(chain: Engine) -> list[bytes]:
    return [block.hash for block in chain.blocks(0, chain.height)]


@pytest.fixture
def played(tmp_path: Path) -> tuple[Path, list[bytes]]:
    """A journal with blocks, a moved clock and a rewind, and the hashes it stands for."""
    path = tmp_path / "chain.jsonl"
    chain = _open(path)
    for _ in range(3):
        chain.mine()
    mark = chain.snapshot()
    chain.mine()
    assert chain.revert(mark)
    chain.increase_time(500)
    chain.mine()
    chain.increase_time(1000)
    hashes = _hashes(chain)
    chain.close()
    return path, hashes


@pytest.mark.unit
def test_a_replay_gives_the_same_hashes_and_the_same_clock(played: tuple[Path, list[bytes]]) -> None:
    path, hashes = played
    chain = _open(path)
    assert _hashes(chain) == hashes
    before = chain.head.timestamp
    assert chain.mine().timestamp == before + 1000
    chain.close()


@pytest.mark.unit
@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_last_line_cut_by_a_crash_is_dropped(played: tuple[Path, list[bytes]], cut: int) -> None:
    path, hashes = played
    chain = _open(path)
    chain.mine()
    chain.close()
    path.write_bytes(path.read_bytes()[:-cut])
    chain = _open(path)
    assert _hashes(chain) == hashes
    chain.mine()
    longer = _hashes(chain)
    chain.close()
    again = _open(path)
    assert _hashes(again) == longer
    again.close()


@pytest.mark.unit
@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[1:],
        lambda lines: [*lines[:2], b"{}", *lines[2:]],
        lambda lines: [*lines[:2], b"not json", *lines[2:]],
        lambda lines: [*lines, json.dumps({"rewind": 10**6}).encode()],
        lambda lines: [*lines, json.dumps({"block": {"t": 5}}).encode()],
        lambda lines: [line.replace(b'"t":18', b'"t":19') for line in lines],
        lambda lines: [lines[0].replace(b'"rules":"', b'"rules":"x'), *lines[1:]],
    ],
)
def test_a_journal_that_was_tampered_with_is_refused(
    played: tuple[Path, list[bytes]], damage: Callable[[list[bytes]], list[bytes]]
) -> None:
    path, _ = played
    path.write_bytes(b"\n".join(damage(path.read_bytes().splitlines())) + b"\n")
    with pytest.raises(DevnetError, match="cannot be replayed"):
        _open(path)


@pytest.mark.unit
def test_a_journal_of_another_chain_is_refused(played: tuple[Path, list[bytes]]) -> None:
    with pytest.raises(DevnetError, match="has id 31337, not 31338"):
        _open(played[0], chain_id=31338)


@pytest.mark.unit
def test_two_chain_ids_never_share_a_genesis_hash(tmp_path: Path) -> None:
    first, second = _open(tmp_path / "a"), _open(tmp_path / "b", chain_id=31338)
    assert first.block(0).hash != second.block(0).hash
    first.close()
    second.close()


@pytest.mark.unit
def test_time_never_runs_back_when_the_wall_clock_does(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    chain = _open(tmp_path / "chain.jsonl", wall=lambda: now[0])
    first = chain.mine().timestamp
    now[0] -= 3600
    assert chain.mine().timestamp == first + 1
    chain.close()


@pytest.mark.unit
@given(steps=st.lists(st.tuples(st.sampled_from("mte"), st.integers(0, 10**7)), max_size=30))
def test_the_clock_is_strictly_monotonic_under_any_commands(steps: list[tuple[str, int]]) -> None:
    clock, head = ChainClock(lambda: 1_800_000_000.5), 1_800_000_000
    for command, amount in steps:
        if command == "t":
            due = max(head, clock.next_timestamp(head - 1)) + amount
            clock.increase(amount, head)
            assert clock.next_timestamp(head) in (due, head + 1)
        elif command == "e" and amount:
            clock.set_exact(head + amount, head)
            assert clock.next_timestamp(head) == head + amount
        when = clock.next_timestamp(head)
        clock.sealed(when)
        assert when > head
        head = when


# -- hostile input -----------------------------------------------------------------------------------------


@pytest.mark.unit
@pytest.mark.parametrize("chain_id", [1, 16600, 16601, 16602, 16661, 0, -1, 2**63])
def test_ids_of_real_networks_and_impossible_ones_are_refused(chain_id: int, tmp_path: Path) -> None:
    with pytest.raises(DevnetError):
        check_chain_id(chain_id)
    with pytest.raises(DevnetError):
        Devnet.start(tmp_path / "world", chain_id=chain_id)
    assert not (tmp_path / "world").exists()


@pytest.fixture(scope="module")
def quiet_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    chain = _open(tmp_path_factory.mktemp("fuzz") / "chain.jsonl")
    yield chain
    chain.close()


class _Direct:
    """The methods on a chain without a server, those that mine for ever left out."""

    def __init__(self, chain: Engine) -> None:
        self.chain = chain

    def handle(self, method: str, params: list[object]) -> object:
        return METHODS[method](self.chain, params)


_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=10),
    st.sampled_from(
        ["latest", "pending", "0x", "0x0", "0x1", "0x" + "11" * 20, "0x" + "22" * 32, "0x5f5ffd"]
    ),
)
_KEYS = st.sampled_from(["to", "from", "data", "value", "gas", "topics", "address", "fromBlock", "blockHash"])
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.unit
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(sorted(set(METHODS) - {"anvil_mine"})), params=st.lists(_VALUES, max_size=4))
def test_no_parameters_make_a_method_fail_otherwise_than_with_a_named_error(
    quiet_chain: Engine, method: str, params: list[object]
) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    reply = json.loads(answer(_Direct(quiet_chain), json.dumps(request).encode()) or b"")
    assert reply.get("error", {}).get("code") in (None, 3, -32000, -32602)


@pytest.mark.unit
@settings(max_examples=200, deadline=None)
@given(
    position=st.integers(0, 120),
    value=st.integers(0, 255),
    drop=st.booleans(),
    kind=st.sampled_from([0, 1, 2]),
)
def test_a_mutated_transaction_is_refused_by_name_or_is_someone_elses(
    position: int, value: int, drop: bool, kind: int
) -> None:
    signer = derive_accounts()[4]
    good = bytes.fromhex(_SIGNED[kind][2:])
    place = position % len(good)
    bad = good[:place] + (b"" if drop else bytes([value])) + good[place + 1 :]
    if bad == good:
        return
    try:
        decoded = decode_transaction(bad, 31337)
    except DevnetRpcError as refusal:
        assert refusal.rpc_code in (-32000, -32602)
    else:
        assert decoded.sender.hex() != signer.address[2:].lower()


def _signed_samples() -> dict[int, str]:
    from eth_account import Account

    signer = derive_accounts()[4]
    common = {
        "chainId": 31337,
        "nonce": 0,
        "gas": 50_000,
        "to": signer.address,
        "value": 1,
        "data": b"\1\2\3",
    }
    kinds: dict[int, dict[str, object]] = {
        0: {"gasPrice": GWEI},
        1: {"type": 1, "gasPrice": GWEI, "accessList": []},
        2: {"type": 2, "maxFeePerGas": 2 * GWEI, "maxPriorityFeePerGas": GWEI},
    }
    return {
        kind: "0x"
        + bytes(Account.sign_transaction({**common, **extra}, signer.private_key_hex).raw_transaction).hex()
        for kind, extra in kinds.items()
    }


_SIGNED = _signed_samples()
