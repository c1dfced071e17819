"""What arrives over HTTP, however malformed, gets a proper answer; many clients at once, too."""

from __future__ import annotations

import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from devnet_tools import Play, Sender, Wire

from armlx_chain.errors import DevnetRpcError


def _request(method: str, *params: Any, identifier: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identifier, "method": method, "params": list(params)}


def test_a_batch_is_answered_in_order_each_with_its_id(wire: Wire) -> None:
    answers = wire.post_json(
        [
            _request("eth_chainId", identifier="first"),
            _request("eth_nothing", identifier=2),
            _request("eth_getBalance", "0x12", identifier=3),
            _request("eth_blockNumber", identifier=None),
        ]
    )
    assert [answer["id"] for answer in answers] == ["first", 2, 3, None]
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, -32601, -32602, None]
    assert answers[3]["result"] == wire("eth_blockNumber")


def test_a_transaction_and_questions_about_it_fit_in_one_batch(play: Play, wire: Wire) -> None:
    sender = play.sender(4)
    raw = sender.sign(to=sender.address, value=0)
    sent, _ = wire.post_json(
        [_request("eth_sendRawTransaction", raw), _request("eth_blockNumber", identifier=2)]
    )
    assert wire.receipt(sent["result"])["status"] == "0x1"


def test_notifications_get_no_answer_but_are_carried_out(wire: Wire) -> None:
    height = wire.number("eth_blockNumber")
    notification = {"jsonrpc": "2.0", "method": "evm_mine", "params": []}
    assert wire.post(json.dumps(notification).encode()) == (200, b"")
    (only,) = wire.post_json([notification, _request("eth_blockNumber", identifier=7)])
    assert (only["id"], int(only["result"], 16)) == (7, height + 2)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"eth_chainId"}', -32700),
        (b"[" * 100_000, -32700),
        (b'{"a":' * 100_000, -32700),
        (b'"' + b'\\"' * 2_000_000, -32700),
        (b'{"jsonrpc":"2.0","id":1e999,"method":"eth_chainId"}', -32700),
        (b"[]", -32600),
        (b"{}", -32600),
        (b"null", -32600),
        (b'"eth_chainId"', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"no_such_method","params":[]}', -32601),
    ],
)
def test_a_malformed_request_gets_the_error_that_json_rpc_names(wire: Wire, body: bytes, code: int) -> None:
    status, answer = wire.post(body)
    assert status == 200
    assert json.loads(answer)["error"]["code"] == code


def test_a_batch_of_nonsense_gets_an_error_for_each(wire: Wire) -> None:
    assert [answer["error"]["code"] for answer in wire.post_json([1, None, []])] == [-32600] * 3
    assert wire.post_json([_request("eth_chainId")] * 1001)["error"]["code"] == -32600


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getBalance", []),
        ("eth_getBalance", ["0x12", "latest"]),
        ("eth_getBalance", [17, "latest"]),
        ("eth_getBlockByNumber", ["tomorrow", False]),
        ("eth_getBlockByNumber", ["latest", "yes"]),
        ("eth_getTransactionReceipt", ["0x12"]),
        ("eth_getTransactionReceipt", [None]),
        ("eth_call", ["0x12", "latest"]),
        ("eth_call", [{"to": "0x12"}, "latest"]),
        ("eth_call", [{"data": "0x1"}, "latest"]),
        ("eth_call", [{"value": "-1"}, "latest"]),
        ("eth_sendRawTransaction", ["0x"]),
        ("eth_sendRawTransaction", ["0xc0"]),
        ("eth_sendRawTransaction", ["0x02c0"]),
        ("eth_sendRawTransaction", ["hello"]),
        ("eth_sendRawTransaction", ["0x02" + "ff" * 100]),
        ("eth_getLogs", ["latest"]),
        ("evm_increaseTime", [-5]),
        ("evm_setNextBlockTimestamp", ["soon"]),
    ],
)
def test_malformed_parameters_are_refused_and_change_nothing(
    wire: Wire, method: str, params: list[Any]
) -> None:
    head = wire.block()
    with pytest.raises(DevnetRpcError) as refusal:
        wire(method, *params)
    assert refusal.value.rpc_code in (-32602, -32000)
    assert wire.block() == head


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_only_json_is_taken(wire: Wire, headers: dict[str, str], status: int) -> None:
    assert wire.post(json.dumps(_request("eth_chainId")).encode(), headers)[0] == status


def _raw_status(wire: Wire, method: str, headers: dict[str, str]) -> int:
    """The status of a request without a body."""
    parts = urlsplit(wire.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.putrequest(method, "/")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_body_is_refused_by_its_announced_length_before_it_is_read(wire: Wire) -> None:
    json_type = {"Content-Type": "application/json"}
    assert _raw_status(wire, "POST", {**json_type, "Content-Length": str(6 * 1024 * 1024)}) == 413
    assert _raw_status(wire, "POST", {**json_type, "Content-Length": "9" * 5000}) in (413, 431)
    assert _raw_status(wire, "POST", {**json_type, "Content-Length": "-1"}) == 411
    assert _raw_status(wire, "POST", json_type) == 411
    assert _raw_status(wire, "GET", {}) == 405


def test_a_connection_serves_many_requests(wire: Wire) -> None:
    parts = urlsplit(wire.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        for _ in range(5):
            body = json.dumps(_request("eth_chainId"))
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            assert json.loads(connection.getresponse().read())["result"] == wire("eth_chainId")
    finally:
        connection.close()


def test_many_clients_at_once_lose_and_double_nothing(play: Play, wire: Wire) -> None:
    senders = [play.sender(index) for index in (4, 5, 6, 7, 8, 9)]
    before = {sender.address: sender.nonce() for sender in senders}
    height = wire.number("eth_blockNumber")
    failures: list[str] = []
    done = threading.Event()

    def read() -> None:
        mine = Wire(wire.url)
        while not done.is_set():
            block = mine.block(full=True)
            for transaction in block["transactions"]:
                if transaction["blockHash"] != block["hash"]:
                    failures.append(str(transaction))
            mine.number("eth_gasPrice")

    def write(sender: Sender) -> list[str]:
        own = Sender(Wire(wire.url), sender.account, sender.chain_id)
        first = own.nonce()
        fees = {"maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9}
        return [
            own.send(nonce=first + step, to=own.address, value=step, gas=21_000, **fees) for step in range(5)
        ]

    with ThreadPoolExecutor(max_workers=8) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        hashes = [one for batch in pool.map(write, senders) for one in batch]
        receipts = [wire.receipt(one) for one in hashes]
        done.set()
        for reader in readers:
            reader.result()
    assert failures == []
    assert len(set(hashes)) == 30
    assert all(receipt["status"] == "0x1" for receipt in receipts)
    assert {sender.address: sender.nonce() - 5 for sender in senders} == before
    blocks = [wire.block(number) for number in range(height + 1, wire.number("eth_blockNumber") + 1)]
    mined = [one for block in blocks for one in block["transactions"]]
    assert sorted(mined) == sorted(hashes)
