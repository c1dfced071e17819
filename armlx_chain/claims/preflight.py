"""What must be true before a stake is risked; pure rules over facts that were read.

In the order a person should hear of them: the project cannot be won; the run was measured against something
else; the claim does not beat the best; the stake does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from armlx_chain.chain.contracts import Project, Proposal
from armlx_chain.claims.runfolder import RunFolder
from armlx_chain.errors import ClaimRefused
from armlx_chain.market.trade import MarketState
from armlx_chain.protocol.model import Protocol
from armlx_chain.protocol.orientation import Orientation, classify_orientation
from armlx_chain.protocol.score import claimed_score
from armlx_chain.types import Address, Root, ScaledScore, Tokens

ACCEPTED = "reproduced"


@dataclass(frozen=True, slots=True)
class ClaimFacts:
    """What a submission is checked against, read at one moment."""

    project: Project
    protocol: Protocol
    protocol_root: Root
    baseline_metric: Decimal | None
    market: MarketState
    verifier_count: int
    open_proposals: tuple[Proposal, ...]


def orientation_of(project: Project, protocol: Protocol, baseline_metric: Decimal | None) -> Orientation:
    """Whether the project was published the right way round."""
    metric = protocol.measurement.primary_metric
    return classify_orientation(
        direction=metric.direction,
        baseline_value=baseline_metric,
        baseline=project.baseline_score,
        best=project.best_score,
        metric=metric.name,
    )


def require_winnable(facts: ClaimFacts) -> None:
    """Refuse a project on which no real improvement can be approved.

    Raises:
        ClaimRefused: with the sentences for a person (contracts specification, section 10).
    """
    found = orientation_of(facts.project, facts.protocol, facts.baseline_metric)
    if found.stop:
        raise ClaimRefused(" ".join(found.sentences), meaning="Nothing was sent.")


def require_new(miner: Address, candidate_root: Root, facts: ClaimFacts) -> None:
    """The same miner's same candidate must not wait on the ledger already.

    Raises:
        ClaimRefused: naming the proposal.
    """
    for proposal in facts.open_proposals:
        if proposal.miner == miner and proposal.code_hash == candidate_root.digest:
            raise ClaimRefused(
                f"This candidate was already submitted as proposal {proposal.id}, which is still open.",
                meaning="A second submission would lock a second stake on the same code. Nothing was sent.",
                next_step=f"Follow it with: armlx-chain status --proposal {proposal.id}",
                details={"proposal": int(proposal.id)},
            )


def require_current(run: RunFolder, facts: ClaimFacts, control_root: Root) -> None:
    """The run must have been measured against this protocol, this best and its code.

    Raises:
        ClaimRefused: something moved since.
    """
    again = "Run reproduce again, against the present best."
    if run.facts.protocol_root != facts.protocol_root:
        raise ClaimRefused("This run belongs to another protocol than the project's.", next_step=again)
    if run.facts.current_best != facts.project.best_score:
        raise ClaimRefused(
            f"The project's best moved from {run.facts.current_best} to {facts.project.best_score}"
            " since this run was measured.",
            meaning="Its control is no longer the code to beat. Nothing was sent.",
            next_step=again,
        )
    if run.facts.control_root != control_root:
        raise ClaimRefused("This run was measured against another control.", next_step=again)


def require_gain(run: RunFolder, facts: ClaimFacts, *, despite_verdict: bool) -> ScaledScore:
    """The claimed score, if it is worth a stake.

    Raises:
        ClaimRefused: no gain, or this machine's own verdict was not ``reproduced``.
    """
    gain = run.gain(facts.protocol.measurement.primary_metric.direction)
    score = claimed_score(facts.project.best_score, gain)
    if score <= facts.project.best_score:
        raise ClaimRefused(
            f"{run.facts.metric} {run.facts.value} is no improvement over the control's"
            f" {run.facts.control_value}.",
            meaning="A worse result is never sent as an improvement. Nothing was sent.",
        )
    if run.facts.outcome != ACCEPTED and not despite_verdict:
        raise ClaimRefused(
            f"The same verification a validator runs said {run.facts.outcome} ({run.facts.reason})"
            " on this machine.",
            meaning="A stake on it would probably be lost. Nothing was sent.",
            next_step="Improve the candidate, or pass --despite-verdict to risk the stake all the same.",
        )
    return score


def require_stake(stake: int, facts: ClaimFacts) -> Tokens:
    """The stake, if the miner pool and the verifiers make it winnable.

    Raises:
        ClaimRefused: no room in the pool, or nobody to review.
    """
    if stake < 1:
        raise ClaimRefused("A stake of at least one token is needed.")
    ahead = sum(proposal.stake for proposal in facts.open_proposals)
    room = facts.market.pool_cap - facts.market.pool_minted - ahead
    if stake > room:
        raise ClaimRefused(
            f"The miner pool has room for rewards of {max(room, 0)} more tokens"
            f" ({ahead} are staked ahead of this claim), not for {stake}.",
            meaning="Approval would fail, and the stake would be lost to expiry.",
            next_step=f"Stake at most {max(room, 0)}.",
        )
    if facts.verifier_count == 0:
        raise ClaimRefused(
            "No verifier is registered: nobody could approve this claim, and its stake would expire."
        )
    return Tokens(stake)


def warnings(score: int, facts: ClaimFacts) -> list[str]:
    """What a miner should know about the queue ahead, none of it a refusal."""
    found = []
    better = [p for p in facts.open_proposals if p.claimed_score >= score]
    if better:
        found.append(
            f"{len(better)} open proposal(s) claim as much or more; if one is approved first, yours fails."
        )
    if facts.open_proposals:
        found.append(f"{len(facts.open_proposals)} open proposal(s) will be judged before yours.")
    return found
