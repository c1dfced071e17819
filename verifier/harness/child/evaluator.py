# mypy: ignore-errors
"""Turns token rows into logits with one imported graph. Knows no targets, no source, no data.

Messages: READY, then LOAD comes, PRIMITIVES goes, then for each TOKENS a LOGITS, in order. The logits
themselves are written into the memory that the verifier shares with this process: a batch into the first
part, the next into the second, and so on in turn. The verifier has read a part before it asks for the batch
that is to be written there.

The graph's primitives are listed before anything of it is evaluated. What cannot be done is told as FAILED.
"""

import io
import json
import mmap
import os
import re
import select
import struct
import sys
import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import harness_wire as wire
import mlx.core as mx
import numpy as np

FLOATS = (mx.float32, mx.float16, mx.bfloat16)
COPYING_THREADS = 4
THREADS_FROM = 32 << 20
"""Smaller batches are copied by one thread: starting others would cost more."""


def load(graph, rows, length):
    """The imported function, the names of its primitives, its number of outputs: without evaluating it."""
    handle, path = tempfile.mkstemp(suffix=".mlxfn")
    with os.fdopen(handle, "wb") as stream:
        stream.write(graph)
    function = mx.import_function(path)
    results = function(mx.zeros((rows, length), dtype=mx.int32))
    if len(results) != 1:
        raise ValueError(f"the graph has {len(results)} outputs, not one")
    listing = io.StringIO()
    mx.export_to_dot(listing, *results)
    names = sorted(set(re.findall(r'\[label ="([^"]*)", shape=rectangle\]', listing.getvalue())))
    check(results[0], (rows, length))
    return function, names, results[0].shape[-1]


def check(logits, shape):
    if logits.dtype not in FLOATS:
        raise ValueError(f"logits have type {logits.dtype}, not a floating-point type")
    if logits.ndim != 3 or logits.shape[:2] != shape:
        raise ValueError(f"logits have shape {logits.shape} for tokens of shape {shape}")


class Answers:
    """The shared memory, part by part."""

    def __init__(self, rows, length, outputs):
        self.shape = (rows, length, outputs)
        self.parts = None
        self.turn = 0
        self.pool = ThreadPoolExecutor(COPYING_THREADS)

    def write(self, logits):
        if self.parts is None:
            descriptor = int(os.environ[wire.LOGITS_VARIABLE])
            memory = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
            self.parts = np.frombuffer(memory, dtype="<f4").reshape(-1, *self.shape)
        check(logits, self.shape[:2])
        source = np.asarray(logits)
        part = self.parts[self.turn % len(self.parts)]
        if part.nbytes < THREADS_FROM:
            np.copyto(part, source)
        else:
            list(self.pool.map(np.copyto, part, source))
        self.turn += 1


def launch(function, payload, rows, length):
    tokens = np.frombuffer(payload, dtype="<i4").astype(np.int32).reshape(rows, length)
    logits = function(mx.array(tokens))[0].astype(mx.float32)
    mx.async_eval(logits)
    return logits


def waits(channel):
    return bool(select.select([channel], [], [], 0)[0])


def serve(channel, rows, length, graph_limit):
    _, graph = wire.receive(channel, graph_limit)
    function, names, outputs = load(graph, rows, length)
    del graph
    wire.send(channel, wire.PRIMITIVES, json.dumps({"names": names, "outputs": outputs}).encode())
    answers, under_way = Answers(rows, length, outputs), deque()
    while True:
        # While a batch is copied the next one is computed.
        while not under_way or (len(under_way) < 2 and waits(channel)):
            try:
                _, payload = wire.receive(channel)
            except ConnectionError:
                return
            under_way.append(launch(function, payload, rows, length))
        answers.write(under_way.popleft())
        wire.send(channel, wire.LOGITS, struct.pack("<I", outputs))


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
