"""The pairs of a verdict as an attestation states them: what is signed, and what a replay compares."""

from __future__ import annotations

from decimal import Decimal

from armlx_chain.formats.attestation import Sample
from armlx_chain.formats.fields import DECIMAL_LIMIT
from armlx_chain.types import Root
from verifier.model import Pair, RunRecord, Verdict

__all__ = ["samples_of", "statable"]


def samples_of(verdict: Verdict) -> tuple[Sample, ...]:
    """One sample for each pair that counts, in order."""
    counted = (pair for index, pair in enumerate(verdict.pairs) if index not in verdict.voided)
    return tuple(_sample(pair) for pair in counted)


def statable(figure: Decimal | None) -> Decimal | None:
    """A figure that documents can hold. A model can be as wrong as it likes, and a refuted one that is so
    wrong on purpose must not keep its verdict from being signed: the report, which is signed by its root,
    states the figure in any case."""
    return None if figure is None or abs(figure) >= DECIMAL_LIMIT else figure


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
    validation, fresh = statable(record.validation), statable(record.fresh)
    if validation is None or fresh is None or record.graph_sha256 is None:
        return None, None, None
    return validation, fresh, Root("sha256", bytes.fromhex(record.graph_sha256))
