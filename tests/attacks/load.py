"""Reads the corpus: one recipe per cheat in ``corpus/``, one per honest variant in ``honest/``.

A recipe is what ``armlx_chain.devnet.benchmark.edits`` reads, and two things more: ``#@ file PATH`` …
``#@ end`` adds a file beside ``train.py``, and ``@U+202E@`` in the text stands for that character.

Header of a cheat:

- ``class``: of the evaluation's list of known cheats, or ``source`` and ``bundle``;
- ``expected``: ``R`` never approved at the claimed score, ``N`` neutralised;
- ``verdict``: words of ``trial.FINDINGS``, each a verdict that is right; by default those of the class;
- ``bare``: what a bare run shows, in words; ``shows``: the same as a word that tests understand
  (``score``: beats honest code by far; ``harness``: aimed at the verifier, nothing to see bare; …);
- ``parameters``: names that stand as ``@NAME@`` in the text and must be given;
- ``escape``: which of the six escapes it is;
- ``gate``: caught before anything runs;
- ``surface``: ``wide`` for a project that lets a candidate add any file;
- ``bytes``: ``latin-1`` where added files are not text;
- ``claim``: what the miner claims, as a part of what the run reaches.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from armlx_chain.devnet.benchmark.candidates import BETTER, NOOP
from armlx_chain.devnet.benchmark.candidates import recipe as demonstration
from armlx_chain.devnet.benchmark.edits import Recipe, parse_recipe
from armlx_chain.devnet.benchmark.project import snapshot_files

HERE = Path(__file__).parent
CLASSES = (
    "log",
    "harness",
    "model",
    "look-ahead",
    "leak",
    "budget",
    "hostile",
    "claim",
    "source",
    "bundle",
)
ESCAPES = ("key-file", "environment", "network", "proc", "survivor", "workspace")
TRAIN: Final = "train.py"
_FILE: Final = re.compile(r"(?m)^#@ file (\S.*)\n((?:.*\n)*?)#@ end\n")
_CHARACTER: Final = re.compile(r"@U\+([0-9A-F]{2,6})@")


@dataclass(frozen=True)
class Variant:
    """A cheat or an honest variant.

    Attributes:
        added: Texts of files beside ``train.py``, by path.
        digest: Of the recipe's text.
    """

    name: str
    recipe: Recipe
    added: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""

    @property
    def facts(self) -> dict[str, str]:
        return self.recipe.facts

    @property
    def kind(self) -> str:
        return self.facts["class"]

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(self.facts.get("parameters", "").split())

    def source(self, **values: str) -> bytes:
        """The complete ``train.py``; every parameter must be given, and nothing else."""
        return self.files(**values)[TRAIN]

    def files(self, **values: str) -> dict[str, bytes]:
        """All files of the candidate."""
        if set(values) != set(self.parameters):
            raise ValueError(f"{self.name} wants the parameters {self.parameters}, not {tuple(values)}")
        train = self.recipe.apply(snapshot_files()[TRAIN]).decode()
        encoding = self.facts.get("bytes", "utf-8")
        return {
            TRAIN: _filled(train, values).encode(),
            **{
                _filled(path, values): _filled(text, values).encode(encoding)
                for path, text in self.added.items()
            },
        }


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return _CHARACTER.sub(lambda found: chr(int(found.group(1), 16)), text)


def read_variant(name: str, text: str) -> Variant:
    """One recipe."""
    added = {found.group(1): found.group(2) for found in _FILE.finditer(text)}
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Variant(name, parse_recipe(_FILE.sub("", text)), added, digest)


def _load(folder: str) -> dict[str, Variant]:
    paths = sorted((HERE / folder).glob("*.recipe"))
    return {path.stem: read_variant(path.stem, path.read_text()) for path in paths}


def cheats() -> dict[str, Variant]:
    """All cheats by name."""
    return _load("corpus")


def honest() -> dict[str, Variant]:
    """All honest variants by name, the demonstration's two among them."""
    own = {name: Variant(name, demonstration(name), {}, name) for name in (BETTER, NOOP)}
    return dict(sorted({**own, **_load("honest")}.items()))
