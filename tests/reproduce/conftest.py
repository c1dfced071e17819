"""A world of its own for this folder."""

from tests.faults.fixtures import world

__all__ = ["world"]
