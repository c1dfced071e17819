"""The committed vectors are what the code yields, and they hold together by other means."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any

import format_vectors
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from armlx_chain.errors import FormatError
from armlx_chain.formats.canonical import parse_canonical

pytestmark = pytest.mark.unit


def vector(name: str) -> Any:
    return json.loads((format_vectors.FOLDER / name).read_text(encoding="ascii"))


def contents(tree: Any) -> list[dict[str, Any]]:
    """Every object of a vector file that states bytes and their digest."""
    if isinstance(tree, list):
        return [found for item in tree for found in contents(item)]
    if isinstance(tree, dict):
        own = [tree] if "sha256" in tree else []
        return own + [found for item in tree.values() for found in contents(item)]
    return []


def test_generating_the_vectors_again_changes_nothing() -> None:
    assert format_vectors.stale() == []


@pytest.mark.parametrize("path", sorted(format_vectors.FOLDER.glob("*.json")), ids=lambda path: path.name)
def test_stated_digests_belong_to_the_stated_bytes(path: Any) -> None:
    for item in contents(json.loads(path.read_text(encoding="ascii"))):
        data = bytes.fromhex(item["bytes"])
        assert hashlib.sha256(data).hexdigest() == item["sha256"]
        assert len(data) == item["size"]
        if "document" in item:
            assert item["document"].encode() == data
            assert (
                json.dumps(
                    json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False
                ).encode()
                == data
            )


def test_the_refused_spellings_are_refused() -> None:
    refused = vector("canonical.json")["refused"]
    assert len(refused) >= 15
    for case in refused:
        with pytest.raises(FormatError):
            parse_canonical(bytes.fromhex(case["bytes"]))


def test_any_tar_reader_reads_the_bundles() -> None:
    for tree in vector("bundle.json")["trees"]:
        with tarfile.open(fileobj=io.BytesIO(bytes.fromhex(tree["bytes"])), mode="r:") as archive:
            read = {}
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None
                assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
                read[member.name] = (file.read().hex(), member.mode)
        stated = {
            file["path"]: (file["data"], 0o755 if file["executable"] else 0o644) for file in tree["files"]
        }
        assert read == stated


@pytest.mark.parametrize(
    ("typed", "signature", "key"),
    [
        (vector("claim.json")["typedData"], vector("claim.json")["signature"], "minerKey"),
        (
            vector("attestation.json")["reproduced"]["typedData"],
            json.loads(vector("attestation.json")["reproduced"]["signed"]["document"])["signature"],
            "validatorKey",
        ),
        (
            vector("attestation.json")["undecided"]["typedData"],
            json.loads(vector("attestation.json")["undecided"]["signed"]["document"])["signature"],
            "validatorKey",
        ),
        (
            vector("policy.json")["typedData"],
            json.loads(vector("policy.json")["signed"]["document"])["signature"],
            "validatorKey",
        ),
    ],
    ids=["claim", "reproduced", "undecided", "policy"],
)
def test_another_library_agrees_on_digest_and_signer(typed: Any, signature: str, key: str) -> None:
    signable = encode_typed_data(full_message=typed["message"])
    assert signable.header.hex() == typed["domainSeparator"][2:]
    assert signable.body.hex() == typed["structHash"][2:]
    keys = {**vector("claim.json"), **vector("attestation.json")}
    assert Account.recover_message(signable, signature=signature) == Account.from_key(keys[key]).address
    assert "0x" + Account.sign_message(signable, keys[key]).signature.hex() == signature
