"""A verdict as an attestation: the document that is signed, published and named by the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from armlx_chain.formats.attestation import Attestation
from armlx_chain.formats.canonical import canonical_json
from armlx_chain.formats.typed import Domain
from armlx_chain.protocol.score import chained_score
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, Root, ScaledScore
from verifier.daemon.dossier import Dossier
from verifier.daemon.seed import Seed
from verifier.executors.interface import Bench
from verifier.model import Outcome, Verdict
from verifier.report import absolute_means, to_tree
from verifier.samples import samples_of, statable


@dataclass(frozen=True, slots=True)
class Draft:
    """An attestation ready to be signed, and the report it names."""

    attestation: Attestation
    report: bytes


def draft_attestation(
    verdict: Verdict,
    dossier: Dossier,
    bench: Bench,
    seed: Seed,
    *,
    domain: Domain,
    genesis_hash: bytes,
    validator: Address,
    decided_at: int,
) -> Draft:
    """Everything the verdict states, in the attestation's words.

    Raises:
        FormatError: the figures contradict the verdict.
    """
    materials = bench.materials
    report = canonical_json(to_tree(verdict))
    samples = samples_of(verdict)
    mean_control, mean_candidate = absolute_means(verdict)
    best = materials.project.best_score
    attestation = Attestation(
        domain=domain,
        genesis_hash=genesis_hash,
        proposal_id=dossier.proposal.id,
        claim_digest=dossier.claim.digest(),
        candidate_root=dossier.candidate_root,
        control_root=materials.control_root,
        current_best=best,
        outcome=verdict.outcome.value,
        reason=verdict.reason.value,
        rule_id=verdict.rule,
        verified_score=_verified(verdict, best),
        mean_control=statable(mean_control),
        mean_candidate=statable(mean_candidate),
        mean_gain=verdict.mean_gain,
        lower_bound=verdict.lower_bound,
        pairs=len(samples),
        noise=None if verdict.noise is None else verdict.noise.s,
        samples=samples,
        hardware_class=bench.hardware_class,
        environment_digest=Root("sha256", bytes.fromhex(bench.environment_digest)),
        evaluation_root=materials.benchmark_root,
        evaluation_seed=seed.value,
        evaluation_block=seed.block,
        report_root=root_of(report),
        validator=validator,
        decided_at=decided_at,
    )
    attestation.encode()
    return Draft(attestation, report)


def _verified(verdict: Verdict, best: ScaledScore) -> ScaledScore | None:
    if verdict.outcome is not Outcome.REPRODUCED or verdict.lower_bound is None:
        return None
    return chained_score(best, verdict.lower_bound)
