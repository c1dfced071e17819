"""This machine: sandbox, MLX inside it, what it is, room, and the home folder."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armlx_chain.cli.doctoring.findings import Check, Finding

if TYPE_CHECKING:
    from verifier.sandbox.bench import Accelerator
    from verifier.sandbox.interface import Sandbox

_GIB: Final = 1 << 30
DISK_NEEDED: Final = 2 * _GIB
"""One environment with MLX, a snapshot's shards and a few run folders do not fit into less."""
DISK_WISHED: Final = 10 * _GIB
MEMORY_NEEDED: Final = 2 * _GIB
"""A small profile trains in less; below this the system kills."""
MEMORY_WISHED: Final = 8 * _GIB
"""What one run of a full benchmark may use here before its sandbox ends it."""


def machine_checks(home: Path, python: Path, *, quick: bool) -> list[Check]:
    """Everything that needs no network.

    Args:
        python: Interpreter that runs candidates.
        quick: Start one program in the sandbox instead of trying every promise.
    """
    sandbox = "a first program in the sandbox" if quick else "every promise of the sandbox"
    return [
        Check("Sandbox", sandbox, lambda: _sandbox(python, quick=quick)),
        Check("Machine", "MLX inside the sandbox", lambda: _mlx(python)),
        Check("Machine", "hardware and environment", lambda: _class(python)),
        *home_checks(home),
    ]


def home_checks(home: Path) -> list[Check]:
    """Of the machine only what matters where no candidate runs: room, and the home folder."""
    return [
        Check("Machine", "room", lambda: _room(home)),
        Check("Home", "the home folder", lambda: _home(home)),
    ]


def _given(python: Path) -> Accelerator:
    from verifier.capacity import interpreter_here
    from verifier.sandbox.bench import Accelerator

    found = interpreter_here(python)
    return Accelerator(devices=found.devices, libraries=found.libraries, environment=dict(found.environment))


def _backend() -> Sandbox:
    from verifier.sandbox.select import default_sandbox

    return default_sandbox()


def _sandbox(python: Path, *, quick: bool) -> Iterator[Finding]:
    from verifier.sandbox.selfcheck import run_selfcheck

    sandbox = _backend()
    started = time.monotonic()
    if quick:
        sandbox.check()
        took = time.monotonic() - started
        seen = f"{sandbox.name} starts a program without rights ({took:.2f} s); its promises were not tried"
        yield Finding("sandbox", "ok", seen)
        return
    results = run_selfcheck(sandbox, python=python, with_accelerator=_given(python))
    took = time.monotonic() - started
    failed = [result for result in results if not result.passed]
    held = f"{len(results) - len(failed)} of {len(results)} promises of {sandbox.name} hold ({took:.1f} s)"
    groups = {result.group: 0 for result in results}
    for result in results:
        groups[result.group] += 1
    counted = ", ".join(f"{name} {count}" for name, count in groups.items())
    step = "Mend what is listed below; rely on nothing that ran here before." if failed else ""
    yield Finding("sandbox", "fault" if failed else "ok", held, step, (counted,))
    for result in failed:
        hint = "Install the newest bubblewrap and kernel of your system; report it if that does not help."
        yield Finding(result.name, "fault", result.detail or "it does not hold", hint)


def _mlx(python: Path) -> Iterator[Finding]:
    from verifier.capacity import installed_in
    from verifier.hardware import default_backend
    from verifier.sandbox import accelerator
    from verifier.sandbox.bench import Bench

    seen = accelerator.look(Bench(_backend(), python), _given(python))
    if not seen.version and not seen.said:
        yield Finding(
            "MLX",
            "note",
            f"{python} has no MLX",
            "Projects that set up their own environment bring it; else: pip install 'mlx[cpu]' or mlx.",
        )
        return
    if not seen.computes:
        step = "See whether MLX works outside: python -c 'import mlx.core as mx; print(mx.ones(2) + 1)'."
        yield Finding("MLX", "fault", seen.said or "a small product came out wrong", step)
        return
    shown = f"MLX {seen.version} computes on the {seen.device} {seen.name}".rstrip()
    expected = default_backend(installed=installed_in(python))
    if expected != "cpu" and seen.device != "gpu":
        step = "Check the driver, and that the device nodes may be used by everybody."
        yield Finding("MLX", "fault", f"{shown}, though {expected} is what it should use", step)
        return
    yield Finding("MLX", "ok", f"{shown}, inside the sandbox")


def _class(python: Path) -> Iterator[Finding]:
    from verifier.capacity import installed_in
    from verifier.hardware import Machine, default_backend, environment

    installed = installed_in(python)
    backend = default_backend(installed=installed)
    machine = Machine.here(backend=backend)
    yield Finding("hardware class", "ok", machine.hardware_class)
    facts = environment(lock=b"", installed=installed, backend=backend)
    rows = tuple(f"{name}: {value}" for name, value in facts.facts.items() if name != "lock-sha256")
    yield Finding("environment", "ok", f"{facts.digest[:16]} (without a project's lock)", details=rows)


def _room(home: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(_existing(home)).free
    needed = f"{free / _GIB:.1f} GiB free at {_existing(home)}"
    step = "Make room, or name another disk with ARMLX_HOME; armlx-chain cache clear frees the cache."
    yield _amount("disk", free, DISK_NEEDED, DISK_WISHED, needed, step)
    from verifier.machine.sensors import sensors_here

    reading = sensors_here("cpu").read()
    available, total = reading.available_bytes, reading.memory_bytes
    if available is None or total is None:
        yield Finding("memory", "note", "this system does not say how much is free", "Watch it yourself.")
        return
    shown = f"{available / _GIB:.1f} of {total / _GIB:.1f} GiB available"
    yield _amount("memory", available, MEMORY_NEEDED, MEMORY_WISHED, shown, "End other programs.")


def _amount(name: str, value: int, needed: int, wished: int, seen: str, step: str) -> Finding:
    if value < needed:
        return Finding(name, "fault", f"{seen}; {needed / _GIB:.0f} GiB are needed", step)
    if value < wished:
        return Finding(name, "note", f"{seen}; a full benchmark wants {wished / _GIB:.0f} GiB", step)
    return Finding(name, "ok", seen)


def _existing(folder: Path) -> Path:
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())


def _home(home: Path) -> Iterator[Finding]:
    try:
        found = home.stat()
    except FileNotFoundError:
        parent = _existing(home)
        if os.access(parent, os.W_OK):
            yield Finding("folder", "ok", f"{home} will be made when it is needed")
        else:
            yield Finding(
                "folder", "fault", f"{home} is missing and {parent} cannot be written", "Use --home."
            )
        return
    if not stat.S_ISDIR(found.st_mode) or not os.access(home, os.W_OK | os.X_OK):
        yield Finding("folder", "fault", f"{home} is no folder that can be written", "Use --home.")
        return
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid():
        step = f"chown {os.geteuid()} {home}, or use --home."
        yield Finding("folder", "fault", f"{home} belongs to user {found.st_uid}", step)
    elif mode & 0o022:
        yield Finding("folder", "fault", f"others may write {home} (mode {mode:03o})", f"chmod 700 {home}")
    elif mode & 0o055:
        step = f"chmod 700 {home} (keystores stay closed either way)"
        yield Finding("folder", "note", f"others may read {home} (mode {mode:03o})", step)
    else:
        yield Finding("folder", "ok", f"{home} is yours alone (mode {mode:03o})")
