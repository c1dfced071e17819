"""Small ``train.py`` programs for the tests: each hands over one particular model in one particular way."""

from __future__ import annotations

import textwrap

PRELUDE = """
import os, socket, struct, time, zlib
import mlx.core as mx
import mlx.nn as nn
from prepare import MAX_SEQ_LEN, TIME_BUDGET, Tokenizer, evaluate_bpb, make_dataloader

tokenizer = Tokenizer.from_directory()
V = tokenizer.get_vocab_size()
mx.random.seed(1)


def spend(seconds=TIME_BUDGET + 0.05):
    while time.process_time() < seconds:
        pass


class Model(nn.Module):
    '''A random bigram table; logits look one token back.'''

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(V, V)
        self.table.weight = self.table.weight * 3.0

    def logits(self, x):
        return self.table(x)

    def __call__(self, x, targets=None, reduction="mean"):
        logits = self.logits(x)
        if targets is None:
            return logits
        return nn.losses.cross_entropy(logits, targets, reduction=reduction)


def channel():
    return socket.socket(fileno=os.dup(int(os.environ["ARMLX_HARNESS_FD"])))


def frame(kind, payload, magic=b"AXH2", length=None, checksum=None):
    start = struct.pack("<4sBQ", magic, kind, len(payload) if length is None else length)
    right = zlib.crc32(payload, zlib.crc32(start))
    return start + struct.pack("<I", right if checksum is None else checksum) + payload


def graph_of(model):
    tokens = mx.zeros((8, MAX_SEQ_LEN), dtype=mx.int32)
    mx.eval(model(tokens))
    mx.export_function("/tmp/own.mlxfn", lambda x: model(x), tokens)
    with open("/tmp/own.mlxfn", "rb") as file:
        return file.read()
"""

FINISH = """
spend()
value = evaluate_bpb(Model(), tokenizer, 8)
print(f"val_bpb:          {value:.6f}")
"""


def program(body: str = "", finish: str = FINISH) -> dict[str, bytes]:
    """A candidate: the prelude, what the test adds, and how it ends."""
    return {"train.py": "\n".join([PRELUDE, textwrap.dedent(body), textwrap.dedent(finish)]).encode()}


def with_logits(body: str) -> dict[str, bytes]:
    """A candidate whose ``logits(x)`` is ``body``; ``super().logits(x)`` is the honest one."""
    lines = textwrap.indent(textwrap.dedent(body).strip(), " " * 8)
    return program(
        f"class Honest(Model):\n    pass\n\nclass Model(Honest):\n    def logits(self, x):\n{lines}\n"
    )
