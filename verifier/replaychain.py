"""A replayed verdict against the ledger: is this the proposal, its seed, and what was settled?"""

from __future__ import annotations

from collections.abc import Iterator

from armlx_chain.chain.contracts import Proposal, ProposalLedger, Status, VerifierRegistry
from armlx_chain.formats.evidence import Evidence
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root
from verifier.daemon.seed import read_seed
from verifier.replay import Check, Holds, Replayed
from verifier.verdict.constants import RULE_ID

__all__ = ["compare_with_ledger"]


def compare_with_ledger(
    found: Replayed,
    ledger: ProposalLedger,
    verifiers: VerifierRegistry,
    *,
    seed_delay_blocks: int,
    confirmations: int,
) -> tuple[Check, ...]:
    """What the chain says of a verdict.

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
    return here, *_proposal(found, proposal), seed, _settled(found, proposal), _listed(found, verifiers)


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
