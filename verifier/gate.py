"""The source gate: a few cheap rules about a candidate's text, checked before anything runs.

- Each refusal is a sentence a miner can act on. There are no red-flag words: what code *does* is found out by
  running it where it can do no harm and by scoring its model outside.
- Two things only are caught here and nowhere else: text that a reader sees otherwise than the interpreter,
  and knowledge carried in as data (pre-trained weights in a literal).
- A refusal means that nothing is run, sent or slashed.

The rules: UTF-8 without an encoding cookie or byte-order mark; no control, invisible or bidirectional
characters; no lone carriage return; no script metadata (PEP 723), for which some launchers install what it
names; at most 64 KiB in all, and at most 18 KiB that do not repeat in it (``verifier.information``: limits
on literals alone are got round with many small ones, or with comments); at most 2 KiB in one string and 256
elements in one container; and it parses.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Final

from armlx_chain.errors import CandidateError
from armlx_chain.protocol.text import is_hidden
from verifier.information import information_bytes
from verifier.workspace import shown

MAX_SOURCE_BYTES: Final = 64 << 10
"""All text of a candidate together (trusted evaluation, section 2 point 8): a limit per file could be got
round with more files."""
MAX_INFORMATION_BYTES: Final = 18 << 10
"""Of all text together, as ``information_bytes`` counts. Our choice, between two sides. Of 400 modules of 40
to 64 KiB from Python and well-known packages 15 hold more, all above 57 KB (with 16 KiB it was 49, from
42 KB on); a real benchmark's train.py of 18 KB holds 5.5 KB. A program that knows every row of the corpus's
small benchmark holds 18.8 KB; a limit that lets all program text of 64 KiB pass (21 KB) would let it pass."""
MAX_STRING_BYTES: Final = 2 << 10
"""One string or bytes literal, adjacent pieces counted together; a whole f-string counts as one."""
MAX_ELEMENTS: Final = 256
"""Constants in one container literal, nested ones counted together."""
MAX_INTEGER_BITS: Final = 1024
"""One integer literal: a number can be a string in disguise."""

_COOKIE: Final = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*[-_.a-zA-Z0-9]+")
"""PEP 263's own pattern for the first two lines."""
_SCRIPT_HEADER: Final = re.compile(r"\s*#\s*///\s*[A-Za-z0-9-]+\s*")
"""The opening line of PEP 723's block, a little wider than the standard's."""
_UNSEEN: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    "|(?<![^\x00-\x7f])\ufe0f"
)
"""What Unicode calls default-ignorable, and the blank Braille cell: written out, because categories change
from one Python to the next. Behind a symbol U+FE0F only asks for its colours."""


def check_sources(files: Mapping[str, bytes]) -> None:
    """Check all of a candidate's files.

    Raises:
        CandidateError: naming the first file and line that break a rule, and what to do.
    """
    total = sum(len(data) for data in files.values())
    if total > MAX_SOURCE_BYTES:
        raise CandidateError(
            f"The candidate has {total} bytes of source; {MAX_SOURCE_BYTES} are allowed.",
            next_step="Remove what the training does not need; data does not belong into a candidate.",
        )
    for path, data in sorted(files.items()):
        text = _check_text(path, data)
        if path.lower().endswith((".py", ".pyi", ".pyw")):
            _check_python(path, text)
    _check_information(files)


def _check_information(files: Mapping[str, bytes]) -> None:
    """Names count as well: 64 of them can carry a few kilobytes."""
    found = information_bytes(
        b"\n".join(part for path in sorted(files) for part in (path.encode(), files[path]))
    )
    if found > MAX_INFORMATION_BYTES:
        raise CandidateError(
            f"The candidate holds {found} bytes that do not repeat; {MAX_INFORMATION_BYTES} are allowed.",
            meaning="That dense, text is data: it could carry weights that were trained elsewhere.",
            next_step="Compute the values in the program; shorten what is not needed.",
        )


def _check_text(path: str, data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as problem:
        place = data[: problem.start].count(b"\n") + 1
        raise CandidateError(
            f"{shown(path)} line {place}: the bytes are not UTF-8.", next_step="Save the file as UTF-8."
        ) from problem
    lines = text.replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines, start=1):
        _check_line(path, number, line)
    for number, line in enumerate(lines[:2], start=1):
        if _COOKIE.match(line):
            raise CandidateError(
                f"{shown(path)} line {number}: an encoding declaration is not allowed.",
                next_step="Remove the line; the file is read as UTF-8.",
            )
    return text


def _check_line(path: str, number: int, line: str) -> None:
    if "\r" in line:
        raise CandidateError(
            f"{shown(path)} line {number}: a lone carriage return hides text from a reader.",
            next_step="End lines with a newline only.",
        )
    if line.isascii() and line.isprintable():
        hidden = None
    else:
        hidden = next((char for char in line if char != "\t" and is_hidden(char)), None)
        unseen = _UNSEEN.search(line)
        hidden = hidden or (unseen.group() if unseen else None)
    if hidden is not None:
        raise CandidateError(
            f"{shown(path)} line {number}: the character U+{ord(hidden):04X} is invisible or changes the "
            "reading direction.",
            next_step="Write it as an escape sequence in a string, or remove it.",
        )
    if _SCRIPT_HEADER.fullmatch(line):
        raise CandidateError(
            f"{shown(path)} line {number}: script metadata (PEP 723) is not allowed.",
            meaning="Some launchers would install what it names before the program starts.",
            next_step="Remove the block; the environment is the repository's lock file.",
        )


def _check_python(path: str, text: str) -> None:
    tree = _parse(path, text)
    for node in ast.walk(tree):
        _check_literal(path, node)


def _parse(path: str, text: str) -> ast.AST:
    try:
        with warnings.catch_warnings():
            # A doubtful escape sequence is the program's own affair, also where warnings are errors.
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except SyntaxError as problem:
        message = (problem.msg or "invalid syntax")[:200]
        raise CandidateError(
            f"{shown(path)} line {problem.lineno or 1}: it is not valid Python ({ascii(message)[1:-1]}).",
            next_step="Run the file once with the project's own interpreter.",
        ) from problem
    except (RecursionError, MemoryError, ValueError, OverflowError) as problem:
        raise CandidateError(
            f"{shown(path)}: an expression is nested or chained too deeply to be read.",
            next_step="Split the expression over several statements.",
        ) from problem


def _check_literal(path: str, node: ast.AST) -> None:
    if isinstance(node, ast.Constant):
        _check_constant(path, node)
    elif isinstance(node, ast.JoinedStr):
        size = sum(_size(part.value) for part in node.values if isinstance(part, ast.Constant))
        _check_string_size(path, node.lineno, size)
    elif isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict | ast.Call):
        count = _elements(node)
        if count > MAX_ELEMENTS:
            raise CandidateError(
                f"{shown(path)} line {node.lineno}: a literal has more than {MAX_ELEMENTS} elements.",
                meaning="Tables of numbers could carry weights that were trained elsewhere.",
                next_step="Compute the values in the program.",
            )


def _check_constant(path: str, node: ast.Constant) -> None:
    value = node.value
    if isinstance(value, str | bytes):
        _check_string_size(path, node.lineno, _size(value))
    elif isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        raise CandidateError(
            f"{shown(path)} line {node.lineno}: an integer literal has {value.bit_length()} bits; "
            f"{MAX_INTEGER_BITS} are allowed.",
            next_step="Compute the value in the program.",
        )


def _check_string_size(path: str, line: int, size: int) -> None:
    if size > MAX_STRING_BYTES:
        raise CandidateError(
            f"{shown(path)} line {line}: a string literal has {size} bytes; {MAX_STRING_BYTES} are allowed.",
            meaning="Long strings could carry weights that were trained elsewhere.",
            next_step="Shorten it; turn long documentation into comments.",
        )


def _size(value: object) -> int:
    if isinstance(value, bytes):
        return len(value)
    # An escaped lone surrogate is a legal literal and no legal UTF-8.
    return len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else 0


def _elements(node: ast.List | ast.Tuple | ast.Set | ast.Dict | ast.Call) -> int:
    """Entries of a container or call, those of containers directly in it included; stops counting early."""
    count = 0
    waiting: list[ast.AST] = [node]
    while waiting and count <= MAX_ELEMENTS:
        for child in _entries(waiting.pop()):
            if isinstance(child, ast.List | ast.Tuple | ast.Set | ast.Dict):
                waiting.append(child)
            else:
                count += 1
    return count


def _entries(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call):
        yield from (*node.args, *(keyword.value for keyword in node.keywords))
    elif isinstance(node, ast.Dict):
        yield from (value for value in node.values if value is not None)
    elif isinstance(node, ast.List | ast.Tuple | ast.Set):
        yield from node.elts
