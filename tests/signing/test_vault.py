"""Passphrases in a keyring: kept and proven kept, or refused; never in a message."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import KeyringLocked, PasswordDeleteError

from armlx_chain.cli.keys import asked_once
from armlx_chain.errors import EXIT_KEY, SigningError
from armlx_chain.signing import passphrase
from armlx_chain.signing.signer import Signer
from armlx_chain.signing.vault import SERVICE, Vault, entry_name, system_backend
from armlx_chain.types import Address

pytestmark = pytest.mark.unit

ADDRESS = Address("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC")
WORD = "correct horse battery"


class MemoryKeyring(KeyringBackend):
    """A keyring as the library knows them, in memory."""

    priority = 5  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.entries:
            raise PasswordDeleteError("not there")
        del self.entries[service, username]


class PlainTextKeyring(MemoryKeyring):
    priority = 0.5  # type: ignore[assignment]


class LockedKeyring(MemoryKeyring):
    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked("locked")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise RuntimeError(f"cannot store {password}")


class ForgetfulKeyring(MemoryKeyring):
    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password[:8]


@pytest.fixture(autouse=True)
def chosen_before() -> Iterator[None]:
    before = keyring.get_keyring()
    yield
    keyring.set_keyring(before)


def test_a_passphrase_is_kept_read_and_forgotten() -> None:
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    vault = Vault(system_backend())
    entry = entry_name(ADDRESS, Path("x"))
    vault.keep(entry, WORD)
    assert backend.entries == {(SERVICE, ADDRESS.lower()): WORD}
    assert vault.source(entry)() == WORD
    assert vault.forget(entry)
    assert not vault.forget(entry)
    with pytest.raises(SigningError, match="holds no passphrase") as caught:
        vault.source(entry)()
    assert "wallet keyring set" in (caught.value.next_step or "")


def test_a_keystore_without_an_address_is_filed_under_its_path(tmp_path: Path) -> None:
    assert entry_name(None, tmp_path / "alice") == str(tmp_path / "alice")


@pytest.mark.parametrize("backend", [fail.Keyring(), null.Keyring(), PlainTextKeyring()])
def test_a_keyring_that_keeps_no_secret_is_refused(backend: KeyringBackend) -> None:
    keyring.set_keyring(backend)
    with pytest.raises(SigningError, match="no keyring here that keeps a secret") as caught:
        system_backend()
    assert caught.value.exit_code == EXIT_KEY
    assert "file:PATH" in (caught.value.next_step or "")


def test_of_a_chain_the_first_keyring_that_keeps_a_secret_is_taken() -> None:
    good = MemoryKeyring()

    class Chain(MemoryKeyring):
        backends = (PlainTextKeyring(), good)

    keyring.set_keyring(Chain())
    assert system_backend() is good


def test_a_keyring_that_drops_what_it_was_given_is_noticed() -> None:
    with pytest.raises(SigningError, match="did not keep") as caught:
        Vault(ForgetfulKeyring()).keep("x", WORD)
    assert WORD[:8] not in str(caught.value.sentences())


def test_a_locked_keyring_ends_in_one_error_that_repeats_nothing() -> None:
    vault = Vault(LockedKeyring())
    for use in (vault.source("x"), lambda: vault.keep("x", WORD), lambda: vault.forget("x")):
        with pytest.raises(SigningError, match="refused to") as caught:
            use()
        assert WORD not in str(caught.value.sentences())
        assert caught.value.__suppress_context__


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SigningError, match="not installed") as caught:
        system_backend()
    assert "armlx-chain[keyring]" in (caught.value.next_step or "")


def test_nothing_that_holds_a_secret_shows_it() -> None:
    backend = MemoryKeyring()
    backend.set_password(SERVICE, "x", WORD)
    vault = Vault(backend)
    signer = Signer.from_hex("7c" * 32)
    holders = [
        vault, vault.source("x"), signer, passphrase.from_prompt(lambda _: WORD), asked_once(lambda: WORD),
        passphrase.from_stream(io.BytesIO(WORD.encode()), "Input"),
    ]  # fmt: skip
    for holder in holders:
        shown = f"{holder!r} {holder!s} {holder}"
        assert WORD not in shown
        assert "7c7c" not in shown
