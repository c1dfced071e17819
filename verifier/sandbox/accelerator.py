"""Whether MLX computes inside a sandbox, and on what."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from verifier.sandbox.bench import Accelerator, Bench, shown_at_own_paths
from verifier.sandbox.interface import Limits
from verifier.sandbox.promises import CheckResult, result

_PROGRAM: Final = """
import json
try:
    import mlx.core as mx
except ImportError as error:
    print("MLX", json.dumps({"missing": str(error)}))
    raise SystemExit
from importlib.metadata import version
row = mx.arange(64, dtype=mx.float32)
product = (row.reshape(64, 1) @ row.reshape(1, 64)).sum()
info = mx.device_info() if hasattr(mx, "device_info") else {}
device = mx.default_device()
gpu = str(device.type).rpartition(".")[2] == "gpu"
print("MLX", json.dumps({
    "version": version("mlx"),
    "device": "gpu" if gpu else "cpu",
    "name": str(info.get("device_name") or info.get("architecture") or "") if gpu else "",
    "sum": product.item(),
}))
"""
_EXPECTED: Final = 2016.0**2
"""Sum of the outer product of 0..63 with itself: (63 * 64 / 2) squared; float32 may round it."""
_TOLERANCE: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Inside:
    """MLX as a program inside the sandbox finds it.

    Attributes:
        version: Of MLX; empty if it is not in the interpreter's environment.
        device: ``gpu`` or ``cpu``, MLX's default.
        name: The GPU's name; empty for the CPU.
        computes: Whether a small product came out right.
        said: What the program wrote, if it did not get that far.
    """

    version: str
    device: str
    name: str
    computes: bool
    said: str


def look(bench: Bench, given: Accelerator) -> Inside:
    """Run a small product with MLX's default device inside.

    Raises:
        SandboxUnavailable, VerifierFault: as ``Sandbox.start``.
    """
    run = bench.run(
        _PROGRAM,
        env={"MLX_DISABLE_COMPILE": "1", **given.environment},
        mounts=shown_at_own_paths(given.libraries),
        devices=tuple(given.devices),
        limits=Limits(memory_bytes=given.memory_bytes, open_files=1024, file_bytes=1 << 30),
    )
    found = re.search(r"^MLX (\{.*\})$", run.log.text(), re.MULTILINE)
    if found is None:
        return Inside("", "", "", computes=False, said=f"{run.exit} {run.log.shown()[-300:].strip()}")
    report = json.loads(found[1])
    if "missing" in report:
        return Inside("", "", "", computes=False, said="")
    right = abs(report["sum"] / _EXPECTED - 1) < _TOLERANCE
    return Inside(report["version"], report["device"], report["name"], computes=right, said="")


def observe(bench: Bench, given: Accelerator) -> Iterator[CheckResult]:
    """One promise, where the interpreter has MLX at all."""
    seen = look(bench, given)
    if not seen.version and not seen.said:
        return
    shown = f"MLX {seen.version} on the {seen.device} {seen.name}".rstrip() if seen.version else seen.said
    promise = "MLX's default device computes inside"
    yield result("accelerator", promise, seen.computes, shown)
