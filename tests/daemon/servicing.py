"""A validator's commands in this process, on the simulated machine."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import armlx_chain.cli.reproduce
from armlx_chain.chain.contracts import Proposal
from tests.faults import simulated
from tests.faults.tinyworld import Ran, TinyWorld, call

DAY = 86_400


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validators of this process judge on the simulated machine."""
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    simulated.runs.clear()


@pytest.fixture(autouse=True)
def tidy(world: TinyWorld) -> Iterator[None]:
    """Later tests meet no open proposal of this one."""
    yield
    waiting = [proposal for proposal in world.proposals() if proposal.is_open]
    if waiting:
        world.devnet.advance_time(8 * DAY)
        for proposal in waiting:
            world.send("stranger", "expire", int(proposal.id))


def once(world: TinyWorld, home: Path, *extra: object) -> Ran:
    return call(world.validate_arguments(home, "--json", *extra), validator=True)


def daemon_arguments(world: TinyWorld, home: Path, *extra: object) -> list[str]:
    # One key with many homes, each with a guard of its own: what a person must never do.
    given = ["run", "--despite-lost-verdicts", "--no-health", "--json", *extra]
    return world.signed(given, home, "validator")


def daemon(world: TinyWorld, home: Path, *extra: object) -> Ran:
    return call(daemon_arguments(world, home, *extra), validator=True)


def step_of(ran: Ran, proposal: Proposal) -> dict[str, Any]:
    """What ``once`` says of a proposal."""
    assert ran.code == 0, ran.err
    (found,) = [entry for entry in ran.document["proposals"] if entry["proposal"] == proposal.id]
    return dict(found)


def lines_of(text: str) -> list[dict[str, Any]]:
    """The daemon's log."""
    return [json.loads(line) for line in text.splitlines() if line.startswith('{"time"')]


def queue_of(home: Path) -> dict[int, tuple[str, str]]:
    """Phase and sentence of every proposal that a home's daemon knows."""
    return {row[0]: (row[1], row[2]) for row in rows(home, "SELECT proposal, phase, sentence FROM queue")}


def rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(home / "findings.sqlite")) as database:
        return database.execute(query).fetchall()


def judged() -> int:
    """How many runs were made in this process."""
    return sum(len(runner.calls) for runner in simulated.runs)


def at_run(monkeypatch: pytest.MonkeyPatch, number: int, happens: Callable[[], None]) -> None:
    """Something happens while a session makes its run of that number, from 1; once."""
    original = simulated.SimRunner.run
    done: list[bool] = []

    def run(self: Any, role: Any, files: Any, **options: Any) -> Any:
        if not done and len(self.calls) + 1 == number:
            done.append(True)
            happens()
        return original(self, role, files, **options)

    monkeypatch.setattr(simulated.SimRunner, "run", run)
