"""What miners hand in, and what is true of it: nobody but the reference model is told the latter.

Miners look at the project's best and claim against it; what they upload is in order unless their kind says
otherwise.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Any

from eth_abi import encode
from eth_utils import to_canonical_address, to_checksum_address

import contracts_abi
from armlx_chain.claims.publish import ProjectFiles, TokenTerms
from armlx_chain.devnet.benchmark.project import protocol_document
from armlx_chain.formats.bundle import Authorship, pack_candidate
from armlx_chain.formats.canonical import canonical_json
from armlx_chain.formats.claim import Claim
from armlx_chain.formats.evidence import Evidence
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestEntry
from armlx_chain.formats.typed import Domain
from armlx_chain.signing.signer import Signer
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, ProjectId, Root, ScaledScore, Tokens, Wei
from tests.daemon.soak.ledger import Venture
from tests.daemon.soak.node import CHAIN_ID, Node
from tests.daemon.soak.storehouse import Storehouse
from tests.faults import simulated
from tests.faults.tinyworld import DATA, SNAPSHOT, log_of

HOUR = 3600.0
GAIN = Decimal("0.040000")
"""What a real improvement gains: twice what the simulated machine needs to be sure quickly."""
LATE_SECONDS = 3 * HOUR
ENVIRONMENT = canonical_json({"format": "armlx-environment/1", "run": 0})
TERMS = TokenTerms("Soak", "SOAK", Wei(10**15), Wei(10**12), Tokens(10**9))


class Kind(StrEnum):
    """What is true of a proposal."""

    GAIN = "a real gain"
    LATE = "a real gain, uploaded late"
    NONE = "no gain"
    WORSE = "worse"
    CHEAT = "looks ahead"
    COPY = "a copy of another's bundle"
    PAPERS = "papers signed by somebody else"
    NEVER = "never uploaded"
    LOW = "claims no more than the best"
    GREEDY = "a stake beyond the pool"


WEIGHTS = {
    Kind.GAIN: 40, Kind.LATE: 6, Kind.NONE: 14, Kind.WORSE: 8, Kind.CHEAT: 10, Kind.COPY: 4, Kind.PAPERS: 6,
    Kind.NEVER: 4, Kind.LOW: 5, Kind.GREEDY: 3,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Truth:
    """A proposal as its miner knows it.

    Attributes:
        level: What the candidate really scores, bits per byte; lower is better.
    """

    kind: Kind
    project: int
    code: bytes
    evidence: bytes
    level: Decimal
    claimed: int


@dataclass(frozen=True, slots=True)
class Best:
    """A project's best as miners see it."""

    root: Root
    score: int
    level: Decimal


class Miners:
    """Several people with keys, and the projects they work on.

    Args:
        level_of: What the code of a digest really scores; the snapshot's for the empty one.
    """

    def __init__(self, node: Node, house: Storehouse, *, seed: int, projects: int, people: int = 6) -> None:
        self._node = node
        self._house = house
        self._rng = random.Random(f"miners {seed}")
        self._keys = [
            Signer.from_hex(sha256(f"miner {seed}/{n}".encode()).hexdigest()) for n in range(people)
        ]
        self.levels: dict[bytes, Decimal] = {}
        self.truths: list[Truth] = []
        self._bundles: list[tuple[int, Address, bytes, Truth]] = []
        self._protocol = protocol_document(baseline_notes="Simulated.", created_at="2026-01-01T00:00:00Z")
        for number in range(projects):
            self._found(number)
        node.put("projects", projects)

    def _found(self, number: int) -> None:
        """A project, as if it had always been there."""
        entries = [ManifestEntry(path, len(data), root_of(data), role) for path, (data, role) in DATA.items()]
        snapshot = {**SNAPSHOT, "README.md": f"Project {number}.\n".encode()}
        files = ProjectFiles(
            snapshot=snapshot,
            protocol=self._protocol,
            manifest=BenchmarkManifest.of(iter(entries)),
            data={path: data for path, (data, _) in DATA.items()},
            baseline_metric=Decimal(simulated.BASELINE),
            baseline_record={"format": "armlx-baseline/1", "metricValue": simulated.BASELINE},
        )
        roots = {label: self._house.put(data) for label, data in files.documents}
        token = to_checksum_address(sha256(f"token {number}".encode()).digest()[:20])
        baseline = -int(Decimal(simulated.BASELINE) * 10**6)
        venture = Venture(
            protocol=roots["protocol"].digest, snapshot=roots["snapshot"].digest,
            benchmark=roots["benchmark"].digest, baseline=baseline, baseline_metrics=roots["baseline"].digest,
            best_code=bytes(32), best=baseline, best_metrics=roots["baseline"].digest,
            best_miner="0x" + "00" * 20, token=token, creator=self._keys[0].address,
            created_at=self._node.genesis_time, pool_cap=int(TERMS.miner_pool_cap),
        )  # fmt: skip
        self._node.put(("project", number), venture)
        self._node.put(("supply", number), 10**13)
        self._node.contracts.add_token(number, token)
        self.levels[roots["snapshot"].digest] = Decimal(simulated.BASELINE)

    def best(self, project: int) -> Best:
        venture = self._node.session().venture(project)
        assert venture is not None
        digest = venture.snapshot if venture.best_code == bytes(32) else venture.best_code
        return Best(Root.zerog(digest), venture.best, self.levels[digest])

    def submit(self, number: int) -> Truth:
        """The next proposal: uploaded, and sent to the ledger."""
        kind = self._rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        project = self._rng.randrange(self._node.session().get("projects"))
        copied = [known for known in self._bundles if known[0] == project][-5:]
        if kind is Kind.COPY and not copied:
            kind = Kind.GAIN
        miner = self._rng.choice(self._keys)
        best = self.best(project)
        level = _level(kind, best.level)
        source = simulated.program(f"{level:.6f}", f"candidate {number}", looks_ahead=kind is Kind.CHEAT)
        if kind is Kind.COPY:
            _, author, bundle, original = self._rng.choice(copied)
            miner = next(key for key in self._keys if key.address != author)
            level = original.level
        else:
            authorship = Authorship(miner.address, ProjectId(project), CHAIN_ID)
            bundle = pack_candidate({"train.py": source}, authorship)
        truth = self._hand_in(kind, project, best, level, bundle, miner)
        if kind in (Kind.GAIN, Kind.NONE):
            self._bundles = [*self._bundles[-40:], (project, miner.address, bundle, truth)]
        self.truths.append(truth)
        return truth

    def _hand_in(
        self, kind: Kind, project: int, best: Best, level: Decimal, bundle: bytes, miner: Signer
    ) -> Truth:
        stated = best.level - GAIN
        logs = [log_of(f"{value:.6f}", "run") for value in (stated, best.level)]
        claimed = best.score + int(GAIN * 10**6)
        claim = self._claim(project, best, f"{stated:.6f}", root_of(bundle), logs, miner.address, claimed)
        signer = self._keys[0] if kind is Kind.PAPERS else miner
        if kind is Kind.PAPERS and signer is miner:
            signer = self._keys[1]
        document = Evidence(
            claim=claim,
            signature=signer.sign_typed_data(claim.typed_data()),
            run_log_root=root_of(logs[0]),
            environment_root=root_of(ENVIRONMENT),
            control_log_root=root_of(logs[1]),
        ).encode()
        if kind is not Kind.NEVER:
            for data in (bundle, *logs, ENVIRONMENT, document):
                self._house.put(data, after=LATE_SECONDS if kind is Kind.LATE else 60.0)
        on_ledger = best.score if kind is Kind.LOW else claimed
        truth = Truth(kind, project, root_of(bundle).digest, root_of(document).digest, level, on_ledger)
        self.levels.setdefault(truth.code, level)
        stake = int(TERMS.miner_pool_cap) + 1 if kind is Kind.GREEDY else self._rng.randint(1, 9)
        self._send(miner.address, truth, stake)
        return truth

    def _claim(
        self,
        project: int,
        best: Best,
        value: str,
        candidate: Root,
        logs: list[bytes],
        miner: Address,
        score: int,
    ) -> Claim:
        venture = self._node.session().venture(project)
        assert venture is not None
        return Claim(
            domain=Domain(CHAIN_ID, Address(self._node.contracts.where.ledger)),
            project_id=ProjectId(project),
            protocol_root=Root.zerog(venture.protocol),
            candidate_root=candidate,
            metric_name="val_bpb",
            metric_value=value,
            control_value=f"{best.level:.6f}",
            control_root=best.root,
            current_best=ScaledScore(best.score),
            claimed_score=ScaledScore(score),
            hardware_class="cpu, simulated, 2 cores, 8 GiB",
            environment_digest=Root("sha256", b"\xab" * 32),
            run_log_digest=Root("sha256", sha256(logs[0]).digest()),
            control_log_digest=Root("sha256", sha256(logs[1]).digest()),
            miner=miner,
            reward_recipient=miner,
            created_at=self._node.time_of(self._node.head),
        )

    def _send(self, miner: str, truth: Truth, stake: int) -> None:
        arguments = (truth.project, truth.code, truth.evidence, truth.claimed, stake, miner)
        self._node.send(miner, self._node.contracts.where.ledger, calldata("submit", *arguments))


def _level(kind: Kind, best: Decimal) -> Decimal:
    """What the candidate really scores."""
    if kind in (Kind.NONE, Kind.LOW):
        return best
    if kind is Kind.WORSE:
        return best + Decimal("0.3")
    return best - GAIN


def calldata(function: str, *arguments: Any) -> bytes:
    """Calldata of one of the ledger's functions."""
    entry = next(e for e in contracts_abi.abi("ProposalLedger") if e.get("name") == function)
    types = [part["type"] for part in entry["inputs"]]
    plain = [to_canonical_address(a) if t == "address" else a for t, a in zip(types, arguments, strict=True)]
    return contracts_abi.function_selector("ProposalLedger", function) + encode(types, plain)
