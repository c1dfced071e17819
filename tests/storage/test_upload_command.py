"""The command ``upload``: to the local world's storage, and to an Irys bundler on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import Ran, command
from cryptography.hazmat.primitives.asymmetric import rsa

from armlx_chain.chain.rpc import Rpc
from armlx_chain.devnet.world import Devnet
from armlx_chain.signing import keystore
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "irys"))

from irys_sims import SimIrys

pytestmark = pytest.mark.integration

PASSPHRASE = "the keys of a local world are no secret"


@dataclass
class Uploader:
    """Somebody with a key in the local world."""

    folder: Path
    devnet: Devnet
    files: int = 0

    def file(self, data: bytes) -> Path:
        self.files += 1
        path = self.folder / f"file-{self.files}.bin"
        path.write_bytes(data)
        return path

    def run(self, *arguments: object, key: bool = True) -> Ran:
        signed = ("--account", "me", "--password-file", self.folder / "passphrase") if key else ()
        return command(*arguments, *signed, "--network", "devnet", "--home", self.folder / "home")

    @property
    def sent(self) -> int:
        """Transactions of the account so far."""
        rpc = Rpc(self.devnet.rpc_url, expected_chain_id=self.devnet.chain_id)
        return rpc.nonce(Address(self.devnet.accounts[1].address), pending=True)


@pytest.fixture(scope="module")
def me(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uploader]:
    folder = tmp_path_factory.mktemp("upload")
    (folder / "passphrase").write_text(PASSPHRASE + "\n")
    (folder / "passphrase").chmod(0o600)
    with pytest.MonkeyPatch.context() as environment, Devnet.start(folder / "devnet") as devnet:
        environment.setenv("ARMLX_DEVNET", str(folder / "devnet"))
        for name in ("ARMLX_JSON", "ARMLX_YES", "ARMLX_STORAGE_URL", "ETH_RPC_URL", "ARMLX_CACHE_LIMIT"):
            environment.delenv(name, raising=False)
        key = devnet.accounts[1].private_key_hex
        keystore.import_key(
            folder / "home" / "keystores", "me", lambda: key, lambda: PASSPHRASE, work_factor=1 << 4
        )
        yield Uploader(folder, devnet)


DATA = bytes(range(256)) * 2000


def test_a_dry_run_prints_root_and_fee_without_a_key_and_sends_nothing(me: Uploader) -> None:
    before = me.sent
    told = me.run("upload", me.file(b"planned" + DATA), "--dry-run", "--json", key=False)
    assert told.code == 0, told.err
    plan = told.document
    assert (plan["root"], plan["dry_run"]) == (str(root_of(b"planned" + DATA)), True)
    assert (plan["bytes"], plan["state"]) == (len(DATA) + 7, "absent")
    assert plan["fee_wei"] == plan["sectors"] * plan["price_wei_per_sector"] > 0
    assert "nothing was sent" in told.err
    assert me.sent == before


def test_without_a_yes_and_without_a_terminal_nothing_is_paid(me: Uploader) -> None:
    before = me.sent
    told = me.run("upload", me.file(b"unasked" + DATA), "--json")
    assert told.code == 2
    assert "--yes" in told.document["error"]["message"]
    assert me.sent == before


def test_more_than_the_bound_is_not_paid(me: Uploader) -> None:
    before = me.sent
    told = me.run("upload", me.file(b"dear" + DATA), "--max-fee", 1, "--yes", "--json")
    assert (told.code, told.document["error"]["code"]) == (1, "InsufficientFunds")
    assert me.sent == before


def test_a_file_goes_up_once_and_comes_back_proven(me: Uploader) -> None:
    before = me.sent
    first = me.run("upload", me.file(DATA), "--yes")
    assert (first.code, first.out) == (0, f"{root_of(DATA)}\n"), first.err
    assert "root" in first.err, "the plan was shown"
    assert me.sent == before + 1
    again = me.run("upload", me.file(DATA), "--json")
    assert (again.code, again.document["fee_wei"]) == (0, 0), (
        "what is there is neither asked for nor paid again"
    )
    assert me.sent == before + 1
    planned = me.run("upload", me.file(DATA), "--dry-run", "--json", key=False).document
    assert (planned["state"], planned["fee_wei"]) == ("final", 0)
    target = me.folder / "back.bin"
    assert me.run("fetch", root_of(DATA), "-o", target, key=False).code == 0
    assert target.read_bytes() == DATA


def test_an_empty_file_has_no_root(me: Uploader) -> None:
    assert me.run("upload", me.file(b""), "--dry-run", "--json", key=False).document["ok"] is False


def test_a_key_is_asked_for_before_anything_else(me: Uploader) -> None:
    told = me.run("upload", me.file(DATA), "--json", key=False)
    assert told.document["error"]["code"] == "UsageError"
    assert "--account" in told.document["error"]["next"]


# --- Irys --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundler_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 4096)


@pytest.fixture
def bundler(bundler_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimIrys]:
    sim = SimIrys()
    sim.key = bundler_key
    monkeypatch.setenv("ARMLX_IRYS_GATEWAY", sim.url)
    monkeypatch.setenv("ARMLX_IRYS_BUNDLER", sim.url)
    yield sim
    sim.stop()


def test_a_small_document_goes_to_irys_and_comes_back_proven(me: Uploader, bundler: SimIrys) -> None:
    document = me.file(b'{"a": "document"}')
    dry = me.run("upload", document, "--to", "irys", "--dry-run", "--json")
    assert (dry.code, dry.document["root"]) == (0, None), dry.err
    assert bundler.requests == []
    done = me.run("upload", document, "--to", "irys", "--yes", "--json")
    assert done.code == 0, done.err
    root = done.document["root"]
    assert Path(done.document["item"]).is_file()
    for text in (root, *(f"irys:{form}" for form in done.document["id"].values())):
        found = me.run("fetch", text, "--raw", key=False)
        assert (found.code, found.raw) == (0, document.read_bytes()), found.err
    assert json.loads(document.read_bytes()) == {"a": "document"}


def test_irys_is_not_asked_without_a_yes(me: Uploader, bundler: SimIrys) -> None:
    told = me.run("upload", me.file(b"x"), "--to", "irys", "--json")
    assert told.code == 2
    assert bundler.requests == []


def test_without_a_bundler_the_command_says_how_to_name_one(me: Uploader) -> None:
    told = me.run("upload", me.file(b"x"), "--to", "irys", "--yes", "--json")
    assert told.document["error"]["code"] == "UsageError"
    assert "ARMLX_IRYS" in told.document["error"]["next"]
