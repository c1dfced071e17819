"""Every recorded vector: what the real libraries made is accepted, what was tampered with is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from irys_vectors import by_name, id_bytes, item, load, payload, raw_item
from shared_material import shared_bytes

from armlx_chain.encodings import base64url_decode, base64url_encode
from armlx_chain.errors import ItemRejected, UsageError
from armlx_chain.storage.irys import avro, receipts
from armlx_chain.storage.irys.arweave import verify_l1
from armlx_chain.storage.irys.bundles import verify_bundle
from armlx_chain.storage.irys.datachain import preimages, verify_chain_tx
from armlx_chain.storage.irys.dataroot import Chunking, DataTree, check_path
from armlx_chain.storage.irys.deephash import deep_hash
from armlx_chain.storage.irys.ids import format_id, parse_id, repairs_of
from armlx_chain.storage.irys.items import assemble, parse_item, signed_message, verify_item
from armlx_chain.storage.irys.keys import keccak256
from armlx_chain.storage.irys.rebuild import rebuild_item
from armlx_chain.storage.irys.results import Verdict
from armlx_chain.storage.irys.schemes import personal_digest, typed_digest

pytestmark = pytest.mark.unit


def word(verdict: Verdict) -> str:
    if not verdict.accepted:
        return "reject"
    return "accept-with-warning" if verdict.cautions else "accept"


# --- 01 to 03 ---------------------------------------------------------------------------------------------


def test_all_35_ids_are_written_in_the_three_forms_exactly_as_recorded() -> None:
    conversions = load("01")["conversions"]
    assert len(conversions) == 35
    for case in conversions:
        forms = format_id(id_bytes(case))
        assert (forms.hex, forms.base64url, forms.base58) == (case["hex"], case["base64url"], case["base58"])


@pytest.mark.parametrize("number", range(21))
def test_a_text_is_read_as_exactly_the_recorded_candidates(number: int) -> None:
    case = load("01")["parse"][number]
    found = [(reading.encoding.value, "0x" + reading.digest.hex()) for reading in parse_id(case["input"])]
    assert found == [(reading["encoding"], reading["hex"]) for reading in case["candidates"]]


def test_an_id_that_a_lenient_uploader_misread_is_among_the_repairs() -> None:
    cases = [c for c in load("01")["parse"] if "wrong_lenient_base64_decoding_hex" in c]
    assert len(cases) == 2
    for case in cases:
        wrong = bytes.fromhex(case["wrong_lenient_base64_decoding_hex"][2:])
        assert id_bytes(case["candidates"][0]) in repairs_of(wrong)


def nested(case: Any) -> Any:
    return bytes.fromhex(case["hex"]) if isinstance(case, dict) else [nested(part) for part in case]


@pytest.mark.parametrize("case", **by_name(load("02")["cases"]))
def test_the_deep_hash_is_the_recorded_one(case: dict[str, Any]) -> None:
    assert deep_hash(nested(case["input"])).hex() == case["sha384_hex"]


@pytest.mark.parametrize("number", range(9))
def test_tags_are_written_and_read_back_byte_for_byte(number: int) -> None:
    case = load("03")["cases"][number]
    tags = tuple(avro.Tag(**tag) for tag in case["tags"])
    encoded = avro.encode_tags(tags)
    assert (encoded.hex(), len(encoded)) == (case["bytes_hex"], case["length"])
    assert avro.decode_tags(encoded) == tags


def test_tags_beyond_4096_bytes_are_neither_written_nor_read() -> None:
    with pytest.raises(UsageError, match="4102 bytes"):
        avro.encode_tags((avro.Tag("x", "y" * 4096),))
    with pytest.raises(ItemRejected) as caught:
        avro.decode_tags(bytes(4097))
    assert caught.value.reason == "TAG_BYTES_LIMIT"


# --- 04, 05, 11, 13: items --------------------------------------------------------------------------------

MESSAGES: dict[int, Callable[[bytes, bytes], bytes]] = {
    1: lambda m, _: m,
    2: lambda m, _: m,
    3: lambda m, _: personal_digest(m),
    4: lambda m, _: m.hex().encode(),
    5: lambda m, _: b"APTOS\nmessage: " + m.hex().encode() + b"\nnonce: bundlr",
    7: lambda m, owner: typed_digest(m, bytes.fromhex(owner[2:].decode())),
}


@pytest.mark.parametrize("case", **by_name(load("04")["items"]))
def test_a_signed_item_is_accepted_with_every_recorded_field(case: dict[str, Any]) -> None:
    raw = raw_item(case)
    checked = verify_item(raw, id_bytes(case["id"]))
    found = checked.item
    assert word(checked.verdict) == "accept" and found is not None
    assert found.address == case["address"]
    assert base64url_encode(found.signature) == case["signature"]
    assert base64url_encode(found.owner) == case["owner"]
    assert found.anchor.hex() == case["anchor_hex"]
    assert base64url_encode(found.target) == case["target"]
    assert [{"name": tag.name, "value": tag.value} for tag in found.tags] == case["tags"]
    assert found.tag_bytes.hex() == case["tag_bytes_hex"]
    assert (len(raw) - len(found.data), len(found.data)) == (case["data_offset"], case["data_size"])
    assert hashlib.sha256(found.data).hexdigest() == case["data_sha256"]
    deep = signed_message(found)
    assert deep.hex() == case["deep_hash_sha384"]
    message = MESSAGES[case["signature_type"]](deep, found.owner)
    assert message.hex() == case["signed_message"]["hex"]
    assert assemble(found) == raw


def tampered(case: dict[str, Any]) -> bytes:
    if "raw_base64" in case:
        return base64.b64decode(case["raw_base64"])
    raw = bytearray(raw_item(item(case["base"])))
    assert case["edit"]["op"] == "xor"
    raw[case["edit"]["offset"]] ^= case["edit"]["value"]
    return bytes(raw)


def test_there_are_179_tampered_items() -> None:
    assert len(load("05")["cases"]) == 179


@pytest.mark.parametrize("case", **by_name(load("05")["cases"]))
def test_a_tampered_item_gets_the_strict_verdict_for_an_acceptable_reason(case: dict[str, Any]) -> None:
    verdict = verify_item(tampered(case), id_bytes(case["requested_id"])).verdict
    assert word(verdict) == case["strict_expect"]
    said = {verdict.reason} if verdict.reason else set(verdict.cautions)
    assert said <= set(case["acceptable_reasons"])


@pytest.mark.parametrize("number", range(2))
def test_every_item_of_a_bundle_is_accepted_under_the_id_the_bundle_gives(number: int) -> None:
    case = load("11")["cases"][number]
    checked = verify_bundle(base64.b64decode(case["raw_base64"]))
    assert [word(found.verdict) for found in checked] == ["accept"] * len(case["items"])
    assert [found.item.id for found in checked if found.item] == [id_bytes(i["id"]) for i in case["items"]]


def test_the_18_real_items_of_the_live_network_get_their_verdicts() -> None:
    cases = json.loads(shared_bytes("fixtures/irys/13_realworld_items.json"))["items"]
    verdicts = [verify_item(base64.b64decode(c["raw_base64"]), id_bytes(c["id"])).verdict for c in cases]
    assert [verdict.accepted for verdict in verdicts] == [case["expect"] == "accept" for case in cases]
    assert (len(cases), sum(verdict.accepted for verdict in verdicts)) == (18, 16)


# --- 06 and 07 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", **by_name(load("06")["cases"]))
def test_metadata_and_payload_get_the_recorded_verdict(case: dict[str, Any]) -> None:
    data = parse_item(raw_item(item(case["base"]))).data
    if "payload_base64" in case:
        data = base64.b64decode(case["payload_base64"])
    verdict = rebuild_item(case["metadata"], data, id_bytes(case["requested_id"])).verdict
    assert word(verdict) == case["expect"]
    if case.get("expect_reason"):
        assert verdict.reason in case["expect_reason"]


@pytest.mark.parametrize("case", **by_name(load("07")["cases"]))
def test_a_receipt_gets_the_recorded_verdict(case: dict[str, Any]) -> None:
    check = receipts.verify_receipt(case["receipt"])
    assert check.verdict.accepted == (case["expect"] == "accept")
    message = receipts.receipt_message(case["receipt"])
    if case["expect"] == "accept" and message is not None:
        assert message.hex() == case["deep_hash_sha384"]
    real = "real" in case
    assert check.trust == (receipts.KeyTrust.PINNED if real else receipts.KeyTrust.UNKNOWN)
    assert check.is_proof == real


def test_the_pinned_keys_are_the_recorded_ones() -> None:
    assert {key.hex() for key in receipts.PINNED_KEYS} == set(
        load("07")["known_bundler_keys_sha256"].values()
    )


def test_the_id_of_the_real_metadata_sample_is_the_hash_of_its_signature() -> None:
    sample = load("07")["real_tx_metadata_sample"]
    signature = base64url_decode(sample["signature"])
    assert signature is not None
    assert base64url_encode(hashlib.sha256(signature).digest()) == sample["id"]
    assert base64url_decode(sample["anchor"]) == sample["anchor_ascii"].encode()


# --- 08 to 10 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(16))
@pytest.mark.parametrize("chunking", Chunking)
def test_roots_chunks_and_proofs_are_the_recorded_ones(number: int, chunking: Chunking) -> None:
    case = load("08")["cases"][number]
    expected = case["irys_datachain" if chunking is Chunking.DATACHAIN else "arweave"]
    tree = DataTree(payload(case["payload_recipe"]), chunking)
    assert tree.root == id_bytes(expected["data_root"])
    listed = [(c["min"], c["max"], c["data_hash_hex"]) for c in expected["chunks"]]
    real = [chunk for chunk in tree.chunks if chunk.end > chunk.start]  # the closing empty leaf is not listed
    assert [(chunk.start, chunk.end, chunk.data_hash.hex()) for chunk in real] == listed
    paths = tree.proofs()
    for proof in expected.get("proofs", []):
        (index,) = (i for i, chunk in enumerate(real) if chunk.start <= proof["offset"] < chunk.end)
        assert base64url_encode(paths[index]) == proof["proof_base64url"]
    for chunk, path in zip(real, paths, strict=False):
        assert check_path(tree.root, case["size"], chunk.start, path) == chunk
        assert check_path(tree.root, case["size"], chunk.end - 1, path) == chunk


def test_the_two_chunkings_agree_exactly_where_recorded() -> None:
    for case in load("08")["cases"]:
        data = payload(case["payload_recipe"])
        roots = {DataTree(data, chunking).root for chunking in Chunking}
        assert (len(roots) == 1) == case["same_root"]


def test_empty_content_has_an_arweave_root_and_none_on_the_datachain() -> None:
    expected = load("08")["empty_input"]["arweave_data_root_hex"]
    assert DataTree(b"", Chunking.ARWEAVE).root.hex() == expected
    with pytest.raises(UsageError):
        DataTree(b"", Chunking.DATACHAIN)


@pytest.mark.parametrize("case", **by_name(load("09")["cases"]))
def test_an_arweave_transaction_proves_its_data(case: dict[str, Any]) -> None:
    data = payload(case["payload_recipe"])
    wanted = id_bytes(case["id"])
    assert word(verify_l1(case["header"], wanted, data)) == case["expect"]
    assert not verify_l1(case["header"], wanted, data + b"x").accepted
    assert not verify_l1(case["header"], bytes(32), data).accepted
    changed = {**case["header"], "reward": str(int(case["header"]["reward"]) + 1)}
    assert verify_l1(changed, wanted, data).reason == "BAD_SIGNATURE"


def chain_payload(case: dict[str, Any]) -> bytes:
    (base,) = (entry for entry in load("10")["cases"] if entry["name"] == case["base"])
    data = bytearray(payload(base["payload_recipe"]))
    if case["payload"] != "base":
        change = case["payload"]
        if "base_xor" in change:
            data[change["base_xor"]["offset"]] ^= change["base_xor"]["value"]
        else:
            data += bytes.fromhex(change["base_append_hex"])
    return bytes(data)


@pytest.mark.parametrize("case", **by_name(load("10")["cases"]))
def test_a_datachain_transaction_of_each_format_proves_its_data(case: dict[str, Any]) -> None:
    verdict = verify_chain_tx(case["header"], id_bytes(case["id"]), payload(case["payload_recipe"]))
    assert word(verdict) == case["expect"]
    assert case["rlp_hex"] in [preimage.hex() for preimage in preimages(case["header"])]


@pytest.mark.parametrize("case", **by_name(load("10")["tampered"]))
def test_a_tampered_datachain_transaction_is_refused(case: dict[str, Any]) -> None:
    (base,) = (entry for entry in load("10")["cases"] if entry["name"] == case["base"])
    verdict = verify_chain_tx(case["header"], id_bytes(base["id"]), chain_payload(case))
    assert word(verdict) == case["expect"]


@pytest.mark.parametrize("number", range(2))
def test_the_published_golden_preimage_and_signature_belong_together(number: int) -> None:
    golden = load("10")["goldens"][number]
    from eth_keys import keys

    assert keccak256(bytes.fromhex(golden["rlp_hex"])).hex() == golden["prehash_hex"]
    key = keys.PrivateKey(bytes.fromhex(golden["private_key_hex"]))
    signature = key.sign_msg_hash(bytes.fromhex(golden["prehash_hex"]))
    rsv = signature.to_bytes()[:64] + bytes([signature.to_bytes()[64] + 27])
    assert rsv.hex() == golden["signature_hex"]
    assert keccak256(rsv) == id_bytes(golden["id"])
