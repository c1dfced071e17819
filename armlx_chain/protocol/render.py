"""A protocol as Markdown for people.

Keys are sorted and split into words, nested objects are bold heads with bullets, lists are bullets (or
numbers where the items are objects), texts of several lines are code blocks; the raw JSON follows. All text
is a stranger's: it cannot become markup, and characters that are not seen are shown as escapes.
"""

from __future__ import annotations

import json
import re

from armlx_chain.protocol.parse import parse_protocol, read_document
from armlx_chain.protocol.strict_json import JsonValue
from armlx_chain.protocol.text import is_hidden

__all__ = ["render_markdown"]

_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\s]+")
_MARKUP = re.compile(r"([\\`*_\[\]()#|~$!])")
_FENCE = re.compile(r"`{3,}")


def render_markdown(data: bytes) -> str:
    """Render a protocol document.

    Raises:
        ProtocolInvalid: if it is not a valid one.
    """
    protocol = parse_protocol(data)
    tree = read_document(data)
    title = protocol.meta.protocol_bundle_id or "Protocol"
    lines = [f"# {_inline(title)}", ""]
    for key in sorted(tree):
        lines += [f"## {_words(key)}", "", *_block(tree[key], 0), ""]
    raw = json.dumps(tree, indent=2, ensure_ascii=False)
    lines += ["## Raw JSON", "", *_code(raw, 0, "json")]
    return "\n".join(lines) + "\n"


def _words(key: str) -> str:
    parts = [part for part in _WORD_BREAK.split(key) if part]
    return _inline(" ".join(part[:1].upper() + part[1:] for part in parts))


def _visible(text: str) -> str:
    return "".join(char if char in "\n\t" or not is_hidden(char) else f"\\u{ord(char):04x}" for char in text)


def _inline(text: str) -> str:
    escaped = _MARKUP.sub(r"\\\1", _visible(text).replace("\n", " "))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(text: str, depth: int, language: str = "") -> list[str]:
    longest = max((len(run) for run in _FENCE.findall(text)), default=2)
    fence, indent = "`" * (longest + 1), "  " * depth
    body = [indent + line for line in _visible(text).split("\n")]
    return [f"{indent}{fence}{language}", *body, f"{indent}{fence}"]


def _scalar(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if value is None:
        return "None"
    return _inline(str(value))


def _block(value: JsonValue, depth: int) -> list[str]:
    if isinstance(value, dict):
        return [line for key in sorted(value) for line in _member(key, value[key], depth)] or ["Nothing"]
    if isinstance(value, tuple):
        return _items(value, depth) or ["Nothing"]
    if isinstance(value, str) and "\n" in value:
        return _code(value, depth)
    return ["  " * depth + _scalar(value)]


def _member(key: str, value: JsonValue, depth: int) -> list[str]:
    head = f"{'  ' * depth}- **{_words(key)}**"
    if isinstance(value, dict | tuple) or (isinstance(value, str) and "\n" in value):
        return [f"{head}:", *_block(value, depth + 1)]
    return [f"{head}: {_scalar(value)}"]


def _items(values: tuple[JsonValue, ...], depth: int) -> list[str]:
    indent = "  " * depth
    lines: list[str] = []
    for number, value in enumerate(values, start=1):
        if isinstance(value, dict | tuple):
            lines += [f"{indent}{number}.", *_block(value, depth + 2)]
        elif isinstance(value, str) and "\n" in value:
            lines += [f"{indent}-", *_code(value, depth + 1)]
        else:
            lines.append(f"{indent}- {_scalar(value)}")
    return lines
