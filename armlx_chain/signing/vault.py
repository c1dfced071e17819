"""Passphrases in the system's keyring (macOS Keychain, Secret Service, KWallet, Windows Credential Locker).

- the ``keyring`` library is imported only when a keyring is really used;
- a backend that keeps nothing, or that its own authors do not recommend (plain text on disk), is refused;
- what was stored is read back before it is called stored;
- no message holds a passphrase.

The entry of a keystore is named by its address, or by its path where the file states no address.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from armlx_chain.errors import SigningError
from armlx_chain.signing.passphrase import PassphraseSource
from armlx_chain.types import Address

__all__ = ["SERVICE", "KeyringBackend", "Vault", "entry_name", "system_backend"]

SERVICE = "armlx-chain"
"""What the entries are filed under."""

_RECOMMENDED_PRIORITY = 1
"""The library's own rule: a backend below 1 is not recommended, at 0 or below it keeps nothing."""


class KeyringBackend(Protocol):
    """What this module needs of ``keyring.backend.KeyringBackend``."""

    def get_password(self, service: str, username: str) -> str | None: ...

    def set_password(self, service: str, username: str, password: str) -> None: ...

    def delete_password(self, service: str, username: str) -> None: ...


def entry_name(address: Address | None, path: Path) -> str:
    """The name under which a keystore's passphrase is filed."""
    return str(path.absolute()) if address is None else address.lower()


def system_backend() -> KeyringBackend:
    """The keyring that this system (or the person's keyring configuration) chose.

    Raises:
        SigningError: the library is missing, or there is no keyring that keeps a secret.
    """
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        raise SigningError(
            "The keyring library is not installed.",
            next_step="Install armlx-chain[keyring], or use --passphrase-from prompt or file:PATH.",
        ) from None
    try:
        chosen: Any = keyring.get_keyring()
    except (
        KeyringError,
        RuntimeError,
        ImportError,
        ValueError,
        TypeError,
        AttributeError,
        OSError,
    ) as failed:
        raise SigningError(f"The system's keyring cannot be opened ({type(failed).__name__}).") from None
    for backend in getattr(chosen, "backends", (chosen,)):
        if float(backend.priority) >= _RECOMMENDED_PRIORITY:
            found: KeyringBackend = backend
            return found
    raise SigningError(
        f"There is no keyring here that keeps a secret (found: {type(chosen).__module__}).",
        meaning="Passphrases would be dropped, or lie on the disk as plain text.",
        next_step="Unlock or install a keyring, or use --passphrase-from prompt or file:PATH.",
    )


class Vault:
    """Passphrases in one keyring.

    Args:
        backend: ``system_backend()``, or any object of its interface.
    """

    def __init__(self, backend: KeyringBackend) -> None:
        self._backend = backend

    def source(self, entry: str) -> PassphraseSource:
        """A source that reads an entry when it is called.

        The source raises:
            SigningError: there is no such entry, or the keyring fails.
        """
        return lambda: self._read(entry)

    def keep(self, entry: str, passphrase: str) -> None:
        """Store a passphrase, and read it back.

        Raises:
            SigningError: the keyring fails, or dropped it.
        """
        self._guarded("store", lambda: self._backend.set_password(SERVICE, entry, passphrase))
        kept = self._guarded("read", lambda: self._backend.get_password(SERVICE, entry))
        if kept != passphrase:
            raise SigningError(
                "The keyring did not keep the passphrase: reading it back gave something else."
            )

    def forget(self, entry: str) -> bool:
        """Remove an entry; whether there was one.

        Raises:
            SigningError: the keyring fails.
        """
        if self._guarded("read", lambda: self._backend.get_password(SERVICE, entry)) is None:
            return False
        self._guarded("delete", lambda: self._backend.delete_password(SERVICE, entry))
        return True

    def _read(self, entry: str) -> str:
        found: str | None = self._guarded("read", lambda: self._backend.get_password(SERVICE, entry))
        if found is None:
            raise SigningError(
                f"The keyring holds no passphrase for {entry}.",
                next_step="Put it there with: armlx-chain wallet keyring set NAME",
            )
        return found

    def _guarded(self, what: str, call: Any) -> Any:
        try:
            return call()
        except SigningError:
            raise
        except Exception as failed:  # noqa: BLE001 (backends raise what they like, and may quote the secret)
            raise SigningError(
                f"The system's keyring refused to {what} the passphrase ({type(failed).__name__}).",
                next_step="Unlock it, or use --passphrase-from prompt or file:PATH.",
            ) from None
