"""The devnet's funded accounts, derived from the mnemonic that every Ethereum test chain uses.

- The keys are public knowledge: never send anything of value to these addresses on a real network.
- Account 0 deploys and owns the VerifierRegistry, 1 creates the project, 2 mines, 3 validates.

>>> derive_accounts(2)[0].address
'0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266'
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from armlx_chain.errors import DevnetError
from armlx_chain.recursion import tame_recursion
from armlx_chain.types import Address, Wei

TEST_MNEMONIC = "test test test test test test test test test test test junk"
ACCOUNT_COUNT = 10
INITIAL_BALANCE = Wei(10_000 * 10**18)
"""Wei that each account holds in the genesis block."""

DEFAULT_CHAIN_ID = 31337
REAL_CHAIN_IDS = {
    1: "Ethereum",
    16600: "0G Newton",
    16601: "0G Galileo (an older id)",
    16602: "0G Galileo",
    16661: "0G mainnet",
}
"""Networks where a practice transaction would be worth something; a devnet never takes their ids."""

_ROLES = ("deployer", "creator", "miner", "validator")


@dataclass(frozen=True, slots=True)
class DevAccount:
    """A funded account.

    Attributes:
        address: Checksummed address.
        private_key_hex: ``0x`` and 64 hex digits.
        role_name: ``deployer``, ``creator``, ``miner``, ``validator`` or ``spare``.
    """

    address: Address
    private_key_hex: str = field(repr=False)
    role_name: str


def check_chain_id(chain_id: int) -> None:
    """Refuse a chain id that a devnet must not take.

    Raises:
        DevnetError: if it belongs to a real network or is not a positive 63-bit number.
    """
    if chain_id in REAL_CHAIN_IDS:
        raise DevnetError(
            f"Chain id {chain_id} belongs to {REAL_CHAIN_IDS[chain_id]}; a devnet does not take it.",
            meaning="A practice transaction signed for it would be valid on the real network.",
            next_step=f"Leave the chain id out ({DEFAULT_CHAIN_ID}) or choose another number.",
        )
    if not 0 < chain_id < 1 << 63:
        raise DevnetError(f"Chain id {chain_id} is not between 1 and 2^63 - 1.")


@lru_cache(maxsize=4)
def derive_accounts(count: int = ACCOUNT_COUNT, mnemonic: str = TEST_MNEMONIC) -> tuple[DevAccount, ...]:
    """The first accounts of a mnemonic on the path m/44'/60'/0'/0/i (BIP-32, BIP-39, BIP-44)."""
    from eth_account.hdaccount import HDPath, seed_from_mnemonic

    tame_recursion()
    from eth_keys import keys

    seed = seed_from_mnemonic(mnemonic, "")
    accounts = []
    for index in range(count):
        key = keys.PrivateKey(HDPath(f"m/44'/60'/0'/0/{index}").derive(seed))
        role = _ROLES[index] if index < len(_ROLES) else "spare"
        accounts.append(DevAccount(Address(key.public_key.to_checksum_address()), str(key.to_hex()), role))
    return tuple(accounts)
