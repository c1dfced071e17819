"""Choosing nodes so that together they hold every shard. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from armlx_chain.storage.zerog.wire import ShardConfig

__all__ = ["covers", "select_cover"]

T = TypeVar("T")


@dataclass(slots=True)
class _Residue:
    """A subtree of residues modulo a power of two: ``here`` replicas of all of it, and its two halves."""

    here: int = 0
    halves: list[_Residue] = field(default_factory=list)

    def replicas(self) -> int:
        """How many times every residue below is covered at least."""
        below = min((half.replicas() for half in self.halves), default=0)
        return self.here + below


def _insert(tree: _Residue, shard: ShardConfig, replicas: int) -> bool:
    """Add one replica of ``shard``; False if its residues have ``replicas`` already."""
    above, node, bits = 0, tree, shard.count.bit_length() - 1
    for bit in range(bits):
        above += node.here
        if not node.halves:
            node.halves = [_Residue(), _Residue()]
        node = node.halves[shard.id >> bit & 1]
    if above + node.replicas() >= replicas:
        return False
    node.here += 1
    return True


def select_cover(nodes: Sequence[tuple[T, ShardConfig]], replicas: int = 1) -> list[T]:
    """The first nodes, in the order given, that cover every residue ``replicas`` times.

    Nodes that add nothing are left out. An empty list means that no choice covers everything.
    """
    tree = _Residue()
    chosen: list[T] = []
    for node, shard in nodes:
        if _insert(tree, shard, replicas):
            chosen.append(node)
        if tree.replicas() >= replicas:
            return chosen
    return []


def covers(shards: Iterable[ShardConfig], residues: Iterable[int]) -> bool:
    """Whether every flow segment in ``residues`` is held by one of ``shards``."""
    held = list(shards)
    return all(any(shard.holds(segment) for shard in held) for segment in residues)
