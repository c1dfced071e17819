"""Several endpoints on the real command line: what a person sees of one that is broken, wrong or lying."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from chain_nodes import Proxy, TinyNode, lying_about, serving, unlucky
from click.testing import CliRunner
from ledger_world import LedgerWorld

import contracts_abi
from armlx_chain.cli.main import cli
from armlx_chain.errors import ArmlxError, EndpointsDisagree, UsageError, WrongChain
from armlx_chain.settings import load_network

pytestmark = pytest.mark.integration


class Hand:
    """Runs a command on the world of these tests with the endpoints of one's choice."""

    def __init__(self, world: LedgerWorld, home: Path, stack: ExitStack) -> None:
        self.world = world
        self.home = home
        self.proxies = [Proxy(world.devnet.rpc_url) for _ in range(3)]
        self.urls = [stack.enter_context(serving(proxy.respond)) for proxy in self.proxies]
        self.state = Path(home / "devnet")
        self.state.mkdir()
        where = world.devnet.addresses
        addresses = {
            name: getattr(where, name)
            for name in ("verifier_registry", "proposal_ledger", "project_registry", "market", "flow")
        }
        (self.state / "devnet.json").write_text(
            json.dumps(
                {
                    "chain_id": world.devnet.chain_id,
                    "rpc_url": world.devnet.rpc_url,
                    "storage_url": "http://127.0.0.1:9",
                    "addresses": addresses,
                }
            )
        )

    def run(self, *arguments: str, urls: list[str] | None = None) -> dict[str, object]:
        chosen = ",".join(urls if urls is not None else self.urls)
        given = [*arguments, "--network", "devnet", "--home", str(self.home), "--rpc-url", chosen, "--json"]
        ran = CliRunner(env={"ARMLX_DEVNET": str(self.state)}).invoke(cli, given)
        if isinstance(ran.exception, ArmlxError):
            raise ran.exception
        assert ran.exception is None, ran.exception
        found: dict[str, object] = json.loads(ran.stdout)
        return found


@pytest.fixture
def hand(ledger_world: LedgerWorld, tmp_path: Path) -> Iterator[Hand]:
    with ExitStack() as stack:
        yield Hand(ledger_world, tmp_path, stack)


@pytest.mark.parametrize("kind", ["reset", "429", "cut JSON"])
def test_status_works_beside_a_broken_endpoint_and_names_it(hand: Hand, kind: str) -> None:
    hand.proxies[0].fault = unlucky(kind)
    account = hand.world.address(2)
    shown = hand.run("status", "--address", account)
    assert shown["account"] == account
    endpoints = shown["endpoints"]
    assert isinstance(endpoints, list)
    assert "set aside" in endpoints[0] and hand.urls[0] in endpoints[0]
    assert all("in use" in sentence for sentence in endpoints[1:])


def test_an_endpoint_of_another_chain_stops_every_command_by_name(hand: Hand) -> None:
    with ExitStack() as stack:
        foreign = stack.enter_context(serving(TinyNode(chain_id=1).respond))
        with pytest.raises(WrongChain, match=f"{foreign} answers for chain 1"):
            hand.run("status", "--address", hand.world.address(2), urls=[hand.urls[0], foreign])


def test_a_score_that_two_endpoints_tell_differently_is_shown_to_nobody(hand: Hand) -> None:
    number = hand.world.project()
    selector = contracts_abi.function_selector("ProjectRegistry", "getProject")
    hand.proxies[1].lie = lying_about(selector, b"\x01" * (12 * 32))
    with pytest.raises(EndpointsDisagree, match="contradict each other"):
        hand.run("status", "--project", str(number), urls=hand.urls[:2])


def test_the_same_endpoint_twice_is_no_second_witness(hand: Hand) -> None:
    with pytest.raises(UsageError, match="given twice"):
        hand.run("status", "--address", hand.world.address(2), urls=[hand.urls[0]] * 2)


def test_settings_take_several_endpoints_and_keep_their_order(hand: Hand, tmp_path: Path) -> None:
    network = load_network("galileo", home=tmp_path, rpc_url=" https://a , https://b/x,,", env={})
    assert network.rpc_urls == ("https://a", "https://b/x")
    assert network.rpc_url == "https://a"
    assert network.multicall3 is not None
    assert network.max_head_age_seconds is not None
