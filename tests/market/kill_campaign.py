"""Purchases and sales ended by SIGKILL at random points, and finished by the same command.

Every round trades a random number of tokens with a random command, is killed at a random step or moment, and
is run again until it ends by itself. Then supply, balance and nonce must be what one undisturbed run gives.

    python -m tests.market.kill_campaign --rounds 200 --seed 1
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armlx_chain.chain.contracts import ProjectToken
from armlx_chain.devnet.world import Devnet
from tests.faults.processes import Job, Launcher
from tests.market.marketworld import MarketWorld

MOST_RUNS = 12
LONGEST_SECONDS = 2.0
"""A trade here takes about a second: a kill at a random moment falls anywhere in it, or after it."""


@dataclass
class Summary:
    """What a campaign found.

    Attributes:
        kills: Processes killed, by where.
        untouched: Rounds that had ended before their moment came.
        wrong: Rounds whose end is not that of one undisturbed run.
    """

    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    untouched: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trade:
    """One command and what it must lead to."""

    arguments: list[str]
    balance: int
    transactions: int


def campaign(world: MarketWorld, launcher: Launcher, *, rounds: int, seed: int) -> Summary:
    """Trade, kill and finish, ``rounds`` times, in one project."""
    dice, summary, token = random.Random(seed), Summary(), world.project()
    who = world.address("buyer")
    for number in range(rounds):
        held, nonce = token.balance_of(who), world.rpc.nonce(who, pending=True)
        trade = _trade(world, token, dice, held)
        _run_to_the_end(world, launcher, trade, dice, summary)
        summary.rounds += 1
        found = (token.balance_of(who), token.total_supply(), world.rpc.nonce(who, pending=True) - nonce)
        wanted = (trade.balance, trade.balance, trade.transactions)
        if found != wanted or any((world.home / "orders").iterdir()):
            summary.wrong.append(f"round {number}: {trade.arguments[0]} led to {found}, not {wanted}")
    return summary


def _trade(world: MarketWorld, token: ProjectToken, dice: random.Random, held: int) -> Trade:
    plain = ["--project", world.number_of(token), *world.key("buyer"), "--yes", "--json"]
    plain += ["--network", "devnet", "--home", world.home]
    if held < 3 or dice.random() < 0.5:
        count = dice.randint(1, 9)
        return Trade([str(part) for part in ("buy", "--count", count, *plain)], held + count, 1)
    count, parts = dice.randint(3, held), dice.randint(1, 3)
    given = ("sell", "--count", count, "--parts", parts, *plain)
    return Trade([str(part) for part in given], held - count, parts)


def _run_to_the_end(
    world: MarketWorld, launcher: Launcher, trade: Trade, dice: random.Random, summary: Summary
) -> None:
    killed_before = False
    for run in range(MOST_RUNS):
        last = run == MOST_RUNS - 1 or dice.random() < 0.3
        where, job = ("", Job(trade.arguments)) if last else _job(trade, dice)
        (ended,) = launcher.run(job)
        if ended.was_killed:
            summary.kills[where] += 1
            killed_before = True
            if '"ok": true' in ended.text and not any((world.home / "orders").iterdir()):
                return  # The result was told and the order had ended: asking again would be another trade.
            continue
        if ended.code != 0:
            summary.wrong.append(f"{trade.arguments[0]} ended with {ended.code}: {ended.text[-500:]}")
        summary.untouched += not killed_before
        return


def _job(trade: Trade, dice: random.Random) -> tuple[str, Job]:
    if dice.random() < 0.5:
        return "moment", Job(trade.arguments, kill_after=dice.uniform(0, LONGEST_SECONDS))
    event = dice.choice(("signed", "broadcast", "mined"))
    stop: dict[str, Any] = {"event": event, "number": dice.randint(1, trade.transactions)}
    return event, Job(trade.arguments, stop=stop)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/campaigns/trades", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=200, help="trades [200]")
    parser.add_argument("--seed", type=int, default=1)
    given: Any = parser.parse_args(arguments)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["ARMLX_DEVNET"] = str(folder / "devnet")
        with Devnet.start(folder / "devnet") as devnet, Launcher(folder / "jobs") as launcher:
            (folder / "jobs").mkdir()
            found = campaign(MarketWorld(folder, devnet), launcher, rounds=given.rounds, seed=given.seed)
    print(f"{found.rounds} trades, seed {given.seed}, {time.monotonic() - started:.0f} s")
    for where in ("signed", "broadcast", "mined", "moment"):
        print(f"{'killed at ' + where:24} {found.kills[where]:>6}")
    print(f"{'ended before the kill':24} {found.untouched:>6}")
    print(f"{'lost or repeated':24} {len(found.wrong):>6}")
    for line in found.wrong:
        print(line)
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
