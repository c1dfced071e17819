"""What the campaign of a day reads from the daemon's log, and the protocol of the one with ``uv sync``.

The campaigns themselves train for minutes: ``scripts/campaigns/day`` and ``scripts/campaigns/uv-project``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.devnet.benchmark.project import snapshot_files
from armlx_chain.protocol.parse import parse_protocol
from tests.e2e.day import DAY, MAY, Daemon, Handed, figures, program
from tests.e2e.uvproject import document
from verifier.environments.commands import read_setup
from verifier.environments.fields import Place, terms_of
from verifier.harness.constants import read_constants

pytestmark = pytest.mark.integration


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A process that does nothing, and a log that the test writes."""
    (tmp_path / "log").write_bytes(b"")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield Daemon(process, tmp_path / "log")
        process.kill()


def write(daemon: Daemon, message: str, proposal: int | None = None, **fields: Any) -> bytes:
    line = json.dumps({"message": message, "proposal": proposal, "fields": fields}).encode() + b"\n"
    with daemon.log.open("ab") as log:
        log.write(line)
    return line


def test_a_line_that_is_being_written_is_read_once_it_is_whole(daemon: Daemon) -> None:
    line = write(daemon, "cycle ended", seconds=1.0)
    with daemon.log.open("ab") as log:
        log.write(b"a word of another program\n" + line[:9])
    assert len(daemon.look()) == 1
    assert daemon.look() == []
    with daemon.log.open("ab") as log:
        log.write(line[9:])
    assert len(daemon.look()) == 1
    assert len(daemon.of("cycle ended")) == 2


@pytest.mark.parametrize(
    ("step", "reason", "done"),
    [
        ("approved", "improvement-confirmed", True),
        ("left", "no-improvement", True),
        ("left", "more-pairs-needed", False),
        ("waiting", None, False),
    ],
)
def test_a_proposal_is_done_when_nothing_is_left_to_do_today(
    daemon: Daemon, step: str, reason: str | None, done: bool
) -> None:
    write(daemon, "proposal ended", 3, step=step, reason=reason, outcome="undecided", seconds=1.0)
    daemon.look()
    assert daemon.is_done(3) is done
    assert not daemon.is_done(4)


def test_overhead_is_the_time_in_cycles_outside_runs(daemon: Daemon) -> None:
    for _ in range(4):
        write(daemon, "run ended", 0, seconds=5.0, cpu_seconds=3.5)
    write(
        daemon, "proposal ended", 0, step="left", reason="no-improvement", outcome="unimproved", seconds=22.0
    )
    write(daemon, "cycle ended", seconds=23.0, outcome="done")
    daemon.look()
    shown = figures(daemon, [Handed(0, 1, 0, "miner", "noop")], wall=60.0, own_cpu=2.0)
    assert (shown["runs"], shown["run_wall_s"], shown["overhead_wall_s"]) == (4, 20.0, 3.0)
    assert (shown["overhead_share"], shown["outcomes"]) == (0.15, {"unimproved": 1})


def test_the_days_plan_hands_in_nothing_twice_and_knows_how_each_may_end() -> None:
    texts = [program(what, number) for number, (_, _, _, what) in enumerate(DAY)]
    by_project = {(place, text) for (_, place, _, _), text in zip(DAY, texts, strict=True)}
    assert len(by_project) == len(DAY)
    assert {what for _, _, _, what in DAY} == set(MAY)
    assert [hour for hour, *_ in DAY] == sorted(hour for hour, *_ in DAY)


def test_the_projects_set_up_is_upstreams_and_its_terms_are_those_of_the_programs() -> None:
    snapshot = snapshot_files()
    constants = read_constants(snapshot["prepare.py"])
    protocol = parse_protocol(document(32768))
    assert [type(step).__name__ for step in read_setup(protocol)] == ["Sync"]
    assert terms_of(protocol, snapshot, constants, place=Place.here()).program.arguments == ()
