"""What the macOS back-end does with folders: the run's own, writable mounts, the shader cache, leftovers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from armlx_chain.errors import SandboxUnavailable
from tests.sandbox.support import until
from verifier.sandbox import run_folders, seatbelt, shader_cache
from verifier.sandbox.interface import Mount, SandboxSpec
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.proctable import read_table
from verifier.sandbox.seatbelt_profile import ProfileParts, profile

RUN = Path("/private/run")
PARTS = ProfileParts(
    readable=(RUN, Path("/opt/python")), writable=(RUN / "tmp",), executable=(Path("/opt/python"),)
)
SETUP = ProfileParts(PARTS.readable, PARTS.writable, PARTS.executable, network=True)


# -- the profile --------------------------------------------------------------------------------------


@pytest.mark.unit
def test_only_libraries_of_the_system_and_of_the_interpreter_are_mapped() -> None:
    text = profile(PARTS)
    rule = text[text.index("(allow file-map-executable") :].partition("(allow signal")[0]
    assert '(subpath "/opt/python")' in rule
    assert '(subpath "/usr/lib")' in rule
    assert "/private/run" not in rule


@pytest.mark.unit
def test_no_file_becomes_undeletable_and_modes_change_in_setup_steps_only() -> None:
    for text in (profile(PARTS), profile(SETUP)):
        assert "(deny file-write-flags)" in text
        assert "(deny file-write-setugid)" in text
    assert "(deny file-write-mode)" in profile(PARTS)
    assert "(deny file-write-mode)" not in profile(SETUP)


@pytest.mark.unit
def test_the_network_is_in_the_profile_only_when_asked_for_and_means_addresses() -> None:
    assert "network-outbound" not in profile(PARTS)
    assert "mDNSResponder" not in profile(PARTS)
    allowed = [line for line in profile(SETUP).splitlines() if line.startswith("(allow network")]
    assert allowed == [
        "(allow network-outbound (remote ip))",
        '(allow network-outbound (literal "/private/var/run/mDNSResponder"))',
    ]
    assert "(deny network*)" not in profile(SETUP)


# -- writable mounts ----------------------------------------------------------------------------------


@pytest.mark.integration
def test_a_writable_mount_is_the_real_folder_and_everything_else_a_copy(tmp_path: Path) -> None:
    given, shown, root = tmp_path / "given", tmp_path / "shown", tmp_path / "run"
    for folder in (given, shown, root):
        folder.mkdir()
        (folder / "file").write_text("as before")
    mounts = [Mount(given, PurePosixPath("/build"), writable=True), Mount(shown, PurePosixPath("/job"))]
    spec = SandboxSpec(argv=["/bin/true"], mounts=mounts)
    writable = seatbelt._place(spec, seatbelt.rewriting(spec, root), None)
    assert (root / "build").resolve() == given.resolve()
    assert not (root / "job").is_symlink()
    assert given not in writable
    (root / "build" / "made").write_text("made")
    assert (given / "made").exists()
    (root / "job" / "file").write_text("changed")
    assert (shown / "file").read_text() == "as before"
    parts = seatbelt.SeatbeltSandbox()._parts(spec, root, writable, [], None)
    assert given.resolve() in parts.writable
    assert parts.protected == (root / "job",)


@pytest.mark.unit
def test_devices_are_no_matter_of_macos() -> None:
    spec = SandboxSpec(argv=["/bin/true"], devices=[Path("/dev/null")])
    with pytest.raises(SandboxUnavailable, match="no device nodes"):
        seatbelt.SeatbeltSandbox().start(spec, MemoryLog())


@pytest.mark.unit
def test_a_child_of_another_user_must_be_able_to_walk_to_the_interpreter(open_folder: Path) -> None:
    closed = open_folder / "home"
    (closed / "venv").mkdir(parents=True)
    closed.chmod(0o755)
    seatbelt.require_passable([closed / "venv"])
    closed.chmod(0o700)
    with pytest.raises(SandboxUnavailable, match="may not be passed"):
        seatbelt.require_passable([closed / "venv"])


# -- the shader cache ---------------------------------------------------------------------------------


@pytest.mark.unit
def test_the_shader_cache_is_emptied_of_metals_own_folders_and_nothing_else(tmp_path: Path) -> None:
    cache, outside = tmp_path / "C", tmp_path / "outside"
    for folder in ("com.apple.metal/1/a", "python3/com.apple.metal", "python3/other", "com.apple.metalfe"):
        (cache / folder).mkdir(parents=True)
        (cache / folder / "functions.data").write_text("compiled")
    (outside / "com.apple.metal").mkdir(parents=True)
    (outside / "key").write_text("secret")
    (cache / "hostile").mkdir()
    (cache / "hostile" / "com.apple.metal").symlink_to(outside)
    (cache / "linked").symlink_to(outside)
    (cache / "com.apple.metal" / "1" / "link").symlink_to(outside / "key")
    assert shader_cache.empty(cache) == 3
    assert shader_cache.metal_folders(cache) == []
    assert (outside / "key").read_text() == "secret"
    assert (outside / "com.apple.metal").is_dir(), "a link to a folder is not walked"
    assert not (cache / "hostile" / "com.apple.metal").is_symlink()
    assert (cache / "python3" / "other" / "functions.data").exists()
    assert shader_cache.empty(tmp_path / "none") == 0


@pytest.mark.integration
def test_the_warming_program_runs_with_and_without_mlx() -> None:
    for flags in (["-I"], ["-I", "-S"]):  # without site packages there is no MLX
        done = subprocess.run(
            [sys.executable, *flags, "-c", shader_cache.WARMING],
            env={"MLX_DISABLE_COMPILE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


# -- what a dead verifier left ------------------------------------------------------------------------

needs_ps = pytest.mark.skipif(not Path("/bin/ps").exists(), reason="no ps here")


@pytest.fixture
def dead() -> int:
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    return gone.pid


@needs_ps
@pytest.mark.integration
def test_the_run_of_a_dead_verifier_is_ended_and_removed(tmp_path: Path, dead: int) -> None:
    left, living = (subprocess.Popen(["/bin/sleep", "300"]) for _ in range(2))
    try:
        stale = tmp_path / f"armlx-run-{dead}-abc"
        ours = run_folders.make(tmp_path)
        stale.mkdir()
        run_folders.note_leader(stale, left.pid, None)
        run_folders.note_leader(ours, living.pid, None)
        assert run_folders.remove_stale(tmp_path) == 1
        assert left.wait(60) == -signal.SIGKILL
        assert not stale.exists()
        assert ours.exists()
        assert living.poll() is None
    finally:
        for process in (left, living):
            process.kill()
            process.wait()


@needs_ps
@pytest.mark.integration
def test_a_number_that_passed_to_another_process_is_not_ended(tmp_path: Path, dead: int) -> None:
    other = subprocess.Popen(["/bin/sleep", "300"])
    try:
        until(lambda: any(row.pid == other.pid for row in read_table()))
        for number, started in enumerate(("Sat Nov 22 10:00:00 2025", "")):
            stale = tmp_path / f"armlx-run-{dead}-{number}"
            stale.mkdir()
            record = {"pid": other.pid, "started": started, "uid": 0 if number else None}
            (stale / "leader").write_text(json.dumps(record))
        assert run_folders.remove_stale(tmp_path) == 2
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.integration
def test_records_of_strangers_and_odd_folders_are_left_alone(tmp_path: Path, dead: int) -> None:
    (tmp_path / "armlx-run-x-abc").mkdir()
    (tmp_path / f"armlx-run-{os.getpid()}-abc").mkdir()
    (tmp_path / f"armlx-run-{dead}-link").symlink_to(tmp_path / "armlx-run-x-abc")
    odd = tmp_path / f"armlx-run-{dead}-odd"
    odd.mkdir()
    (odd / "leader").symlink_to("/etc/passwd")
    before = {path.name for path in tmp_path.iterdir()} - {odd.name}
    assert run_folders.remove_stale(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == before
    assert run_folders.remove_stale(tmp_path / "none") == 0
