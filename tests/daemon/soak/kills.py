"""The kill campaign: processes of ``armlx-validator``, ended by SIGKILL, run again until they succeed.

First at every durable boundary that the way of one proposal meets, before and after each, every time that it
comes by: one fresh proposal for each. Then at random points of the whole command. After every proposal the
books are compared: one verdict in the guard, one settlement on the ledger, nonces without a gap, and every
pair that ended still there, once. See ``--help``.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.daemon.settling import Settling
from tests.faults.killcampaign import open_world
from tests.faults.processes import Ended, Job, Launcher
from tests.faults.tinyworld import TinyWorld

STORE, TESTS = "verifier.daemon.store:FindingStore", "verifier.daemon.testlog:TestLog"
JOURNAL, GUARD = "armlx_chain.chain.journal:Journal", "armlx_chain.signing.guard:SingleSignGuard"
CYCLES = "verifier.daemon.cyclelog:CycleLog"
BOUNDARIES = (
    f"{CYCLES}.begin",
    f"{TESTS}.begin",
    f"{TESTS}.session",
    f"{TESTS}.began",
    f"{TESTS}.ended",
    f"{STORE}.judged",
    f"{GUARD}.check_and_insert",
    f"{STORE}.signed",
    f"{STORE}.move",
    f"{JOURNAL}.record",
    f"{JOURNAL}.settle_all",
    f"{CYCLES}.end",
)
"""Whatever a proposal's way writes; each by its name, so that none is forgotten when one is renamed."""
PER_PROJECT = 8
FINAL_RUNS = 4
ALLOWED_LOSSES = 1
"""Pairs that a test survives losing (the rule allows one voided pair)."""
COMMANDS = {
    "once": ("once",),
    "run": ("run", "--no-health", "--cycles", "2", "--poll", "1", "--look", "0.05"),
}
ALWAYS = (
    "--json", "--auto-reject", "--max-rejections", "10000", "--collect-from", "0", "--despite-lost-verdicts",
)  # fmt: skip
"""Credits are left alone, so that a settlement's transactions can be counted."""
_SLACK = 1.05
log = logging.getLogger(__name__)


@dataclass
class Kills:
    """What happened.

    Attributes:
        boundaries: How often each boundary was struck, by name and side.
        spoiled: Proposals whose tests lost more pairs than the rule allows: undecided, as they must be.
    """

    boundaries: Counter[str] = field(default_factory=Counter)
    points: int = 0
    missed: int = 0
    proposals: int = 0
    spoiled: int = 0
    found: list[str] = field(default_factory=list)


class ValidatorKills:
    """Kills validators of one world."""

    def __init__(self, world: TinyWorld, launcher: Launcher, seed: int, command: str = "once") -> None:
        self._world = world
        self._launcher = launcher
        self._rng = random.Random(f"validator kills {seed} {command}")
        self._command = COMMANDS[command]
        self._duration = 0.0
        self.kills = Kills()

    def at_boundaries(self, names: Sequence[str] = BOUNDARIES, *, most: int | None = None) -> None:
        """Each boundary before and after, the first time it comes by, the second, until it does not any more.

        Args:
            most: How many times of each at most.
        """
        for name in names:
            for when in ("before", "after"):
                number = 0
                while most is None or number < most:
                    number += 1
                    if not self._at(name, when, number):
                        break

    def _at(self, name: str, when: str, number: int) -> bool:
        """One proposal, killed once; False where the boundary did not come by so often."""
        settling = self._begin()
        ended = self._run(settling, stop={"call": name, "when": when, "number": number})
        label = f"{name.split(':')[1]} {when}"
        if ended.was_killed:
            self.kills.boundaries[label] += 1
            log.info("killed at %s, time %d", label, number)
        elif number == 1:
            self._report(f"{label} never came by", ended)
        self._finish(settling)
        return ended.was_killed

    def at_random(self, points: int) -> None:
        """Kill at random points until so many kills have struck."""
        settling = self._begin()
        self._duration = self._run(settling).seconds
        self._finish(settling)
        struck = self.kills.points
        while self.kills.points - struck < points:
            log.info("%d kills, %d proposals", self.kills.points, self.kills.proposals)
            settling = self._begin()
            for _ in range(self._rng.randint(2, 8)):
                if self.kills.points - struck >= points or not self._kill_once(settling):
                    break
            self._finish(settling)

    def _kill_once(self, settling: Settling) -> bool:
        ended = self._run(settling, kill_after=self._rng.uniform(0.0, self._duration * _SLACK))
        if ended.was_killed:
            self.kills.points += 1
            return True
        self.kills.missed += 1
        if ended.code != 0:
            self._report("a run that was not killed failed", ended)
            return False
        self._duration = 0.7 * self._duration + 0.3 * ended.seconds
        return False

    def _begin(self) -> Settling:
        """A fresh proposal: a real gain, or one that looks ahead."""
        if self.kills.proposals % PER_PROJECT == 0:
            self._world.project = self._world.publish(symbol=f"V{self.kills.proposals}{self._command[0]}")
        self.kills.proposals += 1
        return Settling.begin(self._world, looks_ahead=self._rng.random() < 0.5)

    def _run(
        self, settling: Settling, *, stop: dict[str, Any] | None = None, kill_after: float | None = None
    ) -> Ended:
        given = [*self._command, *ALWAYS]
        arguments = self._world.signed(given, settling.home, "validator")
        job = Job(arguments, validator=True, simulate=True, stop=stop, kill_after=kill_after)
        return self._launcher.run(job)[0]

    def _finish(self, settling: Settling) -> None:
        """Run it again until its proposal is closed, then compare the books."""
        before = pairs_kept(settling)
        ended = None
        for _ in range(FINAL_RUNS):
            ended = self._run(settling)
            if ended.code == 0 and not self._world.proposal(settling.proposal.id).is_open:
                break
            if ended.code == 0 and is_spoiled(settling):
                self.kills.spoiled += 1
                self._compare_spoiled(settling, ended)
                return
        assert ended is not None
        lost = [pair for pair in before if pair not in pairs_kept(settling)]
        if lost:
            self._report(f"{len(lost)} pairs that had ended are not there any more", ended)
        try:
            settling.require_settled_once()
        except AssertionError as error:
            where = traceback.extract_tb(error.__traceback__)[-1].line
            self._report(f"not settled exactly once: {error} ({where})", ended)

    def _compare_spoiled(self, settling: Settling, ended: Ended) -> None:
        """Nothing was signed or sent; somebody else may judge it. It must not stay in the others' way."""
        if self._world.nonce("validator") != settling.nonce:
            self._report("something was sent for a verdict that is undecided", ended)
        self._world.devnet.advance_time(8 * 86_400)
        self._world.send("stranger", "expire", int(settling.proposal.id))

    def _report(self, what: str, ended: Ended) -> None:
        self.kills.found.append(f"proposal {self.kills.proposals}: {what}\n{ended.text[-1200:]}")


def pairs_kept(settling: Settling) -> list[tuple[object, ...]]:
    """Every pair of the proposal that ended, as the home keeps it."""
    if not (settling.home / "findings.sqlite").exists():
        return []
    return [row[3:] for row in settling.rows("findings.sqlite", "pair")]


def is_spoiled(settling: Settling) -> bool:
    """Whether its test lost more pairs to kills than the rule allows, so that it is left undecided."""
    interrupted = 0
    for row in settling.rows("findings.sqlite", "test"):
        started, lost = int(str(row[7])), int(str(row[8]))
        interrupted = lost + (started > len(pairs_kept(settling)))
    return interrupted > ALLOWED_LOSSES


def summary(kills: Kills, seconds: float, command: str) -> str:
    """What happened, as text."""
    return "\n".join(
        [
            f"== armlx-validator {command}",
            f"proposals                   {kills.proposals} ({seconds:.0f} s)",
            f"killed at boundaries        {sum(kills.boundaries.values())}",
            *(f"  {name:<40} {count}" for name, count in sorted(kills.boundaries.items())),
            f"killed at random points     {kills.points} ({kills.missed} runs had ended before their kill)",
            f"left undecided, two pairs lost {kills.spoiled}",
            f"not settled exactly once    {len(kills.found)}",
            *kills.found[:10],
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign; 1 if any proposal did not end as it must."""
    parser = argparse.ArgumentParser(
        prog="scripts/campaigns/validator-kills", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--points", type=int, default=250, help="random points of each command [250]")
    parser.add_argument("--no-boundaries", action="store_true", help="leave the boundaries out")
    parser.add_argument("--command", choices=[*COMMANDS, "both"], default="both")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.CRITICAL)
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    log.propagate = False
    commands = list(COMMANDS) if given.command == "both" else [given.command]
    clean = True
    with open_world() as (world, launcher):
        for command in commands:
            started = time.monotonic()
            campaign = ValidatorKills(world, launcher, given.seed, command)
            try:
                if not given.no_boundaries:
                    campaign.at_boundaries()
                if given.points:
                    campaign.at_random(given.points)
            except KeyboardInterrupt:
                print("interrupted; the proposal at hand is not counted")
            print(summary(campaign.kills, time.monotonic() - started, command), flush=True)
            clean = clean and not campaign.kills.found
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
