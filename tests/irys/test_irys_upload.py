"""Uploads: the item byte for byte as recorded, the receipt checked, the content fetched back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from irys_sims import NO_WAIT, QUICK, SimIrys, hosts_of, make_receipt, modulus, storage_of
from irys_vectors import id_bytes, load
from storage_sims import http

from armlx_chain.encodings import base64url_encode
from armlx_chain.errors import (
    ArmlxError,
    ContentMismatch,
    EndpointFault,
    InsufficientFunds,
    ItemRejected,
    SigningError,
    StorageError,
    StorageUnavailable,
    UsageError,
)
from armlx_chain.irys_hosts import NO_IRYS
from armlx_chain.signing.signer import Signer
from armlx_chain.storage.irys.avro import Tag
from armlx_chain.storage.irys.build import build_item, new_anchor
from armlx_chain.storage.irys.ids import format_id
from armlx_chain.storage.irys.items import assemble, parse_item, verify_item
from armlx_chain.storage.irys.publish import FREE_BYTES, IrysPublisher, Settling, publish_to_irys
from armlx_chain.storage.irys.receipts import KeyTrust
from armlx_chain.types import Wei

pytestmark = pytest.mark.integration

DATA = b'{"hello":"irys","n":1}\n'
KEY = load("keys")["ethereum"]["private_key_hex"]


class SteppedTime:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def settling(self, patience: float = 10.0) -> Settling:
        return Settling(patience=patience, poll=1.0, clock=lambda: self.now, sleep=self.sleep)


@pytest.fixture
def bundler(sim: SimIrys, bundler_key: rsa.RSAPrivateKey) -> SimIrys:
    sim.key = bundler_key
    return sim


def publisher(sim: SimIrys, folder: Path, **options: Any) -> IrysPublisher:
    defaults: dict[str, Any] = {"timeouts": QUICK, "patience": NO_WAIT, "settling": SteppedTime().settling()}
    return IrysPublisher(hosts_of(sim), Signer.from_hex(KEY), folder=folder, **{**defaults, **options})


def posts(sim: SimIrys) -> list[bytes]:
    return [body for method, _, body in sim.requests if method == "POST"]


# --- the item ---------------------------------------------------------------------------------------------


def test_the_recorded_item_is_built_byte_for_byte() -> None:
    case = load("12")["cases"][0]
    tags = tuple(Tag(**tag) for tag in case["tags"])
    signer = Signer.from_hex(case["private_key_hex"])
    payload = case["payload_utf8"].encode()
    item = build_item(signer, payload, tags=tags, anchor=case["anchor_ascii"].encode())
    assert assemble(item) == base64.b64decode(case["expected_raw_base64"])
    assert item.id == id_bytes(case["expected_id"])


def test_anchors_are_32_characters_and_make_ids_differ() -> None:
    signer = Signer.from_hex(KEY)
    anchors = [new_anchor(lambda count, fill=fill: bytes([fill]) * count) for fill in (1, 2)]
    assert [len(anchor) for anchor in anchors] == [32, 32] and all(anchor.isascii() for anchor in anchors)
    ids = {build_item(signer, DATA, tags=(), anchor=anchor).id for anchor in anchors}
    assert len(ids) == 2


def test_a_signer_that_signs_wrongly_is_noticed_before_anything_is_sent() -> None:
    class Broken:
        public_key = Signer.from_hex(KEY).public_key

        def sign_deep_hash(self, message: bytes) -> bytes:
            return Signer.from_hex(KEY).sign_deep_hash(bytes(48))

    with pytest.raises(SigningError, match="BAD_SIGNATURE"):
        build_item(Broken(), DATA, tags=(), anchor=bytes(32))


def test_only_deep_hashes_are_signed_and_only_whole_tags_and_anchors_taken() -> None:
    signer = Signer.from_hex(KEY)
    for length in (0, 32, 47, 49):
        with pytest.raises(SigningError, match="48 bytes"):
            signer.sign_deep_hash(bytes(length))
    with pytest.raises(UsageError, match="anchor"):
        build_item(signer, DATA, tags=(), anchor=bytes(31))
    with pytest.raises(UsageError, match="empty"):
        build_item(signer, DATA, tags=(Tag("x", ""),), anchor=bytes(32))


# --- the way there and back -------------------------------------------------------------------------------


def test_a_document_is_uploaded_and_comes_back_proven(bundler: SimIrys, tmp_path: Path) -> None:
    upload = publisher(bundler, tmp_path).upload(DATA, label="protocol")
    assert storage_of(bundler).fetch(upload.root, max_bytes=1000).data == DATA
    (sent,) = posts(bundler)
    assert bundler.requests[0][1] == "/tx/ethereum"
    assert upload.item_path.read_bytes() == sent
    checked = verify_item(sent, upload.root.digest)
    assert str(checked.verdict) == "accept" and checked.item is not None and checked.item.data == DATA
    record = json.loads((upload.item_path.parent / "record.json").read_text())
    assert record["state"] == "complete"
    assert record["id"] == {
        "base64url": upload.ids.base64url,
        "base58": upload.ids.base58,
        "bytes32": upload.root.hex,
    }
    assert record["receipt"]["id"] == upload.ids.base58
    item = parse_item(sent)
    assert item.tag("content-type") == "application/json" and item.tag("Artifact-Role") == "protocol"
    assert item.address == Signer.from_hex(KEY).address


def test_the_key_is_in_no_file_of_the_upload(bundler: SimIrys, tmp_path: Path) -> None:
    publisher(bundler, tmp_path).upload(DATA, label="x")
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert kept and bytes.fromhex(KEY) not in kept and KEY.encode() not in kept


def test_publishing_again_sends_nothing_and_names_the_same_root(bundler: SimIrys, tmp_path: Path) -> None:
    first = publisher(bundler, tmp_path).publish(DATA, label="x")
    assert publisher(bundler, tmp_path).publish(DATA, label="x") == first
    assert len(posts(bundler)) == 1


def test_an_item_that_the_network_lost_is_sent_again_under_its_id(bundler: SimIrys, tmp_path: Path) -> None:
    first = publisher(bundler, tmp_path).publish(DATA, label="x")
    bundler.items.clear()
    assert publisher(bundler, tmp_path).publish(DATA, label="x") == first
    assert len(posts(bundler)) == 2 and len(set(posts(bundler))) == 1


def test_an_upload_that_was_cut_off_goes_on_with_the_same_item(bundler: SimIrys, tmp_path: Path) -> None:
    bundler.change["upload"] = lambda _: b""  # the connection is cut after the item arrived
    with pytest.raises(StorageUnavailable, match="could not be uploaded"):
        publisher(bundler, tmp_path).publish(DATA, label="x")
    assert len(posts(bundler)) == NO_WAIT.attempts
    del bundler.change["upload"]
    root = publisher(bundler, tmp_path).publish(DATA, label="x")
    assert len(posts(bundler)) == NO_WAIT.attempts and len(bundler.items) == 1
    assert root.digest in bundler.items


@pytest.mark.parametrize("damage", [b"", b"garbage", "flip", "other"])
def test_a_damaged_kept_item_is_replaced_never_sent(
    damage: bytes | str, bundler: SimIrys, tmp_path: Path
) -> None:
    upload = publisher(bundler, tmp_path).upload(DATA, label="x")
    raw = upload.item_path.read_bytes()
    changed = {
        "flip": raw[:-1] + bytes([raw[-1] ^ 1]),
        "other": assemble(build_item(Signer.from_hex(KEY), b"other", tags=(), anchor=bytes(32))),
    }
    upload.item_path.write_bytes(changed[damage] if isinstance(damage, str) else damage)
    again = publisher(bundler, tmp_path).upload(DATA, label="x")
    assert again.root != upload.root
    assert [parse_item(body).data for body in posts(bundler)] == [DATA, DATA]


def test_it_waits_until_the_item_is_there_and_not_forever(bundler: SimIrys, tmp_path: Path) -> None:
    bundler.drop_uploads = True
    time = SteppedTime()
    with pytest.raises(StorageUnavailable, match="did not come back, proven, within 10 seconds"):
        publisher(bundler, tmp_path, settling=time.settling()).publish(DATA, label="x")
    assert time.now == 10.0

    def deliver(seconds: float) -> None:
        item = parse_item(posts(bundler)[-1])
        bundler.items[item.id] = item

    late = replace(SteppedTime().settling(), sleep=deliver)
    publisher(bundler, tmp_path, settling=late).publish(DATA, label="x")


def test_a_bundler_that_had_the_item_already_is_believed_only_after_the_proof(
    bundler: SimIrys, tmp_path: Path
) -> None:
    bundler.change["upload"] = lambda _: http(b"Transaction already received", status="201 Created")
    upload = publisher(bundler, tmp_path).upload(DATA, label="x")
    assert upload.trust is None and "already" in upload.warnings[0]
    bundler.drop_uploads = True
    with pytest.raises(StorageUnavailable, match="did not come back"):
        publisher(bundler, tmp_path / "new").upload(DATA, label="x")


def test_content_that_comes_back_changed_ends_the_upload(bundler: SimIrys, tmp_path: Path) -> None:
    bundler.change["payload"] = bundler.change["data"] = lambda body: http(body[:-1] + b"?")
    with pytest.raises(ContentMismatch):
        publisher(bundler, tmp_path).publish(DATA, label="x")
    (record,) = tmp_path.rglob("record.json")
    assert json.loads(record.read_text())["state"] == "sent"


# --- receipts ---------------------------------------------------------------------------------------------


def test_the_key_that_the_bundler_publishes_is_reported_as_such(bundler: SimIrys, tmp_path: Path) -> None:
    upload = publisher(bundler, tmp_path).upload(DATA, label="x")
    assert (upload.trust, upload.warnings) == (KeyTrust.PUBLISHED, ())


@pytest.mark.parametrize("served", [b"", b"AAAA", b"\xff", b'{"a":1}'])
def test_a_receipt_under_an_unknown_key_is_a_warning(served: bytes, bundler: SimIrys, tmp_path: Path) -> None:
    bundler.change["public"] = lambda _: http(served)
    upload = publisher(bundler, tmp_path).upload(DATA, label="x")
    assert upload.trust is KeyTrust.UNKNOWN and "proves nothing" in upload.warnings[0]


Forge = Callable[[dict[str, Any], rsa.RSAPrivateKey], Any]
FORGERIES: dict[str, Forge] = {
    "for another id": lambda r, key: make_receipt(key, format_id(bytes(32)).base58),
    "without an id": lambda r, _: {k: v for k, v in r.items() if k != "id"},
    "with a number as id": lambda r, _: {**r, "id": 7},
    "another timestamp": lambda r, _: {**r, "timestamp": r["timestamp"] + 1},
    "another height": lambda r, _: {**r, "deadlineHeight": 5},
    "another version": lambda r, _: {**r, "version": "2"},
    "another spelling of the id": lambda r, _: {**r, "id": respelled(r["id"])},
    "a signature of zeros": lambda r, _: {**r, "signature": base64url_encode(bytes(512))},
    "a short signature": lambda r, _: {**r, "signature": "AAAA"},
    "no signature": lambda r, _: {**r, "signature": None},
    "a key one byte short": lambda r, key: {**r, "public": base64url_encode(modulus(key)[1:])},
    "an even key": lambda r, key: {**r, "public": base64url_encode(modulus(key)[:-1] + b"\0")},
    "no key": lambda r, _: {**r, "public": ""},
    "a list": lambda r, _: [r],
    "nothing": lambda *_: None,
}


def respelled(text: str) -> str:
    from armlx_chain.storage.irys.ids import parse_id

    return format_id(parse_id(text)[0].digest).base64url


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_receipt_is_refused(name: str, bundler: SimIrys, tmp_path: Path) -> None:
    key = bundler.key
    assert key is not None
    bundler.change["upload"] = lambda body: http(json.dumps(FORGERIES[name](json.loads(body), key)).encode())
    with pytest.raises(ItemRejected) as caught:
        publisher(bundler, tmp_path).publish(DATA, label="x")
    assert caught.value.exit_code == 3
    assert not list(tmp_path.rglob("record.json"))


# --- money and refusals -----------------------------------------------------------------------------------


def test_price_and_balance_are_asked_as_the_real_sdk_asks(bundler: SimIrys, tmp_path: Path) -> None:
    uploader = publisher(bundler, tmp_path)
    assert (uploader.price(1000), uploader.balance(Signer.from_hex(KEY).address)) == (12345, 777)
    recorded = [entry["url"] for entry in load("12")["captured_requests"][:2]]
    assert bundler.paths == recorded


@pytest.mark.parametrize("answer", [b"", b"-1", b"1.5", b"1e3", b"nan", b"9" * 100, b'{"a":1}', b"\xff"])
def test_a_price_or_balance_that_is_no_whole_number_is_refused(
    answer: bytes, bundler: SimIrys, tmp_path: Path
) -> None:
    bundler.change["price"] = bundler.change["balance"] = lambda _: http(answer)
    with pytest.raises(EndpointFault, match="no whole number"):
        publisher(bundler, tmp_path).price(1)
    with pytest.raises(EndpointFault, match="no whole number"):
        publisher(bundler, tmp_path).balance("0x00")


def test_nothing_beyond_the_free_size_is_sent_without_leave_and_balance(
    bundler: SimIrys, tmp_path: Path
) -> None:
    large = bytes(FREE_BYTES)
    with pytest.raises(InsufficientFunds, match="costs 12345"):
        publisher(bundler, tmp_path).publish(large, label="x")
    with pytest.raises(InsufficientFunds, match="balance of 0x"):
        publisher(bundler, tmp_path, max_fee=Wei(20_000)).publish(large, label="x")
    assert posts(bundler) == []
    bundler.change["balance"] = lambda _: http(b'{"balance":"12345"}')
    publisher(bundler, tmp_path, max_fee=Wei(12_345)).publish(large, label="x")
    assert len(posts(bundler)) == 1


@pytest.mark.parametrize(
    ("status", "error", "times"),
    [
        ("402 Payment Required", InsufficientFunds, 1),
        ("400 Bad Request", StorageUnavailable, 1),
        ("429 Too Many Requests", StorageUnavailable, 3),
        ("500 Internal Server Error", StorageUnavailable, 3),
        ("503 Service Unavailable", StorageUnavailable, 3),
        ("204 No Content", StorageUnavailable, 1),
    ],
)
def test_a_bundler_that_refuses_is_named_with_its_words(
    status: str, error: type[ArmlxError], times: int, bundler: SimIrys, tmp_path: Path
) -> None:
    bundler.change["upload"] = lambda _: http(b"no \x1b[31mway", status=status)
    with pytest.raises(error, match=r"no  ?\[31mway|HTTP 204"):
        publisher(bundler, tmp_path).publish(DATA, label="x")
    assert len(posts(bundler)) == times


def test_a_passing_refusal_is_tried_again_after_the_pause_that_the_bundler_wishes(
    bundler: SimIrys, tmp_path: Path
) -> None:
    pauses: list[float] = []
    answers: Iterator[bytes | None] = iter(
        [http(b"slow", status="429 Too Many Requests", headers="Retry-After: 7\r\n"), None]
    )
    bundler.change["upload"] = lambda body: next(answers) or http(body)
    patience = replace(NO_WAIT, pause=1.0, longest=60.0, sleep=pauses.append)
    publisher(bundler, tmp_path, patience=patience).publish(DATA, label="x")
    assert pauses == [7.0]


def test_empty_and_large_documents_and_missing_bundlers_are_refused(bundler: SimIrys, tmp_path: Path) -> None:
    for data in (b"", bytes((16 << 20) + 1)):
        with pytest.raises(StorageError, match="1 to"):
            publisher(bundler, tmp_path).publish(data, label="x")
    with pytest.raises(UsageError, match="No Irys bundler"):
        IrysPublisher(NO_IRYS, Signer.from_hex(KEY), folder=tmp_path)
    assert bundler.requests == []


def test_an_upload_to_a_bundler_that_deletes_says_so(bundler: SimIrys, tmp_path: Path) -> None:
    upload = publish_to_irys(
        DATA,
        label="x",
        signer=Signer.from_hex(KEY),
        hosts=replace(hosts_of(bundler), permanent=False),
        home=tmp_path,
    )
    assert not upload.permanent and "60 days" in upload.warnings[-1]
    assert upload.item_path.is_relative_to(tmp_path / "irys")
