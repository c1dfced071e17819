# mypy: ignore-errors
"""Stands in for ``evaluate_bpb`` inside the sandboxed copy of the benchmark's ``prepare.py``.

The last line of that copy calls ``install(globals())``. A call hands the model to the verifier as an
exported graph, tokens to logits, and returns what the verifier answers: the trusted value, or, while the
training budget has not yet passed on the verifier's clock, the word that this call is monitoring only. Then
a rough score on the decoy that lies in place of the validation data is computed here.
"""

import os
import tempfile
from pathlib import Path

import harness_wire as wire
import mlx.core as mx

GRAPH_ROWS = 8
"""Rows of the fixed batch every model is exported for."""
ROUGH_BATCHES = 4
"""Batches of decoy rows behind a monitoring score."""


class _Evaluation:
    def __init__(self, benchmark):
        self.length = benchmark["MAX_SEQ_LEN"]
        self.make_dataloader = benchmark["make_dataloader"]
        self.get_token_bytes = benchmark["get_token_bytes"]
        self.channel = None
        self.value = None

    def __call__(self, model, tokenizer, batch_size):
        if self.value is not None:
            return self.value
        if self.channel is None:
            self.channel = wire.connect()
        try:
            graph = self._export(model)
        except Exception as problem:  # told to the verifier, whatever it is, and raised again
            text = f"{type(problem).__name__}: {problem}"
            wire.send(self.channel, wire.UNSUPPORTED, text.encode("utf-8", "replace")[:4096])
            raise
        wire.send(self.channel, wire.GRAPH, graph)
        kind, payload = wire.receive(self.channel)
        if kind == wire.VALUE:
            self.value = float(payload.decode("ascii"))
            return self.value
        return self._rough_score(model, tokenizer, batch_size)

    def _export(self, model):
        tokens = mx.zeros((GRAPH_ROWS, self.length), dtype=mx.int32)
        # Once eagerly, so that what the model caches in Python is real arrays and not tracers.
        logits = model(tokens)
        if not isinstance(logits, mx.array):
            raise TypeError("model(tokens) must return one array of logits")
        mx.eval(logits)
        _Export.running = True
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.mlxfn"
                mx.export_function(str(path), lambda x: model(x), tokens)
                size, limit = path.stat().st_size, int(os.environ[wire.GRAPH_LIMIT_VARIABLE])
                if size > limit:
                    raise ValueError(f"the exported model has {size} bytes, the limit is {limit}")
                return path.read_bytes()
        finally:
            _Export.running = False

    def _rough_score(self, model, tokenizer, batch_size):
        table = self.get_token_bytes()
        loader = self.make_dataloader(tokenizer, batch_size, self.length, "val")
        nats, count = 0.0, 0
        for _ in range(ROUGH_BATCHES):
            x, y, *_ = next(loader)
            logits = model(x).astype(mx.float32)
            losses = mx.logsumexp(logits, axis=-1) - mx.take_along_axis(logits, y[..., None], axis=-1)[..., 0]
            sizes = mx.take(table, y.reshape(-1), axis=0)
            nats += mx.sum(losses.reshape(-1) * (sizes > 0)).item()
            count += int(mx.sum(sizes).item())
        return nats / (count * 0.6931471805599453) if count else float("inf")


class _Export:
    """Whether an export is being traced right now."""

    running = False


def _transparent_checkpoint(real):
    """``mx.checkpoint`` that is invisible while exporting: MLX cannot serialise its primitive."""

    def checkpoint(function):
        kept = real(function)

        def call(*args, **kwargs):
            return (function if _Export.running else kept)(*args, **kwargs)

        return call

    return checkpoint


def install(benchmark):
    """Put the stand-in in the place of ``evaluate_bpb`` among the benchmark's globals."""
    mx.checkpoint = _transparent_checkpoint(mx.checkpoint)
    evaluation = _Evaluation(benchmark)

    def evaluate_bpb(model, tokenizer, batch_size):
        return evaluation(model, tokenizer, batch_size)

    evaluate_bpb.__doc__ = "Bits per byte of the model, measured by the verifier."
    benchmark["evaluate_bpb"] = evaluate_bpb
