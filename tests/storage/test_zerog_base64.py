"""Base64 by vectors says what the standard library says, and lifted answers what JSON says."""

from __future__ import annotations

import binascii
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.storage.jsonrpc import parse_json
from armlx_chain.storage.zerog import base64text, wire
from armlx_chain.storage.zerog.kernel import shared_kernel

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything goes through the compiled code, however short, where there is a compiler."""
    shared_kernel()
    monkeypatch.setattr(base64text, "_LEAST", 0)


def judged(text: bytes) -> bytes | None:
    try:
        return bytes(base64text.decode(text))
    except ValueError:
        return None


def by_the_library(text: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None


@pytest.mark.parametrize("size", [*range(200), 4095, 4096, 4097, 262143, 262144])
def test_what_was_encoded_comes_back(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert judged(binascii.b2a_base64(data, newline=False)) == data


def test_every_wrong_byte_in_every_place_of_a_step_is_refused() -> None:
    text = binascii.b2a_base64(bytes(range(240)), newline=False)
    for place in range(64, 192):
        for byte in (0, 9, 10, 32, 42, 44, 45, 46, 58, 61, 64, 91, 95, 96, 123, 127, 128, 193, 255):
            assert judged(text[:place] + bytes([byte]) + text[place + 1 :]) is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 600), st.binary(min_size=1, max_size=3))
def test_whatever_the_text_the_verdict_is_the_librarys(data: bytes, place: int, change: bytes) -> None:
    text = binascii.b2a_base64(data, newline=False)
    for candidate in (text, text[:place] + change + text[place:], text[:place] + text[place + 1 :]):
        assert judged(candidate) == by_the_library(candidate)


def test_a_slice_is_decoded_where_it_lies() -> None:
    text = binascii.b2a_base64(bytes(300), newline=False)
    assert base64text.decode_slice(b"!" * 7 + text + b"!", 7, 7 + len(text)) == bytes(300)


# --- lifting ---------------------------------------------------------------------------------------------

LONG = binascii.b2a_base64(bytes(range(256)) * 20, newline=False).decode()
PROOF = {"lemma": ["0x" + "11" * 32], "path": []}


def lowered(document: Any) -> Any:
    """With every lifted text put back as JSON has it."""
    if isinstance(document, wire.Lifted):
        return document.body[document.start : document.end].decode()
    if isinstance(document, dict):
        return {key: lowered(value) for key, value in document.items()}
    return document


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize(
    "document",
    [
        {"jsonrpc": "2.0", "id": 1, "result": {"root": "0x", "data": LONG, "index": 3, "proof": PROOF}},
        {"jsonrpc": "2.0", "id": 1, "result": LONG},
        {"id": 1, "result": {"data": ""}},
        {"id": 1, "result": {"data": "", "proof": {"data": LONG}}},
        {"id": 1, "error": {"code": 1, "message": "x", "data": LONG}},
        {"id": 1, "result": {"data": LONG, "proof": {"data": LONG}}},
        {"id": 1, "result": {"data": LONG + '"'}},
        {"id": 1, "result": [LONG]},
        {"data": LONG},
        [LONG],
        LONG,
    ],
)
def test_lifted_answers_read_as_json_does(document: Any, separators: tuple[str, str]) -> None:
    body = json.dumps(document, separators=separators).encode()
    assert lowered(wire.parse_lifted(body)) == parse_json(body)


def test_the_usual_answers_are_lifted_and_decoded() -> None:
    body = json.dumps({"id": 1, "result": {"data": LONG, "index": 0}}, separators=(",", ":")).encode()
    found = wire.parse_lifted(body)["result"]["data"]
    assert isinstance(found, wire.Lifted)
    assert bytes(wire.parse_bytes(found, "data")) == bytes(range(256)) * 20


@pytest.mark.parametrize(
    "text", ["A" * 4097, "A" * 4096 + "%%%%", "\\u0041" * 2000, "é" * 3000, "A" * 5000 + "\n"]
)
def test_lifted_text_that_is_no_base64_is_refused_like_any_other(text: str) -> None:
    body = json.dumps({"id": 1, "result": {"data": text}}, separators=(",", ":"), ensure_ascii=False).encode()
    with pytest.raises(ValueError, match="not base64"):
        wire.parse_bytes(wire.parse_lifted(body)["result"]["data"], "data")


def test_an_escaped_slash_is_read_the_usual_way() -> None:
    text = "////" * 2000
    body = b'{"id":1,"result":{"data":"' + text.replace("/", "\\/").encode() + b'"}}'
    assert bytes(wire.parse_bytes(wire.parse_lifted(body)["result"]["data"], "data")) == b"\xff" * 6000


@pytest.mark.parametrize(
    "body", [b"", b'{"data":"' + b"A" * 5000, b'{"result":"' + b"A" * 5000 + b'"', b"\xff" * 9]
)
def test_what_is_no_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        wire.parse_lifted(body)
