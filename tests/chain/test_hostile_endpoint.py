"""Whatever a node answers, the client ends in one of its own errors, or with an answer of the right shape."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chain_nodes import TinyNode, json_reply, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from armlx_chain.chain.contracts import ProjectRegistry, ProposalLedger
from armlx_chain.chain.frontier import FrontierReader
from armlx_chain.chain.logs import LogQuery, LogReader, first_block_from
from armlx_chain.chain.rpc import Rpc
from armlx_chain.errors import ArmlxError
from armlx_chain.types import Address, TxHash

pytestmark = pytest.mark.integration
ACCOUNT = Address("0x" + "11" * 20)
CALL = {"from": ACCOUNT, "to": ACCOUNT, "data": "0x"}
HEX = st.one_of(
    st.sampled_from(
        ["0x", "0x0", "0x1", "0x-1", "0x" + "f" * 64, "0x" + "f" * 65, "latest", "0X5", "0xzz", "-0x1"]
    ),
    st.binary(max_size=500).map(lambda data: "0x" + data.hex()),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), HEX)
FIELDS = st.sampled_from(
    [
        "number", "hash", "timestamp", "parentHash", "baseFeePerGas", "blockNumber", "blockHash", "status",
        "logs", "transactionHash", "topics", "data", "address", "logIndex", "code", "message",
        "transactions", "to", "type",
    ]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=8),
    max_leaves=14,
)
READS: dict[str, Callable[[Rpc], Any]] = {
    "block": lambda rpc: rpc.block(),
    "find_block": lambda rpc: rpc.find_block(3),
    "witnessed_block": lambda rpc: rpc.witnessed_block(3),
    "at_depth": lambda rpc: rpc.at_depth(1),
    "genesis": lambda rpc: rpc.genesis_hash,
    "check_chain": lambda rpc: rpc.check_chain(),
    "balance": lambda rpc: rpc.balance(ACCOUNT),
    "code": lambda rpc: rpc.code(ACCOUNT),
    "nonce": lambda rpc: rpc.nonce(ACCOUNT, pending=True),
    "base_fee": lambda rpc: rpc.base_fee(),
    "tip": lambda rpc: rpc.suggested_tip(),
    "estimate": lambda rpc: rpc.estimate_gas(CALL, "it"),
    "call": lambda rpc: rpc.call(CALL, "it"),
    "call_many": lambda rpc: rpc.call_many([(ACCOUNT, b"")] * 2, "it"),
    "receipt": lambda rpc: rpc.receipt(TxHash("0x" + "ab" * 32)),
    "send": lambda rpc: rpc.send_raw(b"\x02\x00"),
    "logs": lambda rpc: LogReader().read(rpc, [LogQuery((ACCOUNT,))], 0, 3),
    "by time": lambda rpc: first_block_from(rpc, 5, last=10),
    "project": lambda rpc: ProjectRegistry(rpc, ACCOUNT).find_project(1),
    "count": lambda rpc: ProposalLedger(rpc, ACCOUNT).proposal_count(),
    "submission": lambda rpc: ProposalLedger(rpc, ACCOUNT).submission_block(1),
    "frontier": lambda rpc: FrontierReader(rpc, ledger=ACCOUNT, registry=ACCOUNT).read(),
}


class Babbler(TinyNode):
    """Answers whatever it was told to, always with the right id."""

    what: Any = None
    as_error = False

    def respond(self, body: bytes) -> Any:
        asked = json.loads(body)
        key = "error" if self.as_error else "result"
        answers = [
            {"jsonrpc": "2.0", "id": one["id"], key: self.what}
            for one in (asked if isinstance(asked, list) else [asked])
        ]
        return json_reply(answers if isinstance(asked, list) else answers[0])


@pytest.fixture(scope="module")
def babbler() -> Iterator[tuple[Babbler, Rpc]]:
    node = Babbler()
    with serving(node.respond) as url:
        yield node, Rpc(url, expected_chain_id=7)


@pytest.mark.parametrize("name", sorted(READS))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES, as_error=st.booleans())
def test_no_answer_of_a_node_is_a_crash(
    babbler: tuple[Babbler, Rpc], name: str, value: Any, as_error: bool
) -> None:
    node, rpc = babbler
    node.what, node.as_error = value, as_error
    try:
        READS[name](rpc)
    except ArmlxError as error:
        assert len(error.message) < 3_000
