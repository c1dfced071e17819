"""Random choices that are the same on every machine and in every Python version.

Python promises that ``Random.random()`` never changes its sequence for a given integer seed; it does not
promise that for ``choice``, ``shuffle`` or ``sample``. Everything here is made from ``random()`` alone.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

Item = TypeVar("Item")


class Dice:
    """A stream of choices, named by a seed and any number of labels."""

    def __init__(self, seed: int, *labels: str) -> None:
        name = "\x00".join([str(seed), *labels]).encode()
        self._random = random.Random(int.from_bytes(hashlib.sha256(name).digest(), "big"))  # noqa: S311

    def below(self, limit: int) -> int:
        """A whole number from 0 to ``limit - 1``, all equally likely."""
        return int(self._random.random() * limit)

    def happens(self, percent: int) -> bool:
        """True in ``percent`` of 100 cases."""
        return self.below(100) < percent

    def one_of(self, items: Sequence[Item]) -> Item:
        """One item, all equally likely."""
        return items[self.below(len(items))]

    def early_one_of(self, items: Sequence[Item]) -> Item:
        """One item; item number n (from 1) is n times rarer than the first, as words are in a language."""
        weights = list(accumulate(840 // n for n in range(1, len(items) + 1)))
        point = self.below(weights[-1])
        return next(item for item, bound in zip(items, weights, strict=True) if point < bound)

    def some_of(self, items: Sequence[Item], count: int) -> tuple[Item, ...]:
        """``count`` different items in random order."""
        left = list(items)
        return tuple(left.pop(self.below(len(left))) for _ in range(count))
