"""Proposals whose papers are made by hand, so that exactly one of them can be wrong."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from armlx_chain.chain.contracts import Proposal
from armlx_chain.claims.runfolder import read_run_folder
from armlx_chain.claims.submit import SubmitPlan, Terms, pack_run, plan_submission
from armlx_chain.cli.context import App
from armlx_chain.cli.wiring import claim_facts, control_root_of, make_publisher
from armlx_chain.formats.evidence import Evidence
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, ProjectId
from tests.faults.tinyworld import SEED_BLOCKS, STAKE, TinyWorld


class Crafted:
    """Makes proposals from one run, by a miner whose client is not ours."""

    def __init__(self, world: TinyWorld, project_id: int | None = None) -> None:
        self.world = world
        self.project_id = ProjectId(int(world.project.project_id) if project_id is None else project_id)
        self._home = world.home()
        self._sender = world.sender("miner", self._home)

    def submit(
        self,
        *,
        claim: dict[str, Any] | None = None,
        signer: str = "miner",
        signature: bytes | None = None,
        run_log: bytes | None = None,
        bundle: bytes | None = None,
        ledger_bundle: bytes | None = None,
        recipient: Address | None = None,
        score_above: int = 0,
        evidence: bytes | None = None,
        publish: bool = True,
    ) -> Proposal:
        """Submit with whatever is given in place of the right thing.

        Args:
            claim: Members of the claim to state otherwise.
            signer, signature: Who signs, or the signature itself.
            run_log: Published in place of the log whose digest is signed.
            bundle: The candidate, named by claim and ledger.
            ledger_bundle: The candidate that the ledger alone names.
            recipient, score_above: What the ledger holds instead of what the claim says.
            evidence: The whole document.
            publish: Whether anything is uploaded.
        """
        world = self.world
        plan, files = self._plan
        bundle = plan.packed.data if bundle is None else bundle
        stated = replace(plan.unsigned, **{"candidate_root": root_of(bundle), **(claim or {})})
        log = plan.packed.run.run_log if run_log is None else run_log
        document = Evidence(
            claim=stated,
            signature=signature or world.signer(signer).sign_typed_data(stated.typed_data()),
            run_log_root=root_of(log),
            environment_root=root_of(plan.packed.run.environment),
            control_log_root=root_of(plan.packed.run.control_log),
        ).encode()
        document = document if evidence is None else evidence
        candidate = bundle if ledger_bundle is None else ledger_bundle
        proposal = world.stake(
            self._sender,
            self.project_id,
            root_of(candidate).digest,
            root_of(document).digest,
            int(plan.score) + score_above,
            recipient or world.address("miner"),
        )
        if publish:
            publisher = make_publisher(world.settings(self._home), self._sender)
            for data in (candidate, log, *files, document):
                publisher.publish(data, label="crafted")
        world.devnet.mine(SEED_BLOCKS)
        return proposal

    @property
    def honest_log(self) -> bytes:
        """The log that the claim signs."""
        return self._plan[0].packed.run.run_log

    @cached_property
    def _plan(self) -> tuple[SubmitPlan, tuple[bytes, bytes]]:
        world = self.world
        app = App("devnet", self._home, None, None, False)
        facts, token = claim_facts(app, int(self.project_id))
        run = read_run_folder(world.write_run(project_id=self.project_id, unique=False), facts.protocol)
        packed = pack_run(run, world.address("miner"))
        miner = world.address("miner")
        terms = Terms(miner=miner, reward_recipient=miner, stake=STAKE, despite_open=True)
        plan = plan_submission(
            packed,
            terms,
            facts,
            control_root=control_root_of(facts.project),
            balance=token.balance_of(world.address("miner")),
            now=1_800_000_000,
        )
        return plan, (run.control_log, run.environment)

    @classmethod
    def on_broken_project(cls, world: TinyWorld) -> Proposal:
        """On a project whose ``protocol.json`` is no protocol."""
        return cls(world, world.publish_raw(protocol=b"{}", baseline=-9_000_000)).careless()

    @classmethod
    def on_wrong_sign(cls, world: TinyWorld) -> Proposal:
        """On a project whose minimised metric was published with a positive baseline."""
        return cls(world, world.publish_raw(baseline=9_000_000)).careless()

    def careless(self, *, above: int = 1000) -> Proposal:
        """A proposal with no papers at all, above the best."""
        project = self.world.registry.find_project(self.project_id)
        assert project is not None
        score = project.best_score + above
        proposal = self.world.stake(
            self._sender, self.project_id, b"\x07" * 32, b"\x08" * 32, score, self.world.address("miner")
        )
        self.world.devnet.mine(SEED_BLOCKS)
        return proposal
