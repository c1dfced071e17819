"""Bare runs: the benchmark measures what it should. The corpus is run bare by its own tests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from armlx_chain.devnet.benchmark import candidates
from armlx_chain.devnet.benchmark.project import snapshot_files
from tests.benchmark.bare import FULL, QUICK, Profile, bare_run

pytestmark = pytest.mark.integration

WORTH: Final = 0.10
"""By how much an improvement must beat the baseline to be a clear one, in bits per byte."""


def test_the_baseline_trains_and_the_better_recipe_is_clearly_better(
    data_folder: Path, tmp_path: Path
) -> None:
    baseline = snapshot_files()["train.py"]
    programs = (
        (baseline, Profile(0.001, FULL.eval_tokens)),
        (baseline, FULL),
        (candidates.better_train(), FULL),
    )
    runs = [bare_run(train, data_folder, tmp_path, profile=profile) for train, profile in programs]
    untrained, trained, better = [run.score for run in runs if run.score is not None]
    assert trained < untrained - 1
    assert better < trained - WORTH


def test_files_beside_the_program_lie_where_their_paths_say(data_folder: Path, tmp_path: Path) -> None:
    source = b"import inner.other\nprint(f'val_bpb:          {inner.other.VALUE}')\n"
    added = {"inner/other.py": b"VALUE = 1.5\n"}
    run = bare_run(source, data_folder, tmp_path, profile=QUICK, added=added)
    assert run.score == 1.5
    assert run.exit_code == 0
