"""What one of several processes does with a cache they share; run by the tests, not collected."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from armlx_chain.storage.cache import ContentCache
from armlx_chain.storage.zerog.merkle import root_of

SIZES = (300, 5_000, 40_000, 1_100_000)


def contents() -> list[bytes]:
    """The same in every process."""
    return [random.Random(number).randbytes(SIZES[number % len(SIZES)]) for number in range(12)]


def work(folder: Path, seed: int, rounds: int, limit: int) -> None:
    """Read, write, deliver, evict and damage, in any order; whatever is read must be right."""
    chance = random.Random(seed)
    cache = ContentCache(folder / "cache", limit=limit)
    known = [(root_of(data), data) for data in contents()]
    mine = folder / f"mine-{seed}"
    for _ in range(rounds):
        root, data = chance.choice(known)
        action = chance.choice(("put", "put", "get", "get", "deliver", "put_file", "shrink", "damage"))
        if action == "put":
            cache.put(root, data)
        elif action == "get":
            found = cache.get(root, max_bytes=10**7)
            if found is not None and found != data:
                os._exit(3)
        elif action == "deliver":
            given = cache.deliver(root, mine, max_bytes=10**7)
            if given is not None and mine.read_bytes() != data:
                os._exit(4)
        elif action == "put_file":
            source = mine.with_suffix(".source")
            source.unlink(missing_ok=True)
            source.write_bytes(data)
            cache.put_file(root, source)
        elif action == "shrink":
            cache.shelf.shrink(limit // 2)
        else:
            _damage(cache.path_of(root))


def _damage(path: Path) -> None:
    """What a failing disk does to an entry: other bytes under its name, in a file of its own."""
    broken = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        broken.write_bytes(b"rubbish")
        broken.replace(path)
    except FileNotFoundError:  # the folder is not made yet
        pass


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
