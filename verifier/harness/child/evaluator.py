# mypy: ignore-errors
"""Turns token rows into logits with one imported graph. Knows no targets, no source, no data.

Messages: READY, then LOAD comes, PRIMITIVES goes, then for each TOKENS one LOGITS per row of the batch.
The graph's primitives are listed before anything of it is evaluated. What cannot be done is told as FAILED.
"""

import io
import json
import os
import re
import struct
import sys
import tempfile

import harness_wire as wire
import mlx.core as mx
import numpy as np

FLOATS = (mx.float32, mx.float16, mx.bfloat16)


def load(graph, rows, length):
    """The imported function and the names of its primitives, found without evaluating it."""
    handle, path = tempfile.mkstemp(suffix=".mlxfn")
    with os.fdopen(handle, "wb") as stream:
        stream.write(graph)
    function = mx.import_function(path)
    outputs = function(mx.zeros((rows, length), dtype=mx.int32))
    if len(outputs) != 1:
        raise ValueError(f"the graph has {len(outputs)} outputs, not one")
    listing = io.StringIO()
    mx.export_to_dot(listing, *outputs)
    return function, sorted(set(re.findall(r'\[label ="([^"]*)", shape=rectangle\]', listing.getvalue())))


def logits_of(function, tokens):
    logits = function(mx.array(tokens))[0]
    if logits.dtype not in FLOATS:
        raise ValueError(f"logits have type {logits.dtype}, not a floating-point type")
    if logits.ndim != 3 or logits.shape[:2] != tokens.shape:
        raise ValueError(f"logits have shape {logits.shape} for tokens of shape {tokens.shape}")
    return np.ascontiguousarray(np.asarray(logits.astype(mx.float32)))


def serve(channel, rows, length, graph_limit):
    _, graph = wire.receive(channel, graph_limit)
    function, names = load(graph, rows, length)
    wire.send(channel, wire.PRIMITIVES, json.dumps(names).encode())
    while True:
        try:
            _, payload = wire.receive(channel)
        except ConnectionError:
            return
        tokens = np.frombuffer(payload, dtype="<i4").astype(np.int32).reshape(rows, length)
        logits = logits_of(function, tokens)
        for row in logits:
            wire.send(channel, wire.LOGITS, struct.pack("<I", row.shape[-1]) + row.tobytes())


def main():
    rows, length, graph_limit = (int(text) for text in sys.argv[1:4])
    channel = wire.connect()
    mx.eval(mx.zeros((1,)) + 1)
    wire.send(channel, wire.READY)
    try:
        serve(channel, rows, length, graph_limit)
    except (ValueError, RuntimeError, TypeError, KeyError, IndexError, MemoryError, OSError) as problem:
        text = f"{type(problem).__name__}: {problem}"
        wire.send(channel, wire.FAILED, text.encode("utf-8", "replace")[:4096])


main()
