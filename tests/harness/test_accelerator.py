"""Device nodes and kernels compiled beforehand: what reaches a run, and what never does."""

from __future__ import annotations

import socket
import sys
from pathlib import Path, PurePosixPath

import pytest

from verifier.harness.accelerator import KERNELS_VARIABLE, MAX_KERNEL_BYTES, KernelCache, nvidia_nodes
from verifier.harness.inside import Interpreter, Kernels, start_python
from verifier.harness.runlog import RunLog
from verifier.sandbox.interface import Mount, Sandbox
from verifier.sandbox.select import default_sandbox

WRITES = """
import os, pathlib
folder = pathlib.Path(os.environ["MLX_PTX_CACHE_DIR"])
print("found", sorted(path.name for path in folder.iterdir()))
(folder / "kernel.ptx").write_text(os.environ["TEXT"])
print("holds", (folder / "kernel.ptx").read_text())
"""


@pytest.mark.unit
def test_only_the_nodes_that_computing_needs_are_named(tmp_path: Path) -> None:
    for name in (
        "nvidia0",
        "nvidia1",
        "nvidiactl",
        "nvidia-uvm",
        "nvidia-uvm-tools",
        "nvidia-modeset",
        "null",
    ):
        (tmp_path / name).touch()
    names = [path.name for path in nvidia_nodes(tmp_path)]
    assert names == ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"]
    assert nvidia_nodes(tmp_path, gpu=1)[0].name == "nvidia1"
    assert nvidia_nodes(tmp_path, gpu=7) == ()


@pytest.mark.unit
def test_a_machine_without_a_card_has_no_nodes(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()
    assert nvidia_nodes(tmp_path) == () == nvidia_nodes(tmp_path / "missing")


@pytest.mark.unit
def test_an_empty_or_oversized_filling_is_not_kept(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path / "kernels")
    cache.filling(["true"])
    assert not cache.keep() and not cache.filled
    cache.filling(["true"])
    with (tmp_path / "kernels" / "draft" / "huge.ptx").open("wb") as file:
        file.truncate(MAX_KERNEL_BYTES + 1)
    assert not cache.keep() and not cache.filled


@pytest.mark.unit
def test_a_link_out_of_the_filled_folder_is_not_followed_when_sizes_are_counted(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path / "kernels")
    (tmp_path / "large").write_bytes(b"x" * 4096)
    cache.filling(["true"])
    (tmp_path / "kernels" / "draft" / "link").symlink_to(tmp_path / "large")
    cache.keep()
    assert sum(len(path.readlink().name) for path in (tmp_path / "kernels" / "whole").iterdir()) == 5


def _run(sandbox: Sandbox, interpreter: Interpreter, use: Kernels, text: str, folder: Path) -> str:
    script = folder / f"{text}.py"
    script.write_text(WRITES)
    script.chmod(0o644)
    ours, theirs = socket.socketpair()
    log = RunLog(folder / f"{text}.log")
    with ours:
        process = start_python(
            sandbox,
            interpreter,
            [f"/shown/{script.name}"],
            child_end=theirs,
            log=log,
            mounts=[Mount(script, PurePosixPath(f"/shown/{script.name}"))],
            cwd=PurePosixPath("/tmp"),
            environment={"TEXT": text},
            kernels=use,
        )
        with process:
            assert process.wait(60.0) is not None
    log.close()
    return (folder / f"{text}.log").read_text()


@pytest.mark.integration
def test_kernels_of_the_snapshot_reach_later_runs_and_nothing_that_those_write_reaches_another(
    tmp_path: Path,
) -> None:
    cache = KernelCache(tmp_path / "kernels")
    interpreter = Interpreter(Path(sys.executable), {}, kernels=cache)
    sandbox = default_sandbox()
    assert "found []" in _run(sandbox, interpreter, Kernels.FILL, "first", tmp_path)
    assert cache.keep() and cache.filled
    changed = _run(sandbox, interpreter, Kernels.READ, "poison", tmp_path)
    assert "found ['kernel.ptx']" in changed and "holds poison" in changed
    kept = tmp_path / "kernels" / "whole" / "kernel.ptx"
    assert kept.read_text() == "first"
    assert "found ['kernel.ptx']" in _run(sandbox, interpreter, Kernels.READ, "again", tmp_path)
    assert kept.read_text() == "first"
    # A second run of the snapshot reads what was kept instead of filling it again.
    _run(sandbox, interpreter, Kernels.FILL, "second", tmp_path)
    assert not cache.keep() and kept.read_text() == "first"


@pytest.mark.integration
def test_an_evaluator_is_given_no_kernels(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path / "kernels")
    cache.filling(["true"])
    (tmp_path / "kernels" / "draft" / "kernel.ptx").write_text("kept")
    assert cache.keep()
    interpreter = Interpreter(Path(sys.executable), {}, kernels=cache)
    log = _run(default_sandbox(), interpreter, Kernels.NONE, "evaluator", tmp_path)
    assert f"KeyError: '{KERNELS_VARIABLE}'" in log
