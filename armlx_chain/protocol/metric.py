"""A protocol's metric, read from a run log by the protocol's own rule.

Source: the specification of the trusted evaluation, section 5. In short:

- the log is split as bytes at newline, carriage return, or both together; trailing blanks are cut;
- the pattern is searched in each line by itself, by a linear-time engine, unanchored and without flags;
- the first group is the value; nothing but blanks may follow it on its line;
- the value is a plain ASCII decimal in a plausible range; no such line, or several, is an error.

Lines longer than ``MAX_LINE_BYTES`` are no metric lines: this keeps the memory bounded on any log.

>>> rule = rule_from_pattern("val_bpb", r"^val_bpb:\\s+([0-9.]+)$")
>>> extract_metric(b"step 1\\rstep 2\\rval_bpb: 2.5340\\n", rule).text
'2.5340'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, BinaryIO

import re2

from armlx_chain.errors import MetricError
from armlx_chain.protocol.model import Direction, Extract, PrimaryMetric, SecondaryMetric
from armlx_chain.protocol.strict_json import shorten

__all__ = [
    "MAX_LINE_BYTES",
    "METRIC_TEXT",
    "MetricRule",
    "MetricValue",
    "PlausibleRange",
    "check_metric_text",
    "extract_from_file",
    "extract_metric",
    "line_value",
    "metric_rule",
    "plausible_range",
    "rule_from_pattern",
]

MAX_LINE_BYTES = 1 << 20
METRIC_TEXT = r"[0-9]{1,3}(\.[0-9]{1,9})?"
"""The value grammar of a primary metric."""

_PRIMARY = re.compile(METRIC_TEXT.encode())
_SECONDARY = re.compile(rb"[0-9]{1,18}(\.[0-9]{1,9})?")
_BLANKS = b" \t\v\f"
_DIGITS = frozenset(b"0123456789")
_BREAKS = re.compile(rb"\r\n|\r|\n")
_CHUNK_BYTES = 1 << 20
_ENGINE_BYTES = 1 << 20
"""Memory the engine may use per pattern: a document may bring a thousand of them."""
_MAX_PROGRAM = 400
"""Instructions of a compiled pattern. Linear time is this many steps a byte at worst: measured, 1,000
instructions read 256 KiB in 1.2 s on patterns made for it; a usual pattern has about 20."""
_SHOWN_REJECTS = 3


@dataclass(frozen=True, slots=True)
class PlausibleRange:
    """Both ends are allowed."""

    low: Decimal
    high: Decimal

    def holds(self, value: Decimal) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class MetricRule:
    """An extraction rule, compiled.

    Attributes:
        name: The metric's name, for messages.
        direction: Which way is better, where the rule comes from a document.
        primary: Whether the value grammar of a primary metric applies.
        plausible: Range outside which a value is not believed.
    """

    name: str
    regex: Any
    primary: bool
    plausible: PlausibleRange
    direction: Direction | None = None


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A value as the log states it, and where.

    Attributes:
        text: The captured text, as signed in a claim.
        value: The same as an exact decimal.
        line: Number of its line, from 1.
    """

    text: str
    value: Decimal
    line: int


def plausible_range(name: str, *, primary: bool = True) -> PlausibleRange:
    """The range in which a metric is believed.

    Bits per byte lie between a thousandth and 100 (a uniform guess over a large vocabulary is below 20);
    nothing is known about other metrics but what the value grammar says.
    """
    if primary and (name == "bpb" or name.endswith("_bpb")):
        return PlausibleRange(Decimal("0.001"), Decimal(100))
    return PlausibleRange(Decimal(0), Decimal(1000) if primary else Decimal(10) ** 18)


def rule_from_pattern(
    name: str, pattern: str, *, primary: bool = True, direction: Direction | None = None
) -> MetricRule:
    """Compile a pattern.

    Raises:
        MetricError: if the linear-time engine refuses it, or it has no group that captures the value.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _ENGINE_BYTES
    try:
        regex = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as refused:
        raise MetricError(
            f"The pattern for {shorten(name)} is refused by the linear-time engine: {_reason(refused)}.",
            meaning="Look-around, back-references and huge repeats could make a log hang the reader.",
        ) from None
    if regex.programsize > _MAX_PROGRAM:
        raise MetricError(
            f"The pattern for {shorten(name)} is too complicated: {regex.programsize} steps, at most "
            f"{_MAX_PROGRAM}."
        )
    if regex.groups < 1:
        raise MetricError(f"The pattern for {shorten(name)} has no group that captures the value.")
    return MetricRule(name, regex, primary, plausible_range(name, primary=primary), direction)


def _reason(refused: Exception) -> str:
    text = refused.args[0] if refused.args else "no reason given"
    return shorten(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text), 120)


def metric_rule(metric: PrimaryMetric | SecondaryMetric) -> MetricRule:
    """The rule of a metric in a protocol document.

    Raises:
        MetricError: if it is not a regular expression, which is all this project executes.
    """
    extract: Extract | None = metric.extract
    if extract is None or extract.kind != "regex" or extract.pattern is None:
        kind = "none" if extract is None else extract.kind
        raise MetricError(
            f"The metric {shorten(metric.name)} is read by {kind!r} without a pattern; "
            "only regular expressions are executed here."
        )
    primary = isinstance(metric, PrimaryMetric)
    return rule_from_pattern(metric.name, extract.pattern, primary=primary, direction=metric.direction)


def check_metric_text(text: str, name: str) -> Decimal:
    """The value of a text that a primary metric may have.

    Raises:
        MetricError: if the text breaks the value grammar or its value is not plausible.
    """
    if not re.fullmatch(METRIC_TEXT, text):
        raise MetricError(f"{shorten(text)} is not a plain decimal number of at most 3 and 9 digits.")
    value = Decimal(text)
    if not plausible_range(name).holds(value):
        raise MetricError(f"{shorten(name)} = {text} is outside the plausible range.")
    return value


def extract_metric(log: bytes, rule: MetricRule) -> MetricValue:
    """The one value of a metric in a log.

    Raises:
        MetricError: if no line states it, or several do.
    """
    view = memoryview(log)
    pieces = (bytes(view[start : start + _CHUNK_BYTES]) for start in range(0, len(log), _CHUNK_BYTES))
    return _only_value(_lines(pieces), rule)


def extract_from_file(file: BinaryIO, rule: MetricRule) -> MetricValue:
    """The same from an open file, read in pieces: at most a few MiB are held at a time.

    Raises:
        MetricError: if no line states it, or several do.
    """
    return _only_value(_lines(iter(lambda: file.read(_CHUNK_BYTES), b"")), rule)


def line_value(line: bytes, rule: MetricRule) -> MetricValue | None:
    """What one line of a log states by itself, if anything. Whether it is the only such line stays open."""
    text = _captured(line, rule) if line else None
    value = None if text is None else _value(text, rule)
    return None if text is None or value is None else MetricValue(text, value, 1)


def _lines(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Batches of whole lines. A line beyond the limit comes as an empty one."""
    rest = b""
    too_long = False
    after_return = False
    for piece in pieces:
        if after_return and piece.startswith(b"\n"):
            piece = piece[1:]  # the second half of a line break that the last piece began
        after_return = piece.endswith(b"\r")
        first, *others = _BREAKS.split(piece)
        if len(rest) + len(first) > MAX_LINE_BYTES:
            too_long, rest = True, b""
        else:
            rest += first
        if others:
            batch = [b"" if too_long else rest, *others]
            too_long, rest = False, batch.pop()
            yield batch
    yield [b"" if too_long else rest]


def _only_value(batches: Iterable[list[bytes]], rule: MetricRule) -> MetricValue:
    found: MetricValue | None = None
    rejected: list[str] = []
    before = 0
    for batch in batches:
        for number, line in enumerate(batch, start=before + 1):
            text = _captured(line, rule) if line else None
            if text is None:
                continue
            value = _value(text, rule)
            if value is None:
                rejected = [*rejected, shorten(text, 40)][:_SHOWN_REJECTS]
                continue
            if found is not None:
                raise MetricError(
                    f"The log states {shorten(rule.name)} more than once: lines {found.line} and {number}.",
                    meaning="No value can be told from the other, so the log has no metric.",
                )
            found = MetricValue(text, value, number)
        before += len(batch)
    if found is None:
        raise _nothing_found(rule, rejected)
    return found


def _captured(line: bytes, rule: MetricRule) -> str | None:
    """The captured text if the rule matches and only blanks follow it.

    A value ends in a digit and only blanks may follow, so most lines need no search at all.
    """
    line = line.rstrip(_BLANKS)
    if not line or line[-1] not in _DIGITS:
        return None
    match = rule.regex.search(line)
    if match is None or match.end(1) != len(line):
        return None
    return str(line[match.start(1) :].decode("utf-8", "replace"))


def _value(text: str, rule: MetricRule) -> Decimal | None:
    grammar = _PRIMARY if rule.primary else _SECONDARY
    if not grammar.fullmatch(text.encode()):
        return None
    value = Decimal(text)
    return value if rule.plausible.holds(value) else None


def _nothing_found(rule: MetricRule, rejected: list[str]) -> MetricError:
    meaning = "A line counts if the protocol's pattern matches it and only blanks follow the number."
    if rejected:
        meaning = f"The pattern matched {', '.join(rejected)}, which is no plausible plain decimal number."
    return MetricError(f"The log does not state {shorten(rule.name)}.", meaning=meaning)
