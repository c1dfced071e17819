"""A world of its own for this folder."""

from tests.faults.fixtures import launcher, world

__all__ = ["launcher", "world"]
