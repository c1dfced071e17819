"""One cheat, tried: bare, where nothing stops it, and under the verifier.

``try_cheat`` is what both the tests and the campaign run. ``Docket`` runs many of them, two or more side by
side: a cheat ends on what it does, and where a score decides, the trial is repeated alone before it counts
against the verifier.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.attacks.court import MARGIN, PAIRS, WIDE_MARGIN, WORTH, Court, printed_in, trusted_score
from tests.attacks.load import TRAIN, Variant
from tests.attacks.trial import CANARY, CANARY_VARIABLE, Trial, allowed, decided_by_a_score, prepared_trial
from tests.benchmark.bare import BareRun
from verifier.model import Outcome, Verdict

BARE_SECONDS: Final = 120.0
ENDLESS_SECONDS: Final = 8.0


@dataclass(frozen=True)
class Tried:
    """What came of one cheat.

    Attributes:
        claimed: What the bare run printed as its score, ``None`` without one; for a claim, what is claimed.
        works: Whether the bare run did what the cheat's header says; ``None`` if it was not run.
        trusted: Mean validation score by the verifier, ``None`` if no model counted.
        escaped: Whether it got, under the verifier, at what it was after.
        printed: Logs of its runs under the verifier.
    """

    variant: Variant
    claimed: float | None
    works: bool | None
    verdict: Verdict
    trusted: float | None
    escaped: bool
    printed: str

    @property
    def approved(self) -> bool:
        return self.verdict.outcome is Outcome.REPRODUCED

    @property
    def right(self) -> bool:
        """The verdict is one of those that are right for this cheat, and nothing was taken."""
        return (self.verdict.outcome, self.verdict.reason) in allowed(self.variant) and not self.escaped

    @property
    def seen_through(self) -> bool:
        """Whether the trusted score is far from a wonderful claim, or, where none was made, no gain."""
        if not decided_by_a_score(self.variant) or self.trusted is None:
            return True
        if self.claimed is None:
            # It claims no figure that could be wonderful; an honest program's gain is noise as well.
            noise = 0.0 if self.verdict.noise is None else 2 * float(self.verdict.noise.s)
            return self.verdict.mean_gain is None or self.verdict.mean_gain < WORTH + noise
        return self.variant.facts["shows"] != "score" or self.trusted > self.claimed + WORTH / 2


def try_cheat(
    court: Court,
    cheat: Variant,
    folder: Path,
    *,
    pairs: int = PAIRS,
    bare: bool = True,
    wide_margin: bool = True,
) -> Tried:
    """Run a cheat bare, then judge it.

    Args:
        wide_margin: Give cheats that are not on the budget a late deadline, so that others may run beside.
    """
    claimed, works = None, None
    if bare:
        claimed, works = _bare(court, cheat, folder)
    margin = MARGIN if cheat.kind == "budget" or not wide_margin else WIDE_MARGIN
    # A fresh trial: what the bare run left behind must not count for the sandboxed one.
    with prepared_trial(cheat, folder) as trial:
        files = cheat.files(**court.parameters(cheat, **_inside(trial)))
        wide = cheat.facts.get("surface") == "wide"
        verdict = court.try_files(files, folder / "session", pairs=pairs, wide=wide, margin=margin)
        printed = printed_in(verdict)
        escaped = _escaped(cheat, trial, printed)
    return Tried(cheat, claimed, works, verdict, trusted_score(verdict), escaped, printed)


def _inside(trial: Trial) -> dict[str, str]:
    """Bare, bombs are bounded by kindness; inside, by the sandbox."""
    return {name: "4096" if name == "MEGABYTES" else value for name, value in trial.values.items()}


def _escaped(cheat: Variant, trial: Trial, printed: str) -> bool:
    if cheat.facts["shows"] == "file":
        return "written:" in printed
    return trial.has_goal and trial.taken(printed)


def _bare(court: Court, cheat: Variant, folder: Path) -> tuple[float | None, bool]:
    shows = cheat.facts["shows"]
    with prepared_trial(cheat, folder) as trial:
        files = cheat.files(**court.parameters(cheat, **trial.values))
        runs = [
            court.bare(
                files,
                folder / "bare",
                timeout_seconds=ENDLESS_SECONDS if shows == "endless" else BARE_SECONDS,
                pass_fds=trial.descriptors,
                environment={CANARY_VARIABLE: CANARY},
            )
            for _ in range(2 if shows == "second-run" else 1)
        ]
        works = _WORKS[shows](Seen(court, files, runs, trial))
    score = runs[-1].score
    if score is not None and "claim" in cheat.facts:
        score *= float(cheat.facts["claim"])
    return score, works


@dataclass(frozen=True)
class Seen:
    """What there is to look at after a cheat's bare runs."""

    court: Court
    files: dict[str, bytes]
    runs: list[BareRun]
    trial: Trial

    @property
    def last(self) -> BareRun:
        return self.runs[-1]

    @property
    def text(self) -> str:
        return self.last.text.replace("\r", "\n")

    def beats(self, score: float | None) -> bool:
        return score is not None and self.last.score is not None and self.last.score < score - WORTH

    def figure(self, word: str) -> float:
        found = re.findall(rf"(?m)^{word}: ([0-9.]+)$", self.text)
        return float(found[0]) if found else 0.0


def _says(pattern: str) -> Callable[[Seen], bool]:
    return lambda seen: re.search(pattern, seen.text) is not None


def _changed_at_home(seen: Seen) -> bool:
    name = "data/shard_00000.parquet"
    kept = seen.last.home / ".cache/autoresearch" / name
    return kept.read_bytes() != (seen.court.data_folder / name).read_bytes()


def _taken(seen: Seen) -> bool:
    return seen.trial.taken(seen.last.text)


_WORKS: Final[dict[str, Callable[[Seen], bool]]] = {
    "score": lambda seen: seen.beats(seen.court.honest_score),
    "second-run": lambda seen: seen.beats(seen.runs[0].score),
    "harness": lambda seen: seen.last.exit_code == 0 and seen.last.score is not None,
    "lottery": lambda seen: seen.last.exit_code == 0,
    "claim": lambda seen: seen.last.score is not None,
    "nan": _says(r"(?m)^val_bpb:\s+nan$"),
    "exponent": _says(r"(?m)^val_bpb:\s+0\.[0-9]+e1$"),
    "children": _says(r"(?m)^children: [1-9][0-9]+$"),
    "memory": _says("hoard: 320 MB"),
    "disk": _says("filled: 16 MB"),
    "flood": lambda seen: len(seen.last.log) > 32 << 20,
    "batch": lambda seen: abs(seen.figure("alone") - seen.figure("together")) > 0.005,
    "crash": lambda seen: seen.last.exit_code not in (0, None),
    "endless": lambda seen: seen.last.exit_code is None,
    "header": lambda seen: seen.files[TRAIN].startswith(b"# /// script\n"),
    "file": lambda seen: (
        b"\n# nobody will notice\n" in (seen.last.workspace / "prepare.py").read_bytes()
        or b"0.5 * _honest" in (seen.last.workspace / "prepare.py").read_bytes()
    ),
    "file-in-home": _changed_at_home,
    "file-beside": lambda seen: (seen.last.workspace.parent / "beside.txt").exists(),
    "channel": _taken,
    "secret": _taken,
    "connection": _taken,
    "abstract": _taken,
    "survivor": _taken,
    "victim": _taken,
}
SHOWS: Final = frozenset(_WORKS)


class Docket:
    """Tries cheats side by side, each as soon as there is room; ``of`` waits for one.

    Args:
        pairs: Of a cheat that a score decides.
        bare: Which cheats are run bare as well.
    """

    def __init__(
        self, court: Court, folder: Path, *, workers: int, pairs: int, bare: Callable[[Variant], bool]
    ) -> None:
        self._court, self._folder, self._pairs, self._bare = court, folder, pairs, bare
        self._turns = _Turns()
        self._results: dict[str, Future[Tried]] = {}
        self._pool = ThreadPoolExecutor(workers)

    def add(self, cheats: Iterable[Variant]) -> None:
        for cheat in cheats:
            if cheat.name not in self._results:
                self._results[cheat.name] = self._pool.submit(self._try, cheat)

    def of(self, cheat: Variant) -> Tried:
        """The result of one cheat."""
        self.add([cheat])
        return self._results[cheat.name].result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _try(self, cheat: Variant) -> Tried:
        pairs = self._pairs if decided_by_a_score(cheat) else PAIRS
        with self._turns.beside():
            place = self._place(cheat.name)
            found = try_cheat(self._court, cheat, place, pairs=pairs, bare=self._bare(cheat))
        if not (found.right and found.seen_through) or found.works is False:
            # Beside another trial, on a busy machine: it counts once it has been seen alone, with all pairs.
            with self._turns.alone():
                found = try_cheat(self._court, cheat, self._place(f"{cheat.name}-alone"))
        if found.right and found.seen_through and found.works is False:
            # Whether it works bare is luck at so few steps; that it can is what has to be seen.
            with self._turns.alone():
                found = try_cheat(self._court, cheat, self._place(f"{cheat.name}-again"))
        return found

    def _place(self, name: str) -> Path:
        place = self._folder / name
        place.mkdir(parents=True)
        return place


class _Turns:
    """Turns beside others, and turns that wait until nobody else runs and keep everybody out meanwhile."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._alone = 0

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        with self._changed:
            # Who wants to be alone goes first, else the others would never leave a gap.
            self._changed.wait_for(lambda: self._alone == 0)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._alone += 1
            self._changed.wait_for(lambda: self._running == 0)
            self._running = 1
        try:
            yield
        finally:
            with self._changed:
                self._running = 0
                self._alone -= 1
                self._changed.notify_all()
