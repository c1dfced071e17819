"""The validators' kill campaign in short; ``scripts/campaigns/validator-kills`` runs it in full."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.daemon.soak import kills
from tests.faults.fixtures import launcher, world
from tests.faults.processes import Launcher
from tests.faults.tinyworld import TinyWorld

__all__ = ["launcher", "world"]


@pytest.mark.unit
def test_every_boundary_is_a_function_that_exists() -> None:
    from importlib import import_module

    for name in kills.BOUNDARIES:
        module, _, path = name.partition(":")
        found: object = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        assert isinstance(found, Callable), name  # type: ignore[arg-type]


@pytest.mark.e2e
def test_a_daemon_killed_round_a_boundary_settles_once(world: TinyWorld, launcher: Launcher) -> None:
    hunt = kills.ValidatorKills(world, launcher, seed=3, command="run")
    hunt.at_boundaries([f"{kills.STORE}.move"], most=1)
    assert hunt.kills.found == []
    assert sum(hunt.kills.boundaries.values()) == 2


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_a_daemon_killed_at_random_points_settles_once(world: TinyWorld, launcher: Launcher) -> None:
    hunt = kills.ValidatorKills(world, launcher, seed=5, command="run")
    hunt.at_random(2)
    assert hunt.kills.found == []
    assert hunt.kills.points == 2


@pytest.mark.e2e
def test_pairs_that_ended_before_a_kill_are_still_there_after_it(
    world: TinyWorld, launcher: Launcher
) -> None:
    hunt = kills.ValidatorKills(world, launcher, seed=4, command="once")
    settling = hunt._begin()
    killed = hunt._run(settling, stop={"call": f"{kills.STORE}.judged", "when": "before", "number": 1})
    assert killed.was_killed, killed.text
    kept = kills.pairs_kept(settling)
    assert kept
    assert all(json.loads(str(row[-1]))["pair"] for row in kept)
    assert not kills.is_spoiled(settling)
    hunt._finish(settling)
    assert hunt.kills.found == []
    assert kills.pairs_kept(settling)[: len(kept)] == kept
