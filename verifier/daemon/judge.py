"""One proposal, from its papers to a recorded verdict.

1. cheap checks: time left, room in the pool, a claim above the best, nobody else reviewing it, this
   validator's own policy;
2. project and papers are fetched and proven; what is missing is not there yet; a project that nobody can win
   is left alone;
3. the seed is read from its block;
4. a bundle that names another author is compared with that author's proposals; anything else is compared
   with what is known for the report's sake, and judged against the control;
5. the verdict is stored with the attestation it would sign; only ``reproduced`` and ``refuted`` go further:
   guard, signature, publication of report and attestation, claim, settlement (``finish``).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from armlx_chain.chain.basis import Basis, Standing
from armlx_chain.chain.contracts import (
    Project,
    ProjectRegistry,
    ProjectToken,
    Proposal,
    ProposalLedger,
    VerifierRegistry,
)
from armlx_chain.chain.frontier import FrontierReader
from armlx_chain.chain.rpc import NodeRefused
from armlx_chain.claims.likeness import fingerprint
from armlx_chain.claims.preflight import orientation_of
from armlx_chain.errors import (
    ArmlxError,
    ContentMismatch,
    ContentNotFound,
    EndpointsDisagree,
    FormatError,
    ProtocolError,
    StorageError,
    VerifierFault,
)
from armlx_chain.formats.bundle import Authorship
from armlx_chain.formats.typed import Domain
from armlx_chain.storage.interface import Fetcher, Storage
from armlx_chain.types import ProposalId, Root
from verifier.copies import Seen, copy_evidence, flags
from verifier.daemon.announce import keep_bundle
from verifier.daemon.attest import draft_attestation
from verifier.daemon.copyindex import CopyIndex, seen_of
from verifier.daemon.dossier import AnotherAuthor, Dossier, EvidenceRefused, read_dossier
from verifier.daemon.finish import Finisher
from verifier.daemon.gold import gold_key
from verifier.daemon.mode import ModeKeeper
from verifier.daemon.others import other_verdicts
from verifier.daemon.permits import Left, Permits
from verifier.daemon.results import Result, Step, result_of
from verifier.daemon.seed import Seed, read_seed
from verifier.daemon.settle import Settler
from verifier.daemon.store import Finding, FindingState, FindingStore
from verifier.daemon.testing import Tester, circumstances, wants_pairs
from verifier.daemon.timing import SeedTiming, no_time
from verifier.daemon.verdictpack import PackKeeper
from verifier.executors.interface import Bench
from verifier.model import Outcome, Reason, Verdict
from verifier.report import to_text, to_tree
from verifier.session import may_start_over
from verifier.verdict.constants import RULE_ID
from verifier.verdict.plain import CopyEvidence, judge_copy, without_runs

__all__ = ["Contracts", "Judge", "Library"]

log = logging.getLogger(__name__)

Ready = Callable[[Project], Bench]
"""Makes a project ready on the machine at hand."""


@dataclass(frozen=True, slots=True)
class Contracts:
    """The ledger and what stands round it."""

    verifiers: VerifierRegistry
    registry: ProjectRegistry
    ledger: ProposalLedger


@dataclass(frozen=True, slots=True)
class Library:
    """Where papers come from.

    Attributes:
        storage: Content by root.
        again: A second way to the same content, without a cache: nobody is accused after one look.
        copies: What candidates are compared with.
        frontier: All proposals.
    """

    storage: Storage
    again: Fetcher
    copies: CopyIndex
    frontier: FrontierReader


class Judge:
    """Judges proposals for one verifier account.

    Args:
        permits: Asked before a session begins.
        finisher: Carries recorded verdicts to their end on the ledger.
        tester: Begins and continues tests.
        packs: Keep what every verdict rests on.
        modes: Told of every verdict.
        folder_of: The report folder of a proposal.
    """

    def __init__(
        self,
        *,
        contracts: Contracts,
        library: Library,
        settler: Settler,
        finisher: Finisher,
        store: FindingStore,
        timing: SeedTiming,
        tester: Tester,
        permits: Permits,
        packs: PackKeeper,
        modes: ModeKeeper,
        folder_of: Callable[[int], Path],
        say: Callable[[str], None],
    ) -> None:
        self._contracts = contracts
        self._rpc = contracts.ledger.rpc
        self._library = library
        self._settler = settler
        self._finisher = finisher
        self._store = store
        self._timing = timing
        self._tester = tester
        self._permits = permits
        self._packs = packs
        self._modes = modes
        self.folder_of = folder_of
        self._say = say

    def preparing(self, project: Project, machine: str) -> AbstractContextManager[None]:
        """Around whatever makes a project ready on a machine."""
        return self._permits.preparing(project, machine)

    def judge(self, proposal: Proposal, ready: Ready) -> Result:
        """Bring a proposal without a recorded draft as far as it can be brought now.

        Raises:
            StorageError: something is not there yet.
            VerifierFault, FormatError: see ``failed``.
            ChainError, SigningError.
        """
        project = self._contracts.registry.find_project(proposal.project_id)
        if project is None:
            return Result(proposal.id, Step.WAITING, "its project cannot be read")
        hopeless = self._hopeless(proposal, project)
        if hopeless is not None:
            return Result(proposal.id, Step.LEFT, hopeless)
        try:
            bench = ready(project)
            unwinnable = _unwinnable(project, bench)
        except (ProtocolError, FormatError, ContentMismatch, ContentNotFound) as error:
            return self._undecided(proposal, without_runs(Reason.CONTROL_UNAVAILABLE, _unreadable(error)))
        if unwinnable is not None:
            return Result(proposal.id, Step.LEFT, unwinnable)
        return self._judge_papers(proposal, bench)

    def _judge_papers(self, proposal: Proposal, bench: Bench) -> Result:
        domain = Domain(self._rpc.expected_chain_id, self._contracts.ledger.address)
        copied: AnotherAuthor | None = None
        try:
            dossier = read_dossier(proposal, bench.materials.protocol, domain, self._library.storage)
        except AnotherAuthor as refused:
            copied, dossier = refused, refused.dossier
        except EvidenceRefused as refused:
            return self._undecided(proposal, without_runs(Reason.EVIDENCE, refused.message), bench)
        try:
            seed = self._seed(proposal)
        except (EndpointsDisagree, NodeRefused) as error:
            no_seed = without_runs(Reason.SEED_UNAVAILABLE, _no_seed(error))
            return self._undecided(proposal, no_seed, bench, dossier)
        if seed is None:
            return Result(proposal.id, Step.WAITING, "the block that seeds its evaluation is not mined yet")
        if copied is not None:
            verdict: Verdict | Left = self._judge_author(proposal, copied)
        else:
            verdict = self._verdict(proposal, bench, dossier, seed)
        if isinstance(verdict, Left):
            return self._left(proposal, verdict)
        return self._decided(proposal, bench, dossier, seed, verdict, domain)

    def _seed(self, proposal: Proposal) -> Seed | None:
        return read_seed(
            self._contracts.ledger,
            proposal.id,
            rule_id=RULE_ID,
            delay_blocks=self._timing.seed_delay_blocks,
            confirmations=self._timing.confirmations,
        )

    def _judge_author(self, proposal: Proposal, refused: AnotherAuthor) -> Verdict:
        """The bundle names somebody else: a copy, if an earlier proposal of theirs is this very bundle."""
        found = self._copy_evidence(proposal, refused.authorship, confirmed=False)
        if found is None:
            return without_runs(Reason.EVIDENCE, refused.message)
        try:
            second = seen_of(proposal, self._library.again)
        except (StorageError, FormatError) as error:
            log.warning("a copy could not be confirmed: %s", error.message)
            return judge_copy(found)
        confirmed = (second.author, second.root) == (found.author, found.candidate_root)
        return judge_copy(replace(found, confirmed=confirmed))

    def _copy_evidence(
        self, proposal: Proposal, authorship: Authorship, *, confirmed: bool
    ) -> CopyEvidence | None:
        others = self._library.frontier.read().of_project(proposal.project_id)
        return copy_evidence(
            proposal.id,
            proposal.miner,
            Root.zerog(proposal.code_hash),
            authorship,
            [(other.id, other.miner, Root.zerog(other.code_hash)) for other in others],
            confirmed=confirmed,
        )

    def failed(self, proposal: Proposal, fault: VerifierFault | FormatError) -> Result:
        """A fault on this side, or papers nobody foresaw: undecided, unless a verdict is recorded already."""
        kept = self._store.find(proposal.id)
        if kept is not None and kept.draft is not None:  # its verdict and report stand
            return self._result(kept, Step.WAITING, " ".join(fault.sentences()))
        return self._undecided(proposal, without_runs(Reason.VERIFIER_FAULT, " ".join(fault.sentences())))

    def _left(self, proposal: Proposal, left: Left) -> Result:
        finding = self._store.find(proposal.id)
        if finding is None:
            return Result(proposal.id, Step.LEFT, left.sentence)
        return self._result(finding, Step.LEFT, left.sentence)

    def _hopeless(self, proposal: Proposal, project: Project) -> str | None:
        """Why running it could not lead anywhere; it is left to expire, never rejected."""
        late = no_time(self._rpc.block("latest").timestamp, 0.0, self._permits.week(proposal))
        if late is not None:
            return late
        if proposal.claimed_score <= project.best_score:
            return "its claim does not beat the current best"
        token = ProjectToken(self._rpc, project.token)
        if proposal.stake > token.pool_cap() - token.pool_minted():
            return "the miner pool has no room for its reward, so it cannot be approved"
        if self._settler.standing(proposal) is Standing.HELD:
            return f"{proposal.reviewer} is reviewing it"
        others = self._library.frontier.read().of_project(proposal.project_id)
        return self._permits.refusal(proposal, project, token.total_supply(), others)

    def _verdict(self, proposal: Proposal, bench: Bench, dossier: Dossier, seed: Seed) -> Verdict | Left:
        refused = bench.precheck(dossier.files)
        if refused is not None:
            return refused
        alike = self._alike(proposal, dossier)
        self._say(
            f"proposal {proposal.id}: judging {dossier.candidate_root} with the seed of block {seed.block}"
        )
        for sentence in alike:
            self._say(f"  {sentence}")
        verdict = self._tester.judge(bench, dossier, seed, self._store.find(proposal.id))
        if isinstance(verdict, Left):
            return verdict
        facts = {**verdict.evidence, **circumstances(bench, seed)}
        return replace(verdict, flags=(*verdict.flags, *alike), evidence=facts)

    def _alike(self, proposal: Proposal, dossier: Dossier) -> tuple[str, ...]:
        """Whose candidate it resembles, and what others attested; said in the report, and nothing more."""
        others = self._library.frontier.read().of_project(proposal.project_id)
        known = self._library.copies.compared_with(proposal, others, self._library.storage)
        author = dossier.authorship.miner
        mine = Seen(proposal.id, proposal.miner, author, dossier.candidate_root, fingerprint(dossier.files))
        attested = other_verdicts(
            proposal,
            others,
            self._library.storage,
            domain=Domain(self._rpc.expected_chain_id, self._contracts.ledger.address),
            account=self._settler.account,
        )
        return *flags(mine, known), *attested

    def _noted(
        self,
        proposal: Proposal,
        verdict: Verdict,
        bench: Bench | None,
        dossier: Dossier | None,
        seed: Seed | None,
    ) -> Verdict:
        now = self._rpc.block("latest").timestamp
        return self._packs.note(proposal, verdict, judged_at=now, bench=bench, dossier=dossier, seed=seed)

    def _write_report(self, proposal: Proposal, verdict: Verdict) -> None:
        folder = self.folder_of(proposal.id)
        folder.mkdir(parents=True, exist_ok=True)
        tree = json.dumps(to_tree(verdict), indent=1, sort_keys=True)
        (folder / "report.json").write_text(tree + "\n", encoding="utf-8")
        # Not the locale's encoding: a program's own words are part of it, in whatever letters.
        (folder / "report.txt").write_text(to_text(verdict), encoding="utf-8")

    def _undecided(
        self,
        proposal: Proposal,
        verdict: Verdict,
        bench: Bench | None = None,
        dossier: Dossier | None = None,
        seed: Seed | None = None,
    ) -> Result:
        try:
            verdict = self._noted(proposal, verdict, bench, dossier, seed)
        except VerifierFault as fault:  # nothing is signed; the next pass writes another
            log.warning("proposal %s: %s", proposal.id, fault.message)
        self._write_report(proposal, verdict)
        report = to_tree(verdict)
        # After a fault a test goes on with the pairs it has, as after a kill: what broke off is counted.
        is_broken = verdict.reason is Reason.VERIFIER_FAULT
        is_open = may_start_over(verdict) or wants_pairs(report) or is_broken
        state = FindingState.JUDGED if is_open else FindingState.CLOSED
        finding = self._store.judged(proposal.id, state, report)
        self._modes.note_verdict(proposal.id, verdict.outcome.value, key=_key(bench))
        return self._result(finding, Step.LEFT, verdict.explanation)

    def _decided(
        self,
        proposal: Proposal,
        bench: Bench,
        dossier: Dossier,
        seed: Seed,
        verdict: Verdict,
        domain: Domain,
    ) -> Result:
        if verdict.outcome not in (Outcome.REPRODUCED, Outcome.REFUTED):
            return self._undecided(proposal, verdict, bench, dossier, seed)
        verdict = self._noted(proposal, verdict, bench, dossier, seed)
        self._write_report(proposal, verdict)
        keep_bundle(self.folder_of(proposal.id), dossier.bundle)
        draft = draft_attestation(
            verdict,
            dossier,
            bench,
            seed,
            domain=domain,
            genesis_hash=self._rpc.genesis_hash,
            validator=self._settler.account,
            decided_at=self._rpc.block("latest").timestamp,
        )
        self._packs.attest(proposal.id, draft.report, draft.attestation.encode())
        packed = json.dumps(
            {
                "attestation": draft.attestation.encode().decode(),
                "report": draft.report.decode(),
                "best": Basis.of(bench.materials.project).control_digest.hex(),
            }
        ).encode()
        # Before it is stored: a kill in between must not hide one of three refuted in a row.
        self._modes.note_verdict(proposal.id, verdict.outcome.value, key=_key(bench))
        finding = self._store.judged(proposal.id, FindingState.JUDGED, to_tree(verdict), packed)
        return self._finisher.carry_on(proposal, finding)

    def _result(self, finding: Finding, step: Step, sentence: str) -> Result:
        return result_of(finding, step, sentence, self.folder_of(ProposalId(finding.proposal_id)))


def _unwinnable(project: Project, bench: Bench) -> str | None:
    """Why no improvement of this project should be approved (contracts specification, section 10)."""
    materials = bench.materials
    found = orientation_of(project, materials.protocol, materials.baseline_metric)
    return " ".join(found.sentences) if found.stop else None


def _no_seed(error: ArmlxError) -> str:
    return (
        "The block from whose hash the rows are drawn cannot be had: " + error.message + " There is no other "
        "seed that every validator would draw alike."
    )


def _unreadable(error: ArmlxError) -> str:
    return f"What the project's record names cannot be read: {error.message}"


def _key(bench: Bench | None) -> str:
    return "" if bench is None else gold_key(bench)
