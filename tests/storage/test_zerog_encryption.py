"""Encrypted files and fragments, against the vectors of the real implementations."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from storage_sims import SimStorage
from storage_vectors import FOLDER

from armlx_chain.errors import ContentMismatch, EncryptionError, MachineError, UsageError
from armlx_chain.storage.http import Timeouts
from armlx_chain.storage.zerog.client import Endpoint, ZeroGStorage
from armlx_chain.storage.zerog.encryption import (
    DecryptionKey,
    decrypt_file,
    decryptor,
    header_of,
    read_header,
    read_key_file,
)
from armlx_chain.storage.zerog.merkle import root_of

pytestmark = pytest.mark.integration

PATIENT = Timeouts(connect=60.0, read=60.0, total=60.0, transfer=60.0, overall=120.0)
VECTORS = json.loads((FOLDER / "0g_encryption.json").read_text())
CASES = {case["label"]: case for case in VECTORS["cases"]}


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def plaintext(size: int) -> bytes:
    return bytes((31 * index + 7) % 256 for index in range(size))


def secret(case: dict[str, Any]) -> DecryptionKey:
    """What the person has: the AES key, or the private key that it is derived with."""
    return DecryptionKey(raw(case["aes_key"] if case["version"] == 1 else VECTORS["ecies"]["recipient_priv"]))


def encrypted(case: dict[str, Any]) -> bytes:
    """The vector's file; the long ones are recorded by digest only, and made here with its own key."""
    if "file_hex" in case:
        return raw(case["file_hex"])
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    cipher = Cipher(algorithms.AES(raw(case["aes_key"])), modes.CTR(raw(case["nonce"]))).encryptor()
    return raw(case["header"]) + cipher.update(plaintext(case["plaintext_len"]))


@pytest.mark.parametrize("label", CASES)
def test_a_recorded_encrypted_file_opens_with_its_key(tmp_path: Path, label: str) -> None:
    case = CASES[label]
    data = encrypted(case)
    assert hashlib.sha256(data).digest() == raw(case["file_sha256"])
    (tmp_path / "in").write_bytes(data)
    header = read_header(tmp_path / "in")
    assert header is not None
    assert (header.version, data[: header.length]) == (case["version"], raw(case["header"]))
    count = decrypt_file(tmp_path / "in", tmp_path / "out", secret(case))
    assert (tmp_path / "out").read_bytes() == plaintext(case["plaintext_len"])
    assert count == case["plaintext_len"]
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


def test_a_stored_encrypted_file_is_downloaded_proven_and_then_opened(tmp_path: Path) -> None:
    case = CASES["v1_70000"]
    data = encrypted(case)
    sim = SimStorage(data)
    try:
        found = ZeroGStorage([Endpoint(sim.url)], timeouts=PATIENT).download(
            root_of(data), tmp_path / "stored", max_bytes=1 << 20
        )
    finally:
        sim.stop()
    assert found.size == case["file_len"]
    decrypt_file(found.path, tmp_path / "opened", secret(case))
    assert (tmp_path / "opened").read_bytes() == plaintext(70000)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\1",
        b"\1" + bytes(15),
        b"\2" + bytes(49),
        b"\2\4" + bytes(48),
        b"\2\2" + bytes(47),
        b"\3" * 60,
        b"{" * 60,
    ],
)
def test_what_has_no_header_is_said_not_to_be_encrypted_and_stays_as_it_is(
    tmp_path: Path, head: bytes
) -> None:
    assert header_of(head) is None
    (tmp_path / "in").write_bytes(head)
    with pytest.raises(EncryptionError, match="not encrypted"):
        decrypt_file(tmp_path / "in", tmp_path / "out", DecryptionKey(bytes(32)))
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("key", [bytes(32), b"\xff" * 32])
def test_a_private_key_out_of_range_is_refused(tmp_path: Path, key: bytes) -> None:
    (tmp_path / "in").write_bytes(encrypted(CASES["v2_100"]))
    with pytest.raises(EncryptionError, match="cannot open"):
        decrypt_file(tmp_path / "in", tmp_path / "out", DecryptionKey(key))
    assert os.listdir(tmp_path) == ["in"]


def test_a_header_whose_public_key_is_no_point_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"\2\2" + b"\xff" * 32 + bytes(16) + b"content")
    with pytest.raises(EncryptionError, match="cannot open"):
        decrypt_file(tmp_path / "in", tmp_path / "out", DecryptionKey(b"\1" * 32))


@pytest.mark.parametrize(
    "text", [b"\7" * 32, b"07" * 32, b"0x" + b"07" * 32 + b"\n", b"  " + b"07" * 32 + b"\r\n"]
)
def test_a_key_file_holds_bytes_or_digits(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "key").write_bytes(text)
    key = read_key_file(tmp_path / "key")
    assert key.secret == b"\7" * 32
    assert "07" not in repr(key) and "\\x07" not in repr(key)


@pytest.mark.parametrize("text", [b"", b"\7" * 31, b"07" * 31, b"zz" * 32, b"07" * 33, b"x" * 10_000])
def test_a_file_that_holds_no_key_is_refused_and_not_shown(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "key").write_bytes(text)
    with pytest.raises(EncryptionError, match="holds no key") as caught:
        read_key_file(tmp_path / "key")
    assert text[:8].decode() not in caught.value.message or not text
    with pytest.raises(MachineError):
        read_key_file(tmp_path / "missing")


# --- fragments -------------------------------------------------------------------------------------------

FRAGMENTED = VECTORS["fragments"]


def fragments_of(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def put_together(
    tmp_path: Path, pieces: list[bytes], served: list[bytes] | None = None, **options: Any
) -> Any:
    sim = SimStorage(*(served or pieces))
    roots = [root_of(piece) for piece in pieces]
    try:
        storage = ZeroGStorage([Endpoint(sim.url)], timeouts=PATIENT)
        return storage.download_fragments(roots, tmp_path / "f", max_bytes=1 << 24, **options)
    finally:
        sim.stop()


def test_recorded_encrypted_fragments_come_together_and_open(tmp_path: Path) -> None:
    """The header is in the first fragment only, and the stream goes on over the cut."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key, nonce = raw(FRAGMENTED["aes_key"]), raw(FRAGMENTED["nonce"])
    stream = Cipher(algorithms.AES(key), modes.CTR(nonce)).encryptor()
    whole = b"\1" + nonce + stream.update(plaintext(FRAGMENTED["plaintext_len"]))
    pieces = fragments_of(whole, FRAGMENTED["fragment_size"])
    assert [len(piece) for piece in pieces] == FRAGMENTED["lens"]
    assert [hashlib.sha256(p).digest() for p in pieces] == [raw(h) for h in FRAGMENTED["fragment_sha256"]]
    found = put_together(tmp_path, pieces)
    assert (tmp_path / "f").read_bytes() == whole
    assert found.size == len(whole)
    decrypt_file(tmp_path / "f", tmp_path / "opened", DecryptionKey(key))
    assert hashlib.sha256((tmp_path / "opened").read_bytes()).digest() == raw(FRAGMENTED["plain_sha256"])


@pytest.mark.parametrize("size", [1, 511, 512, 513, 1024, 5000])
def test_fragments_of_any_number_come_together(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    put_together(tmp_path, fragments_of(data, 512), expected_size=size)
    assert (tmp_path / "f").read_bytes() == data
    assert os.listdir(tmp_path) == ["f"]


def test_fragments_of_several_segments_are_resumed_one_by_one(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) * 2 + 300_000)
    pieces = fragments_of(data, 1 << 20)
    with pytest.raises(Exception, match="Nobody asked has"):
        put_together(tmp_path, pieces, served=pieces[:2])
    assert not (tmp_path / "f").exists()
    sim = SimStorage(*pieces)
    try:
        storage = ZeroGStorage([Endpoint(sim.url)], timeouts=PATIENT)
        storage.download_fragments([root_of(p) for p in pieces], tmp_path / "f", max_bytes=1 << 24)
        segments = [body for _, _, body in sim.requests if b"downloadSegment" in body]
    finally:
        sim.stop()
    assert (tmp_path / "f").read_bytes() == data
    assert len(segments) == 2, "only the last fragment's two segments"
    assert os.listdir(tmp_path) == ["f"]


def test_a_node_that_drops_trailing_zeros_of_a_fragment_does_not_shift_the_next(tmp_path: Path) -> None:
    first = b"x" * 500 + bytes(12)
    assert root_of(first) == root_of(first[:500])
    found = put_together(tmp_path, [first, b"the end"], served=[first[:500], b"the end"])
    assert (tmp_path / "f").read_bytes() == first + b"the end"
    assert found.size == 519


@pytest.mark.parametrize(
    "pieces",
    [
        [b"a" * 556, b"b" * 100],
        [b"a" * 512, b"b" * 1024, b"c"],
        [b"a" * 512, b"b" * 513],
        [b"a" * 600 + bytes(168), b"c"],
    ],
    ids=["three-chunks", "growing", "last-too-long", "three-chunks-with-zeros"],
)
def test_what_are_no_fragments_is_refused(tmp_path: Path, pieces: list[bytes]) -> None:
    with pytest.raises(ContentMismatch, match=r"power of two|first has"):
        put_together(tmp_path, pieces)
    assert not (tmp_path / "f").exists()


def test_no_fragments_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        ZeroGStorage([Endpoint("http://127.0.0.1:1")]).download_fragments([], tmp_path / "f", max_bytes=10)


def test_the_decryptor_counts_on_over_any_cut() -> None:
    case = CASES["v1_counter_wrap_100"]
    header = header_of(encrypted(case))
    assert header is not None
    stream = decryptor(header, secret(case))
    body = encrypted(case)[header.length :]
    assert b"".join(stream.update(body[at : at + 7]) for at in range(0, len(body), 7)) == plaintext(100)
