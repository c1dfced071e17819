"""The commands ``fetch`` and ``cache`` as a person meets them, against servers on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import command
from storage_sims import Error, SimStorage, http

from armlx_chain.cli.output import emit, say, table
from armlx_chain.encodings import base58_encode, base64url_encode
from armlx_chain.storage.cache import ContentCache
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "irys"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "protocol"))

from irys_sims import SimIrys, root_of_item, vector
from protocol_documents import document

pytestmark = pytest.mark.integration

PROTOCOL = document()
FILE = bytes(range(256)) * 3000
ITEM = vector()
IRYS_ROOT = root_of_item(ITEM)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ARMLX_JSON", "ARMLX_OFFLINE", "ARMLX_CACHE_LIMIT", "ARMLX_NETWORK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ARMLX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ARMLX_STORAGE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ARMLX_IRYS", "none")
    return tmp_path / "home"


@pytest.fixture
def zerog(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimStorage]:
    sim = SimStorage(PROTOCOL, FILE)
    monkeypatch.setenv("ARMLX_STORAGE_URL", sim.url)
    yield sim
    sim.stop()


@pytest.fixture
def irys(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimIrys]:
    sim = SimIrys().holding(ITEM)
    monkeypatch.setenv("ARMLX_IRYS_GATEWAY", sim.url)
    monkeypatch.setenv("ARMLX_IRYS_BUNDLER", sim.url)
    yield sim
    sim.stop()


@pytest.fixture
def unprovable(irys: SimIrys) -> SimIrys:
    irys.change["metadata"] = lambda _: http(b"Not Found", status="404 Not Found")
    return irys


# --- what is shown -----------------------------------------------------------------------------------------


def test_a_protocol_is_fetched_proven_and_shown(zerog: SimStorage) -> None:
    shown = command("fetch", root_of(PROTOCOL))
    assert shown.code == 0, shown.err
    assert "metric" in shown.out
    assert "verified (merkle-root)" in shown.err
    told = command("fetch", root_of(PROTOCOL), "--json").document
    assert (told["ok"], told["verified"], told["proof"]) == (True, True, "merkle-root")
    assert (told["source"], told["bytes"], told["faults"]) == ("cache", len(PROTOCOL), [])
    assert told["protocol"]["schemaKind"] == "protocol"


def test_raw_bytes_go_to_stdout_as_they_are(zerog: SimStorage) -> None:
    assert command("fetch", root_of(FILE), "--raw").raw == FILE


@pytest.mark.parametrize("control", ["\x1b[2J", "\x1b]0;owned\x07", "\x9b2J", "\r", "\u202e", "\x08"])
def test_a_servers_words_do_not_drive_the_terminal(zerog: SimStorage, control: str) -> None:
    def refuse(_: object, __: object) -> Error:
        return Error(-32000, f"verified{control} all is well", control)

    zerog.hooks["indexer_getFileLocations"] = zerog.hooks["zgs_getFileInfo"] = refuse
    zerog.rest = lambda _: http(json.dumps({"code": 107, "message": control, "data": None}).encode())
    shown = command("fetch", root_of(FILE), "--raw")
    assert (shown.code, shown.raw) == (75, b"")
    assert "all is well" in shown.err
    assert all(letter.isprintable() or letter == "\n" for letter in shown.err)


def test_the_words_of_a_result_do_not_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    emit({}, table([("purpose", "better\x07\x9b2J\u202e models")]), as_json=False)
    say("a note\x08\tof\ntwo lines")
    shown = capsys.readouterr()
    assert shown.out == "purpose  better\ufffd\ufffd2J\ufffd models\n"
    assert shown.err == "a note\ufffd\tof\ntwo lines\n"


def test_what_is_no_protocol_is_not_shown_as_one(zerog: SimStorage) -> None:
    shown = command("fetch", root_of(FILE), "--json")
    assert (shown.code, shown.document["error"]["code"]) == (1, "ProtocolInvalid")
    assert "--output" in shown.document["error"]["next"]


@pytest.mark.parametrize("form", ["0x{0}", "{0}", "0g:0x{0}", "0g:{0}", "0x{1}"])
def test_every_form_of_a_0g_root_is_understood(zerog: SimStorage, form: str) -> None:
    digest = root_of(PROTOCOL).digest.hex()
    assert command("fetch", form.format(digest, digest.upper())).code == 0


@pytest.mark.parametrize(
    "text",
    [
        "irys:" + base58_encode(IRYS_ROOT.digest),
        "irys:" + base64url_encode(IRYS_ROOT.digest),
        "irys:0x" + IRYS_ROOT.digest.hex(),
        "irys:" + IRYS_ROOT.digest.hex(),
        "irys:base58:" + base58_encode(IRYS_ROOT.digest),
        "irys:base64url:" + base64url_encode(IRYS_ROOT.digest),
        base58_encode(IRYS_ROOT.digest),
        base64url_encode(IRYS_ROOT.digest),
    ],
)
def test_every_form_of_an_irys_id_is_understood(irys: SimIrys, text: str) -> None:
    found = command("fetch", text, "--raw")
    assert (found.code, found.raw) == (0, ITEM.data), found.err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x12",
        "0g:" + "g" * 64,
        "irys:x",
        "irys:" + "0" * 42 + "1",
        "ipfs:Qm",
        "sha256:12",
        "hello",
        "x" * 300,
    ],
)
def test_what_is_no_root_is_a_usage_error(text: str) -> None:
    told = command("fetch", text, "--json")
    assert (told.code, told.document["error"]["code"]) == (2, "RootFormatError")


def test_an_ambiguous_id_is_tried_both_ways(irys: SimIrys) -> None:
    """43 characters that are canonical base64url and base58: only the item that exists is right."""
    text = _ambiguous()
    readings = Root.candidates("irys:" + text)
    assert len(readings) == 2
    found = command("fetch", text, "--raw")
    assert found.code == 75
    assert str(readings[0]) in found.err
    assert base58_encode(readings[1].digest) in " ".join(irys.paths)


def _ambiguous() -> str:
    digits = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    for first in digits:
        text = first + "b" * 41 + "c"
        if len(_tried("irys:" + text)) == 2:
            return text
    raise AssertionError("no ambiguous text among these")


def _tried(text: str) -> tuple[Root, ...]:
    from armlx_chain.errors import RootFormatError

    try:
        return Root.candidates(text)
    except RootFormatError:
        return ()


# --- files -------------------------------------------------------------------------------------------------


def test_a_file_is_written_complete_or_not_at_all(zerog: SimStorage, tmp_path: Path) -> None:
    target = tmp_path / "out" / "file.bin"
    target.parent.mkdir()
    told = command("fetch", root_of(FILE), "-o", target, "--json")
    assert (told.code, target.read_bytes()) == (0, FILE), told.err
    assert told.document["file"] == str(target)
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]
    zerog.requests.clear()
    again = command("fetch", root_of(FILE), "-o", tmp_path / "again", "--json").document
    assert (again["source"], zerog.requests) == ("cache", [])


@pytest.mark.parametrize("root", [root_of(FILE), IRYS_ROOT], ids=["0g", "irys"])
@pytest.mark.parametrize("kept", [False, True])
def test_a_pipe_or_device_is_not_replaced_by_a_file(
    zerog: SimStorage, irys: SimIrys, tmp_path: Path, root: Root, kept: bool
) -> None:
    """For the administrator, -o /dev/null would take the device away from the whole machine."""
    if kept:
        assert command("fetch", root, "--raw").code == 0
    os.mkfifo(tmp_path / "pipe")
    shown = command("fetch", root, "-o", tmp_path / "pipe", "--json")
    assert (shown.code, shown.document["error"]["code"]) == (1, "MachineError")
    assert "--raw" in shown.document["error"]["next"]
    assert stat.S_ISFIFO((tmp_path / "pipe").lstat().st_mode)
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["pipe"]


def test_of_a_link_only_the_link_is_replaced(zerog: SimStorage, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "link").symlink_to("precious")
    assert command("fetch", root_of(FILE), "-o", tmp_path / "link").code == 0
    assert (tmp_path / "precious").read_text() == "kept"
    assert (tmp_path / "link").read_bytes() == FILE
    assert not (tmp_path / "link").is_symlink()


def test_a_lying_server_leaves_no_file_and_is_named(zerog: SimStorage, tmp_path: Path) -> None:
    zerog.spoil_file(lambda data: b"x" + data[1:])
    zerog.rest = lambda data: http(b"x" + data[1:])
    target = tmp_path / "file.bin"
    target.write_bytes(b"before")
    told = command("fetch", root_of(FILE), "-o", target, "--json")
    assert (told.code, told.document["error"]["code"]) == (3, "ContentMismatch")
    assert zerog.url in json.dumps(told.document["error"]["details"]["faults"])
    assert target.read_bytes() == b"before"


def test_the_expected_length_decides_about_zeros_at_the_end(tmp_path: Path, zerog: SimStorage) -> None:
    told = command("fetch", root_of(FILE), "-o", tmp_path / "x", "--size", len(FILE) - 300, "--json")
    assert told.code == 3
    assert command("fetch", root_of(FILE), "-o", tmp_path / "x", "--size", len(FILE)).code == 0


def test_more_than_allowed_is_refused(zerog: SimStorage, tmp_path: Path) -> None:
    for limit in ("100kB", "767999", "0.5GB"):
        told = command("fetch", root_of(FILE), "-o", tmp_path / "x", "--max-size", limit, "--json")
        assert told.code == (2 if "." in limit else 1)
    assert not (tmp_path / "x").exists()
    assert command("fetch", root_of(FILE), "-o", tmp_path / "x", "--max-size", "750KiB").code == 0


def test_a_digest_is_checked_on_top_of_the_root(zerog: SimStorage, tmp_path: Path) -> None:
    right, wrong = hashlib.sha256(FILE).hexdigest(), "ab" * 32
    told = command("fetch", root_of(FILE), "-o", tmp_path / "x", "--sha256", wrong, "--json")
    assert (told.code, told.document["error"]["code"]) == (3, "ContentMismatch")
    assert not (tmp_path / "x").exists()
    assert command("fetch", root_of(FILE), "-o", tmp_path / "x", "--sha256", right).code == 0
    assert command("fetch", root_of(FILE), "--raw", "--sha256", "sha256:" + right).raw == FILE
    assert command("fetch", root_of(FILE), "--raw", "--sha256", "12").code == 2


def test_offline_serves_the_cache_and_says_what_is_missing(zerog: SimStorage) -> None:
    missing = command("fetch", root_of(PROTOCOL), "--offline", "--json")
    assert (missing.code, missing.document["error"]["code"]) == (75, "StorageUnavailable")
    assert "--offline" in missing.document["error"]["next"]
    assert command("fetch", root_of(PROTOCOL)).code == 0
    zerog.requests.clear()
    assert command("fetch", root_of(PROTOCOL), "--offline").code == 0
    assert zerog.requests == []


def test_a_corrupt_cache_is_said_and_mended(zerog: SimStorage, home: Path) -> None:
    command("fetch", root_of(PROTOCOL))
    ContentCache(home / "cache").path_of(root_of(PROTOCOL)).write_bytes(b"rubbish")
    told = command("fetch", root_of(PROTOCOL), "--json").document
    assert len(told["faults"]) == 1
    assert "removed" in told["faults"][0]
    assert command("fetch", root_of(PROTOCOL), "--offline").code == 0


# --- documents without a proof -----------------------------------------------------------------------------


def test_an_unprovable_document_is_refused_by_default(unprovable: SimIrys, tmp_path: Path) -> None:
    told = command("fetch", IRYS_ROOT, "-o", tmp_path / "x", "--json")
    assert (told.code, told.document["error"]["code"]) == (3, "ContentUnproven")
    assert list(tmp_path.glob("x*")) == []


def test_an_unprovable_document_is_marked_where_a_person_insists(unprovable: SimIrys, tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    told = command("fetch", IRYS_ROOT, "-o", target, "--allow-unverified", "--json")
    assert (told.code, target.read_bytes()) == (0, ITEM.data), told.err
    assert told.document["verified"] is False
    assert told.document["proof"] is None
    assert told.document["reason"]
    assert "UNVERIFIED" in told.err
    mark = json.loads((tmp_path / "x.json.unverified").read_text())
    assert mark["root"] == str(IRYS_ROOT)
    assert mark["sha256"] == hashlib.sha256(ITEM.data).hexdigest()
    assert command("fetch", IRYS_ROOT, "--offline").code == 75, "it was not kept"


def test_a_proof_takes_the_mark_away(irys: SimIrys, tmp_path: Path, home: Path) -> None:
    target = tmp_path / "x.json"
    honest = irys.change.pop("metadata", None)
    irys.change["metadata"] = lambda _: http(b"Not Found", status="404 Not Found")
    command("fetch", IRYS_ROOT, "-o", target, "--allow-unverified")
    assert (tmp_path / "x.json.unverified").exists()
    del irys.change["metadata"]
    assert honest is None
    assert command("fetch", IRYS_ROOT, "-o", target).code == 0
    assert not (tmp_path / "x.json.unverified").exists()
    assert not list((home / "unverified").glob("*.json"))


def test_a_pinned_digest_proves_an_unprovable_document(unprovable: SimIrys, tmp_path: Path) -> None:
    digest = hashlib.sha256(ITEM.data).hexdigest()
    told = command("fetch", IRYS_ROOT, "-o", tmp_path / "x", "--sha256", digest, "--json").document
    assert (told["verified"], told["proof"]) == (True, "sha256-pin")
    assert not (tmp_path / "x.unverified").exists()
    assert command("fetch", "sha256:" + digest, "--offline", "--raw").raw == ITEM.data


def test_a_candidate_that_nobody_could_prove_is_not_run(unprovable: SimIrys, tmp_path: Path) -> None:
    target = tmp_path / "train.py"
    command("fetch", IRYS_ROOT, "-o", target, "--allow-unverified")
    copy = tmp_path / "copy" / "train.py"
    copy.parent.mkdir()
    copy.write_bytes(target.read_bytes())
    for candidate in (target, copy, copy.parent):
        told = command("reproduce", candidate, "--project", 0, "--out", tmp_path / "run", "--json")
        assert (told.code, told.document["error"]["code"]) == (3, "ContentUnproven"), told.err
        assert "--allow-unverified" in told.document["error"]["next"]
    target.write_bytes(b"edited since")
    assert command("reproduce", target, "--project", 0, "--json").code == 3, "the mark beside the file stays"
    assert not (tmp_path / "run").exists()


# --- the cache command -------------------------------------------------------------------------------------


def test_the_cache_is_shown_verified_pruned_and_cleared(zerog: SimStorage, home: Path) -> None:
    for data in (PROTOCOL, FILE):
        assert command("fetch", root_of(data), "--raw").code == 0
    told = command("cache", "show", "--entries", "--json").document
    assert (told["entries"], told["bytes"]) == (2, len(PROTOCOL) + len(FILE))
    assert {entry["root"] for entry in told["roots"]} == {str(root_of(PROTOCOL)), str(root_of(FILE))}
    assert command("cache", "verify").code == 0
    ContentCache(home / "cache").path_of(root_of(FILE)).write_bytes(b"rubbish")
    checked = command("cache", "verify", "--json")
    assert (checked.code, checked.document["removed"]) == (3, [str(root_of(FILE))])
    assert command("fetch", root_of(FILE), "--raw").code == 0
    assert command("cache", "prune", "--to", "10kB", "--json").document["removed"] >= 1
    assert command("cache", "clear").code == 0
    assert command("cache", "show", "--json").document["entries"] == 0


def test_the_caches_limit_comes_from_the_environment(
    zerog: SimStorage, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMLX_CACHE_LIMIT", "100kB")
    assert command("fetch", root_of(FILE), "--raw").raw == FILE
    assert command("fetch", root_of(PROTOCOL)).code == 0
    told = command("cache", "show", "--json").document
    assert (told["entries"], told["limit"]) == (1, 100_000)
    monkeypatch.setenv("ARMLX_CACHE_LIMIT", "much")
    assert command("cache", "show", "--json").document["error"]["code"] == "UsageError"
