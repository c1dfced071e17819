"""Measuring noise, keeping it, and throwing it away."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_helpers import audits

from armlx_chain.errors import UsageError, VerifierFault
from verifier.calibration import Plan, measure_noise
from verifier.calibrationfile import VERSION, decode_noise, encode_noise, load, save
from verifier.model import AuditKind, Ending, Noise, Role, RunRecord, bpb
from verifier.reseed import with_seed
from verifier.simulate import Machine, SimRunner
from verifier.verdict.statistics import standard_deviation, upper_bound

pytestmark = pytest.mark.unit

TRAIN = b"import mlx.core as mx\nSEED = 42\nmx.random.seed(SEED)\n"
HERE = {"hardware_class": "cpu, test, 2 cores, 8 GiB", "environment": "ab" * 32}


def plan(**more: object) -> Plan:
    return Plan(run_folder=Path("simulated"), **(HERE | more))  # type: ignore[arg-type]


def measure(runner: SimRunner, **more: object) -> Noise:
    return measure_noise(runner, TRAIN, plan=plan(**more), seed=b"s")


def test_the_noise_is_the_upper_bound_over_twenty_runs_and_eight_seeds():
    runner = SimRunner(Machine(noise=0.01), seed=3)
    noise = measure(runner)
    assert (noise.runs, len(noise.scores), len(noise.seed_scores), noise.shortcut) == (20, 20, 8, None)
    assert noise.s >= upper_bound(noise.scores)
    assert noise.point is not None
    assert noise.s > noise.point
    assert noise.seed_spread == bpb(standard_deviation(noise.seed_scores))
    assert len(noise.reference_seconds) == 20
    assert noise.calibrated_audits == (AuditKind.CAUSALITY, AuditKind.FRESH_GAP)
    assert (noise.hardware_class, noise.environment) == (HERE["hardware_class"], HERE["environment"])


def test_all_runs_are_of_the_unmodified_snapshot_under_one_seed_and_the_first_does_not_count():
    runner = SimRunner(Machine(noise=0.01))
    noise = measure(runner)
    assert {role for role, _, _ in runner.calls} == {Role.BASELINE}
    assert {seed for _, _, seed in runner.calls} == {b"s"}
    assert len(runner.calls) == 1 + 20 + 8
    assert len({name for _, name, _ in runner.calls}) == 29
    assert runner.calls[0][1].startswith("warm-up")
    assert noise.control_mean is not None
    assert abs(noise.control_mean - 2) < Decimal("0.02")


def test_seed_runs_differ_by_the_seed_alone():
    programs = []

    class Watching(SimRunner):
        def run(self, role, files, **more):
            programs.append(files.get("train.py"))
            return super().run(role, {}, **more)

    measure(Watching(Machine(noise=0.01)))
    assert programs[:21] == [None] * 21
    assert programs[21:] == [TRAIN.replace(b"42", str(seed).encode()) for seed in range(1000, 1008)]


def test_the_noise_is_that_of_the_noisier_of_the_two_sets_of_rows():
    def jitter(record: RunRecord, before: int) -> RunRecord:
        return replace(record, fresh=bpb(Decimal("2.5") + (before % 2) * Decimal("0.1")))

    noise = measure(SimRunner(Machine(noise=0.001), twists={"": jitter}))
    assert noise.s > bpb("0.05") > upper_bound(noise.scores)


def test_the_seed_spread_is_not_the_noise():
    gains = {TRAIN.replace(b"42", str(1000 + n).encode()).decode(): 0.02 * n for n in range(8)}
    noise = measure(SimRunner(Machine(noise=0.0001), gains=gains))
    assert noise.seed_spread > bpb("0.04") > noise.s


@pytest.mark.parametrize("few", [{"runs": 6}, {"seed_runs": 3}, {"runs": 19}, {"seed_runs": 7}])
def test_fewer_runs_need_to_be_asked_for_by_name_and_are_recorded(few):
    with pytest.raises(UsageError, match="The rule demands"):
        measure(SimRunner(), **few)
    noise = measure(SimRunner(Machine(noise=0.01)), shortcut=True, **few)
    assert noise.shortcut is not None
    assert "shortcut" in noise.shortcut
    assert str(noise.runs) in noise.shortcut


@pytest.mark.parametrize("few", [{"runs": 5}, {"seed_runs": 1}, {"warm_up": -1}])
def test_even_a_shortcut_has_a_floor(few):
    with pytest.raises(UsageError):
        measure(SimRunner(), shortcut=True, **few)


def test_a_full_measurement_is_no_shortcut_because_it_was_allowed_to_be_one():
    assert measure(SimRunner(Machine(noise=0.01)), shortcut=True).shortcut is None


def test_a_snapshot_that_does_not_run_here_is_the_verifiers_fault():
    def crash(record: RunRecord, before: int) -> RunRecord:
        return replace(record, ending=Ending.CRASH) if before == 4 else record

    with pytest.raises(VerifierFault, match="unmodified snapshot"):
        measure(SimRunner(Machine(noise=0.01), twists={"": crash}))


def test_disturbed_runs_are_measured_again_and_too_many_end_it():
    def hot(*numbers: int):
        def twist(record: RunRecord, before: int) -> RunRecord:
            return replace(record, disturbances=("it grew hot",)) if before in numbers else record

        return twist

    runner = SimRunner(Machine(noise=0.01), twists={"": hot(2, 5)})
    assert measure(runner).runs == 20
    assert len(runner.calls) == 31
    with pytest.raises(VerifierFault, match="too disturbed"):
        measure(SimRunner(Machine(noise=0.01), twists={"": hot(*range(10))}))


def test_an_audit_that_failed_or_was_missing_once_is_not_calibrated():
    def without(record: RunRecord, before: int) -> RunRecord:
        return replace(record, audits=audits(causality=False)) if before == 7 else record

    noise = measure(SimRunner(Machine(noise=0.01), twists={"": without}))
    assert noise.calibrated_audits == (AuditKind.FRESH_GAP,)


def test_missing_scores_or_times_are_the_verifiers_fault():
    for change in ({"fresh": None}, {"validation": None}, {"seconds_to_graph": None}):

        def twist(record: RunRecord, before: int, change=change) -> RunRecord:
            return replace(record, **change) if before == 3 else record

        with pytest.raises(VerifierFault):
            measure(SimRunner(Machine(noise=0.01), twists={"": twist}))


def test_a_calibration_comes_back_as_it_was_stored(tmp_path):
    noise = measure(SimRunner(Machine(noise=0.01)))
    path = save(tmp_path / "new", "0g:0x01", noise)
    assert load(tmp_path / "new", "0g:0x01", **HERE) == noise
    assert [file.name for file in (tmp_path / "new").iterdir()] == [path.name]


def test_a_changed_environment_class_or_project_has_no_calibration(tmp_path):
    save(tmp_path, "0g:0x01", measure(SimRunner(Machine(noise=0.01))))
    for project, change in (
        ("0g:0x01", {"environment": "cd" * 32}),
        ("0g:0x01", {"hardware_class": "cpu, other, 2 cores, 8 GiB"}),
        ("0g:0x02", {}),
    ):
        with pytest.raises(VerifierFault, match="no calibration"):
            load(tmp_path, project, **(HERE | change))


def test_a_calibration_moved_to_another_environments_place_is_refused(tmp_path):
    noise = measure(SimRunner(Machine(noise=0.01)))
    path = save(tmp_path, "p", noise)
    other = save(tmp_path, "p", replace(noise, environment="cd" * 32))
    path.replace(other)
    with pytest.raises(VerifierFault):
        load(tmp_path, "p", hardware_class=HERE["hardware_class"], environment="cd" * 32)


def stored() -> bytes:
    noise = measure(SimRunner(Machine(noise=0.01)), runs=6, seed_runs=2, shortcut=True)
    head = {"version": VERSION, "project": "p", "measured_at": "2026-01-02T03:04:05Z", "cold_seconds": []}
    return json.dumps(head | encode_noise(noise)).encode()


STORED = stored()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(STORED) - 1), st.binary(max_size=4), st.integers(0, 8))
def test_a_damaged_calibration_is_refused_or_still_a_noise(at, inserted, removed):
    data = STORED[:at] + inserted + STORED[at + removed :]
    try:
        noise = decode_noise(data, project="p")
    except VerifierFault:
        return
    assert noise.s >= 0
    assert len(noise.scores) == noise.runs


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"{}", b"\xff", b'{"version": 2}', b"[" * 100_000, b" " * (2 << 20)]
)
def test_what_is_no_calibration_is_refused(data):
    with pytest.raises(VerifierFault, match="damaged"):
        decode_noise(data)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b"mx.random.seed(42)\n", b"mx.random.seed(7)\n"),
        (b"SEED: int = 1_000\nmx.random.seed(SEED)\n", b"SEED: int = 7\nmx.random.seed(SEED)\n"),
        (b"import random\nrandom.seed(0x2a)\n", b"import random\nrandom.seed(7)\n"),
        (b"np.random.seed(1); mx.random.seed(22)\n", b"np.random.seed(7); mx.random.seed(7)\n"),
        ("é = 'é'; mx.random.seed(42)  # é\n".encode(), "é = 'é'; mx.random.seed(7)  # é\n".encode()),
        (b"key = mx.random.key(\r\n    5)\r\n", b"key = mx.random.key(\r\n    7)\r\n"),
        (b"A = 3\nS = 3\nmx.random.seed(S)\n", b"A = 3\nS = 7\nmx.random.seed(S)\n"),
    ],
)
def test_the_seed_and_nothing_else_is_replaced(source, expected):
    assert with_seed(source, 7) == expected


@pytest.mark.parametrize(
    "source",
    [
        b"x = 1\n",
        b"mx.random.seed(True)\n",
        b"mx.random.seed(f())\n",
        b"other.seed(1)\n",
        b"mx.random.seed()\n",
        b"def (",
        b"\xff",
    ],
)
def test_a_program_without_a_known_seed_is_the_projects_fault(source):
    with pytest.raises(VerifierFault):
        with_seed(source, 7)


def test_the_benchmarks_own_program_has_a_seed_that_can_be_replaced():
    import armlx_chain.devnet.benchmark as benchmark

    train = (Path(benchmark.__file__).parent / "files" / "train.py").read_bytes()
    changed = with_seed(train, 987_654)
    assert changed != train
    assert changed.count(b"987654") == 1
    compile(changed, "train.py", "exec")


def test_a_negative_seed_is_a_mistake():
    with pytest.raises(ValueError, match="not negative"):
        with_seed(TRAIN, -1)
