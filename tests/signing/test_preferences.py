"""Cold reward addresses and the ceiling of a hot key."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from eth_utils import to_checksum_address

from armlx_chain.errors import MachineError, UsageError
from armlx_chain.signing.preferences import (
    DEFAULT_HOT_CEILING,
    checked_address,
    forget_reward,
    hot_balance_warning,
    reward_address,
    reward_addresses,
    set_reward,
)
from armlx_chain.types import Address, Wei

pytestmark = pytest.mark.unit

HOT = Address("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC")
COLD = Address("0x90F79bf6EB2c4f870365E785982E1f101E93b906")


def test_a_reward_address_is_remembered_by_account(tmp_path: Path) -> None:
    assert reward_address(tmp_path, HOT) is None
    set_reward(tmp_path, HOT, COLD)
    assert reward_address(tmp_path, HOT) == COLD
    assert reward_address(tmp_path, Address(HOT.lower())) == COLD
    assert reward_address(tmp_path, COLD) is None
    assert stat.S_IMODE((tmp_path / "wallet.json").stat().st_mode) == 0o600
    assert forget_reward(tmp_path, HOT)
    assert not forget_reward(tmp_path, HOT)
    assert reward_addresses(tmp_path) == {}


def test_a_hot_key_is_not_its_own_cold_address(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its own cold address"):
        set_reward(tmp_path, HOT, HOT)
    assert reward_addresses(tmp_path) == {}


@pytest.mark.parametrize(
    "text", [COLD.lower(), COLD.upper(), COLD[:-1], "0x" + "0" * 40, "", "me", COLD.replace("F79", "f79")]
)
def test_an_address_without_a_correct_checksum_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        checked_address(text)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{", b"\xff", b'{"accounts":{},"version":2}', b'{"accounts":[],"version":1}',
        b'{"accounts":{"me":{"reward":"x"}},"version":1}', b"[" * 50_000,
        b'{"accounts":{"0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC":{"reward":7}},"version":1}',
        b'{"accounts":{"0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC":{"reward":"0x00"}},"version":1}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_an_error_and_never_no_address(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "wallet.json").write_bytes(content)
    with pytest.raises(MachineError):
        reward_address(tmp_path, HOT)
    with pytest.raises(MachineError):
        set_reward(tmp_path, HOT, COLD)
    assert (tmp_path / "wallet.json").read_bytes() == content


def test_changes_at_the_same_moment_are_all_kept(tmp_path: Path) -> None:
    accounts = [Address(to_checksum_address(f"0x{number:040x}")) for number in range(1, 25)]
    threads = [threading.Thread(target=set_reward, args=(tmp_path, account, COLD)) for account in accounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reward_addresses(tmp_path) == dict.fromkeys(accounts, COLD)


def test_a_hot_balance_is_worth_a_warning_only_above_the_ceiling() -> None:
    assert hot_balance_warning(HOT, DEFAULT_HOT_CEILING, ceiling=DEFAULT_HOT_CEILING) is None
    warning = hot_balance_warning(HOT, Wei(DEFAULT_HOT_CEILING + 1), ceiling=DEFAULT_HOT_CEILING)
    assert warning is not None
    assert HOT in warning
    assert str(DEFAULT_HOT_CEILING + 1) in warning
    assert hot_balance_warning(HOT, Wei(1), ceiling=Wei(0)) is not None
    assert hot_balance_warning(HOT, Wei(10**30), ceiling=None) is None
