"""How a validator's work scales with its machines, with real Dask over TLS and real processes on this one.

Every row judges the same candidates, a lane for each machine, and is compared with one machine's row.

    scripts/bench/executors                         # runs that sleep as long as they would train
    scripts/bench/executors --workers 1 2 --seconds 2 --sessions 4
    scripts/bench/executors --real --workers 1 2    # real small MLX runs: 2 cores are shared by 2 workers

A row that sleeps shows the cost of the cluster and of the wire alone. "overhead" is the time of a lane beside
its runs: fetching, proving, the wire, the rule.
"""

from __future__ import annotations

import argparse
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from armlx_chain.chain.contracts import Project
from tests.executors.places import Place, Shelf, published
from tests.executors.processes import Member, behind, until
from tests.executors.sessions import BETTER, judged
from verifier.executors.certificates import make_certificates, read_place
from verifier.executors.cluster import Cluster
from verifier.executors.interface import Bench, Executor
from verifier.executors.server import Server, listen
from verifier.model import Verdict


@dataclass(frozen=True)
class Row:
    """What so many machines did.

    Attributes:
        training: Seconds that runs took, all lanes together.
    """

    workers: int
    sessions: int
    pairs: int
    seconds: float
    training: float

    @property
    def overhead(self) -> float:
        """Seconds of a lane beside its runs, for each session."""
        return (self.seconds * self.workers - self.training) / self.sessions


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="[1 2 4]")
    parser.add_argument("--sessions", type=int, default=8, help="candidates to judge in each row [8]")
    parser.add_argument("--seconds", type=float, default=3.0, help="that a run sleeps [3]")
    parser.add_argument("--real", action="store_true", help="real small MLX runs in the sandbox")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="armlx-executors-") as folder:
        place = Path(folder)
        shelf = Shelf(place / "shelf")
        if given.real:
            from tests.executors.realplaces import real_project

            project = real_project(shelf)
        else:
            project = published(shelf)
        make_certificates(place / "c", now=datetime.now(tz=UTC))
        head(given)
        first: Row | None = None
        for workers in given.workers:
            row = measured(place, shelf, project, given, workers)
            first = first or row
            show(row, first)


def measured(folder: Path, shelf: Shelf, project: Project, given: argparse.Namespace, workers: int) -> Row:
    """One row: a cluster of so many workers, and as many lanes."""
    here = folder / f"w{workers}"
    here.mkdir()
    with Cluster("127.0.0.1", 0, read_place(folder / "c" / "scheduler")) as cluster:
        server = Server(listen(here / "s"), cluster)
        threading.Thread(target=server.run, daemon=True).start()
        real = ["--real"] if given.real else []
        where = ("--scheduler", cluster.address, "--certificates", folder / "c" / "worker", *real)
        members = [
            Member(shelf, here / f"m{number}", *where, seconds=given.seconds) for number in range(workers)
        ]
        try:
            until(lambda: sum(free for _, free in cluster.machines()) == workers, seconds=300)
            executor = behind(here / "s", Place(shelf, here / "daemon"))
            benches = [executor.prepare(project, machine) for machine in executor.machines()]
            for bench in benches:
                bench.noise()  # where it has to be measured, that is no part of the row
            print(f"{workers} workers are ready", file=sys.stderr)
            return _judge_all(executor, benches, here, given.sessions, real=given.real)
        finally:
            for member in members:
                member.end()
            server.close()


def _judge_all(
    executor: Executor, benches: Sequence[Bench], folder: Path, sessions: int, *, real: bool
) -> Row:
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(sessions):
        waiting.put(number)
    found: list[Verdict] = []
    lanes = [threading.Thread(target=_lane, args=(bench, waiting, found, folder, real)) for bench in benches]
    began = time.monotonic()
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    seconds = time.monotonic() - began
    runs = [run for verdict in found for pair in verdict.pairs for run in (pair.control, pair.candidate)]
    training = sum(run.wall_seconds for run in runs)
    if len(found) != sessions:
        raise SystemExit("a session ended without a verdict")
    return Row(len(benches), sessions, len(runs) // 2, seconds, training)


def _lane(
    bench: Bench, waiting: queue.SimpleQueue[int], found: list[Verdict], folder: Path, real: bool
) -> None:
    files = BETTER
    if real:
        from tests.executors.realplaces import IDEA

        files = IDEA
    while True:
        try:
            number = waiting.get_nowait()
        except queue.Empty:
            return
        found.append(judged(bench, folder / f"runs-{number}", files=files, pairs=2 if real else 8))


def head(given: argparse.Namespace) -> None:
    what = "real small runs" if given.real else f"runs that sleep {given.seconds:g} s"
    print(f"{what}; {os.cpu_count()} cores; {datetime.now(tz=UTC):%Y-%m-%d}")
    print(" workers  sessions  pairs   seconds  pairs/min  ratio     overhead", flush=True)


def show(row: Row, first: Row) -> None:
    rate, before = row.pairs / row.seconds, first.pairs / first.seconds
    print(
        f"{row.workers:>8} {row.sessions:>9} {row.pairs:>6} {row.seconds:>9.1f} {60 * rate:>10.1f} "
        f"{rate / before:>6.2f} {row.overhead:>8.2f} s each",
        flush=True,
    )


if __name__ == "__main__":
    main()
