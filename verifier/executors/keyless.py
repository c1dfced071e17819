"""A process without secrets: a short list of variables, and no key in reach of its own folder.

Not a sandbox: an account of its own is what keeps such a process from other people's files (``install`` sets
one up). This keeps secrets from getting here by accident, and from here to what it starts.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from armlx_chain.errors import UsageError

__all__ = ["CLEARED", "KEPT", "clear_environment", "require_no_keys"]

CLEARED: Final = "ARMLX_KEYLESS"
"""Set once a process has begun again without secrets."""
KEPT: Final = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TERM", "TMPDIR",
        "XDG_RUNTIME_DIR", "CUDA_VISIBLE_DEVICES", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE",
        "OPENBLAS_NUM_THREADS", "PYDANTIC_DISABLE_PLUGINS", "NO_COLOR",
        "ARMLX_HOME", "ARMLX_NETWORK", "ARMLX_STORAGE_URL", "ARMLX_DEVNET", "ARMLX_DATA", "ARMLX_UV",
        "ARMLX_OFFLINE", "ARMLX_ALLOW_NETWORK", "ARMLX_CACHE_LIMIT", "ARMLX_HOT_CEILING",
        "ARMLX_PURE_HASHING", "ARMLX_JSON", "ARMLX_QUIET", CLEARED,
    }
)  # fmt: skip
"""Everything else is dropped: passphrases, endpoints with a key in them, what other programs left."""
_SECRETS: Final = ("keystores", "guard.sqlite", "journal.sqlite")
"""What a home of somebody who signs holds."""


def clear_environment(environment: MutableMapping[str, str]) -> tuple[str, ...]:
    """Drop every variable that is not on the list; the names of those that were dropped."""
    dropped = tuple(sorted(set(environment) - KEPT))
    for name in dropped:
        del environment[name]
    return dropped


def require_no_keys(home: Path) -> None:
    """Refuse a home in which somebody signs.

    Raises:
        UsageError: keys, a guard or a journal of transactions lie there.
    """
    found = [name for name in _SECRETS if _holds_something(home / name)]
    if found:
        raise UsageError(
            f"{home} holds {', '.join(found)}: a process that runs strangers' code has no business there.",
            meaning="Runs are made by a process that never had a key.",
            next_step="Give it a home of its own with --home, best under another account.",
        )


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()
