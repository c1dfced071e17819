"""A world of its own for each file."""

from tests.faults.fixtures import launcher, world

__all__ = ["launcher", "world"]
