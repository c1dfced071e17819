"""Globs over repository paths: matching, and whether two globs share any path.

- ``*`` and ``?`` stay within one segment; ``**`` spans any number of segments; a trailing ``/`` means
  everything beneath.
- ``overlap`` decides on the languages of the two globs, without regard to case, because the file systems of
  the machines that run candidates are often case-insensitive.

>>> overlap(Glob.parse("src/*.py"), Glob.parse("src/pre*"))
True
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import re2

from armlx_chain.protocol.text import check_glob

__all__ = ["Glob", "overlap", "overlap_cost"]

_ANY = "any"
_ANY_BUT_SLASH = "segment"


@dataclass(frozen=True)
class _Edge:
    """One step: a literal character, any character, or any character but a slash."""

    on: str
    target: int

    def meets(self, other: _Edge) -> bool:
        if len(self.on) == 1 and len(other.on) == 1:
            return self.on == other.on
        if len(self.on) == 1:
            return other.on == _ANY or self.on != "/"
        if len(other.on) == 1:
            return other.meets(self)
        return True


@dataclass
class _Automaton:
    """A small automaton with free steps; the last state accepts."""

    steps: list[list[_Edge]] = field(default_factory=lambda: [[]])
    free: list[list[int]] = field(default_factory=lambda: [[]])

    def _grow(self) -> int:
        self.steps.append([])
        self.free.append([])
        return len(self.steps) - 1

    def take(self, on: str) -> None:
        here = len(self.steps) - 1
        self.steps[here].append(_Edge(on, self._grow()))

    def loop(self, on: str) -> None:
        here = len(self.steps) - 1
        self.steps[here].append(_Edge(on, here))
        self.free[here].append(self._grow())

    def optional_folders(self) -> None:
        """``(anything/)?``"""
        here = len(self.steps) - 1
        self.free[here].append(self._grow())
        self.loop(_ANY)
        self.take("/")
        self.free[here].append(len(self.steps) - 1)


@dataclass(frozen=True)
class Glob:
    """A checked glob."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Glob:
        """Read a glob.

        Raises:
            ValueError: if it is not a relative glob of the known wildcards.
        """
        return cls(check_glob(text))

    @property
    def literal(self) -> bool:
        """Whether it names one path only."""
        return not any(mark in self.text for mark in "*?") and not self.text.endswith("/")

    @property
    def _segments(self) -> list[str]:
        return (self.text + "**" if self.text.endswith("/") else self.text).split("/")

    def matches(self, path: str, *, ignore_case: bool = False) -> bool:
        """Whether a relative path of a file is one that this glob names."""
        if ignore_case:
            return self._folded.fullmatch(path.casefold()) is not None
        return self._exact.fullmatch(path) is not None

    def covers(self, path: str) -> bool:
        """Whether the path, or a folder it lies in, matches; without regard to case.

        This is the reading for forbidden paths: naming a folder forbids what is in it.
        """
        parts = path.split("/")
        names = ("/".join(parts[:n]) for n in range(1, len(parts) + 1))
        return any(self.matches(name) or self.matches(name, ignore_case=True) for name in names)

    @cached_property
    def _exact(self) -> Any:
        return _compile(self._segments)

    @cached_property
    def _folded(self) -> Any:
        return _compile([segment.casefold() for segment in self._segments])

    @cached_property
    def _automaton(self) -> _Automaton:
        automaton = _Automaton()
        segments = [segment.casefold() for segment in self._segments]
        for index, segment in enumerate(segments):
            last = index == len(segments) - 1
            if segment == "**" and not last:
                automaton.optional_folders()
                continue
            _add_segment(automaton, segment)
            if not last:
                automaton.take("/")
        return automaton


def _add_segment(automaton: _Automaton, segment: str) -> None:
    if segment == "**":
        automaton.take(_ANY)
        automaton.loop(_ANY)
        return
    for char in segment:
        if char == "*":
            automaton.loop(_ANY_BUT_SLASH)
        else:
            automaton.take(_ANY_BUT_SLASH if char == "?" else char)


def _compile(segments: list[str]) -> Any:
    pieces = []
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "**":
            pieces.append("(?s:.+)" if last else "(?:(?s:.*)/)?")
            continue
        pieces.append("".join(_translate(char) for char in segment))
        if not last:
            pieces.append("/")
    options = re2.Options()
    options.log_errors = False
    return re2.compile("".join(pieces), options)


def _translate(char: str) -> str:
    if char == "*":
        return "[^/]*"
    return "[^/]" if char == "?" else str(re2.escape(char))


def overlap_cost(one: Glob, other: Glob) -> int:
    """Upper bound of the steps ``overlap`` takes; callers with many globs keep a budget."""
    if one.literal and other.literal:
        return 1
    if one.literal or other.literal:
        return len(one.text) + len(other.text)
    return 4 * (len(one.text) + 4) * (len(other.text) + 4)


def overlap(one: Glob, other: Glob) -> bool:
    """Whether some path belongs to both globs, without regard to case."""
    if one.literal:
        return other.matches(one.text, ignore_case=True)
    if other.literal:
        return one.matches(other.text, ignore_case=True)
    return _meet(one._automaton, other._automaton)


def _meet(one: _Automaton, other: _Automaton) -> bool:
    goal = (len(one.steps) - 1, len(other.steps) - 1)
    waiting = [(0, 0)]
    seen = {(0, 0)}
    while waiting:
        here = waiting.pop()
        if here == goal:
            return True
        for place in _next_places(one, other, *here):
            if place not in seen:
                seen.add(place)
                waiting.append(place)
    return False


def _next_places(one: _Automaton, other: _Automaton, a: int, b: int) -> Iterable[tuple[int, int]]:
    for target in one.free[a]:
        yield target, b
    for target in other.free[b]:
        yield a, target
    for left in one.steps[a]:
        for right in other.steps[b]:
            if left.meets(right):
                yield left.target, right.target
