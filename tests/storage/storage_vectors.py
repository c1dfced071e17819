"""The recorded vectors of real implementations, and the generators that make their files."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from armlx_chain.storage.zerog.engine import Engine, LaneEngine
from armlx_chain.storage.zerog.kernel import shared_kernel
from armlx_chain.storage.zerog.merkle import FileTree

FOLDER = Path(__file__).resolve().parent.parent / "vectors" / "0g"


@functools.cache
def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return content


@functools.cache
def _counter_stream(seed: str) -> list[bytes]:
    return [b""]


def counter_bytes(seed: str, size: int) -> bytes:
    """SHA-256(seed || k), k = 0, 1, …; the longest stream asked for so far is kept."""
    kept = _counter_stream(seed)
    if len(kept[0]) < size:
        first = len(kept[0]) // 32
        prefix = hashlib.sha256(seed.encode())
        blocks = [kept[0]]
        for k in range(first, -(-size // 32)):
            block = prefix.copy()
            block.update(k.to_bytes(8, "big"))
            blocks.append(block.digest())
        kept[0] = b"".join(blocks)
    return kept[0][:size]


def _index_bytes(offset: int, size: int) -> bytes:
    """(i + 3 (i >> 8) + 5 (i >> 16)) mod 256 for i from ``offset`` on, by blocks of 64 KiB."""
    r = np.arange(1 << 16)
    block = (r + 3 * (r >> 8)).astype(np.uint8)
    first, last = offset >> 16, (offset + size - 1) >> 16
    blocks = [(block + np.uint8(5 * k & 255)).tobytes() for k in range(first, last + 1)]
    skip = offset & 0xFFFF
    return b"".join(blocks)[skip : skip + size]


def generate(rule: str, size: int, offset: int = 0) -> bytes:
    """``size`` bytes of the named generator; ``offset`` only for the generators that can start anywhere."""
    kind, _, rest = rule.partition(":")
    if kind == "sha256ctr":
        return counter_bytes(rest, offset + size)[offset:]
    if kind == "idx":
        return _index_bytes(offset, size)
    i = np.arange(offset, offset + size, dtype=np.uint64)
    if kind == "mul31":
        return ((31 * i + 7) % 256).astype(np.uint8).tobytes()
    if kind == "const":
        return bytes([int(rest, 16)]) * size
    if kind == "ascii":
        return rest.encode()
    if kind == "zext":
        count, _, base = rest.partition(":")
        return generate(base, int(count)).ljust(size, b"\0")
    raise AssertionError(rule)


@functools.cache
def tree_of(rule: str, size: int) -> FileTree:
    """The tree of a generated file; large ones are hashed once for all tests."""
    return FileTree.of(generate(rule, size))


@functools.cache
def lane_engine() -> Engine:
    """The compiled kernel of this machine, whatever the length of what is hashed."""
    kernel = shared_kernel()
    if kernel is None:
        pytest.skip("this machine has no compiled hashing")
    return LaneEngine(kernel)
