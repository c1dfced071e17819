"""The campaigns' short forms; ``scripts/campaigns`` runs them in full."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_utils import keccak, to_checksum_address

from armlx_chain.chain.journal import Journal
from armlx_chain.chain.rpc import NodeRefused, Rpc
from armlx_chain.chain.sender import Intent, TxSender
from armlx_chain.devnet.accounts import derive_accounts
from armlx_chain.devnet.rpc.embedded import EmbeddedChain
from armlx_chain.errors import ChainError, JournalError
from armlx_chain.signing.signer import Signer
from armlx_chain.types import Address, Wei
from tests.faults import anvilworld, campaign, killcampaign
from tests.faults.faultproxy import Fault, FaultProxy
from tests.faults.processes import Launcher
from tests.faults.schedules import Tally, play_many
from tests.faults.simworld import SimWorld
from tests.faults.tinyworld import TinyWorld

ANVIL_SCHEDULES = 12
SIMULATED_SCHEDULES = 150


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What was broken on purpose need not be logged."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.unit
def test_on_a_simulated_chain_nothing_is_doubled_lost_or_left_out(tmp_path: Path) -> None:
    tally = Tally()
    play_many(range(SIMULATED_SCHEDULES), SimWorld, tmp_path, tally)
    assert tally.other == []
    assert tally.is_clean
    assert tally.schedules == SIMULATED_SCHEDULES
    assert tally.kills > 20
    for kind in ("reorganisation", "a stranger with the key", "dropped broadcast", "stale head"):
        assert tally.faults[kind] > 0, kind


@pytest.mark.unit
def test_the_campaign_finds_a_sender_that_forgets_its_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal, "unfinished", lambda self: [])
    monkeypatch.setattr(TxSender, "done", lambda self, key: None)
    monkeypatch.setattr(TxSender, "_revive", lambda self, key: None)
    tally = Tally()
    play_many(range(40), SimWorld, tmp_path, tally)
    assert tally.duplicated > 0
    assert not tally.is_clean


@pytest.mark.peer
def test_on_anvil_behind_the_proxy_nothing_is_doubled_lost_or_left_out(tmp_path: Path) -> None:
    binary = campaign.find_anvil()
    if binary is None:
        if os.environ.get("ARMLX_REQUIRE_PEERS") == "1":
            pytest.fail("anvil is required (ARMLX_REQUIRE_PEERS=1) but was not found")
        pytest.skip("anvil was not found: run scripts/install-peers")
    tally = Tally()
    anvilworld.play(range(ANVIL_SCHEDULES), tmp_path, tally, binary)
    assert tally.other == []
    assert tally.is_clean
    assert sum(tally.faults.values()) > 50


@pytest.mark.integration
@pytest.mark.parametrize("number", range(1, len(anvilworld.MIXES)))
def test_through_the_proxy_the_embedded_chain_sees_every_deed_once(
    tmp_path: Path, embedded: EmbeddedChain, number: int
) -> None:
    signer = Signer.from_hex(derive_accounts()[number].private_key_hex)
    recipient = Address(to_checksum_address(keccak(f"recipient {number}".encode())[:20]))
    with FaultProxy(embedded.url) as proxy:
        proxy.misbehave(seed=number, rates={**anvilworld.MIXES[number], Fault.TIMEOUT: 0.0})
        now = [0.0]
        for turn in range(12):
            if turn == 6:
                proxy.behave()
            rpc = Rpc(proxy.url, expected_chain_id=embedded_id(), clock=lambda: now[0])
            journal = Journal(tmp_path / "j.sqlite", chain="31337:x", account=signer.address)
            sender = TxSender(
                rpc=rpc,
                signer=signer,
                journal=journal,
                clock=lambda: now[0],
                sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
            )
            try:
                sender.execute(Intent(key="one wei", to=recipient, data=b"", value=Wei(1)))
            except ChainError:
                now[0] += 10.0
            else:
                break
            finally:
                journal.close()
        else:
            pytest.fail("it never succeeded")
    assert Rpc(embedded.url, expected_chain_id=embedded_id()).balance(recipient) == 1


def embedded_id() -> int:
    return 31337


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedChain]:
    balances = {bytes.fromhex(account.address[2:]): Wei(10**21) for account in derive_accounts()}
    running = EmbeddedChain(tmp_path_factory.mktemp("embedded"), chain_id=embedded_id(), balances=balances)
    yield running
    running.stop()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (Fault.RESET, ChainError),
        (Fault.CUT, ChainError),
        (Fault.TOO_MANY, ChainError),
        (Fault.SERVER_ERROR, ChainError),
        (Fault.WRONG_CHAIN, ChainError),
    ],
)
def test_every_fault_of_the_proxy_ends_in_an_error_of_ours(
    embedded: EmbeddedChain, fault: Fault, raised: type[Exception]
) -> None:
    with FaultProxy(embedded.url) as proxy:
        proxy.misbehave(seed=1, rates={fault: 1.0})
        rpc = Rpc(proxy.url, expected_chain_id=embedded_id())
        with pytest.raises(raised) as caught:
            rpc.check_chain()
        assert not isinstance(caught.value, NodeRefused | JournalError)
        assert proxy.counts[fault.value] >= 1


@pytest.mark.e2e
def test_kills_at_journal_boundaries_and_random_points_leave_one_submission(
    world: TinyWorld, launcher: Launcher
) -> None:
    hunt = killcampaign.KillCampaign(world, launcher, seed=3)
    hunt.at_boundaries(killcampaign.BOUNDARIES[2:3])
    hunt.at_random(4)
    assert hunt.kills.found == []
    assert hunt.kills.boundaries == 8
    assert hunt.kills.points == 4
