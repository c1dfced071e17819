"""What a program can read, and what the verifier notices about the benchmark's files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import harness_programs as programs
import numpy as np
import pyarrow.parquet as pq
import pytest
from harness_material import SEED, Run, short_snapshot

from armlx_chain.errors import CandidateError, VerifierFault
from armlx_chain.formats.manifest import ManifestEntry, ManifestRole
from verifier.harness.inside import Interpreter
from verifier.machine.watch import SleepWatch
from verifier.model import Ending, Role
from verifier.rerun import Benchmark, HarnessRunner
from verifier.sandbox.interface import Sandbox

pytestmark = pytest.mark.integration

Data = tuple[Path, tuple[ManifestEntry, ...]]

SNOOP = """
import glob, hashlib, os
for folder, below, names in os.walk("/"):
    below[:] = [name for name in below if name not in ("proc", "sys", "usr", "dev", "site-packages", "lib")]
    for name in names:
        try:
            with open(os.path.join(folder, name), "rb") as file:
                print("saw", hashlib.sha256(file.read()).hexdigest(), os.path.join(folder, name))
        except OSError:
            pass
import prepare, pyarrow.parquet as pq
shard = pq.read_table(os.path.join(prepare.DATA_DIR, prepare.VAL_FILENAME))
for text in shard.column("text").to_pylist()[:3]:
    print("decoy", hashlib.sha256(text.encode()).hexdigest())
for path in ("extra.parquet", prepare.VAL_FILENAME, "shard_00000.parquet"):
    try:
        with open(os.path.join(prepare.DATA_DIR, path), "ab") as file:
            file.write(b"x")
        print("wrote", path)
    except OSError:
        pass
"""


def path_of(data: Data, role: ManifestRole) -> Path:
    return data[0] / next(entry.path for entry in data[1] if entry.role is role)


def digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def test_validation_and_fresh_text_cannot_be_read_inside_and_a_decoy_stands_in_its_place(
    run: Run, data: Data
) -> None:
    record = run({"train.py": SNOOP.encode()})
    assert record.ending is Ending.NO_GRAPH, record.detail
    log = record.log_path.read_text()
    for role in (ManifestRole.VALIDATION, ManifestRole.FRESH):
        assert digest(path_of(data, role).read_bytes()) not in log
    assert digest(path_of(data, ManifestRole.TRAIN).read_bytes()) in log
    assert digest(path_of(data, ManifestRole.TOKENIZER).read_bytes()) in log
    training = pq.read_table(path_of(data, ManifestRole.TRAIN)).column("text").to_pylist()
    decoys = [line.split()[1] for line in log.splitlines() if line.startswith("decoy")]
    assert decoys == [digest(text.encode()) for text in training[:3]]
    assert "wrote" not in log


def test_a_program_cannot_leave_anything_for_the_next_run(run: Run) -> None:
    writes = b"""
import os, pathlib
for place in ("/armlx/workspace/left", "/armlx/harness/left", os.path.expanduser("~/left"), "/tmp/left"):
    print("there" if os.path.exists(place) else "absent", place)
    try:
        pathlib.Path(place).write_text("weights")
        print("wrote", place)
    except OSError:
        print("refused", place)
"""
    first, second = run({"train.py": writes}), run({"train.py": writes})
    for record in (first, second):
        log = record.log_path.read_text()
        assert "there" not in log
        assert "refused /armlx/workspace/left" in log
        assert "refused /armlx/harness/left" in log
        assert "wrote /tmp/left" in log


def test_the_rows_are_those_that_the_benchmarks_own_loader_gives(benchmark: Benchmark) -> None:
    rows, length = benchmark.constants.rows, benchmark.constants.sequence_length
    assert benchmark.validation.inputs.shape == (rows, length)
    assert np.array_equal(benchmark.validation.inputs[:, 1:], benchmark.validation.targets[:, :-1])
    assert benchmark.fresh_origin == "1 fresh shard"
    seen = {row.tobytes() for row in benchmark.validation.inputs}
    assert not any(row.tobytes() in seen for row in benchmark.fresh_pool.inputs)


def test_without_a_fresh_shard_the_unscored_rows_of_the_validation_shard_serve(
    data: Data, sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path, benchmark: Benchmark
) -> None:
    entries = [entry for entry in data[1] if entry.role is not ManifestRole.FRESH]
    without = Benchmark.prepare(
        short_snapshot(), data[0], entries, sandbox=sandbox, interpreter=interpreter, work=tmp_path
    )
    assert without.fresh_origin == "unscored rows of the validation shard"
    assert np.array_equal(without.validation.inputs, benchmark.validation.inputs)
    scored = {row.tobytes() for row in without.validation.inputs}
    assert len(without.fresh_pool) >= 64
    assert not any(row.tobytes() in scored for row in without.fresh_pool.inputs)


@pytest.mark.parametrize("role", [ManifestRole.TRAIN, ManifestRole.VALIDATION, ManifestRole.BYTE_TABLE])
def test_a_changed_file_is_noticed_before_anything_runs(
    data: Data, sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path, role: ManifestRole
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data[0], folder)
    place = path_of((folder, data[1]), role)
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    with pytest.raises(VerifierFault, match=place.name):
        Benchmark.prepare(
            short_snapshot(),
            folder,
            data[1],
            sandbox=sandbox,
            interpreter=interpreter,
            work=tmp_path / "work",
        )


def test_a_shard_that_is_a_link_is_refused(
    data: Data, sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data[0], folder)
    place = path_of((folder, data[1]), ManifestRole.VALIDATION)
    real = place.rename(tmp_path / "elsewhere")
    place.symlink_to(real)
    with pytest.raises(VerifierFault, match="link"):
        Benchmark.prepare(
            short_snapshot(),
            folder,
            data[1],
            sandbox=sandbox,
            interpreter=interpreter,
            work=tmp_path / "work",
        )


def test_a_copy_that_changes_between_runs_is_noticed_before_the_next_one(
    data: Data, sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path
) -> None:
    prepared = Benchmark.prepare(
        short_snapshot(), data[0], data[1], sandbox=sandbox, interpreter=interpreter, work=tmp_path / "work"
    )
    prepared.check()
    [shard] = [file for file in prepared.files if file.role == "validation"]
    shard.copy.chmod(0o600)
    with shard.copy.open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff")
    runner = HarnessRunner(prepared, sandbox)
    with pytest.raises(VerifierFault, match="has changed"):
        runner.run(Role.CONTROL, programs.program(), run_folder=tmp_path, deadline_seconds=None, seed=SEED)


def test_preparing_it_again_takes_nothing_from_a_run_that_another_process_has_going(
    data: Data, sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path
) -> None:
    def prepare() -> Benchmark:
        return Benchmark.prepare(
            short_snapshot(), data[0], data[1], sandbox=sandbox, interpreter=interpreter, work=tmp_path
        )

    mounted = os.open(prepare().cache, os.O_RDONLY | os.O_DIRECTORY)  # as the other run's sandbox holds it
    try:
        again = prepare()
        assert set(os.listdir(mounted)) == {path.name for path in again.cache.iterdir()} != set()
    finally:
        os.close(mounted)
    assert not list(tmp_path.glob("rows-*"))


def test_a_benchmark_whose_formula_is_not_bits_per_byte_judges_nobody(
    data: Data, sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path
) -> None:
    snapshot = short_snapshot()
    wrong = snapshot["prepare.py"].replace(b"math.log(2) * text_bytes", b"math.log(3) * text_bytes")
    assert wrong != snapshot["prepare.py"]
    with pytest.raises(VerifierFault, match="formula"):
        Benchmark.prepare(
            {**snapshot, "prepare.py": wrong},
            data[0],
            data[1],
            sandbox=sandbox,
            interpreter=interpreter,
            work=tmp_path,
        )


def test_a_benchmark_that_does_not_start_says_why(
    data: Data, sandbox: Sandbox, interpreter: Interpreter, tmp_path: Path
) -> None:
    snapshot = short_snapshot()
    broken = snapshot["prepare.py"] + b"\nraise RuntimeError('no such luck')\n"
    with pytest.raises(VerifierFault, match="no such luck"):
        Benchmark.prepare(
            {**snapshot, "prepare.py": broken},
            data[0],
            data[1],
            sandbox=sandbox,
            interpreter=interpreter,
            work=tmp_path,
        )


@pytest.mark.parametrize(
    "path", ["prepare.py", "../outside.py", "/etc/passwd", "a/../../b", "a\x00b", "", "train.py/x"]
)
def test_files_that_touch_the_fixed_side_or_leave_the_workspace_are_refused(
    benchmark: Benchmark, sandbox: Sandbox, tmp_path: Path, path: str
) -> None:
    runner = HarnessRunner(benchmark, sandbox)
    with pytest.raises(CandidateError):
        runner.run(Role.CANDIDATE, {path: b"x"}, run_folder=tmp_path, deadline_seconds=None, seed=SEED)
    assert not (tmp_path.parent / "outside.py").exists()


def test_a_seed_fixes_the_fresh_rows_and_another_seed_draws_others(benchmark: Benchmark) -> None:
    first, again, other = (benchmark.task(seed, 16) for seed in (b"one", b"one", b"two"))
    assert first.fresh_rows == again.fresh_rows != other.fresh_rows
    assert len(set(first.fresh_rows)) == len(first.fresh_rows) == 64


def test_a_run_during_which_the_machine_slept_is_marked_as_disturbed(
    benchmark: Benchmark, sandbox: Sandbox, tmp_path: Path
) -> None:
    asleep = iter([10.0, 12.0, 12.0, 12.0])
    runner = HarnessRunner(benchmark, sandbox, watch=SleepWatch(lambda: next(asleep)))
    files = {"train.py": b"pass"}
    first, second = (
        runner.run(Role.CONTROL, files, run_folder=tmp_path, deadline_seconds=None, seed=SEED)
        for _ in range(2)
    )
    assert first.disturbances == ("the machine slept for 2 s of it",)
    assert second.disturbances == ()
