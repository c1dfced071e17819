"""What must be true before a stake is risked; pure rules over facts that were read.

In the order a person should hear of them: the project cannot be won; the code is on the ledger already; the
run was measured against something else; the claim does not beat the best, or an open proposal claims as much;
the stake does not fit, or an expiry would return nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from armlx_chain.chain.contracts import Project, Proposal, Status
from armlx_chain.claims.known import KnownCode
from armlx_chain.claims.policies import LEAST_STAKE
from armlx_chain.claims.runfolder import RunFolder
from armlx_chain.errors import ClaimRefused
from armlx_chain.market.trade import MarketState
from armlx_chain.protocol.model import Protocol
from armlx_chain.protocol.orientation import Orientation, classify_orientation
from armlx_chain.protocol.score import claimed_score
from armlx_chain.types import Address, Root, ScaledScore, Tokens

ACCEPTED = "reproduced"
UNREPRODUCED = "unreproduced"
"""Outcome and hardware class of a run folder that was made from a bare log."""


@dataclass(frozen=True, slots=True)
class ClaimFacts:
    """What a submission is checked against, read at one moment.

    Attributes:
        proposals: All of the project's, settled ones too, in order of id.
        known_code: Candidates that are published, and where they were seen.
    """

    project: Project
    protocol: Protocol
    protocol_root: Root
    baseline_metric: Decimal | None
    market: MarketState
    verifier_count: int
    proposals: tuple[Proposal, ...]
    known_code: KnownCode = field(default_factory=KnownCode)

    @property
    def open_proposals(self) -> tuple[Proposal, ...]:
        """Those that are not settled, in order of id."""
        return tuple(proposal for proposal in self.proposals if proposal.is_open)


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


def require_new(miner: Address, candidate_root: Root, files_digest: str, facts: ClaimFacts) -> None:
    """The candidate must not be known: not by its root on the ledger, nor by its files.

    The one exception is a miner's own candidate whose proposals all expired: nobody judged it.

    Raises:
        ClaimRefused: naming the proposal.
    """
    for proposal in facts.proposals:
        if proposal.code_hash != candidate_root.digest:
            continue
        if proposal.miner == miner and proposal.status is Status.EXPIRED:
            continue
        raise _known(proposal, miner)
    seen = facts.known_code.files.get(files_digest)
    if seen is not None:
        raise ClaimRefused(
            f"The same files are known already: {seen}.",
            meaning="A copy is no improvement, and its stake would be lost. Nothing was sent.",
            next_step="Submit code of your own.",
        )


def _known(proposal: Proposal, miner: Address) -> ClaimRefused:
    if proposal.miner != miner:
        return ClaimRefused(
            f"The root of this candidate is on the ledger as proposal {proposal.id} of {proposal.miner}.",
            meaning="The bundle names you as its author, so that one is a copy; whichever is judged first"
            " wins. Nothing was sent.",
            next_step="Change any byte of the candidate, run reproduce again and submit that.",
            details={"proposal": int(proposal.id)},
        )
    state = "which is still open" if proposal.is_open else f"which was {proposal.status.name.lower()}"
    return ClaimRefused(
        f"This candidate was already submitted as proposal {proposal.id}, {state}.",
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
    if run.facts.outcome not in (ACCEPTED, UNREPRODUCED) and not despite_verdict:
        raise ClaimRefused(
            f"The same verification a validator runs said {run.facts.outcome} ({run.facts.reason})"
            " on this machine.",
            meaning="A stake on it would probably be lost. Nothing was sent.",
            next_step="Improve the candidate, or pass --despite-verdict to risk the stake all the same.",
        )
    return score


def require_lead(score: ScaledScore, facts: ClaimFacts, *, despite: bool) -> None:
    """No open proposal may claim as much: the one judged first would leave nothing to improve.

    Raises:
        ClaimRefused: naming the proposal with the highest claim.
    """
    ahead = [proposal for proposal in facts.open_proposals if proposal.claimed_score >= score]
    if not ahead or despite:
        return
    first = max(ahead, key=lambda proposal: (proposal.claimed_score, -proposal.id))
    raise ClaimRefused(
        f"Proposal {first.id}, which is open, claims {first.claimed_score}; this run would claim {score}.",
        meaning="It is judged first. Once approved, this claim is overtaken, and its stake can only expire."
        " Nothing was sent.",
        next_step="Improve on it, wait until it is settled, or pass --despite-open if you do not believe it.",
        details={"proposal": int(first.id), "ahead": [int(proposal.id) for proposal in ahead]},
    )


def require_stake(stake: int, facts: ClaimFacts, *, accept_total_loss: bool = False) -> Tokens:
    """The stake, if the miner pool and the verifiers make it winnable.

    Raises:
        ClaimRefused: an expiry would return nothing of it, no room in the pool, or nobody to review.
    """
    if stake < 1:
        raise ClaimRefused("A stake of at least one token is needed.")
    if stake < LEAST_STAKE and not accept_total_loss:
        raise ClaimRefused(
            f"Nothing of a stake of {stake} comes back if nobody settles it: half of one token is none.",
            meaning="Rejection and expiry alike lose all of it. Nothing was sent.",
            next_step=f"Stake {LEAST_STAKE} or more, or pass --accept-total-loss.",
        )
    ahead = sum(proposal.stake for proposal in facts.open_proposals)
    room = facts.market.pool_cap - facts.market.pool_minted - ahead
    if stake > room:
        raise ClaimRefused(
            f"The miner pool has room for rewards of {max(room, 0)} more tokens"
            f" ({ahead} are staked ahead of this claim), not for {stake}.",
            meaning="Approval would fail, and the stake would be lost to expiry. Nothing was sent.",
            next_step=f"Stake at most {max(room, 0)}.",
        )
    if facts.verifier_count == 0:
        raise ClaimRefused(
            "No verifier is registered: nobody could approve this claim, and its stake would expire."
        )
    return Tokens(stake)


def warnings(score: int, miner: Address, facts: ClaimFacts) -> list[str]:
    """What a miner should know about the queue ahead, none of it a refusal."""
    waiting = facts.open_proposals
    found = []
    better = [proposal for proposal in waiting if proposal.claimed_score >= score]
    if better:
        found.append(
            f"{len(better)} open proposal(s) claim as much or more; if one is approved first, yours fails."
        )
    if waiting:
        found.append(f"{len(waiting)} open proposal(s) will be judged before yours.")
    if any(proposal.miner == miner for proposal in waiting):
        found.append("one of them is yours; if it is approved, this claim was measured against the old best.")
    return found
