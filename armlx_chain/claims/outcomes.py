"""What becomes of a stake in each outcome, and what a submission costs: exact integers, no socket.

Source: the contracts specification, sections 6.1 (where the stake goes) and 9 (gas).

>>> [(o.name, o.change) for o in outcomes(10)]
[('approved', 10), ('rejected', -10), ('expired by you', -5), ('expired by others', -10)]
"""

from __future__ import annotations

from dataclasses import dataclass

from armlx_chain.chain.fees import Fees, gas_limit
from armlx_chain.errors import InsufficientFunds
from armlx_chain.types import Address, Tokens, Wei

__all__ = [
    "CRANKER_BPS",
    "EXPIRE_GAS",
    "Costs",
    "Outcome",
    "claim_gas",
    "costs_of",
    "cranker_credit",
    "outcomes",
    "require_native",
]

CRANKER_BPS = 5_000
_BPS = 10_000
BUY_GAS = 79_200
ALLOW_GAS = 46_300
SUBMIT_GAS = 276_000
EXPIRE_GAS = 108_000
CLAIM_REWARD_GAS = 74_200
UPLOAD_GAS = 450_000
"""Gas of announcing one file: about twice what the local Flow contract takes, which keeps no tree."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One end of a proposal, counted in tokens from before the stake was taken.

    Attributes:
        returned: Of the stake, to the miner's account.
        minted: Reward, to the reward recipient.
        credited: To the miner by ``claim-reward``, if the miner is the one who expires it.
        change: All three, less the stake.
    """

    name: str
    returned: Tokens
    minted: Tokens
    credited: Tokens
    change: int

    def to_json(self) -> dict[str, object]:
        return {
            "outcome": self.name,
            "returned": int(self.returned),
            "minted": int(self.minted),
            "credited": int(self.credited),
            "change": self.change,
        }


@dataclass(frozen=True, slots=True)
class Costs:
    """The most native coin a submission may take, in wei, refunds left aside.

    Attributes:
        purchase: Sent for missing tokens.
        gas: Upper bound of buying, allowing and submitting, at the present fee.
        storage: Fees and gas of the uploads, an estimate from above.
    """

    purchase: Wei
    gas: Wei
    storage: Wei

    @property
    def total(self) -> Wei:
        return Wei(self.purchase + self.gas + self.storage)


def cranker_credit(stake: int) -> Tokens:
    """What whoever expires a proposal is credited: half, rounded down; nothing of a stake of 1."""
    return Tokens(stake * CRANKER_BPS // _BPS)


def outcomes(stake: int) -> tuple[Outcome, ...]:
    """The four ends of a proposal with this stake."""
    nothing, half = Tokens(0), cranker_credit(stake)
    return (
        Outcome("approved", Tokens(stake), Tokens(stake), nothing, stake),
        Outcome("rejected", nothing, nothing, nothing, -stake),
        Outcome("expired by you", nothing, nothing, half, half - stake),
        Outcome("expired by others", nothing, nothing, nothing, -stake),
    )


def costs_of(*, purchase: Wei, allowing: bool, fees: Fees, storage_fee: Wei, uploads: int) -> Costs:
    """Costs of a submission at the present fee.

    Args:
        purchase: What is sent for missing tokens; 0 without a purchase.
        allowing: Whether the ledger's allowance has to be set.
        storage_fee: What the storage market asks for all files together.
        uploads: How many files are announced.
    """
    gas = gas_limit(SUBMIT_GAS)
    gas += gas_limit(BUY_GAS) if purchase else 0
    gas += gas_limit(ALLOW_GAS) if allowing else 0
    upload_gas = gas_limit(UPLOAD_GAS) * uploads
    return Costs(purchase, Wei(gas * fees.max_fee), Wei(upload_gas * fees.max_fee + storage_fee))


def claim_gas() -> int:
    """Gas of expiring a proposal and collecting the credit."""
    return EXPIRE_GAS + CLAIM_REWARD_GAS


def require_native(costs: Costs, *, account: Address, balance: Wei) -> None:
    """The account must hold all of it before anything is sent: a stake without uploads is a stake lost.

    Raises:
        InsufficientFunds: with both figures.
    """
    if balance < costs.total:
        raise InsufficientFunds(
            f"This submission may take {costs.total} wei ({costs.purchase} for tokens, {costs.gas} for gas,"
            f" {costs.storage} for uploads), but {account} holds {balance} wei.",
            meaning="Nothing was sent.",
            next_step="Fund the account and run this again.",
            details={"need": int(costs.total), "have": int(balance)},
        )
