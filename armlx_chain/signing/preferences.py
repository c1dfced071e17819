"""What a person settled about their accounts: where rewards go, and how much a hot key may hold.

A *hot* key lies on a machine that talks to strangers; it should hold gas and stakes, nothing else. Rewards go
to a *cold* address whose key is elsewhere. The file ``wallet.json`` in the home names it, by account::

    {"accounts": {"0x3C44…93BC": {"reward": "0x90F7…b906"}}, "version": 1}

It holds no secret. It is replaced as a whole, under a lock, with mode 0600.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eth_utils import is_checksum_address, to_checksum_address

from armlx_chain.errors import MachineError, UsageError
from armlx_chain.privatefile import replace_private
from armlx_chain.protocol.strict_json import read_json, shorten
from armlx_chain.types import Address, Wei

__all__ = [
    "DEFAULT_HOT_CEILING",
    "checked_address",
    "forget_reward",
    "hot_balance_warning",
    "reward_address",
    "reward_addresses",
    "set_reward",
]

DEFAULT_HOT_CEILING = Wei(10**18)
"""1 0G: several hundred submissions with their gas; more has no business on a hot key."""

_FILE = "wallet.json"
_VERSION = 1
_MAX_BYTES = 1 << 20


def checked_address(text: str) -> Address:
    """An address with its checksum, as a person must give one that money goes to.

    Raises:
        UsageError: it is no address, its checksum is missing or wrong, or it is the zero address.
    """
    if not is_checksum_address(text):
        raise UsageError(
            f"{shorten(text)} is not an address with a correct checksum (EIP-55).",
            meaning="Without it a mistyped digit would send the money to nobody.",
            next_step="Copy the address in mixed case from the wallet that holds it.",
        )
    if int(text, 16) == 0:
        raise UsageError("The zero address is nobody's: what goes there is lost.")
    return Address(text)


def reward_addresses(home: Path) -> dict[Address, Address]:
    """The reward address of every account that has one.

    Raises:
        MachineError: the file is damaged or cannot be read.
    """
    path = home / _FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as failed:
        raise MachineError(f"{path} cannot be read: {failed.strerror}.") from None
    tree = read_json(data, error=MachineError, what=str(path), max_bytes=_MAX_BYTES)
    accounts = tree.get("accounts") if isinstance(tree, dict) and tree.get("version") == _VERSION else None
    if not isinstance(accounts, dict):
        raise _damaged(path)
    found = {}
    for account, entry in accounts.items():
        reward = entry.get("reward") if isinstance(entry, dict) else None
        if not is_checksum_address(account) or not isinstance(reward, str) or not is_checksum_address(reward):
            raise _damaged(path)
        found[Address(account)] = Address(reward)
    return found


def reward_address(home: Path, account: Address) -> Address | None:
    """The cold address that rewards of an account go to by default, or ``None`` where none was set.

    Raises:
        MachineError: the file is damaged or cannot be read.
    """
    return reward_addresses(home).get(Address(to_checksum_address(account)))


def set_reward(home: Path, account: Address, reward: Address) -> None:
    """Remember where an account's rewards go.

    Raises:
        UsageError: it is the account itself, which is hot.
        MachineError: the file cannot be written.
    """
    if reward.lower() == account.lower():
        raise UsageError(
            "An account cannot be its own cold address.",
            next_step="Give an address whose key is not on this machine.",
        )
    with _changing(home) as rewards:
        rewards[Address(to_checksum_address(account))] = reward


def forget_reward(home: Path, account: Address) -> bool:
    """Forget an account's reward address; whether there was one."""
    with _changing(home) as rewards:
        return rewards.pop(Address(to_checksum_address(account)), None) is not None


def hot_balance_warning(account: Address, balance: Wei, *, ceiling: Wei | None) -> str | None:
    """A sentence for a hot key that holds more than it should, or ``None``.

    Args:
        balance: In wei.
        ceiling: In wei; ``None`` where balances are worth nothing (a local world).
    """
    if ceiling is None or balance <= ceiling:
        return None
    return (
        f"{account} is a hot key and holds {balance} wei, more than the ceiling of {ceiling} wei:"
        " send what gas and stakes do not need to a cold address"
    )


@contextmanager
def _changing(home: Path) -> Iterator[dict[Address, Address]]:
    """The addresses, written back at the end if they changed; one process at a time."""
    path = home / _FILE
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_name(f".{_FILE}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            rewards = reward_addresses(home)
            before = dict(rewards)
            yield rewards
            if rewards != before:
                _write(path, rewards)
    except OSError as failed:
        raise MachineError(f"{path} cannot be written: {failed.strerror}.") from None


def _write(path: Path, rewards: dict[Address, Address]) -> None:
    tree = {"accounts": {account: {"reward": rewards[account]} for account in rewards}, "version": _VERSION}
    replace_private(path, json.dumps(tree, indent=2, sort_keys=True).encode() + b"\n")


def _damaged(path: Path) -> MachineError:
    return MachineError(
        f"{path} is damaged.", next_step="Remove it, and set the reward addresses again: wallet set-reward."
    )
