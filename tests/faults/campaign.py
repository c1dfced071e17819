"""The transaction campaign: seeded schedules of faults, kills and reorganisations, settled against the chain.

Two worlds: anvil behind the fault proxy (real HTTP, a real node), and a simulated chain for what no node does
on demand (strangers with the same key, deep reorganisations, congestion). See ``--help``.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import anvilworld
from tests.faults.schedules import Tally, play_many
from tests.faults.simworld import SimWorld

PINNED_ANVIL = Path(__file__).parents[1] / "tools" / "node_modules" / ".bin" / "anvil"


def find_anvil() -> str | None:
    """``$ARMLX_ANVIL``, the pinned one that scripts/install-peers puts there, or one on the PATH."""
    chosen = os.environ.get("ARMLX_ANVIL")
    return chosen or (str(PINNED_ANVIL) if PINNED_ANVIL.exists() else shutil.which("anvil"))


def simulate(seeds: range, tally: Tally) -> float:
    """Play schedules on the simulated chain; returns the seconds it took."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        play_many(seeds, SimWorld, Path(folder), tally)
    return time.monotonic() - started


def on_anvil(seeds: range, tally: Tally, binary: str) -> float:
    """Play schedules on anvil behind the proxy; returns the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        return anvilworld.play(seeds, Path(folder), tally, binary)


def summary(title: str, tally: Tally, seconds: float) -> str:
    """What happened, as text."""
    lines = [
        f"== {title}",
        f"schedules            {tally.schedules} ({seconds:.0f} s)",
        f"intents              {tally.intents}",
        f"processes killed     {tally.kills}",
        f"runs told to retry   {sum(tally.told.values())}: {_counted(tally.told)}",
        f"attempts recorded    {sum(tally.attempts.values())}: {_counted(tally.attempts)}",
        f"faults injected      {sum(tally.faults.values())}",
        *(f"  {name:<26} {count}" for name, count in tally.faults.most_common()),
        f"duplicated effects   {tally.duplicated}",
        f"lost effects         {tally.lost}",
        f"nonce gaps           {tally.gaps}",
        f"other findings       {len(tally.other)}",
        *(f"  {finding}" for finding in tally.other[:20]),
    ]
    return "\n".join(lines)


def _counted(counter: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign; 1 if anything was doubled, lost, or left a gap."""
    parser = argparse.ArgumentParser(
        prog="scripts/campaigns/transactions", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--schedules", type=int, default=1000, help="on anvil behind the proxy [1000]")
    parser.add_argument("--simulated", type=int, default=4000, help="on the simulated chain [4000]")
    parser.add_argument("--seed", type=int, default=0, help="of the first schedule; the others follow [0]")
    parser.add_argument(
        "--anvil", help="the anvil to run [the one from scripts/install-peers, or on the PATH]"
    )
    given = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # thousands of warnings about what was broken on purpose
    clean = True
    if given.simulated:
        tally = Tally()
        seconds = simulate(range(given.seed, given.seed + given.simulated), tally)
        print(summary("Simulated chain", tally, seconds), flush=True)
        clean = tally.is_clean
    if given.schedules:
        tally = Tally()
        binary = given.anvil or find_anvil()
        if binary is None:
            parser.error("anvil was not found: run scripts/install-peers, or give --anvil")
        seconds = on_anvil(range(given.seed, given.seed + given.schedules), tally, binary)
        print(summary("anvil behind the fault proxy", tally, seconds), flush=True)
        clean = clean and tally.is_clean
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
