"""arbundles signs and we verify; we sign and arbundles verifies; and both of one bundle."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from armlx_chain.encodings import base64url_encode
from armlx_chain.signing.signer import Signer
from armlx_chain.storage.irys.avro import Tag, encode_tags
from armlx_chain.storage.irys.build import build_item
from armlx_chain.storage.irys.bundles import verify_bundle
from armlx_chain.storage.irys.ids import format_id, parse_id
from armlx_chain.storage.irys.items import Item, assemble, signed_message, verify_item
from armlx_chain.storage.irys.schemes import SCHEMES

pytestmark = pytest.mark.peer

HERE = Path(__file__).resolve().parent
ETHEREUM_KEY = hashlib.sha256(b"a key for tests only").hexdigest()
TYPES = {
    "arweave": 1,
    "solana": 2,
    "algorand": 2,
    "ethereum": 3,
    "polygon": 3,
    "hexSolana": 4,
    "injectedAptos": 5,
    "typedEthereum": 7,
}
ANCHOR = "2ZmQTDDdBw+9vrMcw44VdXKijy6EZNqv"
SHAPES: dict[str, dict[str, Any]] = {
    "nothing": {"data": b"", "tags": []},
    "a document": {
        "data": b'{"hello":"irys"}\n',
        "tags": [{"name": "Content-Type", "value": "application/json"}],
        "anchor": ANCHOR,
    },
    "everything": {
        "data": bytes(range(256)) * 400,
        "tags": [{"name": f"名前 {n}", "value": "Zoë 🧪" * n} for n in range(1, 16)],
        "anchor": ANCHOR,
        "target": base64url_encode(hashlib.sha256(b"target").digest()),
    },
}


def node_command() -> str:
    """Node.js with arbundles, or the reason to skip."""
    node = shutil.which("node")
    missing = "Node.js was not found" if node is None else None
    if missing is None and not (HERE / "node_modules" / "arbundles").is_dir():
        missing = "arbundles is not installed: run scripts/install-peers"
    if node is None or missing is not None:
        if os.environ.get("ARMLX_REQUIRE_PEERS") == "1":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    return node


def run_peer(folder: Path, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [
        *(node_command(), str(HERE / "irys_peer.mjs")),
        *(str(folder / "jobs.json"), str(folder / "outcomes.json")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes: list[dict[str, Any]] = json.loads((folder / "outcomes.json").read_text())
    assert [outcome.get("error") for outcome in outcomes] == [None] * len(jobs)
    return outcomes


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class Keys:
    """One key of each kind."""

    rsa: rsa.RSAPrivateKey
    ed25519: Ed25519PrivateKey

    def for_peer(self, signer: str) -> Any:
        if signer == "arweave":
            return self._jwk()
        if TYPES[signer] in (2, 4, 5):
            public = self.ed25519.public_key().public_bytes_raw()
            return {"seed": text(self.ed25519.private_bytes_raw()), "public": text(public)}
        return ETHEREUM_KEY

    def _jwk(self) -> dict[str, str]:
        numbers = self.rsa.private_numbers()
        parts = {
            "n": numbers.public_numbers.n,
            "e": numbers.public_numbers.e,
            "d": numbers.d,
            "p": numbers.p,
            "q": numbers.q,
            "dp": numbers.dmp1,
            "dq": numbers.dmq1,
            "qi": numbers.iqmp,
        }
        sized = {name: value.to_bytes((value.bit_length() + 7) // 8, "big") for name, value in parts.items()}
        return {"kty": "RSA", **{name: base64url_encode(value) for name, value in sized.items()}}


@pytest.fixture(scope="module")
def keys() -> Keys:
    node_command()
    seed = hashlib.sha256(b"another key for tests only").digest()
    return Keys(
        rsa.generate_private_key(public_exponent=65537, key_size=4096),
        Ed25519PrivateKey.from_private_bytes(seed),
    )


# --- they sign, we verify ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    cases = [(signer, shape) for signer in TYPES for shape in SHAPES]
    jobs = [
        {
            **SHAPES[shape],
            "do": "sign",
            "signer": signer,
            "key": keys.for_peer(signer),
            "data": text(SHAPES[shape]["data"]),
        }
        for signer, shape in cases
    ]
    return dict(zip(cases, run_peer(tmp_path_factory.mktemp("theirs"), jobs), strict=True))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("signer", TYPES)
def test_what_arbundles_signs_we_verify(
    signer: str, shape: str, theirs: dict[tuple[str, str], dict[str, Any]]
) -> None:
    made, given = theirs[signer, shape], SHAPES[shape]
    raw = base64.b64decode(made["raw"])
    (candidate,) = (c for c in parse_id(made["id"]) if c.encoding == "base64url")
    checked = verify_item(raw, candidate.digest)
    assert str(checked.verdict) == "accept"
    item = checked.item
    assert item is not None and item.scheme.number == made["type"] == TYPES[signer]
    assert item.data == given["data"]
    assert [{"name": tag.name, "value": tag.value} for tag in item.tags] == given["tags"]
    assert item.anchor.decode() == given.get("anchor", "")
    assert base64url_encode(item.target) == given.get("target", "")
    assert assemble(item) == raw
    for position in (2, len(item.signature) + 10, len(raw) - 1):
        changed = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
        assert not verify_item(changed, candidate.digest).verdict.accepted


def test_every_item_of_a_bundle_of_theirs_is_verified(keys: Keys, tmp_path: Path) -> None:
    contents = [b"one", b"", b"three" * 1000]
    job = {"do": "bundle", "key": ETHEREUM_KEY, "items": [text(data) for data in contents]}
    (made,) = run_peer(tmp_path, [job])
    checked = verify_bundle(base64.b64decode(made["raw"]))
    assert [str(found.verdict) for found in checked] == ["accept"] * 3
    assert [found.item.data for found in checked if found.item] == contents
    assert [format_id(found.item.id).base64url for found in checked if found.item] == made["ids"]


# --- we sign, they verify ---------------------------------------------------------------------------------

Sign = Callable[[Keys, bytes], bytes]
PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
OURS: dict[int, Sign] = {
    1: lambda keys, m: keys.rsa.sign(m, PSS, hashes.SHA256()),
    2: lambda keys, m: keys.ed25519.sign(m),
    3: lambda _, m: Signer.from_hex(ETHEREUM_KEY).sign_deep_hash(m),
    4: lambda keys, m: keys.ed25519.sign(m.hex().encode()),
    5: lambda keys, m: keys.ed25519.sign(b"APTOS\nmessage: " + m.hex().encode() + b"\nnonce: bundlr"),
}


def owner(keys: Keys, number: int) -> bytes:
    if number == 1:
        return keys.rsa.public_key().public_numbers().n.to_bytes(512, "big")
    return (
        Signer.from_hex(ETHEREUM_KEY).public_key
        if number == 3
        else keys.ed25519.public_key().public_bytes_raw()
    )


def our_item(keys: Keys, number: int, shape: dict[str, Any]) -> Item:
    tags = tuple(Tag(**tag) for tag in shape["tags"])
    anchor, target = shape.get("anchor", "").encode(), shape.get("target", "")
    target_bytes = base64.urlsafe_b64decode(target + "=") if target else b""
    unsigned = Item(
        SCHEMES[number],
        b"",
        owner(keys, number),
        target_bytes,
        anchor,
        tags,
        encode_tags(tags),
        shape["data"],
    )
    signature = OURS[number](keys, signed_message(unsigned))
    return Item(*(signature if name == "signature" else getattr(unsigned, name) for name in Item.__slots__))


@pytest.fixture(scope="module")
def verified(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    cases = [(number, shape) for number in OURS for shape in SHAPES]
    items = [our_item(keys, number, SHAPES[shape]) for number, shape in cases]
    jobs = [{"do": "verify", "raw": text(assemble(item))} for item in items]
    outcomes = run_peer(tmp_path_factory.mktemp("ours"), jobs)
    yield dict(zip(cases, zip(items, outcomes, strict=True), strict=True))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", OURS)
def test_what_we_sign_arbundles_verifies(number: int, shape: str, verified: Any) -> None:
    item, said = verified[number, shape]
    assert said["valid"] is True
    assert said["id"] == format_id(item.id).base64url and said["type"] == number
    assert base64.b64decode(said["data"]) == item.data
    assert said["tags"] == SHAPES[shape]["tags"]
    assert str(verify_item(assemble(item), item.id).verdict) == "accept"


def test_an_item_built_for_an_upload_is_valid_there_and_a_changed_one_is_not(
    keys: Keys, tmp_path: Path
) -> None:
    tags = (Tag("Content-Type", "application/json"), Tag("App-Name", "armlx-chain"))
    item = build_item(Signer.from_hex(ETHEREUM_KEY), b'{"a":1}', tags=tags, anchor=ANCHOR.encode())
    raw = assemble(item)
    jobs = [{"do": "verify", "raw": text(data)} for data in (raw, raw[:-1] + b"]")]
    assert [outcome["valid"] for outcome in run_peer(tmp_path, jobs)] == [True, False]
