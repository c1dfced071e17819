"""The live line reads a hostile log with bounded memory and shows nothing but bounded numbers."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.protocol.metric import rule_from_pattern
from verifier.live import (
    LINE_BYTES,
    LineSplitter,
    LivePainter,
    LogReader,
    Outside,
    Reading,
    RunFrame,
    frame_text,
    span,
)
from verifier.model import Role

pytestmark = pytest.mark.unit

PROGRESS = (
    b"\rstep 00041 (13.7%) | loss: 2.123456 | lrm: 1.00 | dt: 812ms | "
    b"tok/sec: 80,711 | epoch: 1 | remaining: 259s    "
)
METRIC = rule_from_pattern("val_bpb", r"^val_bpb:\s+([0-9]+(?:\.[0-9]+)?)$")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def read(log: bytes, pieces: int = 7) -> Reading:
    reader = LogReader(METRIC)
    for start in range(0, len(log), pieces):
        reader.feed(log[start : start + pieces])
    return reader.reading


def test_progress_that_is_overwritten_in_place_is_read() -> None:
    assert read(PROGRESS + b"\r") == Reading(41, 2.123456, 13.7, 80_711, None)


def test_a_line_counts_only_once_it_has_ended() -> None:
    assert read(PROGRESS).step is None


def test_the_metric_is_read_by_the_protocols_own_rule() -> None:
    assert read(PROGRESS + b"\n---\nval_bpb:          0.974100\n").metric == "0.974100"
    assert read(b"val_bpb:          nan\nval_bpb: 0.95e1\nmy val_bpb: 0.1\n").metric is None


@pytest.mark.parametrize(
    "line",
    [
        b"step 99999999999 | loss: 1.0",
        b"step -4 | loss: 1.0",
        b"footstep 4 | loss: 1.0",
        b"step 4.5 | loss: 1.0",
        "step ٤ | loss: 1.0".encode(),
        b"step \x1b[31m4 | loss: 1.0",
        b"x" * LINE_BYTES + b"step 4",
    ],
)
def test_what_is_no_plain_step_is_not_there(line: bytes) -> None:
    assert read(line + b"\n") == Reading()


@pytest.mark.parametrize("loss", [b"nan", b"inf", b"1e9", b"99999999", b"-1", b"0x1", b"1.0.0e"])
def test_a_loss_that_is_no_plausible_number_is_left_out(loss: bytes) -> None:
    reading = read(b"step 4 | loss: " + loss + b" |\n")
    assert reading.step == 4
    assert reading.loss is None or reading.loss <= 10**6


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=12))
def test_however_the_bytes_come_the_lines_are_the_same(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    splitter = LineSplitter(limit=16)
    found = [line for piece in pieces for line in splitter.feed(piece)]
    parts = re.split(rb"\r\n|\r|\n", whole)
    assert found == [line for line in parts[:-1] if line and len(line) <= 16]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=3000), max_size=8))
def test_never_more_than_one_line_is_held(pieces: list[bytes]) -> None:
    splitter = LineSplitter()
    for piece in pieces:
        splitter.feed(piece)
        assert splitter.held <= LINE_BYTES


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_nothing_of_a_log_but_numbers_reaches_the_terminal(noise: bytes) -> None:
    reading = read(b"step 7 | loss: 1.5 " + noise + b"\r" + noise + b"\n")
    text = frame_text(RunFrame(1, Role.CANDIDATE, reading, Outside(1.0, 1 << 30), 8, 3.0))
    assert re.fullmatch(r"[ -~]+", text)
    assert len(text) < 160


def test_a_flood_of_line_breaks_is_read_quickly_and_a_line_without_end_is_not_kept() -> None:
    reader = LogReader(METRIC)
    reader.feed(b"\r" * (1 << 20))
    for _ in range(64):
        reader.feed(b"x" * (1 << 16))
    assert reader._lines.held == 0
    reader.feed(b"\nstep 9 | loss: 1.0\n")
    assert reader.reading.step == 9


def test_the_line_shows_run_role_step_loss_budget_speed_memory_and_time_left() -> None:
    reading = Reading(41, 2.123456, 13.7, 80_711)
    frame = RunFrame(3, Role.CANDIDATE, reading, Outside(44.1, 21 << 30), 8, 312.0, left_seconds=1805.0)
    assert frame_text(frame) == (
        "run 3 of ~8 | candidate | step 41 | loss 2.1235 | 44/312 s (14%) | 80,711 tok/s | 21.00 GiB"
        " | 30:05 min left"
    )


def test_without_figures_nothing_is_invented() -> None:
    assert frame_text(RunFrame(1, Role.CONTROL, Reading())) == "run 1 | control"


def test_on_a_terminal_one_line_is_redrawn_and_never_wraps() -> None:
    stream, clock = Terminal(), Clock()
    painter = LivePainter(stream, clock=clock, width=lambda: 40)
    painter.paint("a" * 100)
    clock.now += 0.05
    painter.paint("too soon")
    clock.now += 0.1
    painter.paint("b")
    painter.say("this stays")
    assert stream.getvalue() == "\r\x1b[K" + "a" * 39 + "\r\x1b[Kb" + "\r\x1b[K" + "this stays\n"


def test_without_a_terminal_there_is_a_plain_line_every_half_minute() -> None:
    stream, clock = io.StringIO(), Clock()
    painter = LivePainter(stream, clock=clock)
    for second in range(70):
        clock.now = float(second)
        painter.paint(f"at {second}")
    assert stream.getvalue().splitlines() == ["at 0", "at 30", "at 60"]


def test_quiet_draws_nothing_but_says_what_stays() -> None:
    stream = Terminal()
    painter = LivePainter(stream, quiet=True)
    painter.paint("frame", force=True)
    painter.clear()
    painter.say("said")
    assert stream.getvalue() == "said\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.6, "1:00 min"), (3661, "1:01 h"), (-5, "0 s")]
)
def test_times_are_for_people(seconds: float, text: str) -> None:
    assert span(seconds) == text
