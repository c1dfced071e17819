"""``--home --json`` for commands that need neither chain nor storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["home_options"]


def home_options(command: Any) -> Any:
    """The command receives ``home`` (or None) and ``as_json``."""
    option = click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="ARMLX_HOME",
        help="Folder of keystores, journal and cache. [default: ~/.armlx-chain]",
    )
    as_json = click.option(
        "--json", "as_json", is_flag=True, envvar="ARMLX_JSON", help="One JSON object on stdout."
    )
    return option(as_json(command))
