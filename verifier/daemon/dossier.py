"""A proposal's papers: evidence, claim, signature, code and logs, each proven and compared with the others.

Steps:

0. the evidence document is fetched by the ledger's ``benchmarkLogHash``;
1. the claim in it is for this chain, ledger, project and proposal, and signed by the proposal's miner;
2. the candidate bundle is fetched by ``codeHash``; its authorship names the same miner, project and chain;
3. both logs are fetched by root, have the digests the claim signs, and state the values it states;
4. the claimed score follows from those values.

What is missing is not there *yet*; what contradicts itself is ``EvidenceRefused``, which ends in an undecided
verdict: it proves nothing about the code, so nothing is slashed for it. The caller still owes everything
about the code itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from armlx_chain.chain.contracts import Proposal
from armlx_chain.errors import FormatError, MetricError, SigningError
from armlx_chain.formats.bundle import Authorship, read_candidate
from armlx_chain.formats.claim import Claim
from armlx_chain.formats.evidence import Evidence
from armlx_chain.formats.typed import Domain
from armlx_chain.protocol.metric import MetricRule, extract_metric, metric_rule
from armlx_chain.protocol.model import Protocol
from armlx_chain.signing.eip712 import check_evidence_signature
from armlx_chain.storage.interface import Storage
from armlx_chain.types import Root
from verifier.materials import CANDIDATE_LIMIT_BYTES

EVIDENCE_LIMIT_BYTES = 1 << 20
LOG_LIMIT_BYTES = 64 << 20


class EvidenceRefused(FormatError):
    """The papers contradict themselves or the ledger."""


class AnotherAuthor(EvidenceRefused):
    """The bundle names another miner as its author; everything before that is in order.

    Attributes:
        dossier: The papers.
        authorship: What the bundle says.
    """

    def __init__(self, message: str, dossier: Dossier, authorship: Authorship) -> None:
        super().__init__(message)
        self.dossier = dossier
        self.authorship = authorship


@dataclass(frozen=True, slots=True)
class Dossier:
    """Papers that belong together.

    Attributes:
        authorship, files: What the bundle holds.
        bundle: Its bytes, which are announced again before the candidate becomes the best.
        evidence: The signed claim's document, byte for byte.
    """

    proposal: Proposal
    claim: Claim
    candidate_root: Root
    authorship: Authorship
    files: Mapping[str, bytes]
    bundle: bytes
    evidence: bytes


def read_dossier(proposal: Proposal, protocol: Protocol, domain: Domain, storage: Storage) -> Dossier:
    """Fetch and compare a proposal's papers.

    Raises:
        StorageError: something is not there (yet), or out of reach.
        AnotherAuthor: the bundle names somebody else, which may be a copy.
        EvidenceRefused: something contradicts something else, with which.
    """
    evidence_root, candidate_root = Root.zerog(proposal.evidence_hash), Root.zerog(proposal.code_hash)
    data = storage.fetch(evidence_root, max_bytes=EVIDENCE_LIMIT_BYTES).data
    bundle = storage.fetch(candidate_root, max_bytes=CANDIDATE_LIMIT_BYTES).data
    try:
        evidence = Evidence.parse(data)
        check_evidence_signature(evidence)
        authorship, files = read_candidate(bundle)
        claim = evidence.claim
        _same_as_ledger(proposal, claim, domain)
        dossier = Dossier(proposal, claim, candidate_root, authorship, files, bundle, data)
        _same_author(dossier, domain)
        _logs_state_the_claim(evidence, protocol, storage)
        _score_follows(claim, protocol)
    except EvidenceRefused:
        raise
    except (FormatError, SigningError, MetricError) as error:
        raise EvidenceRefused(f"The proposal's papers are not in order: {error.message}") from error
    return dossier


def _same_as_ledger(proposal: Proposal, claim: Claim, domain: Domain) -> None:
    compared: dict[str, tuple[object, object]] = {
        "chain and ledger": (claim.domain, domain),
        "project": (int(claim.project_id), int(proposal.project_id)),
        "candidate root": (claim.candidate_root, Root.zerog(proposal.code_hash)),
        "miner": (claim.miner, proposal.miner),
        "reward recipient": (claim.reward_recipient, proposal.reward_recipient),
        "claimed score": (int(claim.claimed_score), int(proposal.claimed_score)),
    }
    for what, (stated, recorded) in compared.items():
        if stated != recorded:
            raise EvidenceRefused(f"The signed claim's {what} is not the ledger's.")


def _same_author(dossier: Dossier, domain: Domain) -> None:
    proposal, authorship = dossier.proposal, dossier.authorship
    expected = (proposal.miner, int(proposal.project_id), domain.chain_id)
    if (authorship.miner, int(authorship.project_id), authorship.chain_id) != expected:
        text = "The candidate bundle was packed by another miner, or for another project or chain."
        raise AnotherAuthor(text, dossier, authorship)


def _logs_state_the_claim(evidence: Evidence, protocol: Protocol, storage: Storage) -> None:
    claim, rule = evidence.claim, metric_rule(protocol.measurement.primary_metric)
    if claim.metric_name != rule.name:
        raise EvidenceRefused("The claim is about another metric than the protocol's.")
    _log_states(storage, evidence.run_log_root, claim.run_log_digest, claim.metric_value, rule, "run log")
    _log_states(
        storage, evidence.control_log_root, claim.control_log_digest, claim.control_value, rule, "control log"
    )


def _log_states(storage: Storage, root: Root, digest: Root, stated: str, rule: MetricRule, what: str) -> None:
    log = storage.fetch(root, max_bytes=LOG_LIMIT_BYTES).data
    if hashlib.sha256(log).digest() != digest.digest:
        raise EvidenceRefused(f"The {what} does not have the digest that the claim signs.")
    found = extract_metric(log, rule)
    if found.value != Decimal(stated):
        raise EvidenceRefused(f"The {what} states {found.text}, the claim {stated}.")


def _score_follows(claim: Claim, protocol: Protocol) -> None:
    if claim.claimed_score != claim.expected_score(protocol.measurement.primary_metric.direction):
        raise EvidenceRefused("The claimed score does not follow from the claim's own values.")
