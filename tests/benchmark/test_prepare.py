"""The fixed side: loader, metric and the program ``python prepare.py``."""

from __future__ import annotations

import importlib.util
import itertools
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import pytest

from armlx_chain.devnet.benchmark.project import constants, snapshot_files

pytestmark = pytest.mark.integration

FILES = Path(__file__).parents[2] / "armlx_chain/devnet/benchmark/files"


@pytest.fixture(scope="module")
def home(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / ".cache").mkdir()
    (home / ".cache/autoresearch").symlink_to(data_folder)
    return home


@pytest.fixture(scope="module")
def prepare(home: Path) -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        spec = importlib.util.spec_from_file_location("small_prepare", FILES / "prepare.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def uniform(calls: list[int]) -> Any:
    """A model that knows nothing; notes the batch sizes it was asked for."""

    def model(inputs: mx.array, targets: mx.array, reduction: Literal["none", "mean", "sum"]) -> mx.array:
        calls.append(inputs.shape[0])
        return nn.losses.cross_entropy(mx.zeros((*inputs.shape, 512)), targets, reduction=reduction)

    return model


def rows(prepare: ModuleType, split: str, batch_size: int, count: int) -> list[list[int]]:
    loader = prepare.make_dataloader(prepare.Tokenizer.from_directory(), batch_size, 64, split)
    batches = itertools.islice(loader, math.ceil(count / batch_size))
    found = [
        [*row_in, row_out[-1]]
        for x, y, _ in batches
        for row_in, row_out in zip(x.tolist(), y.tolist(), strict=True)
    ]
    return found[:count]


def test_rows_do_not_depend_on_the_batch_size(prepare: ModuleType) -> None:
    assert rows(prepare, "val", 1, 40) == rows(prepare, "val", 7, 40) == rows(prepare, "val", 40, 40)


def test_every_row_is_full_and_starts_with_the_bos_token(prepare: ModuleType) -> None:
    bos = prepare.Tokenizer.from_directory().get_bos_token_id()
    for row in rows(prepare, "train", 8, 64):
        assert len(row) == 65
        assert row[0] == bos


def test_targets_are_the_inputs_one_position_on(prepare: ModuleType) -> None:
    loader = prepare.make_dataloader(prepare.Tokenizer.from_directory(), 3, 64, "train")
    x, y, epoch = next(loader)
    assert x.shape == y.shape == (3, 64)
    assert x[:, 1:].tolist() == y[:, :-1].tolist()
    assert epoch == 1


def test_epochs_count_the_passes_over_the_training_shards(prepare: ModuleType) -> None:
    loader = prepare.make_dataloader(prepare.Tokenizer.from_directory(), 512, 64, "train")
    epochs = [epoch for _, _, epoch in itertools.islice(loader, 12)]
    assert epochs[0] == 1
    assert epochs == sorted(epochs)
    assert epochs[-1] > 1


def test_a_split_of_another_name_is_refused(prepare: ModuleType) -> None:
    with pytest.raises(ValueError, match="split"):
        next(prepare.make_dataloader(prepare.Tokenizer.from_directory(), 1, 64, "test"))


def test_a_model_that_knows_nothing_pays_nine_bits_a_token_that_stands_for_text(prepare: ModuleType) -> None:
    count = constants()["EVAL_TOKENS"] // constants()["MAX_SEQ_LEN"]
    targets = [token for row in rows(prepare, "val", 64, count) for token in row[1:]]
    sizes = prepare.get_token_bytes().tolist()
    text_tokens = sum(sizes[token] > 0 for token in targets)
    text_bytes = sum(sizes[token] for token in targets)
    bpb = prepare.evaluate_bpb(uniform([]), prepare.Tokenizer.from_directory(), 64)
    assert bpb == pytest.approx(9 * text_tokens / text_bytes, rel=1e-5)


def test_the_number_of_scored_rows_does_not_depend_on_the_batch_size(prepare: ModuleType) -> None:
    tokenizer = prepare.Tokenizer.from_directory()
    scores = []
    for batch_size in (64, 300, 1000):
        calls: list[int] = []
        scores.append(prepare.evaluate_bpb(uniform(calls), tokenizer, batch_size))
        assert sum(calls) == 512, batch_size
    assert scores[1:] == pytest.approx([scores[0]] * 2, rel=1e-9)


def test_the_budget_clock_counts_work_and_not_waiting(prepare: ModuleType) -> None:
    import time

    before = prepare.budget_clock()
    time.sleep(0.3)
    assert prepare.budget_clock() - before < 0.2
    before = prepare.budget_clock()
    while time.process_time() - before < 0.05:
        pass
    assert prepare.budget_clock() - before >= 0.05


def test_the_constants_can_be_read_without_running_the_file(prepare: ModuleType) -> None:
    for name in ("MAX_SEQ_LEN", "TIME_BUDGET", "BUDGET_CLOCK", "EVAL_TOKENS", "VOCAB_SIZE", "VAL_FILENAME"):
        assert constants()[name] == getattr(prepare, name)


def run_prepare(home: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "prepare.py").write_bytes(snapshot_files()["prepare.py"])
    return subprocess.run(
        [sys.executable, "prepare.py"],
        cwd=folder,
        env={"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_program_reports_a_complete_cache(home: Path, tmp_path: Path) -> None:
    result = run_prepare(home, tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Ready to train." in result.stdout
    assert result.stdout.count("training") == 4


def test_the_program_names_what_is_missing_and_fails(tmp_path: Path) -> None:
    result = run_prepare(tmp_path, tmp_path)
    assert result.returncode == 1
    assert result.stdout.count("missing:") == 7
