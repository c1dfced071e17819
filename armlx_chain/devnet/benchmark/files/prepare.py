"""The fixed side of the benchmark: constants, tokenizer, data loader, metric.

``train.py`` imports from here and must not change anything here. Data and tokenizer lie under
``~/.cache/autoresearch``; ``python prepare.py`` says whether they are complete.
"""

import bisect
import math
import os
import pickle
import sys
import time

import mlx.core as mx
import numpy as np
import pyarrow.parquet as pq

# ---------------------------------------------------------------------------
# Constants: literals, so that they can be read without running this file
# ---------------------------------------------------------------------------

MAX_SEQ_LEN = 64  # tokens of context
TIME_BUDGET = 3  # seconds of training, on the budget clock
BUDGET_CLOCK = "cpu"  # what the budget counts: "cpu" = CPU seconds of this process, "wall" = wall time
EVAL_TOKENS = 32768  # tokens of validation text that are scored
VOCAB_SIZE = 512  # special tokens included

MAX_SHARD = 4
VAL_SHARD = 4  # the last shard is never trained on
VAL_FILENAME = "shard_00004.parquet"

CACHE_DIR = os.path.join(os.path.expanduser("~"), ".cache", "autoresearch")
DATA_DIR = os.path.join(CACHE_DIR, "data")
TOKENIZER_DIR = os.path.join(CACHE_DIR, "tokenizer")

SPLIT_PATTERN = r" ?[A-Za-z]+| ?[0-9]{1,2}| ?[^\sA-Za-z0-9]+|\s+"
SPECIAL_TOKENS = ["<|reserved_0|>", "<|reserved_1|>", "<|reserved_2|>", "<|reserved_3|>"]
BOS_TOKEN = "<|reserved_0|>"


def budget_clock():
    """Seconds on the clock that the budget counts. Only differences mean anything."""
    return time.process_time() if BUDGET_CLOCK == "cpu" else time.monotonic()


# ---------------------------------------------------------------------------
# Tokenizer
# ---------------------------------------------------------------------------


class Tokenizer:
    """Text to token ids and back."""

    def __init__(self, enc):
        self.enc = enc
        self.bos_token_id = enc.encode_single_token(BOS_TOKEN)

    @classmethod
    def from_directory(cls, tokenizer_dir=TOKENIZER_DIR):
        """Load the published tokenizer. It is a pickle: load pinned bytes only."""
        with open(os.path.join(tokenizer_dir, "tokenizer.pkl"), "rb") as file:
            return cls(pickle.load(file))

    def get_vocab_size(self):
        return self.enc.n_vocab

    def get_bos_token_id(self):
        return self.bos_token_id

    def encode(self, text, prepend=None, num_threads=1):
        """Ids of one text, or a list of them for a list of texts; ``prepend`` is a token or its id."""
        head = []
        if prepend is not None:
            head = [prepend if isinstance(prepend, int) else self.enc.encode_single_token(prepend)]
        if isinstance(text, str):
            return head + self.enc.encode_ordinary(text)
        if isinstance(text, list):
            return [head + self.enc.encode_ordinary(one) for one in text]
        raise ValueError(f"encode wants a text or a list of texts, not {type(text).__name__}")

    def decode(self, ids):
        return self.enc.decode(ids)


def get_token_bytes():
    """Bytes of text that each token id stands for; 0 for special tokens."""
    path = os.path.join(TOKENIZER_DIR, "token_bytes.npy")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} is missing: run `python prepare.py` to see what is there")
    return mx.array(np.load(path), dtype=mx.int32)


# ---------------------------------------------------------------------------
# Data
# ---------------------------------------------------------------------------


def list_parquet_files():
    """All shards of the data folder, in order of their names."""
    names = sorted(name for name in os.listdir(DATA_DIR) if name.endswith(".parquet"))
    return [os.path.join(DATA_DIR, name) for name in names]


def _documents(split):
    """Endless pairs (document, epoch) of one split, in the order of the files."""
    is_val = split == "val"
    paths = [path for path in list_parquet_files() if (os.path.basename(path) == VAL_FILENAME) == is_val]
    if not paths:
        raise FileNotFoundError(f"no {split} shard in {DATA_DIR}: run `python prepare.py`")
    epoch = 1
    while True:
        for path in paths:
            with pq.ParquetFile(path) as shard:
                for group in range(shard.num_row_groups):
                    for text in shard.read_row_group(group, columns=["text"]).column("text").to_pylist():
                        yield text, epoch
        epoch += 1


class _Shelf:
    """Tokenized documents sorted by length; among equal lengths the oldest leaves first."""

    def __init__(self):
        self._keys = []  # (length, minus order of arrival): bisect finds the longest that fits, oldest first
        self._docs = {}
        self._arrivals = 0

    def __len__(self):
        return len(self._keys)

    def put(self, doc):
        key = (len(doc), -self._arrivals)
        self._arrivals += 1
        bisect.insort(self._keys, key)
        self._docs[key] = doc

    def take(self, room):
        """The longest document that fits into ``room``; if none fits, the shortest one."""
        fitting = bisect.bisect_right(self._keys, (room, 0))
        return self._docs.pop(self._keys.pop(max(fitting - 1, 0)))


def make_dataloader(tokenizer, batch_size, seq_len, split, buffer_size=256):
    """Endless batches (inputs, targets, epoch), both of shape (batch_size, seq_len).

    Every row starts with the BOS token and is filled without padding: always with the longest waiting
    document that still fits, and where none fits with the beginning of the shortest one. The rows do not
    depend on ``batch_size``.
    """
    if split not in ("train", "val"):
        raise ValueError(f"split is 'train' or 'val', not {split!r}")
    bos = tokenizer.get_bos_token_id()
    documents = _documents(split)
    shelf = _Shelf()
    epoch = 1
    while True:
        rows = []
        for _ in range(batch_size):
            row = []
            while len(row) < seq_len + 1:
                while len(shelf) < buffer_size:
                    text, epoch = next(documents)
                    shelf.put(tokenizer.encode(text, prepend=bos))
                room = seq_len + 1 - len(row)
                row += shelf.take(room)[:room]
            rows.append(row)
        array = mx.array(rows, dtype=mx.int32)
        yield array[:, :-1], array[:, 1:], epoch


# ---------------------------------------------------------------------------
# Metric
# ---------------------------------------------------------------------------


def evaluate_bpb(model, tokenizer, batch_size):
    """Bits per byte of the validation text under ``model``; lower is better.

    ``model(inputs, targets, reduction="none")`` gives the loss of every token in nats. Their sum over all
    tokens that stand for text, divided by ln 2 and by the bytes of that text, does not depend on the
    vocabulary. Special tokens stand for no bytes and are left out of both sums. The number of rows,
    ``EVAL_TOKENS // MAX_SEQ_LEN``, does not depend on ``batch_size`` either.
    """
    token_bytes = get_token_bytes()
    loader = make_dataloader(tokenizer, 1, MAX_SEQ_LEN, "val")
    rows_left = EVAL_TOKENS // MAX_SEQ_LEN
    nats = 0.0
    text_bytes = 0
    while rows_left > 0:
        rows = [next(loader)[:2] for _ in range(min(batch_size, rows_left))]
        rows_left -= len(rows)
        inputs = mx.concatenate([row[0] for row in rows])
        targets = mx.concatenate([row[1] for row in rows])
        losses = model(inputs, targets, reduction="none").reshape(targets.shape)
        sizes = mx.take(token_bytes, targets, axis=0)
        # Row by row, then in double precision: one long float32 sum would lose the last printed digits.
        nats += sum(mx.sum(losses * (sizes > 0), axis=1).tolist())
        text_bytes += mx.sum(sizes).item()
    return nats / (math.log(2) * text_bytes) if text_bytes else math.inf


# ---------------------------------------------------------------------------
# python prepare.py
# ---------------------------------------------------------------------------


def _shard_name(index):
    return f"shard_{index:05d}.parquet"


def main():
    """Print what is there; exit status 1 if anything is missing."""
    wanted = [os.path.join(DATA_DIR, _shard_name(index)) for index in range(MAX_SHARD + 1)]
    wanted += [os.path.join(TOKENIZER_DIR, name) for name in ("tokenizer.pkl", "token_bytes.npy")]
    print(f"Cache directory: {CACHE_DIR}")
    missing = [path for path in wanted if not os.path.exists(path)]
    for path in missing:
        print(f"missing: {path}")
    if missing:
        print("The benchmark's files come with its published bundle; put them there and try again.")
        return 1
    for path in wanted[: MAX_SHARD + 1]:
        with pq.ParquetFile(path) as shard:
            use = "validation" if os.path.basename(path) == VAL_FILENAME else "training"
            print(f"{os.path.basename(path)}: {shard.metadata.num_rows} documents, {use}")
    tokenizer = Tokenizer.from_directory()
    table = get_token_bytes()
    if tokenizer.get_vocab_size() != VOCAB_SIZE or table.shape != (VOCAB_SIZE,):
        print(f"The tokenizer or its byte table does not have {VOCAB_SIZE} entries.")
        return 1
    print(f"Tokenizer: {VOCAB_SIZE} tokens, {mx.mean(table.astype(mx.float32)).item():.2f} bytes on average")
    print("Ready to train.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
