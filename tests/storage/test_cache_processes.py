"""Several processes read, write, evict and damage the same roots; nobody ever reads a wrong byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cache_processes import contents

from armlx_chain.storage.cache import ContentCache
from armlx_chain.storage.zerog.merkle import root_of

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).with_name("cache_processes.py")
LIMIT = 3_000_000
ROUNDS = int(os.environ.get("ARMLX_CACHE_ROUNDS", "80"))
PROCESSES = 4


def start(folder: Path, seed: int, rounds: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(PROGRAM), str(folder), str(seed), str(rounds), str(LIMIT)])


def test_processes_that_share_a_cache_never_read_a_wrong_byte_and_keep_its_limit(tmp_path: Path) -> None:
    workers = [start(tmp_path, seed, ROUNDS) for seed in range(PROCESSES)]
    assert [worker.wait(300) for worker in workers] == [0] * PROCESSES
    cache = ContentCache(tmp_path / "cache", limit=LIMIT)
    cache.shelf.shrink(LIMIT)
    assert sum(entry.size for entry in cache.shelf.entries()) <= LIMIT
    assert not list((tmp_path / "cache").rglob("*.part"))
    known = {root_of(data): data for data in contents()}
    for entry in cache.shelf.entries():
        assert cache.get(entry.root, max_bytes=10**7) in (known[entry.root], None)


def test_processes_that_are_killed_leave_nothing_wrong_and_nothing_locked(tmp_path: Path) -> None:
    workers = [start(tmp_path, seed, 100_000) for seed in range(2)]
    cache = ContentCache(tmp_path / "cache", limit=LIMIT)
    end = time.monotonic() + 120
    while not cache.shelf.entries() and time.monotonic() < end:
        time.sleep(0.01)
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
        worker.wait(60)
    known = {root_of(data): data for data in contents()}
    for root, data in known.items():
        assert cache.get(root, max_bytes=10**7) in (data, None)
        cache.put(root, data)
    assert sum(entry.size for entry in cache.shelf.entries()) <= LIMIT
