"""``demo``: the whole story on this machine."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from armlx_chain.cli.output import say


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep everything in this folder. [default: a temporary one, removed after success]",
)
@click.option(
    "--engine",
    type=click.Choice(["embedded", "anvil", "auto"]),
    default="embedded",
    show_default=True,
    help="The local chain's engine.",
)
def demo(folder: Path | None, engine: str) -> int:
    """Play the whole story: publish, fetch, reproduce, submit, validate, mint; and two cheats.

    Needs no account and no service on the internet. Takes a few minutes; every step is checked.

    \b
    Example:
      armlx-chain demo --folder /tmp/story
    """
    from armlx_chain.cli.demonstration.story import play

    place = folder or Path(tempfile.mkdtemp(prefix="armlx-demo-"))
    try:
        play(place.absolute(), engine=engine)
    except BaseException:
        say(f"Everything up to here is kept in {place}.")
        raise
    if folder is None:
        shutil.rmtree(place, ignore_errors=True)
    return 0
