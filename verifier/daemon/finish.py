"""From a recorded verdict to a settled proposal; every step is safe to repeat.

0. nothing is signed in dry mode, while another verifier reviews the proposal, once its best moved, or, for a
   rejection, without a person's consent;
1. guard, signature, both kept before anything is sent; from here on the verdict is final;
2. a winner's bundle is announced again; what the verdict rests on, report and attestation are published, the
   review is claimed, the verdict settled.

A verdict that is in the guard counts as signed: the process may have died between entry and signature, and
no other verdict can follow it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from armlx_chain.chain.basis import Basis, Standing
from armlx_chain.chain.contracts import ProjectRegistry, Proposal
from armlx_chain.errors import GuardRefused, PreconditionFailed
from armlx_chain.formats.attestation import Attestation
from armlx_chain.protocol.score import chained_score
from armlx_chain.signing.eip712 import guard_key, sign_attestation
from armlx_chain.signing.guard import SingleSignGuard
from armlx_chain.signing.signer import Signer
from armlx_chain.storage.interface import Publisher
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import ScaledScore
from verifier.daemon.agreement import Agreement, Opinion
from verifier.daemon.announce import announce_bundle
from verifier.daemon.listing import NOT_LISTED
from verifier.daemon.results import Result, Step, result_of
from verifier.daemon.settle import Settler
from verifier.daemon.store import Finding, FindingState, FindingStore
from verifier.daemon.verdictpack import PackKeeper
from verifier.model import Outcome

log = logging.getLogger(__name__)


class Finisher:
    """Carries recorded verdicts to their end.

    Args:
        mode: Asked before anything is signed or sent: why the mode forbids it, if it does.
        consent: Asked before a rejection is signed: why it waits, if it does; ``None`` once a person, or the
            operator's standing order, has consented and the day has room for it.
        folder_of: The report folder of a proposal.
        packs: Keep what every verdict rests on.
        is_listed: Whether this account is on the allow-list of verifiers now.
        agreement: Of this operator's machines, where several must agree before anything is signed.
        confirmations: Blocks on top of a state before a signed verdict is given up for it.
    """

    def __init__(
        self,
        *,
        registry: ProjectRegistry,
        settler: Settler,
        signer: Signer,
        guard: SingleSignGuard,
        store: FindingStore,
        publisher: Publisher,
        mode: Callable[[int], str | None],
        consent: Callable[[Proposal, Mapping[str, Any]], str | None],
        folder_of: Callable[[int], Path],
        packs: PackKeeper,
        is_listed: Callable[[], bool],
        agreement: Agreement | None = None,
        confirmations: int = 0,
    ) -> None:
        self._registry = registry
        self._settler = settler
        self._signer = signer
        self._guard = guard
        self._store = store
        self._publisher = publisher
        self._mode = mode
        self._consent = consent
        self._folder_of = folder_of
        self._packs = packs
        self._is_listed = is_listed
        self._agreement = agreement
        self._confirmations = confirmations

    def carry_on(self, proposal: Proposal, finding: Finding) -> Result:
        """From a stored draft to a settled proposal; every step is safe to repeat."""
        papers: dict[str, Any] = json.loads(finding.draft or b"{}")
        attestation = Attestation.parse(papers["attestation"].encode())
        basis = _basis(proposal, attestation, papers.get("best"))
        try:
            return self._settle(proposal, finding, attestation, papers["report"].encode(), basis)
        except PreconditionFailed as error:
            return self._stopped(proposal, finding, basis, error)

    def _stopped(
        self, proposal: Proposal, finding: Finding, basis: Basis | None, error: PreconditionFailed
    ) -> Result:
        """What the verdict rests on has moved. Unsigned, it is judged anew; signed, it is final.

        Where only the review moved, the next pass looks again. No other can follow a signed verdict, so it is
        not given up for what a reorganisation may take back.
        """
        if self._settler.standing(proposal) is not Standing.CLOSED and self._is_unmoved(basis):
            return self._result(finding, Step.LEFT, error.message)
        current = self._store.find(proposal.id)
        if current is not None and current.attestation is not None:
            if not self._has_moved_for_good(proposal, basis):
                return self._result(
                    finding, Step.WAITING, f"{error.message} That is not settled on the chain yet."
                )
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
        if not self._is_committed(finding, attestation):
            hindrance = self._hindrance(proposal, finding, basis, unsigned=(attestation, report))
            if hindrance is not None:
                return hindrance
            attestation = self._agreed(proposal, finding, attestation, report)
        elif finding.attestation is None:  # in the guard, and the process died before it was signed
            forbidden = self._mode(proposal.id)
            if forbidden is not None:
                return self._result(finding, Step.LEFT, forbidden)
        signed = finding.attestation or self._sign(attestation)
        if signed is None:
            return self._result(
                finding,
                Step.LEFT,
                "the guard holds another verdict of this key on it (another machine's, or one whose record "
                "was lost here); that one stands, and nothing else is signed or sent",
            )
        metrics = root_of(signed)
        self._store.signed(proposal.id, signed, str(metrics))
        log.info("%s is signed: attestation %s", attestation.outcome, metrics)
        if not self._settler.was_settled(proposal, metrics):
            hindrance = self._hindrance(proposal, finding, basis)
            if hindrance is not None:
                return hindrance
            if basis is not None:
                folder = self._folder_of(proposal.id)
                announce_bundle(folder, attestation.candidate_root, proposal.id, self._publisher)
            self._publish(proposal, report, signed)
            self._settler.claim(proposal, basis)
            if basis is None:
                self._settler.reject(proposal, metrics)
            else:
                score = attestation.verified_score
                self._settler.approve(proposal, ScaledScore(int(score or 0)), metrics, basis)
        self._store.move(proposal.id, FindingState.SETTLED)
        step = Step.REJECTED if basis is None else Step.APPROVED
        return self._result(finding, step, _why(finding))

    def _sign(self, attestation: Attestation) -> bytes | None:
        """The signed document; ``None`` where this key is bound to other bytes.

        Raises:
            GuardRefused: the guard cannot keep its record.
        """
        try:
            return sign_attestation(self._signer, self._guard, attestation).encode()
        except GuardRefused:
            if self._guard.recorded(guard_key(attestation)) in (None, attestation.encode()):
                raise
            return None

    def _is_committed(self, finding: Finding, attestation: Attestation) -> bool:
        """Whether the verdict was signed, or may have been: once in the guard, no other can follow it."""
        return finding.attestation is not None or self._guard.recorded(guard_key(attestation)) is not None

    def _agreed(
        self, proposal: Proposal, finding: Finding, attestation: Attestation, report: bytes
    ) -> Attestation:
        """The attestation with the lowest bound of the machines that agree, kept before it is signed."""
        if self._agreement is None or attestation.lower_bound is None:
            return attestation
        lowest = self._agreement.lowest(Opinion.of(attestation, report))
        if lowest is None or lowest >= attestation.lower_bound:
            return attestation
        score = None
        if attestation.verified_score is not None:
            score = chained_score(attestation.current_best, lowest)
        agreed = replace(attestation, lower_bound=lowest, verified_score=score)
        papers = json.loads(finding.draft or b"{}") | {"attestation": agreed.encode().decode()}
        self._store.judged(proposal.id, finding.state, finding.report, json.dumps(papers).encode())
        return agreed

    def _hindrance(
        self,
        proposal: Proposal,
        finding: Finding,
        basis: Basis | None,
        *,
        unsigned: tuple[Attestation, bytes] | None = None,
    ) -> Result | None:
        """Why nothing is signed or sent now, if something stands against it.

        Args:
            unsigned: The draft and its report, before there is a signature: only then machines and persons
                are asked.

        Raises:
            PreconditionFailed: somebody else settled it, or the basis moved.
        """
        now = self._settler.standing(proposal)
        if now is Standing.CLOSED:
            raise PreconditionFailed(f"Proposal {proposal.id} was settled by somebody else.")
        if not self._is_unmoved(basis):
            raise PreconditionFailed("The project's best moved since the proposal was judged.")
        if now is Standing.HELD:
            return self._result(finding, Step.LEFT, "another verifier is reviewing it")
        if now is Standing.ENDING:
            return self._result(
                finding, Step.WAITING, "the lease ends too soon to settle safely; it is renewed afterwards"
            )
        if not self._is_listed():
            return self._result(
                finding,
                Step.WAITING,
                f"this account {NOT_LISTED} any more; nothing is signed or sent until it is again",
            )
        forbidden = self._mode(proposal.id)
        if forbidden is not None:
            return self._result(finding, Step.LEFT, forbidden)
        if unsigned is not None and self._agreement is not None:
            alone = self._agreement.hindrance(Opinion.of(*unsigned))
            if alone is not None:
                return self._result(finding, Step.WAITING, alone)
        if basis is None and unsigned is not None:
            waits = self._consent(proposal, finding.report)
            return None if waits is None else self._result(finding, Step.WAITING, waits)
        return None

    def _is_unmoved(self, basis: Basis | None) -> bool:
        return _stands(self._registry, basis)

    def _has_moved_for_good(self, proposal: Proposal, basis: Basis | None) -> bool:
        """Whether it was settled, or its basis moved, before the blocks that may still be reorganised."""
        if self._settler.was_closed(proposal, self._confirmations):
            return True
        view = self._registry.rpc.at_depth(self._confirmations)
        return not _stands(self._registry.on(view), basis)

    def _publish(self, proposal: Proposal, report: bytes, signed: bytes) -> None:
        bundle = self._packs.attest(proposal.id, report, signed)
        if bundle is not None:
            self._publisher.publish(bundle, label=f"bundle of the verdict on proposal {proposal.id}")
        self._publisher.publish(report, label=f"report of proposal {proposal.id}")
        self._publisher.publish(signed, label=f"attestation of proposal {proposal.id}")
        self._store.move(proposal.id, FindingState.PUBLISHED)

    def _result(self, finding: Finding, step: Step, sentence: str) -> Result:
        return result_of(finding, step, sentence, self._folder_of(finding.proposal_id))


def _stands(registry: ProjectRegistry, basis: Basis | None) -> bool:
    if basis is None:
        return True
    project = registry.find_project(basis.project_id)
    return project is not None and Basis.of(project) == basis


def _basis(proposal: Proposal, attestation: Attestation, best: str | None) -> Basis | None:
    """What an approval rests on; ``None`` for a rejection, which rests on evidence of fault alone.

    Args:
        best: Digest of the code that was the best, where an earlier one served as control; hex.
    """
    if attestation.outcome != Outcome.REPRODUCED.value:
        return None
    digest = attestation.control_root.digest if best is None else bytes.fromhex(best)
    return Basis(proposal.project_id, digest, attestation.current_best)


def _why(finding: Finding) -> str:
    return str(finding.report["explanation"])
