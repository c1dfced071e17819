"""Shared memory, and the threads that read it: the same figures as plain code, each logit copied once."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.errors import ChannelError, LogitsNotFinite, ModelUnsupported
from verifier.harness.evaluation import Task, _Passage
from verifier.harness.evaluator import GRAPH_ROWS, Answer
from verifier.harness.probes import movement
from verifier.harness.scoring import (
    BLOCK_LOGITS,
    Floats,
    Rows,
    block_positions,
    log_normalisers,
    row_score,
    token_losses,
)
from verifier.harness.slate import Slate
from verifier.harness.workers import Workers

pytestmark = pytest.mark.unit


class Table:
    """Logits that count how often each position was copied."""

    def __init__(self, logits: Floats) -> None:
        self.outputs = int(logits.shape[-1])
        self._logits = logits.reshape(-1, self.outputs)
        self.copied = np.zeros(len(self._logits), dtype=np.int64)
        self._lock = threading.Lock()

    def read(self, position: int, into: Floats) -> None:
        with self._lock:
            self.copied[position : position + len(into)] += 1
        into[:] = self._logits[position : position + len(into)]


def some_logits(rows: int, length: int, outputs: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 4, (rows, length, outputs)).astype(np.float32)


def some_targets(rows: int, length: int, outputs: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, outputs, (rows, length)).astype(np.int32)


def by_the_book(logits: Floats, targets: np.ndarray) -> np.ndarray:
    """ln Σ exp − chosen, both above the largest logit, all in float64 at once."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(wide, targets[..., None], -1)[..., 0]
    return np.log(np.exp(wide).sum(axis=-1)) - chosen


few = settings(deadline=None, max_examples=25)


@few
@given(
    rows=st.integers(1, 4),
    length=st.integers(1, 40),
    outputs=st.sampled_from([2, 3, 100, BLOCK_LOGITS // 7, BLOCK_LOGITS + 1]),
    threads=st.integers(1, 5),
)
def test_losses_are_those_of_the_formula_to_the_last_bit_whatever_the_threads_and_blocks(
    rows: int, length: int, outputs: int, threads: int
) -> None:
    length = min(length, max(1, (1 << 20) // outputs))
    logits, targets = some_logits(rows, length, outputs), some_targets(rows, length, outputs)
    with Workers(threads) as workers:
        losses, kept = workers.score(Table(logits), targets, [])
    assert kept == []
    assert np.array_equal(losses, by_the_book(logits, targets))


@few
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 63)), max_size=6), st.integers(1, 4))
def test_every_logit_is_copied_once_and_what_is_kept_is_what_was_scored(
    keep: list[tuple[int, int]], threads: int
) -> None:
    """An evaluator could change its answer between two looks: there is no second look."""
    logits = some_logits(4, 64, 3000)
    source = Table(logits)
    with Workers(threads) as workers:
        _, kept = workers.score(source, some_targets(4, 64, 3000), keep)
    assert (source.copied == 1).all()
    for (row, position), own in zip(keep, kept, strict=True):
        assert np.array_equal(own, logits[row, :position])


@few
@given(st.data())
def test_movements_are_those_of_whole_rows(data: st.DataObject) -> None:
    logits = some_logits(3, 50, 6000)
    altered = logits.copy()
    positions = [data.draw(st.integers(1, 49)) for _ in range(3)]
    for _ in range(data.draw(st.integers(0, 3))):
        row, place = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 49))
        altered[row, place, data.draw(st.integers(0, 5999))] += np.float32(0.5)
    with Workers(3) as workers:
        moved = workers.compare(Table(altered), 50, [logits[row, :end] for row, end in enumerate(positions)])
    whole = [movement(logits[row], altered[row], end) for row, end in enumerate(positions)]
    assert moved == whole
    for row, end in enumerate(positions):
        assert (moved[row] > 0) == (not np.array_equal(logits[row, :end], altered[row, :end]))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0), (3, 63, 2999), (1, 17, 5)])
def test_one_logit_anywhere_that_is_no_number_is_enough_to_refuse(
    number: float, place: tuple[int, int, int]
) -> None:
    logits = some_logits(4, 64, 3000)
    logits[place] = number
    with Workers(2) as workers, pytest.raises(LogitsNotFinite):
        workers.score(Table(logits), some_targets(4, 64, 3000), [])


def test_a_position_has_the_same_figures_wherever_its_block_begins() -> None:
    logits = some_logits(1, 90, 5003)[0]
    whole = log_normalisers(logits)
    assert block_positions(5003) < 90
    for start in (1, 7, 52, 89):
        assert np.array_equal(log_normalisers(logits[start:]), whole[start:])
    targets = some_targets(1, 90, 5003)[0]
    assert np.array_equal(token_losses(logits, targets)[40:], token_losses(logits[40:], targets[40:]))


# ----- the whole passage, with evaluators in memory


class Room:
    """An evaluator in numpy: a causal model, or one that sees the next token."""

    def __init__(self, outputs: int, room: int, *, looks_ahead: bool) -> None:
        self.outputs, self.room, self.looks_ahead = outputs, room, looks_ahead
        self.under_way: list[Table] = []
        self.batches = self.read = 0

    def submit(self, tokens: np.ndarray) -> None:
        assert tokens.shape[0] == GRAPH_ROWS
        assert self.batches - self.read < self.room
        seen = np.roll(tokens, -1, axis=1) if self.looks_ahead else tokens
        table = np.random.default_rng(9).normal(0, 1, (self.outputs, self.outputs)).astype(np.float32)
        self.under_way.append(Table(table[seen]))
        self.batches += 1

    def answer(self) -> Table:
        return self.under_way.pop(0)

    def release(self) -> None:
        self.read += 1


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(16, 40),
    probes=st.integers(0, 400),
    rooms=st.tuples(st.sampled_from([2, 4, 8]), st.sampled_from([2, 4])),
    looks_ahead=st.booleans(),
)
def test_every_row_is_scored_every_probe_compared_and_little_is_kept_meanwhile(
    rows: int, probes: int, rooms: tuple[int, int], looks_ahead: bool
) -> None:
    generator = np.random.default_rng(rows)
    tokens = generator.integers(0, 7, (2 * rows, 13)).astype(np.int32)
    halves = [Rows(part[:, :-1], part[:, 1:].copy()) for part in (tokens[:rows], tokens[rows:])]
    task = Task(*halves, tuple(range(rows)), np.arange(7, dtype=np.int32), b"seed", probes)
    first, second = (Room(7, room, looks_ahead=looks_ahead) for room in rooms)
    most = 0
    with Workers(2) as workers:
        passage = _Passage(task, first, second, workers)
        real = passage._probe

        def watched(least: int) -> None:
            nonlocal most
            real(least)
            most = max(most, len(passage._pool) + sum(map(len, passage._under_way)))

        passage._probe = watched
        passage.run()
    scores, audit = passage.scores(), passage.audit()
    assert audit.figures["probes"] == str(probes)
    # Where it looks ahead nearly every probe shows it: the token before the position sees another follower.
    assert int(audit.figures["violations"]) == (probes if looks_ahead else 0)
    for half, found in zip(halves, (scores.validation, scores.fresh), strict=True):
        model = Room(7, 99, looks_ahead=looks_ahead)
        model.submit(np.resize(half.inputs, (GRAPH_ROWS, 12)))
        logits = model.under_way[0]._logits.reshape(GRAPH_ROWS, 12, 7)
        for row in range(GRAPH_ROWS):
            assert row_score(logits[row], half.targets[row], task.table) == (
                found.nats[row],
                found.sizes[row],
            )
    per_batch = GRAPH_ROWS * -(-probes // (2 * rows))
    assert most <= 16 + 2 * GRAPH_ROWS + per_batch + GRAPH_ROWS * rooms[1]


# ----- shared memory


@pytest.fixture
def slate() -> Iterator[Slate]:
    made = Slate()
    yield made
    made.close()


def test_what_the_other_side_writes_is_read_from_any_place(slate: Slate) -> None:
    slate.resize(4 * 1000)
    memory = mmap.mmap(slate.fileno(), 4 * 1000)
    np.frombuffer(memory, dtype="<f4")[:] = np.arange(1000)
    into = np.empty((3, 5), dtype=np.float32)
    Answer(slate, 4 * 100, 5).read(4, into)
    assert into.reshape(-1).tolist() == list(range(120, 135))


def test_reading_beyond_the_end_is_an_answer_that_is_gone(slate: Slate) -> None:
    slate.resize(4000)
    slate.read(3996, np.empty(1, dtype=np.float32))
    with pytest.raises(ChannelError):
        slate.read(3996, np.empty(2, dtype=np.float32))
    with pytest.raises(ModelUnsupported):
        Answer(slate, 0, 10).read(100, np.empty((1, 10), dtype=np.float32))


def test_a_slate_has_one_size(slate: Slate) -> None:
    slate.resize(4096)
    with pytest.raises(RuntimeError):
        slate.resize(8192)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the kernel seals memory on Linux only")
@pytest.mark.parametrize("size", [0, 4095, 1 << 30])
def test_the_other_side_cannot_change_its_size(slate: Slate, size: int) -> None:
    slate.resize(4096)
    theirs = os.dup(slate.fileno())
    with pytest.raises(PermissionError):
        os.ftruncate(theirs, size)
    os.close(theirs)
    assert os.fstat(slate.fileno()).st_size == 4096
