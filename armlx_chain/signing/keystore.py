"""Keystores on disk: Web3 Secret Storage version 3, readable by the usual wallets.

- a file appears whole or not at all, under a name that was free, with mode 0600, in a folder of mode 0700;
- it is opened again with the same passphrase before it gets its name;
- costs stated by a stranger's keystore are bounded before they are paid;
- a wrong passphrase and a damaged file end in ``KeystoreError``; no message holds key or passphrase.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_utils import to_checksum_address

from armlx_chain.errors import KeystoreError
from armlx_chain.protocol.strict_json import read_json, shorten
from armlx_chain.signing.passphrase import PassphraseSource
from armlx_chain.signing.signer import Signer
from armlx_chain.types import Address

__all__ = [
    "DEFAULT_WORK_FACTOR",
    "KeystoreInfo",
    "create",
    "find",
    "import_key",
    "list_keystores",
    "load",
]

logger = logging.getLogger(__name__)

DEFAULT_WORK_FACTOR = 1 << 18
"""scrypt's n; with r = 8 it takes 256 MiB and about a second."""

_MAX_FILE_BYTES = 65_536
_MAX_SCRYPT_MEMORY = 1 << 30
_MAX_SCRYPT_COST = 1 << 32
_MAX_PBKDF2_ROUNDS = 10_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ADDRESS = re.compile(r"(?:0x)?[0-9a-fA-F]{40}")
_HEX = re.compile(r"(?:0x)?(?:[0-9a-fA-F]{2})+")
_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class KeystoreInfo:
    """A keystore, as far as it can be told without its passphrase."""

    name: str
    address: Address
    path: Path


def create(
    folder: Path,
    name: str,
    passphrase: PassphraseSource,
    *,
    work_factor: int = DEFAULT_WORK_FACTOR,
    entropy: Callable[[int], bytes] = secrets.token_bytes,
) -> KeystoreInfo:
    """Make a new key and its keystore.

    Args:
        folder: Where keystores live; made if it is missing.
        name: What the account is called from now on.
        passphrase: Asked once.
        work_factor: scrypt's n.
        entropy: Source of 32 random bytes.

    Raises:
        KeystoreError: if the name is taken or not acceptable, the passphrase is empty, or writing fails.
    """
    return _store(folder, name, Signer(entropy(32)), passphrase, work_factor)


def import_key(
    folder: Path,
    name: str,
    key: Callable[[], str],
    passphrase: PassphraseSource,
    *,
    work_factor: int = DEFAULT_WORK_FACTOR,
) -> KeystoreInfo:
    """Put an existing key into a keystore.

    Args:
        key: Yields the key's 64 hex digits: a prompt or a file's reader, never an argument of a command.

    Raises:
        SigningError: if it yields no private key.
        KeystoreError: as ``create``.
    """
    return _store(folder, name, Signer.from_hex(key()), passphrase, work_factor)


def load(path: Path, passphrase: PassphraseSource) -> Signer:
    """Open a keystore.

    Raises:
        KeystoreError: if it cannot be read, is damaged, would cost too much, or the passphrase is wrong.
    """
    document = _read(path)
    stated = _check_document(document, path)
    try:
        key = Account.decrypt(document, passphrase())
    except (ValueError, TypeError, KeyError, AttributeError, MemoryError, OverflowError) as refused:
        if "MAC" in str(refused):
            raise KeystoreError(
                f"The passphrase does not open {path}.", next_step="Try again; nothing was changed."
            ) from None
        raise KeystoreError(f"{path} is damaged: it cannot be decrypted.") from None
    signer = Signer(bytes(key))
    if stated is not None and stated != signer.address:
        raise KeystoreError(f"{path} states the address {stated} but holds the key of {signer.address}.")
    return signer


def list_keystores(folder: Path) -> tuple[KeystoreInfo, ...]:
    """All keystores of a folder that state their address, by name. Other files are passed over.

    Raises:
        KeystoreError: if the folder exists and cannot be read.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == _SUFFIX and path.is_file())
    except FileNotFoundError:
        return ()
    except OSError as failed:
        raise KeystoreError(f"The folder {folder} cannot be read: {failed.strerror}.") from None
    found = []
    for path in paths:
        try:
            address = _check_document(_read(path), path)
        except KeystoreError as refused:
            logger.debug("passed over: %s", refused)
            continue
        if address is not None:
            found.append(KeystoreInfo(path.name.removesuffix(_SUFFIX), address, path))
    return tuple(found)


def find(folder: Path, account: str) -> KeystoreInfo:
    """The keystore of a name or of an address.

    Raises:
        KeystoreError: if there is none, or several hold the address.
    """
    known = list_keystores(folder)
    wanted = account.lower().removeprefix("0x")
    matches = [info for info in known if info.name == account]
    matches = matches or [info for info in known if info.address.lower() == f"0x{wanted}"]
    if len(matches) == 1:
        return matches[0]
    names = ", ".join(info.name for info in known) or "none"
    problem = "Several keystores hold" if matches else "No keystore is called or holds"
    raise KeystoreError(f"{problem} {shorten(account)} in {folder}.", next_step=f"Known accounts: {names}.")


def _store(
    folder: Path, name: str, signer: Signer, passphrase: PassphraseSource, work_factor: int
) -> KeystoreInfo:
    if not _NAME.fullmatch(name) or name.endswith(_SUFFIX):
        raise KeystoreError(f"{shorten(name)} cannot be an account's name: letters, digits, . _ - only.")
    target = folder / (name + _SUFFIX)
    if target.exists():
        raise KeystoreError(f"{target} exists already.", next_step="Choose another name.")
    secret = passphrase()
    if not secret:
        raise KeystoreError("An empty passphrase protects nothing; nothing was written.")
    document = _encrypt(signer, secret, work_factor)
    try:
        _make_folder(folder)
        _write_proved(target, document, secret, signer.address)
    except OSError as failed:
        raise KeystoreError(f"{target} cannot be written: {failed.strerror}.") from None
    return KeystoreInfo(name, signer.address, target)


def _encrypt(signer: Signer, secret: str, work_factor: int) -> dict[str, Any]:
    if work_factor < 2 or work_factor & (work_factor - 1) or work_factor * 8 * 128 > _MAX_SCRYPT_MEMORY:
        raise KeystoreError("The work factor must be a power of two of at most 2^20.")
    document = dict(Account.encrypt(signer._account.key, secret, kdf="scrypt", iterations=work_factor))
    document["address"] = signer.address.lower().removeprefix("0x")
    return document


def _make_folder(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def _write_proved(target: Path, document: dict[str, Any], secret: str, address: Address) -> None:
    """Write under a passing name, open it again, then give it its name unless that is taken."""
    passing = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    descriptor = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(document, indent=2).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if load(passing, lambda: secret).address != address:
            raise KeystoreError(f"{target} did not open with its own passphrase; nothing was kept.")
        os.link(passing, target)
    except FileExistsError:
        raise KeystoreError(f"{target} exists already.", next_step="Choose another name.") from None
    finally:
        passing.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, Any]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE_BYTES + 1) if stat.S_ISREG(mode) else b""
    except OSError as failed:
        raise KeystoreError(f"The keystore {path} cannot be read: {failed.strerror}.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        logger.warning("The keystore %s can be read by others; chmod 600 it.", path)
    tree = read_json(data, error=KeystoreError, what=f"The keystore {path}", max_bytes=_MAX_FILE_BYTES)
    if not isinstance(tree, dict):
        raise KeystoreError(f"{path} is not a keystore.")
    return tree


def _check_document(document: dict[str, Any], path: Path) -> Address | None:
    """Refuse what is no version 3 keystore or would cost too much; the stated address, if any."""
    crypto = document.get("crypto", document.get("Crypto"))
    if document.get("version") != 3 or not isinstance(crypto, dict):
        raise KeystoreError(f"{path} is not a version 3 keystore.")
    parameters, cipher = crypto.get("kdfparams"), crypto.get("cipherparams")
    if not isinstance(parameters, dict) or not isinstance(cipher, dict):
        raise KeystoreError(f"{path} is damaged: its parameters are missing.")
    for text in (crypto.get("ciphertext"), crypto.get("mac"), cipher.get("iv"), parameters.get("salt")):
        if not isinstance(text, str) or not _HEX.fullmatch(text):
            raise KeystoreError(f"{path} is damaged: a hex string is missing.")
    if crypto.get("cipher") != "aes-128-ctr" or not _affordable(crypto.get("kdf"), parameters):
        raise KeystoreError(f"{path} asks for a cipher, or for a cost, that is not accepted.")
    stated = document.get("address")
    if stated is None:
        return None
    if not isinstance(stated, str) or not _ADDRESS.fullmatch(stated):
        raise KeystoreError(f"{path} is damaged: its address is none.")
    return Address(to_checksum_address("0x" + stated.removeprefix("0x")))


def _affordable(kdf: object, parameters: dict[str, Any]) -> bool:
    if parameters.get("dklen") != 32:
        return False
    names = {"scrypt": ("n", "r", "p"), "pbkdf2": ("c",)}.get(kdf if isinstance(kdf, str) else "", ())
    values = [value for name in names if type(value := parameters.get(name)) is int and value > 0]
    if not names or len(values) != len(names):
        return False
    if kdf == "pbkdf2":
        return parameters.get("prf") == "hmac-sha256" and values[0] <= _MAX_PBKDF2_ROUNDS
    n, r, p = values
    memory = 128 * n * r
    return n > 1 and n & (n - 1) == 0 and memory <= _MAX_SCRYPT_MEMORY and memory * p <= _MAX_SCRYPT_COST
