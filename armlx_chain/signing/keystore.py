"""Keystores on disk: Web3 Secret Storage version 3, readable by the usual wallets.

- a file appears whole or not at all, under a name that was free, with mode 0600, in a folder of mode 0700;
- it is opened again with the same passphrase before it gets its name;
- costs stated by a stranger's keystore are bounded before they are paid, and only members that were checked
  reach the decryption: two spellings of one name are refused;
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
    "KEYSTORE_SUFFIX",
    "KeystoreInfo",
    "Stated",
    "check_free",
    "check_name",
    "create",
    "import_key",
    "import_signer",
    "inspect",
    "load",
]

logger = logging.getLogger(__name__)

DEFAULT_WORK_FACTOR = 1 << 18
"""scrypt's n; with r = 8 it takes 256 MiB and about a second."""

KEYSTORE_SUFFIX = ".json"

_MAX_FILE_BYTES = 65_536
_MAX_SCRYPT_MEMORY = 1 << 30
_MAX_SCRYPT_COST = 1 << 31
_MAX_SCRYPT_LANES = 64
"""Most of scrypt's r and of its p: both also drive loops that the memory bound does not see."""
_MAX_PBKDF2_ROUNDS = 10_000_000
_MAX_IV_BYTES = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ADDRESS = re.compile(r"(?:0x)?[0-9a-fA-F]{40}")
_HEX = re.compile(r"(?:0x)?(?:[0-9a-fA-F]{2})+")


@dataclass(frozen=True, slots=True)
class KeystoreInfo:
    """A keystore, as far as it can be told without its passphrase."""

    name: str
    address: Address
    path: Path


@dataclass(frozen=True, slots=True)
class Stated:
    """What a keystore file says of itself. Nothing of it is proven before the file was opened.

    Attributes:
        address: Foundry's files name none.
        exposed: Whether the file's mode lets others read or write it.
    """

    address: Address | None
    exposed: bool


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
    return import_signer(folder, name, lambda: Signer(entropy(32)), passphrase, work_factor=work_factor)


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
    return import_signer(folder, name, lambda: Signer.from_hex(key()), passphrase, work_factor=work_factor)


def import_signer(
    folder: Path,
    name: str,
    source: Callable[[], Signer],
    passphrase: PassphraseSource,
    *,
    work_factor: int = DEFAULT_WORK_FACTOR,
) -> KeystoreInfo:
    """Put a key from anywhere (a mnemonic, another keystore) into a keystore.

    Args:
        source: Asked once, after the name was found acceptable and free.

    Raises:
        SigningError: whatever ``source`` raises.
        KeystoreError: as ``create``.
    """
    target = check_free(folder, name)
    signer = source()
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


def check_name(name: str) -> None:
    """See that a keystore can have this name.

    Raises:
        KeystoreError: it is none, or would lead out of the folder.
    """
    if not _NAME.fullmatch(name) or name.endswith(KEYSTORE_SUFFIX):
        raise KeystoreError(f"{shorten(name)} cannot be an account's name: letters, digits, . _ - only.")


def check_free(folder: Path, name: str) -> Path:
    """The path a new keystore of this name would get.

    Raises:
        KeystoreError: if the name is not acceptable or taken.
    """
    check_name(name)
    target = folder / (name + KEYSTORE_SUFFIX)
    if target.exists():
        raise KeystoreError(f"{target} exists already.", next_step="Choose another name.")
    return target


def load(path: Path, passphrase: PassphraseSource) -> Signer:
    """Open a keystore. One that others can read is opened with a warning.

    Raises:
        KeystoreError: if it cannot be read, is damaged, would cost too much, or the passphrase is wrong.
    """
    document, exposed = _read(path)
    if exposed:
        logger.warning("The keystore %s can be read or written by others; chmod 600 it.", path)
    stated, checked = _check_document(document, path)
    try:
        key = Account.decrypt(checked, passphrase())
    except (ValueError, TypeError, KeyError, AttributeError, MemoryError, OverflowError) as refused:
        if "MAC" in str(refused):
            raise KeystoreError(
                f"The passphrase does not open {path}.", next_step="Try again; nothing was changed."
            ) from None
        raise KeystoreError(f"{path} is damaged: it cannot be decrypted.") from None
    signer = Signer(bytes(key))
    if stated is not None and stated != signer.address:
        raise KeystoreError(
            f"{path} states the address {stated} but holds the key of {signer.address}.",
            meaning="It was put together from two files, or somebody wants a payment to go astray.",
        )
    return signer


def inspect(path: Path) -> Stated:
    """What a keystore says of itself, without its passphrase.

    Raises:
        KeystoreError: if it is no version 3 keystore that ``load`` would try to open.
    """
    document, exposed = _read(path)
    return Stated(_check_document(document, path)[0], exposed)


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


def _read(path: Path) -> tuple[dict[str, Any], bool]:
    """The file's tree with lower-case names, and whether others may read or write it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE_BYTES + 1) if stat.S_ISREG(mode) else b""
    except OSError as failed:
        raise KeystoreError(f"The keystore {path} cannot be read: {failed.strerror}.") from None
    tree = read_json(data, error=KeystoreError, what=f"The keystore {path}", max_bytes=_MAX_FILE_BYTES)
    return _lowered(tree, path), bool(mode & (stat.S_IRWXG | stat.S_IRWXO))


def _lowered(tree: Any, path: Path) -> dict[str, Any]:
    """An object's members under lower-case names, as wallets spell some of them with a capital.

    The decrypting library lowers them too, and of two spellings takes the last: a file could show one set of
    costs to a check and another to the library.
    """
    if not isinstance(tree, dict):
        raise KeystoreError(f"{path} is not a keystore.")
    lowered = {name.lower(): value for name, value in tree.items()}
    if len(lowered) != len(tree):
        raise KeystoreError(f"{path} is damaged: a member is there twice.")
    return lowered


def _check_document(document: dict[str, Any], path: Path) -> tuple[Address | None, dict[str, Any]]:
    """Refuse what is no version 3 keystore or would cost too much.

    Returns:
        The stated address, if any, and a keystore of nothing but the members that were checked.
    """
    if document.get("version") != 3 or "crypto" not in document:
        raise KeystoreError(f"{path} is not a version 3 keystore.")
    crypto = _lowered(document["crypto"], path)
    parameters, cipher = _lowered(crypto.get("kdfparams"), path), _lowered(crypto.get("cipherparams"), path)
    for text in (crypto.get("ciphertext"), crypto.get("mac"), cipher.get("iv"), parameters.get("salt")):
        if not isinstance(text, str) or not _HEX.fullmatch(text):
            raise KeystoreError(f"{path} is damaged: a hex string is missing.")
    if len(cipher["iv"].removeprefix("0x")) > 2 * _MAX_IV_BYTES:
        raise KeystoreError(f"{path} is damaged: its initial vector is too long.")
    if crypto.get("cipher") != "aes-128-ctr" or not _affordable(crypto.get("kdf"), parameters):
        raise KeystoreError(f"{path} asks for a cipher, or for a cost, that is not accepted.")
    stated = document.get("address")
    if stated is not None and (not isinstance(stated, str) or not _ADDRESS.fullmatch(stated)):
        raise KeystoreError(f"{path} is damaged: its address is none.")
    address = None if stated is None else Address(to_checksum_address("0x" + stated.removeprefix("0x")))
    known = {name: crypto[name] for name in ("cipher", "ciphertext", "kdf", "mac")}
    checked = {**known, "kdfparams": parameters, "cipherparams": {"iv": cipher["iv"]}}
    return address, {"version": 3, "crypto": checked}


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
    lanes_fit = max(r, p) <= _MAX_SCRYPT_LANES
    return (
        n > 1
        and n & (n - 1) == 0
        and lanes_fit
        and memory * p <= _MAX_SCRYPT_COST
        and memory <= (_MAX_SCRYPT_MEMORY)
    )
