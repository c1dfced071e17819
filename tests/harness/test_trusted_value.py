"""The value that counts comes from the graph, and equals what the benchmark's own formula gives."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import harness_programs as programs
import pytest
from harness_material import Run, short_snapshot

from armlx_chain.formats.manifest import ManifestEntry
from verifier.model import AuditKind, Ending, Role, RunRecord
from verifier.rerun import Benchmark

pytestmark = pytest.mark.integration

HONEST = programs.program()


def audit_of(record: RunRecord, kind: AuditKind) -> dict[str, str]:
    [found] = [audit for audit in record.audits if audit.kind is kind]
    return {**found.figures, "passed": str(found.passed)}


def replaced(source: bytes, *edits: tuple[bytes, bytes]) -> bytes:
    for old, new in edits:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


def steady_training() -> bytes:
    """The benchmark's own ``train.py`` with steps instead of seconds, so that two runs are the same run."""
    return replaced(
        short_snapshot()["train.py"],
        (b"while step < STARTUP_EXCLUDE_STEPS or training_seconds < TIME_BUDGET:", b"while step < 25:"),
        (b"progress = min(training_seconds / TIME_BUDGET, 1.0)", b"progress = step / 25"),
    )


EXACTLY = b"""
import numpy as np
from prepare import EVAL_TOKENS, get_token_bytes

sizes_of, nats, size = np.array(get_token_bytes()), 0.0, 0
loader = make_dataloader(tokenizer, 8, MAX_SEQ_LEN, "val")
for _ in range(EVAL_TOKENS // (8 * MAX_SEQ_LEN)):
    x, y, _ = next(loader)
    logits, y = np.array(model(x)).astype(np.float64), np.array(y)
    losses = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, y[..., None], -1)[..., 0]
    nats, size = nats + losses[sizes_of[y] > 0].sum(), size + sizes_of[y].sum()
print(f"exactly: {nats / (np.log(2) * size):.9f}")
"""


def bare_values(source: bytes, folder: Path, data: Path) -> tuple[Decimal, Decimal]:
    """What the program says without any of us: unmodified ``prepare.py``, the real validation shard.

    First what the benchmark's own formula prints, then the same summed in float64.
    """
    folder.mkdir()
    for name, content in {**short_snapshot(), "train.py": source + EXACTLY}.items():
        (folder / name).write_bytes(content)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "autoresearch").symlink_to(data)
    environment = {**os.environ, "HOME": str(folder), "MLX_DISABLE_COMPILE": "1"}
    command = [sys.executable, "-B", "train.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True, timeout=120)
    lines = done.stdout.decode().splitlines()
    [printed] = [line.split()[1] for line in lines if line.startswith("val_bpb:")]
    [exact] = [line.split()[1] for line in lines if line.startswith("exactly:")]
    return Decimal(printed), Decimal(exact)


def test_a_really_trained_model_gets_its_in_process_value_to_the_last_digit(
    run: Run, data: tuple[Path, tuple[ManifestEntry, ...]], tmp_path: Path
) -> None:
    printed, exact = bare_values(steady_training(), tmp_path / "bare", data[0])
    record = run({"train.py": steady_training()}, role=Role.CONTROL)
    assert record.ending is Ending.GRAPH, record.detail
    assert record.validation == exact
    # The benchmark's own formula sums 4,096 losses in float32: good for five digits after the point.
    assert abs(exact - printed) < Decimal("5e-6")
    assert record.printed_metric == f"{exact:.6f}"
    assert record.steps == 25
    assert record.anomalies == ()


def test_an_honest_model_passes_every_probe_with_no_movement_at_all(run: Run) -> None:
    record = run(HONEST)
    assert record.ending is Ending.GRAPH, record.detail
    causality = audit_of(record, AuditKind.CAUSALITY)
    assert causality["passed"] == "True"
    assert (causality["probes"], causality["violations"], causality["largest-move-nats"]) == ("96", "0", "0")
    assert audit_of(record, AuditKind.FRESH_GAP)["passed"] == "True"


def test_the_same_model_gets_the_same_scores_again(run: Run, honest: RunRecord) -> None:
    again = run(HONEST)
    assert again.graph_sha256 is not None
    assert (again.validation, again.fresh) == (honest.validation, honest.fresh)


def test_every_row_counts_whatever_batch_size_is_asked_for(
    run: Run, honest: RunRecord, benchmark: Benchmark
) -> None:
    odd = programs.program(finish=programs.FINISH.replace("tokenizer, 8", "tokenizer, 33"))
    record = run(odd)
    assert audit_of(record, AuditKind.FRESH_GAP)["validation-rows"] == str(benchmark.constants.rows) == "64"
    assert record.validation == honest.validation


def test_the_value_reaches_the_program_and_its_log(run: Run) -> None:
    record = run(HONEST)
    assert record.validation is not None
    assert record.printed_metric is not None
    assert Decimal(record.printed_metric) == round(Decimal(record.validation), 6)


def test_seconds_to_the_graph_are_counted_from_the_start_on_the_outside_clock(run: Run) -> None:
    record = run(programs.program("spend(1.2)\n"))
    assert record.clock == "cpu"
    assert record.seconds_to_graph is not None
    assert 1.2 <= record.seconds_to_graph <= record.cpu_seconds


def test_only_the_first_call_after_the_budget_counts(run: Run, honest: RunRecord) -> None:
    again = programs.program(
        finish="""
        spend()
        first = evaluate_bpb(Model(), tokenizer, 8)
        better = Model()
        better.table.weight = better.table.weight * 0.0
        print(evaluate_bpb(better, tokenizer, 8) == first)
        print(f"val_bpb:          {first:.6f}")
        """
    )
    record = run(again)
    assert record.validation == honest.validation
    assert b"True" in record.log_path.read_bytes()


def test_calls_before_the_budget_has_passed_are_monitoring_on_decoy_rows(run: Run) -> None:
    monitored = programs.program(
        finish="""
        model = Model()
        print("early", evaluate_bpb(model, tokenizer, 8))
        print("early", evaluate_bpb(model, tokenizer, 8))
        spend()
        value = evaluate_bpb(model, tokenizer, 8)
        print("final", value)
        """
    )
    record = run(monitored)
    assert record.ending is Ending.GRAPH, record.detail
    lines = record.log_path.read_text().splitlines()
    early = [float(line.split()[1]) for line in lines if line.startswith("early")]
    [final] = [float(line.split()[1]) for line in lines if line.startswith("final")]
    assert len(early) == 2
    assert early[0] == early[1] != final
    assert record.validation is not None
    assert final == float(record.validation)
    assert record.seconds_to_graph is not None
    assert record.seconds_to_graph > 0.5


def test_without_a_final_call_the_last_model_counts_and_only_the_record_knows_its_value(
    run: Run, honest: RunRecord
) -> None:
    early_only = programs.program(
        finish="""
        model, worse = Model(), Model()
        worse.table.weight = worse.table.weight * 9.0
        evaluate_bpb(worse, tokenizer, 8)
        print("monitoring", evaluate_bpb(model, tokenizer, 8))
        """
    )
    record = run(early_only)
    assert record.ending is Ending.GRAPH, record.detail
    assert record.validation is not None
    assert record.validation == honest.validation
    assert f"{record.validation:.4f}" not in record.log_path.read_text()


def test_a_model_with_a_checkpointed_block_can_be_handed_over(run: Run, honest: RunRecord) -> None:
    checkpointed = programs.with_logits("return mx.checkpoint(lambda t: self.table(t))(x)")
    record = run(checkpointed)
    assert record.ending is Ending.GRAPH, record.detail
    assert record.validation == honest.validation


def test_a_padded_vocabulary_is_normalised_as_it_stands(run: Run, honest: RunRecord) -> None:
    padded = programs.with_logits(
        "logits = super().logits(x)\nreturn mx.concatenate([logits, mx.full((*x.shape, 13), -50.0)], axis=-1)"
    )
    record = run(padded)
    assert record.ending is Ending.GRAPH, record.detail
    assert record.validation is not None
    assert honest.validation is not None
    assert abs(record.validation - honest.validation) < Decimal("1e-6")
