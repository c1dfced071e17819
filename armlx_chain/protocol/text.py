"""Which characters and which paths a stranger's document may hold.

Pure predicates that raise ``ValueError`` with a sentence; the document models turn that into their own error
with the place.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = [
    "MAX_PATH_BYTES",
    "check_glob",
    "check_line",
    "check_prose",
    "check_relative_path",
    "is_hidden",
    "one_line",
]

MAX_PATH_BYTES = 1_024

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINE_SEPARATORS = frozenset("\u2028\u2029")
_DRIVE = re.compile(r"[A-Za-z]:")
_GLOB_FOREIGN = re.compile(r"[\[\]{}!]")


def is_hidden(char: str) -> bool:
    """Whether a character moves the cursor or the reading direction instead of being seen."""
    return unicodedata.category(char) == "Cc" or char in _BIDI or char in _LINE_SEPARATORS


def one_line(text: str, limit: int = 64) -> str:
    """A stranger's text as one line of printable characters, cut to ``limit`` of them; never blank.

    >>> one_line("Gold\\x1b[2J")
    'Gold?[2J'
    """
    shown = "".join(char if char.isprintable() else "?" for char in text[: limit + 1])
    shown = shown if len(shown) <= limit else shown[: limit - 1] + "…"
    return shown if shown.strip() else "?"


def check_prose(text: str) -> str:
    """Text of one or several lines: newline and tab are the only control characters.

    Raises:
        ValueError: for any other control, line-separator or bidirectional character.
    """
    for char in text:
        if is_hidden(char) and char not in "\n\t":
            raise ValueError(f"it holds the control character U+{ord(char):04X}")
    return text


def check_line(text: str) -> str:
    """Text of exactly one line, not blank.

    Raises:
        ValueError: for control characters, newline and tab included, and for blank text.
    """
    for char in text:
        if is_hidden(char):
            raise ValueError(f"it holds the control character U+{ord(char):04X}")
    if not text.strip():
        raise ValueError("it is blank")
    return text


def _check_path_shape(text: str, what: str) -> None:
    check_line(text)
    if len(text.encode("utf-8")) > MAX_PATH_BYTES:
        raise ValueError(f"{what} is longer than {MAX_PATH_BYTES} bytes")
    if "\\" in text:
        raise ValueError(f"{what} holds a backslash")
    if text.startswith(("/", "~")) or _DRIVE.match(text):
        raise ValueError(f"{what} is absolute; it must be relative to the repository")
    if unicodedata.normalize("NFC", text) != text:
        raise ValueError(f"{what} is not in Unicode normal form C")


def check_relative_path(text: str) -> str:
    """A path that stays inside the repository: ``a/b``, or ``.`` alone for its top.

    Raises:
        ValueError: if it is absolute, escapes by ``..``, or is not in its shortest form.
    """
    _check_path_shape(text, "the path")
    if text == ".":
        return text
    for segment in text.split("/"):
        if segment == "..":
            raise ValueError("the path escapes by '..'")
        if segment in ("", "."):
            raise ValueError("the path is not in its shortest form")
    return text


def check_glob(text: str) -> str:
    """A relative glob of ``*``, ``?`` and ``**``; other wildcards differ between tools and are refused.

    Raises:
        ValueError: as for paths, and for brackets, braces, ``!`` and ``**`` beside other characters.
    """
    _check_path_shape(text, "the glob")
    if _GLOB_FOREIGN.search(text):
        raise ValueError(
            "the glob uses [ ], { } or !, which tools read differently; only *, ? and ** are known"
        )
    body = text.removesuffix("/")
    for segment in body.split("/"):
        if segment == "..":
            raise ValueError("the glob escapes by '..'")
        if segment in ("", "."):
            raise ValueError("the glob is not in its shortest form")
        if "**" in segment and segment != "**":
            raise ValueError("'**' must stand alone between slashes")
    return text
