"""Keystores: written whole or not at all, opened only with their passphrase, never shown."""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from armlx_chain.errors import EXIT_KEY, KeystoreError, SigningError
from armlx_chain.signing import keystore, passphrase
from armlx_chain.signing.keystore import create, import_key, inspect, load

pytestmark = pytest.mark.unit

KEY = "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"
ADDRESS = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
FAST = 4
"""A work factor that protects nothing and costs nothing."""


def secret(text: str = "correct horse") -> Callable[[], str]:
    return lambda: text


def imported(folder: Path, name: str = "miner") -> Path:
    return import_key(folder, name, lambda: KEY, secret(), work_factor=FAST).path


def test_a_new_keystore_opens_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "keys"
    made = create(folder, "miner", secret(), work_factor=FAST)
    assert load(made.path, secret()).address == made.address
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == ["miner.json"]


def test_the_usual_library_reads_it(tmp_path: Path) -> None:
    document = json.loads(imported(tmp_path).read_text())
    assert Account.decrypt(document, "correct horse").hex() == KEY
    assert (document["version"], document["crypto"]["kdf"]) == (3, "scrypt")


def test_the_default_cost_is_that_of_the_usual_wallets(tmp_path: Path) -> None:
    made = create(tmp_path, "slow", secret())
    parameters = json.loads(made.path.read_text())["crypto"]["kdfparams"]
    assert (parameters["n"], parameters["r"], parameters["p"]) == (262_144, 8, 1)


def test_a_keystore_of_another_wallet_opens(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps(Account.encrypt(KEY, "pw", kdf="pbkdf2", iterations=10)))
    assert load(path, secret("pw")).address == ADDRESS


@pytest.mark.parametrize("wrong", ["", "correct horse ", "Correct horse", "x" * 10_000])
def test_a_wrong_passphrase_is_refused_with_the_key_exit_code(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(KeystoreError, match="passphrase does not open") as caught:
        load(imported(tmp_path), secret(wrong))
    assert caught.value.exit_code == EXIT_KEY
    assert "correct horse" not in str(caught.value.sentences())
    assert caught.value.__suppress_context__


def test_a_taken_name_is_never_written_over(tmp_path: Path) -> None:
    before = imported(tmp_path).read_bytes()
    asked = []
    with pytest.raises(KeystoreError, match="exists already"):
        create(tmp_path, "miner", lambda: asked.append(1) or "x", work_factor=FAST)  # type: ignore[func-returns-value]
    assert (tmp_path / "miner.json").read_bytes() == before
    assert asked == []


def test_a_name_that_is_taken_at_the_last_moment_is_not_written_over(tmp_path: Path) -> None:
    def late() -> str:
        (tmp_path / "miner.json").write_text("somebody else's")
        return "x"

    with pytest.raises(KeystoreError, match="exists already"):
        create(tmp_path, "miner", late, work_factor=FAST)
    assert (tmp_path / "miner.json").read_text() == "somebody else's"
    assert [path.name for path in tmp_path.iterdir()] == ["miner.json"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", ".hidden", "a b", "x" * 65, "a\x00", "a.json", "ä"]
)
def test_names_that_would_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeystoreError):
        create(tmp_path, name, secret(), work_factor=FAST)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_passphrase_protects_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="empty"):
        create(tmp_path, "miner", secret(""), work_factor=FAST)
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_open_again_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(descriptor: int) -> None:
        os.ftruncate(descriptor, 100)

    monkeypatch.setattr(os, "fsync", spoilt)
    with pytest.raises(KeystoreError):
        create(tmp_path, "miner", secret(), work_factor=FAST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "xyz", KEY[:-1], KEY + "0", "0" * 64, "f" * 64, "0x" + KEY[:-2] + "zz"])
def test_what_is_no_private_key_is_refused_without_being_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(SigningError) as caught:
        import_key(tmp_path, "miner", lambda: text, secret(), work_factor=FAST)
    assert not text or text not in str(caught.value.sentences())
    assert list(tmp_path.iterdir()) == []


def damaged(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = imported(tmp_path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


KDF = "kdfparams"
DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "version": lambda d: d.update(version=4),
    "version as text": lambda d: d.update(version="3"),
    "no crypto": lambda d: d.pop("crypto"),
    "crypto is a list": lambda d: d.update(crypto=[]),
    "no mac": lambda d: d["crypto"].pop("mac"),
    "mac": lambda d: d["crypto"].update(mac="00" * 32),
    "mac is no hex": lambda d: d["crypto"].update(mac="zz"),
    "ciphertext": lambda d: d["crypto"].update(ciphertext="00" * 32),
    "short ciphertext": lambda d: d["crypto"].update(ciphertext="00"),
    "short iv": lambda d: d["crypto"]["cipherparams"].update(iv="00" * 40),
    "cipher": lambda d: d["crypto"].update(cipher="none"),
    "key derivation": lambda d: d["crypto"].update(kdf="none"),
    "key derivation is a list": lambda d: d["crypto"].update(kdf=[]),
    "memory bomb": lambda d: d["crypto"][KDF].update(n=1 << 40),
    "memory bomb by r": lambda d: d["crypto"][KDF].update(r=1 << 40),
    "time bomb": lambda d: d["crypto"][KDF].update(p=1 << 40),
    "n is no power of two": lambda d: d["crypto"][KDF].update(n=3),
    "n is negative": lambda d: d["crypto"][KDF].update(n=-4),
    "n is true": lambda d: d["crypto"][KDF].update(n=True),
    "loop bomb by r": lambda d: d["crypto"][KDF].update(n=2, r=1 << 22),
    "loop bomb by p": lambda d: d["crypto"][KDF].update(n=2, r=1, p=1 << 24),
    "memory bomb in a second spelling": lambda d: d["crypto"][KDF].update(N=1 << 40),
    "second spelling of the parameters": lambda d: d["crypto"].update(KdfParams={"n": 1 << 40}),
    "second spelling of everything": lambda d: d.update(Crypto={"kdf": "none"}),
    "long iv": lambda d: d["crypto"]["cipherparams"].update(iv="00" * 30_000),
    "long key": lambda d: d["crypto"][KDF].update(dklen=1 << 30),
    "address of another": lambda d: d.update(address="00" * 19 + "01"),
    "address": lambda d: d.update(address="x"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_or_hostile_keystore_ends_in_one_error_at_once(tmp_path: Path, name: str) -> None:
    path = damaged(tmp_path, DAMAGE[name])
    started = time.process_time()
    with pytest.raises(KeystoreError):
        load(path, secret())
    assert time.process_time() - started < 2


def test_a_hostile_cost_is_found_without_a_passphrase_too(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="cost"):
        inspect(damaged(tmp_path, DAMAGE["memory bomb"]))


def test_members_that_nobody_checked_never_reach_the_decryption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library lowers every name itself, and of two spellings takes the last."""
    seen: list[dict[str, Any]] = []
    path = damaged(tmp_path, lambda d: d.update({"x-ethers": {"client": "x"}, "id": 7}))
    true_decrypt = Account.decrypt
    monkeypatch.setattr(
        Account, "decrypt", lambda document, word: seen.append(document) or true_decrypt(document, word)
    )
    assert load(path, secret()).address == ADDRESS
    assert set(seen[0]) == {"version", "crypto"}
    assert set(seen[0]["crypto"]) == {"cipher", "cipherparams", "ciphertext", "kdf", "kdfparams", "mac"}


@given(place=st.integers(0, 600), patch=st.binary(max_size=4), cut=st.integers(0, 20))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_of_bytes_opens_the_same_key_or_ends_in_one_error(
    tmp_path: Path, place: int, patch: bytes, cut: int
) -> None:
    path = tmp_path / "fuzz.json"
    if not (tmp_path / "miner.json").exists():
        imported(tmp_path)
    data = (tmp_path / "miner.json").read_bytes()
    path.write_bytes(data[:place] + patch + data[place + cut :])
    path.chmod(0o600)
    try:
        assert load(path, secret()).address == ADDRESS
    except KeystoreError:
        return


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 60_000, b" " * 70_000])
def test_a_file_that_is_no_keystore_ends_in_one_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(KeystoreError):
        load(path, secret())


def test_what_is_no_file_ends_in_one_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path / "missing.json", tmp_path, tmp_path / "pipe.json", Path("/dev/zero")):
        with pytest.raises(KeystoreError):
            load(path, secret())


def test_a_keystore_that_others_can_read_is_worth_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = imported(tmp_path)
    with caplog.at_level(logging.WARNING):
        load(path, secret())
        assert (caplog.text, inspect(path).exposed) == ("", False)
        path.chmod(0o620)
        load(path, secret())
    assert "can be read or written by others" in caplog.text
    assert inspect(path).exposed


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b"secret", "secret"),
        (b"secret\n\n", "secret\n"),
        (b" secret \n", " secret "),
        (b"secret\r", "secret\r"),
        ("geheimniß\n".encode(), "geheimniß"),
        (b"\n", ""),
    ],
)
def test_a_password_file_loses_one_line_end(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    path.chmod(0o600)
    assert passphrase.from_file(path)() == expected


def test_a_password_file_that_cannot_be_used_ends_in_one_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "password"
    for content in (b"\xff", b"x" * 5_000):
        path.write_bytes(content)
        with pytest.raises(SigningError):
            passphrase.from_file(path)()
    assert "can be read by others" in caplog.text
    for missing in (tmp_path, tmp_path / "missing"):
        with pytest.raises(SigningError):
            passphrase.from_file(missing)()


def test_a_new_passphrase_is_asked_for_twice() -> None:
    answers = iter(["one", "one", "one", "two"])
    source = passphrase.new_from_prompt(lambda question: next(answers))
    assert source() == "one"
    with pytest.raises(SigningError, match="differ"):
        source()


def test_the_passphrase_is_not_asked_for_before_the_file_is_known_to_be_a_keystore(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")

    def ask(question: str) -> str:
        raise AssertionError("asked")

    with pytest.raises(KeystoreError):
        load(tmp_path / "x.json", passphrase.from_prompt(ask))


@pytest.mark.parametrize("factor", [0, 1, 3, 1 << 21])
def test_work_factors_that_cannot_be_read_back_are_refused(tmp_path: Path, factor: int) -> None:
    with pytest.raises(KeystoreError):
        create(tmp_path, "x", secret(), work_factor=factor)


def test_the_module_takes_no_key_as_text() -> None:
    """Keys come by callable: a text would invite arguments and environment variables."""
    with pytest.raises(TypeError):
        import_key(Path("/nonexistent"), "x", KEY, secret(), work_factor=FAST)  # type: ignore[arg-type]
    assert keystore.DEFAULT_WORK_FACTOR == 1 << 18
