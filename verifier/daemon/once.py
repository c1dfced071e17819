"""One pass over the open proposals: prove, re-run, decide, sign, publish, settle.

For each proposal, in order of id:

0. what was decided earlier is carried on from where it stopped, never decided again;
1. project and papers are fetched and proven; what is missing is not there yet, and later proposals of the
   project wait behind it;
2. cheap checks: time left, room in the pool, a claim above the best;
3. the seed is read from its block;
4. control and candidate are judged;
5. the verdict is stored with the attestation it would sign; only ``reproduced`` and ``refuted`` go further:
   the latter with a person's consent;
6. guard, signature, publication of report and attestation, claim, settlement.

``VerifierFault`` anywhere ends in "undecided": nothing is sent, others may try.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from armlx_chain.chain.contracts import (
    Project,
    ProjectRegistry,
    ProjectToken,
    Proposal,
    ProposalLedger,
    Status,
    VerifierRegistry,
)
from armlx_chain.errors import (
    ContentMismatch,
    PreconditionFailed,
    StorageError,
    VerifierFault,
)
from armlx_chain.formats.attestation import Attestation
from armlx_chain.formats.typed import Domain
from armlx_chain.signing.eip712 import sign_attestation
from armlx_chain.signing.guard import SingleSignGuard
from armlx_chain.signing.signer import Signer
from armlx_chain.storage.interface import Publisher, Storage
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import ProjectId, ProposalId, Root, ScaledScore
from verifier.daemon.attest import draft_attestation
from verifier.daemon.dossier import Dossier, EvidenceRefused, read_dossier
from verifier.daemon.seed import Seed, read_seed
from verifier.daemon.settle import Basis, Settler, basis_holds
from verifier.daemon.store import FINAL, Finding, FindingState, FindingStore
from verifier.judging import Prepared
from verifier.model import Noise, Outcome, Reason, Verdict
from verifier.report import to_text, to_tree
from verifier.session import ProgressCallback, is_final
from verifier.verdict.constants import RULE_ID
from verifier.verdict.plain import without_runs

log = logging.getLogger(__name__)

ARTIFACT_GRACE_SECONDS = 3600
"""Later proposals of a project wait this long for an earlier one's artifacts, not for ever: otherwise a miner
who never uploads would stop the project for a week."""
RUN_MARGIN_SECONDS = 3600
"""Do not start on a proposal whose week ends sooner than this: anybody may expire it then."""


class Step(StrEnum):
    """What a pass did with a proposal."""

    APPROVED = "approved"
    REJECTED = "rejected"
    LEFT = "left"
    """Judged; nothing is sent."""
    WAITING = "waiting"
    """Not judgeable yet, or a rejection waits for consent."""
    SUPERSEDED = "superseded"
    KNOWN = "known"
    """Was finished in an earlier pass."""


@dataclass(frozen=True, slots=True)
class Result:
    """One proposal's part of a pass, for a person and for ``--json``."""

    proposal_id: ProposalId
    step: Step
    sentence: str
    outcome: str | None = None
    reason: str | None = None
    report_folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Contracts:
    """The ledger and what stands round it."""

    verifiers: VerifierRegistry
    registry: ProjectRegistry
    ledger: ProposalLedger


@dataclass(frozen=True, slots=True)
class Timing:
    """When a seed block counts."""

    seed_delay_blocks: int
    confirmations: int


class Validator:
    """One verifier account's pass over a ledger.

    Args:
        prepare: Makes a project ready on this machine; called anew once its best has moved.
        noise: The calibration of a prepared project.
        consent: Asked before a rejection is sent: a person, or the operator's standing order.
    """

    def __init__(
        self,
        *,
        contracts: Contracts,
        storage: Storage,
        publisher: Publisher,
        settler: Settler,
        signer: Signer,
        guard: SingleSignGuard,
        store: FindingStore,
        timing: Timing,
        reports: Path,
        prepare: Callable[[Project], Prepared],
        noise: Callable[[Prepared], Noise],
        consent: Callable[[Proposal, str], bool],
        say: Callable[[str], None],
        progress: ProgressCallback,
    ) -> None:
        self._contracts = contracts
        self._rpc = contracts.ledger.rpc
        self._storage = storage
        self._publisher = publisher
        self._settler = settler
        self._signer = signer
        self._guard = guard
        self._store = store
        self._timing = timing
        self._reports = reports
        self._prepare = prepare
        self._noise = noise
        self._consent = consent
        self._say = say
        self._progress = progress
        self._prepared: dict[tuple[ProjectId, bytes, int], Prepared] = {}

    def run(self) -> list[Result]:
        """Bring every open proposal as far as it can be brought now.

        Raises:
            ChainError, SigningError: the pass stops; the next one carries on.
        """
        ledger = self._contracts.ledger
        results: list[Result] = []
        blocked: set[ProjectId] = set()
        for number in range(ledger.proposal_count()):
            proposal = ledger.find_proposal(number)
            if proposal is None or not self._ours(proposal):
                continue
            if proposal.project_id in blocked:
                result = Result(
                    proposal.id, Step.WAITING, "an earlier proposal of its project is not decided yet"
                )
            else:
                result = self._consider(proposal)
            if result.step is Step.WAITING and self._is_young(proposal):
                blocked.add(proposal.project_id)
            results.append(result)
        return results

    def _is_young(self, proposal: Proposal) -> bool:
        return self._rpc.block("latest").timestamp < proposal.submitted_at + ARTIFACT_GRACE_SECONDS

    def _ours(self, proposal: Proposal) -> bool:
        """Open, or settled by us without our having noted it."""
        finding = self._store.find(proposal.id)
        return proposal.is_open or (finding is not None and finding.state not in FINAL)

    def _consider(self, proposal: Proposal) -> Result:
        finding = self._store.find(proposal.id)
        if finding is not None and finding.state in FINAL:
            return self._result(finding, Step.KNOWN, f"was {finding.state.value} in an earlier pass")
        if finding is not None and finding.draft is not None:
            return self._carry_on(proposal, finding)
        try:
            return self._judge(proposal)
        except ContentMismatch as error:
            return Result(proposal.id, Step.WAITING, f"no honest copy was found: {error.message}")
        except StorageError as error:
            return Result(proposal.id, Step.WAITING, f"not there yet: {error.message}")
        except VerifierFault as fault:
            return self._undecided(proposal, without_runs(Reason.VERIFIER_FAULT, " ".join(fault.sentences())))

    def _judge(self, proposal: Proposal) -> Result:
        project = self._contracts.registry.find_project(proposal.project_id)
        if project is None:
            return Result(proposal.id, Step.WAITING, "its project cannot be read")
        hopeless = self._hopeless(proposal, project)
        if hopeless is not None:
            return Result(proposal.id, Step.LEFT, hopeless)
        prepared = self._ready(project)
        domain = Domain(self._rpc.expected_chain_id, self._contracts.ledger.address)
        try:
            dossier = read_dossier(proposal, prepared.materials.protocol, domain, self._storage)
        except EvidenceRefused as refused:
            return self._undecided(proposal, without_runs(Reason.EVIDENCE, refused.message))
        seed = read_seed(
            self._contracts.ledger,
            proposal.id,
            rule_id=RULE_ID,
            delay_blocks=self._timing.seed_delay_blocks,
            confirmations=self._timing.confirmations,
        )
        if seed is None:
            return Result(proposal.id, Step.WAITING, "the block that seeds its evaluation is not mined yet")
        verdict = self._verdict(proposal, prepared, dossier, seed)
        return self._decided(proposal, prepared, dossier, seed, verdict, domain)

    def _hopeless(self, proposal: Proposal, project: Project) -> str | None:
        """Why running it could not lead anywhere; it is left to expire, never rejected."""
        now = self._rpc.block("latest").timestamp
        ends = proposal.submitted_at + self._contracts.ledger.expiry_window_seconds()
        if now > ends - RUN_MARGIN_SECONDS:
            return "its week is nearly over; it could be expired during the run"
        if proposal.claimed_score <= project.best_score:
            return "its claim does not beat the current best"
        token = ProjectToken(self._rpc, project.token)
        if proposal.stake > token.pool_cap() - token.pool_minted():
            return "the miner pool has no room for its reward, so it cannot be approved"
        if proposal.status is Status.REVIEWING and proposal.reviewer != self._settler.account:
            return f"{proposal.reviewer} is reviewing it"
        return None

    def _ready(self, project: Project) -> Prepared:
        key = (project.id, project.best_code_hash, int(project.best_score))
        if key not in self._prepared:
            self._prepared.clear()
            self._prepared[key] = self._prepare(project)
        return self._prepared[key]

    def _verdict(self, proposal: Proposal, prepared: Prepared, dossier: Dossier, seed: Seed) -> Verdict:
        refused = prepared.precheck(dossier.files)
        if refused is not None:
            return refused
        self._say(
            f"proposal {proposal.id}: judging {dossier.candidate_root} with the seed of block {seed.block}"
        )
        return prepared.judge(
            dossier.files,
            noise=self._noise(prepared),
            seed=seed.value,
            run_folder=self._folder(proposal.id) / "sessions",
            progress=self._progress,
        )

    def _folder(self, proposal_id: ProposalId) -> Path:
        return self._reports / self._contracts.ledger.address / str(proposal_id)

    def _write_report(self, proposal: Proposal, verdict: Verdict) -> None:
        folder = self._folder(proposal.id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(json.dumps(to_tree(verdict), indent=1, sort_keys=True) + "\n")
        (folder / "report.txt").write_text(to_text(verdict))

    def _undecided(self, proposal: Proposal, verdict: Verdict) -> Result:
        self._write_report(proposal, verdict)
        state = FindingState.CLOSED if is_final(verdict) else FindingState.JUDGED
        finding = self._store.judged(proposal.id, state, to_tree(verdict))
        return self._result(finding, Step.LEFT, verdict.explanation)

    def _decided(
        self,
        proposal: Proposal,
        prepared: Prepared,
        dossier: Dossier,
        seed: Seed,
        verdict: Verdict,
        domain: Domain,
    ) -> Result:
        if verdict.outcome not in (Outcome.REPRODUCED, Outcome.REFUTED):
            return self._undecided(proposal, verdict)
        self._write_report(proposal, verdict)
        draft = draft_attestation(
            verdict,
            dossier,
            prepared,
            seed,
            domain=domain,
            genesis_hash=self._rpc.genesis_hash,
            validator=self._settler.account,
            decided_at=self._rpc.block("latest").timestamp,
        )
        packed = json.dumps(
            {"attestation": draft.attestation.encode().decode(), "report": draft.report.decode()}
        ).encode()
        finding = self._store.judged(proposal.id, FindingState.JUDGED, to_tree(verdict), packed)
        return self._carry_on(proposal, finding)

    def _carry_on(self, proposal: Proposal, finding: Finding) -> Result:
        """From a stored draft to a settled proposal; every step is safe to repeat."""
        papers: dict[str, Any] = json.loads(finding.draft or b"{}")
        attestation = Attestation.parse(papers["attestation"].encode())
        basis = _basis(proposal, attestation)
        try:
            return self._settle(proposal, finding, attestation, papers["report"].encode(), basis)
        except PreconditionFailed as error:
            return self._superseded(proposal, finding, error)

    def _superseded(self, proposal: Proposal, finding: Finding, error: PreconditionFailed) -> Result:
        """What the verdict rests on has moved. Unsigned, it is judged anew; signed, it is final."""
        current = self._store.find(proposal.id)
        if current is not None and current.attestation is not None:
            self._store.move(proposal.id, FindingState.SUPERSEDED)
        else:
            self._store.judged(proposal.id, FindingState.JUDGED, finding.report)
        return self._result(finding, Step.SUPERSEDED, error.message)

    def _settle(
        self,
        proposal: Proposal,
        finding: Finding,
        attestation: Attestation,
        report: bytes,
        basis: Basis | None,
    ) -> Result:
        if finding.attestation is None:
            if basis is not None:
                self._require_unmoved(proposal, basis)
            elif not self._consent(proposal, str(finding.report["explanation"])):
                return self._result(
                    finding, Step.WAITING, "refuted; the rejection waits for a person's consent"
                )
        signed = finding.attestation or sign_attestation(self._signer, self._guard, attestation).encode()
        metrics = root_of(signed)
        self._store.signed(proposal.id, signed, str(metrics))
        if not self._settler.was_settled(proposal, metrics):
            self._publish(proposal, report, signed)
            self._settler.claim(proposal, basis)
            if basis is None:
                self._settler.reject(proposal, metrics)
            else:
                score = attestation.verified_score
                self._settler.approve(proposal, ScaledScore(int(score or 0)), metrics, basis)
        self._store.move(proposal.id, FindingState.SETTLED)
        step = Step.REJECTED if basis is None else Step.APPROVED
        return self._result(finding, step, str(finding.report["explanation"]))

    def _require_unmoved(self, proposal: Proposal, basis: Basis) -> None:
        if not basis_holds(self._contracts.registry, basis.as_precondition(proposal.id)):
            raise PreconditionFailed("The project's best moved while the proposal was judged.")

    def _publish(self, proposal: Proposal, report: bytes, signed: bytes) -> None:
        self._publisher.publish(report, label=f"report of proposal {proposal.id}")
        self._publisher.publish(signed, label=f"attestation of proposal {proposal.id}")
        self._store.move(proposal.id, FindingState.PUBLISHED)

    def _result(self, finding: Finding, step: Step, sentence: str) -> Result:
        return Result(
            ProposalId(finding.proposal_id),
            step,
            sentence,
            outcome=str(finding.report["outcome"]),
            reason=str(finding.report["reason"]),
            report_folder=self._folder(ProposalId(finding.proposal_id)),
        )


def _basis(proposal: Proposal, attestation: Attestation) -> Basis | None:
    """What an approval rests on; ``None`` for a rejection, which rests on evidence of fault alone."""
    if attestation.outcome != Outcome.REPRODUCED.value:
        return None
    root: Root = attestation.control_root
    return Basis(proposal.project_id, root.digest, attestation.current_best)
