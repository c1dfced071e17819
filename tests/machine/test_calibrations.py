"""Calibrations: cut off and gone on with, aged, of another version, drifting."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.errors import VerifierFault
from tests.machine.laboratory import TRAIN, Cut, Laboratory
from verifier.calibration import Plan, drift_of, measure, t_quantile
from verifier.calibrationfile import calibration_path, find, load, save, stored_for
from verifier.calibrationruns import RESUME_SECONDS, KeptRuns
from verifier.session import Progress
from verifier.simulate import Machine, SimRunner
from verifier.verdict.constants import CALIBRATION_DAYS
from verifier.verdict.statistics import standard_deviation, upper_bound

pytestmark = pytest.mark.unit

HERE = {"hardware_class": "cpu, simulated, 2 cores, 8 GiB", "environment": "ab" * 32}
NOW = datetime(2026, 5, 4, tzinfo=UTC)


def open_kept(root: Path, *, program: bytes = TRAIN, again: bool = False, now: float = 1000.0, **more: Any):
    facts = {"project": "p"} | HERE | more
    return KeptRuns.open(root, program=program, again=again, now=lambda: now, **facts)


def calibrate(runner, kept: KeptRuns, said: list[str] | None = None):
    plan = Plan(run_folder=kept.runs, **HERE)

    def progress(step: Progress) -> None:
        if said is not None:
            said.append(step.message)

    ticks = iter(range(0, 100_000, 30))
    return measure(
        runner, TRAIN, plan=plan, seed=kept.seed, kept=kept, progress=progress, clock=lambda: next(ticks)
    )


@pytest.mark.parametrize("at", [0, 1, 2, 13, 21, 28])
def test_wherever_it_is_killed_a_calibration_goes_on_and_measures_nothing_twice(tmp_path: Path, at: int):
    root = tmp_path
    first, second = Laboratory(die_before=at, seed=1), Laboratory(seed=2)
    with pytest.raises(Cut):
        calibrate(first, open_kept(root))
    kept = open_kept(root)
    found = calibrate(second, kept)
    measured = [name.rsplit("-", 1)[0] for name in first.labels + second.labels]
    counted = [label for label in measured if not label.startswith("warm-up")]
    assert sorted(counted) == sorted({*counted})
    assert len(counted) == 28
    warm_ups = [label for label in measured if label.startswith("warm-up")]
    assert warm_ups == ["warm-up-01", "warm-up-01-again"][: 1 if at == 0 else 2]  # caches may be cold again
    assert first.seeds | second.seeds == {kept.seed}
    assert len(found.cold_seconds) == 1
    assert not list(root.rglob("model.mlxfn"))
    nothing = Laboratory(die_before=0)
    assert calibrate(nothing, open_kept(root)) == found


def test_the_cold_start_is_that_of_the_very_first_run(tmp_path: Path):
    first = Laboratory(die_before=3, seed=1)
    with pytest.raises(Cut):
        calibrate(first, open_kept(tmp_path))
    cold = open_kept(tmp_path).find("warm-up-01")
    assert cold is not None
    found = calibrate(Laboratory(seed=9), open_kept(tmp_path))
    assert found.cold_seconds == (cold.seconds_to_graph,)
    assert open_kept(tmp_path).find("warm-up-01") == cold, "a later warm-up does not take its place"
    assert len(found.noise.reference_seconds) == 20


@pytest.mark.parametrize(
    "change",
    [
        {"project": "q"},
        {"hardware_class": "cpu, other, 2 cores, 8 GiB"},
        {"environment": "cd" * 32},
        {"program": b"SEED = 43\n"},
        {"package": Path(__file__).parent},
        {"again": True},
        {"now": 1001.0 + RESUME_SECONDS},
        {"now": 10.0},
    ],
)
def test_under_any_other_conditions_a_calibration_begins_anew(tmp_path: Path, change):
    with pytest.raises(Cut):
        calibrate(Laboratory(die_before=9), open_kept(tmp_path))
    before = open_kept(tmp_path)
    assert before.find("control-03") is not None
    after = open_kept(tmp_path, **change)
    assert after.find("control-03") is None
    assert after.seed != before.seed


def test_a_finished_calibration_is_not_the_beginning_of_the_next(tmp_path: Path):
    kept = open_kept(tmp_path)
    calibrate(Laboratory(), kept)
    kept.finish()
    again = open_kept(tmp_path)
    assert again.seed != kept.seed
    assert again.find("control-01") is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: (kept.runs / "control-02-003" / "run.log").write_text("another log"),
        lambda kept: (kept.runs / "control-02-003" / "run.log").unlink(),
        lambda kept: (kept.folder / "control-02.json").write_text("{"),
        lambda kept: (kept.folder / "control-02.json").write_text("[" * 100_000),
        lambda kept: (kept.folder / "control-02.json").write_text('{"record": {}, "folder": "x"}'),
        lambda kept: (kept.folder / "control-02.json").write_bytes(
            (kept.folder / "control-01.json").read_bytes()
        ),
        lambda kept: edit(kept, "endsWithGraph", lambda tree: tree["record"].update(ending="crash")),
        lambda kept: edit(kept, "disturbed", lambda tree: tree["record"].update(disturbances=["it slept"])),
        lambda kept: edit(kept, "outside", lambda tree: tree.update(folder="../../elsewhere")),
    ],
)
def test_a_run_that_is_damaged_or_has_lost_its_log_is_measured_again(tmp_path: Path, spoil):
    with pytest.raises(Cut):
        calibrate(Laboratory(die_before=9), open_kept(tmp_path))
    kept = open_kept(tmp_path)
    spoil(kept)
    assert kept.find("control-02") is None
    assert kept.find("control-03") is not None
    second = Laboratory()
    calibrate(second, kept)
    assert [name for name in second.labels if name.startswith("control-02")]


def edit(kept: KeptRuns, _: str, change) -> None:
    path = kept.folder / "control-02.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def test_a_person_is_told_how_long_it_still_takes_and_what_was_kept(tmp_path: Path):
    said: list[str] = []
    with pytest.raises(Cut):
        calibrate(Laboratory(die_before=27), open_kept(tmp_path), said)
    assert any(text.startswith("control-01 ended") and "27 left, about 14 min" in text for text in said)
    said.clear()
    calibrate(Laboratory(), open_kept(tmp_path), said)
    assert said[0] == "26 of 28 runs were finished before; 2 are left."
    assert any("seed-08 ended" in text and "the last" in text for text in said)


def stored_noise():
    return measure(SimRunner(Machine(noise=0.01)), TRAIN, plan=Plan(Path("sim"), **HERE), seed=b"s").noise


def test_a_calibration_ends_with_its_age_and_is_shown_all_the_same(tmp_path: Path):
    save(tmp_path, "p", stored_noise(), cold_seconds=(12.5,), now=lambda: NOW)
    young, old = NOW + timedelta(days=CALIBRATION_DAYS - 1), NOW + timedelta(days=CALIBRATION_DAYS)
    assert load(tmp_path, "p", **HERE, now=lambda: young) == stored_noise()
    with pytest.raises(VerifierFault, match=f"{CALIBRATION_DAYS} days old"):
        load(tmp_path, "p", **HERE, now=lambda: old)
    with pytest.raises(VerifierFault, match="future"):
        load(tmp_path, "p", **HERE, now=lambda: NOW - timedelta(days=1))
    (shown,) = stored_for(tmp_path, "p")
    assert (shown.cold_seconds, shown.ends_at) == ((12.5,), old)
    assert find(tmp_path, "p", **HERE) == shown


@pytest.mark.parametrize("version", [1, 3, 99])
def test_a_document_of_another_version_is_refused_by_its_version(tmp_path: Path, version: int):
    path = save(tmp_path, "p", stored_noise(), now=lambda: NOW)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
    with pytest.raises(VerifierFault, match=f"format version {version}; this program reads version 2"):
        load(tmp_path, "p", **HERE, now=lambda: NOW)
    assert stored_for(tmp_path, "p") == []


def test_a_calibration_of_the_first_version_is_not_taken_for_none_at_all(tmp_path: Path):
    calibration_path(tmp_path, "p", version=1, **HERE).write_text('{"version": 1}')
    with pytest.raises(VerifierFault, match="format version 1"):
        load(tmp_path, "p", **HERE, now=lambda: NOW)


def test_stored_calibrations_are_listed_by_project_the_latest_first(tmp_path: Path):
    noise = stored_noise()
    save(tmp_path, "p", noise, now=lambda: NOW)
    save(tmp_path, "p", replace(noise, environment="cd" * 32), now=lambda: NOW + timedelta(days=1))
    save(tmp_path, "q", noise, now=lambda: NOW)
    (tmp_path / "other.json").write_text("no calibration")
    assert [stored.noise.environment for stored in stored_for(tmp_path, "p")] == ["cd" * 32, "ab" * 32]


def test_a_drift_is_seen_and_makes_s_larger_never_smaller():
    wobble = [Decimal("0.01") * (-1) ** index for index in range(20)]
    still = [Decimal("1.5") + step for step in wobble]
    drifting = [score + Decimal("0.004") * index for index, score in enumerate(still)]
    calm, moved = drift_of(still), drift_of(drifting)
    assert calm is not None
    assert moved is not None
    assert not calm.significant
    assert moved.significant
    assert moved.slope == pytest.approx(0.004 + calm.slope)
    assert upper_bound(drifting) > upper_bound(still)
    assert (
        standard_deviation(drifting) ** 2 > Decimal(moved.slope) ** 2 * 35
    )  # (20² - 1)/12 of a straight line
    assert drift_of(still[:3]) is None


@given(st.lists(st.decimals(-5, 5, places=4), min_size=4, max_size=30), st.decimals(-1, 1, places=4))
def test_a_shift_of_all_scores_is_no_drift_and_a_slope_is_found_exactly(scores, slope):
    base, moved = drift_of(scores), drift_of([score + slope * index for index, score in enumerate(scores)])
    shifted = drift_of([score + 3 for score in scores])
    assert base is not None
    assert moved is not None
    assert shifted is not None
    assert moved.slope - base.slope == pytest.approx(float(slope), abs=1e-9)
    assert shifted.slope == pytest.approx(base.slope, abs=1e-9)
    assert moved.error == pytest.approx(base.error, abs=1e-6)


@pytest.mark.parametrize(
    ("degrees", "table"), [(4, 4.604), (5, 4.032), (10, 3.169), (18, 2.878), (100, 2.626)]
)
def test_the_quantile_of_students_t_agrees_with_the_tables(degrees: int, table: float):
    assert t_quantile(0.99, degrees) == pytest.approx(table, rel=0.02)
