"""Keys: are there any, can others read them, is there a keyring. None is opened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from armlx_chain.cli.doctoring.findings import Check, Finding
from armlx_chain.errors import SigningError

if TYPE_CHECKING:
    from armlx_chain.cli.context import App


def account_checks(app: App) -> list[Check]:
    """Keystores and the system's keyring."""
    return [
        Check("Keys", "keystores", lambda: _keystores(app)),
        Check("Keys", "the system's keyring", _keyring),
    ]


def _keystores(app: App) -> Iterator[Finding]:
    from armlx_chain.cli.keys import foundry
    from armlx_chain.signing.accounts import list_accounts

    # Not by the settings: those need a network, and a key needs none.
    accounts = list_accounts(app.home / "keystores", foundry())
    if not accounts:
        step = "armlx-chain wallet new NAME (needed to submit; reproduce works without)"
        yield Finding("keystores", "note", "there is none yet", step)
        return
    for account in accounts:
        shown = f"{account.name} {account.address or 'address not stated'} ({account.origin})"
        if account.exposed:
            yield Finding("keystore", "fault", f"others can read {shown}", f"chmod 600 {account.path}")
        else:
            yield Finding("keystore", "ok", shown)


def _keyring() -> Iterator[Finding]:
    from armlx_chain.signing.vault import system_backend

    try:
        keyring = system_backend()
    except SigningError as error:
        yield Finding("keyring", "note", error.message, error.next_step or "")
        return
    yield Finding("keyring", "ok", f"{type(keyring).__module__} keeps secrets here")
