"""The bare side of ``scripts/bench/evaluation``: a model, its graph, the benchmark's own evaluation of it.

Started once; for each line on its standard input it runs the benchmark's own ``evaluate_bpb`` on the given
rows and prints seconds, CPU seconds and value. Only rows and byte table replace its files.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
import time
import types
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.join = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        batch, length, width = x.shape
        parts = self.project(normed(x)).reshape(batch, length, 3, self.heads, -1).transpose(2, 0, 3, 1, 4)
        scale = (width // self.heads) ** -0.5
        seen = mx.fast.scaled_dot_product_attention(*parts, scale=scale, mask="causal")
        x = x + self.join(seen.transpose(0, 2, 1, 3).reshape(batch, length, width))
        return x + self.down(mx.maximum(self.up(normed(x)), 0) ** 2)


def normed(x: mx.array) -> mx.array:
    return x * mx.rsqrt(mx.mean(x * x, axis=-1, keepdims=True) + 1e-5)


class Model(nn.Module):
    """A transformer of the benchmark's form, with its soft cap on the logits."""

    def __init__(self, vocabulary: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.blocks = [Block(width, heads) for _ in range(depth)]
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.set_dtype(mx.bfloat16 if width >= 256 else mx.float32)

    def __call__(
        self, inputs: mx.array, targets: mx.array | None = None, reduction: str = "mean"
    ) -> mx.array:
        x = self.tokens(inputs)
        for block in self.blocks:
            x = block(x)
        logits = 15.0 * mx.tanh(self.head(normed(x)).astype(mx.float32) / 15.0)
        if targets is None:
            return logits
        return nn.losses.cross_entropy(logits, targets, reduction=reduction)


def benchmark(path: Path, rows: np.ndarray, table: np.ndarray) -> types.ModuleType:
    """``prepare.py`` with these rows in place of its files. What it imports for other uses may be missing."""
    for name in ("requests", "rustbpe", "tiktoken"):
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            sys.modules[name] = types.ModuleType(name)
    spec = importlib.util.spec_from_file_location("prepare", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python file")
    prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prepare)

    def make_dataloader(tokenizer: object, batch: int, length: int, split: str) -> object:
        for start in itertools.count(0, batch):
            pieces = np.take(rows, range(start, start + batch), axis=0, mode="wrap")
            yield mx.array(pieces[:, :-1]), mx.array(pieces[:, 1:]), 1

    prepare.MAX_SEQ_LEN, prepare.EVAL_TOKENS = rows.shape[1] - 1, rows.shape[0] * (rows.shape[1] - 1)
    prepare.make_dataloader, prepare.get_token_bytes = make_dataloader, lambda: mx.array(table)
    return prepare


def main() -> None:
    folder, prepare_path = Path(sys.argv[1]), Path(sys.argv[2])
    width, depth, heads, batch, export_rows = (int(text) for text in sys.argv[3:8])
    rows, table = np.load(folder / "rows.npy"), np.load(folder / "table.npy")
    mx.random.seed(7)
    model = Model(table.size, width, depth, heads)
    mx.eval(model.parameters())
    example = mx.zeros((export_rows, rows.shape[1] - 1), dtype=mx.int32)
    mx.export_function(str(folder / "model.mlxfn"), lambda tokens: model(tokens), example)
    warm = benchmark(prepare_path, rows[: min(batch, len(rows))], table)
    warm.evaluate_bpb(model, None, min(batch, len(rows)))
    prepare = benchmark(prepare_path, rows, table)
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.monotonic(), time.process_time()
        value = prepare.evaluate_bpb(model, None, batch)
        print(time.monotonic() - wall, time.process_time() - cpu, value, flush=True)


main()
