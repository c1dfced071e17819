"""A miner's side of the end: expiring, collecting credits, and giving up a submission that was begun.

- Time is the block's, never this machine's: a proposal may be expired in a block whose timestamp is at least
  ``submitted_at`` plus the ledger's window (contracts specification, section 7).
- Nothing here is sent that does not pay, unless the caller says so.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from armlx_chain.chain.contracts import ProjectToken, Proposal, ProposalLedger
from armlx_chain.chain.sender import Intent, Receipt, TxSender
from armlx_chain.claims.outcomes import cranker_credit
from armlx_chain.errors import ClaimRefused, TooEarly
from armlx_chain.market.trade import MarketState
from armlx_chain.types import Address, ProjectId, Tokens, Wei

__all__ = [
    "Yield",
    "claim_reward",
    "expected_credit",
    "expire",
    "expire_key",
    "require_expirable",
    "reset_allowance",
    "utc_time",
    "yield_of",
]


def utc_time(seconds: int) -> str:
    """A block's timestamp for a person; the bare seconds where no calendar reaches."""
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"second {seconds}"


@dataclass(frozen=True, slots=True)
class Yield:
    """What collecting brings and costs.

    Attributes:
        credit: Tokens.
        value: What selling them brings now, wei; no more than the reserve holds.
        gas: What the transactions cost at most, wei.
    """

    credit: Tokens
    value: Wei
    gas: Wei

    @property
    def pays(self) -> bool:
        return self.credit > 0 and self.value > self.gas


def yield_of(credit: int, market: MarketState, *, burned: int, gas: Wei) -> Yield:
    """What a credit is worth.

    Args:
        burned: Tokens that leave the supply together with it.
        gas: What the transactions cost at most, wei.
    """
    supply = market.supply - burned
    value = market.curve.proceeds(min(credit, supply), supply) if credit else Wei(0)
    return Yield(Tokens(credit), Wei(min(value, market.reserve)), gas)


def require_expirable(proposal: Proposal, *, window: int, now: int) -> None:
    """The proposal must be open, and its window over at the latest block.

    Raises:
        ClaimRefused: it is settled.
        TooEarly: with the second from which it may be expired.
    """
    if not proposal.is_open:
        raise ClaimRefused(
            f"Proposal {proposal.id} is {proposal.status.name.lower()}; only an open one can expire.",
            meaning="Nothing was sent.",
            details={"proposal": int(proposal.id), "status": proposal.status.name.lower()},
        )
    due = proposal.submitted_at + window
    if now < due:
        raise TooEarly(
            f"Proposal {proposal.id} can be expired from second {due} ({utc_time(due)}) on; the latest block"
            f" is of second {now}, {due - now} s before that.",
            meaning="The contract would refuse it. Nothing was sent.",
            next_step="Run this again then, or add --wait.",
            details={"proposal": int(proposal.id), "due": due, "now": now},
        )


def expire_key(ledger: Address, proposal: Proposal) -> str:
    """The journal's name for expiring a proposal: it happens once."""
    return f"expire/{ledger}/{proposal.id}"


def expire(sender: TxSender, ledger: ProposalLedger, proposal: Proposal) -> tuple[Receipt, Tokens, Tokens]:
    """Expire a proposal; returns the receipt, and tokens credited and burned as the event says."""
    receipt = sender.execute(
        Intent(
            key=expire_key(ledger.address, proposal),
            to=ledger.address,
            data=ledger.encode("expire", int(proposal.id)),
            what=f"expiring proposal {proposal.id}",
        )
    )
    slashed = ledger.event(receipt, "StakeSlashed")
    return receipt, Tokens(slashed["toVerifierPool"]), Tokens(slashed["burned"])


def expected_credit(proposal: Proposal) -> tuple[Tokens, Tokens]:
    """Tokens credited to whoever expires it, and burned."""
    credit = cranker_credit(proposal.stake)
    return credit, Tokens(proposal.stake - credit)


def claim_reward(
    sender: TxSender, ledger: ProposalLedger, project_id: ProjectId, *, key: str | None = None
) -> tuple[Receipt, Tokens]:
    """Collect the account's whole credit in a project; returns the tokens as the event says.

    Args:
        key: The journal's name, where it belongs to one proposal and happens once. Without it each call is a
            deed of its own: a credit may come again. An interrupted one is finished first, by
            ``TxSender.resume``, so the caller reads the credit after that.
    """
    receipt = sender.execute(
        Intent(
            key=key or f"claim-reward/{ledger.address}/{project_id}/{secrets.token_hex(8)}",
            to=ledger.address,
            data=ledger.encode("claimReward", int(project_id)),
            what=f"collecting the credit in project {project_id}",
        )
    )
    return receipt, Tokens(ledger.event(receipt, "RewardClaimed")["amount"])


def reset_allowance(sender: TxSender, token: ProjectToken, ledger: Address, *, identifier: str) -> bool:
    """Take back what a submission that is given up allowed the ledger; whether there was anything."""
    if token.allowance(sender.address, ledger) == 0:
        return False
    sender.execute(
        Intent(
            key=f"submit/{identifier}/reset/{secrets.token_hex(4)}",
            to=token.address,
            data=token.encode("approve", ledger, 0),
            what="taking back the ledger's allowance",
        )
    )
    return True
