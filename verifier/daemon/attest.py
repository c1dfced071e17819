"""A verdict as an attestation: the document that is signed, published and named by the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from armlx_chain.formats.attestation import Attestation, Sample
from armlx_chain.formats.canonical import canonical_json
from armlx_chain.formats.fields import DECIMAL_LIMIT
from armlx_chain.formats.typed import Domain
from armlx_chain.protocol.score import chained_score
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, Root, ScaledScore
from verifier.daemon.dossier import Dossier
from verifier.daemon.seed import Seed
from verifier.executors.interface import Bench
from verifier.model import Outcome, Pair, RunRecord, Verdict
from verifier.report import absolute_means, to_tree


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
    counted = [pair for index, pair in enumerate(verdict.pairs) if index not in verdict.voided]
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
        mean_control=_statable(mean_control),
        mean_candidate=_statable(mean_candidate),
        mean_gain=verdict.mean_gain,
        lower_bound=verdict.lower_bound,
        pairs=len(counted),
        noise=None if verdict.noise is None else verdict.noise.s,
        samples=tuple(_sample(pair) for pair in counted),
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


def _sample(pair: Pair) -> Sample:
    control, candidate = _scores(pair.control), _scores(pair.candidate)
    return Sample(
        control_validation=control[0],
        control_fresh=control[1],
        control_graph=control[2],
        candidate_validation=candidate[0],
        candidate_fresh=candidate[1],
        candidate_graph=candidate[2],
    )


def _scores(record: RunRecord) -> tuple[Decimal | None, Decimal | None, Root | None]:
    """All three figures of a run with a model, or none of them."""
    validation, fresh = _statable(record.validation), _statable(record.fresh)
    if validation is None or fresh is None or record.graph_sha256 is None:
        return None, None, None
    return validation, fresh, Root("sha256", bytes.fromhex(record.graph_sha256))


def _statable(figure: Decimal | None) -> Decimal | None:
    """A figure that documents can hold. A model can be as wrong as it likes, and a refuted one that is so
    wrong on purpose must not keep its verdict from being signed: the report, which is signed by its root,
    states the figure in any case."""
    return None if figure is None or abs(figure) >= DECIMAL_LIMIT else figure
