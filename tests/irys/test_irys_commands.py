"""The command line with Irys ids: fetch, verify and upload against a local gateway and bundler."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from irys_sims import SimIrys, vector
from storage_sims import http

from armlx_chain.cli.main import cli, run
from armlx_chain.encodings import Encoding, parse_id
from armlx_chain.errors import RootFormatError
from armlx_chain.signing import keystore
from armlx_chain.storage.irys.ids import format_id
from armlx_chain.types import Root

pytestmark = pytest.mark.integration

ITEM = vector()
FORMS = format_id(ITEM.id)
PASSPHRASE = "correct horse"


class CommandLine:
    """Runs commands in this process, with a home of their own and the simulator as all of Irys."""

    def __init__(self, sim: SimIrys, home: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.sim = sim
        self.home = home
        self._capture = capture

    def __call__(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code = run(cli, [*arguments, "--json"], name="armlx-chain")
        answer: dict[str, Any] = json.loads(self._capture.readouterr().out)
        return code, answer


@pytest.fixture
def command(
    sim: SimIrys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    monkeypatch.setenv("ARMLX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ARMLX_NETWORK", "galileo")
    for name in ("ARMLX_IRYS_GATEWAY", "ARMLX_IRYS_BUNDLER"):
        monkeypatch.setenv(name, sim.url)
    return CommandLine(sim.holding(ITEM), tmp_path / "home", capsys)


SPELLINGS = [
    *(f"irys:{text}" for text in (FORMS.base58, FORMS.base64url, FORMS.hex, f"base58:{FORMS.base58}")),
    FORMS.base58,
    f"https://gateway.irys.xyz/{FORMS.base64url}",
    f"https://devnet.irys.xyz/tx/{FORMS.base58}/data",
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_a_document_is_fetched_by_its_id_in_every_form_and_kept(
    text: str, command: CommandLine, tmp_path: Path
) -> None:
    target = tmp_path / "document.json"
    code, answer = command("fetch", text, "-o", str(target))
    assert (code, answer["verified"], answer["proof"]) == (0, True, "rebuilt-item")
    assert answer["root"] == f"irys:{ITEM.id.hex()}"
    assert target.read_bytes() == ITEM.data
    asked = len(command.sim.requests)
    code, answer = command("fetch", text, "--offline", "-o", str(tmp_path / "again.json"))
    assert (code, answer["source"]) == (0, "cache")
    assert (tmp_path / "again.json").read_bytes() == ITEM.data
    assert len(command.sim.requests) == asked


def test_a_payload_without_a_proof_is_refused_pinned_or_taken_knowingly(
    command: CommandLine, tmp_path: Path
) -> None:
    command.sim.change["metadata"] = lambda _: http(b"", status="404 Not Found")
    target = tmp_path / "document.json"
    fetch = ("fetch", f"irys:{FORMS.base64url}", "-o", str(target))
    code, answer = command(*fetch)
    assert (code, answer["error"]["code"]) == (3, "ContentUnproven")
    assert not target.exists()
    code, answer = command(*fetch, "--sha256", "00" * 32)
    assert (code, answer["error"]["code"]) == (3, "ContentMismatch")
    assert not target.exists()
    code, answer = command(*fetch, "--sha256", hashlib.sha256(ITEM.data).hexdigest())
    assert (code, answer["verified"], answer["proof"]) == (0, True, "sha256-pin")
    target.unlink()
    code, answer = command(*fetch, "--allow-unverified")
    assert (code, answer["verified"]) == (0, False)
    assert target.read_bytes() == ITEM.data


def test_an_id_in_two_forms_at_once_is_tried_as_both(command: CommandLine, tmp_path: Path) -> None:
    text = "UkUXLqaemLhXJrYqAv9vR58JGwRnQUHLpZ7zHJknAB8"
    code, answer = command("fetch", f"irys:{text}", "-o", str(tmp_path / "x"))
    assert (code, answer["error"]["code"]) == (75, "ContentNotFound")
    asked = {reading.digest for path in command.sim.paths for reading in parse_id(path.split("/")[1])}
    both = {reading.digest for reading in parse_id(text)}
    assert len(both) == 2 and both <= asked


@pytest.mark.parametrize(
    "link",
    [
        "https://[",
        "https://a.example/",
        "https://a.example/x?id=" + FORMS.base58,
        "http://a.example/x",
        "https://",
    ],
)
def test_a_link_without_an_id_at_its_end_is_no_root(link: str, command: CommandLine) -> None:
    code, answer = command("fetch", link)
    assert (code, answer["error"]["code"]) == (2, "RootFormatError")
    assert command.sim.requests == []


def test_where_one_id_is_needed_an_ambiguous_text_is_refused_with_both_readings() -> None:
    text = "UkUXLqaemLhXJrYqAv9vR58JGwRnQUHLpZ7zHJknAB8"
    with pytest.raises(RootFormatError, match="two forms at once") as caught:
        Root.parse(f"irys:{text}")
    readings = Root.candidates(f"irys:{text}")
    assert caught.value.details["candidates"] == [str(reading) for reading in readings]
    for encoding, reading in zip((Encoding.BASE64URL, Encoding.BASE58), readings, strict=True):
        assert Root.parse(f"irys:{encoding}:{text}") == reading
    for wrong in ("irys:", "irys:abc", "irys:hex:" + text, f"irys:{text}=", f"irys: {text}"):
        with pytest.raises(RootFormatError):
            Root.parse(wrong)


def test_a_document_is_uploaded_verified_from_its_kept_item_and_fetched(
    command: CommandLine, bundler_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    command.sim.key = bundler_key
    keystore.import_key(
        command.home / "keystores", "me", lambda: "00" * 31 + "07", lambda: PASSPHRASE, work_factor=1024
    )
    (tmp_path / "pass").write_text(PASSPHRASE)
    document = tmp_path / "document.json"
    document.write_bytes(b'{"a":1}\n')
    key = ("--account", "me", "--password-file", str(tmp_path / "pass"))
    code, answer = command("upload", str(document), "--to", "irys", *key, "--yes")
    assert (code, answer["sha256"]) == (0, hashlib.sha256(document.read_bytes()).hexdigest())
    root, item = answer["root"], answer["item"]
    code, answer = command("verify", item, root)
    assert (code, answer["payload_bytes"]) == (0, 8)
    code, answer = command("verify", str(document), root)
    assert (code, answer["error"]["code"]) == (3, "ContentMismatch")
    code, answer = command("fetch", root, "-o", str(tmp_path / "back.json"))
    assert (code, (tmp_path / "back.json").read_bytes()) == (0, document.read_bytes())
