"""Where passphrases come from: a prompt, a file or the system's keyring, asked for only when needed.

A choice of source is text that may stand on a command line (``prompt``, ``file:PATH``, ``keyring``); a
passphrase never is, so that what is no choice is refused without being repeated.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, TypeAlias

from armlx_chain.errors import SigningError, UsageError

__all__ = [
    "PassphraseChoice",
    "PassphraseSource",
    "from_file",
    "from_prompt",
    "from_stream",
    "new_from_prompt",
]

logger = logging.getLogger(__name__)

PassphraseSource: TypeAlias = Callable[[], str]
_MAX_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class PassphraseChoice:
    """Where a person wants a passphrase to be taken from.

    Attributes:
        path: The file, for ``file``.
    """

    kind: Literal["prompt", "file", "keyring"]
    path: Path | None = None

    @classmethod
    def parse(cls, text: str) -> PassphraseChoice:
        """Read ``prompt``, ``keyring`` or ``file:PATH``.

        Raises:
            UsageError: for anything else, which is not repeated: it may be a passphrase.
        """
        if text in ("prompt", "keyring"):
            return cls("prompt" if text == "prompt" else "keyring")
        kind, colon, path = text.partition(":")
        if kind == "file" and colon and path:
            return cls("file", Path(path).expanduser())
        raise UsageError(
            "The source of a passphrase is prompt, file:PATH or keyring.",
            meaning="A passphrase itself never belongs on a command line, where others can read it.",
        )


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


def from_file(path: Path, what: str = "password file") -> PassphraseSource:
    """A source that reads a file and strips one line end. Others being able to read it is worth a warning.

    Args:
        what: What messages call it.

    The source raises:
        SigningError: if the file cannot be read, is too long, or is not UTF-8.
    """
    return lambda: _read(path, what)


def from_stream(stream: IO[bytes], what: str) -> PassphraseSource:
    """A source that reads an open stream (standard input) to its end and strips one line end.

    The source raises:
        SigningError: if it is too long or not UTF-8.
    """
    return lambda: _text(stream.read(_MAX_BYTES + 1), what)


def _read(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_BYTES + 1)
    except OSError as failed:
        raise SigningError(f"The {what} {path} cannot be read: {failed.strerror}.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        logger.warning("The %s %s can be read by others; chmod 600 it.", what, path)
    return _text(data, f"The {what} {path}")


def _text(data: bytes, what: str) -> str:
    if len(data) > _MAX_BYTES:
        raise SigningError(f"{what} is longer than {_MAX_BYTES} bytes.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise SigningError(f"{what} is not UTF-8.") from None
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
