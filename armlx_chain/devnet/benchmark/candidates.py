"""The ``train.py`` files of the demonstration: two honest ones and two that cheat.

Each is a recipe in ``recipes/`` and is applied to the snapshot's own ``train.py``.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from armlx_chain.devnet.benchmark.edits import Recipe, parse_recipe
from armlx_chain.devnet.benchmark.project import snapshot_files
from armlx_chain.errors import DevnetError

BETTER: Final = "better"
"""Honest: looks at the previous token, starts from better scales. Clearly beats the baseline."""
NOOP: Final = "noop"
"""Honest: changes a comment and nothing else."""
PRINTER: Final = "printer"
"""Cheats: prints a wonderful figure and returns tiny losses; its predictions are the baseline's."""
LOOKAHEAD: Final = "lookahead"
"""Cheats: its model sees the token that it is asked to predict."""

NAMES: Final = (BETTER, NOOP, PRINTER, LOOKAHEAD)


def recipe(name: str) -> Recipe:
    """The recipe of a candidate, with its header's facts (``title``, ``idea``).

    Raises:
        DevnetError: if there is no such candidate.
    """
    if name not in NAMES:
        raise DevnetError(f"no candidate is called {name!r}; there are {', '.join(NAMES)}")
    folder = resources.files("armlx_chain.devnet.benchmark") / "recipes"
    return parse_recipe((folder / f"{name}.recipe").read_text(encoding="utf-8"))


def source(name: str) -> bytes:
    """The complete ``train.py`` of a candidate.

    Raises:
        DevnetError: if there is no such candidate.
    """
    return recipe(name).apply(snapshot_files()["train.py"])


def better_train() -> bytes:
    """The honest improvement."""
    return source(BETTER)


def noop_train() -> bytes:
    """The honest change that changes nothing."""
    return source(NOOP)


def printer_train() -> bytes:
    """The cheat that prints a wonderful figure."""
    return source(PRINTER)


def lookahead_train() -> bytes:
    """The cheat whose model sees the next token."""
    return source(LOOKAHEAD)
