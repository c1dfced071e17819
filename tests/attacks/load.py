"""Reads the corpus: one recipe per cheat in ``corpus/``, one per honest variant in ``honest/``.

Header of a cheat:

- ``class``: of the evaluation's list of known cheats;
- ``expected``: ``R`` never approved at the claimed score, ``N`` neutralised;
- ``bare``: what a bare run shows, in words; ``shows``: the same as a word that the tests understand;
- ``parameters``: names that stand as ``@NAME@`` in the text and must be given;
- ``escape``: which of the six escapes it is;
- ``gate``: caught before anything runs;
- ``claim``: what the miner claims, as a part of what the run reaches.
"""

from __future__ import annotations

import base64
import pickle
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from armlx_chain.devnet.benchmark.edits import Recipe, parse_recipe
from armlx_chain.devnet.benchmark.project import snapshot_files

HERE = Path(__file__).parent
CLASSES = ("log", "harness", "model", "look-ahead", "leak", "budget", "hostile", "claim")
ESCAPES = ("key-file", "environment", "network", "proc", "survivor", "workspace")


@dataclass(frozen=True)
class Variant:
    """A cheat or an honest variant."""

    name: str
    recipe: Recipe

    @property
    def facts(self) -> dict[str, str]:
        return self.recipe.facts

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(self.facts.get("parameters", "").split())

    def source(self, **values: str) -> bytes:
        """The complete ``train.py``; every parameter must be given, and nothing else."""
        if set(values) != set(self.parameters):
            raise ValueError(f"{self.name} wants the parameters {self.parameters}, not {tuple(values)}")
        text = self.recipe.apply(snapshot_files()["train.py"]).decode()
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        return text.encode()


def _load(folder: str) -> dict[str, Variant]:
    paths = sorted((HERE / folder).glob("*.recipe"))
    return {path.stem: Variant(path.stem, parse_recipe(path.read_text())) for path in paths}


def cheats() -> dict[str, Variant]:
    """All cheats by name."""
    return _load("corpus")


def honest() -> dict[str, Variant]:
    """All honest variants by name."""
    return _load("honest")


BUCKETS = 32749
_NOTHING = 511
"""A special token that never follows."""
_CONTEXT = 5


def validation_table(data_folder: Path, *, whole: bool = False) -> str:
    """The parameter ``TABLE``: what follows on five tokens of context in the validation text, as literals.

    Nine bits per bucket, in strings of 2,000 characters: the file stays below the size limit and every
    literal below its own. ``whole`` makes one literal of them.
    """
    import pyarrow.parquet as pq

    encoding = pickle.loads((data_folder / "tokenizer/tokenizer.pkl").read_bytes())
    shard = sorted((data_folder / "data").glob("*.parquet"))[-1]
    texts = pq.read_table(shard)["text"].to_pylist()[:650]
    votes: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for text in texts:
        tokens = [encoding.encode_single_token("<|reserved_0|>"), *encoding.encode_ordinary(text)]
        for place in range(_CONTEXT, len(tokens)):
            votes[_bucket(tokens[place - _CONTEXT : place])][tokens[place]] += 1
    bits = 0
    for bucket in range(BUCKETS):
        token = votes[bucket].most_common(1)[0][0] if bucket in votes else _NOTHING
        bits |= token << (9 * bucket)
    packed = base64.b85encode(bits.to_bytes(9 * 4096, "little")).decode()
    if whole:
        return repr(packed)
    pieces = [packed[start : start + 2000] for start in range(0, len(packed), 2000)]
    return '"".join([\n' + "".join(f'"{piece}",\n' for piece in pieces) + "])"


def _bucket(context: list[int]) -> int:
    mixed = 0
    for token in reversed(context):
        mixed = (mixed * 41 + token) % BUCKETS
    return mixed
