"""What a machine is, and what runs on it, as plain strings.

- The *hardware class* (backend, chip, cores, memory) says which runs may be compared with which.
- The *environment digest* (system build, GPU driver, MLX, Python, lock file) says for how long a calibration
  holds: any change of it makes the measured noise and the deadline obsolete.
- A container's limits on processors and memory count: they decide how fast it trains, not the host.
- Nothing here imports MLX or changes anything; where a fact cannot be had, ``unknown`` stands in its place
  and two unknowns still compare equal on one machine.

::

    here = Machine.here()
    print(here.hardware_class)
    print(environment(lock=Path("requirements.lock").read_bytes()).digest)
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

Backend = Literal["metal", "cuda", "cpu"]

UNKNOWN: Final = "unknown"
_GIB: Final = 1 << 30
_PROBE_SECONDS: Final = 30.0
_MLX_PARTS: Final = ("mlx", "mlx-metal", "mlx-cpu", "mlx-cuda-12", "mlx-cuda-13")

Command = Callable[[Sequence[str]], str]
"""Runs a program and returns its standard output; empty if it is missing or fails."""


def ask(argv: Sequence[str]) -> str:
    """Output of a short system command, empty if it cannot be had."""
    try:
        done = subprocess.run(list(argv), capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return done.stdout if done.returncode == 0 else ""


@dataclass(frozen=True, slots=True)
class Machine:
    """The parts of a machine that decide how fast it trains.

    Attributes:
        backend: What MLX computes on here.
        chip: Name of processor or GPU.
        cores: GPU cores (metal), GPUs (cuda) or processor cores this process may use (cpu); 0 if unknown.
        memory_gib: Memory of the device in GiB, rounded; 0 if unknown.
    """

    backend: Backend
    chip: str
    cores: int
    memory_gib: int

    @classmethod
    def here(
        cls, *, system: str = sys.platform, command: Command = ask, backend: Backend | None = None
    ) -> Machine:
        """This machine, as MLX would use it, or by the backend that is named."""
        chosen = backend or default_backend(system=system)
        if chosen == "cuda":
            return _cuda(command)
        if system == "darwin":
            return _mac(command, chosen)
        found = linux_cpu(_text("/proc/cpuinfo"), _text("/proc/meminfo"), usable_cores())
        limit = cgroup_memory(Path("/"))
        gib = found.memory_gib if limit is None else min(found.memory_gib, max(1, round(limit / _GIB)))
        return replace(found, memory_gib=gib)

    @property
    def hardware_class(self) -> str:
        """One ASCII line: runs are compared only where it is equal."""
        unit = {"metal": "GPU cores", "cuda": "GPUs", "cpu": "cores"}[self.backend]
        cores = f"{self.cores} {unit}" if self.cores else f"{UNKNOWN} {unit}"
        memory = f"{self.memory_gib} GiB" if self.memory_gib else f"{UNKNOWN} memory"
        return f"{self.backend}, {self.chip}, {cores}, {memory}"


def default_backend(
    *, system: str = sys.platform, installed: Callable[[str], str | None] | None = None
) -> Backend:
    """The backend MLX takes here by itself, from what is installed."""
    version = installed or installed_version
    if system == "darwin":
        return "metal"
    return "cuda" if version("mlx-cuda-13") or version("mlx-cuda-12") else "cpu"


_ARM_CORES: Final = {
    (0x41, 0xD03): "ARM Cortex-A53",
    (0x41, 0xD08): "ARM Cortex-A72",
    (0x41, 0xD0B): "ARM Cortex-A76",
    (0x41, 0xD0C): "ARM Neoverse N1",
    (0x41, 0xD40): "ARM Neoverse V1",
    (0x41, 0xD49): "ARM Neoverse N2",
    (0x41, 0xD4F): "ARM Neoverse V2",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1a",
}
"""Implementer and part numbers of processors that have no name in ``/proc/cpuinfo``."""


def linux_cpu(cpuinfo: str, meminfo: str, cores: int) -> Machine:
    """A Linux machine from the texts of its two files in ``/proc``.

    x86 has a ``model name``, POWER a ``cpu``, some ARM boards a ``Model`` or ``Hardware``, ARM servers only
    the numbers of their cores.
    """
    names = ("model name", "cpu model", "Model", "Hardware", "uarch", "cpu")
    found = (_match(rf"(?m)^{name}\s*:\s*(.+)$", cpuinfo) for name in names)
    chip = next((name for name in found if name), None) or _arm_name(cpuinfo) or platform.machine()
    kib = _match(r"(?m)^MemTotal:\s*(\d+) kB$", meminfo)
    return Machine("cpu", _name(chip), cores, round(int(kib or 0) * 1024 / _GIB))


def _arm_name(cpuinfo: str) -> str | None:
    """Every kind of core once, in the order of their numbers: big and little ones differ."""
    numbers = r"(?m)^CPU (?:implementer|part)\s*:\s*0x([0-9a-fA-F]{1,4})$"
    flat = [int(text, 16) for text in re.findall(numbers, cpuinfo)]
    pairs = sorted(set(zip(flat[::2], flat[1::2], strict=False)))
    return " + ".join(_ARM_CORES.get(pair, f"ARM {pair[0]:#x}/{pair[1]:#x}") for pair in pairs) or None


def usable_cores(root: Path = Path("/")) -> int:
    """Processors this process may use: by its affinity and its container's quota, which is rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 0)
    quota = cgroup_cores(root)
    return allowed if quota is None else min(allowed or math.ceil(quota), max(1, math.ceil(quota)))


def cgroup_cores(root: Path) -> float | None:
    """The tightest processor quota of our control groups, in processors; ``None`` without one."""
    quotas = []
    for folder in _cgroup_folders(root, "cpu"):
        words = _text(folder / "cpu.max").split()
        words = words or [_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def cgroup_memory(root: Path) -> int | None:
    """The tightest memory limit of our control groups in bytes; ``None`` without one."""
    names = ("memory.max", "memory.limit_in_bytes")
    texts = [_text(folder / name).strip() for folder in _cgroup_folders(root, "memory") for name in names]
    return min((int(text) for text in texts if text.isdecimal()), default=None)


def _cgroup_folders(root: Path, controller: str) -> list[Path]:
    """Our group and those above it, in the unified hierarchy and in the controller's own."""
    folders: list[Path] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        unified = number == "0" and not controllers
        if not unified and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("" if unified else controller)
        group = mount / path.lstrip("/")
        above = [folder for folder in group.parents if folder.is_relative_to(mount)]
        folders += [group, *above]
    return folders


def _mac(command: Command, backend: Backend) -> Machine:
    chip = _name(command(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]))
    memory = command(["/usr/sbin/sysctl", "-n", "hw.memsize"]).strip()
    gib = round(int(memory) / _GIB) if memory.isdecimal() else 0
    if backend == "cpu":
        cores = command(["/usr/sbin/sysctl", "-n", "hw.ncpu"]).strip()
        return Machine("cpu", chip, int(cores) if cores.isdecimal() else 0, gib)
    displays = command(["/usr/sbin/system_profiler", "SPDisplaysDataType", "-json"])
    return Machine("metal", chip, mac_gpu_cores(displays), gib)


def mac_gpu_cores(displays: str) -> int:
    """GPU cores from ``system_profiler``'s JSON; 0 if it says none."""
    try:
        entries = json.loads(displays or "{}").get("SPDisplaysDataType", [])
        counts = [str(entry.get("sppci_cores", "")) for entry in entries]
    except (ValueError, AttributeError, TypeError):
        return 0
    return sum(int(count) for count in counts if count.isdecimal())


def _cuda(command: Command) -> Machine:
    listing = command(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"])
    rows = _visible([row.rsplit(",", 1) for row in listing.splitlines() if "," in row], os.environ)
    if not rows:
        return Machine("cuda", UNKNOWN, 0, 0)
    name = " + ".join(sorted({row[0].strip() for row in rows}))
    sizes = [int(row[1]) for row in rows if row[1].strip().isdecimal()]
    return Machine("cuda", _name(name), len(rows), round(min(sizes, default=0) / 1024))


def _visible(rows: list[list[str]], environ: Mapping[str, str]) -> list[list[str]]:
    """The GPUs that ``CUDA_VISIBLE_DEVICES`` leaves, where it names them by number."""
    given = environ.get("CUDA_VISIBLE_DEVICES")
    words = [] if given is None else [word.strip() for word in given.split(",")]
    if not words or not all(word.isdecimal() for word in words):
        return rows
    return [rows[int(word)] for word in words if int(word) < len(rows)]


def nvidia_driver(command: Command) -> str | None:
    """The driver's version; figures change with it."""
    answer = command(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    versions = {line.strip() for line in answer.splitlines() if re.fullmatch(r"[0-9.]{1,40}", line.strip())}
    return min(versions, default=None)


@dataclass(frozen=True, slots=True)
class EnvironmentFacts:
    """What a run's figures depend on besides the hardware.

    Attributes:
        facts: By name; every one enters the digest.
    """

    facts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 over the sorted facts, in hex."""
        text = json.dumps(dict(self.facts), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(b"armlx-chain/environment/1\0" + text.encode()).hexdigest()


def environment(
    *,
    lock: bytes,
    system: str = sys.platform,
    command: Command = ask,
    installed: Callable[[str], str | None] | None = None,
    settings: Mapping[str, str] | None = None,
    backend: Backend | None = None,
) -> EnvironmentFacts:
    """The environment of this process.

    Args:
        lock: The lock file from which the interpreter's packages were installed.
        installed: Version of a distribution, or ``None``; for an interpreter other than this one.
        settings: Further facts that change figures, such as ``MLX_DISABLE_COMPILE``.
        backend: What MLX computes on; by default what it takes here by itself.
    """
    version = installed or installed_version
    on_gpu = (backend or default_backend(system=system, installed=version)) == "cuda"
    facts = {
        "system": _system_build(system, command),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "lock-sha256": hashlib.sha256(lock).hexdigest(),
    }
    facts |= {f"package-{name}": found for name in _MLX_PARTS if (found := version(name))}
    if on_gpu:
        facts["gpu-driver"] = nvidia_driver(command) or UNKNOWN
    facts |= {f"setting-{name}": value for name, value in (settings or {}).items()}
    return EnvironmentFacts(facts)


def installed_version(name: str) -> str | None:
    """Version of an installed distribution, or ``None``."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _system_build(system: str, command: Command) -> str:
    if system == "darwin":
        product = command(["/usr/bin/sw_vers", "-productVersion"]).strip()
        build = command(["/usr/bin/sw_vers", "-buildVersion"]).strip()
        return f"macOS {product or UNKNOWN} {build or UNKNOWN}"
    release = _text("/etc/os-release")
    name = _match(r'(?m)^PRETTY_NAME="?([^"\n]+)"?$', release) or UNKNOWN
    return f"{name}, {platform.system()} {platform.release()}"


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _match(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found.group(1).strip() if found else None


def _name(text: str) -> str:
    """A chip's name in plain ASCII without the separators of the class string."""
    ascii_only = text.encode("ascii", "ignore").decode().replace(",", " ")
    return " ".join(ascii_only.split())[:80] or UNKNOWN
