"""The four contracts wired together with one project, two verifiers, and the people of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import rlp  # type: ignore[import-untyped]
from eth_utils import keccak, to_canonical_address, to_checksum_address
from evm_contracts import ZERO, Contract, Refused, events
from evm_engines import Engine

DAY = 86_400
WEEK = 604_800
BASE = 10**15
SLOPE = 10**12
CAP = 1_000_000
BASELINE = -2_213_268
BETTER = -1_981_456
MAX = 2**256 - 1
CODE, LOG, METRICS = b"\x0c" * 32, b"\x10" * 32, b"\x3e" * 32
PROTOCOL, SNAPSHOT, BENCHMARK, FIRST_METRICS = (bytes([n]) * 32 for n in (1, 2, 3, 4))


@contextmanager
def refuses(name: str, *arguments: Any) -> Iterator[None]:
    """The body must be refused with exactly this error and these arguments."""
    with pytest.raises(Refused) as found:
        yield
    assert (found.value.name, found.value.arguments) == (name, arguments)


def created_address(creator: str, nonce: int) -> str:
    """The address that CREATE gives."""
    return to_checksum_address(keccak(rlp.encode([to_canonical_address(creator), nonce]))[12:])


@dataclass
class World:
    engine: Engine
    verifiers: Contract
    ledger: Contract
    projects: Contract
    token: Contract
    probe: Contract
    owner: str
    creator: str
    miner: str
    reviewer: str
    other_reviewer: str
    stranger: str
    recipient: str
    cranker: str
    mark: Any = None

    def create(
        self, *, base: int = BASE, slope: int = SLOPE, cap: int = CAP, baseline: int = BASELINE
    ) -> int:
        """One more project; its id."""
        receipt = self.projects.send(
            "createProject",
            *(PROTOCOL, SNAPSHOT, BENCHMARK, baseline, FIRST_METRICS, "Test token", "TEST", base, slope, cap),
            sender=self.creator,
        )
        return int(events(receipt)[0][1]["projectId"])

    def token_of(self, project: int) -> Contract:
        return Contract(self.engine, "ProjectToken", self.projects.call("tokenOf", project))

    def buy(self, buyer: str, amount: int, token: Contract | None = None) -> int:
        """Buy exactly so many tokens; what they cost."""
        token = token or self.token
        supply = token.call("totalSupply")
        cost = int(token.call("costBetween", supply, supply + amount))
        token.send("buy", sender=buyer, value=cost)
        return cost

    def submit(
        self,
        stake: int = 10,
        *,
        project: int = 0,
        claim: int = BETTER,
        at: int | None = None,
        recipient: str = ZERO,
    ) -> int:
        """Buy the stake, approve it and submit; the proposal's id."""
        token = self.token_of(project)
        self.buy(self.miner, stake, token)
        token.send("approve", self.ledger.address, stake, sender=self.miner)
        receipt = self.ledger.send(
            "submit", project, CODE, LOG, claim, stake, recipient, sender=self.miner, at=at
        )
        return int(events(receipt)[-1][1]["id"])

    def reviewing(self, stake: int = 10, *, project: int = 0, recipient: str = ZERO) -> int:
        """A proposal in review by the reviewer."""
        proposal = self.submit(stake, project=project, recipient=recipient)
        self.ledger.send("claimReview", proposal, sender=self.reviewer)
        return proposal

    def proposal(self, number: int) -> dict[str, Any]:
        record: dict[str, Any] = self.ledger.call("getProposal", number)
        return record

    def balance_of(self, account: str, token: Contract | None = None) -> int:
        return int((token or self.token).call("balanceOf", account))


def deploy_world(engine: Engine) -> World:
    """Deploy as an operator does: the registry's address is predicted for the ledger's constructor."""
    owner, creator, miner, reviewer, other, stranger, recipient, cranker, *_ = engine.accounts
    verifiers = Contract.deploy(engine, "VerifierRegistry", owner, sender=owner)
    predicted = created_address(owner, 2)
    ledger = Contract.deploy(engine, "ProposalLedger", predicted, verifiers.address, sender=owner)
    projects = Contract.deploy(engine, "ProjectRegistry", ledger.address, sender=owner)
    assert projects.address == predicted
    for account in (reviewer, other):
        verifiers.send("addVerifier", account, sender=owner)
    probe = Contract.deploy(engine, "Probe", sender=stranger)
    people = (owner, creator, miner, reviewer, other, stranger, recipient, cranker)
    world = World(engine, verifiers, ledger, projects, projects, probe, *people)
    world.token = world.token_of(world.create())
    world.mark = engine.snapshot()
    return world
