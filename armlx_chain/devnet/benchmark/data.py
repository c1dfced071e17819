"""The benchmark's data: shards of an invented language, its tokenizer and its byte table.

Invariants:

- the same seed gives the same bytes on every machine, as long as the versions of pyarrow (its name stands in
  every parquet file) and tiktoken are those of the lock file;
- training, validation and fresh shards come from one distribution and share no document stream;
- the fresh shard lies outside the folder that a ``train.py`` reads: it is for the verifier alone.

::

    for file in make_data(home / ".cache" / "autoresearch"):
        print(file.role, file.path)
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armlx_chain.devnet.benchmark import bpe
from armlx_chain.devnet.benchmark.language import Language
from armlx_chain.devnet.benchmark.project import constants

if TYPE_CHECKING:
    import tiktoken

SEED: Final = 20261122
TRAIN_SHARD_BYTES: Final = 250_000
HELD_OUT_BYTES: Final = 250_000
_ROWS_PER_GROUP: Final = 500
_TOKENIZER_SAMPLE: Final = 2_000
"""Documents of the first shard that the tokenizer is trained on."""


@dataclass(frozen=True, slots=True)
class BenchmarkFile:
    """One file of the benchmark.

    Attributes:
        path: Where it lies, relative to the cache folder, with forward slashes.
        role: ``train``, ``validation``, ``fresh``, ``tokenizer`` or ``byte-table``.
    """

    path: str
    role: str


def make_data(folder: Path, seed: int = SEED) -> list[BenchmarkFile]:
    """Write all files of the benchmark below ``folder`` and list them, sorted by path.

    ``folder`` plays the part of ``~/.cache/autoresearch``.
    """
    facts = constants()
    language = Language.invent(seed)
    shards = int(facts["MAX_SHARD"])
    streams = {
        **{f"data/shard_{index:05d}.parquet": ("train", TRAIN_SHARD_BYTES) for index in range(shards)},
        f"data/{facts['VAL_FILENAME']}": ("validation", HELD_OUT_BYTES),
        "fresh/shard_00000.parquet": ("fresh", HELD_OUT_BYTES),
    }
    files = []
    sample: list[str] = []
    for path, (role, size) in streams.items():
        documents = list(language.documents(seed, path, size))
        sample = sample or documents[:_TOKENIZER_SAMPLE]
        _write(folder / path, _parquet(documents))
        files.append(BenchmarkFile(path, role))
    encoding = _train_tokenizer(sample)
    _write(folder / "tokenizer/tokenizer.pkl", _pickled(encoding))
    _write(folder / "tokenizer/token_bytes.npy", _byte_table(encoding))
    files += [
        BenchmarkFile("tokenizer/tokenizer.pkl", "tokenizer"),
        BenchmarkFile("tokenizer/token_bytes.npy", "byte-table"),
    ]
    return sorted(files, key=lambda file: file.path)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _parquet(documents: Iterable[str]) -> bytes:
    """A parquet file with one column ``text``; every option that could change the bytes is pinned."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"text": pa.array(documents, type=pa.string())})
    target = io.BytesIO()
    pq.write_table(
        table,
        target,
        row_group_size=_ROWS_PER_GROUP,
        version="2.6",
        data_page_version="1.0",
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
    )
    return target.getvalue()


def _train_tokenizer(sample: list[str]) -> tiktoken.Encoding:
    import tiktoken

    facts = constants()
    special = list(facts["SPECIAL_TOKENS"])
    ordinary = int(facts["VOCAB_SIZE"]) - len(special)
    pattern = str(facts["SPLIT_PATTERN"])
    return tiktoken.Encoding(
        name="armlx-small",
        pat_str=pattern,
        mergeable_ranks=bpe.train(sample, pattern, ordinary),
        special_tokens={name: ordinary + index for index, name in enumerate(special)},
    )


def _pickled(encoding: tiktoken.Encoding) -> bytes:
    # Protocol 4 and no unused memo entries: neither the Python version nor the identity of equal
    # strings then shows in the bytes.
    return pickletools.optimize(pickle.dumps(encoding, protocol=4))


def _byte_table(encoding: tiktoken.Encoding) -> bytes:
    import numpy as np

    special = {encoding.encode_single_token(name) for name in encoding.special_tokens_set}
    sizes = [
        0 if token in special else len(encoding.decode_single_token_bytes(token))
        for token in range(encoding.n_vocab)
    ]
    target = io.BytesIO()
    np.save(target, np.array(sizes, dtype="<i4"))
    return target.getvalue()
