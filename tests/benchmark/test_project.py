"""The snapshot and its protocol document."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from armlx_chain.devnet.benchmark.project import FILES, constants, protocol_document, snapshot_files
from armlx_chain.protocol.metric import extract_metric, metric_rule
from armlx_chain.protocol.parse import parse_protocol

pytestmark = pytest.mark.unit


def test_the_protocol_document_is_valid_and_lets_only_train_py_change() -> None:
    protocol = parse_protocol(
        protocol_document(baseline_notes="measured here", created_at="2026-11-22T06:00:00Z")
    )
    assert list(protocol.mutable_surface.allowed_globs) == ["train.py"]
    assert {"train.py", *protocol.mutable_surface.forbidden_globs} == set(FILES)
    assert protocol.execution.stop_condition.training_seconds_budget == constants()["TIME_BUDGET"]


def test_the_protocols_own_rule_reads_the_summary_that_train_py_prints() -> None:
    protocol = parse_protocol(protocol_document(baseline_notes="", created_at="2026-11-22T06:00:00Z"))
    log = b"step 1\rstep 2\n---\nval_bpb:          0.881234\ntraining_seconds: 3.0\n"
    assert extract_metric(log, metric_rule(protocol.measurement.primary_metric)).text == "0.881234"


def test_the_snapshot_holds_every_file_of_its_folder_and_nothing_else() -> None:
    folder = Path(__file__).parents[2] / "armlx_chain/devnet/benchmark/files"
    on_disk = {path.name for path in folder.iterdir() if path.name != "__pycache__"}
    assert set(snapshot_files()) == on_disk == set(FILES)


def test_train_py_takes_from_prepare_py_only_what_is_there() -> None:
    files = snapshot_files()
    imported = {
        name.name
        for node in ast.walk(ast.parse(files["train.py"]))
        if isinstance(node, ast.ImportFrom) and node.module == "prepare"
        for name in node.names
    }
    tree = ast.parse(files["prepare.py"])
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert "evaluate_bpb" in imported
    assert imported <= defined | set(constants())


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import sys, armlx_chain.devnet.benchmark.data, armlx_chain.devnet.benchmark.candidates\n"
        "print(sorted({'mlx', 'pyarrow', 'numpy', 'tiktoken', 'web3'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
