"""Control groups: where we sit, what is made, what happens where nothing can be."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.sandbox.support import until
from verifier.sandbox.cgroups import (
    ControlGroup,
    Hierarchy,
    create_group,
    find_hierarchies,
    own_prefix,
    remove_stale,
)
from verifier.sandbox.procfs import is_zombie, pid_namespace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")

SYSTEMD = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = """31 24 0:27 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
32 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:29 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 31 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


@pytest.mark.unit
def test_our_own_group_is_found_in_version_two() -> None:
    found = find_hierarchies(SYSTEMD, "0::/user.slice/user-1000.slice/session-3.scope\n")
    assert found == [
        Hierarchy(Path("/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope"), frozenset(), 2)
    ]


@pytest.mark.unit
def test_our_own_groups_are_found_in_version_one_and_below_a_containers_root() -> None:
    own = "4:memory:/docker/abc/inner\n2:cpu,cpuacct:/\n0::/\n9:pids:/not/mounted\n"
    found = {row.folder: (row.controllers, row.version) for row in find_hierarchies(HYBRID, own)}
    assert found == {
        Path("/sys/fs/cgroup/memory/inner"): (frozenset({"memory"}), 1),
        Path("/sys/fs/cgroup/cpu,cpuacct"): (frozenset({"cpu", "cpuacct"}), 1),
        Path("/sys/fs/cgroup/unified"): (frozenset(), 2),
    }


@pytest.mark.unit
def test_an_ordinary_folder_is_no_control_group_and_nothing_stays_in_it(tmp_path: Path) -> None:
    for version, controllers in ((1, frozenset({"memory"})), (2, frozenset[str]())):
        rows = [Hierarchy(tmp_path, controllers, version)]
        assert create_group(memory_bytes=1, processes=1, hierarchies=rows) is None
    assert create_group(memory_bytes=1, processes=1, hierarchies=[]) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.unit
def test_figures_of_both_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "cpuacct.usage").write_text("1500000000\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text("4096\n")
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    first = ControlGroup(1, [], cpu=tmp_path, memory=tmp_path)
    assert (first.cpu_seconds(), first.memory_peak(), first.out_of_memory()) == (1.5, 4096, True)
    first.close()
    (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (tmp_path / "memory.current").write_text("8192\n")
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 0\noom_kill 0\n")
    second = ControlGroup(2, [], cpu=tmp_path, memory=tmp_path)
    assert (second.cpu_seconds(), second.memory_peak(), second.out_of_memory()) == (2.5, 8192, False)
    (tmp_path / "memory.peak").write_text("9000\n")
    assert second.memory_peak() == 9000
    second.close()
    nothing = ControlGroup(2, [])
    assert (nothing.cpu_seconds(), nothing.memory_peak(), nothing.out_of_memory()) == (None, None, False)


@pytest.mark.unit
def test_groups_of_dead_verifiers_go_at_once_and_what_tells_nothing_about_its_maker_only_when_old(
    tmp_path: Path,
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    here = pid_namespace(os.getpid())
    own = own_prefix()
    names = {
        "dead": f"armlx-{here}-{dead.pid}-5-aa",
        "number passed to another": f"armlx-{here}-{os.getpid()}-5-aa",
        "living": f"{own}aa",
        "another container's": f"armlx-1-{dead.pid}-5-aa",
        "foreign": "other",
        "odd": "armlx-x-cc",
    }
    for name in names.values():
        (tmp_path / name).mkdir()
    rows = [Hierarchy(tmp_path, frozenset({"memory"}), 1)]
    assert remove_stale(rows, now=time.time()) == 2
    left = {path.name for path in tmp_path.iterdir()}
    assert left == set(names.values()) - {names["dead"], names["number passed to another"]}
    assert remove_stale(rows, now=time.time() + 10_000) == 1
    assert names["another container's"] not in {path.name for path in tmp_path.iterdir()}
    assert names["living"] in {path.name for path in tmp_path.iterdir()}


@pytest.mark.integration
def test_version_two_counts_cpu_time_of_a_real_process() -> None:
    rows = _real(2)
    group = create_group(memory_bytes=64 << 20, processes=8, hierarchies=rows)
    if group is None:
        pytest.skip("no group of version 2 can be made here")
    code = "import sys, time; sys.stdin.readline(); end = time.process_time() + 0.3\n"
    code += "while time.process_time() < end: pass"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        group.add(child.pid)
        child.communicate(b"\n", timeout=60)
        used = group.cpu_seconds()
        assert used is not None
        assert 0.29 < used < 1.5
    finally:
        child.kill()
        child.wait()
        assert group.close()
    assert not any(folder.exists() for folder in group.folders)


def _real(version: int) -> list[Hierarchy]:
    mounts, own = (Path("/proc/self", name).read_text() for name in ("mountinfo", "cgroup"))
    return [row for row in find_hierarchies(mounts, own) if row.version == version]


@pytest.mark.unit
def test_a_hierarchy_that_takes_no_process_is_given_up(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("memory", "freezer")]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "cgroup.procs").write_text("")
    group = ControlGroup(1, list(folders), cpu=folders[1], memory=folders[0], freezer=folders[1])
    group.add(os.getpid())
    assert group.folders == [folders[0]]
    assert (group.cpu, group.memory, group.freezer) == (None, folders[0], None)
    assert not folders[1].exists()
    with pytest.raises(RuntimeError, match="no freezer"):
        group.freeze()


@pytest.mark.unit
def test_freezing_waits_until_the_kernel_says_that_it_is_done(tmp_path: Path) -> None:
    (tmp_path / "cgroup.freeze").write_text("0")
    events = tmp_path / "cgroup.events"
    events.write_text("populated 1\nfrozen 0\n")
    group = ControlGroup(2, [tmp_path], freezer=tmp_path)
    done = threading.Timer(0.2, lambda: events.write_text("populated 1\nfrozen 1\n"))
    done.start()
    group.freeze()
    assert events.read_text().endswith("frozen 1\n")
    assert (tmp_path / "cgroup.freeze").read_text() == "1"
    group.thaw()
    assert (tmp_path / "cgroup.freeze").read_text() == "0"
    done.join()
    (tmp_path / "freezer.state").write_text("FROZEN\n")
    first = ControlGroup(1, [tmp_path], freezer=tmp_path)
    first.kill()
    assert (tmp_path / "freezer.state").read_text().startswith("THAWED")


DYING = """
import os, signal, subprocess, sys
from pathlib import Path
from verifier.sandbox.cgroups import create_group, find_hierarchies
mounts, own = (Path("/proc/self", name).read_text() for name in ("mountinfo", "cgroup"))
rows = [row for row in find_hierarchies(mounts, own) if row.version == int(sys.argv[1])]
group = create_group(memory_bytes=64 << 20, processes=8, hierarchies=rows)
if group is None or group.freezer is None: sys.exit("none")
child = subprocess.Popen(["/bin/sleep", "300"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
group.add(child.pid)
group.freeze()
print(child.pid, *group.folders, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.integration
@pytest.mark.parametrize("version", [1, 2])
def test_what_a_dead_verifier_left_frozen_in_its_groups_is_ended(version: int) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(version)], capture_output=True, text=True, check=False, cwd=root
    )
    if "none" in done.stderr:
        pytest.skip(f"no group of version {version} that freezes can be made here")
    pid, *folders = done.stdout.split()
    assert folders
    remove_stale(_real(version), now=time.time())
    # Another verifier that starts on this machine at the same time may have done it.
    until(lambda: is_zombie(int(pid)) and not any(Path(folder).exists() for folder in folders))
