"""Run the corpus of cheats and honest variants, bare and under the verifier, and print a table.

    scripts/attacks                          all of it
    scripts/attacks --only lookahead log_nan what begins with one of these words
    scripts/attacks --class leak hostile     what is of one of these classes (or ``honest``)
    scripts/attacks --resume rows.jsonl      keep rows in a file, and go on where it ends
    scripts/attacks --jobs 12                so many trials side by side, each kept on a core of its own
    scripts/attacks --markdown corpus.md     write the table as Markdown too
    scripts/attacks --json                   one JSON object on stdout instead of the table
    scripts/attacks --python PATH            another interpreter (or ARMLX_PYTHON); nothing is installed

A cheat passes if its verdict is one of those that are right for it and it took nothing; the naive verdict
beside ours is what a trusting re-run says: the metric that the program prints in a bare run, better than the
unmodified program's by 0.1 bits per byte or more. How good an honest variant truly
is, is measured by runs of its own.

Exits with 1 if there is a miss, a false alarm, or a verdict for another reason than the right one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.attacks.court import HONEST_PROFILE, Court, convene
from tests.attacks.docket import try_cheat
from tests.attacks.honesty import TRUTH_RUNS, judge_honest
from tests.attacks.load import Variant, cheats, honest
from tests.attacks.table import (
    CHEATS_HEAD,
    HONEST,
    HONEST_HEAD,
    Kept,
    Row,
    cheat_row,
    honest_row,
    summary,
    table,
)
from tests.attacks.trial import CANARY, CANARY_VARIABLE

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    options = arguments()
    os.environ[CANARY_VARIABLE] = CANARY  # what one of the escapes is after
    chosen = [one for one in [*cheats().values(), *honest().values()] if wanted(one, options)]
    if not chosen:
        say("Nothing in the corpus has such a name or class.")
        return 2
    started = time.monotonic()
    kept = Kept(options.resume)
    rows = kept.rows(chosen)
    code = code_digest()
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
        left = [one for one in chosen if one.name not in rows]
        crowd = Crowd(code, kept, Path(folder), len(rows), len(chosen))
        if guilty := [one for one in left if one.kind != HONEST]:
            rows |= crowd.run(CheatTrials.convene(Path(folder)), guilty, options.jobs)
        if innocent := [one for one in left if one.kind == HONEST]:
            rows |= crowd.run(HonestTrials.convene(Path(folder), options), innocent, options.jobs)
    ordered = [rows[one.name] for one in chosen if one.name in rows]
    show(ordered, options, code, time.monotonic() - started)
    return 1 if any(row.bad for row in ordered) else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/attacks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="beginnings of names")
    parser.add_argument(
        "--class", nargs="+", dest="classes", metavar="CLASS", help="classes of cheats, or honest"
    )
    parser.add_argument(
        "--resume", type=Path, metavar="FILE", help="keep rows here, and go on where they end"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trials side by side (default: 1)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here as Markdown")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--python", type=Path, metavar="PATH", help="the interpreter (read by the shell script)"
    )
    parser.add_argument(
        "--control-runs", type=int, default=8, help="of the honest set's calibration (default: 8)"
    )
    parser.add_argument(
        "--seed-runs", type=int, default=4, help="of the honest set's calibration (default: 4)"
    )
    parser.add_argument("--truth-runs", type=int, default=TRUTH_RUNS, help=f"default: {TRUTH_RUNS}")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs wants at least 1")
    return options


def wanted(variant: Variant, options: argparse.Namespace) -> bool:
    named = options.only is None or variant.name.startswith(tuple(options.only))
    return named and (options.classes is None or variant.kind in options.classes)


def code_digest() -> str:
    """Of the sources that judge."""
    found = hashlib.sha256()
    for path in sorted((ROOT / "verifier").rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


@dataclass(frozen=True)
class CheatTrials:
    court: Court

    @classmethod
    def convene(cls, folder: Path) -> CheatTrials:
        say("Preparing the benchmark for the cheats and measuring its noise …")
        return cls(_told(convene(folder / "cheats")))

    def row(self, variant: Variant, folder: Path, code: str) -> Row:
        started = time.monotonic()
        tried = try_cheat(self.court, variant, folder)
        return cheat_row(self.court, tried, seconds=time.monotonic() - started, code=code)


@dataclass(frozen=True)
class HonestTrials:
    court: Court
    truth_runs: int

    @classmethod
    def convene(cls, folder: Path, options: argparse.Namespace) -> HonestTrials:
        say("Preparing the benchmark for the honest variants and measuring its noise …")
        court = convene(
            folder / "honest",
            profile=HONEST_PROFILE,
            control_runs=options.control_runs,
            seed_runs=options.seed_runs,
            bare_controls=1,
        )
        return cls(_told(court), options.truth_runs)

    def row(self, variant: Variant, folder: Path, code: str) -> Row:
        started = time.monotonic()
        judged = judge_honest(self.court, variant, folder, truth_runs=self.truth_runs)
        return honest_row(judged, seconds=time.monotonic() - started, code=code)


def _told(court: Court) -> Court:
    noise = court.noise
    say(
        f"Budget {court.profile.budget_seconds:g} s. Honest: {court.honest_score:.6f} printed bare, "
        f"{noise.control_mean} trusted; s = {noise.s}, seed spread {noise.seed_spread}."
    )
    return court


class Crowd:
    """Workers that take one variant after the other; each is kept on one core, with all that it starts."""

    def __init__(self, code: str, kept: Kept, folder: Path, done: int, all_: int) -> None:
        self._code, self._kept, self._folder = code, kept, folder
        self._done, self._all = done, all_
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        self._failed: list[BaseException] = []

    def run(
        self, trials: CheatTrials | HonestTrials, variants: Sequence[Variant], jobs: int
    ) -> dict[str, Row]:
        """The rows of these variants.

        Raises:
            Exception: the first one that a worker met; what others have found is kept.
        """
        waiting: queue.SimpleQueue[Variant] = queue.SimpleQueue()
        for variant in variants:
            waiting.put(variant)
        workers = [
            threading.Thread(target=self._work, args=(trials, waiting, core))
            for core in cores(jobs)[: len(variants)]
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if self._failed:
            raise self._failed[0]
        return self._rows

    def _work(
        self, trials: CheatTrials | HonestTrials, waiting: queue.SimpleQueue[Variant], core: int | None
    ) -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})  # of this thread, and of the processes it starts
        try:
            while not self._failed:
                self._one(trials, waiting.get_nowait())
        except queue.Empty:
            return
        except BaseException as problem:
            self._failed.append(problem)  # raised again by the main thread
            if not isinstance(problem, Exception):
                raise

    def _one(self, trials: CheatTrials | HonestTrials, variant: Variant) -> None:
        place = self._folder / f"trial-{variant.name}"
        place.mkdir()
        row = trials.row(variant, place, self._code)
        with self._lock:
            self._rows[variant.name] = row
            self._kept.add(row)
            self._done += 1
            say(f"{self._done}/{self._all} {row.seconds:5.1f} s  " + "  ".join(row.cells()))


def cores(jobs: int) -> list[int | None]:
    """A core for each worker where there are more cores than workers, so that none moves or shares."""
    if not hasattr(os, "sched_getaffinity"):
        return [None] * jobs
    free = sorted(os.sched_getaffinity(0))
    # The first core is left to this program and to the system.
    return list(free[1 : jobs + 1]) if 1 < jobs < len(free) else [None] * jobs


def show(rows: Sequence[Row], options: argparse.Namespace, code: str, seconds: float) -> None:
    parts = [
        (CHEATS_HEAD, [row for row in rows if row.kind != HONEST]),
        (HONEST_HEAD, [row for row in rows if row.kind == HONEST]),
    ]
    said = f"{summary(rows, code)}\n{seconds:.0f} s, {options.jobs} at a time, verifier {code}."

    def text(*, markdown: bool) -> str:
        return "\n\n".join([*(table(head, part, markdown=markdown) for head, part in parts if part), said])

    if options.markdown:
        options.markdown.write_text(text(markdown=True) + "\n")
    if options.json:
        document = {"rows": [asdict(row) for row in rows], "summary": said.splitlines(), "code": code}
        print(json.dumps(document, indent=1))
    else:
        print(text(markdown=False))


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
