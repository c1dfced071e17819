# mypy: ignore-errors
"""Runs the benchmark's own, unmodified ``prepare.py`` and reports the rows it evaluates.

A recording stand-in for the model goes through the benchmark's own ``evaluate_bpb`` with one row a batch,
so that inputs and targets are exactly those of the benchmark. The losses it hands back are known numbers:
the value ``evaluate_bpb`` makes of them lets the verifier check its own formula. Rows that the benchmark
never scores follow from its own loader, as long as no document is seen twice.
"""

import struct
import sys

sys.path.insert(0, "/armlx/workspace")

import harness_wire as wire
import mlx.core as mx
import numpy as np
import prepare


class Recorder:
    """Keeps what it is asked about and answers with losses that depend on the target only."""

    def __init__(self):
        self.inputs = []
        self.targets = []

    def __call__(self, inputs, targets, reduction="mean"):
        if reduction != "none":
            raise ValueError("evaluate_bpb is expected to ask for losses without reduction")
        self.inputs.append(np.array(inputs, dtype=np.int32))
        self.targets.append(np.array(targets, dtype=np.int32))
        # Eighths between 1 and 2: exact in every floating-point type, and so is any sum of a row.
        return 1.0 + (targets % 8).astype(mx.float32) / 8.0


def further_rows(tokenizer, skip, wanted):
    """Rows after the first ``skip`` ones, while the loader is in its first pass over the documents."""
    loader = prepare.make_dataloader(tokenizer, 1, prepare.MAX_SEQ_LEN, "val")
    inputs, targets = [], []
    for index in range(skip + wanted):
        x, y, epoch = next(loader)
        if epoch != 1:
            break
        if index >= skip:
            inputs.append(np.array(x, dtype=np.int32))
            targets.append(np.array(y, dtype=np.int32))
    return inputs, targets


def send_rows(channel, kind, rows):
    data = np.concatenate(rows, axis=0).astype("<i4") if rows else np.zeros((0, 0), dtype="<i4")
    wire.send(channel, kind, data.tobytes())


def main():
    wanted = int(sys.argv[1])
    channel = wire.connect()
    tokenizer = prepare.Tokenizer.from_directory()
    recorder = Recorder()
    value = prepare.evaluate_bpb(recorder, tokenizer, 1)
    further_inputs, further_targets = further_rows(tokenizer, len(recorder.inputs), wanted)
    table = np.asarray(prepare.get_token_bytes()).astype("<i4")
    wire.send(channel, wire.READY)
    send_rows(channel, wire.INPUTS, recorder.inputs)
    send_rows(channel, wire.TARGETS, recorder.targets)
    send_rows(channel, wire.FURTHER_INPUTS, further_inputs)
    send_rows(channel, wire.FURTHER_TARGETS, further_targets)
    wire.send(channel, wire.BYTE_TABLE, table.tobytes())
    wire.send(channel, wire.CHECK, struct.pack("<d", float(value)))


main()
