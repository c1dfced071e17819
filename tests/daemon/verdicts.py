"""Verdicts with everything that stays of them: measured on a simulated machine, kept, replayed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.devnet.benchmark.project import protocol_document
from armlx_chain.formats.bundle import Authorship, pack_candidate
from armlx_chain.formats.claim import Claim
from armlx_chain.formats.evidence import Evidence
from armlx_chain.formats.typed import Domain
from armlx_chain.protocol.parse import parse_protocol
from armlx_chain.signing.eip712 import sign_attestation, sign_claim
from armlx_chain.signing.guard import SingleSignGuard
from armlx_chain.signing.signer import Signer
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, BlockNumber, ProjectId, ProposalId, Root, ScaledScore, Tokens
from verifier.daemon.attest import Draft, draft_attestation
from verifier.daemon.dossier import Dossier
from verifier.daemon.seed import Seed
from verifier.daemon.store import FindingStore
from verifier.daemon.testing import circumstances
from verifier.daemon.verdictpack import PackKeeper
from verifier.hardware import EnvironmentFacts
from verifier.model import AuditKind, Noise, Role, RunRecord, Verdict, bpb
from verifier.session import Settings, judge
from verifier.simulate import Machine, SimRunner, Twist
from verifier.verdict.case import Rules
from verifier.verdict.earlier import Earlier, Subject
from verifier.verdict.statistics import mean, upper_bound

LEDGER = Address("0x701db5f8Ed847651209A438695dfe5520adD6A5A")
DOMAIN = Domain(31337, LEDGER)
GENESIS = b"\x11" * 32
MINER = Signer.from_hex("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a")
VALIDATOR = Signer.from_hex("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6")
BEST = ScaledScore(-2_000_000)
CLASS = "cpu, simulated, 2 cores, 8 GiB"
ENVIRONMENT = EnvironmentFacts({"system": "simulated", "python": "3.11", "package-mlx": "0.32.4"})
NOW = 1_795_000_000
SNAPSHOT = {"train.py": b"# the snapshot\n", "prepare.py": b"TIME_BUDGET = 3\n"}
CONTROL = root_of(b"the snapshot's bundle")
PROTOCOL = parse_protocol(protocol_document(baseline_notes="Simulated.", created_at="2026-01-01T00:00:00Z"))


def noise(scores: int = 20) -> Noise:
    """A noise record whose runs are listed."""
    listed = tuple(bpb(Decimal(2) + Decimal(index % 5 - 2) / 400) for index in range(scores))
    return Noise(
        s=bpb(upper_bound(listed) + Decimal("0.001")),
        seed_spread=bpb("0.001"),
        runs=scores,
        reference_seconds=(3.0, 3.1, 2.9),
        point=bpb("0.005"),
        scores=listed,
        seed_scores=tuple(bpb(Decimal(2) + Decimal(index % 2) / 2000) for index in range(8)),
        control_mean=mean(listed),
        calibrated_audits=tuple(AuditKind),
        hardware_class=CLASS,
        environment=ENVIRONMENT.digest,
    )


@dataclass
class LoggingRunner:
    """A simulated machine whose runs leave logs that print what was measured."""

    inner: SimRunner
    chatter: int = 0

    def run(self, role: Role, files: Mapping[str, bytes], **options: Any) -> RunRecord:
        record = self.inner.run(role, files, **options)
        folder: Path = options["run_folder"]
        folder.mkdir(parents=True, exist_ok=True)
        printed = None if record.validation is None else f"{record.validation:.6f}"
        lines = [f"{folder.name} of a {role.value}", "x" * self.chatter, "---"]
        lines += [] if printed is None else [f"val_bpb:          {printed}"]
        data = ("\n".join(lines) + "\n").encode()
        (folder / "run.log").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        graph = hashlib.sha256(str(folder).encode()).hexdigest() if record.graph_sha256 else None
        return replace(
            record,
            log_path=folder / "run.log",
            log_sha256=digest,
            printed_metric=printed,
            graph_sha256=graph,
        )


@dataclass
class Bench:
    """A bench on the simulated machine, as far as attestations and packs ask."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    control_files: Mapping[str, bytes] = field(default_factory=dict)
    disadvantage: Decimal = Decimal(0)

    @property
    def materials(self) -> Any:
        project = SimpleNamespace(id=ProjectId(1), best_score=BEST)
        return SimpleNamespace(
            project=project,
            protocol=PROTOCOL,
            protocol_root=root_of(b"protocol"),
            snapshot_root=CONTROL,
            snapshot=SNAPSHOT,
            benchmark_root=root_of(b"benchmark"),
            control_root=CONTROL,
            control_files=self.control_files,
            control_is_baseline=True,
            disadvantage=self.disadvantage,
        )

    @property
    def hardware_class(self) -> str:
        return CLASS

    @property
    def environment_digest(self) -> str:
        return ENVIRONMENT.digest

    @property
    def environment_facts(self) -> Mapping[str, str]:
        return ENVIRONMENT.facts

    @property
    def machine_id(self) -> str:
        return "0123456789abcdef"


def dossier_of(
    files: Mapping[str, bytes], number: int = 7, author: Signer = MINER, packed_for: int = 1
) -> Dossier:
    """Papers in order, but for an author or a project that a test names."""
    authorship = Authorship(author.address, ProjectId(packed_for), DOMAIN.chain_id)
    bundle = pack_candidate(files, authorship)
    claim = Claim(
        domain=DOMAIN,
        project_id=ProjectId(1),
        protocol_root=root_of(b"protocol"),
        candidate_root=root_of(bundle),
        metric_name="val_bpb",
        metric_value="1.900000",
        control_value="2.000000",
        control_root=CONTROL,
        current_best=BEST,
        claimed_score=ScaledScore(BEST + 100_000),
        hardware_class=CLASS,
        environment_digest=Root("sha256", bytes.fromhex(ENVIRONMENT.digest)),
        run_log_digest=Root("sha256", b"\x01" * 32),
        control_log_digest=Root("sha256", b"\x02" * 32),
        miner=MINER.address,
        reward_recipient=MINER.address,
        created_at=NOW,
    )
    logs = (root_of(b"run log"), root_of(b"environment"), root_of(b"control log"))
    evidence = Evidence(claim, sign_claim(MINER, claim), *logs).encode()
    proposal = Proposal(
        id=ProposalId(number),
        project_id=ProjectId(1),
        code_hash=root_of(bundle).digest,
        evidence_hash=root_of(evidence).digest,
        claimed_score=claim.claimed_score,
        stake=Tokens(3),
        miner=MINER.address,
        reward_recipient=MINER.address,
        submitted_at=NOW,
        status=Status.SUBMITTED,
        reviewer=Address("0x" + "0" * 40),
        review_lock_until=0,
        verified_score=ScaledScore(0),
        metrics_hash=bytes(32),
    )
    return Dossier(proposal, claim, root_of(bundle), authorship, files, bundle, evidence)


SEED = Seed(b"\x05" * 32, BlockNumber(99))


@dataclass
class Desk:
    """One validator's desk: judges, keeps packs, signs."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = FindingStore(
            self.folder / "findings.sqlite", chain="c", ledger=LEDGER, account=VALIDATOR.address
        )
        self.packs = PackKeeper(
            domain=DOMAIN,
            genesis_hash=GENESIS,
            validator=VALIDATOR.address,
            folder_of=lambda number: self.folder / "reports" / str(number),
            tests=self.store.tests,
        )

    def judged(
        self,
        gain: float,
        *,
        dossier: Dossier | None = None,
        twists: Mapping[str, Twist] | None = None,
        bench: Bench | None = None,
        machine: Machine | None = None,
        chatter: int = 0,
        pairs: int = 8,
        interrupted: int = 0,
    ) -> tuple[Verdict, Dossier, Bench]:
        """Judge a candidate that is better by so much."""
        papers = dossier or dossier_of({"train.py": b"candidate"})
        bench = bench or Bench()
        text = papers.files["train.py"].decode()
        runner = SimRunner(machine or Machine(noise=0.002), gains={text: gain}, twists=dict(twists or {}))
        folder = self.folder / "reports" / str(papers.proposal.id) / "sessions" / "001"
        rules = Rules(pairs=pairs, disadvantage=bench.disadvantage)
        subject = Subject.of(noise(), rules, bench.control_files, papers.files)
        if interrupted:
            self.store.tests.begin(papers.proposal.id, "subject", "conditions")
            for _ in range(interrupted):
                self.store.tests.session(papers.proposal.id)
                self.store.tests.began(papers.proposal.id, 1)
            self.store.tests.session(papers.proposal.id)
        verdict = judge(
            LoggingRunner(runner, chatter),
            noise(),
            bench.control_files,
            papers.files,
            seed=SEED.value,
            settings=Settings(run_folder=folder, rules=rules),
            earlier=Earlier(subject, (), interrupted),
        )
        facts = {**verdict.evidence, **circumstances(bench, SEED)}  # type: ignore[arg-type]
        return replace(verdict, evidence=facts), papers, bench

    def noted(self, verdict: Verdict, papers: Dossier | None, bench: Bench | None) -> Verdict:
        proposal = dossier_of({"train.py": b"candidate"}).proposal if papers is None else papers.proposal
        return self.packs.note(
            proposal,
            verdict,
            judged_at=NOW + 60,
            bench=bench,  # type: ignore[arg-type]
            dossier=papers,
            seed=None if papers is None else SEED,
        )

    def draft(self, verdict: Verdict, papers: Dossier, bench: Bench) -> Draft:
        return draft_attestation(
            verdict,
            papers,
            bench,  # type: ignore[arg-type]
            SEED,
            domain=DOMAIN,
            genesis_hash=GENESIS,
            validator=VALIDATOR.address,
            decided_at=NOW + 60,
        )

    def signed(self, gain: float = 0.1, **options: Any) -> bytes:
        """A judged, kept and signed verdict; the bytes of its pack."""
        verdict, papers, bench = self.judged(gain, **options)
        noted = self.noted(verdict, papers, bench)
        draft = self.draft(noted, papers, bench)
        guard = SingleSignGuard(self.folder / "guard.sqlite")
        document = sign_attestation(VALIDATOR, guard, draft.attestation).encode()
        assert self.packs.attest(papers.proposal.id, draft.report, document) is not None
        return self.pack(papers.proposal.id)

    def unsigned(self, gain: float, **options: Any) -> bytes:
        verdict, papers, bench = self.judged(gain, **options)
        self.noted(verdict, papers, bench)
        return self.pack(papers.proposal.id)

    def pack(self, number: int = 7) -> bytes:
        return (self.folder / "reports" / str(number) / "verdict.tar").read_bytes()
