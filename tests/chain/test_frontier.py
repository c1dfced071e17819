"""Thousands of records in a handful of round trips, as one call per id would read them; then what changed."""

import bisect
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from chain_nodes import serving
from eth_abi import encode
from hypothesis import given
from hypothesis import strategies as st
from ledger_world import REVIEWER, LedgerWorld
from sim_ledger import LEDGER, REGISTRY, SimLedger

from armlx_chain.chain import reading
from armlx_chain.chain.frontier import Frontier, FrontierReader
from armlx_chain.chain.history import project_history
from armlx_chain.chain.logs import LogQuery, LogReader, first_block_from
from armlx_chain.chain.portfolio import read_holdings
from armlx_chain.chain.reading import ManyReader
from armlx_chain.chain.rpc import NodeRefused, Rpc
from armlx_chain.chain.wire import Ask
from armlx_chain.errors import ContractRevert, RpcUnavailable
from armlx_chain.types import Address, ProjectId, ProposalId

AT = Address("0x" + "44" * 20)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as running:
        yield running


def reader_of(stack: ExitStack, node: SimLedger, **options: Any) -> tuple[FrontierReader, Rpc]:
    rpc = Rpc(stack.enter_context(serving(node.respond)), expected_chain_id=7)
    return FrontierReader(rpc, ledger=LEDGER, registry=REGISTRY, **options), rpc


def trips(rpc: Rpc, reader: FrontierReader) -> tuple[Frontier, int]:
    before = rpc.pool.round_trips
    return reader.read(), rpc.pool.round_trips - before


@pytest.mark.integration
def test_a_thousand_projects_and_ten_thousand_proposals_take_25_round_trips_and_then_six(
    stack: ExitStack,
) -> None:
    node = SimLedger()
    node.publish(1_000)
    for project in range(1_000):
        node.submit(project, 10)
    reader, rpc = reader_of(stack, node)
    frontier, first = trips(rpc, reader)
    assert (len(frontier.projects), len(frontier.proposals)) == (1_000, 10_000)
    assert len(frontier.of_project(ProjectId(77))) == 10
    assert first == 25  # head, block, counts, and 11,000 records by 500
    assert trips(rpc, reader)[1] == 2, "nothing new: head and block"
    node.submit(5)
    node.settle(123)
    node.improve(9, -2_000_000)
    node.reads = 0
    frontier, later = trips(rpc, reader)
    assert later == 6
    assert len(frontier.proposals) == 10_001
    assert not frontier.proposals[ProposalId(123)].is_open
    assert frontier.projects[ProjectId(9)].best_score == -2_000_000
    assert node.reads < 40, "only what is new or named by an event"


@pytest.mark.integration
@pytest.mark.parametrize("events", ["silent", "refused", "narrow"])
def test_what_changed_is_seen_also_where_events_do_not_tell(stack: ExitStack, events: str) -> None:
    node = SimLedger()
    node.publish(3)
    node.submit(1, 5)
    node.height += 50
    reader, _ = reader_of(stack, node, full_every=2)
    reader.read()
    node.silent = events == "silent"
    node.widest = {"refused": 0, "narrow": 3}.get(events)
    node.settle(2)
    node.improve(1, 5)
    seen = reader.read()
    if events == "silent":
        assert seen.proposals[ProposalId(2)].is_open, "without events it is found with the next full look"
        node.height += 1
        seen = reader.read()
    assert not seen.proposals[ProposalId(2)].is_open
    assert seen.projects[ProjectId(1)].best_score == 5


@pytest.mark.integration
def test_after_a_reorganisation_nothing_that_was_known_counts(stack: ExitStack) -> None:
    node = SimLedger()
    node.publish(2)
    node.submit(0, 4)
    reader, _ = reader_of(stack, node)
    assert len(reader.read().proposals) == 4
    node.branch, node.fork = "other", 3
    node.proposals = node.proposals[:2]
    node.proposals[1][0] = node.proposals[1][0][:-1] + b"\x01"
    node.logs.clear()
    node.height += 1
    seen = reader.read()
    assert sorted(seen.proposals) == [0, 1]
    assert seen.proposals[ProposalId(1)].project_id == 1


@pytest.mark.integration
def test_records_that_are_counted_but_missing_are_not_taken_for_empty(stack: ExitStack) -> None:
    node = SimLedger()
    node.publish(2)
    node.submit(0, 2)
    node.proposals[1] = [bytes(32)] * 13
    reader, _ = reader_of(stack, node)
    with pytest.raises(RpcUnavailable, match="counts a record 1 that it does not have"):
        reader.read()


@pytest.mark.integration
def test_on_a_real_chain_all_ways_of_reading_say_the_same(ledger_world: LedgerWorld) -> None:
    world = ledger_world
    for _ in range(2):
        number = world.project()
        world.stock(number, 50)
        for stake in (1, 2, 3):
            world.propose(number, stake=stake)
    world.act(REVIEWER, world.ledger.claim_review_data(ProposalId(world.ledger.proposal_count() - 1)))
    multicall = world.deploy("Multicall3")
    projects = [world.registry.find_project(n) for n in range(world.registry.project_count())]
    proposals = [world.ledger.find_proposal(n) for n in range(world.ledger.proposal_count())]
    for address in (None, multicall, AT):
        reader = FrontierReader(
            world.rpc, ledger=world.ledger.address, registry=world.registry.address, multicall=address
        )
        frontier, count = trips(world.rpc, reader)
        assert list(frontier.projects.values()) == projects
        assert list(frontier.proposals.values()) == proposals
        assert count <= 6
        assert frontier.open_of(ProjectId(number)) == frontier.of_project(ProjectId(number))
    many = ManyReader(world.rpc, multicall)
    held = read_holdings(many, frontier.projects.values(), world.address(2), ledger=world.ledger.address)
    assert [h.tokens for h in held] == [
        world.token(n).balance_of(world.address(2)) for n in frontier.projects
    ]
    assert held[-1].tokens == 44
    assert not held[-1].is_empty


@pytest.mark.integration
def test_a_multicall_tells_each_calls_own_outcome_and_a_lone_contract_is_asked_without(
    ledger_world: LedgerWorld,
) -> None:
    world = ledger_world
    multicall = world.deploy("Multicall3")
    ledger = world.ledger
    number = world.project()
    good = (ledger.address, ledger.encode("nextProposalId"))
    bad = (ledger.address, ledger.encode("releaseReview", 10**6))
    silent = (AT, good[1])
    too_many = (world.token(number).address, world.token(number).encode("quoteSell", 10**9))
    for reader in (ManyReader(world.rpc, multicall), ManyReader(world.rpc)):
        outcomes = reader.read([good, bad, silent, too_many], "asking")
        assert isinstance(outcomes[0], bytes) and len(outcomes[0]) == 32
        assert isinstance(outcomes[1], ContractRevert) and outcomes[1].details["error"] == "UnknownProposal"
        assert outcomes[2] == b""
        assert isinstance(outcomes[3], ContractRevert) and outcomes[3].details["error"] == "OverSupply"


@pytest.mark.unit
@given(st.lists(st.tuples(st.binary(min_size=20, max_size=20), st.binary(max_size=80)), max_size=6))
def test_multicalls_are_encoded_as_the_abi_says(calls: list[tuple[bytes, bytes]]) -> None:
    ours = reading._encode([(Address("0x" + target.hex()), data) for target, data in calls])
    wanted = encode(["(address,bool,bytes)[]"], [[("0x" + t.hex(), True, d) for t, d in calls]])
    assert ours == bytes.fromhex("82ad56cb") + wanted


@pytest.mark.unit
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=80)), max_size=6))
def test_answers_of_multicalls_are_decoded_as_the_abi_says(results: list[tuple[bool, bytes]]) -> None:
    found = reading._decode(encode(["(bool,bytes)[]"], [results]), len(results), "x")
    assert found is not None
    for (good, data), outcome in zip(results, found, strict=True):
        if good:
            assert outcome == data
        else:
            assert isinstance(outcome, ContractRevert) and outcome.details["data"] == "0x" + data.hex()


@pytest.mark.unit
@given(st.binary(max_size=400), st.integers(0, 4))
def test_whatever_a_multicall_answers_is_decoded_or_given_up_without_a_crash(data: bytes, count: int) -> None:
    found = reading._decode(data, count, "x")
    assert found is None or len(found) == count


@pytest.mark.integration
def test_ranges_that_a_node_refuses_are_halved_and_the_width_is_remembered(stack: ExitStack) -> None:
    node = SimLedger(max_batch=1000)
    node.publish(300)
    _, rpc = reader_of(stack, node)
    query = LogQuery((REGISTRY,))
    whole = LogReader()
    everything = whole.read(rpc, [query], 0, node.height)
    assert [entry.block_number for entry in everything] == list(range(1, 301))
    assert whole.width is None
    node.widest = 40
    careful = LogReader()
    assert careful.read(rpc, [query, query], 0, node.height) == everything, "no event counts twice"
    assert careful.width is not None and careful.width <= 40
    before = rpc.pool.round_trips
    careful.read(rpc, [query], 0, node.height)
    assert rpc.pool.round_trips == before + 1, "all ranges in one round trip, none refused"
    node.widest = 0
    with pytest.raises(NodeRefused, match="refuses to search"):
        careful.read(rpc, [query], 0, 10)


@pytest.mark.integration
@pytest.mark.parametrize("lie", ["another block", "another contract", "no topics", "no list", "garbage"])
def test_events_that_were_not_asked_for_are_not_believed(stack: ExitStack, lie: str) -> None:
    node = SimLedger()
    node.publish(5)
    true = node.logs[2]
    bent: Any = {
        "another block": [true | {"blockNumber": "0x63"}],
        "another contract": [true | {"address": LEDGER}],
        "no topics": [true | {"topics": []}],
        "no list": {"logs": []},
        "garbage": [true | {"logIndex": None}],
    }[lie]
    node.results["eth_getLogs"] = bent
    _, rpc = reader_of(stack, node)
    topic = bytes.fromhex(true["topics"][0][2:])
    with pytest.raises(RpcUnavailable):
        LogReader().read(rpc, [LogQuery((REGISTRY,), ((topic,),))], 0, 5)


class Times:
    """A chain of which only the blocks' times matter."""

    def __init__(self, times: list[int]) -> None:
        self.times = times
        self.rounds = 0

    def ask_many(self, asks: list[Ask]) -> list[dict[str, Any]]:
        self.rounds += 1
        return [{"result": {"timestamp": hex(self.times[int(ask.params[0], 16)])}} for ask in asks]


@pytest.mark.unit
@given(st.lists(st.integers(0, 50), min_size=1, max_size=200), st.integers(0, 3_000))
def test_the_first_block_of_a_time_is_the_one_a_plain_search_finds(steps: list[int], wanted: int) -> None:
    times = [sum(steps[: index + 1]) for index in range(len(steps))]
    chain: Any = Times(times)
    assert first_block_from(chain, wanted, last=len(times) - 1) == bisect.bisect_left(times, wanted)


@pytest.mark.unit
def test_ten_million_blocks_are_searched_in_five_rounds() -> None:
    chain: Any = Times(range(0, 20_000_000, 2))  # type: ignore[arg-type]
    assert first_block_from(chain, 12_345_678, last=9_999_999) == 6_172_839
    assert chain.rounds <= 5


@pytest.mark.integration
def test_a_projects_history_is_told_in_the_order_of_the_chain_in_a_handful_of_round_trips(
    ledger_world: LedgerWorld,
) -> None:
    world = ledger_world
    other = world.project()
    number = world.project()
    for project in (other, number):
        world.stock(project)
    mine = ProposalId(world.propose(number, stake=7))
    world.propose(other)
    world.act(REVIEWER, world.ledger.claim_review_data(mine))
    world.act(REVIEWER, world.ledger.approve_data(mine, -2_000_000, b"\x05" * 32))  # type: ignore[arg-type]
    project = world.registry.find_project(number)
    assert project is not None
    before = world.rpc.pool.round_trips
    view = world.rpc.at_depth(0)
    events = project_history(view, project, ledger=world.ledger.address, registry=world.registry.address)
    assert world.rpc.pool.round_trips - before <= 8
    names = [event.name for event in events]
    assert names == [
        "ProjectCreated",
        "ProposalSubmitted",
        "ReviewClaimed",
        "BestUpdated",
        "ProposalApproved",
    ]
    assert events[1].args["stake"] == 7
    assert events[1].args["miner"] == world.address(2)
    assert events[3].args["newAggregateScore"] == events[4].args["verifiedAggregateScore"] == -2_000_000
    assert [event.block_number for event in events] == sorted(event.block_number for event in events)
