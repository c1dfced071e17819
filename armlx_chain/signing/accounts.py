"""Which keys there are: the home's own keystores, and those of Foundry beside them.

- a name or an address finds exactly one keystore, or ends in an error that names every match;
- Foundry's files are read where they lie and never written to;
- an address that a file states is not proven before the file was opened.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from armlx_chain.errors import KeystoreError
from armlx_chain.protocol.strict_json import shorten
from armlx_chain.signing.keystore import KEYSTORE_SUFFIX, inspect
from armlx_chain.types import Address

__all__ = ["Account", "Origin", "find_account", "foundry_folder", "list_accounts"]

logger = logging.getLogger(__name__)

Origin: TypeAlias = Literal["own", "foundry"]

_MAX_FILES = 10_000
"""A folder with more entries than this is not a keystore folder."""


@dataclass(frozen=True, slots=True)
class Account:
    """A keystore on this machine, as far as it can be told without its passphrase.

    Attributes:
        name: The file's name; in the own folder without ``.json``.
        address: What the file states; Foundry's files state none.
        origin: Whose folder it lies in.
        exposed: Whether others on this machine may read or write the file.
    """

    name: str
    path: Path
    address: Address | None
    origin: Origin
    exposed: bool


def foundry_folder(user_home: Path) -> Path:
    """Where ``cast wallet`` keeps its keystores."""
    return user_home / ".foundry" / "keystores"


def list_accounts(own: Path, foundry: Path | None = None) -> tuple[Account, ...]:
    """All keystores, the own ones first, by name. Files that are none are passed over.

    Raises:
        KeystoreError: if a folder exists and cannot be read.
    """
    found = _scan(own, "own")
    return found if foundry is None else found + _scan(foundry, "foundry")


def find_account(account: str, own: Path, foundry: Path | None = None) -> Account:
    """The one keystore of a name or of an address.

    Raises:
        KeystoreError: if there is none, or if several match; the message names every one.
    """
    known = list_accounts(own, foundry)
    matches = [found for found in known if found.name == account]
    if not matches:
        wanted = "0x" + account.lower().removeprefix("0x")
        matches = [found for found in known if found.address is not None and found.address.lower() == wanted]
    if len(matches) == 1:
        return matches[0]
    if matches:
        places = ", ".join(str(found.path) for found in matches)
        raise KeystoreError(
            f"Several keystores are called or hold {shorten(account)}: {places}.",
            next_step="Say which one with --keystore FILE.",
        )
    names = ", ".join(found.name for found in known) or "none"
    folders = own if foundry is None else f"{own} or {foundry}"
    raise KeystoreError(
        f"No keystore is called or holds {shorten(account)} in {folders}.",
        next_step=f"Known accounts: {names}.",
    )


def _scan(folder: Path, origin: Origin) -> tuple[Account, ...]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())[:_MAX_FILES]
    except FileNotFoundError:
        return ()
    except OSError as failed:
        raise KeystoreError(f"The folder {folder} cannot be read: {failed.strerror}.") from None
    found = []
    for path in paths:
        if path.name.startswith(".") or (origin == "own" and path.suffix != KEYSTORE_SUFFIX):
            continue
        try:
            stated = inspect(path)
        except KeystoreError as refused:
            logger.debug("passed over: %s", refused)
            continue
        name = path.name.removesuffix(KEYSTORE_SUFFIX) if origin == "own" else path.name
        found.append(Account(name, path, stated.address, origin, stated.exposed))
    return tuple(found)
