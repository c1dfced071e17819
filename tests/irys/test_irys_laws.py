"""Laws of the pure modules: what goes in comes out, every change is noticed, nothing strange ever escapes."""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_keys import keys
from hypothesis import given, settings
from hypothesis import strategies as st
from irys_sims import metadata_of, vector
from irys_vectors import load

import armlx_chain.storage.irys
from armlx_chain.encodings import (
    MAX_BASE58_TEXT,
    base58_decode,
    base58_encode,
    base64url_decode,
    base64url_encode,
    parse_id,
)
from armlx_chain.errors import ItemRejected, RootFormatError, UsageError
from armlx_chain.signing.signer import Signer
from armlx_chain.storage.irys import avro
from armlx_chain.storage.irys.arweave import verify_l1
from armlx_chain.storage.irys.build import build_item
from armlx_chain.storage.irys.bundles import split_bundle, verify_bundle
from armlx_chain.storage.irys.datachain import verify_chain_tx
from armlx_chain.storage.irys.dataroot import Chunking, DataTree, check_path, chunk_ranges
from armlx_chain.storage.irys.foreign import parse_object
from armlx_chain.storage.irys.ids import format_id
from armlx_chain.storage.irys.items import MIN_ITEM_BYTES, assemble, parse_item, verify_item
from armlx_chain.storage.irys.keys import ed25519_key_fault
from armlx_chain.storage.irys.rebuild import rebuild_item
from armlx_chain.storage.irys.receipts import verify_receipt
from armlx_chain.storage.irys.results import Caution, Reason
from armlx_chain.storage.irys.secp256k1 import ORDER, recover
from armlx_chain.types import Root

pytestmark = pytest.mark.unit

QUICK = settings(max_examples=60, deadline=None)
TEXT = st.text(max_size=40)
TAGS = st.lists(st.builds(avro.Tag, TEXT, TEXT), max_size=20).map(tuple)
SIGNER = Signer(bytes(31) + b"\5")
ITEM = vector()
RAW = assemble(ITEM)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


# --- ids ----------------------------------------------------------------------------------------------------


@QUICK
@given(st.binary(min_size=32, max_size=32))
def test_each_form_of_an_id_is_read_as_that_id(digest: bytes) -> None:
    forms = format_id(digest)
    for text in (forms.hex, forms.hex[2:].upper(), forms.base64url, forms.base58):
        assert digest in [candidate.digest for candidate in parse_id(text)]
        assert len(parse_id(text)) == 1 or len(text) == 43
    assert Root.parse(f"irys:base58:{forms.base58}").digest == digest
    assert Root.parse(f"irys:base64url:{forms.base64url}").digest == digest
    assert Root.parse(str(Root("irys", digest))).digest == digest


@QUICK
@given(st.text(max_size=100))
def test_whatever_is_read_as_an_id_is_written_back_as_the_same_text(text: str) -> None:
    for candidate in parse_id(text):
        written = format_id(candidate.digest).in_form(candidate.encoding)
        assert (
            text.lower().removeprefix("0x") == written[2:] if candidate.encoding == "hex" else text == written
        )
    try:
        assert Root.parse(f"irys:{text}").scheme == "irys"
    except RootFormatError:
        assert len(parse_id(text)) != 1


@QUICK
@given(st.binary(max_size=100))
def test_both_encodings_are_inverses(data: bytes) -> None:
    assert base58_decode(base58_encode(data)) == data
    assert base64url_decode(base64url_encode(data)) == data


def test_long_texts_are_not_decoded_digit_by_digit() -> None:
    assert base58_decode("1" * MAX_BASE58_TEXT) == bytes(MAX_BASE58_TEXT)
    assert base58_decode("1" * (MAX_BASE58_TEXT + 1)) is None


# --- tags ---------------------------------------------------------------------------------------------------


@QUICK
@given(TAGS)
def test_tags_come_back_as_they_were_written(tags: tuple[avro.Tag, ...]) -> None:
    try:
        encoded = avro.encode_tags(tags)
    except UsageError:
        return
    assert avro.decode_tags(encoded) == tags
    assert (Caution.TAG_EMPTY in avro.tag_cautions(tags)) == any(not t.name or not t.value for t in tags)


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes_are_tags_or_refused_for_a_reason(data: bytes) -> None:
    try:
        tags = avro.decode_tags(data)
    except ItemRejected as error:
        assert error.reason in set(Reason)
    else:
        assert len(avro.encode_tags(tags)) <= max(len(data), 1)


def test_a_block_that_announces_more_than_there_is_costs_no_memory() -> None:
    many = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    for data in (many, many + b"\0", b"\x01" + many, b"\x80" * 11, b"\x02\x01"):
        with pytest.raises(ItemRejected) as caught:
            avro.decode_tags(data)
        assert caught.value.reason == Reason.TAG_DECODE


# --- items --------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(TAGS, st.binary(max_size=200), st.binary(min_size=32, max_size=32))
def test_what_is_built_is_read_back_the_same_and_accepted(
    tags: tuple[avro.Tag, ...], data: bytes, anchor: bytes
) -> None:
    kept = tuple(tag for tag in tags if tag.name and tag.value)
    try:
        item = build_item(SIGNER, data, tags=kept, anchor=anchor)
    except UsageError:
        return
    raw = assemble(item)
    assert parse_item(raw) == item
    assert str(verify_item(raw, item.id).verdict) == "accept"
    assert rebuild_item(metadata_of(item), data, item.id).item == item


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_no_byte_of_an_item_can_be_changed(position: int, bits: int) -> None:
    changed = bytearray(RAW)
    changed[position] ^= bits
    assert not verify_item(bytes(changed), ITEM.id).verdict.accepted


@QUICK
@given(st.integers(0, len(RAW) - 1), st.binary(max_size=3))
def test_no_byte_can_be_taken_away_or_added(length: int, more: bytes) -> None:
    assert not verify_item(RAW[:length] + more, ITEM.id).verdict.accepted
    assert not verify_item(RAW + more + b"x", ITEM.id).verdict.accepted


@QUICK
@given(st.binary(max_size=300), st.sampled_from([b"", *(bytes([n, 0]) for n in range(9))]))
def test_any_bytes_are_an_item_or_refused_for_a_reason(data: bytes, start: bytes) -> None:
    checked = verify_item(start + data, bytes(32))
    assert checked.verdict.reason in set(Reason)
    if len(start + data) < MIN_ITEM_BYTES:
        assert checked.verdict.reason == Reason.TOO_SHORT
    try:
        split_bundle(start + data)
    except ItemRejected as error:
        assert error.reason in set(Reason)


def test_a_bundle_whose_sizes_do_not_add_up_is_refused() -> None:
    entry = len(RAW).to_bytes(32, "little") + ITEM.id
    good = (1).to_bytes(32, "little") + entry + RAW
    assert [found.verdict.accepted for found in verify_bundle(good)] == [True]
    assert split_bundle(bytes(32)) == []
    wrong = [
        *(good + b"x", good[:-1], good[:90], good[:31], b""),
        (2).to_bytes(32, "little") + entry + RAW,
        (2**200).to_bytes(32, "little") + entry + RAW,
        (1).to_bytes(32, "little") + (79).to_bytes(32, "little") + ITEM.id + RAW[:79],
        (1).to_bytes(32, "little") + (2**255).to_bytes(32, "little") + ITEM.id + RAW,
    ]
    for raw in wrong:
        with pytest.raises(ItemRejected):
            split_bundle(raw)


SMALL_ORDER = [
    "01" + "00" * 31,
    "ec" + "ff" * 30 + "7f",
    "00" * 32,
    "00" * 31 + "80",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
NOT_CANONICAL = [
    "01" + "00" * 30 + "80",  # x = 0 with the sign bit
    *(
        bytes([0xED + k]).hex() + "ff" * 30 + end for k in range(19) for end in ("7f", "ff")
    ),  # y of p and more
    "02" + "00" * 31,  # not on the curve
    "00" * 31,
]


@pytest.mark.parametrize("key", [*SMALL_ORDER, *NOT_CANONICAL])
def test_a_key_that_signs_anything_or_is_no_key_is_weak(key: str) -> None:
    assert ed25519_key_fault(bytes.fromhex(key)) == Reason.WEAK_KEY


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(1, ORDER - 1))
def test_keys_are_recovered_as_another_implementation_recovers_them(digest: bytes, secret: int) -> None:
    key = keys.PrivateKey(secret.to_bytes(32, "big"))
    signature = key.sign_msg_hash(digest)
    for parity in (False, True):
        found = recover(signature.r, signature.s, parity, digest)
        again = keys.Signature(vrs=(int(parity), signature.r, signature.s))
        assert found == b"\x04" + again.recover_public_key_from_msg_hash(digest).to_bytes()
        assert (found == b"\x04" + key.public_key.to_bytes()) == (parity == bool(signature.v))


def test_a_signature_that_no_key_can_have_made_recovers_none() -> None:
    assert recover(5, 1, False, bytes(32)) is None  # no point has this x
    assert recover(1, 1, False, bytes(32)) == recover(1, 1, False, ORDER.to_bytes(32, "big"))
    generator_x = 0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798
    same = (5).to_bytes(32, "big")  # the generator as the signature's point, s = the digest: infinity
    assert recover(generator_x, 5, False, same) is None


def test_an_honest_key_is_not_weak() -> None:
    assert ed25519_key_fault(ITEM.owner) is None


# --- strangers' JSON ----------------------------------------------------------------------------------------

NAMES = sorted(
    {*metadata_of(ITEM), *load("07")["cases"][0]["receipt"], *load("09")["cases"][0]["header"]}
    | {name for case in load("10")["cases"] for name in case["header"]}
)
RECEIPT = load("07")["cases"][0]["receipt"]
L1 = load("09")["cases"][0]
CHAIN = next(case for case in load("10")["cases"] if case["name"] == "v1a-git-1")
WHOLE: list[dict[str, Any]] = [metadata_of(ITEM), RECEIPT, L1["header"], CHAIN["header"]]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(WHOLE), st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3))
def test_any_json_gets_a_verdict_and_never_an_exception(
    whole: dict[str, Any], changes: dict[str, Any]
) -> None:
    fields = {**whole, **changes}
    for wanted in (ITEM.id, bytes(32)):
        assert not rebuild_item(fields, b"other", wanted).verdict.accepted
        assert not verify_l1(fields, wanted, b"other").accepted
        assert not verify_chain_tx(fields, wanted, b"other").accepted
    assert not verify_receipt(fields, bytes(32)).verdict.accepted
    signed = ("id", "timestamp", "version", "deadlineHeight", "public", "signature")
    same = all(str(fields.get(name)) == str(RECEIPT[name]) for name in signed)
    assert verify_receipt(fields).verdict.accepted == same


@QUICK
@given(st.binary(max_size=100))
def test_any_bytes_are_an_object_or_nothing(data: bytes) -> None:
    found = parse_object(data)
    assert found is None or isinstance(found, dict)


def test_an_object_with_a_number_of_any_length_is_no_reason_to_fail() -> None:
    assert parse_object(b'{"a": %s}' % (b"9" * 5000)) is None
    fields = {**metadata_of(ITEM), "data_size": "9" * 5000, "signature_type": 10**400}
    checked = rebuild_item(fields, ITEM.data, ITEM.id)
    assert checked.verdict.accepted and checked.verdict.cautions == (Caution.DATA_SIZE_HINT,)
    assert json.loads(json.dumps(fields, default=str))


def test_the_fields_of_one_item_never_prove_the_payload_of_another() -> None:
    others = [vector("ed25519-01-empty-notags"), vector("eth-03-1KiB-1tag-anchor")]
    for other in others:
        assert not rebuild_item(metadata_of(ITEM), other.data, ITEM.id).verdict.accepted
        assert not rebuild_item(metadata_of(other), ITEM.data, ITEM.id).verdict.accepted
    twin = replace(others[0], signature=ITEM.signature)
    assert twin.id == ITEM.id
    assert verify_item(assemble(twin), ITEM.id).verdict.reason == Reason.BAD_SIGNATURE


# --- Merkle roots -------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5 * 262144), st.sampled_from(Chunking), st.data())
def test_chunks_cover_everything_once_and_every_proof_leads_to_its_chunk(
    size: int, chunking: Chunking, choose: st.DataObject
) -> None:
    ranges = chunk_ranges(size, chunking)
    assert [start for start, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    assert ranges[-1][1] == size
    assert all(end - start <= 262144 for start, end in ranges)
    data = hashlib.shake_128(size.to_bytes(4, "big")).digest(size)
    tree = DataTree(data, chunking)
    position = choose.draw(st.integers(0, size - 1))
    index = next(i for i, (start, end) in enumerate(ranges) if start <= position < end)
    path = tree.proofs()[index]
    assert check_path(tree.root, size, position, path) == tree.chunks[index]
    spoiled = bytearray(path)
    spoiled[choose.draw(st.integers(0, len(path) - 1))] ^= 1
    with pytest.raises(ItemRejected):
        check_path(tree.root, size, position, bytes(spoiled))


@QUICK
@given(st.binary(max_size=400), st.integers(-1, 1000))
def test_any_bytes_are_a_path_or_refused(path: bytes, position: int) -> None:
    with pytest.raises(ItemRejected):
        check_path(bytes(32), 1000, position, path)


# --- the pure modules are pure ------------------------------------------------------------------------------

PURE = [
    *("ids", "deephash", "avro", "keys", "schemes", "items", "bundles", "foreign", "results"),
    *("rebuild", "receipts", "dataroot", "arweave", "datachain", "build", "secp256k1"),
]
FORBIDDEN = {"requests", "socket", "subprocess", "http", "time", "os", "pathlib", "random", "secrets"}


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_opens_no_socket_file_or_clock(name: str) -> None:
    """By its imports, those of its own package included."""
    folder = Path(armlx_chain.storage.irys.__file__).parent
    tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
    imported = {
        module
        for node in ast.walk(tree)
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not {module.partition(".")[0] for module in imported} & FORBIDDEN
    own = {module for module in imported if module.startswith("armlx_chain.storage.")}
    hashing = "armlx_chain.storage.zerog.keccak"
    assert own <= {
        "armlx_chain.storage.irys",
        hashing,
        *(f"armlx_chain.storage.irys.{module}" for module in PURE),
    }
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "open"]
