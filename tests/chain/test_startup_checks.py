"""Before anything is sent: chain, code, wiring, constants, tokens. Each thing that is off is told by name."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from chain_nodes import Proxy, lying_about, serving, unlucky
from eth_utils import keccak
from ledger_world import CREATOR, MINER, REVIEWER, LedgerWorld

import contracts_abi
from armlx_chain.chain.basis import Basis, Standing, facts_hold, review_facts
from armlx_chain.chain.health import Fault
from armlx_chain.chain.startup import KNOWN_CONSTANTS, check_deployment, check_project, open_chain
from armlx_chain.errors import EndpointsDisagree, RpcUnavailable, UsageError, WrongChain
from armlx_chain.types import Address, ProposalId

pytestmark = pytest.mark.integration
NOWHERE = Address("0x000000000000000000000000000000000000dEaD")


@pytest.fixture
def proxies(ledger_world: LedgerWorld) -> Iterator[list[tuple[str, Proxy]]]:
    """Three faulty endpoints in front of one honest chain."""
    with ExitStack() as stack:
        made = [Proxy(ledger_world.devnet.rpc_url) for _ in range(3)]
        yield [(stack.enter_context(serving(proxy.respond)), proxy) for proxy in made]


def selector(contract: str, function: str) -> bytes:
    return contracts_abi.function_selector(contract, function)


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def test_a_sound_deployment_passes_in_four_round_trips(ledger_world: LedgerWorld) -> None:
    rpc = open_chain(ledger_world.network())
    before = rpc.pool.round_trips
    assert check_deployment(rpc, ledger_world.network()) == KNOWN_CONSTANTS
    assert rpc.pool.round_trips - before == 4


def test_another_chain_is_refused(ledger_world: LedgerWorld) -> None:
    with pytest.raises(WrongChain, match="answers for chain 31337, but chain 16602 is configured"):
        open_chain(ledger_world.network(chain_id=16602))


@pytest.mark.parametrize("name", ["verifier_registry", "proposal_ledger", "project_registry"])
def test_an_address_without_a_contract_is_named(ledger_world: LedgerWorld, name: str) -> None:
    network = ledger_world.network(**{name: NOWHERE})
    with pytest.raises(WrongChain, match=f"no contract at {NOWHERE}"):
        check_deployment(ledger_world.rpc, network)


def test_other_code_at_an_address_is_named(ledger_world: LedgerWorld) -> None:
    swapped = ledger_world.network(
        proposal_ledger=ledger_world.registry.address, project_registry=ledger_world.ledger.address
    )
    with pytest.raises(WrongChain, match="is not the ProposalLedger that is known"):
        check_deployment(ledger_world.rpc, swapped)
    code = ledger_world.rpc.code(ledger_world.ledger.address)
    right = {"ProposalLedger": "0x" + keccak(code).hex()}
    check_deployment(ledger_world.rpc, ledger_world.network(runtime_hashes=right))
    wrong = {"ProposalLedger": "0x" + keccak(code[:-1]).hex()}
    with pytest.raises(WrongChain, match="is not the ProposalLedger that is known"):
        check_deployment(ledger_world.rpc, ledger_world.network(runtime_hashes=wrong))


WIRING = [
    ("ProposalLedger", "registry"),
    ("ProposalLedger", "verifierRegistry"),
    ("ProjectRegistry", "proposalLedger"),
]
CONSTANTS = [
    ("REVIEW_LOCK", 3600),
    ("EXPIRY_WINDOW", 86_400),
    ("BPS_DENOMINATOR", 1000),
    ("SLASH_BPS_TO_BURN", 10_000),
    ("SLASH_BPS_TO_VERIFIER_POOL", 0),
]


@pytest.mark.parametrize(("contract", "function"), WIRING)
def test_each_pair_of_the_wiring_is_compared(
    ledger_world: LedgerWorld, proxies: list[tuple[str, Proxy]], contract: str, function: str
) -> None:
    url, proxy = proxies[0]
    proxy.lie = lying_about(selector(contract, function), word(int(NOWHERE, 16)))
    network = ledger_world.network((url,))
    with pytest.raises(WrongChain, match=f"{contract}.{function} is {NOWHERE}") as caught:
        check_deployment(open_chain(network), network)
    assert caught.value.next_step


@pytest.mark.parametrize(("function", "value"), CONSTANTS)
def test_each_constant_is_read_and_compared(
    ledger_world: LedgerWorld, proxies: list[tuple[str, Proxy]], function: str, value: int
) -> None:
    url, proxy = proxies[0]
    proxy.lie = lying_about(selector("ProposalLedger", function), word(value))
    network = ledger_world.network((url,))
    with pytest.raises(WrongChain, match=f"ProposalLedger.{function} is {value}, but"):
        check_deployment(open_chain(network), network)


@pytest.mark.parametrize(
    ("contract", "function", "value", "words"),
    [
        ("ProjectRegistry", "tokenOf", word(int(NOWHERE, 16)), "as the token of project"),
        ("ProjectToken", "decimals", word(18), "has decimals"),
        ("ProjectToken", "proposalLedger", word(1), "does not belong to the configured ledger"),
        ("ProjectToken", "decimals", b"", "no such contract"),
    ],
)
def test_a_project_whose_token_does_not_fit_is_refused(
    ledger_world: LedgerWorld,
    proxies: list[tuple[str, Proxy]],
    contract: str,
    function: str,
    value: bytes,
    words: str,
) -> None:
    number = ledger_world.project()
    url, proxy = proxies[0]
    network = ledger_world.network((url,))
    rpc = open_chain(network)
    project, token = check_project(rpc, network, number)
    assert (project.token, token.decimals()) == (token.address, 0)
    proxy.lie = lying_about(selector(contract, function), value)
    with pytest.raises(WrongChain, match=words):
        check_project(rpc, network, number)


@pytest.mark.parametrize("number", [10**6, -1, 1 << 256])
def test_a_project_that_does_not_exist_is_said_not_to(ledger_world: LedgerWorld, number: int) -> None:
    with pytest.raises(UsageError, match=f"no project {number} on test: ids run from 0"):
        check_project(ledger_world.rpc, ledger_world.network(), number)


def test_one_liar_among_three_is_found_out_and_the_checks_pass(
    ledger_world: LedgerWorld, proxies: list[tuple[str, Proxy]]
) -> None:
    proxies[0][1].lie = lying_about(selector("ProposalLedger", "REVIEW_LOCK"), word(1))
    network = ledger_world.network(tuple(url for url, _ in proxies))
    rpc = open_chain(network)
    assert check_deployment(rpc, network) == KNOWN_CONSTANTS
    assert [report.fault for report in rpc.endpoints()] == [Fault.LYING, None, None]


def test_with_two_endpoints_a_lie_about_a_score_stops_everything(
    ledger_world: LedgerWorld, proxies: list[tuple[str, Proxy]]
) -> None:
    number = ledger_world.project()
    network = ledger_world.network(tuple(url for url, _ in proxies[:2]))
    rpc = open_chain(network)
    true = ledger_world.rpc.call(
        {
            "to": ledger_world.registry.address,
            "data": "0x" + ledger_world.registry.encode("getProject", number).hex(),
        },
        "looking",
    )
    better = true[: 6 * 32] + word(2**200) + true[7 * 32 :]
    proxies[1][1].lie = lying_about(selector("ProjectRegistry", "getProject"), better)
    with pytest.raises(EndpointsDisagree):
        check_project(rpc, network, number)


@pytest.mark.parametrize("kind", ["reset", "truncated", "cut JSON", "429", "503", "-32005"])
def test_with_one_endpoint_broken_everything_still_works_over_the_other(
    ledger_world: LedgerWorld, proxies: list[tuple[str, Proxy]], kind: str
) -> None:
    proxies[0][1].fault = unlucky(kind)
    network = ledger_world.network(tuple(url for url, _ in proxies[:2]))
    rpc = open_chain(network)
    assert check_deployment(rpc, network) == KNOWN_CONSTANTS
    assert rpc.endpoints()[0].fault is not None


def test_a_precondition_that_changed_a_moment_ago_is_neither_kept_nor_broken_until_it_is_settled(
    ledger_world: LedgerWorld,
) -> None:
    """A nonce is cancelled, and a verdict given up, only for what a reorganisation cannot undo."""
    world = ledger_world
    number = world.project()
    world.stock(number)
    proposal = ProposalId(world.propose(number))
    found = world.registry.find_project(number)
    assert found is not None
    facts = Basis.of(found).facts() | review_facts(proposal, world.address(REVIEWER), Standing.FREE)
    world.devnet.mine(3)
    assert facts_hold(world.registry, world.ledger, facts, confirmations=3)
    world.act(REVIEWER, world.ledger.claim_review_data(proposal))
    with pytest.raises(RpcUnavailable, match="changed in the last 3 blocks and is not settled"):
        facts_hold(world.registry, world.ledger, facts, confirmations=3)
    world.devnet.mine(3)
    assert not facts_hold(world.registry, world.ledger, facts, confirmations=3)
    assert not facts_hold(world.registry, world.ledger, {"project": 10**6, "control": "", "best": 0})


def test_a_submissions_block_is_found_by_its_time_and_seen_alike_by_two(
    ledger_world: LedgerWorld, proxies: list[tuple[str, Proxy]]
) -> None:
    from verifier.daemon.seed import read_seed

    world = ledger_world
    number = world.project()
    world.stock(number)
    proposal = ProposalId(world.propose(number))
    mined = world.rpc.block("latest").number
    assert world.ledger.submission_block(proposal) == mined
    assert world.ledger.submission_block(10**6) is None
    world.devnet.mine(12)
    urls = tuple(url for url, _ in proxies[:2])
    ledger = world.ledger.on(open_chain(world.network(urls)))
    seed = read_seed(ledger, proposal, rule_id="r", delay_blocks=8, confirmations=3)
    assert seed is not None and seed.block == mined + 8
    assert read_seed(ledger, proposal, rule_id="r", delay_blocks=11, confirmations=3) is None

    def another_hash(asked: object, true: object) -> object:
        wanted = isinstance(asked, dict) and asked["params"][:1] == [hex(mined + 8)]
        return true | {"hash": "0x" + "66" * 32} if wanted and isinstance(true, dict) else true

    proxies[0][1].lie = another_hash
    with pytest.raises(EndpointsDisagree):
        read_seed(ledger, proposal, rule_id="r", delay_blocks=8, confirmations=3)
    assert world.address(CREATOR) != world.address(MINER)
