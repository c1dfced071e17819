"""``calibrate`` as a person uses it, in a real local world, over simulated runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from armlx_chain.cli.context import waits
from tests.faults import simulated
from tests.faults.tinyworld import Ran, TinyWorld, call
from tests.machine.laboratory import TRAIN, Laboratory
from verifier.machine.exclusive import exclusive
from verifier.machine.turn import Turn

pytestmark = pytest.mark.integration


@pytest.fixture
def laboratory(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Laboratory]]:
    """Prepared projects run in the last laboratory of this list."""
    rooms = [Laboratory()]

    def prepare(app, materials, _python):  # type: ignore[no-untyped-def]
        prepared = simulated.prepare(app, materials.project, Path())
        snapshot = {**prepared.materials.snapshot, "train.py": TRAIN}
        materials = replace(prepared.materials, snapshot=snapshot)
        turn = Turn("cpu", "cpu", wait=waits())
        return replace(prepared, materials=materials, runner=rooms[-1], turn=turn)

    monkeypatch.setattr("armlx_chain.cli.reproduce.prepare_materials", prepare)
    yield rooms


def calibrate(world: TinyWorld, home: Path, project: int, *options: str, validator: bool = False) -> Ran:
    given = ["calibrate", "--project", str(project), *options, "--json"]
    return call(world.unsigned(given, home), validator=validator)


def test_a_calibration_is_cut_off_gone_on_with_shown_and_not_repeated(
    world: TinyWorld, laboratory: list[Laboratory]
) -> None:
    project, home = int(world.publish().project_id), world.home()
    nothing = calibrate(world, home, project, "--show")
    assert nothing.code == 5
    assert "no calibration" in nothing.error["message"]

    laboratory.append(Laboratory(die_before=6, death=KeyboardInterrupt))
    stopped = calibrate(world, home, project)
    assert stopped.code == 130
    assert "Finished runs are kept" in stopped.err

    laboratory.append(Laboratory(seed=1))
    measured = calibrate(world, home, project, validator=True)
    assert measured.code == 0, measured.err
    assert "5 of 28 runs were finished before; 23 are left." in measured.err
    assert len(laboratory[-1].labels) == 24
    found = measured.document
    assert (found["runs"], found["seed_runs"], found["shortcut"], found["problem"]) == (20, 8, None, None)
    assert float(found["deadline_seconds"]) > float(found["budget_seconds"])
    assert found["drift"].keys() == {"bpb_per_run", "standard_error", "significant"}
    assert "unavailable" in found["sensors"].values() or found["sensors"]
    assert isinstance(found["s"], str)

    laboratory.append(Laboratory(die_before=0))
    still = calibrate(world, home, project)
    assert (still.code, still.document["s"]) == (0, found["s"])
    assert "holds already" in still.err
    shown = calibrate(world, home, project, "--show")
    (only,) = shown.document["calibrations"]
    assert (only["s"], only["measured_at"]) == (found["s"], found["measured_at"])


def test_a_shortcut_is_marked_and_not_good_enough_for_a_full_calibration(
    world: TinyWorld, laboratory: list[Laboratory]
) -> None:
    project, home = int(world.publish().project_id), world.home()
    quick = calibrate(world, home, project, "--quick")
    assert quick.code == 0, quick.err
    assert "shortcut" in quick.document["shortcut"]
    assert len(laboratory[-1].labels) == 9
    laboratory.append(Laboratory(seed=2))
    full = calibrate(world, home, project)
    assert (full.code, full.document["shortcut"]) == (0, None)
    assert "so it is measured in full" in full.err
    laboratory.append(Laboratory(seed=3))
    again = calibrate(world, home, project, "--quick", "--again")
    assert again.document["s"] != full.document["s"]
    text = call(world.unsigned(["calibrate", "--project", str(project), "--show"], home))
    assert "noise of a run" in text.out
    assert "shortcut" in text.out


def test_another_process_that_calibrates_is_named_and_not_waited_for(
    world: TinyWorld, laboratory: list[Laboratory]
) -> None:
    project, home = int(world.publish().project_id), world.home()
    answers: list[Ran] = []
    with exclusive("calibration", doing="calibrating", folder=home / "calibration-runs"):
        ask = lambda: answers.append(calibrate(world, home, project, "--no-wait"))  # noqa: E731
        thread = Thread(target=ask, daemon=True)
        thread.start()
        thread.join(120)
    assert answers[0].code == 75
    assert "calibrating" in answers[0].error["message"]
    assert laboratory[-1].labels == []
