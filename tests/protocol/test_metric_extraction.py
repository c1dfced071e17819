"""The extraction rule, line by line, and on hostile logs."""

from __future__ import annotations

import io
import time
import tracemalloc
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.errors import MetricError
from armlx_chain.protocol.metric import (
    MAX_LINE_BYTES,
    check_metric_text,
    extract_from_file,
    extract_metric,
    rule_from_pattern,
)

pytestmark = pytest.mark.unit

ENDED = rule_from_pattern("val_bpb", r"^val_bpb:\s+([0-9]+(?:\.[0-9]+)?)$")
OPEN = rule_from_pattern("val_bpb", r"^val_bpb:\s+([0-9]+(?:\.[0-9]+)?)")
ANYTHING = rule_from_pattern("val_bpb", r"val_bpb:(.*)$")
LINES = rule_from_pattern("val_bpb", r"(?m)^\s*val_bpb:\s+([0-9.]+)$")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b""])
@pytest.mark.parametrize("blanks", [b"", b" ", b"\t \x0b\x0c"])
def test_every_line_end_and_trailing_blank_is_understood(end: bytes, blanks: bytes) -> None:
    found = extract_metric(b"step 1\rstep 2\r\n---\nval_bpb:   2.5340" + blanks + end, ENDED)
    assert (found.text, found.value, found.line) == ("2.5340", Decimal("2.5340"), 4)


@pytest.mark.parametrize(
    "line",
    [
        b"val_bpb: nan",
        b"val_bpb: inf",
        b"val_bpb: -1.0",
        b"val_bpb: +1.0",
        b"val_bpb: 1_0.5",
        b"val_bpb: 0.95e1",
        b"val_bpb: 1e-3",
        b"val_bpb: 1.",
        b"val_bpb: .5",
        b"val_bpb: 0x1",
        b"val_bpb: 1000",
        b"val_bpb: 1.0123456789",
        b"val_bpb: 0.0",
        b"val_bpb: 101",
        "val_bpb: １.５".encode(),
        "val_bpb: ٣".encode(),
        b"val_bpb: 1.5 better than ever",
        b"val_bpb: 1.5\x00",
        b"val_bpb: 1.5\xc2\xa0",
        b"val_bpb: 1.5,",
        b"VAL_BPB: 1.5",
        b"",
    ],
)
def test_what_is_no_plain_plausible_number_is_no_metric(line: bytes) -> None:
    for rule in (OPEN, ENDED, ANYTHING):
        with pytest.raises(MetricError):
            extract_metric(line + b"\n", rule)


def test_an_open_pattern_does_not_cut_a_number_short() -> None:
    with pytest.raises(MetricError):
        extract_metric(b"val_bpb: 0.95e1\n", OPEN)


@pytest.mark.parametrize("between", [b"\n", b"\r", b"\r\n", b"\n" + b"x" * 3_000_000 + b"\n"])
def test_two_values_are_none(between: bytes) -> None:
    with pytest.raises(MetricError, match="more than once"):
        extract_metric(b"val_bpb: 2.5" + between + b"val_bpb: 2.5", ENDED)


def test_a_pattern_with_multi_line_flag_does_not_read_across_lines() -> None:
    assert extract_metric(b"val_bpb: 2.5\n\n", LINES).text == "2.5"
    with pytest.raises(MetricError):
        extract_metric(b"val_bpb:\n2.5\n", LINES)


def test_a_group_that_takes_no_part_is_no_value() -> None:
    rule = rule_from_pattern("val_bpb", r"val_bpb: [0-9.]+|other: ([0-9])")
    with pytest.raises(MetricError):
        extract_metric(b"val_bpb: 2.5", rule)


def test_secondary_metrics_may_be_large_integers() -> None:
    rule = rule_from_pattern("num_steps", r"^num_steps:\s+([0-9]+)", primary=False)
    assert extract_metric(b"num_steps: 1234567", rule).value == 1234567


@pytest.mark.parametrize("text", ["1.5", "0.001", "100", "2.123456789"])
def test_a_metric_text_that_can_be_claimed(text: str) -> None:
    assert check_metric_text(text, "val_bpb") == Decimal(text)


@pytest.mark.parametrize("text", ["", "1.5\n", "nan", "1e1", "0", "100.1", "٣", "-1"])
def test_a_metric_text_that_cannot_be_claimed(text: str) -> None:
    with pytest.raises(MetricError):
        check_metric_text(text, "val_bpb")


MEGA = 1_000_000
HOSTILE: dict[str, Callable[[], bytes]] = {
    "one line without an end": lambda: b"x" * 100 * MEGA,
    "the start of the metric line again and again": lambda: b"val_bpb: 9" * 10 * MEGA,
    "progress by carriage returns": lambda: b"step 1234 | loss 2.3123 | lrm 0.5 | tok/sec 51200\r" * 2 * MEGA,
    "blanks": lambda: b"\t" * 100 * MEGA,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hundred_megabytes_take_linear_time(name: str) -> None:
    log = HOSTILE[name]() + b"\r\nval_bpb: 1.5\n"
    started = time.process_time()
    assert extract_metric(log, ENDED).text == "1.5"
    assert time.process_time() - started < 30  # a quadratic reader would need days


class Endless(io.RawIOBase):
    """A file of many pieces that is never in memory as a whole."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, size: int = -1) -> bytes:
        return next(self._pieces, b"")


def test_reading_a_file_keeps_the_memory_bounded() -> None:
    piece = b"y" * (1 << 20)
    pieces = [piece] * 64 + [b"\rval_bpb: 1.", b"5 \r", b"\n", *[piece] * 8]
    tracemalloc.start()
    try:
        found = extract_from_file(Endless(iter(pieces)), ENDED)  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.text, found.line) == ("1.5", 2)
    assert peak < 16 << 20


def test_a_line_beyond_the_limit_is_no_metric_line_however_it_is_cut_into_pieces() -> None:
    rule = rule_from_pattern("val_bpb", r"val_bpb: ([0-9.]+)$")
    for length, found in ((MAX_LINE_BYTES - 12, True), (MAX_LINE_BYTES - 11, False)):
        log = b"z" * length + b"val_bpb: 1.5"
        for step in (len(log), 1 << 20, 70_001):
            pieces = iter([log[at : at + step] for at in range(0, len(log), step)])
            try:
                text: str | None = extract_from_file(Endless(pieces), rule).text  # type: ignore[arg-type]
            except MetricError:
                text = None
            assert (text == "1.5") is found, (length, step)


fragments = st.sampled_from(
    [b"val_bpb: ", b"1.5", b"2", b"\r", b"\n", b"\r\n", b" ", b"\t", b"x", b"\xff", b"nan", b"."]
)


def reference(log: bytes) -> str | None:
    """The rule in the plainest words: normalise the line ends, look at each line."""
    import re

    values = []
    for line in log.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        match = re.search(rb"\Aval_bpb:[\t\n\f\r ]+([0-9]+(?:\.[0-9]+)?)\Z", line.rstrip(b" \t\v\f"))
        if match and re.fullmatch(rb"[0-9]{1,3}(\.[0-9]{1,9})?", match[1]):
            values.append(match[1].decode())
    fit = [text for text in values if Decimal("0.001") <= Decimal(text) <= 100]
    return fit[0] if len(fit) == 1 else None


@given(parts=st.lists(fragments, max_size=25), step=st.integers(1, 9))
@settings(max_examples=600, deadline=None)
def test_reading_in_pieces_agrees_with_the_plainest_words(parts: list[bytes], step: int) -> None:
    log = b"".join(parts)
    pieces = iter([log[at : at + step] for at in range(0, len(log), step)])
    try:
        streamed: str | None = extract_from_file(Endless(pieces), ENDED).text  # type: ignore[arg-type]
    except MetricError:
        streamed = None
    try:
        whole: str | None = extract_metric(log, ENDED).text
    except MetricError:
        whole = None
    assert streamed == whole == reference(log)


@given(pattern=st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_pattern_compiles_or_ends_in_one_error(pattern: str) -> None:
    try:
        rule = rule_from_pattern("m", pattern)
        extract_metric(b"1\nval_bpb: 2.5", rule)
    except MetricError:
        return
