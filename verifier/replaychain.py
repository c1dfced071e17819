"""A replayed verdict against the ledger: is this the proposal, its seed, its control, and what was settled?

The ledger's scores only rise, so the best when a proposal was approved is the highest score below the one it
got. Every best is the baseline, or an approved proposal's code with the score it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from armlx_chain.chain.contracts import (
    Project,
    ProjectRegistry,
    Proposal,
    ProposalLedger,
    Status,
    VerifierRegistry,
)
from armlx_chain.formats.evidence import Evidence
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import SCORE_SCALE, ProposalId, Root
from verifier.controls import PastBest
from verifier.daemon.seed import read_seed
from verifier.model import Outcome, Reason
from verifier.replay import Check, Holds, Replayed
from verifier.verdict.constants import RULE_ID

__all__ = ["compare_with_ledger"]


def compare_with_ledger(
    found: Replayed,
    ledger: ProposalLedger,
    registry: ProjectRegistry,
    verifiers: VerifierRegistry,
    *,
    past_bests: Callable[[Project], Sequence[PastBest]],
    seed_delay_blocks: int,
    confirmations: int,
) -> tuple[Check, ...]:
    """What the chain says of a verdict.

    Args:
        past_bests: The bests that a project's present one replaced.

    Raises:
        ChainError: the chain cannot be read.
    """
    here = _place(found, ledger)
    if here.holds is Holds.NO:
        return (here,)
    proposal = ledger.find_proposal(found.bundle.case.about.proposal_id)
    if proposal is None:
        return here, Check("proposal", Holds.NO, "the ledger has no such proposal")
    seed = _seed(found, ledger, seed_delay_blocks, confirmations)
    against = _against(found, proposal, registry.find_project(proposal.project_id), past_bests)
    copied = [_original(found, proposal, ledger)] if found.reason is Reason.COPIED else []
    settled = _settled(found, proposal)
    return here, *_proposal(found, proposal), seed, against, *copied, settled, _listed(found, verifiers)


def _place(found: Replayed, ledger: ProposalLedger) -> Check:
    about = found.bundle.case.about
    stated = (about.domain.chain_id, about.domain.ledger, about.genesis_hash)
    actual = (ledger.rpc.expected_chain_id, ledger.address, ledger.rpc.genesis_hash)
    if stated == actual:
        return Check("chain", Holds.YES, f"chain {stated[0]}, ledger {stated[1]}")
    problem = f"the verdict is for chain {stated[0]}, ledger {stated[1]}, genesis 0x{stated[2].hex()}"
    return Check("chain", Holds.NO, problem)


def _proposal(found: Replayed, proposal: Proposal) -> Iterator[Check]:
    about, bundle = found.bundle.case.about, found.bundle
    wrong = []
    if about.candidate_root != Root.zerog(proposal.code_hash):
        wrong.append("candidate")
    if int(about.project_id) != int(proposal.project_id):
        wrong.append("project")
    if bundle.evidence is not None:
        if root_of(bundle.evidence) != Root.zerog(proposal.evidence_hash):
            wrong.append("evidence")
        elif Evidence.parse(bundle.evidence).claim.miner != proposal.miner:
            wrong.append("miner")
    if wrong:
        yield Check("proposal", Holds.NO, f"the ledger's {', '.join(wrong)} is another one")
    else:
        yield Check(
            "proposal", Holds.YES, f"proposal {proposal.id} of {proposal.miner} is about this candidate"
        )


def _seed(found: Replayed, ledger: ProposalLedger, delay: int, confirmations: int) -> Check:
    about = found.bundle.case.about
    if about.evaluation_seed is None:
        return Check("seed", Holds.OPEN, "the verdict was reached without a seed")
    seed = read_seed(
        ledger, about.proposal_id, rule_id=RULE_ID, delay_blocks=delay, confirmations=confirmations
    )
    if seed is None:
        return Check("seed", Holds.OPEN, "the block that seeds the evaluation is not to be had here")
    if (seed.value, seed.block) == (about.evaluation_seed, about.evaluation_block):
        return Check("seed", Holds.YES, f"rows and probes were drawn from block {seed.block}")
    return Check("seed", Holds.NO, f"block {seed.block} gives another seed: the rows were chosen otherwise")


def _against(
    found: Replayed,
    proposal: Proposal,
    project: Project | None,
    past_bests: Callable[[Project], Sequence[PastBest]],
) -> Check:
    """What the candidate was measured against: the project's files, one of its bests, and its code."""
    about, name = found.bundle.case.about, "project"
    if project is None:
        return Check(name, Holds.NO, "the ledger has no such project")
    recorded = {
        "protocol": (about.protocol_root, project.protocol_hash),
        "snapshot": (about.snapshot_root, project.repo_snapshot_hash),
        "benchmark": (about.evaluation_root, project.benchmark_hash),
    }
    wrong = [what for what, (root, hash_) in recorded.items() if root not in (None, Root.zerog(hash_))]
    if wrong:
        return Check(name, Holds.NO, f"the project's {', '.join(wrong)} is another one")
    if about.current_best is None:
        return Check(name, Holds.OPEN, "the judgement ended before anything was compared")
    bests = [PastBest(project.repo_snapshot_hash, project.baseline_score), *past_bests(project)]
    if project.has_accepted:
        bests.append(PastBest(project.best_code_hash, project.best_score))
    problem = _best_problem(found, proposal, bests)
    good = f"control and current best {about.current_best} were the project's"
    return Check(name, Holds.NO if problem else Holds.YES, problem or good)


def _best_problem(found: Replayed, proposal: Proposal, bests: Sequence[PastBest]) -> str | None:
    about, rules = found.bundle.case.about, found.bundle.case.rules
    best, scores = int(about.current_best or 0), {int(known.score) for known in bests}
    if best not in scores:
        return f"{best} was never the project's best"
    ours = found.signed_root is not None and found.signed_root.digest == proposal.metrics_hash
    if ours and found.outcome is Outcome.REPRODUCED:
        before = max((score for score in scores if score < int(proposal.verified_score)), default=best)
        if best != before:
            return f"the best was {before} when it was approved, not {best}"
    lost = {
        Decimal(best - int(known.score)) / SCORE_SCALE
        for known in bests
        if Root.zerog(known.code_hash) == about.control_root
    }
    if not lost:
        return f"the control {about.control_root} was never the project's best"
    if rules is not None and rules.disadvantage not in lost:
        return f"the control is {max(lost)} bits per byte behind the best, not {rules.disadvantage}"
    return None


def _original(found: Replayed, proposal: Proposal, ledger: ProposalLedger) -> Check:
    """The earlier proposal that a copy is said to be of: who made it, and with which bundle."""
    name, facts = "original", found.facts
    if not found.is_sound:
        return Check(name, Holds.OPEN, "the verdict does not hold in the first place")
    original = ledger.find_proposal(ProposalId(int(facts["original"])))
    is_it = (
        original is not None
        and (original.code_hash, original.project_id) == (proposal.code_hash, proposal.project_id)
        and (original.miner, proposal.miner) == (facts["original-proposer"], facts["proposer"])
    )
    said = f"proposal {int(facts['original'])} of {facts['original-proposer']}"
    if is_it:
        return Check(name, Holds.YES, f"{said} is this bundle, and was there before")
    return Check(name, Holds.NO, f"{said} is not on the ledger, or not this bundle")


def _settled(found: Replayed, proposal: Proposal) -> Check:
    validator = found.bundle.case.about.validator
    ends = {Status.APPROVED: "reproduced", Status.REJECTED: "refuted"}
    outcome = ends.get(proposal.status)
    if outcome is None or proposal.reviewer != validator:
        by = "" if outcome is None else f" by {proposal.reviewer}"
        return Check("settlement", Holds.OPEN, f"the proposal is {proposal.status.name.lower()}{by}")
    score = found.score or 0
    stated = (outcome, None if found.signed_root is None else found.signed_root.digest)
    if stated != (found.outcome.value, proposal.metrics_hash):
        return Check("settlement", Holds.NO, f"{validator} settled it with another verdict")
    if outcome == "reproduced" and int(proposal.verified_score) != int(score):
        return Check("settlement", Holds.NO, f"the ledger holds the score {proposal.verified_score}")
    return Check("settlement", Holds.YES, f"{proposal.status.name.lower()} with this very attestation")


def _listed(found: Replayed, verifiers: VerifierRegistry) -> Check:
    validator = found.bundle.case.about.validator
    if verifiers.is_verifier(validator):
        return Check("allow-list", Holds.YES, f"{validator} is on the verifiers' allow-list")
    return Check("allow-list", Holds.OPEN, f"{validator} is not on the verifiers' allow-list now")
