"""No sandbox, no run: every way in which it can be missing is named, and nothing ever runs bare."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from armlx_chain.errors import SandboxUnavailable, VerifierFault
from tests.sandbox.support import AS_ROOT, python_spec
from verifier.sandbox.identity import MappedRange, dedicated_range, read_map
from verifier.sandbox.interface import Mount, Sandbox, SandboxSpec
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.select import default_sandbox

linux = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is for Linux")
ROOT = Path(__file__).parents[2]
CHECK = """
from armlx_chain.errors import SandboxUnavailable
from verifier.sandbox.select import default_sandbox
try:
    default_sandbox().check()
    print("WORKS")
except SandboxUnavailable as error:
    print("UNAVAILABLE", *error.sentences())
"""


@linux
@pytest.mark.unit
def test_a_missing_bwrap_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    from verifier.sandbox.bubblewrap import BubblewrapSandbox

    with pytest.raises(SandboxUnavailable) as caught:
        BubblewrapSandbox(search_path=str(tmp_path)).check()
    assert "bwrap was not found" in caught.value.message
    assert "apt-get install bubblewrap" in str(caught.value.next_step)
    assert caught.value.exit_code == 5


@linux
@pytest.mark.integration
def test_a_bwrap_that_fails_is_quoted(tmp_path: Path) -> None:
    from verifier.sandbox.bubblewrap import BubblewrapSandbox

    fake = tmp_path / "bwrap"
    for script, sign in {
        "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1": "AppArmor",
        "echo 'bwrap: Creating new namespace failed: Operation not permitted' >&2; exit 1": "CAP_SYS_ADMIN",
        "echo 'bwrap: Unknown option --size' >&2; exit 1": "newer bubblewrap",
        "exit 1": "no reason given",
        "kill -9 $$": "no reason given",
    }.items():
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        with pytest.raises(SandboxUnavailable) as caught:
            BubblewrapSandbox(search_path=f"{tmp_path}:/usr/bin:/bin").check()
        assert sign in " ".join(caught.value.sentences()), script


@linux
@pytest.mark.integration
def test_a_bwrap_that_pretends_is_found_out(sandbox: Sandbox, tmp_path: Path) -> None:
    """A launcher that runs the program without confining it does not pass for one that does."""
    from verifier.sandbox.bubblewrap import BubblewrapSandbox

    fake = tmp_path / "bwrap"
    fake.write_text('#!/bin/sh\nshift 3\nexec "$@"\n')
    fake.chmod(0o755)
    with pytest.raises(SandboxUnavailable):
        BubblewrapSandbox(search_path=f"{tmp_path}:/usr/bin:/bin").check()


@linux
@pytest.mark.integration
@pytest.mark.skipif(not AS_ROOT, reason="about a verifier that is root")
@pytest.mark.parametrize("capability", ["sys_admin", "setuid", "net_admin"])
def test_root_without_the_capabilities_of_root_is_told_so(capability: str) -> None:
    done = subprocess.run(
        ["setpriv", f"--bounding-set=-{capability}", sys.executable, "-c", CHECK],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    assert f"UNAVAILABLE The verifier runs as root without CAP_{capability.upper()}" in done.stdout
    assert "ordinary user" in done.stdout


@linux
@pytest.mark.integration
@pytest.mark.skipif(not AS_ROOT, reason="about a verifier that is root")
def test_root_that_can_become_nobody_else_is_refused() -> None:
    done = subprocess.run(
        ["unshare", "--map-root-user", sys.executable, "-c", CHECK],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        pytest.skip(f"no user namespace can be made here: {done.stderr.strip()}")
    assert "no other user id is mapped" in done.stdout


@linux
@pytest.mark.unit
def test_ids_come_from_what_is_mapped_for_users_and_groups_alike() -> None:
    everything = read_map("         0          0 4294967295\n")
    assert everything == [MappedRange(0, 0, 4294967295)]
    assert dedicated_range([everything, everything]) == (0x7000_0000, 0x7FFE_FFFF)
    container = read_map("0 100000 65536\n")
    first, last = dedicated_range([container, container]) or (0, 0)
    assert 60_000 < first < last < 65_534, "neither nobody nor the id that means no change"
    rootless = read_map("0 1000 1\n1 100000 65536\n")
    first, last = dedicated_range([rootless, rootless]) or (0, 0)
    assert 60_000 < first < last < 65_536
    assert dedicated_range([read_map("0 1000 1\n")] * 2) is None
    assert dedicated_range([everything, read_map("0 1000 1\n")]) is None
    assert dedicated_range([[], []]) is None


@pytest.mark.unit
def test_another_system_has_no_back_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd14")
    with pytest.raises(SandboxUnavailable, match="freebsd14"):
        default_sandbox()


@pytest.mark.integration
def test_a_mount_of_something_missing_is_the_verifiers_fault(sandbox: Sandbox, tmp_path: Path) -> None:
    spec = SandboxSpec(argv=["/bin/true"], mounts=[Mount(tmp_path / "none", PurePosixPath("/shown"))])
    with pytest.raises(VerifierFault, match="does not exist"):
        sandbox.start(spec, MemoryLog())


@pytest.mark.integration
def test_a_working_folder_that_is_nowhere_is_the_sandboxs_failure_not_the_programs(sandbox: Sandbox) -> None:
    process = sandbox.start(SandboxSpec(argv=["/bin/true"], cwd=PurePosixPath("/nowhere")), MemoryLog())
    with pytest.raises(SandboxUnavailable, match="before its program started"):
        process.wait(30)


@pytest.mark.integration
def test_a_mount_that_hides_the_interpreter_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    from verifier.sandbox.python_env import python_files, running_interpreter

    shown = python_files(running_interpreter()).shown
    if not shown:
        pytest.skip("this interpreter belongs to the system")
    above = PurePosixPath(shown[0].parts[0], shown[0].parts[1])
    spec = python_spec("pass", mounts=[Mount(tmp_path, above)])
    with pytest.raises(VerifierFault, match="Python environment"):
        sandbox.start(spec, MemoryLog())


@pytest.mark.integration
@pytest.mark.parametrize(
    "spec",
    [
        SandboxSpec(argv=[]),
        SandboxSpec(argv=["/bin/true"], cwd=PurePosixPath("relative")),
        SandboxSpec(argv=["/bin/true"], cwd=PurePosixPath("/tmp/../usr")),
        SandboxSpec(argv=["/bin/true"], mounts=[Mount(Path("/usr"), PurePosixPath("/proc/x"))]),
        SandboxSpec(argv=["/bin/true"], mounts=[Mount(Path("/usr"), PurePosixPath("/"))]),
        SandboxSpec(argv=["/bin/true"], scratch=[PurePosixPath("/dev/x")]),
        SandboxSpec(argv=["/bin/true\0--bind"]),
        SandboxSpec(argv=["/bin/true"], env={"A\0--bind": "x"}),
        SandboxSpec(argv=["/bin/true"], env={"A=B": "x"}),
        SandboxSpec(argv=["/bin/true"], pass_fds=[1]),
    ],
)
def test_a_specification_without_sense_starts_nothing(sandbox: Sandbox, spec: SandboxSpec) -> None:
    with pytest.raises(ValueError, match=r"."):
        sandbox.start(spec, MemoryLog())


@pytest.mark.integration
def test_options_cannot_be_smuggled_in_arguments_or_the_environment(sandbox: Sandbox) -> None:
    log = MemoryLog()
    spec = SandboxSpec(
        argv=["/usr/bin/env", "--", "/bin/sh", "-c", 'echo "$1|$X"', "sh", "--bind / /"],
        env={"X": "--share-net"},
    )
    with sandbox.start(spec, log) as process:
        process.wait(30)
    assert log.text() == "--bind / /|--share-net\n"


@linux
@pytest.mark.integration
def test_the_install_script_is_content_where_it_is_there_and_says_what_to_run_where_not(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    script = ROOT / "scripts" / "install-bubblewrap"
    assert subprocess.run([script], check=False, capture_output=True).returncode == 0
    # A world without bwrap and without root: only what the script itself calls is found.
    for name, text in {"apt-get": "exit 9", "id": "echo 1000"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/bash", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "sudo apt-get install -y" in done.stderr
    assert "bubblewrap" in done.stderr
    assert os.access(script, os.X_OK)


def test_what_fails_while_the_mounts_are_made_is_said_in_bubblewraps_words_and_leaves_no_descriptor(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    file.chmod(0o644)
    # A file over a folder, and then a folder's way through that file: neither can be made.
    mounts = [Mount(file, PurePosixPath("/armlx")), Mount(tmp_path, PurePosixPath("/armlx/inner"))]
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(SandboxUnavailable, match="bwrap: "):
            sandbox.start(python_spec("pass", mounts=mounts), MemoryLog())
    assert len(os.listdir("/proc/self/fd")) <= len(before) + 2
