"""A world of its own for this folder, and whose turn it is.

In the files of ``IN_TURNS`` every test starts daemons and settles proposals, some ten seconds each. The test
command (``ARMLX_TURNS=1``) takes every fifth of them, the others on the next four days (in UTC); without that
variable all run. ``ARMLX_TURN`` (0 to 4) says which fifth instead of the day.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest

from tests.faults.fixtures import launcher, world

__all__ = ["launcher", "world"]

HERE = Path(__file__).parent
IN_TURNS = frozenset(
    HERE / f"test_{name}.py"
    for name in (
        *("claim_first", "continuing", "copies", "housekeeping", "machines", "pass", "preparing", "races"),
        *("redraw", "repeats", "run_command", "settle_killed", "starving", "verdict_pack_command", "watched"),
    )
) | {HERE / "soak" / "test_kills.py"}


TURNS = 5


def turn() -> int:
    """The fifth that is due."""
    chosen = os.environ.get("ARMLX_TURN")
    return (int(chosen) if chosen else datetime.datetime.now(datetime.UTC).date().toordinal()) % TURNS


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not os.environ.get("ARMLX_TURNS"):
        return
    in_turns = [item for item in items if item.path in IN_TURNS]
    waiting = {id(item) for number, item in enumerate(in_turns) if number % TURNS != turn()}
    if waiting:
        config.hook.pytest_deselected(items=[item for item in items if id(item) in waiting])
        items[:] = [item for item in items if id(item) not in waiting]
