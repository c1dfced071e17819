"""Commands for a person to copy: they mean the same network and home as the one that advises them."""

from __future__ import annotations

import os
import shlex

from armlx_chain.cli.context import App
from armlx_chain.settings import default_home

__all__ = ["next_command"]


def next_command(app: App, *words: object) -> str:
    """``armlx-chain`` with these words, quoted for a shell.

    Endpoints are left out: their addresses often hold a key.
    """
    given = [str(word) for word in words]
    if app.network_name != os.environ.get("ARMLX_NETWORK", "galileo"):
        given += ["--network", app.network_name]
    if app.home != default_home(os.environ).absolute():
        given += ["--home", str(app.home)]
    return shlex.join(["armlx-chain", *given])
