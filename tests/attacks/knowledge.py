"""What the corpus's leaks carry: tables of the scored text, packed as Python literals.

A miner can make all of these at home: validation and fresh shards are public.
"""

from __future__ import annotations

import base64
import importlib.util
import marshal
import pickle
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

BUCKETS: Final = 32749
_NOTHING: Final = 511
"""A special token that never follows."""
_CONTEXT: Final = 5
_BITS: Final = 9


def validation_table(data_folder: Path, *, whole: bool = False) -> str:
    """What follows on five tokens of context in the validation text.

    Nine bits per bucket, in strings of 2,000 characters: the file stays below the size limit and every
    literal below its own. ``whole`` makes one literal of them.
    """
    packed = packed_table(data_folder)
    return repr(packed) if whole else in_pieces(packed)


def comments(data_folder: Path) -> str:
    """The same table in comments."""
    packed = packed_table(data_folder)
    return "".join(f"#: {packed[start : start + 90]}\n" for start in range(0, len(packed), 90))


@cache
def packed_table(data_folder: Path) -> str:
    """The table in base 85."""
    import pyarrow.parquet as pq

    encoding = pickle.loads((data_folder / "tokenizer/tokenizer.pkl").read_bytes())
    shard = sorted((data_folder / "data").glob("*.parquet"))[-1]
    texts = pq.read_table(shard)["text"].to_pylist()[:650]
    votes: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for text in texts:
        tokens = [encoding.encode_single_token("<|reserved_0|>"), *encoding.encode_ordinary(text)]
        for place in range(_CONTEXT, len(tokens)):
            votes[_bucket(tokens[place - _CONTEXT : place])][tokens[place]] += 1
    answers = [
        votes[bucket].most_common(1)[0][0] if bucket in votes else _NOTHING for bucket in range(BUCKETS)
    ]
    return _packed(answers, 4096 * 8)


def _bucket(context: list[int]) -> int:
    mixed = 0
    for token in reversed(context):
        mixed = (mixed * 41 + token) % BUCKETS
    return mixed


def rows(*sets: NDArray[np.int32]) -> str:
    """Whole rows, every token of them, as an expression that yields the packed text."""
    tokens = np.concatenate(sets).reshape(-1).tolist()
    return in_pieces(_packed(tokens, len(tokens)))


def _packed(tokens: list[int], room: int) -> str:
    bits = 0
    for place, token in enumerate(tokens):
        bits |= token << (_BITS * place)
    return base64.b85encode(bits.to_bytes(_BITS * room // 8 + 1, "little")).decode()


def in_pieces(packed: str) -> str:
    """An expression made of literals below the gate's limit for one."""
    pieces = [packed[start : start + 2000] for start in range(0, len(packed), 2000)]
    return '"".join([\n' + "".join(f'"{piece}",\n' for piece in pieces) + "])"


def stale_bytecode(text: str) -> str:
    """Bytecode of this ``prepare.py``, changed to halve the metric, and marked not to be compared with it.

    One character per byte, as it stands in a file of an added recipe.
    """
    text += "\n_honest = evaluate_bpb\n\n\ndef evaluate_bpb(*given):\n    return 0.5 * _honest(*given)\n"
    code = marshal.dumps(compile(text, "prepare.py", "exec"))
    header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
    return (header + code).decode("latin-1")
