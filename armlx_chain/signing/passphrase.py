"""Where passphrases come from: a prompt or a file, asked for only when needed."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from armlx_chain.errors import SigningError

__all__ = ["PassphraseSource", "from_file", "from_prompt", "new_from_prompt"]

logger = logging.getLogger(__name__)

PassphraseSource: TypeAlias = Callable[[], str]
_MAX_BYTES = 4_096


def from_prompt(ask: Callable[[str], str], question: str = "Passphrase") -> PassphraseSource:
    """A source that asks a person; ``ask`` must not echo."""
    return lambda: ask(question)


def new_from_prompt(ask: Callable[[str], str]) -> PassphraseSource:
    """A source for a new passphrase: asked twice.

    The source raises:
        SigningError: if the two answers differ.
    """

    def source() -> str:
        first = ask("New passphrase")
        if ask("The same again") != first:
            raise SigningError("The two passphrases differ.", next_step="Nothing was written; try again.")
        return first

    return source


def from_file(path: Path) -> PassphraseSource:
    """A source that reads a file and strips one line end. Others being able to read it is worth a warning.

    The source raises:
        SigningError: if the file cannot be read, is too long, or is not UTF-8.
    """
    return lambda: _read(path)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_BYTES + 1)
    except OSError as failed:
        raise SigningError(f"The password file {path} cannot be read: {failed.strerror}.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        logger.warning("The password file %s can be read by others; chmod 600 it.", path)
    if len(data) > _MAX_BYTES:
        raise SigningError(f"The password file {path} is longer than {_MAX_BYTES} bytes.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise SigningError(f"The password file {path} is not UTF-8.") from None
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
