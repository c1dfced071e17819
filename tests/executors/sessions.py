"""What sessions of these tests are given, and what they leave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.executors.places import program
from verifier.executors.interface import Bench
from verifier.judgement import Trial
from verifier.model import Pair, Verdict

BETTER = {"train.py": program("8.500000")}
SAME = {"train.py": program("9.000000")}


class Notes:
    """A keeper that writes down."""

    def __init__(self, at_begin: Callable[[int], None] = lambda _: None) -> None:
        self.begun: list[int] = []
        self.pairs: list[Pair] = []
        self._at_begin = at_begin

    def began(self, number: int) -> None:
        self._at_begin(number)
        self.begun.append(number)

    def ended(self, number: int, pair: Pair) -> None:
        assert number == len(self.pairs) + 1
        self.pairs.append(pair)

    def repeated(self, number: int) -> None:
        assert number == len(self.pairs) + 1 == self.begun[-1]


def judged(
    bench: Bench,
    folder: Path,
    *,
    files: Mapping[str, bytes] = BETTER,
    keeper: Any = None,
    progress: Callable[[Any], None] = lambda _: None,
    pairs: int = 8,
) -> Verdict:
    """One whole session."""
    noise = bench.noise()
    return bench.judge(Trial(files, noise, b"s" * 32, folder, progress, pairs, keeper=keeper))


class Beside:
    """A call in a thread of its own, and how it ended."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self.found: Any = None
        self.problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.found = self._call()
        except BaseException as problem:  # noqa: BLE001 (it is looked at in the test)
            self.problem = problem

    def end(self) -> Any:
        self._thread.join(120)
        assert not self._thread.is_alive(), "it should have ended"
        if self.problem is not None:
            raise self.problem
        return self.found
