"""The kill campaign: processes of ``armlx-chain submit``, ended by SIGKILL, run again until they succeed.

First at every journal boundary: before and after each attempt is written, and before and after each ending is
written. Then at random points of the whole command. After every submission the account is settled against the
chain: one proposal, tokens bought once, stake locked once, nonces without a gap. See ``--help``.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from armlx_chain.devnet.world import Devnet
from tests.faults.processes import DEVNET, Ended, Launcher
from tests.faults.submitting import BROADCASTS, Submitting
from tests.faults.tinyworld import TinyWorld

JOURNAL = "armlx_chain.chain.journal:Journal"
BOUNDARIES = (
    (f"{JOURNAL}.record", "before"),
    (f"{JOURNAL}.record", "after"),
    (f"{JOURNAL}.settle_all", "before"),
    (f"{JOURNAL}.settle_all", "after"),
)
PER_PROJECT = 6
"""Submissions before a fresh project, so that a submission's own checks stay as short as in life."""
FINAL_RUNS = 3
SUCCEEDED = (0, 3)
"""Done now, or the finding that it was done: a kill may strike between the last step and the exit."""
_SLACK = 1.05
log = logging.getLogger(__name__)


@dataclass
class Kills:
    """What happened."""

    boundaries: int = 0
    points: int = 0
    missed: int = 0
    submissions: int = 0
    found: list[str] = field(default_factory=list)


class KillCampaign:
    """Kills submissions of one world."""

    def __init__(self, world: TinyWorld, launcher: Launcher, seed: int) -> None:
        self._world = world
        self._launcher = launcher
        self._rng = random.Random(f"kills {seed}")
        self._duration = 0.0
        self.kills = Kills()

    def at_boundaries(self, boundaries: Sequence[tuple[str, str]] = BOUNDARIES) -> None:
        """One submission for each kind of boundary, killed at every one of them in turn."""
        for call, when in boundaries:
            submission = self._begin()
            for number, step in enumerate(BROADCASTS):
                # What is killed before its ending is written starts the next run with that ending.
                first = 2 if number and (call, when) == (f"{JOURNAL}.settle_all", "before") else 1
                (ended,) = self._launcher.run(submission.job_until(call=call, when=when, number=first))
                if ended.was_killed:
                    self.kills.boundaries += 1
                else:
                    self._report(f"{call} {when} {step} was not reached", ended)
            self._finish(submission)

    def at_random(self, points: int) -> None:
        """Kill submissions at random points until so many kills have struck."""
        self._measure()
        while self.kills.points < points:
            log.info("%d kills, %d submissions", self.kills.points, self.kills.submissions)
            submission = self._begin()
            for _ in range(self._rng.randint(2, 8)):
                if self.kills.points >= points or not self._kill_once(submission):
                    break
            self._finish(submission)

    def _kill_once(self, submission: Submitting) -> bool:
        """Kill it somewhere; False where it had ended by then."""
        after = self._rng.uniform(0.0, self._duration * _SLACK)
        (ended,) = self._launcher.run(replace(submission.job, kill_after=after))
        if ended.was_killed:
            self.kills.points += 1
            return True
        self.kills.missed += 1
        if ended.code not in SUCCEEDED:
            self._report("a run that was not killed failed", ended)
            return False
        self._duration = 0.7 * self._duration + 0.3 * ended.seconds
        return False

    def _measure(self) -> None:
        submission = self._begin()
        (ended,) = self._launcher.run(submission.job)
        self._duration = ended.seconds
        self._finish(submission)

    def _begin(self) -> Submitting:
        if self.kills.submissions % PER_PROJECT == 0:
            self._world.project = self._world.publish(symbol=f"K{self.kills.submissions}")
        self.kills.submissions += 1
        return Submitting.begin(self._world)

    def _finish(self, submission: Submitting) -> None:
        """Run it again until it succeeds (a finding says that it had succeeded), then settle the account."""
        evidence = submission.recorded_evidence()
        for _ in range(FINAL_RUNS):
            (ended,) = self._launcher.run(submission.job)
            if ended.code in SUCCEEDED:
                break
        else:
            self._report("the last run failed", ended)
            return
        try:
            submission.require_done_once(evidence)
        except AssertionError as error:
            self._report(f"not done exactly once: {error}", ended)

    def _report(self, what: str, ended: Ended) -> None:
        self.kills.found.append(f"submission {self.kills.submissions}: {what}\n{ended.text[-800:]}")


@contextmanager
def open_world() -> Iterator[tuple[TinyWorld, Launcher]]:
    """A local world and a launcher, in a folder of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ[DEVNET] = str(folder / "devnet")
        (folder / "jobs").mkdir()
        with Devnet.start(folder / "devnet") as devnet, Launcher(folder / "jobs") as launcher:
            yield TinyWorld(folder, devnet), launcher


def summary(kills: Kills, seconds: float) -> str:
    """What happened, as text."""
    return "\n".join(
        [
            f"submissions                 {kills.submissions} ({seconds:.0f} s)",
            f"killed at journal boundaries {kills.boundaries}",
            f"killed at random points     {kills.points} ({kills.missed} runs had ended before their kill)",
            f"not done exactly once       {len(kills.found)}",
            *kills.found[:10],
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign; 1 if any submission did not end exactly once."""
    parser = argparse.ArgumentParser(
        prog="scripts/campaigns/kills", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--points", type=int, default=500, help="kills at random points [500]")
    parser.add_argument("--no-boundaries", action="store_true", help="leave the journal boundaries out")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.CRITICAL)  # servers tell of cut connections
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    log.propagate = False
    started = time.monotonic()
    with open_world() as (world, launcher):
        campaign = KillCampaign(world, launcher, given.seed)
        try:
            if not given.no_boundaries:
                campaign.at_boundaries()
            if given.points:
                campaign.at_random(given.points)
        except KeyboardInterrupt:
            print("interrupted; the submission at hand is not counted")
    print(summary(campaign.kills, time.monotonic() - started), flush=True)
    return 1 if campaign.kills.found else 0


if __name__ == "__main__":
    sys.exit(main())
