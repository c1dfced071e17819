"""Verified fetch over real HTTP: each kind of id, each spelling, each way to a proof."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import pytest
from irys_sims import QUICK, SimIrys, hosts_of, metadata_of, root_of_item, storage_of, vector
from irys_vectors import id_bytes, load, payload
from storage_sims import forever, http

from armlx_chain.encodings import base64url_encode
from armlx_chain.errors import (
    ContentMismatch,
    ContentNotFound,
    ContentTooLarge,
    ContentUnproven,
    SchemeUnsupported,
    UsageError,
)
from armlx_chain.irys_hosts import IRYS_DEVNET, IRYS_MAINNET, NO_IRYS, IrysHosts, hosts_for
from armlx_chain.storage.interface import Evidence, ProofKind, UnverifiedBytes, VerifiedBytes
from armlx_chain.storage.irys.client import IrysStorage
from armlx_chain.storage.irys.items import assemble
from armlx_chain.storage.irys.proofs import IrysProver
from armlx_chain.types import Root

pytestmark = pytest.mark.integration

ITEMS = [entry["name"] for entry in load("04")["items"] if "300KiB" not in entry["name"]]
LIMIT = 1 << 20


@pytest.mark.parametrize("name", [entry["name"] for entry in load("04")["items"]])
def test_an_item_of_every_recorded_kind_is_fetched_and_proven(name: str, sim: SimIrys) -> None:
    item = vector(name)
    found = storage_of(sim.holding(item)).fetch(root_of_item(item), max_bytes=LIMIT)
    assert (found.data, found.faults, found.proof) == (item.data, (), ProofKind.REBUILT_ITEM)
    assert found.source.startswith(sim.url)
    assert found.evidence is not None
    IrysProver().prove(found.root, io.BytesIO(found.data), len(found.data), found.evidence)


@pytest.mark.parametrize("spelling", ["base58", "base64url"])
def test_a_server_that_knows_only_one_spelling_is_asked_in_it(spelling: str, sim: SimIrys) -> None:
    item = vector()
    sim.holding(item).spellings = {spelling}
    assert storage_of(sim).fetch(root_of_item(item), max_bytes=LIMIT).data == item.data


def test_only_two_requests_are_needed_where_all_is_well(sim: SimIrys) -> None:
    item = vector()
    storage_of(sim.holding(item)).fetch(root_of_item(item), max_bytes=LIMIT)
    assert len(sim.requests) == 2


def test_a_server_that_gives_the_whole_signed_item_needs_no_metadata(sim: SimIrys) -> None:
    item = vector("eth-03-1KiB-1tag-anchor")
    sim.holding(item).change["payload"] = lambda _: http(assemble(item))
    found = storage_of(sim).fetch(root_of_item(item), max_bytes=len(item.data))
    assert (found.data, found.proof) == (item.data, ProofKind.SIGNED_ITEM)
    assert len(sim.requests) == 1
    assert found.evidence is not None and found.evidence.blob + found.data == assemble(item)


def test_payload_of_one_server_and_fields_of_another_make_a_proof(sim: SimIrys, other: SimIrys) -> None:
    item = vector()
    sim.holding(item).change["metadata"] = lambda _: http(b"", status="404 Not Found")
    other.holding(item).change["payload"] = other.change["data"] = lambda _: http(b"", status="404 Not Found")
    found = storage_of(sim, other).fetch(root_of_item(item), max_bytes=LIMIT)
    assert found.data == item.data and found.source.startswith(sim.url)


def test_a_gateway_that_serves_a_manifests_index_is_asked_for_the_manifest_itself(sim: SimIrys) -> None:
    signer_item = vector()
    sim.holding(signer_item)
    tags = [{"name": "Content-Type", "value": "application/x.irys-manifest+json"}]
    sim.metadata = {"tags": tags}
    storage = storage_of(sim)
    with pytest.raises(ContentMismatch):  # these tags were never signed, yet the manifest is asked for
        storage.fetch(root_of_item(signer_item), max_bytes=LIMIT)
    ids = [path for path in sim.paths if path.count("/") == 1]
    assert len(ids) == 2 and len(set(ids)) == 1


@pytest.mark.parametrize("number", range(4))
def test_an_arweave_transaction_is_proven_by_its_header(number: int, sim: SimIrys) -> None:
    case = load("09")["cases"][number]
    data, wanted = payload(case["payload_recipe"]), id_bytes(case["id"])
    text = base64url_encode(wanted)
    sim.blobs[text] = data
    sim.chain_headers[text] = case["header"]
    storage = storage_of(sim, gateways=(), bundlers=(), upload=None, arweave=(sim.url,))
    found = storage.fetch(Root("irys", wanted), max_bytes=LIMIT)
    assert (found.data, found.proof) == (data, ProofKind.CHAIN_TRANSACTION)
    assert found.evidence is not None
    IrysProver().prove(found.root, io.BytesIO(data), len(data), found.evidence)
    with pytest.raises(ContentMismatch):
        IrysProver().prove(found.root, io.BytesIO(data + b"x"), len(data) + 1, found.evidence)


def test_arweave_data_as_base64url_text_is_read_where_the_plain_route_fails(sim: SimIrys) -> None:
    case = load("09")["cases"][1]
    data, wanted = payload(case["payload_recipe"]), id_bytes(case["id"])
    text = base64url_encode(wanted)
    sim.blobs[text], sim.chain_headers[text] = data, case["header"]
    sim.change["payload"] = lambda _: http(b"", status="404 Not Found")
    sim.change["data"] = lambda body: http(base64url_encode(body).encode())
    storage = storage_of(sim, gateways=(), bundlers=(), upload=None, arweave=(sim.url,))
    assert storage.fetch(Root("irys", wanted), max_bytes=LIMIT).data == data


@pytest.mark.parametrize("name", ["v0-npm-32768", "v1a-git-262145", "v1b-hand-1000000"])
def test_a_datachain_transaction_of_each_format_is_proven_by_its_header(name: str, sim: SimIrys) -> None:
    (case,) = (entry for entry in load("10")["cases"] if entry["name"] == name)
    data, wanted = payload(case["payload_recipe"]), id_bytes(case["id"])
    sim.blobs[case["id"]["base64url"]] = data
    sim.chain_headers[case["id"]["base58"]] = case["header"]
    storage = storage_of(sim, bundlers=(), upload=None, chain_nodes=(sim.url,))
    found = storage.fetch(Root("irys", wanted), max_bytes=LIMIT)
    assert (found.data, found.proof) == (data, ProofKind.CHAIN_TRANSACTION)
    assert found.evidence is not None
    IrysProver().prove(found.root, io.BytesIO(data), len(data), found.evidence)


# --- no proof ---------------------------------------------------------------------------------------------


def without_metadata(sim: SimIrys) -> Any:
    item = vector()
    sim.holding(item).change["metadata"] = lambda _: http(b"", status="404 Not Found")
    return item


def test_a_payload_that_nobody_can_prove_is_refused_and_the_error_says_so(sim: SimIrys) -> None:
    item = without_metadata(sim)
    with pytest.raises(ContentUnproven, match="nothing proves that they belong to it") as caught:
        storage_of(sim).fetch(root_of_item(item), max_bytes=LIMIT)
    error = caught.value
    assert error.details["sha256"] == hashlib.sha256(item.data).hexdigest()
    assert error.details["bytes"] == len(item.data)
    assert "not proven" in (error.meaning or "")
    assert "no server gave the signed item's fields" in error.message
    assert error.exit_code == 3


def test_a_digest_from_elsewhere_proves_a_payload_without_metadata(sim: SimIrys) -> None:
    item = without_metadata(sim)
    digest = hashlib.sha256(item.data).digest()
    found = storage_of(sim).fetch(root_of_item(item), max_bytes=LIMIT, sha256=digest)
    assert (found.data, found.proof, found.evidence) == (item.data, ProofKind.SHA256_PIN, None)


def test_a_digest_that_the_bytes_do_not_have_refuses_them(sim: SimIrys) -> None:
    item = without_metadata(sim)
    storage = storage_of(sim)
    with pytest.raises(ContentMismatch, match="another SHA-256"):
        storage.fetch(root_of_item(item), max_bytes=LIMIT, sha256=bytes(32))
    with pytest.raises(ContentMismatch, match="another SHA-256"):
        storage.fetch_unproven(root_of_item(item), max_bytes=LIMIT, sha256=bytes(32))


def test_a_digest_that_contradicts_the_proven_item_is_a_mismatch_naming_both(sim: SimIrys) -> None:
    item = vector()
    with pytest.raises(ContentMismatch, match="is proven to be a document") as caught:
        storage_of(sim.holding(item)).fetch(root_of_item(item), max_bytes=LIMIT, sha256=bytes(32))
    assert caught.value.details["sha256"] == hashlib.sha256(item.data).hexdigest()
    assert caught.value.details["expected_sha256"] == "00" * 32


def test_the_explicit_switch_gives_bytes_of_a_type_of_their_own(sim: SimIrys) -> None:
    item = without_metadata(sim)
    found = storage_of(sim).fetch_unproven(root_of_item(item), max_bytes=LIMIT)
    assert isinstance(found, UnverifiedBytes)
    assert found.data == item.data and "signed item" in found.reason


def test_the_explicit_switch_still_prefers_a_proof(sim: SimIrys) -> None:
    item = vector()
    found = storage_of(sim.holding(item)).fetch_unproven(root_of_item(item), max_bytes=LIMIT)
    assert isinstance(found, VerifiedBytes) and found.proof is ProofKind.REBUILT_ITEM


def test_the_explicit_switch_gives_no_bytes_that_contradict_a_proof(sim: SimIrys) -> None:
    item = vector()
    sim.holding(item).change["payload"] = sim.change["data"] = lambda body: http(body[:-1] + b"?")
    with pytest.raises(ContentMismatch):
        storage_of(sim).fetch_unproven(root_of_item(item), max_bytes=LIMIT)


def test_metadata_without_the_anchor_is_unproven_and_names_the_anchor(sim: SimIrys) -> None:
    item = vector()
    sim.holding(item).metadata = {"anchor": None}
    with pytest.raises(ContentUnproven, match="no anchor"):
        storage_of(sim).fetch(root_of_item(item), max_bytes=LIMIT)


def test_an_id_that_nobody_has_is_not_found_with_a_word_on_the_devnet(sim: SimIrys) -> None:
    with pytest.raises(ContentNotFound) as caught:
        storage_of(sim).fetch(Root("irys", bytes(32)), max_bytes=LIMIT)
    assert "60 days" in (caught.value.meaning or "")
    assert caught.value.exit_code == 75


def test_an_id_that_an_uploader_misread_is_not_found_with_the_ids_it_may_have_been(sim: SimIrys) -> None:
    (case, *_) = (c for c in load("01")["parse"] if "wrong_lenient_base64_decoding_hex" in c)
    wrong = bytes.fromhex(case["wrong_lenient_base64_decoding_hex"][2:])
    with pytest.raises(ContentNotFound, match="None of the Irys servers") as caught:
        storage_of(sim).fetch(Root("irys", wrong), max_bytes=LIMIT)
    assert case["input"] in caught.value.details["perhaps"]
    assert case["input"] in (caught.value.next_step or "")


# --- limits and misuse -------------------------------------------------------------------------------------


def test_content_beyond_the_limit_is_refused_whoever_serves_it(sim: SimIrys) -> None:
    item = vector("eth-03-1KiB-1tag-anchor")
    sim.holding(item)
    for limit in (1, len(item.data) - 1):
        with pytest.raises(ContentTooLarge):
            storage_of(sim).fetch(root_of_item(item), max_bytes=limit)
    assert storage_of(sim).fetch(root_of_item(item), max_bytes=len(item.data)).data == item.data


def test_a_caller_that_allows_everything_still_has_a_bounded_memory(sim: SimIrys) -> None:
    item = vector("eth-03-1KiB-1tag-anchor")
    hosts = hosts_of(sim.holding(item))
    for limit, fits in ((len(item.data) - 1, False), (len(item.data), True)):
        storage = IrysStorage(hosts, timeouts=QUICK, memory_limit=limit)
        if fits:
            assert storage.fetch(root_of_item(item), max_bytes=1 << 40).data == item.data
        else:
            with pytest.raises(ContentTooLarge):
                storage.fetch(root_of_item(item), max_bytes=1 << 40)
    sim.change["payload"] = sim.change["data"] = lambda _: forever(
        bytes(65536), first=b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    )
    with pytest.raises(ContentTooLarge):
        IrysStorage(hosts, timeouts=QUICK, memory_limit=1 << 20).fetch(root_of_item(item), max_bytes=1 << 40)


def test_an_expected_length_that_the_proven_content_has_not_is_a_mismatch(sim: SimIrys) -> None:
    item = vector()
    storage = storage_of(sim.holding(item))
    with pytest.raises(ContentMismatch, match="bytes, proven"):
        storage.fetch(root_of_item(item), max_bytes=LIMIT, expected_size=len(item.data) + 1)
    with pytest.raises(ContentTooLarge):
        storage.fetch(root_of_item(item), max_bytes=10, expected_size=11)


def test_other_schemes_and_missing_servers_are_refused_before_any_request(sim: SimIrys) -> None:
    with pytest.raises(SchemeUnsupported):
        storage_of(sim).fetch(Root.zerog(bytes(32)), max_bytes=LIMIT)
    with pytest.raises(UsageError, match="No Irys server"):
        IrysStorage(NO_IRYS).fetch(Root("irys", bytes(32)), max_bytes=LIMIT)
    assert sim.requests == []


@pytest.mark.parametrize(
    "url",
    ["http://gateway.irys.xyz", "ftp://a.example", "https://u:p@a.example", "https://", "https://a b", "x"],
)
def test_a_server_that_is_neither_https_nor_on_this_machine_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no usable URL"):
        IrysHosts(gateways=(url,))


def test_the_environment_chooses_servers_and_the_local_world_has_none() -> None:
    assert hosts_for("galileo", {}) == IRYS_MAINNET
    assert hosts_for("devnet", {}) == NO_IRYS
    assert hosts_for("galileo", {"ARMLX_IRYS": "devnet"}) == IRYS_DEVNET
    assert not IRYS_DEVNET.permanent
    own = hosts_for("devnet", {"ARMLX_IRYS_GATEWAY": "http://127.0.0.1:1/g/, https://a.example"})
    assert own.gateways == ("http://127.0.0.1:1/g", "https://a.example")
    written = hosts_for("devnet", {"ARMLX_IRYS_BUNDLER": "https://b.example", "ARMLX_IRYS_TOKEN": "base-eth"})
    assert (written.upload, written.token) == ("https://b.example", "base-eth")
    with pytest.raises(UsageError, match="ARMLX_IRYS is"):
        hosts_for("galileo", {"ARMLX_IRYS": "maynet"})


# --- kept proofs -------------------------------------------------------------------------------------------


def test_kept_bytes_are_proven_again_and_every_change_is_noticed() -> None:
    item = vector()
    raw = assemble(item)
    head = raw[: -len(item.data)]
    root = root_of_item(item)
    evidence = Evidence(ProofKind.SIGNED_ITEM, head)
    IrysProver().prove(root, io.BytesIO(item.data), len(item.data), evidence)
    wrong: list[tuple[Root, bytes, Evidence]] = [
        (root, item.data[:-1], evidence),
        (root, item.data[:-1] + b"?", evidence),
        (root, item.data[1:], Evidence(ProofKind.SIGNED_ITEM, head + item.data[:1])),
        (root, item.data, Evidence(ProofKind.SIGNED_ITEM, head[:-1])),
        (root, item.data, Evidence(ProofKind.SHA256_PIN, hashlib.sha256(item.data).digest())),
        (root, item.data, Evidence(ProofKind.CHAIN_TRANSACTION, head)),
        (root, item.data, Evidence(ProofKind.CHAIN_TRANSACTION, b'{"kind":"item","fields":{}}')),
        (Root("irys", bytes(32)), item.data, evidence),
        (Root("sha256", item.id), item.data, evidence),
    ]
    for asked, data, kept in wrong:
        with pytest.raises(ContentMismatch):
            IrysProver().prove(asked, io.BytesIO(data), len(data), kept)
    with pytest.raises(ContentMismatch, match="only"):
        IrysProver().prove(root, io.BytesIO(item.data), len(item.data) + 1, evidence)


def test_the_metadata_a_test_serves_is_the_recorded_one() -> None:
    """The simulator's honest answers agree with the recorded metadata, field by field."""
    (case,) = (c for c in load("06")["cases"] if c["name"] == "solana4-02-protocol-json/id-base64url")
    ours = metadata_of(vector())
    shared = set(ours) & set(case["metadata"]) - {"id"}
    assert len(shared) >= 9
    assert {name: ours[name] for name in shared} == {name: case["metadata"][name] for name in shared}
    assert json.loads(json.dumps(ours)) == ours
