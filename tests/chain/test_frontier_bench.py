"""The benchmark of round trips runs, its ways of reading agree, and ours need far fewer trips."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "bench" / "frontier"
PINNED = ROOT / "tests" / "tools" / "node_modules" / ".bin" / "anvil"


@pytest.mark.peer
def test_on_anvil_all_ways_of_reading_agree_and_ours_take_a_handful_of_round_trips() -> None:
    if not PINNED.exists() and not os.environ.get("ARMLX_ANVIL"):
        if os.environ.get("ARMLX_REQUIRE_PEERS") == "1":
            pytest.fail("anvil is required (ARMLX_REQUIRE_PEERS=1) but was not found")
        pytest.skip("anvil was not found: run scripts/install-peers")
    command = [sys.executable, str(SCRIPT), "--projects", "10", "--proposals", "60"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    rows = re.findall(r"^(.{24}) +(\d+) +[\d.]+ +1/\d+ +1/\d+$", ran.stdout, re.MULTILINE)
    trips = {name.strip(): int(count) for name, count in rows}
    assert trips["one call per id"] == 72
    assert max(trips["JSON-RPC batches"], trips["Multicall3"], trips["next look, 20 changes"]) <= 8
    assert trips["next look, no change"] == 2
