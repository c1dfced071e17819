"""Room for runs of any size, and an interpreter that is looked at in its own folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from armlx_chain.types import Root
from verifier.capacity import (
    crew_for,
    installed_in,
    interpreter_here,
    kernel_folder,
    limits_for,
    memory_bytes,
)

pytestmark = pytest.mark.unit
GIB = 1 << 30


def environment_with(folder: Path, *distributions: str) -> Path:
    packages = folder / "lib" / "python3.12" / "site-packages"
    for name in distributions:
        (packages / f"{name}.dist-info").mkdir(parents=True)
    return folder / "bin" / "python"


def test_versions_come_from_the_interpreters_own_environment(tmp_path: Path) -> None:
    version = installed_in(environment_with(tmp_path, "mlx-0.31.0", "mlx_cuda_13-0.31.0"))
    assert version("mlx") == "0.31.0" == version("mlx-cuda-13") == version("MLX.cuda_13")
    assert version("pytest") is None


def test_an_environment_without_a_gpu_build_computes_on_the_cpu_and_compiles_nothing(tmp_path: Path) -> None:
    found = interpreter_here(environment_with(tmp_path, "mlx-0.31.0"))
    assert found.environment == {"MLX_DISABLE_COMPILE": "1"} and found.devices == ()


def test_an_environment_with_a_gpu_build_compiles(tmp_path: Path) -> None:
    assert interpreter_here(environment_with(tmp_path, "mlx_cuda_13-0.31.0")).environment == {}


def test_projects_with_the_same_data_and_environment_share_no_compiled_kernels(tmp_path: Path) -> None:
    one, other = (
        kernel_folder(tmp_path, Root.zerog(bytes([number]) * 32), environment="ab" * 32) for number in (1, 2)
    )
    assert one != other and one != kernel_folder(tmp_path, Root.zerog(bytes([1]) * 32), environment="cd" * 32)


@pytest.mark.parametrize("backend", ["cpu", "cuda", "metal"])
@pytest.mark.parametrize("memory", [2 * GIB, 8 * GIB, 512 * GIB])
@pytest.mark.parametrize("cores", [1, 2, 128])
def test_a_run_never_gets_more_than_the_machine_has(backend: str, memory: int, cores: int) -> None:
    limits = limits_for(backend, memory=memory, cores=cores)  # type: ignore[arg-type]
    assert min(memory, 4 * GIB) <= limits.memory_bytes <= memory
    assert limits.processes >= 64 + cores


def test_a_containers_limit_counts_as_memory(tmp_path: Path) -> None:
    group = tmp_path / "sys" / "fs" / "cgroup" / "box"
    group.mkdir(parents=True)
    (group / "memory.max").write_text(f"{GIB}\n")
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/box\n")
    assert memory_bytes(tmp_path) == GIB


@pytest.mark.parametrize(("gib", "rows"), [(0, 1), (24, 1), (47, 1), (48, 2), (80, 2), (141, 2)])
def test_a_larger_gpu_has_a_second_evaluator_for_the_real_rows_and_never_more(gib: int, rows: int) -> None:
    crew = crew_for("cuda", gpu_gib=gib)
    assert (crew.rows, crew.probes) == (rows, 1)


@pytest.mark.parametrize("backend", ["cpu", "metal"])
def test_where_memory_is_shared_one_evaluator_of_each_kind_is_enough(backend: str) -> None:
    crew = crew_for(backend, gpu_gib=512)  # type: ignore[arg-type]
    assert (crew.rows, crew.probes) == (1, 1)
