"""The soak's ledger in plain Python against the contracts' bytecode: the same refusals, events and answers.

The long soak judges daemons by what its ledger does, so a ledger that is wrong would hide what they do wrong.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields
from typing import Any

import pytest
from eth_utils import to_checksum_address
from evm_contracts import ZERO, Contract
from evm_engines import CallFailed
from evm_world import BASELINE, CODE, DAY, LOG, MAX, WEEK, World

from tests.daemon.soak.ledger import Addresses, Contracts, History, Revert, Session, Venture

DEEDS = 120
CAP = 40
"""Room in the second project's pool: a few approvals fill it."""
TOKENS = 500
KINDS = (
    "submit", "submit", "claimReview", "claimReview", "approve", "approve", "approve", "reject",
    "releaseReview", "expire", "claimReward",
)  # fmt: skip
Answer = tuple[str, Any]


@dataclass
class Twins:
    """The contracts on an EVM, and the Python ones beside them, each told the same."""

    world: World
    tokens: tuple[Contract, ...]
    model: Contracts
    history: History = field(default_factory=History)
    block: int = 0
    refusals: set[bytes] = field(default_factory=set)
    deeds: set[str] = field(default_factory=set)

    def session(self, now: int = 0) -> Session:
        return Session(self.history, self.block, now)

    def put(self, **values: Any) -> None:
        for key, value in values.items():
            self.history.put(key, value, self.block)

    def act(self, sender: str, function: str, *arguments: Any, at: int) -> None:
        """The same transaction on both; refusal or events must be the same."""
        ledger = self.world.ledger
        data = ledger.data(function, *arguments)
        expected, found = self._real(sender, data, at), self._modelled(sender, data, at)
        assert found == expected, (function, arguments, at)
        if expected[0] == "refused":
            self.refusals.add(expected[1])
        else:
            self.deeds.add(function)

    def _real(self, sender: str, data: bytes, at: int) -> Answer:
        world = self.world
        world.engine.set_next_time(at)
        try:
            receipt = world.engine.send(sender, world.ledger.address, data)
        except CallFailed as failure:
            return "refused", failure.data
        ours = (world.ledger.address.lower(), world.projects.address.lower())
        return "done", [
            (_hex(log.address), tuple(log.topics), log.data)
            for log in receipt.logs
            if _hex(log.address) in ours
        ]

    def _modelled(self, sender: str, data: bytes, at: int) -> Answer:
        self.block += 1
        session = self.session(at)
        try:
            self.model.call(session, sender, self.world.ledger.address, data)
        except Revert as refused:
            return "refused", refused.data
        for key, value in session.written.items():
            self.history.put(key, value, self.block)
        return "done", [(_hex(where), topics, data) for where, topics, data in session.events]

    def compare(self) -> None:
        """Every answer that a validator asks for."""
        world, people = self.world, self.people
        count = world.ledger.call("nextProposalId")
        asked: list[tuple[Contract, str, tuple[Any, ...]]] = [
            (world.ledger, "nextProposalId", ()),
            (world.verifiers, "verifierCount", ()),
            (world.projects, "nextProjectId", ()),
            *((world.ledger, "getProposal", (number,)) for number in range(count + 2)),
            *((world.verifiers, "isVerifier", (person,)) for person in people),
        ]
        for project, token in enumerate(self.tokens):
            asked += [
                (world.projects, "getProject", (project,)),
                (world.projects, "currentBestAggregateScore", (project,)),
                (world.projects, "tokenOf", (project,)),
                (token, "minerPoolCap", ()),
                (token, "minerPoolMinted", ()),
                (token, "totalSupply", ()),
                *((world.ledger, "claimable", (project, person)) for person in people),
            ]
        for contract, function, arguments in asked:
            data = contract.data(function, *arguments)
            expected = world.engine.call(people[0], contract.address, data)
            found = self.model.call(self.session(), people[0], contract.address, data)
            assert found == expected, (function, arguments)

    @property
    def people(self) -> tuple[str, ...]:
        world = self.world
        return world.miner, world.reviewer, world.other_reviewer, world.cranker, world.stranger


def _hex(address: bytes | str) -> str:
    return to_checksum_address(address).lower()


@pytest.fixture
def twins(world: World) -> Twins:
    world.create(cap=CAP)
    tokens = tuple(world.token_of(project) for project in (0, 1))
    where = Addresses(
        world.verifiers.address,
        world.projects.address,
        world.ledger.address,
        to_checksum_address("0x" + "99" * 20),
    )
    twins = Twins(world, tokens, Contracts(where))
    for project, token in enumerate(tokens):
        for miner in (world.miner, world.stranger):
            world.buy(miner, TOKENS, token)
            token.send("approve", world.ledger.address, MAX, sender=miner)
        twins.model.add_token(project, token.address)
        twins.history.put(("project", project), _venture(world, project, token), 0)
        twins.history.put(("supply", project), 2 * TOKENS, 0)
    twins.put(projects=2, verifiers=frozenset({world.reviewer.lower(), world.other_reviewer.lower()}))
    twins.compare()
    return twins


def _venture(world: World, project: int, token: Contract) -> Venture:
    values = [*world.projects.call("getProject", project).values(), token.call("minerPoolCap")]
    return Venture(**dict(zip([known.name for known in fields(Venture)], values, strict=True)))


def test_a_proposals_every_way_is_the_same(twins: Twins) -> None:
    """Each end, reached on purpose, at the second before its time, at it, and after."""
    world = twins.world
    reviewer, other = world.reviewer, world.other_reviewer
    now = world.engine.now() + 10
    for number in range(5):
        twins.act(world.miner, "submit", 0, CODE, LOG, BASELINE + 1, 7, ZERO, at=now + number)
    now += 10
    twins.act(other, "approve", 0, BASELINE + 1, CODE, at=now)  # not in review
    for number in range(4):
        twins.act(reviewer, "claimReview", number, at=now + 1 + number)
    twins.act(other, "claimReview", 0, at=now + 5)
    twins.act(other, "reject", 0, CODE, at=now + 6)
    twins.act(reviewer, "approve", 0, BASELINE, CODE, at=now + 7)
    twins.act(reviewer, "approve", 0, BASELINE + 1, CODE, at=now + DAY)
    twins.act(reviewer, "reject", 1, LOG, at=now + DAY + 1)
    twins.compare()
    twins.act(other, "releaseReview", 2, at=now + DAY + 2)  # one second before the lease is over
    twins.act(reviewer, "reject", 2, LOG, at=now + DAY + 3)  # the second at which it is
    twins.act(other, "releaseReview", 3, at=now + DAY + 4)  # the same for another
    twins.act(other, "releaseReview", 3, at=now + DAY + 5)
    twins.act(other, "releaseReview", 2, at=now + DAY + 6)
    submitted = now - 10
    twins.act(world.cranker, "expire", 2, at=submitted + 2 + WEEK - 1)
    twins.act(world.cranker, "expire", 2, at=submitted + 2 + WEEK)
    twins.act(world.cranker, "claimReward", 0, at=submitted + WEEK + 10)
    twins.act(world.cranker, "claimReward", 0, at=submitted + WEEK + 11)
    twins.compare()
    assert twins.deeds == {
        "submit",
        "claimReview",
        "approve",
        "reject",
        "releaseReview",
        "expire",
        "claimReward",
    }


def test_a_pool_is_filled_to_its_last_token_and_not_beyond(twins: Twins) -> None:
    world, now = twins.world, twins.world.engine.now()
    for number, stake in enumerate((CAP - 1, 2, 1, 1)):
        twins.act(world.miner, "submit", 1, CODE, LOG, 0, stake, ZERO, at=now + 1 + number)
        twins.act(world.reviewer, "claimReview", number, at=now + 10 + number)
        twins.act(world.reviewer, "approve", number, BASELINE + 1 + number, CODE, at=now + 20 + number)
        now += 30
    twins.compare()
    assert [row["status"] for row in map(world.proposal, range(4))] == [2, 1, 2, 1]


@pytest.mark.parametrize("seed", range(4))
def test_any_deeds_of_anybody_are_the_same(twins: Twins, seed: int) -> None:
    draw = random.Random(seed)
    now = twins.world.engine.now()
    for step in range(DEEDS):
        if draw.random() < 0.05:
            _change_list(twins, draw)
        now = _moment(twins, draw, now)
        sender, function, arguments = _deed(twins, draw)
        twins.act(sender, function, *arguments, at=now)
        if step % 20 == 19:
            twins.compare()
    assert len(twins.refusals) >= 5 and len(twins.deeds) >= 5, "too little happened"


def _change_list(twins: Twins, draw: random.Random) -> None:
    world = twins.world
    who = draw.choice((world.reviewer, world.other_reviewer))
    listed = twins.session().get("verifiers")
    is_there = who.lower() in listed
    world.verifiers.send("removeVerifier" if is_there else "addVerifier", who, sender=world.owner)
    twins.block += 1
    twins.put(verifiers=listed - {who.lower()} if is_there else listed | {who.lower()})


def _moment(twins: Twins, draw: random.Random, now: int) -> int:
    """A little later, or close to the end of somebody's lease or week."""
    now = max(now, twins.world.engine.now())
    session = twins.session()
    rows = [session.row(number) for number in range(session.get("proposals", 0))]
    ends = [end for row in rows for end in (row.lock_until, row.submitted_at + WEEK) if end > now + 2]
    if ends and draw.random() < 0.1:
        return min(ends) + draw.choice((-1, 0, 1))
    return now + draw.choice((1, 2, 60, 3600))


def _deed(twins: Twins, draw: random.Random) -> tuple[str, str, tuple[Any, ...]]:
    session, world = twins.session(), twins.world
    number = draw.randrange(session.get("proposals", 0) + 1)
    row = session.row(number)
    anybody = draw.choice((world.reviewer, world.other_reviewer, world.cranker, world.stranger))
    reviewer = row.reviewer if row.reviewer != ZERO and draw.random() < 0.8 else anybody
    kind = draw.choice(KINDS)
    if kind == "submit":
        terms = draw.choice((0, 1, 1, 2)), draw.randbytes(32), LOG, draw.randrange(-(10**7), 10**7)
        rest = draw.choice((0, 1, 9, 30)), draw.choice((ZERO, world.recipient))
        return draw.choice((world.miner, world.stranger)), kind, (*terms, *rest)
    if kind == "approve":
        venture = session.venture(row.project)
        best = 0 if venture is None else venture.best
        return reviewer, kind, (number, best + draw.choice((-1, 0, 1, 1, 5)), draw.randbytes(32))
    if kind == "reject":
        return reviewer, kind, (number, draw.randbytes(32))
    return anybody, kind, (draw.choice((0, 1)) if kind == "claimReward" else number,)
