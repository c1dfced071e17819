"""Takes secrets out of text before it is logged.

A private key looks like any hash, so 64 hex digits alone mean nothing: they are taken out where they *are* a
key, that is, where the account they open is one of those in use. The daemon need not hold the key's text for
that.

What is taken out:

- every secret that was named (a passphrase, a mnemonic, the values of secret variables of the environment);
- private keys of the accounts in use, in any notation;
- of every address all but scheme, host and port: user names, paths and queries often are keys;
- the value after a name such as ``password=`` or ``Authorization:``.

The safe side is to take out too much.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

__all__ = ["HIDDEN", "Redactor"]

HIDDEN: Final = "[hidden]"
_SHORTEST: Final = 4
"""A shorter "secret" would take ordinary text apart."""
_ADDRESS = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{1,15})://[^\s\"'<>`]+")
_NAMED = re.compile(
    r"(?i)\b((?:authorization|proxy-authorization|cookie)\"?'?\s*[:=]\s*\"?'?)(?:(?:basic|bearer)\s+)?[^\s\"',;]+"
    r"|\b(\w*(?:passw(?:or)?d|passphrase|mnemonic|secret|api[-_]?key|private[-_]?key|access[-_]?token)"
    r"\"?'?\s*[:=]\s*\"?'?)[^\s\"',;]+"
)
_HEX_KEY = re.compile(r"(?<![0-9a-fA-F])(?:0[xX])?([0-9a-fA-F]{64})(?![0-9a-fA-F])")
_SECRET_NAME = re.compile(r"(?i)PASS|SECRET|MNEMONIC|PRIVATE|API_?KEY|ACCESS_?KEY|TOKEN|CREDENTIAL")
_KNOWN_KEYS: Final = 4096
_PUNCTUATION: Final = ".,:;!?)"
"""What may follow an address in a sentence: ``http://127.0.0.1:8545: in use`` names a port."""


class Redactor:
    """Cleans text.

    Args:
        secrets: Texts that must never be seen.
        addresses: Endpoints, as configured; whatever of them is not scheme, host or port is a secret too.
        accounts: Addresses of the keys in use.
    """

    def __init__(
        self, *, secrets: Iterable[str] = (), addresses: Iterable[str] = (), accounts: Iterable[str] = ()
    ) -> None:
        found = {text for secret in secrets for text in _spellings(secret)}
        found |= {text for address in addresses for text in _secret_parts(address)}
        self._secrets = sorted(found, key=len, reverse=True)
        self._accounts = frozenset(account.lower() for account in accounts)
        self._opens_ours = functools.lru_cache(maxsize=_KNOWN_KEYS)(self._is_key)

    def clean(self, text: str) -> str:
        """``text`` without secrets."""
        text = _ADDRESS.sub(lambda found: _bare_address(found.group(0)), text)
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = _NAMED.sub(lambda found: (found.group(1) or found.group(2)) + HIDDEN, text)
        if not self._accounts:
            return text
        return _HEX_KEY.sub(
            lambda found: HIDDEN if self._opens_ours(found.group(1).lower()) else found.group(0), text
        )

    def clean_tree(self, value: Any) -> Any:
        """A JSON-like value with every text in it cleaned; other objects become cleaned text."""
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, Mapping):
            return {self.clean(str(name)): self.clean_tree(member) for name, member in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.clean_tree(member) for member in value]
        return self.clean(str(value))

    def _is_key(self, digits: str) -> bool:
        from eth_keys.datatypes import PrivateKey
        from eth_keys.exceptions import ValidationError

        try:
            key = PrivateKey(bytes.fromhex(digits))
            return key.public_key.to_address() in self._accounts
        except (ValidationError, ValueError):
            return False  # zero, or beyond the curve's order: no key


def secret_variables(environment: Mapping[str, str]) -> list[str]:
    """Values of the variables whose names say that they are secret; names of files are none."""
    return [
        value
        for name, value in environment.items()
        if _SECRET_NAME.search(name) and not name.endswith(("_FILE", "_PATH")) and len(value) >= 8
    ]


def _spellings(secret: str) -> set[str]:
    """A secret as it is, and as it would look in an address or between other white space."""
    texts = {secret, secret.strip(), " ".join(secret.split()), quote(secret, safe=""), repr(secret)[1:-1]}
    return {text for text in texts if len(text) >= _SHORTEST}


def _secret_parts(address: str) -> set[str]:
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
        pieces = [parts.username or "", parts.password or "", parts.query, parts.fragment]
    except ValueError:
        return {address}
    path = parts.path.strip("/")
    pieces += [path, *(piece for piece in path.split("/") if len(piece) >= 8)]
    pieces += [value for pair in parts.query.split("&") for value in pair.partition("=")[2::2]]
    found = {piece for piece in pieces if len(piece) >= _SHORTEST and piece != host}
    # Words such as "rpc" or "v1" in a path are nobody's key and stand in other texts; a password is one.
    long = {text for piece in found for text in (piece, unquote(piece)) if len(text) >= 8}
    return long | {
        text for text in (parts.password or "", unquote(parts.password or "")) if len(text) >= _SHORTEST
    }


def _bare_address(text: str) -> str:
    """Scheme, host and port; three dots where there was more. A sentence keeps what follows them."""
    address = text.rstrip(_PUNCTUATION)
    shown = _host_of(address)
    return shown if shown.endswith("…") else shown + text[len(address) :]


def _host_of(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return HIDDEN
    if not host:
        return f"{parts.scheme}://{HIDDEN}"
    shown = f"[{host}]" if ":" in host else host
    bare = f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")
    is_bare = parts.username is None and parts.path in ("", "/") and not parts.query and not parts.fragment
    return bare if is_bare else bare + "/…"
