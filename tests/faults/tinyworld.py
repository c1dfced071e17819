"""A local world with a tiny project, people with homes, and run folders written by hand.

No MLX: the data files are a few bytes, and what a run measured is what its folder says.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from armlx_chain.chain.contracts import (
    ProjectRegistry,
    ProjectToken,
    Proposal,
    ProposalLedger,
    Status,
    VerifierRegistry,
)
from armlx_chain.chain.journal import Journal
from armlx_chain.chain.rpc import Rpc
from armlx_chain.chain.sender import Intent, TxSender
from armlx_chain.claims.publish import ProjectFiles, PublishedProject, TokenTerms, publish_project
from armlx_chain.claims.runfolder import RunFacts, candidate_digest, write_run_json
from armlx_chain.cli import main as chain_main
from armlx_chain.cli.wiring import control_root_of, make_publisher, make_sender
from armlx_chain.devnet.benchmark.project import protocol_document
from armlx_chain.devnet.world import Devnet
from armlx_chain.formats.bundle import Authorship, pack_candidate, read_candidate
from armlx_chain.formats.canonical import canonical_json
from armlx_chain.formats.evidence import Evidence
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestEntry, ManifestRole
from armlx_chain.market import trade
from armlx_chain.market.trade import read_market
from armlx_chain.settings import Settings, load_network
from armlx_chain.signing import keystore
from armlx_chain.signing.signer import Signer
from armlx_chain.storage.fetch import open_storage
from armlx_chain.storage.interface import Storage
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, ProjectId, Root, Tokens, Wei
from tests.faults import simulated

PASSPHRASE = "the keys of a local world are no secret"
PEOPLE = (
    "deployer", "creator", "miner", "validator", "rival", "second", "stranger", "poor", "judge",
)  # fmt: skip
CAST = {who: number for number, who in enumerate(PEOPLE)}
"""Accounts of the devnet; the deployment registers the validator, the world the judge."""
TERMS = TokenTerms("Tiny", "TINY", Wei(10**15), Wei(10**12), Tokens(1_000_000))
STAKE = 3
SEED_BLOCKS = 9
DATA = {
    "data/shard_00000.parquet": (b"train", ManifestRole.TRAIN),
    "data/shard_00001.parquet": (b"validation", ManifestRole.VALIDATION),
    "data/shard_00002.parquet": (b"fresh", ManifestRole.FRESH),
    "tokenizer/tokenizer.pkl": (b"tokenizer", ManifestRole.TOKENIZER),
    "tokenizer/token_bytes.npy": (b"bytes", ManifestRole.BYTE_TABLE),
}
SNAPSHOT = {
    "README.md": b"A tiny benchmark.\n",
    "prepare.py": b"TIME_BUDGET = 3\n",
    "train.py": simulated.program(simulated.BASELINE, "the snapshot"),
}


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """What ``--json`` printed."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def error(self) -> dict[str, Any]:
        document = self.document
        assert document["ok"] is False
        assert document["exit_code"] == self.code
        assert set(document["error"]) == {"code", "message", "meaning", "next", "details"}
        found: dict[str, Any] = document["error"]
        return found


def log_of(value: str, name: str) -> bytes:
    """A run log that states a metric."""
    return f"{name}\nstep 1 | loss 3.1\rstep 2 | loss 2.9\n---\nval_bpb:          {value}\n".encode()


class TinyWorld:
    """The world, and what its people do in it."""

    def __init__(self, folder: Path, devnet: Devnet) -> None:
        self.folder = folder
        self.devnet = devnet
        self.rpc = Rpc(devnet.rpc_url, expected_chain_id=devnet.chain_id)
        self.registry = ProjectRegistry(self.rpc, devnet.addresses.project_registry)  # type: ignore[arg-type]
        self.ledger = ProposalLedger(self.rpc, devnet.addresses.proposal_ledger)  # type: ignore[arg-type]
        self.password_file = folder / "passphrase"
        self.password_file.write_text(PASSPHRASE + "\n")
        self.password_file.chmod(0o600)
        self._keystores = folder / "keystores"
        self._homes = 0
        self._runs = 0
        self._stakes = 0
        for who in CAST:
            key = devnet.accounts[CAST[who]].private_key_hex
            keystore.import_key(
                self._keystores, who, lambda key=key: key, lambda: PASSPHRASE, work_factor=1 << 4
            )
        self.register("judge")
        self.project = self.publish()

    # --- people --------------------------------------------------------------------------------------

    def address(self, who: str) -> Address:
        return self.signer(who).address

    def signer(self, who: str) -> Signer:
        return Signer.from_hex(self.devnet.accounts[CAST[who]].private_key_hex)

    def home(self) -> Path:
        """A fresh home with everybody's keystores."""
        self._homes += 1
        home = self.folder / f"home-{self._homes}"
        shutil.copytree(self._keystores, home / "keystores")
        return home

    def settings(self, home: Path) -> Settings:
        return Settings(network=load_network("devnet", home=home), home=home)

    def sender(self, who: str, home: Path | None = None) -> TxSender:
        return make_sender(self.settings(home or self.home()), self.rpc, self.signer(who))

    def journal(self, who: str, home: Path) -> Journal:
        chain = f"{self.devnet.chain_id}:{self.rpc.genesis_hash.hex()}"
        return Journal(home / "journal.sqlite", chain=chain, account=self.address(who))

    def nonce(self, who: str = "miner") -> int:
        return self.rpc.nonce(self.address(who), pending=True)

    def register(self, who: str) -> None:
        """Put somebody on the verifiers' allow-list."""
        verifiers = VerifierRegistry(self.rpc, self.devnet.addresses.verifier_registry)  # type: ignore[arg-type]
        data = verifiers.encode("addVerifier", self.address(who))
        self.sender("deployer").execute(Intent(key="add", to=verifiers.address, data=data))

    # --- projects ------------------------------------------------------------------------------------

    def publish(
        self,
        *,
        symbol: str = "TINY",
        protocol: bytes | None = None,
        pool: int = TERMS.miner_pool_cap,
        who: str = "creator",
    ) -> PublishedProject:
        """Publish a tiny project."""
        manifest = BenchmarkManifest.of(
            ManifestEntry(path, len(data), root_of(data), role) for path, (data, role) in DATA.items()
        )
        document = protocol or protocol_document(
            baseline_notes=f"Stated, not measured ({symbol}).", created_at="2026-01-01T00:00:00Z"
        )
        home = self.home()
        sender = self.sender(who, home)
        return publish_project(
            ProjectFiles(
                snapshot=SNAPSHOT,
                protocol=document,
                manifest=manifest,
                data={path: data for path, (data, _) in DATA.items()},
                baseline_metric=Decimal(simulated.BASELINE),
                baseline_record={"format": "armlx-baseline/1", "metricValue": simulated.BASELINE},
            ),
            replace(TERMS, symbol=symbol, miner_pool_cap=Tokens(pool)),
            publisher=make_publisher(self.settings(home), sender),
            sender=sender,
            registry=self.registry,
            progress=lambda _: None,
        )

    def publish_raw(self, *, protocol: bytes | None = None, baseline: int) -> int:
        """A project made by somebody whose client checks nothing; returns its id."""
        project = self.registry.find_project(self.project.project_id)
        assert project is not None
        home = self.home()
        sender, number = self.sender("creator", home), self.registry.project_count()
        protocol_hash = project.protocol_hash
        if protocol is not None:
            publisher = make_publisher(self.settings(home), sender)
            protocol_hash = publisher.publish(protocol, label="no protocol").digest
        data = self.registry.encode(
            "createProject",
            protocol_hash,
            project.repo_snapshot_hash,
            project.benchmark_hash,
            baseline,
            project.baseline_metrics_hash,
            "Raw",
            "RAW",
            10**15,
            10**12,
            10**6,
        )
        sender.execute(Intent(key="create", to=self.registry.address, data=data))
        return number

    def token(self, project_id: int | None = None) -> ProjectToken:
        project = self.registry.find_project(self.project.project_id if project_id is None else project_id)
        assert project is not None
        return ProjectToken(self.rpc, project.token)

    def storage(self) -> Storage:
        """Without a cache: what a stranger finds."""
        return open_storage([self.devnet.storage_url], None)

    # --- runs ----------------------------------------------------------------------------------------

    def level(self, project_id: int | None = None) -> Decimal:
        """What the project's best scores."""
        project = self.registry.find_project(self.project.project_id if project_id is None else project_id)
        assert project is not None
        if not project.has_accepted:
            return Decimal(simulated.BASELINE)
        bundle = self.storage().fetch(Root.zerog(project.best_code_hash), max_bytes=1 << 20).data
        return Decimal(simulated.level_of(read_candidate(bundle)[1]["train.py"].decode()))

    def write_run(
        self,
        *,
        gain: str = "0.050000",
        looks_ahead: bool = False,
        project_id: int | None = None,
        log: bytes | None = None,
        unique: bool = True,
        **facts: Any,
    ) -> Path:
        """A run folder such as ``reproduce`` leaves behind, against the project's present best.

        Args:
            log: The run log instead of one that states the right value; its digest is recorded.
            unique: Whether logs and environment are this run's own, so that each has to be uploaded.
            facts: Members of ``RunFacts`` to state otherwise.

        Returns:
            The path of its run log.
        """
        self._runs += 1
        folder = self.folder / "runs" / str(self._runs)
        (folder / "candidate").mkdir(parents=True)
        project = self.registry.find_project(self.project.project_id if project_id is None else project_id)
        assert project is not None
        before = self.level(project.id)
        value = f"{before - Decimal(gain):.6f}"
        train = simulated.program(value, f"run {self._runs}", looks_ahead=looks_ahead)
        number = self._runs if unique else 0
        run_log = log_of(value, f"run {number}") if log is None else log
        control_log = log_of(f"{before:.6f}", f"control {number}")
        (folder / "candidate" / "train.py").write_bytes(train)
        (folder / "run.log").write_bytes(run_log)
        (folder / "control.log").write_bytes(control_log)
        (folder / "environment.json").write_bytes(
            canonical_json({"format": "armlx-environment/1", "run": number})
        )
        stated = RunFacts(
            chain_id=self.devnet.chain_id,
            ledger=self.ledger.address,
            project_id=ProjectId(int(project.id)),
            protocol_root=Root.zerog(project.protocol_hash),
            snapshot_root=Root.zerog(project.repo_snapshot_hash),
            control_root=control_root_of(project),
            current_best=project.best_score,
            metric="val_bpb",
            value=value,
            control_value=f"{before:.6f}",
            hardware_class="cpu, tiny, 2 cores, 8 GiB",
            environment_digest="sha256:" + "ab" * 32,
            run_log_sha256=sha256(run_log).hexdigest(),
            control_log_sha256=sha256(control_log).hexdigest(),
            candidate_sha256=candidate_digest({"train.py": train}),
            outcome="reproduced",
            reason="improvement-confirmed",
        )
        write_run_json(folder, replace(stated, **facts))
        return folder / "run.log"

    # --- commands ------------------------------------------------------------------------------------

    def submit_arguments(
        self, run_log: Path, home: Path, *extra: object, who: str = "miner", stake: int = STAKE
    ) -> list[str]:
        given = ["submit", "--run", run_log, "--stake", stake, "--yes", *self.to_oneself(who), *extra]
        return self.signed(given, home, who)

    def to_oneself(self, who: str) -> list[object]:
        """Rewards to the account itself; and other tests' open proposals are no reason to stop."""
        return ["--reward-recipient", self.address(who), "--despite-open"]

    def validate_arguments(self, home: Path, *extra: object, who: str = "validator") -> list[str]:
        # One key with many homes, each with a guard of its own: what a person must never do.
        return self.signed(["once", "--despite-lost-verdicts", *extra], home, who)

    def signed(self, given: list[Any], home: Path, who: str) -> list[str]:
        """The arguments of a command that needs a key, with the world's options."""
        options = ["--account", who, "--password-file", self.password_file]
        return self.unsigned([*given, *options], home)

    def unsigned(self, given: list[Any], home: Path) -> list[str]:
        return [str(part) for part in (*given, "--network", "devnet", "--home", home)]

    def submit(self, run_log: Path, home: Path, *extra: object, who: str = "miner", **options: int) -> Ran:
        return call(self.submit_arguments(run_log, home, *extra, who=who, **options))

    def move_best(self, project_id: int | None = None) -> None:
        """A rival's better code is approved, by a verifier that does not look."""
        project = self.registry.find_project(self.project.project_id if project_id is None else project_id)
        assert project is not None
        level = self.level(project.id) - Decimal("0.010000")
        author = Authorship(self.address("rival"), project.id, self.devnet.chain_id)
        bundle = pack_candidate({"train.py": simulated.program(f"{level:.6f}", "a rival's")}, author)
        home = self.home()
        sender = self.sender("rival", home)
        make_publisher(self.settings(home), sender).publish(bundle, label="a rival's candidate")
        score = project.best_score + 10_000
        proposal = self.stake(sender, project.id, root_of(bundle).digest, b"\x01" * 32, score, sender.address)
        self.send("judge", "claimReview", int(proposal.id))
        self.send("judge", "approve", int(proposal.id), score, b"\x01" * 32)

    def stake(
        self,
        sender: TxSender,
        project_id: int,
        code: bytes,
        evidence: bytes,
        score: int,
        recipient: Address,
    ) -> Proposal:
        """Buy, allow and submit, whatever it says: a client that checks nothing."""
        self._stakes += 1
        token, ledger, number = self.token(project_id), self.ledger, self.ledger.proposal_count()
        missing = STAKE - token.balance_of(sender.address)
        if missing > 0:
            purchase = trade.plan_purchase(read_market(token, ProjectId(project_id)), missing)
            trade.buy(sender, token, purchase, key=f"buy/{self._stakes}")
        allow = token.encode("approve", ledger.address, STAKE)
        sender.execute(Intent(key=f"allow/{self._stakes}", to=token.address, data=allow))
        data = ledger.encode("submit", int(project_id), code, evidence, score, STAKE, recipient)
        sender.execute(Intent(key=f"submit/{self._stakes}", to=ledger.address, data=data))
        return self.proposal(number)

    def send(self, who: str, function: str, *arguments: Any) -> None:
        """A plain call of the ledger, outside our client's rules."""
        data = self.ledger.encode(function, *arguments)
        self.sender(who).execute(Intent(key=function, to=self.ledger.address, data=data, what=function))

    def buy(self, who: str, tokens: int, project_id: int | None = None) -> None:
        token = self.token(project_id)
        market = read_market(token, ProjectId(0))
        trade.buy(self.sender(who), token, trade.plan_purchase(market, tokens), key="buy")

    # --- the chain -----------------------------------------------------------------------------------

    def proposals(self) -> list[Proposal]:
        found = (self.ledger.find_proposal(number) for number in range(self.ledger.proposal_count()))
        return [proposal for proposal in found if proposal is not None]

    def proposal(self, number: int) -> Proposal:
        found = self.ledger.find_proposal(number)
        assert found is not None
        return found

    def of_run(self, run_log: Path) -> list[Proposal]:
        """All proposals whose candidate is this run's."""
        train = (run_log.parent / "candidate" / "train.py").read_bytes()
        storage = self.storage()
        found = []
        for proposal in self.proposals():
            bundle = storage.fetch(Root.zerog(proposal.code_hash), max_bytes=1 << 20).data
            if read_candidate(bundle)[1]["train.py"] == train:
                found.append(proposal)
        return found

    def evidence(self, proposal: Proposal) -> Evidence:
        return Evidence.parse(
            self.storage().fetch(Root.zerog(proposal.evidence_hash), max_bytes=1 << 20).data
        )

    def submitted(self, *, gain: str = "0.050000", looks_ahead: bool = False, who: str = "miner") -> Proposal:
        """An honest submission whose seed block is mined."""
        run_log = self.write_run(gain=gain, looks_ahead=looks_ahead, unique=False)
        count = self.ledger.proposal_count()
        ran = self.submit(run_log, self.home(), who=who)
        assert ran.code == 0, ran.err
        self.devnet.mine(SEED_BLOCKS)
        proposal = self.proposal(count)
        assert proposal.status is Status.SUBMITTED
        return proposal


def call(arguments: list[str], *, validator: bool = False) -> Ran:
    """Run the real command line in this process."""
    from verifier.daemon.cli import cli as validator_cli

    command, name = (validator_cli, "armlx-validator") if validator else (chain_main.cli, "armlx-chain")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = chain_main.run(command, arguments, name=name)
    return Ran(code, out.getvalue(), err.getvalue())
