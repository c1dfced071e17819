"""Keystores and mnemonics across wallets: Foundry's cast, ethers, and the specification's own vectors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from signing_examples import CLAIM

from armlx_chain.errors import KeystoreError, SigningError
from armlx_chain.signing.accounts import find_account, foundry_folder
from armlx_chain.signing.keystore import create, import_signer, load
from armlx_chain.signing.signer import DEFAULT_DERIVATION_PATH, Signer

TESTS = Path(__file__).resolve().parents[1]
WORDS = "test test test test test test test test test test test junk"
PASSPHRASE = "pass word with spaces, ümlaut"
CHEAP = 1 << 12

# The examples of the Web3 Secret Storage definition: one key, two ways of deriving.
VECTOR_KEY = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
VECTORS: dict[str, dict[str, Any]] = {
    "pbkdf2": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "scrypt": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf": "scrypt",
        "kdfparams": {
            "dklen": 32,
            "n": 262144,
            "p": 8,
            "r": 1,
            "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
        },
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
    },
}


def missing(what: str) -> None:
    reason = f"{what} was not found: run scripts/install-peers"
    if os.environ.get("ARMLX_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


class Cast:
    """The real ``cast wallet``, with a home of its own."""

    def __init__(self, program: str, home: Path) -> None:
        self.program = program
        self.home = home
        self.password_file = home / "password"
        self.password_file.write_text(PASSPHRASE + "\n")
        self.password_file.chmod(0o600)

    def run(self, *arguments: str, ok: bool = True) -> str:
        done = subprocess.run(
            [self.program, "wallet", *arguments], env={"HOME": str(self.home)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done.stdout.strip()

    def opened(self, path: Path, command: str, *arguments: str) -> str:
        secret = ("--keystore", str(path), "--password-file", str(self.password_file))
        return self.run(command, *arguments, *secret)


@pytest.fixture
def cast(tmp_path: Path) -> Cast:
    pinned = TESTS / "tools" / "node_modules" / ".bin" / "cast"
    program = shutil.which(os.environ.get("ARMLX_CAST") or str(pinned)) or shutil.which("cast")
    if program is None:
        missing("cast")
    home = tmp_path / "person"
    home.mkdir()
    return Cast(str(program), home)


@pytest.mark.peer
def test_cast_opens_our_keystore_and_signs_the_same(cast: Cast, tmp_path: Path) -> None:
    made = create(tmp_path / "keys", "miner", lambda: PASSPHRASE)
    ours = load(made.path, lambda: PASSPHRASE)
    assert cast.opened(made.path, "address") == made.address
    signed = cast.opened(made.path, "sign", "--no-hash", "0x" + CLAIM.digest().hex())
    assert signed == "0x" + ours.sign_typed_data(CLAIM.typed_data()).hex()


@pytest.mark.peer
def test_we_open_casts_keystores_by_their_names_and_sign_the_same(cast: Cast) -> None:
    folder = foundry_folder(cast.home)
    cast.run("import", "alice", "--private-key", "0x" + VECTOR_KEY, "--unsafe-password", PASSPHRASE)
    cast.run("new", str(folder), "bob", "--unsafe-password", PASSPHRASE)
    assert sorted(path.name for path in folder.iterdir()) == ["alice", "bob"]
    for name in ("alice", "bob"):
        found = find_account(name, cast.home / "none", folder)
        signer = load(found.path, lambda: PASSPHRASE)
        assert signer.address == cast.opened(found.path, "address")
        signed = cast.opened(found.path, "sign", "--no-hash", "0x" + CLAIM.digest().hex())
        assert signed == "0x" + signer.sign_typed_data(CLAIM.typed_data()).hex()


@pytest.mark.peer
def test_both_refuse_a_wrong_passphrase(cast: Cast, tmp_path: Path) -> None:
    made = create(tmp_path / "keys", "miner", lambda: "another one", work_factor=CHEAP)
    cast.run("address", "--keystore", str(made.path), "--password-file", str(cast.password_file), ok=False)
    with pytest.raises(KeystoreError, match="does not open"):
        load(made.path, lambda: PASSPHRASE)


@pytest.mark.peer
@pytest.mark.parametrize("path", [DEFAULT_DERIVATION_PATH, "m/44'/60'/0'/0/7", "m/44'/60'/3'/1/2", "m/0"])
def test_a_mnemonic_means_the_same_key_to_cast(cast: Cast, path: str) -> None:
    theirs = cast.run("address", "--mnemonic", WORDS, "--mnemonic-derivation-path", path)
    assert Signer.from_mnemonic(WORDS, path=path).address == theirs


ETHERS = """
const { Wallet } = require("ethers");
const [doing, text, password] = JSON.parse(require("fs").readFileSync(0, "utf8"));
const wallet = doing === "encrypt" ? new Wallet(text) : Wallet.fromEncryptedJsonSync(text, password);
const options = { scrypt: { N: 4096 } };
const address = wallet.address;
console.log(JSON.stringify(doing === "encrypt"
  ? { address, json: wallet.encryptSync(password, options) }
  : { address, signature: wallet.signingKey.sign(process.argv[1]).serialized }));
"""


def ethers(doing: str, text: str) -> dict[str, str]:
    node, modules = shutil.which("node"), TESTS / "peers" / "node_modules"
    if node is None or not (modules / "ethers").is_dir():
        missing("ethers")
    done = subprocess.run(
        [str(node), "-e", ETHERS, "0x" + CLAIM.digest().hex()],
        input=json.dumps([doing, text, PASSPHRASE]), env={"NODE_PATH": str(modules)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


@pytest.mark.peer
def test_ethers_opens_our_keystore_and_signs_the_same(tmp_path: Path) -> None:
    made = create(tmp_path, "miner", lambda: PASSPHRASE, work_factor=CHEAP)
    answer = ethers("open", made.path.read_text())
    assert answer["address"] == made.address
    ours = load(made.path, lambda: PASSPHRASE).sign_typed_data(CLAIM.typed_data())
    assert answer["signature"] == "0x" + ours.hex()


@pytest.mark.peer
def test_we_open_the_keystore_of_ethers(tmp_path: Path) -> None:
    answer = ethers("encrypt", "0x" + VECTOR_KEY)
    path = tmp_path / "ethers.json"
    path.write_text(answer["json"])
    path.chmod(0o600)
    assert "Crypto" in json.loads(answer["json"])
    assert load(path, lambda: PASSPHRASE).address == answer["address"]


@pytest.mark.unit
@pytest.mark.parametrize(("kdf", "name"), [("pbkdf2", "Crypto"), ("scrypt", "crypto")])
def test_the_definitions_own_examples_open(kdf: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "example.json"
    path.write_text(
        json.dumps({name: VECTORS[kdf], "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6", "version": 3})
    )
    path.chmod(0o600)
    assert load(path, lambda: "testpassword").address == Account.from_key(VECTOR_KEY).address


@pytest.mark.unit
@pytest.mark.parametrize("address", ["lower", "prefixed", "checksummed", "absent"])
def test_every_way_wallets_state_the_address_is_read(address: str, tmp_path: Path) -> None:
    signer = Signer.from_hex(VECTOR_KEY)
    document = json.loads(
        import_signer(tmp_path, "x", lambda: signer, lambda: "pw", work_factor=4).path.read_text()
    )
    stated = {"lower": signer.address.lower()[2:], "prefixed": signer.address.lower()}
    document["address"] = stated.get(address, signer.address)
    if address == "absent":
        del document["address"]
    path = tmp_path / "other"
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    assert load(path, lambda: "pw").address == signer.address


@pytest.mark.unit
def test_a_mnemonics_own_passphrase_and_spacing_are_honoured() -> None:
    # Address of the "abandon … about" mnemonic's first account, and the same words with an extra one.
    words = "abandon " * 11 + "about"
    assert Signer.from_mnemonic(f"  {words}\n").address == "0x9858EfFD232B4033E47d90003D41EC34EcaEda94"
    assert Signer.from_mnemonic(words, extra_word="TREZOR").address != Signer.from_mnemonic(words).address


@pytest.mark.unit
@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("", DEFAULT_DERIVATION_PATH),
        ("test " * 11 + "test", DEFAULT_DERIVATION_PATH),
        ("test " * 10 + "junk", DEFAULT_DERIVATION_PATH),
        ("zebra-unknown " * 12, DEFAULT_DERIVATION_PATH),
        (WORDS, "44'/60'"), (WORDS, "m/"), (WORDS, "m/x"), (WORDS, "m/4294967296"), (WORDS, "m/-1"),
    ],
)  # fmt: skip
def test_what_is_no_mnemonic_is_refused_without_repeating_a_word(words: str, path: str) -> None:
    with pytest.raises(SigningError) as caught:
        Signer.from_mnemonic(words, path=path)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    said = " ".join(caught.value.sentences())
    assert "zebra" not in said
    assert "junk" not in said
