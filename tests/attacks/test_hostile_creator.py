"""Projects made to stop, to fill or to mislead whoever judges them: the creator is a stranger too."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import pytest

from armlx_chain.errors import VerifierFault
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestEntry, ManifestRole
from armlx_chain.storage.interface import VerifiedBytes
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root
from verifier import materials
from verifier.harness.constants import Constants, read_constants
from verifier.harness.gap import GapScores, fresh_gap_audit
from verifier.harness.rowsource import Kind, _checked
from verifier.harness.scoring import RowScores

pytestmark = pytest.mark.unit

SOUND = "MAX_SEQ_LEN = 64\nTIME_BUDGET = 3\nEVAL_TOKENS = 4096\n"


@pytest.mark.parametrize(
    "more",
    [
        "MAX_SEQ_LEN = 0x" + "f" * 8_000,
        "EVAL_TOKENS = 2**40\nMAX_SEQ_LEN = 2**20",
        "TIME_BUDGET = 65536.0 ** 64",
        "TIME_BUDGET = 1e999",
        "TIME_BUDGET = 24 * 3600",
        "TIME_BUDGET = 1e999 * 0",
        "TIME_BUDGET = 65536 ** 64 * 1.0",
        "TIME_BUDGET = later()",
        "BUDGET_CLOCK = '\x1b[2J" + "x" * 50_000 + "'",
    ],
    ids=lambda text: text[:24],
)
def test_odd_constants_judge_nobody_and_stop_nothing(more: str) -> None:
    with pytest.raises(VerifierFault) as refused:
        read_constants((SOUND + more).encode())
    assert len(refused.value.message) < 500
    assert "\x1b" not in refused.value.message


@pytest.mark.parametrize(
    "deep",
    [
        "X = " + "+".join(["1"] * 20_000),
        "X = " + "-" * 20_000 + "1",
        "x = a" + ".b" * 30_000,
        "X = " + "(" * 9_000,
    ],
    ids=lambda text: text[:12],
)
def test_deep_expressions_are_read_or_refused_and_stop_nothing(deep: str) -> None:
    """Which of the two depends on the interpreter's recursion limit."""
    with contextlib.suppress(VerifierFault):
        assert read_constants((SOUND + deep).encode()).rows == 64


def test_constants_that_grow_without_end_take_no_time_and_no_memory() -> None:
    growing = SOUND + "A = 65536 ** 64\n" + "A = A * A\n" * 60
    started = time.process_time()
    assert read_constants(growing.encode()).rows == 64
    assert time.process_time() - started < 1


def test_rows_too_wide_for_any_memory_are_refused_before_anything_is_evaluated() -> None:
    length, vocabulary = 1 << 12, 1 << 20
    payloads = {
        Kind.INPUTS: np.zeros((1, length), dtype="<i4").tobytes(),
        Kind.TARGETS: np.zeros((1, length), dtype="<i4").tobytes(),
        Kind.FURTHER_INPUTS: b"",
        Kind.FURTHER_TARGETS: b"",
        Kind.BYTE_TABLE: np.ones(vocabulary, dtype="<i4").tobytes(),
    }
    with pytest.raises(VerifierFault, match="more than can be evaluated"):
        _checked(payloads, Constants(length, 3.0, length, "wall"))


class OneFile:
    """A storage that serves the same bytes for every root, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def fetch(self, root: Root, *, max_bytes: int, expected_size: int | None = None) -> VerifiedBytes:
        self.asked += 1
        return VerifiedBytes(root, b"x", "here")


def ensure(manifest: BenchmarkManifest, folder: Path, storage: OneFile) -> None:
    materials._ensure_data(manifest, folder, storage, lambda _: None)


def test_a_file_name_that_no_file_system_takes_is_a_fault_of_this_project_only(tmp_path: Path) -> None:
    names = ("data/x", "data/" + "y" * 300)
    manifest = BenchmarkManifest.of(
        ManifestEntry(name, 1, root_of(b"x"), ManifestRole.TRAIN) for name in names
    )
    for _ in range(2):
        with pytest.raises(VerifierFault, match="cannot be written"):
            ensure(manifest, tmp_path / "data-home", OneFile())


def test_more_data_than_any_benchmark_has_is_not_even_asked_for(tmp_path: Path) -> None:
    storage = OneFile()
    manifest = BenchmarkManifest.of(
        ManifestEntry(f"data/{number:05d}", 1 << 30, root_of(b"x"), ManifestRole.TRAIN)
        for number in range(100)
    )
    with pytest.raises(VerifierFault, match="at most"):
        ensure(manifest, tmp_path / "data-home", storage)
    assert storage.asked == 0


def scores(bits_per_byte: float, *, spread: float, seed: int, rows: int = 512) -> RowScores:
    """Rows of a hundred bytes each with about so many bits per byte."""
    drawn = np.random.default_rng(seed).normal(bits_per_byte, spread, rows)
    return RowScores(drawn * 100 * np.log(2), np.full(rows, 100, dtype=np.int64))


def test_fresh_rows_that_are_far_easier_cannot_get_an_honest_miner_slashed() -> None:
    """On rows where nothing is left to gain, an honest gain of 0.3 on validation rows looks memorised."""
    rows = tuple(range(512))
    control = GapScores(scores(1.5, spread=0.1, seed=1), scores(0.05, spread=0.01, seed=2), rows)
    honest = GapScores(scores(1.2, spread=0.1, seed=3), scores(0.05, spread=0.01, seed=4), rows)
    assert not fresh_gap_audit(honest, control).passed
    assert not fresh_gap_audit(control, None, both_ways=True).passed  # so nobody is refuted beside it


def test_an_ordinary_control_passes_the_gap_audit_both_ways() -> None:
    rows = tuple(range(512))
    control = GapScores(scores(1.50, spread=0.2, seed=5), scores(1.48, spread=0.2, seed=6), rows)
    assert fresh_gap_audit(control, None, both_ways=True).passed
