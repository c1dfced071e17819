"""Names of machines, from what several systems really print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from verifier.hardware import Machine, cgroup_cores, cgroup_memory, environment, linux_cpu, usable_cores

pytestmark = pytest.mark.unit

MEMINFO = "MemTotal:       65843212 kB\nMemFree:          214780 kB\n"


def display(chip: str, cores: str | None) -> str:
    entry = {
        "_name": chip,
        "spdisplays_mtlgpufamilysupport": "spdisplays_metal3",
        "spdisplays_ndrvs": [{"_name": "Color LCD", "_spdisplays_pixels": "3456 x 2234"}],
        "spdisplays_vendor": "sppci_vendor_Apple",
        "sppci_bus": "spdisplays_builtin",
        "sppci_device_type": "spdisplays_gpu",
        "sppci_model": chip,
    }
    return json.dumps({"SPDisplaysDataType": [entry | ({"sppci_cores": cores} if cores else {})]})


@pytest.mark.parametrize(
    ("chip", "cores", "memory", "expected"),
    [
        ("Apple M1", "8", 16 << 30, "metal, Apple M1, 8 GPU cores, 16 GiB"),
        ("Apple M2 Pro", "19", 32 << 30, "metal, Apple M2 Pro, 19 GPU cores, 32 GiB"),
        ("Apple M4 Max", "40", 128 << 30, "metal, Apple M4 Max, 40 GPU cores, 128 GiB"),
        ("Apple M3 Ultra", "80", 512 << 30, "metal, Apple M3 Ultra, 80 GPU cores, 512 GiB"),
        ("Apple processor", None, 8 << 30, "metal, Apple processor, unknown GPU cores, 8 GiB"),
    ],
)
def test_macs_differ_by_chip_gpu_cores_and_memory(chip, cores, memory, expected):
    def command(argv):
        if argv[0].endswith("system_profiler"):
            return display(chip, cores)
        return {"machdep.cpu.brand_string": chip + "\n", "hw.memsize": f"{memory}\n"}.get(argv[-1], "")

    assert Machine.here(system="darwin", command=command).hardware_class == expected


INTEL = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz\n"
)
NEOVERSE = """processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd evtstrm aes
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd40
CPU revision\t: 1
"""
BIG_LITTLE = """processor\t: 0
CPU implementer\t: 0x41
CPU part\t: 0xd03
processor\t: 1
CPU implementer\t: 0x41
CPU part\t: 0xd08
processor\t: 2
CPU implementer\t: 0x41
CPU part\t: 0xd08
"""
PI = NEOVERSE + "Revision\t: d04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
POWER = "processor\t: 0\ncpu\t\t: POWER9 (architected), altivec supported\nclock\t\t: 2900.000000MHz\n"


@pytest.mark.parametrize(
    ("cpuinfo", "chip"),
    [
        (INTEL, "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"),
        (NEOVERSE, "ARM Neoverse V1"),
        (BIG_LITTLE, "ARM Cortex-A53 + ARM Cortex-A72"),
        (NEOVERSE.replace("0xd40", "0xfff"), "ARM 0x41/0xfff"),
        (PI, "Raspberry Pi 5 Model B Rev 1.0"),
        (POWER, "POWER9 (architected) altivec supported"),
    ],
)
def test_processors_of_several_makers_are_named_with_or_without_a_model_name(cpuinfo, chip):
    assert linux_cpu(cpuinfo, MEMINFO, 4).hardware_class == f"cpu, {chip}, 4 cores, 63 GiB"


@pytest.mark.parametrize(
    ("visible", "listing", "expected"),
    [
        (None, "NVIDIA H100 80GB HBM3, 81559\n", "cuda, NVIDIA H100 80GB HBM3, 1 GPUs, 80 GiB"),
        ("1", "NVIDIA L4, 23034\nNVIDIA T4, 15360\n", "cuda, NVIDIA T4, 1 GPUs, 15 GiB"),
        (None, "NVIDIA L4, 23034\nTesla T4, 15360\n", "cuda, NVIDIA L4 + Tesla T4, 2 GPUs, 15 GiB"),
        ("GPU-8f2c", "NVIDIA L4, 23034\n", "cuda, NVIDIA L4, 1 GPUs, 22 GiB"),
        (None, "NVIDIA GB10, [N/A]\n", "cuda, NVIDIA GB10, 1 GPUs, unknown memory"),
        ("7", "NVIDIA L4, 23034\n", "cuda, unknown, unknown GPUs, unknown memory"),
    ],
)
def test_gpu_machines_are_named_by_the_gpus_that_may_be_used(monkeypatch, visible, listing, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    machine = Machine.here(system="linux", command=lambda argv: listing, backend="cuda")
    assert machine.hardware_class == expected


def test_another_gpu_driver_is_another_environment_and_the_processor_needs_none():
    def facts(version, backend):
        return environment(lock=b"", command=lambda argv: version, system="linux", backend=backend)

    old, new = facts("580.95.05\n580.95.05\n", "cuda"), facts("580.159.04\n", "cuda")
    assert (old.facts["gpu-driver"], new.facts["gpu-driver"]) == ("580.95.05", "580.159.04")
    assert old.digest != new.digest
    assert facts("", "cuda").facts["gpu-driver"] == "unknown"
    assert facts("580.95.05\n", "cpu").digest == facts("580.159.04\n", "cpu").digest


def container(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_containers_limits_count_in_both_kinds_of_control_groups(tmp_path):
    unified = container(
        tmp_path / "v2",
        {
            "proc/self/cgroup": "0::/pod/inner\n",
            "sys/fs/cgroup/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/pod/inner/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/pod/memory.max": "4294967296\n",
            "sys/fs/cgroup/pod/inner/memory.max": "max\n",
        },
    )
    assert (cgroup_cores(unified), cgroup_memory(unified)) == (1.5, 4 << 30)
    assert usable_cores(unified) <= 2
    older = container(
        tmp_path / "v1",
        {
            "proc/self/cgroup": "4:memory:/docker/ab\n2:cpu,cpuacct:/docker/ab\n0::/\n",
            "sys/fs/cgroup/cpu/docker/ab/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/docker/ab/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes": "1073741824\n",
        },
    )
    assert (cgroup_cores(older), cgroup_memory(older)) == (0.5, 1 << 30)
    assert usable_cores(older) == 1


@pytest.mark.parametrize("text", ["", "nonsense", "max 100000", "100000 0", "-1 100000", "1 2 3"])
def test_a_quota_that_says_nothing_limits_nothing(tmp_path, text):
    root = container(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": text})
    assert cgroup_cores(root) is None
    assert usable_cores(root) == usable_cores(tmp_path / "nothing")
