"""Every verdict leaves a pack in its proposal's report folder: what it rests on, the report, the attestation.

- The pack is written, and on disk, before the verdict is recorded: what is recorded can be replayed.
- The bundle's root is a fact of the report, so a signature on the verdict covers every byte of the bundle.
- What a candidate printed is bounded: a log beyond 1 MiB is left out and the case says so.
- A verdict without a bundle is still a verdict: only a disk that cannot be written stops one that would be
  signed.
- Signed or not, the bundle stays the same; only the attestation beside it changes.

::

    verdict = packs.note(proposal, verdict, judged_at=now, bench=bench, dossier=dossier, seed=seed)
    packs.attest(proposal.id, draft.report, draft.attestation.encode())      # again, once it is signed
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from armlx_chain import __version__
from armlx_chain.chain.contracts import Proposal
from armlx_chain.errors import FormatError, MachineError, VerifierFault
from armlx_chain.formats.canonical import canonical_json
from armlx_chain.formats.typed import Domain
from armlx_chain.formats.verdictcase import MAX_LOG_BYTES, About, Log, RuleInputs, VerdictCase, run_names
from armlx_chain.formats.verdictpack import MAX_LOGS_BYTES, PACK_LIMITS, VerdictBundle, VerdictPack
from armlx_chain.protocol.model import Protocol as ProtocolDocument
from armlx_chain.storage.files import write_file
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, Root
from verifier.calibrationfile import encode_noise
from verifier.copies import control_likeness
from verifier.daemon.agreement import MACHINE_FACT, Agreement, Opinion
from verifier.daemon.dossier import Dossier
from verifier.daemon.seed import Seed
from verifier.daemon.testlog import TestLog
from verifier.executors.interface import Bench
from verifier.model import Reason, RunRecord, Verdict
from verifier.records import record_tree
from verifier.replay import BUNDLE_FACT, BUNDLE_SIZE_FACT
from verifier.report import plain, to_tree
from verifier.verdict.constants import LAST_LIMIT, MINIMUM_GAIN

__all__ = ["PACK_FILE", "PackKeeper", "StatesEnvironment"]

log = logging.getLogger(__name__)

PACK_FILE: Final = "verdict.tar"
PROGRAM: Final = f"armlx-chain {__version__}"
_DETAIL: Final = 2000
"""Characters of a run's ending that are kept; the report shows 500."""
_TEXT: Final = 8000
"""Characters of an explanation, or of a fact, in which a program's own words may stand."""


@runtime_checkable
class StatesEnvironment(Protocol):
    """A bench that states the facts behind its environment digest."""

    @property
    def environment_facts(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class PackKeeper:
    """Keeps the packs of one verifier account on one ledger.

    Attributes:
        folder_of: The report folder of a proposal.
        tests: Knows how many pairs of a test were interrupted.
        agreement: Is told every opinion, where several machines must agree.
    """

    domain: Domain
    genesis_hash: bytes
    validator: Address
    folder_of: Callable[[int], Path]
    tests: TestLog
    agreement: Agreement | None = None

    def note(
        self,
        proposal: Proposal,
        verdict: Verdict,
        *,
        judged_at: int,
        bench: Bench | None = None,
        dossier: Dossier | None = None,
        seed: Seed | None = None,
    ) -> Verdict:
        """Keep what a fresh verdict rests on; the verdict that comes back names the bundle.

        Args:
            judged_at: Seconds since 1970, UTC, of the chain.
            bench, dossier, seed: As far as the judgement came.

        Raises:
            VerifierFault: the pack cannot be written.
        """
        if bench is not None:
            verdict = replace(verdict, evidence={**verdict.evidence, MACHINE_FACT: bench.machine_id})
        try:
            bundle = self._bundle(proposal, verdict, judged_at, bench, dossier, seed).encode()
            stated = {BUNDLE_FACT: str(root_of(bundle)), BUNDLE_SIZE_FACT: str(len(bundle))}
            named = replace(_bounded(verdict), evidence={**_facts(verdict), **stated})
            pack = VerdictPack(canonical_json(to_tree(named)), bundle).encode()
        except FormatError as error:
            # A stranger's text that no document can hold must not decide whether there is a verdict.
            log.warning("proposal %s: its verdict leaves no bundle: %s", proposal.id, error.message)
            return verdict
        self._write(proposal.id, pack)
        if bench is not None and self.agreement is not None:
            self._state(self.agreement, proposal, verdict, judged_at, bench)
        return named

    def _state(
        self, agreement: Agreement, proposal: Proposal, verdict: Verdict, judged_at: int, bench: Bench
    ) -> None:
        """Tell this operator's other machines. What will be signed is told again before it is."""
        materials = bench.materials
        opinion = Opinion(
            domain=self.domain,
            genesis_hash=self.genesis_hash,
            proposal_id=proposal.id,
            candidate_root=Root.zerog(proposal.code_hash),
            control_root=materials.control_root,
            current_best=materials.project.best_score,
            rule_id=verdict.rule,
            outcome=verdict.outcome.value,
            reason=verdict.reason.value,
            lower_bound=verdict.lower_bound,
            machine=bench.machine_id,
            decided_at=judged_at,
        )
        try:
            agreement.state(opinion)
        except (VerifierFault, FormatError) as error:
            log.warning("the opinion on proposal %s is not told: %s", proposal.id, error.message)

    def attest(self, proposal_id: int, report: bytes, attestation: bytes) -> bytes | None:
        """Put the attestation on a report, signed or not yet, into the pack; returns the bundle.

        ``None`` where there is no pack, or none of this report: then there is nothing to publish, and what
        was decided stands.

        Raises:
            VerifierFault: the pack cannot be written.
        """
        pack = self._read(proposal_id)
        if pack is None or pack.report != report:
            return None
        changed = replace(pack, attestation=attestation)
        if changed != pack:
            self._write(proposal_id, changed.encode())
        return pack.bundle

    def _read(self, proposal_id: int) -> VerdictPack | None:
        try:
            with (self.folder_of(proposal_id) / PACK_FILE).open("rb") as file:
                return VerdictPack.parse(file.read(PACK_LIMITS.archive_bytes + 1))
        except (OSError, FormatError) as error:
            log.warning("the pack of proposal %s cannot be read: %s", proposal_id, error)
            return None

    def _write(self, proposal_id: int, data: bytes) -> None:
        folder = self.folder_of(proposal_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_file(folder / PACK_FILE, data)
        except (OSError, MachineError) as error:
            raise VerifierFault(
                f"{folder / PACK_FILE} cannot be written ({error}).",
                meaning="A verdict is recorded only once what it rests on is kept.",
                next_step="Free some space.",
            ) from error

    def _bundle(
        self,
        proposal: Proposal,
        verdict: Verdict,
        judged_at: int,
        bench: Bench | None,
        dossier: Dossier | None,
        seed: Seed | None,
    ) -> VerdictBundle:
        logs, kept = _logs(verdict)
        case = VerdictCase(
            about=self._about(proposal, judged_at, bench, dossier, seed),
            program=PROGRAM,
            rules=None if bench is None or verdict.noise is None else _rules(verdict, bench),
            interrupted=self._interrupted(proposal, verdict),
            no_op=None if bench is None or dossier is None else _no_op(bench, dossier),
            noise=None if verdict.noise is None else encode_noise(verdict.noise),
            pairs=tuple(
                {"candidate": _record(pair.candidate), "control": _record(pair.control)}
                for pair in verdict.pairs
            ),
            repeats=tuple(_record(record) for record in verdict.repeats),
            logs=logs,
        )
        return VerdictBundle(
            case=case,
            logs=kept,
            candidate=None if dossier is None else dossier.bundle,
            evidence=None if dossier is None else dossier.evidence,
            environment=_environment(bench),
        )

    def _interrupted(self, proposal: Proposal, verdict: Verdict) -> int:
        # A verdict with a noise comes from a test, even one in which no pair ever ended.
        test = self.tests.find(proposal.id) if verdict.pairs or verdict.noise is not None else None
        return 0 if test is None else test.interrupted

    def _about(
        self,
        proposal: Proposal,
        judged_at: int,
        bench: Bench | None,
        dossier: Dossier | None,
        seed: Seed | None,
    ) -> About:
        about = About(
            domain=self.domain,
            genesis_hash=self.genesis_hash,
            proposal_id=proposal.id,
            project_id=proposal.project_id,
            validator=self.validator,
            judged_at=judged_at,
            candidate_root=Root.zerog(proposal.code_hash),
            claim_digest=None if dossier is None else dossier.claim.digest(),
            evaluation_seed=None if seed is None else seed.value,
            evaluation_block=None if seed is None else seed.block,
        )
        if bench is None:
            return about
        materials = bench.materials
        return replace(
            about,
            control_root=materials.control_root,
            current_best=materials.project.best_score,
            protocol_root=materials.protocol_root,
            snapshot_root=materials.snapshot_root,
            evaluation_root=materials.benchmark_root,
            hardware_class=bench.hardware_class,
            environment_digest=Root("sha256", bytes.fromhex(bench.environment_digest)),
            metric=_metric(materials.protocol),
        )


def _environment(bench: Bench | None) -> dict[str, str] | None:
    """The facts behind the environment's digest, where the machine states them."""
    return dict(bench.environment_facts) or None if isinstance(bench, StatesEnvironment) else None


def _bounded(verdict: Verdict) -> Verdict:
    return replace(verdict, explanation=plain(verdict.explanation, _TEXT))


def _facts(verdict: Verdict) -> dict[str, str]:
    return {name: plain(text, _TEXT) for name, text in verdict.evidence.items()}


def _rules(verdict: Verdict, bench: Bench) -> RuleInputs:
    """How many pairs a session may run is no part of the decision, but where it ended a test for now."""
    counted = len(verdict.pairs) - len(verdict.voided)
    return RuleInputs(
        pairs=counted if verdict.reason is Reason.MORE_PAIRS_NEEDED else LAST_LIMIT,
        project_minimum=MINIMUM_GAIN,
        disadvantage=bench.materials.disadvantage,
        control_is_baseline=bench.materials.control_is_baseline,
    )


def _no_op(bench: Bench, dossier: Dossier) -> str | None:
    materials = bench.materials
    found = control_likeness(dossier.files, materials.control_files, materials.snapshot)
    return None if found is None else found.value


def _metric(protocol: ProtocolDocument) -> tuple[str, str] | None:
    primary = protocol.measurement.primary_metric
    extract = primary.extract
    return None if extract is None or extract.pattern is None else (primary.name, extract.pattern)


def _record(record: RunRecord) -> dict[str, object]:
    detail, anomalies = plain(record.detail, _DETAIL), tuple(plain(text) for text in record.anomalies)
    return record_tree(replace(record, detail=detail, anomalies=anomalies))


def _logs(verdict: Verdict) -> tuple[tuple[Log, ...], dict[str, bytes]]:
    """Every run's log as far as it is here, unchanged, and within the limits."""
    runs = [run for pair in verdict.pairs for run in (pair.control, pair.candidate)] + list(verdict.repeats)
    logs: list[Log] = []
    kept: dict[str, bytes] = {}
    total = 0
    for name, record in zip(run_names(len(verdict.pairs), len(verdict.repeats)), runs, strict=True):
        entry, data = _log(name, record, MAX_LOGS_BYTES - total)
        logs.append(entry)
        if data is not None:
            kept[name] = data
            total += len(data)
    return tuple(logs), kept


def _log(name: str, record: RunRecord, room: int) -> tuple[Log, bytes | None]:
    try:
        size = record.log_path.stat().st_size
        if size > MAX_LOG_BYTES:
            return Log(name, size, "too-long"), None
        if size > room:
            return Log(name, size, "too-many"), None
        data = record.log_path.read_bytes()
    except OSError:
        return Log(name, None, "missing"), None
    if hashlib.sha256(data).hexdigest() != record.log_sha256:
        return Log(name, len(data), "changed"), None
    return Log(name, len(data)), data
