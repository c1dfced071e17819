"""The hardware class and the environment digest."""

from __future__ import annotations

import json
import sys

import pytest

from verifier.hardware import Machine, ask, default_backend, environment, linux_cpu, mac_gpu_cores

pytestmark = pytest.mark.unit

CPUINFO = "processor\t: 0\nmodel name\t: AMD EPYC™ 9654,  96-Core\nprocessor\t: 1\nmodel name\t: other\n"
MEMINFO = "MemTotal:       24684092 kB\nMemFree: 1 kB\n"
DISPLAYS = json.dumps({"SPDisplaysDataType": [{"sppci_model": "Apple M4 Max", "sppci_cores": "40"}]})

MAC = {
    "machdep.cpu.brand_string": "Apple M4 Max\n",
    "hw.memsize": "68719476736\n",
    "hw.ncpu": "16\n",
    "SPDisplaysDataType": DISPLAYS,
    "-productVersion": "26.1\n",
    "-buildVersion": "25B78\n",
}


def mac(argv):
    return next((text for key, text in MAC.items() if key in argv), "")


def gpus(argv):
    return "NVIDIA H200, 143771\nNVIDIA H200, 143771\n" if argv[0] == "nvidia-smi" else ""


def nothing(argv):
    return ""


def test_a_linux_machine_is_named_by_processor_cores_and_memory():
    machine = linux_cpu(CPUINFO, MEMINFO, 2)
    assert machine.hardware_class == "cpu, AMD EPYC 9654 96-Core, 2 cores, 24 GiB"


def test_a_mac_is_named_by_chip_gpu_cores_and_memory():
    machine = Machine.here(system="darwin", command=mac)
    assert machine.hardware_class == "metal, Apple M4 Max, 40 GPU cores, 64 GiB"
    on_cpu = Machine.here(system="darwin", command=mac, backend="cpu")
    assert on_cpu.hardware_class == "cpu, Apple M4 Max, 16 cores, 64 GiB"


def test_a_gpu_machine_is_named_by_its_gpus():
    machine = Machine.here(system="linux", command=gpus, backend="cuda")
    assert machine.hardware_class == "cuda, NVIDIA H200, 2 GPUs, 140 GiB"


@pytest.mark.parametrize("backend", ["cuda", "metal", "cpu"])
def test_what_cannot_be_known_is_called_unknown(backend):
    system = "linux" if backend == "cuda" else "darwin"
    text = Machine.here(system=system, command=nothing, backend=backend).hardware_class
    assert "unknown" in text
    assert text.startswith(f"{backend}, ")


def test_this_machine_has_a_class_of_one_plain_line_and_always_the_same():
    text = Machine.here().hardware_class
    assert text == Machine.here().hardware_class
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 120


@pytest.mark.parametrize(
    "listing", ["", "no json", "[]", "{}", '{"SPDisplaysDataType": [1]}', '{"SPDisplaysDataType": 3}']
)
def test_a_strange_listing_of_displays_has_no_cores(listing):
    assert mac_gpu_cores(listing) == 0


def test_the_backend_follows_what_is_installed():
    assert default_backend(system="darwin", installed=lambda name: None) == "metal"
    assert default_backend(system="linux", installed=lambda name: None) == "cpu"
    assert default_backend(system="linux", installed={"mlx-cuda-13": "0.32"}.get) == "cuda"


def test_the_digest_changes_with_every_fact_and_with_nothing_else():
    def digest(lock=b"a", installed=None, command=mac, settings=None, system="darwin"):
        found = {"mlx": "0.32.4"} if installed is None else installed
        return environment(
            lock=lock, installed=found.get, command=command, system=system, settings=settings
        ).digest

    base = digest()
    assert base == digest()
    others = [
        digest(lock=b"b"),
        digest(installed={"mlx": "0.32.5"}),
        digest(installed={"mlx": "0.32.4", "mlx-cuda-13": "0.32.4"}),
        digest(command=nothing),
        digest(settings={"MLX_DISABLE_COMPILE": "1"}),
        digest(system="linux"),
    ]
    assert len({base, *others}) == len(others) + 1


def test_the_environment_names_system_python_mlx_and_lock():
    facts = environment(lock=b"lock").facts
    assert {"system", "python", "lock-sha256"} <= facts.keys()
    assert sys.version.split()[0] in facts["python"]


def test_a_command_that_is_missing_or_fails_says_nothing():
    assert ask(["/nonexistent/tool"]) == ""
    assert ask([sys.executable, "-c", "print('x'); raise SystemExit(3)"]) == ""
    assert ask([sys.executable, "-c", "print('x')"]) == "x\n"
