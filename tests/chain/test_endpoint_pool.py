"""Several endpoints: who fails is set aside and named, who contradicts is found out, sends go out once."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from chain_nodes import Stepped, TinyNode, answer_to, error_to, serving, unlucky
from eth_utils import keccak

from armlx_chain.chain.health import Fault
from armlx_chain.chain.pool import Ask, Policy
from armlx_chain.chain.rpc import NodeRefused, Rpc
from armlx_chain.errors import EndpointsDisagree, RpcUnavailable, UsageError, WrongChain
from armlx_chain.types import Address, TxHash

pytestmark = pytest.mark.integration
ACCOUNT = Address("0x" + "11" * 20)
TX = TxHash("0x" + "ab" * 32)


class Net:
    """Some tiny nodes and an Rpc in front of them, with a clock that steps."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.clock = Stepped()
        self.wall = Stepped(1_000_200.0)
        self.nodes: list[TinyNode] = []
        self.names: list[str] = []

    def rpc(self, *nodes: TinyNode, **policy: Any) -> Rpc:
        self.nodes = list(nodes)
        self.names = [self._stack.enter_context(serving(node.respond)) for node in nodes]
        chosen = {"timeout_seconds": 60.0, **policy}
        return Rpc(self.names, expected_chain_id=7, policy=Policy(**chosen), clock=self.clock, wall=self.wall)

    def faults(self, rpc: Rpc) -> list[Fault | None]:
        return [report.fault for report in rpc.endpoints()]


@pytest.fixture
def net() -> Iterator[Net]:
    with ExitStack() as stack:
        yield Net(stack)


def balance(value: int) -> dict[str, Any]:
    return {"eth_getBalance": hex(value)}


WIRE_FAULTS = {
    "reset": Fault.UNREACHABLE, "truncated": Fault.UNREACHABLE, "cut JSON": Fault.GARBAGE,
    "429": Fault.LIMITED,
    "500": Fault.SERVER, "503": Fault.SERVER, "-32005": Fault.LIMITED, "other id": Fault.GARBAGE,
    "a list": Fault.GARBAGE, "no result": Fault.GARBAGE, "nested": Fault.GARBAGE, "redirect": Fault.SERVER,
    "endless": Fault.GARBAGE,
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(WIRE_FAULTS))
def test_a_failing_endpoint_is_set_aside_and_named_and_the_next_answers(net: Net, kind: str) -> None:
    rpc = net.rpc(TinyNode(results=balance(1)), TinyNode(results=balance(2)))
    rpc.check_chain()
    net.nodes[0].fault = unlucky(kind)
    assert rpc.balance(ACCOUNT) == 2
    assert net.faults(rpc) == [WIRE_FAULTS[kind], None]
    asked = len(net.nodes[0].seen)
    assert rpc.balance(ACCOUNT) == 2
    assert len(net.nodes[0].seen) == asked, "it was asked again at once"
    assert net.names[0] in rpc.endpoints()[0].sentence()


@pytest.mark.parametrize("kind", sorted(WIRE_FAULTS))
def test_a_single_failing_endpoint_ends_in_one_error_that_names_it(net: Net, kind: str) -> None:
    rpc = net.rpc(TinyNode(results=balance(1), fault=unlucky(kind)))
    with pytest.raises(RpcUnavailable, match=net.names[0]):
        rpc.balance(ACCOUNT)
    net.nodes[0].fault = None
    assert rpc.balance(ACCOUNT) == 1, "an endpoint in trouble is the last resort, not lost"


def test_a_slow_endpoint_is_set_aside(net: Net) -> None:
    rpc = net.rpc(TinyNode(results=balance(1)), TinyNode(results=balance(2)), timeout_seconds=0.5)
    net.nodes[0].fault = unlucky("latency")
    assert rpc.balance(ACCOUNT) == 2
    assert net.faults(rpc) == [Fault.SLOW, None]


def test_an_endpoint_that_comes_back_is_asked_again_after_its_time_and_must_prove_its_chain_anew(
    net: Net,
) -> None:
    rpc = net.rpc(TinyNode(results=balance(1)), TinyNode(results=balance(2)))
    rpc.check_chain()
    net.nodes[0].fault = unlucky("503")
    assert rpc.balance(ACCOUNT) == 2
    net.nodes[0].fault, net.nodes[0].chain_id = None, 1
    net.clock.now += 60
    assert rpc.balance(ACCOUNT) == 2
    assert net.faults(rpc) == [Fault.WRONG_CHAIN, None]
    net.clock.now += 10**7
    assert rpc.balance(ACCOUNT) == 2


def test_a_wrong_chain_among_the_configured_is_refused_by_name_even_if_the_others_are_right(net: Net) -> None:
    rpc = net.rpc(TinyNode(), TinyNode(chain_id=1))
    with pytest.raises(WrongChain, match=f"{net.names[1]} answers for chain 1"):
        rpc.check_chain()


def test_two_chains_of_one_id_are_told_apart_by_their_first_block(net: Net) -> None:
    rpc = net.rpc(TinyNode(), TinyNode(fork=-1, branch="another"))
    with pytest.raises(WrongChain, match="two different chains with the id 7"):
        rpc.check_chain()


def test_an_endpoint_that_is_down_at_the_start_does_not_stop_the_others(net: Net) -> None:
    rpc = net.rpc(TinyNode(fault=unlucky("reset")), TinyNode(results=balance(2)))
    rpc.check_chain()
    assert rpc.balance(ACCOUNT) == 2
    rpc = net.rpc(TinyNode(fault=unlucky("reset")), TinyNode(fault=unlucky("503")))
    with pytest.raises(RpcUnavailable) as caught:
        rpc.check_chain()
    assert all(name in caught.value.message for name in net.names)


def test_an_address_with_a_key_in_it_is_never_shown() -> None:
    secret = "c0ffee" * 6
    rpc = Rpc([f"http://user:{secret}@127.0.0.1:9/v3/{secret}?k={secret}"], expected_chain_id=7)
    with pytest.raises(RpcUnavailable) as caught:
        rpc.balance(ACCOUNT)
    assert secret not in str(caught.value.sentences()) + str(caught.value.details) + rpc.url
    assert "http://127.0.0.1:9" in caught.value.message


@pytest.mark.parametrize("urls", [["ftp://x"], ["nonsense"], ["http://a", "http://a"], [], ["http://[::1"]])
def test_addresses_that_make_no_sense_are_a_mistake_of_usage(urls: list[str]) -> None:
    with pytest.raises(UsageError):
        Rpc(urls, expected_chain_id=7)


def test_a_stale_endpoint_is_set_aside_when_the_other_is_on_the_same_branch(net: Net) -> None:
    rpc = net.rpc(TinyNode(height=80, results=balance(1)), TinyNode(height=100, results=balance(2)))
    assert rpc.balance(ACCOUNT) == 2
    assert net.faults(rpc) == [Fault.STALE, None]
    assert "20 blocks behind" in rpc.endpoints()[0].sentence()
    assert rpc.at_depth(3).block().number == 97


def test_of_two_endpoints_on_different_branches_neither_is_believed(net: Net) -> None:
    rpc = net.rpc(TinyNode(height=80, branch="other", fork=50), TinyNode(height=100))
    with pytest.raises(EndpointsDisagree, match="contradict each other"):
        rpc.at_depth(3)


def test_a_head_without_new_blocks_for_long_is_stale_also_when_it_is_the_only_one(net: Net) -> None:
    rpc = net.rpc(TinyNode(), max_head_age_seconds=300.0)
    assert rpc.at_depth(3).block().number == 97
    net.wall.now += 1000
    with pytest.raises(RpcUnavailable, match="no new block for 1000 s"):
        rpc.at_depth(3)


def test_what_decides_about_money_is_asked_of_two_at_one_block(net: Net) -> None:
    asked: list[Any] = []

    def note(params: Any) -> str:
        asked.append(params)
        return "0x5"

    nodes = [TinyNode(height=100 + index, results={"eth_getBalance": note}) for index in range(2)]
    settled = net.rpc(*nodes).at_depth(3)
    assert settled.balance(ACCOUNT) == 5
    assert asked == [[ACCOUNT, hex(98)]] * 2


def test_two_that_contradict_each_other_decide_nothing_and_a_third_decides(net: Net) -> None:
    liar = TinyNode(results=balance(10**30))
    settled = net.rpc(liar, TinyNode(results=balance(1))).at_depth(3)
    with pytest.raises(EndpointsDisagree) as caught:
        settled.balance(ACCOUNT)
    assert caught.value.exit_code == 75
    assert caught.value.details["endpoints"] == net.names
    rpc = net.rpc(liar, TinyNode(results=balance(1)), TinyNode(results=balance(1)))
    assert rpc.at_depth(3).balance(ACCOUNT) == 1
    assert net.faults(rpc) == [Fault.LYING, None, None]


def test_another_block_hash_at_the_confirmed_height_is_noticed(net: Net) -> None:
    rpc = net.rpc(TinyNode(), TinyNode(branch="other", fork=90))
    assert rpc.at_depth(20).block().number == 80
    with pytest.raises(EndpointsDisagree):
        rpc.at_depth(3)
    with pytest.raises(EndpointsDisagree):
        rpc.witnessed_block(95)


def test_a_witness_that_lags_is_no_witness_and_no_liar(net: Net) -> None:
    rpc = net.rpc(TinyNode(height=100), TinyNode(height=97))
    assert rpc.at_depth(1).block().number == 99
    assert net.faults(rpc) == [None, None]
    assert rpc.witnessed_block(101) is None


def test_the_height_never_goes_back_when_only_a_lagging_endpoint_is_left(net: Net) -> None:
    rpc = net.rpc(TinyNode(height=100), TinyNode(height=97))
    assert rpc.at_depth(0).block().number == 100
    net.nodes[0].fault = unlucky("503")
    with pytest.raises(RpcUnavailable, match="block 100, which was there before"):
        rpc.at_depth(0)


def receipt_of(node: TinyNode, number: int, **change: Any) -> dict[str, Any]:
    known = {
        "transactionHash": TX, "blockHash": node.block_hash(number), "blockNumber": hex(number),
        "status": "0x1",
        "logs": [], "gasUsed": "0x5208",
    }  # fmt: skip
    return known | change


def test_a_receipt_counts_when_all_that_have_its_block_show_it(net: Net) -> None:
    first, second = TinyNode(), TinyNode()
    rpc = net.rpc(first, second)
    assert rpc.receipt(TX) is None
    first.results["eth_getTransactionReceipt"] = receipt_of(first, 100)
    second.height = 99
    assert rpc.receipt(TX) is None, "the second has not come so far"
    second.height, second.results = 100, dict(first.results)
    found = rpc.receipt(TX)
    assert found is not None and found["status"] == 1


def test_contradictory_receipts_decide_nothing_and_the_majority_does(net: Net) -> None:
    one, two, three = TinyNode(), TinyNode(), TinyNode()
    for node, status in ((one, "0x1"), (two, "0x0"), (three, "0x0")):
        node.results["eth_getTransactionReceipt"] = receipt_of(node, 90, status=status)
    with pytest.raises(EndpointsDisagree):
        net.rpc(one, two).receipt(TX)
    rpc = net.rpc(one, two, three)
    found = rpc.receipt(TX)
    assert found is not None and found["status"] == 0
    assert net.faults(rpc) == [Fault.LYING, None, None]


def test_a_receipt_in_a_block_that_another_endpoint_does_not_have_is_a_contradiction(net: Net) -> None:
    honest, forger = TinyNode(), TinyNode(branch="forged", fork=80)
    forger.results["eth_getTransactionReceipt"] = receipt_of(forger, 90)
    with pytest.raises(EndpointsDisagree):
        net.rpc(honest, forger).receipt(TX)


def test_an_endpoint_that_hides_a_receipt_of_a_block_it_has_is_set_aside(net: Net) -> None:
    honest = TinyNode()
    honest.results["eth_getTransactionReceipt"] = receipt_of(honest, 90)
    rpc = net.rpc(TinyNode(), honest)
    assert rpc.receipt(TX) is not None
    assert net.faults(rpc) == [Fault.LYING, None]


RAW = bytes.fromhex("02f8" + "33" * 60)


def test_the_same_bytes_go_to_every_healthy_endpoint_once(net: Net) -> None:
    rpc = net.rpc(TinyNode(), TinyNode(), TinyNode())
    assert rpc.send_raw(RAW) == "0x" + keccak(RAW).hex()
    assert [node.sent for node in net.nodes] == [["0x" + RAW.hex()]] * 3


@pytest.mark.parametrize("kind", ["reset", "truncated", "503", "429", "cut JSON"])
def test_a_send_whose_outcome_one_endpoint_does_not_tell_goes_to_the_next_and_never_twice_to_one(
    net: Net, kind: str
) -> None:
    rpc = net.rpc(TinyNode(), TinyNode())
    rpc.check_chain()
    net.nodes[0].fault = unlucky(kind)
    assert rpc.send_raw(RAW) == "0x" + keccak(RAW).hex()
    assert [node.seen.count("eth_sendRawTransaction") for node in net.nodes] == [1, 1]


def test_an_acceptance_by_one_outweighs_a_refusal_and_already_known_outweighs_other_words(net: Net) -> None:
    def refusing(words: str) -> TinyNode:
        return TinyNode(results={"eth_sendRawTransaction": {"error": {"code": -32000, "message": words}}})

    assert net.rpc(refusing("nonce too low"), TinyNode()).send_raw(RAW)
    with pytest.raises(NodeRefused, match="already known"):
        net.rpc(refusing("insufficient funds"), refusing("already known")).send_raw(RAW)
    with pytest.raises(NodeRefused, match="insufficient funds"):
        net.rpc(refusing("insufficient funds"), refusing("nonce too low")).send_raw(RAW)


def test_nobody_answers_a_send_so_its_outcome_is_not_known(net: Net) -> None:
    rpc = net.rpc(TinyNode(), TinyNode())
    rpc.check_chain()
    for node in net.nodes:
        node.fault = unlucky("reset")
    with pytest.raises(RpcUnavailable):
        rpc.send_raw(RAW)


def test_an_endpoint_that_answers_a_send_with_another_hash_is_a_liar(net: Net) -> None:
    rpc = net.rpc(TinyNode(results={"eth_sendRawTransaction": "0x" + "77" * 32}), TinyNode())
    assert rpc.send_raw(RAW) == "0x" + keccak(RAW).hex()
    assert net.faults(rpc) == [Fault.LYING, None]


def test_batches_are_cut_to_what_a_node_takes_and_end_in_single_questions(net: Net) -> None:
    numbers = [hex(number) for number in range(90)]
    asks = [Ask("eth_getBlockByNumber", [number, False]) for number in numbers]
    for most, expected in ((1000, 1), (25, 6), (1, None)):
        rpc = net.rpc(TinyNode(max_batch=most))
        answers = rpc.ask_many(asks)
        assert [answer["result"]["number"] for answer in answers] == numbers
        trips = rpc.pool.round_trips
        assert trips == expected if expected else 90 < trips < 100
        rpc.ask_many(asks[: min(most, 20)])
        assert rpc.pool.round_trips == trips + 1, "what a node takes is remembered"


@pytest.mark.parametrize("shuffle", ["reversed", "missing", "doubled", "foreign"])
def test_answers_of_a_batch_are_matched_to_their_questions_or_not_believed(net: Net, shuffle: str) -> None:
    rpc = net.rpc(TinyNode())

    def bend(request: Any) -> Any:
        replies = [net.nodes[0].one(item) for item in request]
        bent = {
            "reversed": replies[::-1], "missing": replies[:-1], "doubled": [*replies[:-1], replies[0]],
            "foreign": [*replies[:-1], replies[-1] | {"id": 10**9}],
        }[shuffle]  # fmt: skip
        import json

        return 200, json.dumps(bent).encode(), {}

    net.nodes[0].fault = bend
    asks = [Ask("eth_getBlockByNumber", [hex(number), False]) for number in range(5)]
    if shuffle == "reversed":
        assert [a["result"]["number"] for a in rpc.ask_many(asks)] == [hex(number) for number in range(5)]
    else:
        with pytest.raises(RpcUnavailable):
            rpc.ask_many(asks)


def test_one_entry_of_a_batch_that_hits_a_limit_sends_the_whole_batch_to_the_next(net: Net) -> None:
    rpc = net.rpc(TinyNode(), TinyNode())
    rpc.check_chain()
    net.nodes[0].results["eth_getBalance"] = {"error": {"code": -32005, "message": "rate limit reached"}}
    net.nodes[1].results["eth_getBalance"] = "0x9"
    asks = [Ask("eth_getBalance", [ACCOUNT, "0x5"]), Ask("eth_chainId", [])]
    assert [answer["result"] for answer in rpc.ask_many(asks)] == ["0x9", "0x7"]
    assert net.faults(rpc) == [Fault.LIMITED, None]


def test_a_range_of_logs_too_wide_is_the_questions_fault_not_the_endpoints(net: Net) -> None:
    rpc = net.rpc(TinyNode(fault=None))
    net.nodes[0].fault = lambda request: (
        error_to(request, -32005, "query returned more than 10000 results")
        if request["method"] == "eth_getLogs"
        else None
    )
    answer = rpc.ask_many([Ask("eth_getLogs", [{"fromBlock": "0x0", "toBlock": "0x64"}])])[0]
    assert answer["error"]["code"] == -32005
    assert net.faults(rpc) == [None]


def test_a_view_of_a_confirmed_block_sends_nothing_stale_for_latest(net: Net) -> None:
    node = TinyNode(
        results={"eth_getTransactionCount": lambda params: "0x9" if params[1] == "pending" else "0x3"}
    )
    settled = net.rpc(node).at_depth(10)
    assert settled.block("latest").number == 90
    assert settled.nonce(ACCOUNT, pending=True) == 9
    assert settled.nonce(ACCOUNT, pending=False) == 3
    assert settled.block(50).number == 50


def test_an_answer_that_only_its_reader_sees_through_sets_its_endpoint_aside(net: Net) -> None:
    rpc = net.rpc(TinyNode(results={"eth_getBalance": "a lot"}), TinyNode(results=balance(4)))
    with pytest.raises(RpcUnavailable, match="makes no sense"):
        rpc.balance(ACCOUNT)
    assert rpc.balance(ACCOUNT) == 4
    assert net.faults(rpc) == [Fault.GARBAGE, None]


def test_answers_are_bounded_while_they_arrive(net: Net) -> None:
    from armlx_chain.chain.wire import Endpoint, EndpointFaulty

    def flood(request: Any) -> Any:
        return answer_to(request, "0x" + "00" * 2_000_000)

    name = net.rpc(TinyNode(fault=flood)).url
    endpoint = Endpoint(name, name=name, timeout_seconds=60.0, max_answer_bytes=1_000_000)
    with pytest.raises(EndpointFaulty, match="more than 1000000 bytes"):
        endpoint.ask(Ask("eth_chainId", []))
