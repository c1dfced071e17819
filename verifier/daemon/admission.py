"""What this validator does not run, by its own published policy.

- The policy is the one miners read (``armlx_chain.formats.policy``): signed by this account, about this chain
  and ledger. Nothing that was not published is held against anybody: without a policy everything is run.
- ``policies/own.json`` in the home is this validator's own by its name, and one there that does not count
  is an error and not ignored: an operator who wrote a policy must not run without one. Any other document of
  that folder that this account signed counts as well; the one that was issued last is taken.
- A refusal is no verdict: nothing is recorded of the candidate, and the next pass looks again. That it was
  passed over is noted, because a validator must not profit from the expiry of what it would not run.

::

    admission = Admission(own_policy(home / "policies", domain, account), passed_over)
    sentence = admission.refusal(
        proposal, project, supply=supply, open_before=2, used_seconds=usage.used(project.id, today)
    )
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from armlx_chain.chain.contracts import Project, Proposal
from armlx_chain.claims.policies import Bid, objections, read_policy
from armlx_chain.errors import FormatError, SigningError, UsageError
from armlx_chain.formats.policy import PARTS_PER_MILLION, Policy
from armlx_chain.formats.typed import Domain
from armlx_chain.types import Address, Tokens

__all__ = [
    "OWN_POLICY",
    "PASSED_OVER_TABLES",
    "Admission",
    "PassedOver",
    "open_before",
    "own_policy",
    "unlimited",
]

OWN_POLICY: Final = "own.json"
"""Name of the validator's own policy in the folder of policies."""

PASSED_OVER_TABLES = (
    """
CREATE TABLE IF NOT EXISTS passed_over (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    proposal INTEGER NOT NULL,
    sentence TEXT NOT NULL,
    PRIMARY KEY (chain, ledger, account, proposal)
)""",
)


class PassedOver:
    """Proposals that this validator did not run by its own choice, in the database of its findings."""

    def __init__(self, database: sqlite3.Connection, where: tuple[str, str, str]) -> None:
        self._db = database
        self._where = where

    def note(self, proposal_id: int, sentence: str) -> None:
        """It was passed over, for the reason that the sentence gives."""
        self._db.execute(
            "INSERT OR REPLACE INTO passed_over VALUES (?, ?, ?, ?, ?)",
            (*self._where, int(proposal_id), sentence),
        )

    def find(self, proposal_id: int) -> str | None:
        """Why it was passed over, if it ever was."""
        row = self._db.execute(
            "SELECT sentence FROM passed_over"
            " WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?",
            (*self._where, int(proposal_id)),
        ).fetchone()
        return None if row is None else str(row[0])


class Admission:
    """Holds proposals against a policy.

    Args:
        passed_over: Where refusals are noted.
    """

    def __init__(self, policy: Policy, passed_over: PassedOver | None = None) -> None:
        self.policy = policy
        self._passed_over = passed_over

    def refusal(
        self, proposal: Proposal, project: Project, *, supply: int, open_before: int, used_seconds: int
    ) -> str | None:
        """Why the proposal is not run now, as a sentence; ``None`` if it is.

        Args:
            supply: The project token's supply now, the stake within it.
            open_before: Open proposals of the same miner in the same project with a smaller id.
            used_seconds: Machine time that the project had today.
        """
        bid = Bid(stake=int(proposal.stake), supply=supply, open_already=open_before)
        against = objections(self.policy, bid)
        left = self.seconds_left(used_seconds)
        if left == 0:
            against.append(
                f"it gives a project {self.policy.machine_seconds} s of machine time a day, and project "
                f"{project.id} has had {used_seconds} s today"
            )
        if not against:
            return None
        sentence = "this validator's published policy does not run it: " + "; ".join(against)
        if self._passed_over is not None:
            self._passed_over.note(proposal.id, sentence)
        return sentence

    def seconds_left(self, used_seconds: int) -> int | None:
        """Machine time that a project may still have today; ``None`` for any."""
        if not self.policy.machine_seconds:
            return None
        return max(0, self.policy.machine_seconds - used_seconds)

    def pairs_left(self, used_seconds: int, *, pair_seconds: float | None, most: int) -> int:
        """How many more pairs a session may run today.

        At least one while any time is left, so that a project whose pairs are longer than a day's share is
        judged all the same, slowly: how many pairs a session runs is no part of the decision, and a test goes
        on where it stopped. So a day's share is exceeded by one pair at most, and by one that is voided or
        repeated beside it.

        Args:
            pair_seconds: What a pair takes here; ``None`` if nobody knows.
            most: How many it would run otherwise.
        """
        left = self.seconds_left(used_seconds)
        if left is None or pair_seconds is None or pair_seconds <= 0:
            return most
        return 0 if left == 0 else max(1, min(most, int(left // pair_seconds)))


def open_before(proposal: Proposal, proposals: Iterable[Proposal]) -> int:
    """How many open proposals of the same miner in the same project come before it."""
    return sum(
        other.is_open
        and other.id < proposal.id
        and other.miner == proposal.miner
        and other.project_id == proposal.project_id
        for other in proposals
    )


def unlimited(domain: Domain, account: Address) -> Policy:
    """The policy of a validator that published none: it turns nobody away."""
    return Policy(
        domain=domain,
        validator=account,
        minimum_stake=Tokens(1),
        largest_stake_ppm=PARTS_PER_MILLION,
        open_proposals=0,
        machine_seconds=0,
        issued_at=0,
    )


def own_policy(folder: Path, domain: Domain, account: Address, *, stated: Path | None = None) -> Policy:
    """The validator's own policy.

    Args:
        folder: The folder of policies in the home.
        stated: A file that the operator named; it counts instead of what lies in the folder.

    Raises:
        UsageError: the stated file, or the folder's ``own.json``, is no policy of this account here.
    """
    if stated is not None:
        return _required(stated, domain, account)
    own = folder / OWN_POLICY
    found = [_required(own, domain, account)] if own.exists() else []
    others = (path for path in sorted(folder.glob("*.json")) if path.name != OWN_POLICY)
    found += [policy for path in others if (policy := _own(path, domain, account)) is not None]
    return max(found, key=lambda policy: policy.issued_at, default=unlimited(domain, account))


def _required(path: Path, domain: Domain, account: Address) -> Policy:
    try:
        policy = read_policy(path)
    except (FormatError, SigningError) as error:
        raise UsageError(
            f"The validator's own policy {path} does not count: {error.message}",
            meaning="Without it proposals would be run that it turns away.",
            next_step="Sign it again with: armlx-chain policy sign, or take the file away.",
        ) from error
    if (policy.domain, policy.validator) != (domain, account):
        raise UsageError(
            f"The policy {path} is of {policy.validator} on chain {policy.domain.chain_id}, not of {account}"
            " here.",
            next_step="Sign one with this account and network: armlx-chain policy sign",
        )
    return policy


def _own(path: Path, domain: Domain, account: Address) -> Policy | None:
    try:
        policy = read_policy(path)
    except (FormatError, SigningError, UsageError):
        return None  # other validators' documents are no business of this one
    return policy if (policy.domain, policy.validator) == (domain, account) else None
