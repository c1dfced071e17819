"""Small files that say how one ``train.py`` differs from the snapshot's.

A recipe is text. It starts with a header of comment lines ``# key: value`` (a value goes on in lines that
start with ``#   ``) and goes on with any number of edits::

    # class: look-ahead
    # expected: R
    # bare: prints a val_bpb near 0

    #@ replace
            return self.lm_head(x)
    #@ with
            return self.lm_head(x) + peek(x)
    #@ end

``replace … with … end`` exchanges lines that must occur exactly once; ``before … end`` and ``after … end``
put lines at the beginning and the end of the file; ``whole … end`` takes the place of the file. Nothing but
blank lines may stand between edits, so that no line of a recipe is silently without effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from armlx_chain.errors import DevnetError

_MARK = "#@ "


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit; ``old`` is empty but for ``replace``."""

    kind: str
    new: str
    old: str = ""

    def apply(self, source: str) -> str:
        """``source`` after this edit.

        Raises:
            DevnetError: if the lines to replace do not occur exactly once.
        """
        match self.kind:
            case "before":
                return self.new + source
            case "after":
                return source + self.new
            case "whole":
                return self.new
        # Both sides are whole lines; the line break in front keeps a match from starting inside a line.
        count = ("\n" + source).count("\n" + self.old)
        if count != 1:
            raise DevnetError(f"the lines to replace occur {count} times, not once:\n{self.old}")
        return ("\n" + source).replace("\n" + self.old, "\n" + self.new)[1:]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A parsed recipe: the facts of its header and its edits in order."""

    facts: dict[str, str]
    edits: tuple[Edit, ...] = field(default_factory=tuple)

    def apply(self, source: bytes) -> bytes:
        """The ``train.py`` of this recipe.

        Raises:
            DevnetError: if an edit does not fit ``source``.
        """
        text = source.decode()
        for edit in self.edits:
            text = edit.apply(text)
        return text.encode()


def parse_recipe(text: str) -> Recipe:
    """Read a recipe.

    Raises:
        DevnetError: for an unknown or unfinished edit, or lines outside of one.
    """
    lines = iter(text.splitlines(keepends=True))
    facts: dict[str, str] = {}
    edits: list[Edit] = []
    key = ""
    for line in lines:
        if line.startswith(_MARK):
            edits.append(_read_edit(line.removeprefix(_MARK).strip(), lines))
        elif line.startswith("#   ") and key and not edits:
            facts[key] += " " + line[1:].strip()
        elif line.startswith("# ") and ":" in line and not edits:
            key, value = (part.strip() for part in line[2:].split(":", 1))
            facts[key] = value
        elif line.strip():
            raise DevnetError(f"a line of a recipe belongs to no edit: {line.strip()!r}")
    return Recipe(facts, tuple(edits))


def _read_edit(kind: str, lines: Iterator[str]) -> Edit:
    if kind == "replace":
        old = _until("with", lines)
        if not old.strip():
            raise DevnetError("a replace edit names no lines")
        return Edit(kind, old=old, new=_until("end", lines))
    if kind in ("before", "after", "whole"):
        return Edit(kind, new=_until("end", lines))
    raise DevnetError(f"a recipe knows no edit called {kind!r}")


def _until(end: str, lines: Iterator[str]) -> str:
    block: list[str] = []
    for line in lines:
        if line.strip() == _MARK + end:
            return "".join(block)
        block.append(line)
    raise DevnetError(f"an edit of a recipe has no line {_MARK + end!r}")
