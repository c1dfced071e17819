"""How much room a run gets on this machine, and what its interpreter is shown.

A benchmark of full size uses far more than a small one: tens of gigabytes, hundreds of threads. The limits
protect this machine, they judge nobody: a candidate has the same ones as the control beside it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from armlx_chain.types import Root
from verifier.hardware import Backend, Machine, cgroup_memory, default_backend, usable_cores
from verifier.harness.accelerator import KernelCache, nvidia_nodes
from verifier.harness.evaluation import Crew
from verifier.harness.inside import Interpreter
from verifier.rerun import RunSettings
from verifier.sandbox.interface import Limits

_MEMORY_SHARE: Final = {"cpu": 0.75, "cuda": 0.75, "metal": 0.90}
"""Of the machine's memory. With Metal the model lies in the same memory as everything else."""
_LEAST_MEMORY: Final = 4 << 30
_THREADS_PER_CORE: Final = 8
"""Numerical libraries start one pool of threads a core each; a thread counts as a process."""

_GIB_FOR_TWO: Final = 48
"""GPU memory from which on a second evaluator for real rows has room beside the frozen training program."""


def memory_bytes(root: Path = Path("/")) -> int:
    """Memory that this process could use: the machine's, or its container's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = cgroup_memory(root)
    return total if limit is None else min(total, limit)


def limits_for(backend: Backend, *, memory: int, cores: int) -> Limits:
    """What a training program may use.

    Args:
        memory: Of the machine, in bytes.
        cores: Processors it may use.
    """
    base = Limits()
    share = int(_MEMORY_SHARE[backend] * memory)
    return replace(
        base,
        memory_bytes=min(memory, max(_LEAST_MEMORY, share)),
        processes=max(base.processes, 64 + _THREADS_PER_CORE * cores),
        open_files=base.open_files if backend == "cpu" else 4 * base.open_files,
        scratch_bytes=base.scratch_bytes if backend == "cpu" else 4 * base.scratch_bytes,
    )


def settings_here(interpreter: Interpreter) -> RunSettings:
    """Run settings for this machine and the MLX that the interpreter has."""
    backend = default_backend(installed=installed_in(interpreter.executable))
    limits = limits_for(backend, memory=memory_bytes(), cores=usable_cores())
    return RunSettings(
        limits=limits, crew=crew_for(backend, gpu_gib=Machine.here(backend=backend).memory_gib)
    )


def crew_for(backend: Backend, *, gpu_gib: int) -> Crew:
    """How many evaluators answer side by side.

    Measured at full size on an H100 with 16 cores: one evaluator hands over a batch of 512 MiB in 0.08 to
    0.15 s, about 5 GB/s; scoring it takes half a second of one core, so much less of sixteen. Hence a second
    one for the real rows, two batches of which go with each batch of probes. Further ones would mostly wait,
    and each costs the start of CUDA, its kernels' compilation and a few GiB of the GPU.
    """
    return Crew(rows=2 if backend == "cuda" and gpu_gib >= _GIB_FOR_TWO else 1)


def installed_in(python: Path) -> Callable[[str], str | None]:
    """Versions of the distributions in an interpreter's own environment, read from its folders.

    What this process has installed says nothing about an environment made from a project's lock file.
    """
    found: dict[str, str] = {}
    for folder in sorted(python.parent.parent.glob("lib/python3*/site-packages/*.dist-info")):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        found.setdefault(_normal(name), version)
    return lambda name: found.get(_normal(name))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def interpreter_here(python: Path) -> Interpreter:
    """The interpreter with what this machine's backend needs; part of the environment digest.

    On the CPU backend MLX must not compile kernels: it would call a compiler that is not there inside.
    """
    backend = default_backend(installed=installed_in(python))
    if backend == "cpu":
        return Interpreter(python, {"MLX_DISABLE_COMPILE": "1"})
    return Interpreter(python, {}, devices=nvidia_nodes() if backend == "cuda" else ())


def with_kernels(interpreter: Interpreter, folder: Path) -> Interpreter:
    """The interpreter with a place for compiled kernels, where the backend compiles any at run time."""
    return replace(interpreter, kernels=KernelCache(folder)) if interpreter.devices else interpreter


def kernel_folder(work: Path, snapshot: Root, environment: str) -> Path:
    """Where the kernels of one snapshot in one environment are kept.

    Two projects may share data and environment; what the program of one compiled never runs for the other.

    Args:
        environment: The environment's digest in hex.
    """
    return work / f"kernels-{snapshot.hex.removeprefix('0x')[:32]}-{environment[:16]}"
